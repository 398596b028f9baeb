//! The kinds of entries and how the Open Cybersecurity Schema Framework (OCSF 1.8) classifies them.

use serde::{Deserialize, Serialize};

macro_rules! event_types {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $class:literal, $activity:literal;)*) => {
        /// What an entry tells.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum EventType {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl EventType {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name in entries.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The OCSF class uid.
            #[must_use]
            pub const fn class(self) -> u32 {
                match self { $(Self::$name => $class,)* }
            }

            /// The OCSF activity id within the class.
            #[must_use]
            pub const fn activity(self) -> u8 {
                match self { $(Self::$name => $activity,)* }
            }
        }
    };
}

event_types! {
    /// The guest's first process runs.
    BootStart = "boot.start", 6002, 3;
    /// The boot's evidence was made; `platform.evidence` is its digest.
    BootEvidence = "boot.evidence", 5002, 2;
    /// The port is open.
    BootReady = "boot.ready", 6002, 99;
    /// The guest ends on purpose.
    BootStop = "boot.stop", 6002, 4;
    /// A process ended that should not have.
    ComponentCrash = "component.crash", 6008, 1;
    /// A process was started again.
    ComponentRestart = "component.restart", 6002, 5;
    /// Somebody asked for evidence.
    AttestRequest = "attest.request", 5002, 2;
    /// Evidence was found authentic and acceptable.
    AttestVerified = "attest.verified", 5002, 1;
    /// Evidence was refused.
    AttestRejected = "attest.rejected", 5002, 1;
    /// A weights key was released.
    KeyRelease = "key.release", 6003, 2;
    /// A weights key was refused.
    KeyRefuse = "key.refuse", 6003, 2;
    /// A lease was renewed with fresh evidence.
    KeyRenew = "key.renew", 6003, 3;
    /// A lease ended; the key is gone.
    KeyExpire = "key.expire", 3004, 4;
    /// A key, manifest, image or chip was revoked.
    KeyRevoke = "key.revoke", 3004, 6;
    /// A weights key came to the broker.
    KeyImport = "key.import", 3004, 1;
    /// Keys were wrapped under another key-encryption key.
    KeyRotate = "key.rotate", 3004, 3;
    /// A key-encryption key was destroyed.
    KeyDestroy = "key.destroy", 3004, 4;
    /// A sealed package was fetched from its store.
    ModelFetch = "model.fetch", 6005, 1;
    /// A sealed model's manifest and signature were checked.
    ModelVerify = "model.verify", 6002, 99;
    /// A model answers requests.
    ModelLoad = "model.load", 6002, 3;
    /// A sealed model was refused.
    ModelReject = "model.reject", 6002, 99;
    /// A model is gone from memory.
    ModelUnload = "model.unload", 6002, 4;
    /// A request was answered in full.
    InferComplete = "infer.complete", 6003, 1;
    /// A request was refused before any work.
    InferReject = "infer.reject", 6003, 1;
    /// The caller left.
    InferCancel = "infer.cancel", 6003, 1;
    /// A request broke on our side.
    InferError = "infer.error", 6003, 1;
    /// A caller was not let in.
    AuthFailure = "auth.failure", 3002, 1;
    /// A setting changed.
    ConfigChange = "config.change", 3004, 3;
    /// Entry 0 of every log.
    LogOpen = "log.open", 1008, 6;
    /// The last entry of a log that ended on purpose.
    LogClose = "log.close", 1008, 7;
    /// Witnesses cosigned the log up to `log.size`; written once a minute.
    LogAnchor = "log.anchor", 1008, 99;
    /// Nothing else happened for a minute, so that silence is silence.
    LogHeartbeat = "log.heartbeat", 1008, 99;
    /// A witness did not cosign, or could not be reached.
    LogAnchorFail = "log.anchor_fail", 1008, 99;
    /// Which log of this deployment came before this one, as the key broker told it with the first key; `code` says whether it was closed, or
    /// why none is named.
    LogPredecessor = "log.predecessor", 1008, 99;
    /// A log is witnessed from now on.
    LogRegister = "log.register", 1008, 99;
    /// The log was exported.
    LogExport = "log.export", 1008, 3;
    /// A part of the log was read by who may.
    LogRead = "log.read", 1008, 99;
    /// An exported log came into an archive, whose log this is.
    LogArchive = "log.archive", 1008, 4;
    /// Entries of an archived log came to the end of their time and are gone; their hashes and the checkpoints stay.
    LogPrune = "log.prune", 1008, 2;
    /// Entries must be kept, whatever their time.
    HoldPlace = "hold.place", 3004, 1;
    /// They need not be any more.
    HoldRelease = "hold.release", 3004, 4;
    /// The key of a subject was destroyed: the personal parts under it are unreadable from here on.
    Erasure = "erasure", 3004, 4;
    /// A release policy came into force.
    PolicyLoad = "policy.load", 3004, 10;
    /// A release policy was refused.
    PolicyReject = "policy.reject", 3004, 99;
    /// An operator overrode a protection; stays visible for ever.
    BreakGlass = "breakglass", 3004, 99;
    /// The mandatory policy of the guest refused something; `kernel` says what.
    PolicyDenial = "selinux.denial", 2004, 1;
    /// The mandatory policy was loaded anew, or its enforcement changed: after the boot it never should.
    PolicyMode = "selinux.mode", 2004, 1;
    /// A filter of system calls refused one.
    SyscallDenial = "seccomp.denial", 2004, 1;
    /// A filter of system calls ended a process.
    SyscallKill = "seccomp.kill", 1007, 2;
    /// A worker went beyond what it may and was ended.
    WorkerLimit = "worker.limit", 1007, 2;
    /// Audit records of the kernel were lost, could not be read, or were too many to tell apart; `kernel.count` says how many.
    KernelLost = "kernel.lost", 1008, 99;
}

/// How what is told ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As it should.
    Success,
    /// It was tried and did not work.
    Failure,
    /// A rule forbade it.
    Denied,
    /// Whoever asked withdrew.
    Cancelled,
    /// Our own fault.
    Error,
}

/// What has to be true of an entry before what it tells may have effects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// It lies on the log's medium.
    Durable,
    /// And witnesses have cosigned a checkpoint that covers it, where the log has any.
    Critical,
}

impl EventType {
    /// What has to be true of an entry of this kind before what it tells may have effects. An entry about what has happened already,
    /// such as a crash, waits for nothing; critical ones are brought to the witnesses at once all the same.
    #[must_use]
    pub const fn durability(self) -> Durability {
        match self {
            Self::AttestRequest
            | Self::AuthFailure
            | Self::InferCancel
            | Self::InferComplete
            | Self::InferError
            | Self::InferReject
            | Self::KernelLost
            | Self::LogExport
            | Self::LogRead
            | Self::LogHeartbeat
            | Self::ModelFetch
            | Self::ModelUnload
            | Self::ModelVerify
            | Self::PolicyDenial
            | Self::SyscallDenial
            | Self::SyscallKill
            | Self::WorkerLimit
            | Self::LogAnchor
            | Self::LogAnchorFail => Durability::Durable,
            Self::AttestRejected
            | Self::AttestVerified
            | Self::BootEvidence
            | Self::BootReady
            | Self::BootStart
            | Self::BootStop
            | Self::BreakGlass
            | Self::ComponentCrash
            | Self::ComponentRestart
            | Self::ConfigChange
            | Self::Erasure
            | Self::HoldPlace
            | Self::HoldRelease
            | Self::KeyDestroy
            | Self::KeyExpire
            | Self::KeyImport
            | Self::KeyRefuse
            | Self::KeyRelease
            | Self::KeyRenew
            | Self::KeyRevoke
            | Self::KeyRotate
            | Self::LogArchive
            | Self::LogClose
            | Self::LogOpen
            | Self::LogPredecessor
            | Self::LogPrune
            | Self::LogRegister
            | Self::ModelLoad
            | Self::ModelReject
            | Self::PolicyLoad
            | Self::PolicyMode
            | Self::PolicyReject => Durability::Critical,
        }
    }

    /// The OCSF severity: 1 informational, 3 medium for what a rule forbade, 4 high for a failure, 5
    /// critical for a crash.
    #[must_use]
    pub const fn severity(self, outcome: Outcome) -> u8 {
        match (self, outcome) {
            (Self::ComponentCrash, _) => 5,
            (_, Outcome::Success | Outcome::Cancelled) => 1,
            (_, Outcome::Denied) => 3,
            (_, Outcome::Failure | Outcome::Error) => 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_serde_writes_and_differ() {
        let mut seen = std::collections::BTreeSet::new();
        for kind in EventType::ALL {
            assert_eq!(serde_json::to_string(kind).unwrap(), format!("\"{}\"", kind.name()));
            assert!(seen.insert(kind.name()));
        }
        assert_eq!(seen.len(), EventType::ALL.len());
    }
}

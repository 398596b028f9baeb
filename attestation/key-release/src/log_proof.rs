//! The proof that a decision stands in the broker's log. A guest takes no key without it, so the log's releases are all
//! the releases there ever were.

use crate::ReleasedTerms;
use anchorhold_audit_log::cosignature::Quorum;
use anchorhold_audit_log::merkle::{self, Place, ProofError};
use anchorhold_audit_log::note::{Note, NoteError};
use anchorhold_audit_log::{
    Checkpoint, CheckpointError, Entry, EntryError, EventType, Hash, Outcome, VerifierKey,
};
use anchorhold_rats::{Ed25519PublicKey, Evidence, Sha256Digest, base64_bytes};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Which broker a guest deals with. All of it comes to the guest with its settings, which its evidence covers.
#[derive(Debug, Clone)]
pub struct PinnedBroker {
    /// The key that signs answers.
    pub signing_key: Ed25519PublicKey,
    /// The name and key of the broker's log.
    pub log_key: VerifierKey,
    /// Which witnesses must have cosigned the checkpoint that proves a release; none where nothing is demanded.
    pub witnesses: Quorum,
}

/// Why an answer does not show that its release was logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogProofError {
    /// The entry is none.
    Entry(EntryError),
    /// The entry tells of something else than this release; which field differs.
    OtherEntry(&'static str),
    /// The checkpoint is not one of the pinned log.
    Checkpoint(CheckpointError),
    /// The entry is not in the tree of the checkpoint.
    NotIncluded(ProofError),
    /// A cosignature does not verify.
    Cosignature(NoteError),
    /// Fewer of the pinned witnesses cosigned the checkpoint than are needed.
    Witnesses {
        /// How many are needed.
        needed: usize,
    },
}

impl fmt::Display for LogProofError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry(error) => write!(f, "log entry: {error}"),
            Self::OtherEntry(field) => write!(f, "the log entry's {field} is not that of this release"),
            Self::Checkpoint(error) => error.fmt(f),
            Self::NotIncluded(error) => write!(f, "inclusion of the log entry: {error}"),
            Self::Cosignature(error) => write!(f, "cosignature: {error}"),
            Self::Witnesses { needed } => {
                write!(f, "fewer than {needed} of the pinned witnesses cosigned the checkpoint")
            }
        }
    }
}

impl std::error::Error for LogProofError {}

/// SHA-256 of the evidence's JSON, by which the log's entries name it.
///
/// # Panics
/// Never: evidence has only fields that JSON can hold.
#[must_use]
pub fn evidence_digest(evidence: &Evidence) -> Sha256Digest {
    Sha256Digest::of(&serde_json::to_vec(evidence).expect("evidence has only fields that JSON can hold"))
}

/// An entry, and what shows that it is in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogProof {
    /// The entry's exact bytes.
    #[serde(with = "base64_bytes")]
    pub entry: Vec<u8>,
    /// The hashes beside the path from the entry to the root (RFC 6962, section 2.1.1).
    pub inclusion: Vec<Hash>,
    /// The checkpoint that has this root, a signed note, with whatever cosignatures the broker has of it.
    pub checkpoint: String,
}

impl LogProof {
    /// What the broker's answer signs.
    pub(crate) fn leaf_hash(&self) -> Hash {
        merkle::leaf_hash(&self.entry)
    }

    /// Establishes that the pinned log holds an entry which tells of the release of exactly these terms to exactly this
    /// evidence, and that enough of the pinned witnesses saw the log with it. Gives the time that the broker wrote into the entry,
    /// in nanoseconds since 1970.
    pub(crate) fn verify(
        &self,
        broker: &PinnedBroker,
        terms: &ReleasedTerms,
        evidence: &Sha256Digest,
    ) -> Result<i64, LogProofError> {
        let entry = Entry::from_bytes(&self.entry).map_err(LogProofError::Entry)?;
        check_entry(&entry, terms, evidence).map_err(LogProofError::OtherEntry)?;
        let checkpoint = Checkpoint::verify(self.checkpoint.as_bytes(), &broker.log_key)
            .map_err(LogProofError::Checkpoint)?;
        let place = Place { index: entry.seq, size: checkpoint.head.size };
        merkle::verify_inclusion(&self.leaf_hash(), place, &self.inclusion, &checkpoint.head.root)
            .map_err(LogProofError::NotIncluded)?;
        let note = Note::parse(self.checkpoint.as_bytes()).map_err(LogProofError::Cosignature)?;
        if broker.witnesses.is_met_by(&note).map_err(LogProofError::Cosignature)? {
            Ok(entry.t)
        } else {
            Err(LogProofError::Witnesses { needed: broker.witnesses.needed() })
        }
    }
}

/// Names the first field that tells of something else.
fn check_entry(entry: &Entry, terms: &ReleasedTerms, evidence: &Sha256Digest) -> Result<(), &'static str> {
    let hash = |digest: &Sha256Digest| Some(Hash::new(*digest.as_bytes()));
    let release = matches!(entry.kind, EventType::KeyRelease | EventType::KeyRenew);
    let model = entry.model.as_ref();
    let decision = entry.decision.as_ref();
    let rules = [
        ("type", release && entry.out == Outcome::Success),
        ("evidence", entry.platform.as_ref().and_then(|platform| platform.evidence) == hash(evidence)),
        ("model", model.is_some_and(|model| model.id.as_str() == terms.model_id.as_str())),
        ("version", model.and_then(|model| model.ver) == Some(terms.version)),
        ("manifest", model.and_then(|model| model.manifest) == hash(&terms.manifest_digest)),
        ("key", entry.key.as_ref().is_some_and(|key| key.kid.as_str() == terms.kid)),
        ("policy", decision.map(|decision| decision.policy_digest) == hash(&terms.policy_digest)),
        ("lease", decision.and_then(|decision| decision.lease_s) == Some(u64::from(terms.lease_s))),
    ];
    rules.iter().find(|(_, holds)| !holds).map_or(Ok(()), |(field, _)| Err(field))
}

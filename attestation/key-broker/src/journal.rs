//! The broker's own audit log: one entry for each decision, durable before the answer.

use anchorhold_audit_log::{
    Actor, ActorKind, AuthMethod, BootId, CheckResult, Claim, Code, Decision, Event, GrantId, Hash, Key,
    KeyId, KeyOperation, Log, LogError, MAX_CHECKS, MAX_ENTRY_BYTES, Measurement, Model, ModelId, Origin,
    Platform, PolicyId, Request, RequestId, Route, Signer, Stamp, Tcb, Tee,
};
use anchorhold_key_release::{Grant, ReleasePolicy, WeightsKeyTerms};
use anchorhold_rats::{Checks, Evidence, Outcome, Secret};
use anchorhold_verifier::{AttestationResult, TeeClaims, snp};
use ring::hmac;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

/// Why a journal was not begun, or an entry not written.
#[derive(Debug)]
pub enum JournalError {
    /// The log.
    Log(LogError),
    /// There is no randomness, or the log's key is refused.
    Begin(&'static str),
    /// The log is closed.
    Closed,
}

impl std::fmt::Display for JournalError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Log(error) => write!(f, "audit log: {error}"),
            Self::Begin(why) => write!(f, "audit log: {why}"),
            Self::Closed => f.write_str("audit log is closed"),
        }
    }
}

impl std::error::Error for JournalError {}

impl From<LogError> for JournalError {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

/// The log of this start of the broker. The lock is held for one append, which is one fdatasync.
pub struct Journal {
    log: Mutex<Option<Log>>,
    chip_key: hmac::Key,
    simulated: bool,
}

impl Journal {
    /// Begins a log in a new folder of `logs`, signed with the broker's log key under a name of its own.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn begin(
        logs: &Path,
        seed: &Secret<32>,
        chip_key: &Secret<32>,
        simulated: bool,
        at: Stamp,
    ) -> Result<Self, JournalError> {
        let boot: Secret<16> = Secret::random().map_err(|_| JournalError::Begin("no randomness"))?;
        let boot = BootId::new(*boot.expose());
        let origin =
            Origin::new(&format!("key-broker/{boot}")).map_err(|_| JournalError::Begin("no origin"))?;
        let signer =
            Signer::from_seed(origin, seed.expose()).map_err(|_| JournalError::Begin("no signer"))?;
        let log = Log::create(&logs.join(boot.to_string()), signer, boot, at)?;
        let chip_key = hmac::Key::new(hmac::HMAC_SHA256, chip_key.expose());
        Ok(Self { log: Mutex::new(Some(log)), chip_key, simulated })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Log>> {
        // A panic inside an append leaves a log that refuses by itself; there is nothing to protect here.
        self.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Appends one entry; durable when this returns.
    ///
    /// # Errors
    /// [`JournalError`]; whoever asked gets no answer that rests on the entry.
    pub fn append(&self, event: Event) -> Result<(), JournalError> {
        self.lock().as_mut().ok_or(JournalError::Closed)?.append(&[event])?;
        Ok(())
    }

    /// Signs a checkpoint if there are entries that none covers.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn checkpoint(&self) -> Result<(), JournalError> {
        match self.lock().as_mut() {
            Some(log) if log.uncovered() > 0 => Ok(log.checkpoint().map(drop)?),
            _ => Ok(()),
        }
    }

    /// Ends the log.
    ///
    /// # Errors
    /// [`JournalError`]; the log then counts as one that ended uncleanly.
    pub fn close(&self, at: Stamp) -> Result<(), JournalError> {
        let log = self.lock().take().ok_or(JournalError::Closed)?;
        Ok(log.close(at).map(drop)?)
    }

    /// Whether entries can be written.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.lock().as_ref().is_some_and(|log| !log.is_poisoned())
    }

    /// Which root evidence is held to.
    #[must_use]
    pub fn tee(&self) -> Tee {
        if self.simulated { Tee::SnpSimulated } else { Tee::Snp }
    }

    /// What is logged of accepted evidence. Chips can be told apart by the HMAC, not named.
    #[must_use]
    pub fn platform_of(&self, evidence: &Evidence, result: &AttestationResult) -> Platform {
        let mut platform = platform_of_evidence(self.tee(), evidence);
        platform.meas = Some(Measurement::new(*result.measurement().as_bytes()));
        match &result.claims().tee {
            TeeClaims::Snp(report) => {
                platform.chip = report.chip_id().map(|chip| {
                    let tag = hmac::sign(&self.chip_key, &chip.0);
                    Hash::try_from(tag.as_ref()).unwrap_or_else(|_| Hash::new([0; 32]))
                });
                platform.policy_bits = Some(report.report().policy.0);
                platform.tcb = Some(tcb(report.tcb()));
            }
            TeeClaims::Tdx(quote) => {
                let tag = hmac::sign(&self.chip_key, &quote.pck().platform_id.0);
                platform.chip = Hash::try_from(tag.as_ref()).ok();
                platform.policy_bits = Some(quote.body().td_attributes.0);
            }
        }
        platform
    }
}

/// What is logged of evidence that was not accepted: its digest.
#[must_use]
pub fn platform_of_evidence(tee: Tee, evidence: &Evidence) -> Platform {
    let json = serde_json::to_vec(evidence).unwrap_or_default();
    Platform::of_evidence(tee, Hash::of(&json))
}

fn tcb(tcb: snp::Tcb) -> Tcb {
    match tcb {
        snp::Tcb::Milan(v) => Tcb { bl: v.bootloader, fmc: None, snp: v.snp, tee: v.tee, ucode: v.microcode },
        snp::Tcb::Genoa(v) => Tcb { bl: v.bootloader, fmc: None, snp: v.snp, tee: v.tee, ucode: v.microcode },
        snp::Tcb::Turin(v) => {
            Tcb { bl: v.bootloader, fmc: Some(v.fmc), snp: v.snp, tee: v.tee, ucode: v.microcode }
        }
    }
}

/// The most bytes of an entry that its rules may take; the rest is for everything else.
const MAX_RULES_BYTES: usize = MAX_ENTRY_BYTES - 4 * 1024;
/// What the JSON of one rule takes beside its three texts.
const RULE_BYTES: usize = 48;

/// The policy and the rules behind a decision. Where an entry has not room for all, failed rules come first.
#[must_use]
pub fn decision(policy: &ReleasePolicy, checks: &Checks, grant: Option<&Grant>) -> Option<Decision> {
    let mut rules: Vec<_> = checks.all().iter().filter(|check| check.outcome != Outcome::Skipped).collect();
    rules.sort_by_key(|check| check.outcome == Outcome::Passed);
    let mut room = MAX_RULES_BYTES;
    let mut results = Vec::new();
    for check in rules.into_iter().take(MAX_CHECKS) {
        let result = CheckResult {
            got: Claim::of(&check.observed),
            id: code(&check.code),
            ok: check.outcome == Outcome::Passed,
            want: Claim::of(&check.wanted),
        };
        let texts = [result.got.as_str(), result.id.as_str(), result.want.as_str()];
        let bytes = RULE_BYTES + texts.iter().map(|text| text.len()).sum::<usize>();
        let Some(left) = room.checked_sub(bytes) else { break };
        room = left;
        results.push(result);
    }
    Some(Decision {
        checks: results,
        claims: grant.and_then(Grant::claims).cloned(),
        grant: grant.and_then(|grant| GrantId::new(grant.name()).ok()),
        lease_s: grant.map(|grant| u64::from(grant.terms().lease_s)),
        policy_digest: Hash::new(*policy.digest().as_bytes()),
        policy_id: PolicyId::new(policy.id()).ok()?,
        policy_ver: policy.version(),
    })
}

/// A code as the log writes it.
#[must_use]
pub fn code(text: &str) -> Code {
    Code::new(text).unwrap_or_else(|_| Code::from_static("unnamed"))
}

/// The actor behind a release request.
#[must_use]
pub fn guest() -> Actor {
    Actor { auth: Some(AuthMethod::Attestation), kind: ActorKind::Client, tenant: None }
}

/// A release request in numbers.
#[must_use]
pub fn request(rid: RequestId, status: u16, ms: u64) -> Request {
    let route = Route::Release;
    let (status, stream, tin, tout) = (Some(status), false, 0, 0);
    Request { finish: None, ms, receipt: None, rid, route, status, stream, tin, tout, ttft_ms: None }
}

/// A model by its name alone.
#[must_use]
pub fn model_named(id: &str) -> Option<Model> {
    ModelId::new(id).ok().map(|id| Model { id, manifest: None, ver: None })
}

/// A model version and its key.
#[must_use]
pub fn model_and_key(terms: &WeightsKeyTerms, op: KeyOperation) -> (Option<Model>, Option<Key>) {
    let manifest = Some(Hash::new(*terms.manifest_digest.as_bytes()));
    let model = model_named(terms.model_id.as_str()).map(|model| Model {
        manifest,
        ver: Some(terms.version),
        ..model
    });
    (model, KeyId::new(&terms.kid).ok().map(|kid| Key { kid, op }))
}

/// A random name for one request.
///
/// # Errors
/// When the system gives no randomness.
pub fn request_id() -> io::Result<RequestId> {
    let bytes: Secret<16> = Secret::random().map_err(io::Error::other)?;
    let text = anchorhold_audit_log::Hex::new(*bytes.expose()).to_string();
    RequestId::new(&text).map_err(io::Error::other)
}

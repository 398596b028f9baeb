//! A broker's log in memory, so that answers can prove their entry.

use anchorhold_audit_log::cosignature::{Cosigner, Quorum};
use anchorhold_audit_log::merkle::{Frontier, inclusion_proof, leaf_hash};
use anchorhold_audit_log::witness::with_signatures;
use anchorhold_audit_log::{
    BootId, Checkpoint, Decision, Event, EventType, GrantId, Hash, Key, KeyId, KeyOperation, Model, ModelId,
    Origin, Outcome, Platform, PolicyId, Signer, Stamp, Tee, encode_entry,
};
use anchorhold_key_release::{Grant, LogProof, ReleaseRequest, evidence_digest};

pub(crate) const ORIGIN: &str = "key-broker/test";
/// How many entries come before the one that is proven.
const BEFORE: u64 = 5;

pub(crate) fn log_signer() -> Signer {
    Signer::from_seed(Origin::new(ORIGIN).unwrap(), &[4; 32]).unwrap()
}

pub(crate) fn witness() -> Cosigner {
    Cosigner::from_seed("witness.example/w", &[9; 32]).unwrap()
}

pub(crate) fn quorum(needed: usize) -> Quorum {
    Quorum::new(vec![witness().key().clone()], needed).unwrap()
}

fn hash(digest: &anchorhold_rats::Sha256Digest) -> Hash {
    Hash::new(*digest.as_bytes())
}

/// The entry that a broker writes for a grant.
pub(crate) fn release_event(grant: &Grant, request: &ReleaseRequest) -> Event {
    let terms = grant.terms();
    let mut event = Event::new(EventType::KeyRelease, Outcome::Success, Stamp { wall_ns: 1, mono_ns: 1 });
    event.platform =
        Some(Platform::of_evidence(Tee::SnpSimulated, hash(&evidence_digest(request.evidence()))));
    event.model = Some(Model {
        id: ModelId::new(terms.model_id.as_str()).unwrap(),
        manifest: Some(hash(&terms.manifest_digest)),
        ver: Some(terms.version),
    });
    event.key = Some(Key { kid: KeyId::new(&terms.kid).unwrap(), op: KeyOperation::Release, kek: None });
    event.decision = Some(Decision {
        checks: Vec::new(),
        claims: grant.claims().cloned(),
        grant: Some(GrantId::new(grant.name()).unwrap()),
        lease_s: Some(u64::from(terms.lease_s)),
        policy_digest: hash(&terms.policy_digest),
        policy_id: PolicyId::new("acme-prod").unwrap(),
        policy_ver: 42,
    });
    event
}

/// The proof of `event` in a log of this signer, with the witness's cosignature.
pub(crate) fn proof_of(event: &Event, signer: &Signer) -> LogProof {
    let boot = BootId::new([1; 16]);
    let mut leaves: Vec<Hash> = (0..BEFORE).map(|at| leaf_hash(&at.to_be_bytes())).collect();
    let entry = encode_entry(event, BEFORE, boot).unwrap();
    leaves.push(leaf_hash(&entry));
    leaves.push(leaf_hash(b"after"));
    let head = leaves.iter().copied().collect::<Frontier>().head();
    let checkpoint = Checkpoint::new(signer.origin().as_str(), head);
    let note = checkpoint.sign(signer).unwrap();
    let note =
        with_signatures(&note, witness().cosign(&checkpoint.to_text(), 1_800_000_000).as_bytes()).unwrap();
    let at = usize::try_from(BEFORE).unwrap();
    LogProof {
        entry,
        inclusion: inclusion_proof(&leaves, at).unwrap(),
        checkpoint: String::from_utf8(note).unwrap(),
    }
}

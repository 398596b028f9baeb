//! One request by a machine, and the decision about it.

use crate::machine::{Machine, Made, anchors};
use anchorhold_audit_log::cosignature::Quorum;
use anchorhold_audit_log::{PublicKey, VerifierKey};
use anchorhold_key_release::{
    AuditTerms, Challenge, Given, Grant, GuestKeys, InstanceId, KeyRequest, KeyUse, NonceKey, PinnedBroker,
    PseudonymKey, Refusal, ReleaseKey, ReleasePolicy, ReleaseRequest, Session, WeightsKeyTerms, decide,
};
use anchorhold_rats::{Ed25519PublicKey, Endorsements, Evidence, Kem, Secret, Sha256Digest, Timestamp};

/// The key of the pseudonyms in these tests.
pub(crate) fn pseudonyms() -> PseudonymKey {
    PseudonymKey::new(&Secret::take(&mut [5; 32]))
}

/// A model version that the broker has.
pub(crate) fn terms(model_id: &str, version: u64, manifest: u8, kid: &str) -> WeightsKeyTerms {
    WeightsKeyTerms {
        model_id: model_id.parse().unwrap(),
        version,
        kid: kid.to_owned(),
        manifest_digest: Sha256Digest::new([manifest; 32]),
        owner_key: Ed25519PublicKey::new([4; 32]),
    }
}

/// A request with everything that belongs to it.
pub(crate) struct Exchange {
    pub(crate) request: ReleaseRequest,
    pub(crate) endorsements: Endorsements,
    pub(crate) at: Timestamp,
}

/// What the machine sends when it asks for `model_id`. `edit` may change the evidence before it is sent.
pub(crate) fn ask(
    machine: &Machine,
    model_id: &str,
    at: Timestamp,
    edit: impl FnOnce(&mut Evidence),
) -> Exchange {
    let broker = Ed25519PublicKey::new([9; 32]);
    let (nonce, expires) = NonceKey::new(&Secret::take(&mut [1; 32])).issue(at).unwrap();
    let broker_key_id = Sha256Digest::of(broker.as_bytes());
    let challenge = Challenge { nonce, expires, broker_time: at, broker_key_id, minor: 0 };
    let instance_id = InstanceId::new([1; 16]);
    let request = KeyRequest {
        model_id: model_id.to_owned(),
        min_version: 1,
        purpose: KeyUse::Serve,
        instance_id,
        log_origin: format!("acme/{instance_id}").parse().unwrap(),
        audit: AuditTerms { anchor_ms: Some(1000), witnesses: 2, ..AuditTerms::default() },
    };
    let keys = GuestKeys {
        tls_key: Sha256Digest::new([2; 32]),
        release_key: ReleaseKey::generate(Kem::XWing).unwrap().public_key().clone(),
        audit_key: Ed25519PublicKey::new([3; 32]),
    };
    let challenge = serde_json::to_vec(&challenge).unwrap();
    let log_key = VerifierKey::new("key-broker/test", PublicKey::new([4; 32])).unwrap();
    let pinned =
        PinnedBroker { signing_key: broker, log_key, witnesses: Quorum::new(Vec::new(), 0).unwrap() };
    let session = Session::begin(&challenge, pinned, request, keys).unwrap();
    let mut endorsements = Endorsements::default();
    let gpus = machine.devices(&session.gpu_nonce(), at, &mut endorsements);
    let digest = Evidence { gpus: gpus.clone(), ..Evidence::snp(Vec::new(), Vec::new()) }.gpu_digest();
    let Made { mut evidence, endorsements } =
        machine.attest(&session.report_data(digest), gpus, endorsements, at);
    edit(&mut evidence);
    let (body, _) = session.send(evidence);
    Exchange { request: ReleaseRequest::from_json(&body).unwrap(), endorsements, at }
}

/// The decision under the simulated roots.
pub(crate) fn judge(
    policy: &ReleasePolicy,
    exchange: &Exchange,
    models: &[WeightsKeyTerms],
) -> Result<Grant, Refusal> {
    let given = Given {
        anchors: &anchors(),
        endorsements: &exchange.endorsements,
        models: &|| models,
        pseudonyms: &pseudonyms(),
        at: exchange.at,
    };
    decide(policy, &exchange.request, &given)
}

//! What a guest takes from a broker: challenge and answer. Nothing that a fuzzer writes is signed by the pinned broker.
#![no_main]

use anchorhold_audit_log::cosignature::Quorum;
use anchorhold_audit_log::{PublicKey, VerifierKey};
use anchorhold_key_release::{
    AuditTerms, Challenge, ChallengeAsked, GuestKeys, InstanceId, KeyRequest, KeyUse, PinnedBroker,
    ReleaseKey, ReleaseResponse, Session,
};
use anchorhold_rats::{Ed25519PublicKey, Evidence, Kem, Nonce, Secret, Sha256Digest, Timestamp};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static KEY: LazyLock<ReleaseKey> =
    LazyLock::new(|| ReleaseKey::from_seed(Kem::X25519, &Secret::take(&mut [1; 32])));

fn begin(challenge: &[u8]) -> Option<Session> {
    let pinned = PinnedBroker {
        signing_key: Ed25519PublicKey::new([5; 32]),
        log_key: VerifierKey::new("key-broker/0", PublicKey::new([6; 32])).expect("a name"),
        witnesses: Quorum::new(Vec::new(), 0).expect("none of none"),
    };
    let instance_id = InstanceId::new([1; 16]);
    let request = KeyRequest {
        model_id: "acme/chat".to_owned(),
        min_version: 1,
        purpose: KeyUse::Serve,
        instance_id,
        log_origin: format!("acme/{instance_id}").parse().expect("a name"),
        audit: AuditTerms::default(),
    };
    let keys = GuestKeys {
        tls_key: Sha256Digest::new([2; 32]),
        release_key: KEY.public_key().clone(),
        audit_key: Ed25519PublicKey::new([3; 32]),
    };
    Session::begin(challenge, pinned, request, keys).ok()
}

fuzz_target!(|json: &[u8]| {
    if let Ok(response) = ReleaseResponse::from_json(json) {
        assert_eq!(ReleaseResponse::from_json(&response.to_json()), Ok(response));
    }
    let _ = begin(json);
    let challenge = Challenge {
        nonce: Nonce::new([9; 32]),
        expires: Timestamp::from_unix_seconds(1_780_000_060),
        broker_time: Timestamp::from_unix_seconds(1_780_000_000),
        broker_key_id: Sha256Digest::of(&[5; 32]),
        minor: ChallengeAsked::agreed(json),
    };
    let challenge = serde_json::to_vec(&challenge).expect("a challenge is JSON");
    let session = begin(&challenge).expect("it is of the pinned broker");
    let (_, awaiting) = session.send(Evidence::snp(vec![1], Vec::new()));
    assert!(awaiting.open(json, &KEY).is_err(), "nobody signed this");
});

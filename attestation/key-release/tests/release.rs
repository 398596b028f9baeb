//! Both ends of a release, with the software attester in between.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests stop at a surprise")]

mod support;

use anchorhold_attester::software::{LaunchConfig, SoftwareGuest, simulated_ark_der};
use anchorhold_audit_log::{Follows, Predecessor};
use anchorhold_key_release::{
    AuditTerms, Awaiting, BrokerKey, Challenge, Denied, Explain, Given, Grant, GuestKeys, InstanceId,
    KeyRequest, KeyUse, LogProof, LogProofError, NonceKey, PinnedBroker, PseudonymKey, Refusal, RefusalBody,
    ReleaseKey, ReleasePolicy, ReleaseRequest, Session, SessionError, WeightsKeyTerms, decide,
};
use anchorhold_rats::{
    Ed25519PublicKey, Endorsements, Kem, Measurement, Nonce, Secret, Sha256Digest, Timestamp,
};
use anchorhold_verifier::TrustAnchors;
use anchorhold_verifier::dangerous::{SimulatedRoots, simulated_anchors};

const POLICY: &str = include_str!("../../../policies/release/chat-prod.toml");

fn at() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().unwrap()
}

fn broker() -> BrokerKey {
    BrokerKey::from_seed(&Secret::take(&mut [5; 32]))
}

fn policy() -> ReleasePolicy {
    ReleasePolicy::from_toml(POLICY).unwrap()
}

fn models() -> Vec<WeightsKeyTerms> {
    vec![WeightsKeyTerms {
        model_id: "acme/chat-70b".parse().unwrap(),
        version: 7,
        kid: "k7".to_owned(),
        manifest_digest: Sha256Digest::new([7; 32]),
        owner_key: Ed25519PublicKey::new([8; 32]),
    }]
}

/// The broker as guests pin it, with `needed` cosignatures of one witness.
fn pinned(needed: usize) -> PinnedBroker {
    PinnedBroker {
        signing_key: broker().public_key(),
        log_key: support::log_signer().key().clone(),
        witnesses: support::quorum(needed),
    }
}

fn request_for(model_id: &str, min_version: u64) -> KeyRequest {
    let instance_id = InstanceId::new([1; 16]);
    KeyRequest {
        model_id: model_id.to_owned(),
        min_version,
        purpose: KeyUse::Serve,
        instance_id,
        log_origin: format!("acme/{instance_id}").parse().unwrap(),
        audit: AuditTerms::default(),
    }
}

struct Guest {
    machine: SoftwareGuest,
    key: ReleaseKey,
}

impl Guest {
    fn new() -> Self {
        let machine = SoftwareGuest::launch(LaunchConfig::new(Measurement::new([0xa1; 48])), at()).unwrap();
        Self { machine, key: ReleaseKey::generate(Kem::XWing).unwrap() }
    }

    fn keys(&self) -> GuestKeys {
        GuestKeys {
            tls_key: Sha256Digest::new([2; 32]),
            release_key: self.key.public_key().clone(),
            audit_key: Ed25519PublicKey::new([3; 32]),
        }
    }

    fn begin(&self, nonce: Nonce) -> Session {
        let (broker_key_id, expires) = (broker().key_id(), at().plus_seconds(60));
        let challenge = Challenge { nonce, expires, broker_time: at(), broker_key_id, minor: 0 };
        let challenge = serde_json::to_vec(&challenge).unwrap();
        Session::begin(&challenge, pinned(1), request_for("acme/chat-70b", 7), self.keys()).unwrap()
    }

    fn send(&self) -> (Vec<u8>, Awaiting) {
        let (nonce, _) = NonceKey::new(&Secret::take(&mut [1; 32])).issue(at()).unwrap();
        let session = self.begin(nonce);
        let evidence = self.machine.attest(&session.report_data(Sha256Digest::of(b""))).unwrap();
        session.send(evidence)
    }
}

fn judge(body: &[u8]) -> Result<Grant, Refusal> {
    let anchors = simulated_anchors(&SimulatedRoots::amd(simulated_ark_der())).unwrap();
    judge_with(body, &anchors, &models())
}

fn judge_with(body: &[u8], anchors: &TrustAnchors, models: &[WeightsKeyTerms]) -> Result<Grant, Refusal> {
    let pseudonyms = PseudonymKey::new(&Secret::take(&mut [5; 32]));
    let endorsements = Endorsements::default();
    let given =
        Given { anchors, endorsements: &endorsements, models: &|| models, pseudonyms: &pseudonyms, at: at() };
    decide(&policy(), &ReleaseRequest::from_json(body).unwrap(), &given)
}

/// The answer to `body`, of a broker with this key, whose log is changed as told.
fn answer_with(body: &[u8], key: &BrokerKey, change: impl FnOnce(LogProof) -> LogProof) -> Vec<u8> {
    let grant = judge(body).unwrap();
    let request = ReleaseRequest::from_json(body).unwrap();
    let log = support::proof_of(&support::release_event(&grant, &request), &support::log_signer());
    grant.wrap(&weights_key(), key).unwrap().answer(change(log), key).to_json()
}

fn answer(body: &[u8]) -> Vec<u8> {
    answer_with(body, &broker(), |log| log)
}

fn weights_key() -> Secret<32> {
    Secret::take(&mut [0x77; 32])
}

fn code(body: &serde_json::Value) -> String {
    judge(&serde_json::to_vec(body).unwrap()).unwrap_err().denied().code().to_owned()
}

#[test]
fn the_guest_that_the_evidence_names_gets_the_key_and_its_terms() {
    let guest = Guest::new();
    let (body, awaiting) = guest.send();
    let grant = judge(&body).unwrap();
    assert!(grant.attestation().simulated());
    assert!(grant.checks().none_failed() && grant.checks().all().len() > 20);
    let released = awaiting.open(&answer(&body), &guest.key).unwrap();
    assert_eq!(released.weights_key(), &weights_key());
    let terms = released.terms();
    assert_eq!((terms.version, terms.kid.as_str(), terms.lease_s), (7, "k7", 3600));
    assert_eq!(terms.manifest_digest, Sha256Digest::new([7; 32]));
    assert_eq!(terms.policy_digest, Sha256Digest::of(POLICY.as_bytes()));
}

#[test]
fn case_03_refuses_evidence_that_names_other_keys() {
    let (body, _) = Guest::new().send();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    for key in ["tls_key", "release_key", "audit_key"] {
        let mut other = body.clone();
        let prefix = if key == "release_key" { "x25519:" } else { "" };
        other["keys"][key] = format!("{prefix}{}", "66".repeat(32)).into();
        assert_eq!(code(&other), "binding_mismatch", "{key}");
    }
}

#[test]
fn case_02_refuses_evidence_of_another_challenge_or_request() {
    let (one, _) = Guest::new().send();
    let mut one: serde_json::Value = serde_json::from_slice(&one).unwrap();
    let (other, _) = Guest::new().send();
    let other: serde_json::Value = serde_json::from_slice(&other).unwrap();
    let mut changed = one.clone();
    changed["nonce"] = other["nonce"].clone();
    assert_eq!(code(&changed), "binding_mismatch");
    let lower = one["request"].as_str().unwrap().replace("\"min_version\":7", "\"min_version\":0");
    assert_ne!(lower, one["request"]);
    one["request"] = lower.into();
    assert_eq!(code(&one), "binding_mismatch");
}

#[test]
fn case_05_production_anchors_refuse_the_simulated_root_whatever_the_policy() {
    let (body, _) = Guest::new().send();
    let refusal = judge_with(&body, &TrustAnchors::production(), &models()).unwrap_err();
    assert!(
        matches!(refusal.denied(), Denied::Evidence(code) if code == "snp_no_trust_anchor"),
        "{refusal:?}"
    );
    assert!(!refusal.platform_accepted());
}

#[test]
fn case_05_refuses_a_forged_report() {
    let (body, _) = Guest::new().send();
    let mut request: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let (other, _) = Guest::new().send();
    let other: serde_json::Value = serde_json::from_slice(&other).unwrap();
    request["evidence"]["certificates"] = other["evidence"]["certificates"].clone();
    assert_eq!(code(&request), "snp_report_signature");
}

#[test]
fn case_04_a_relay_ends_with_a_ciphertext_that_it_cannot_open() {
    let guest = Guest::new();
    let (body, awaiting) = guest.send();
    let relay = ReleaseKey::generate(Kem::XWing).unwrap();
    assert!(matches!(awaiting.open(&answer(&body), &relay), Err(SessionError::OtherReleaseKey)));
}

#[test]
fn case_04_the_guest_refuses_an_answer_to_another_exchange() {
    let guest = Guest::new();
    let (body, _) = guest.send();
    let response = answer(&body);
    let (_, later) = guest.send();
    assert!(matches!(later.open(&response, &guest.key), Err(SessionError::Signature)));
}

#[test]
fn the_guest_refuses_an_answer_of_another_broker_and_every_altered_byte() {
    let guest = Guest::new();
    let (body, awaiting) = guest.send();
    let other = BrokerKey::from_seed(&Secret::take(&mut [6; 32]));
    let response = answer_with(&body, &other, |log| log);
    assert!(matches!(awaiting.open(&response, &guest.key), Err(SessionError::Signature)));

    for field in ["enc", "ciphertext", "signature"] {
        let (body, awaiting) = guest.send();
        let mut response: serde_json::Value = serde_json::from_slice(&answer(&body)).unwrap();
        let text = response[field].as_str().unwrap();
        let swapped = if text.starts_with('A') { "B" } else { "A" };
        response[field] = format!("{swapped}{}", &text[1..]).into();
        let altered = serde_json::to_vec(&response).unwrap();
        assert!(matches!(awaiting.open(&altered, &guest.key), Err(SessionError::Signature)), "{field}");
    }
}

#[test]
fn the_guest_refuses_a_challenge_of_a_broker_that_is_not_pinned() {
    let guest = Guest::new();
    let other = BrokerKey::from_seed(&Secret::take(&mut [6; 32]));
    let challenge = Challenge {
        nonce: Nonce::new([1; 32]),
        expires: at(),
        broker_time: at(),
        broker_key_id: other.key_id(),
        minor: 0,
    };
    let json = serde_json::to_vec(&challenge).unwrap();
    let error = Session::begin(&json, pinned(1), request_for("acme/chat-70b", 7), guest.keys()).unwrap_err();
    assert!(matches!(error, SessionError::OtherBroker { .. }));
}

#[test]
fn case_06_the_explanation_names_component_wanted_and_observed() {
    let mut config = LaunchConfig::new(Measurement::new([0xa1; 48]));
    let low = [10, 0, 0, 0, 0, 0, 22, 84];
    (config.current_tcb, config.reported_tcb, config.committed_tcb, config.launch_tcb) = (low, low, low, low);
    let guest = Guest {
        machine: SoftwareGuest::launch(config, at()).unwrap(),
        key: ReleaseKey::generate(Kem::X25519).unwrap(),
    };
    let refusal = judge(&guest.send().0).unwrap_err();
    let explained = refusal.trace().explain();
    for part in
        ["grant \"chat-prod\" refused", "snp_tcb_minimum", "snp at least 23", "observed 22", "nearest grant"]
    {
        assert!(explained.contains(part), "{part}: {explained}");
    }
    let told: RefusalBody = serde_json::from_slice(&refusal.to_json(Explain::Checks)).unwrap();
    assert!(told.error.checks.unwrap().iter().any(|check| check.code == "snp_tcb_minimum"));
    let told: RefusalBody = serde_json::from_slice(&refusal.to_json(Explain::Code)).unwrap();
    assert_eq!((told.error.code.as_str(), told.error.checks), ("snp_tcb_minimum", None));
}

#[test]
fn case_10_unknown_and_forbidden_models_get_the_same_bytes() {
    let guest = Guest::new();
    let answer = |id: &str, models: &[WeightsKeyTerms]| {
        let (nonce, _) = NonceKey::new(&Secret::take(&mut [1; 32])).issue(at()).unwrap();
        let challenge = Challenge {
            nonce,
            expires: at().plus_seconds(60),
            broker_time: at(),
            broker_key_id: broker().key_id(),
            minor: 0,
        };
        let challenge = serde_json::to_vec(&challenge).unwrap();
        let session = Session::begin(&challenge, pinned(1), request_for(id, 0), guest.keys()).unwrap();
        let evidence = guest.machine.attest(&session.report_data(Sha256Digest::of(b""))).unwrap();
        let anchors = simulated_anchors(&SimulatedRoots::amd(simulated_ark_der())).unwrap();
        let refusal = judge_with(&session.send(evidence).0, &anchors, models).unwrap_err();
        assert!(refusal.platform_accepted());
        (refusal.denied().status(), refusal.to_json(Explain::Checks))
    };
    let mut forbidden = models();
    forbidden[0].model_id = "acme/secret".parse().unwrap();
    let unknown = answer("acme/none", &[]);
    assert_eq!(answer("acme/secret", &forbidden), unknown);
    for trick in
        ["acme/./chat-70b", "ACME/chat-70b", "acme%2Fchat-70b", "acme/chat-70b/", "acme/chat-70b\u{0}", ""]
    {
        assert_eq!(answer(trick, &[]), unknown, "{trick}");
    }
}

#[test]
fn a_guest_with_either_kem_gets_its_key() {
    for kem in Kem::ALL {
        let guest = Guest { key: ReleaseKey::generate(kem).unwrap(), ..Guest::new() };
        let (body, awaiting) = guest.send();
        assert_eq!(awaiting.open(&answer(&body), &guest.key).unwrap().weights_key(), &weights_key(), "{kem}");
    }
}

#[test]
fn case_44_a_release_says_the_brokers_time_as_it_stands_in_the_signed_entry() {
    let guest = Guest::new();
    let (body, awaiting) = guest.send();
    let grant = judge(&body).unwrap();
    let mut event = support::release_event(&grant, &ReleaseRequest::from_json(&body).unwrap());
    event.at.wall_ns = 1_800_000_000_123_456_789;
    let log = support::proof_of(&event, &support::log_signer());
    let answer = grant.wrap(&weights_key(), &broker()).unwrap().answer(log, &broker()).to_json();
    assert_eq!(awaiting.open(&answer, &guest.key).unwrap().decided_ns(), event.at.wall_ns);
}

/// What the guest says to an answer with this change to its proof.
fn refusal_of(change: impl FnOnce(LogProof) -> LogProof) -> LogProofError {
    let guest = Guest::new();
    let (body, awaiting) = guest.send();
    match awaiting.open(&answer_with(&body, &broker(), change), &guest.key) {
        Err(SessionError::NotLogged(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_guest_refuses_a_key_whose_release_is_not_in_the_log() {
    let bare = refusal_of(|log| LogProof { inclusion: Vec::new(), ..log });
    assert!(matches!(bare, LogProofError::NotIncluded(_)), "{bare}");
    let damaged = refusal_of(|log| LogProof { entry: b"{}".to_vec(), ..log });
    assert!(matches!(damaged, LogProofError::Entry(_)), "{damaged}");
    let unsigned =
        refusal_of(|log| LogProof { checkpoint: log.checkpoint.replace("key-broker", "x"), ..log });
    assert!(matches!(unsigned, LogProofError::Checkpoint(_)), "{unsigned}");
}

#[test]
fn the_guest_refuses_the_proof_of_another_entry() {
    type Change = fn(&mut anchorhold_audit_log::Event);
    let changes: [(&str, Change); 8] = [
        ("type", |event| event.kind = anchorhold_audit_log::EventType::KeyRefuse),
        ("type", |event| event.outcome = anchorhold_audit_log::Outcome::Denied),
        ("evidence", |event| event.platform = None),
        ("model", |event| event.model = None),
        ("version", |event| event.model.as_mut().unwrap().ver = Some(8)),
        ("manifest", |event| event.model.as_mut().unwrap().manifest = None),
        ("key", |event| event.key.as_mut().unwrap().kid = "k8".parse().unwrap()),
        ("lease", |event| event.decision.as_mut().unwrap().lease_s = Some(3601)),
    ];
    for (field, change) in changes {
        let guest = Guest::new();
        let (body, awaiting) = guest.send();
        let grant = judge(&body).unwrap();
        let mut event = support::release_event(&grant, &ReleaseRequest::from_json(&body).unwrap());
        change(&mut event);
        let log = support::proof_of(&event, &support::log_signer());
        let answer = grant.wrap(&weights_key(), &broker()).unwrap().answer(log, &broker()).to_json();
        let error = awaiting.open(&answer, &guest.key).unwrap_err();
        assert_eq!(error, SessionError::NotLogged(LogProofError::OtherEntry(field)));
    }
    // An entry that was true for an earlier release to the same guest.
    let guest = Guest::new();
    let (earlier, _) = guest.send();
    let (body, awaiting) = guest.send();
    let event =
        support::release_event(&judge(&earlier).unwrap(), &ReleaseRequest::from_json(&earlier).unwrap());
    let log = support::proof_of(&event, &support::log_signer());
    let answer = answer_with(&body, &broker(), |_| log);
    let error = awaiting.open(&answer, &guest.key).unwrap_err();
    assert_eq!(error, SessionError::NotLogged(LogProofError::OtherEntry("evidence")));
}

#[test]
fn the_guest_refuses_another_log_and_a_checkpoint_without_its_witness() {
    let guest = Guest::new();
    let (body, awaiting) = guest.send();
    let grant = judge(&body).unwrap();
    let event = support::release_event(&grant, &ReleaseRequest::from_json(&body).unwrap());
    let other = anchorhold_audit_log::Signer::from_seed(support::ORIGIN.parse().unwrap(), &[5; 32]).unwrap();
    let log = support::proof_of(&event, &other);
    let answer = grant.wrap(&weights_key(), &broker()).unwrap().answer(log, &broker()).to_json();
    let error = awaiting.open(&answer, &guest.key).unwrap_err();
    assert!(matches!(error, SessionError::NotLogged(LogProofError::Checkpoint(_))), "{error}");

    let without = |log: LogProof| {
        let end = log.checkpoint.trim_end().rfind('\n').unwrap();
        LogProof { checkpoint: log.checkpoint[..=end].to_owned(), ..log }
    };
    assert_eq!(refusal_of(without), LogProofError::Witnesses { needed: 1 });
    let forged = |log: LogProof| {
        let checkpoint = log.checkpoint.trim_end();
        let last = if checkpoint.ends_with("A==") { "B==\n" } else { "A==\n" };
        LogProof { checkpoint: format!("{}{last}", &checkpoint[..checkpoint.len() - 3]), ..log }
    };
    let error = refusal_of(forged);
    assert!(matches!(error, LogProofError::Cosignature(_) | LogProofError::Checkpoint(_)), "{error}");
}

#[test]
fn keys_and_grants_are_shown_without_what_they_hold() {
    let (body, _) = Guest::new().send();
    let wrapped = judge(&body).unwrap().wrap(&weights_key(), &broker()).unwrap();
    assert_eq!(format!("{wrapped:?}"), "WrappedGrant(chat-prod)");
    assert_eq!(format!("{:?}", broker()), format!("BrokerKey({})", broker().public_key()));
    let errors = [
        (SessionError::OtherReleaseKey.to_string(), "release key"),
        (SessionError::Signature.to_string(), "not signed by the pinned broker"),
        (SessionError::Model.to_string(), "another model"),
        (SessionError::Version { wanted: 7, observed: 6 }.to_string(), "version 6, at least 7"),
        (LogProofError::OtherEntry("lease").to_string(), "lease is not that of this release"),
        (LogProofError::Witnesses { needed: 2 }.to_string(), "fewer than 2 of the pinned"),
    ];
    for (text, part) in errors {
        assert!(text.contains(part), "{text}");
    }
}

/// What a guest takes of an answer that names this log as the one before its own.
fn answer_naming(minor: u32, origin: Option<&str>) -> Result<Follows, SessionError> {
    let guest = Guest::new();
    let (nonce, _) = NonceKey::new(&Secret::take(&mut [1; 32])).issue(at()).unwrap();
    let (broker_key_id, expires) = (broker().key_id(), at().plus_seconds(60));
    let challenge = Challenge { nonce, expires, broker_time: at(), broker_key_id, minor };
    let challenge = serde_json::to_vec(&challenge).unwrap();
    let request = request_for("acme/chat-70b", 7);
    let session = Session::begin(&challenge, pinned(1), request, guest.keys()).unwrap();
    let evidence = guest.machine.attest(&session.report_data(Sha256Digest::of(b""))).unwrap();
    let (body, awaiting) = session.send(evidence);
    let request = ReleaseRequest::from_json(&body).unwrap();
    assert_eq!(request.request().audit.predecessor, minor > 0);
    let told = origin.map(predecessor);
    let grant = judge(&body).unwrap().following(told);
    let log = support::proof_of(&support::release_event(&grant, &request), &support::log_signer());
    let answer = grant.wrap(&weights_key(), &broker()).unwrap().answer(log, &broker()).to_json();
    awaiting.open(&answer, &guest.key).map(|key| key.follows())
}

fn predecessor(origin: &str) -> Predecessor {
    let root = anchorhold_audit_log::Hash::new([5; 32]);
    Predecessor { closed: true, origin: origin.parse().unwrap(), root, size: 12 }
}

#[test]
fn a_guest_hears_which_log_came_before_its_own_where_the_broker_can_say() {
    assert_eq!(answer_naming(1, Some("acme/0")), Ok(Follows::Log(predecessor("acme/0"))));
    assert_eq!(answer_naming(1, None), Ok(Follows::Nothing));
    assert_eq!(answer_naming(0, None), Ok(Follows::NotTold));
    // One that can say more than this guest knows of.
    assert_eq!(answer_naming(9, None), Ok(Follows::Nothing));
}

#[test]
fn refuses_its_own_log_and_that_of_another_deployment_as_the_one_before() {
    let own = request_for("", 0).log_origin;
    for origin in [own.as_str(), "other/0", "acme/x/0", "acme"] {
        assert_eq!(answer_naming(1, Some(origin)), Err(SessionError::Predecessor), "{origin}");
    }
}

#[test]
fn what_old_ends_read_is_as_it_was() {
    let (nonce, expires) = (Nonce::new([1; 32]), at());
    let challenge =
        Challenge { nonce, expires, broker_time: at(), broker_key_id: broker().key_id(), minor: 0 };
    assert!(!String::from_utf8(serde_json::to_vec(&challenge).unwrap()).unwrap().contains("minor"));
    let request = serde_json::to_string(&request_for("acme/chat-70b", 7)).unwrap();
    assert!(!request.contains("predecessor"), "{request}");
    let guest = Guest::new();
    let terms = serde_json::to_string(judge(&guest.send().0).unwrap().terms()).unwrap();
    assert!(!terms.contains("predecessor"), "{terms}");
}

//! Runs every case of `policies/cases/release` through the real attester, verifier and decision.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests stop at a surprise")]

use anchorhold_attester::software::{
    Debug, LaunchConfig, MigrationAgent, Product, Signer, SoftwareGuest, simulated_ark_der,
};
use anchorhold_audit_log::cosignature::Quorum;
use anchorhold_audit_log::{PublicKey, VerifierKey};
use anchorhold_key_release::{
    AuditTerms, Challenge, Given, GuestKeys, KeyRequest, NonceKey, PinnedBroker, PseudonymKey, ReleaseKey,
    ReleasePolicy, ReleaseRequest, Session, WeightsKeyTerms, decide,
};
use anchorhold_rats::{Ed25519PublicKey, Endorsements, Kem, Secret, Sha256Digest, Timestamp};
use anchorhold_verifier::dangerous::{SimulatedRoots, simulated_anchors};
use serde::Deserialize;
use std::path::Path;

const POLICIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    why: String,
    policy: String,
    at: Timestamp,
    guest: Guest,
    request: Request,
    #[serde(default)]
    model: Vec<Model>,
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Guest {
    measurement: String,
    product: String,
    tcb: Option<[u8; 8]>,
    committed_tcb: Option<[u8; 8]>,
    launch_tcb: Option<[u8; 8]>,
    #[serde(default)]
    debug: bool,
    #[serde(default)]
    migration: bool,
    vmpl: Option<u32>,
    guest_policy: Option<u64>,
    platform_info: Option<u64>,
    signer: Option<String>,
    chip_id: Option<String>,
    host_data: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    model_id: String,
    min_version: u64,
    purpose: String,
    /// Of the guest's key. Default: `x-wing`.
    kem: Option<String>,
    #[serde(default)]
    audit: AuditTerms,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    id: String,
    version: u64,
    manifest: Sha256Digest,
    kid: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    verdict: String,
    grant: Option<String>,
    version: Option<u64>,
    code: Option<String>,
}

fn launch(guest: &Guest) -> LaunchConfig {
    let product = match guest.product.as_str() {
        "milan" => Product::Milan,
        "genoa" => Product::Genoa,
        "turin" => Product::Turin,
        other => panic!("product {other}"),
    };
    let mut config = LaunchConfig::for_product(guest.measurement.parse().unwrap(), product);
    if let Some(tcb) = guest.tcb {
        (config.current_tcb, config.reported_tcb, config.committed_tcb, config.launch_tcb) =
            (tcb, tcb, tcb, tcb);
    }
    config.committed_tcb = guest.committed_tcb.unwrap_or(config.committed_tcb);
    config.launch_tcb = guest.launch_tcb.unwrap_or(config.launch_tcb);
    config.debug = if guest.debug { Debug::Allowed } else { Debug::Denied };
    config.migration_agent = if guest.migration { MigrationAgent::Allowed } else { MigrationAgent::Denied };
    config.vmpl = guest.vmpl.unwrap_or(0);
    config.guest_policy = guest.guest_policy.unwrap_or(config.guest_policy);
    config.platform_info = guest.platform_info.unwrap_or(config.platform_info);
    config.signer = match guest.signer.as_deref() {
        None | Some("vcek") => Signer::Vcek,
        Some("vlek") => Signer::Vlek,
        Some(other) => panic!("signer {other}"),
    };
    let chip =
        guest.chip_id.as_deref().map(|hex| *hex.parse::<anchorhold_rats::ReportData>().unwrap().as_bytes());
    config.chip_id = chip;
    if let Some(hex) = &guest.host_data {
        config.host_data = *hex.parse::<Sha256Digest>().unwrap().as_bytes();
    }
    config
}

fn release_request(case: &Case) -> ReleaseRequest {
    let broker = Ed25519PublicKey::new([9; 32]);
    let (nonce, expires) = NonceKey::new(&Secret::take(&mut [1; 32])).issue(case.at).unwrap();
    let broker_key_id = Sha256Digest::of(broker.as_bytes());
    let challenge = Challenge { nonce, expires, broker_time: case.at, broker_key_id, minor: 0 };
    let request: KeyRequest = serde_json::from_value(serde_json::json!({
        "model_id": case.request.model_id, "min_version": case.request.min_version,
        "purpose": case.request.purpose, "instance_id": "00".repeat(16),
        "log_origin": format!("acme/{}", "00".repeat(16)),
        "audit": case.request.audit,
    }))
    .unwrap();
    let kem = case.request.kem.as_deref().map_or(Kem::XWing, |name| Kem::named(name).unwrap());
    let keys = GuestKeys {
        tls_key: Sha256Digest::new([2; 32]),
        release_key: ReleaseKey::generate(kem).unwrap().public_key().clone(),
        audit_key: Ed25519PublicKey::new([3; 32]),
    };
    let challenge = serde_json::to_vec(&challenge).unwrap();
    let log_key = VerifierKey::new("key-broker/test", PublicKey::new([4; 32])).unwrap();
    let pinned =
        PinnedBroker { signing_key: broker, log_key, witnesses: Quorum::new(Vec::new(), 0).unwrap() };
    let session = Session::begin(&challenge, pinned, request, keys).unwrap();
    let guest = SoftwareGuest::launch(launch(&case.guest), case.at).unwrap();
    let evidence = guest.attest(&session.report_data(Sha256Digest::of(b""))).unwrap();
    ReleaseRequest::from_json(&session.send(evidence).0).unwrap()
}

/// Nothing if the verdict is as expected, else what came.
fn run(path: &Path) -> Option<String> {
    let case: Case = toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let file = std::fs::read_to_string(Path::new(POLICIES).join("release").join(&case.policy)).unwrap();
    let policy = ReleasePolicy::from_toml(&file).unwrap();
    let request = release_request(&case);
    let terms = |model: &Model| WeightsKeyTerms {
        model_id: model.id.parse().unwrap(),
        version: model.version,
        kid: model.kid.clone(),
        manifest_digest: model.manifest,
        owner_key: Ed25519PublicKey::new([4; 32]),
    };
    let models: Vec<_> = case.model.iter().filter(|m| m.id == case.request.model_id).map(terms).collect();
    let anchors = simulated_anchors(&SimulatedRoots::amd(simulated_ark_der())).unwrap();
    let given = Given {
        anchors: &anchors,
        endorsements: &Endorsements::default(),
        models: &|| &models,
        pseudonyms: &PseudonymKey::new(&Secret::take(&mut [5; 32])),
        at: case.at,
    };
    let observed = match decide(&policy, &request, &given) {
        Ok(grant) => ("release", Some(grant.name().to_owned()), Some(grant.terms().version), None),
        Err(refusal) => ("refuse", None, None, Some(refusal.denied().code().to_owned())),
    };
    let Expect { verdict, grant, version, code } = case.expect;
    let wanted = (verdict.as_str(), grant, version, code);
    (observed != wanted)
        .then(|| format!("{} ({}): wanted {wanted:?}, observed {observed:?}", path.display(), case.why))
}

#[test]
fn every_case_has_the_expected_verdict() {
    let folder = Path::new(POLICIES).join("cases/release");
    let mut cases: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.extension().is_some_and(|ext| ext == "toml"));
    assert!(cases.len() >= 44, "{} cases", cases.len());
    let wrong: Vec<_> = cases.iter().filter_map(|path| run(path)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

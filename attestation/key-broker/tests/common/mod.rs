//! A broker in a temporary folder with a clock that the test sets, and guests that ask it.
#![allow(dead_code, reason = "each test file uses its part")]

use anchorhold_attester::software::{LaunchConfig, SoftwareGuest, simulated_ark_der};
use anchorhold_audit_log::Stamp;
use anchorhold_key_broker::broker::{Broker, Surroundings, secrets};
use anchorhold_key_broker::kek::Keyring;
use anchorhold_key_broker::state::{Layout, State};
use anchorhold_key_release::{
    Awaiting, BrokerKey, GuestKeys, InstanceId, KeyRequest, KeyUse, RefusalBody, ReleaseKey, Session,
    WeightsKeyImport, WeightsKeyTerms,
};
use anchorhold_rats::{Ed25519PublicKey, Measurement, Secret, Sha256Digest, Timestamp};
use anchorhold_verifier::TrustAnchors;
use anchorhold_verifier::dangerous::{SimulatedRoots, simulated_anchors};
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use tower::ServiceExt as _;

pub(crate) const POLICY: &str = include_str!("../../../../policies/release/chat-prod.toml");
const START: &str = "2026-06-01T00:00:00Z";

/// A clock that stands until it is set.
#[derive(Clone)]
pub(crate) struct Clock(Arc<AtomicI64>);

impl Clock {
    pub(crate) fn new() -> Self {
        let start: Timestamp = START.parse().unwrap();
        Self(Arc::new(AtomicI64::new(start.unix_seconds())))
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_unix_seconds(self.0.load(Ordering::SeqCst))
    }

    pub(crate) fn pass(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

/// A broker's folder, with what its owner knows of it.
pub(crate) struct Site {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) clock: Clock,
    pub(crate) reports: Arc<Mutex<Vec<String>>>,
}

const SEEDS: [(&str, [u8; 32]); 5] = [
    (secrets::SIGNING, [1; 32]),
    (secrets::IMPORT, [2; 32]),
    (secrets::LOG, [3; 32]),
    (secrets::NONCE, [4; 32]),
    (secrets::CHIP, [5; 32]),
];

pub(crate) fn signing_key() -> BrokerKey {
    BrokerKey::from_seed(&Secret::take(&mut [1; 32]))
}

pub(crate) fn weights_key(version: u8) -> Secret<32> {
    Secret::take(&mut [0x40 + version; 32])
}

pub(crate) fn terms(model_id: &str, version: u8) -> WeightsKeyTerms {
    WeightsKeyTerms {
        model_id: model_id.parse().unwrap(),
        version: u64::from(version),
        kid: format!("k{version}"),
        manifest_digest: Sha256Digest::new([version; 32]),
        owner_key: Ed25519PublicKey::new([8; 32]),
    }
}

pub(crate) fn import_file(model_id: &str, version: u8) -> Vec<u8> {
    let import_key = ReleaseKey::from_seed(&Secret::take(&mut [2; 32])).public_key();
    WeightsKeyImport::wrap(&weights_key(version), terms(model_id, version), &import_key).unwrap().to_json()
}

impl Site {
    /// An empty state.
    pub(crate) fn bare() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let seeds: Vec<(&'static str, &[u8])> =
            SEEDS.iter().map(|(kind, seed)| (*kind, seed.as_slice())).collect();
        drop(State::create(&Layout::of(folder.path()), &seeds).unwrap());
        Self { folder, clock: Clock::new(), reports: Arc::default() }
    }

    /// A state with the example policy and version 7 of its model; the broker on it.
    pub(crate) fn with_model() -> (Self, Arc<Broker>) {
        let site = Self::bare();
        let broker = site.open();
        broker.set_policy(POLICY).unwrap();
        broker.import(&import_file("acme/chat-70b", 7)).unwrap();
        (site, broker)
    }

    pub(crate) fn layout(&self) -> Layout {
        Layout::of(self.folder.path())
    }

    pub(crate) fn around(&self) -> Surroundings {
        let (clock, reports) = (self.clock.clone(), Arc::clone(&self.reports));
        let stamp = move || Stamp { wall_ns: clock.now().unix_seconds() * 1_000_000_000, mono_ns: 0 };
        let report = move |text: &str| reports.lock().unwrap().push(text.to_owned());
        Surroundings { clock: Arc::new(stamp), report: Arc::new(report) }
    }

    pub(crate) fn open(&self) -> Arc<Broker> {
        self.open_with(simulated_anchors(&SimulatedRoots::amd(simulated_ark_der())).unwrap())
    }

    pub(crate) fn open_with(&self, anchors: TrustAnchors) -> Arc<Broker> {
        Arc::new(Broker::open(&self.layout(), anchors, self.around()).unwrap())
    }

    /// The broker with these key-encryption keys instead of those of its settings.
    pub(crate) fn open_with_keyring(&self, keyring: Keyring) -> Arc<Broker> {
        let state = State::open_with(&self.layout(), keyring).unwrap();
        let anchors = simulated_anchors(&SimulatedRoots::amd(simulated_ark_der())).unwrap();
        Arc::new(Broker::of(state, &self.layout(), anchors, self.around()).unwrap())
    }

    /// The entries of all logs of this site, as JSON.
    pub(crate) fn entries(&self) -> Vec<serde_json::Value> {
        let mut entries = Vec::new();
        let mut boots: Vec<_> =
            std::fs::read_dir(self.layout().logs()).unwrap().map(|e| e.unwrap().path()).collect();
        boots.sort_by_key(|boot| std::fs::metadata(boot).unwrap().modified().unwrap());
        for boot in boots {
            entries.extend(leaves(&boot));
        }
        entries
    }

    /// Type and code of each entry about keys and policies.
    pub(crate) fn story(&self) -> Vec<(String, String)> {
        let text = |entry: &serde_json::Value, key: &str| entry[key].as_str().unwrap().to_owned();
        let entries = self.entries();
        let told = entries.iter().map(|entry| (text(entry, "type"), text(entry, "code")));
        told.filter(|(kind, _)| kind.starts_with("key.") || kind.starts_with("policy.")).collect()
    }
}

/// The leaves of one boot's first segment: the log is JSON objects between binary frame heads.
fn leaves(boot: &Path) -> Vec<serde_json::Value> {
    let bytes = std::fs::read(boot.join("entries/00000000.seg")).unwrap();
    let mut out = Vec::new();
    let mut rest = bytes.as_slice();
    while let Some(at) = rest.windows(7).position(|part| part == b"{\"act\":") {
        let mut stream = serde_json::Deserializer::from_slice(&rest[at..]).into_iter();
        out.push(stream.next().unwrap().unwrap());
        rest = &rest[at + stream.byte_offset()..];
    }
    out
}

/// A guest with a machine and a release key.
pub(crate) struct Guest {
    pub(crate) machine: SoftwareGuest,
    pub(crate) key: ReleaseKey,
    pub(crate) instance: u8,
}

impl Guest {
    pub(crate) fn new(clock: &Clock) -> Self {
        Self::launch(LaunchConfig::new(Measurement::new([0xa1; 48])), clock)
    }

    pub(crate) fn launch(config: LaunchConfig, clock: &Clock) -> Self {
        let machine = SoftwareGuest::launch(config, clock.now()).unwrap();
        Self { machine, key: ReleaseKey::generate().unwrap(), instance: 1 }
    }

    pub(crate) fn session(&self, challenge: &[u8], model_id: &str, min_version: u64) -> Session {
        let keys = GuestKeys {
            tls_key: Sha256Digest::new([2; 32]),
            release_key: self.key.public_key(),
            audit_key: Ed25519PublicKey::new([3; 32]),
        };
        let request = KeyRequest {
            model_id: model_id.to_owned(),
            min_version,
            purpose: KeyUse::Serve,
            instance_id: InstanceId::new([self.instance; 16]),
        };
        Session::begin(challenge, signing_key().public_key(), request, keys).unwrap()
    }

    /// The body for this challenge, and what opens the answer.
    pub(crate) fn answer(&self, challenge: &[u8]) -> (Vec<u8>, Awaiting) {
        self.ask(challenge, "acme/chat-70b", 1)
    }

    pub(crate) fn ask(&self, challenge: &[u8], model_id: &str, min_version: u64) -> (Vec<u8>, Awaiting) {
        let session = self.session(challenge, model_id, min_version);
        let evidence = self.machine.attest(&session.report_data(Sha256Digest::of(b""))).unwrap();
        session.send(evidence)
    }
}

/// One request through the router, without a socket: status and body.
pub(crate) async fn call(broker: &Arc<Broker>, request: Request<Body>) -> (u16, Vec<u8>) {
    let response = anchorhold_key_broker::router::router(Arc::clone(broker)).oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/json");
    (status, response.into_body().collect().await.unwrap().to_bytes().to_vec())
}

pub(crate) async fn post(broker: &Arc<Broker>, path: &str, body: Vec<u8>) -> (u16, Vec<u8>) {
    call(broker, Request::post(path).body(Body::from(body)).unwrap()).await
}

pub(crate) async fn challenge(broker: &Arc<Broker>) -> Vec<u8> {
    let (status, body) = post(broker, "/v1/challenge", Vec::new()).await;
    assert_eq!(status, 200);
    body
}

/// Status and code of a refusal.
pub(crate) fn refusal((status, body): (u16, Vec<u8>)) -> (u16, String) {
    let body: RefusalBody = serde_json::from_slice(&body).unwrap();
    (status, body.error.code)
}

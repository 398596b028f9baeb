//! A broker in a temporary folder with a clock that the test sets, and guests that ask it.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::print_stderr, reason = "a test that is skipped says so")]

pub(crate) mod cluster;
pub(crate) mod partition;
pub(crate) mod pod;
pub(crate) mod programs;
pub(crate) mod signers;
pub(crate) mod simulated;

use anchorhold_attester::software::{LaunchConfig, SoftwareGuest, simulated_ark_der};
use anchorhold_audit_log::cosignature::Quorum;
use anchorhold_audit_log::{Signer, Stamp};
use anchorhold_key_broker::broker::{
    Beginning, Broker, BrokerError, IMPORT_KEM, NewPolicy, Replaces, Surroundings, set_up, set_up_in,
};
use anchorhold_key_broker::endorser::Endorser;
use anchorhold_key_broker::kek::{Keyring, LocalKey, Member};
use anchorhold_key_broker::layout::Layout;
use anchorhold_key_broker::secrets::{Secrets, Tls};
use anchorhold_key_broker::store::Store;
use anchorhold_key_release::{
    AuditTerms, Awaiting, BrokerKey, GuestKeys, InstanceId, KeyRequest, KeyUse, PinnedBroker, RefusalBody,
    ReleaseKey, ReleasePolicy, Session, SignerSet, WeightsKeyImport, WeightsKeyTerms,
};
use anchorhold_rats::{Ed25519PublicKey, Kem, Measurement, Secret, Sha256Digest, Timestamp};
use anchorhold_verifier::TrustAnchors;
use anchorhold_verifier::dangerous::{SimulatedRoots, simulated_anchors};
use axum::body::{Body, Bytes, HttpBody};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Request;
use http_body_util::BodyExt as _;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tower::ServiceExt as _;
use zeroize::Zeroizing;

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
    pub(crate) endorser: Option<Arc<dyn Endorser>>,
}

/// Known ones, so that tests can look for them.
pub(crate) fn secrets() -> Secrets {
    let seed = |byte| Secret::take(&mut [byte; 32]);
    Secrets {
        signing: seed(1),
        import: seed(2),
        log: seed(3),
        nonce: seed(4),
        chip: seed(5),
        witness: seed(6),
        tls: Tls { key: vec![7; 64].into(), certificate: "a certificate".to_owned() },
        token: token_key(),
    }
}

/// A known key-encryption key, for a state that has no folder.
pub(crate) fn keyring() -> Keyring {
    let key = LocalKey::new(&Secret::take(&mut [8; 32]));
    Keyring::new(Member::local("file-1".parse().unwrap(), Arc::new(key)))
}

fn token_key() -> Zeroizing<Vec<u8>> {
    let pem = include_str!("../../../../tests/vectors/kbs/token-key.pem");
    let text: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    STANDARD.decode(text).unwrap().into()
}

pub(crate) fn anchors() -> TrustAnchors {
    simulated_anchors(&SimulatedRoots::amd(simulated_ark_der())).unwrap()
}

pub(crate) fn no_witness() -> Quorum {
    Quorum::new(Vec::new(), 0).unwrap()
}

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
    let import_key = ReleaseKey::from_seed(IMPORT_KEM, &Secret::take(&mut [2; 32]));
    let terms = terms(model_id, version);
    WeightsKeyImport::wrap(&weights_key(version), terms, import_key.public_key()).unwrap().to_json()
}

impl Site {
    /// An empty state.
    pub(crate) fn bare() -> Self {
        Self::signed_by(None)
    }

    /// An empty state whose policies these sign.
    pub(crate) fn signed_by(signers: Option<&SignerSet>) -> Self {
        Self::made(&secrets(), signers)
    }

    /// An empty state with these secrets.
    pub(crate) fn bare_with(secrets: &Secrets) -> Self {
        Self::made(secrets, None)
    }

    fn made(secrets: &Secrets, signers: Option<&SignerSet>) -> Self {
        let site = Self {
            folder: tempfile::tempdir().unwrap(),
            clock: Clock::new(),
            reports: Arc::default(),
            endorser: None,
        };
        let at = (site.around().clock)();
        set_up_in(&site.layout(), &Beginning { secrets, signers, at }).unwrap();
        site
    }

    /// A state with the example policy and version 7 of its model; the broker on it.
    pub(crate) fn with_model() -> (Self, Arc<Broker>) {
        let site = Self::bare();
        let broker = site.open();
        set_policy(&broker, POLICY).unwrap();
        broker.import(&import_file("acme/chat-70b", 7)).unwrap();
        (site, broker)
    }

    pub(crate) fn layout(&self) -> Layout {
        Layout::of(self.folder.path())
    }

    pub(crate) fn around(&self) -> Surroundings {
        let reports = Arc::clone(&self.reports);
        let report = move |text: &str| reports.lock().unwrap().push(text.to_owned());
        let endorser = self.endorser.clone();
        Surroundings { report: Arc::new(report), endorser, ..Self::around_at(&self.clock) }
    }

    /// The surroundings of a broker without a site.
    pub(crate) fn around_at(clock: &Clock) -> Surroundings {
        let clock = clock.clone();
        let stamp = move || Stamp { wall_ns: clock.now().unix_seconds() * 1_000_000_000, mono_ns: 0 };
        Surroundings { clock: Arc::new(stamp), report: Arc::new(|_| {}), endorser: None }
    }

    pub(crate) fn open(&self) -> Arc<Broker> {
        self.open_with(anchors())
    }

    pub(crate) fn open_with(&self, anchors: TrustAnchors) -> Arc<Broker> {
        Arc::new(Broker::open(&self.layout(), anchors, no_witness(), self.around()).unwrap())
    }

    /// A broker on a new state in `store`, with the example policy and version 7 of its model.
    pub(crate) fn open_on(&self, store: Arc<dyn Store>) -> Arc<Broker> {
        let at = (self.around().clock)();
        let beginning = Beginning { secrets: &secrets(), signers: None, at };
        set_up(Arc::clone(&store), &keyring(), &beginning).unwrap();
        let broker = self.reopen_on(store);
        set_policy(&broker, POLICY).unwrap();
        broker.import(&import_file("acme/chat-70b", 7)).unwrap();
        broker
    }

    /// A broker on the state that [`open_on`](Self::open_on) has made.
    pub(crate) fn reopen_on(&self, store: Arc<dyn Store>) -> Arc<Broker> {
        self.reopen_with(store, keyring())
    }

    /// The same with these key-encryption keys.
    pub(crate) fn reopen_with(&self, store: Arc<dyn Store>, keyring: Keyring) -> Arc<Broker> {
        Arc::new(Broker::open_on(store, keyring, anchors(), no_witness(), self.around()).unwrap())
    }
}

/// Puts a policy, signed or not, in the place of whichever is in force.
pub(crate) fn set_policy(broker: &Broker, file: impl AsRef<[u8]>) -> Result<Arc<ReleasePolicy>, BrokerError> {
    let new = NewPolicy { file: file.as_ref().to_vec(), cedar: None, replaces: Replaces::InForce };
    broker.activate(new)
}

/// The entries of a broker's log, as JSON.
pub(crate) fn entries(broker: &Broker) -> Vec<serde_json::Value> {
    let mut lines = Vec::new();
    broker.export_entries(&mut lines).unwrap();
    serde_json::Deserializer::from_slice(&lines).into_iter().map(|entry| entry.unwrap()).collect()
}

/// Type and code of each entry about keys and policies, after the import.
pub(crate) fn story(broker: &Broker) -> Vec<(String, String)> {
    let text = |entry: &serde_json::Value, key: &str| entry[key].as_str().unwrap().to_owned();
    let entries = entries(broker);
    let told = entries.iter().map(|entry| (text(entry, "type"), text(entry, "code")));
    told.filter(|(kind, _)| kind.starts_with("key.") || kind.starts_with("policy."))
        .filter(|(kind, _)| kind != "key.import")
        .collect()
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
        Self { machine, key: ReleaseKey::generate(Kem::X25519).unwrap(), instance: 1 }
    }

    /// The keys of its boot.
    pub(crate) fn keys(&self) -> GuestKeys {
        GuestKeys {
            tls_key: Sha256Digest::new([2; 32]),
            release_key: self.key.public_key().clone(),
            audit_key: Ed25519PublicKey::new(*self.log().key().public_key().as_bytes()),
        }
    }

    /// What signs its log.
    pub(crate) fn log(&self) -> Signer {
        let origin = key_request(("", 0), self.instance).log_origin;
        Signer::from_seed(origin, &[3; 32]).unwrap()
    }

    pub(crate) fn session(&self, broker: &Broker, challenge: &[u8], asked: (&str, u64)) -> Session {
        let request = key_request(asked, self.instance);
        Session::begin(challenge, pinned(broker), request, self.keys()).unwrap()
    }

    /// The body for this challenge, and what opens the answer.
    pub(crate) fn answer(&self, broker: &Broker, challenge: &[u8]) -> (Vec<u8>, Awaiting) {
        self.ask(broker, challenge, ("acme/chat-70b", 1))
    }

    pub(crate) fn ask(&self, broker: &Broker, challenge: &[u8], asked: (&str, u64)) -> (Vec<u8>, Awaiting) {
        let session = self.session(broker, challenge, asked);
        let evidence = self.machine.attest(&session.report_data(Sha256Digest::of(b""))).unwrap();
        session.send(evidence)
    }
}

/// What a guest asks for.
pub(crate) fn key_request((model_id, min_version): (&str, u64), instance: u8) -> KeyRequest {
    let instance_id = InstanceId::new([instance; 16]);
    KeyRequest {
        model_id: model_id.to_owned(),
        min_version,
        purpose: KeyUse::Serve,
        instance_id,
        log_origin: format!("acme/{instance_id}").parse().unwrap(),
        audit: AuditTerms::default(),
    }
}

/// The broker as its guests pin it.
pub(crate) fn pinned(broker: &Broker) -> PinnedBroker {
    PinnedBroker {
        signing_key: signing_key().public_key(),
        log_key: broker.ledger().key().clone(),
        witnesses: broker.cosigned().quorum().clone(),
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

/// Bodies that never come.
#[derive(Clone, Default)]
pub(crate) struct Never {
    /// How many of them are waited for.
    waited_for: Arc<AtomicUsize>,
    counted: bool,
}

impl Never {
    /// Lets other tasks run until so many are waited for.
    pub(crate) async fn until_waited_for(&self, count: usize) {
        while self.waited_for.load(Ordering::SeqCst) < count {
            tokio::task::yield_now().await;
        }
    }
}

impl HttpBody for Never {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        if !std::mem::replace(&mut self.counted, true) {
            self.waited_for.fetch_add(1, Ordering::SeqCst);
        }
        Poll::Pending
    }
}

//! A software guest behind real TLS that answers like a gateway, receipts included, and a relying party whose clock the test sets.

use anchorhold_attester::software::{LaunchConfig, SoftwareGuest, simulated_ark_der};
use anchorhold_audit_log::{self as audit, Hash, Origin, Receipt, RequestId, SignedReceipt, Signer, commit};
use anchorhold_channel::authenticator::{self, AuthenticatorKey, Exporters, Unsigned};
use anchorhold_channel::client::Target;
use anchorhold_channel::document::{
    self, AuditHead, ChannelKeys, Document, DocumentKeys, DocumentState, ServedModel, nonce_of_query,
};
use anchorhold_channel::server::{self, Limits};
use anchorhold_channel::tls::SelfSigned;
use anchorhold_client::{RelyingParty, Trust};
use anchorhold_rats::{
    Ed25519PublicKey, Endorsements, Evidence, Measurement, Nonce, Sha256Digest, Timestamp, hex,
};
use anchorhold_verifier::dangerous::{self, SimulatedRoots};
use anchorhold_verifier::snp::{GenoaTcb, MinimumTcb, Policy};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use rustls::ServerConfig;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

pub(crate) const MEASUREMENT: Measurement = Measurement::new([0x5a; 48]);
pub(crate) const OTHER: Measurement = Measurement::new([0x5b; 48]);
const ORIGIN: &str = "acme/1";
const RECEIPT_KEY: [u8; 32] = [7; 32];

pub(crate) fn at() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().unwrap()
}

/// What the guest says of itself, and what it runs.
#[derive(Clone, Copy)]
pub(crate) struct Says {
    pub(crate) measurement: Measurement,
    pub(crate) version: u64,
    pub(crate) tree_size: u64,
}

impl Default for Says {
    fn default() -> Self {
        Self { measurement: MEASUREMENT, version: 3, tree_size: 12 }
    }
}

pub(crate) struct Guest {
    guest: SoftwareGuest,
    keys: DocumentKeys,
    authenticator: AuthenticatorKey,
    signer: Signer,
    says: Mutex<Says>,
    /// Authenticators that it signed: one for each attested connection.
    pub(crate) signed: AtomicU64,
    /// Requests that reached it.
    pub(crate) asked: AtomicU64,
    /// The fields of the last one.
    pub(crate) heard: Mutex<HeaderMap>,
    /// Pieces of `/stream`.
    pieces: Mutex<Option<mpsc::Receiver<Bytes>>>,
    sends: mpsc::Sender<Bytes>,
}

impl Guest {
    pub(crate) fn launch(says: Says, tls_key: Sha256Digest) -> Arc<Self> {
        let signer = Signer::from_seed(Origin::new(ORIGIN).unwrap(), &[5; 32]).unwrap();
        let audit_key = Ed25519PublicKey::new(*signer.key().public_key().as_bytes());
        let (sends, pieces) = mpsc::channel(4);
        Arc::new(Self {
            guest: SoftwareGuest::launch(LaunchConfig::new(says.measurement), at()).unwrap(),
            keys: DocumentKeys { tls_key, release_key: Sha256Digest::new([2; 32]), audit_key },
            authenticator: AuthenticatorKey::generate().unwrap(),
            signer,
            says: Mutex::new(says),
            signed: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            heard: Mutex::default(),
            pieces: Mutex::new(Some(pieces)),
            sends,
        })
    }

    /// Says something else from now on.
    pub(crate) fn say(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }

    /// The next piece of `/stream`.
    pub(crate) async fn send(&self, piece: &'static str) {
        self.sends.send(Bytes::from_static(piece.as_bytes())).await.unwrap();
    }

    fn document(&self, nonce: Nonce) -> Vec<u8> {
        let says = *self.says.lock().unwrap();
        let state = DocumentState {
            models: vec![ServedModel {
                id: "acme/chat".into(),
                version: says.version,
                manifest_digest: Sha256Digest::of(&says.version.to_be_bytes()),
            }],
            policy_digest: None,
            audit: AuditHead {
                origin: ORIGIN.into(),
                tree_size: says.tree_size,
                root_hash: Sha256Digest::of(&says.tree_size.to_be_bytes()),
            },
            channel: ChannelKeys {
                authenticator_key: self.authenticator.public_key(),
                body_keys: Vec::new(),
            },
            runtime: None,
        };
        let state = state.to_json().unwrap();
        let binding = document::binding(nonce, &self.keys, &state, Sha256Digest::of(b""));
        let evidence = self.guest.attest(&binding.report_data()).unwrap();
        Document::new(nonce, self.keys, state, evidence).unwrap().to_json().unwrap()
    }

    fn receipt(&self, request: &[u8], response: &[u8]) -> String {
        let receipt = SignedReceipt {
            origin: Origin::new(ORIGIN).unwrap(),
            index: 12,
            rid: RequestId::new("01J0000000000000000000000A").unwrap(),
            at_ns: 1,
            status: 200,
            model: None,
            measurement: audit::Measurement::new(*self.says.lock().unwrap().measurement.as_bytes()),
            selinux_policy: None,
            gpus: Vec::new(),
            tokens_in: 1,
            tokens_out: 1,
            commitments: Receipt::new(commit(&RECEIPT_KEY, request), commit(&RECEIPT_KEY, response)),
        };
        let _: Hash = commit(&RECEIPT_KEY, request);
        receipt.sign(&self.signer).unwrap()
    }
}

async fn shown(State(guest): State<Arc<Guest>>, RawQuery(query): RawQuery) -> Response {
    match nonce_of_query(query.as_deref()) {
        Some(nonce) => guest.document(nonce).into_response(),
        None => StatusCode::BAD_REQUEST.into_response(),
    }
}

async fn authenticate(
    State(guest): State<Arc<Guest>>,
    Extension(exporters): Extension<Arc<Exporters>>,
    body: Bytes,
) -> Vec<u8> {
    guest.signed.fetch_add(1, Ordering::SeqCst);
    let request = authenticator::Request::parse(&body).unwrap();
    let unsigned = Unsigned::new(&exporters, &request, guest.authenticator.certificate());
    let signature = guest.authenticator.sign(&unsigned.transcript_hash()).unwrap();
    unsigned.finish(&signature)
}

/// Repeats the body: whole, in events where it has the word `stream`, with a bad receipt where it has the word `forged`.
async fn chat(State(guest): State<Arc<Guest>>, headers: HeaderMap, body: Bytes) -> Response {
    guest.asked.fetch_add(1, Ordering::SeqCst);
    *guest.heard.lock().unwrap() = headers;
    let text = String::from_utf8_lossy(&body).into_owned();
    let key = ("x-anchorhold-receipt-key", hex(&RECEIPT_KEY));
    let hop = ("connection", "x-private");
    if text.contains("stream") {
        let (event, done) = (format!("data: {text}\n\n"), "data: [DONE]\n\n");
        let receipt = guest.receipt(&body, format!("{event}{done}").as_bytes());
        let events = format!("{event}: x-anchorhold-receipt {receipt}\n\n{done}");
        return ([key], [("content-type", "text/event-stream")], events).into_response();
    }
    let about = if text.contains("forged") { "something else" } else { &text };
    let receipt = guest.receipt(&body, about.as_bytes());
    let more = [hop, ("x-private", "1"), ("access-control-allow-origin", "*")];
    ([key, ("x-anchorhold-receipt", receipt)], more, text).into_response()
}

async fn stream(State(guest): State<Arc<Guest>>) -> Body {
    let pieces = guest.pieces.lock().unwrap().take().unwrap();
    Body::from_stream(futures_util::stream::unfold(pieces, |mut pieces| async {
        // An empty piece ends it.
        let piece = pieces.recv().await.filter(|piece| !piece.is_empty())?;
        Some((Ok::<_, std::convert::Infallible>(piece), pieces))
    }))
}

/// A running server.
pub(crate) struct Server {
    pub(crate) guest: Arc<Guest>,
    pub(crate) address: SocketAddr,
    pub(crate) tls: Arc<ServerConfig>,
    end: oneshot::Sender<()>,
    task: JoinHandle<server::Served>,
}

impl Server {
    pub(crate) async fn start(says: Says) -> Self {
        Self::start_on("127.0.0.1:0".parse().unwrap(), says).await
    }

    pub(crate) async fn start_on(address: SocketAddr, says: Says) -> Self {
        let own = SelfSigned::generate(&["localhost".into()]).unwrap();
        let guest = Guest::launch(says, own.tls_key);
        let router = Router::new()
            .route(document::PATH, get(shown))
            .route(authenticator::PATH, post(authenticate))
            .route("/v1/chat/completions", post(chat))
            .route("/stream", post(stream))
            .route("/healthz", get(|| async { "ok" }))
            .with_state(Arc::clone(&guest));
        let tls = own.into_server_config().unwrap();
        let (address, end, task) = serve(address, Arc::clone(&tls), router).await;
        Self { guest, address, tls, end, task }
    }

    pub(crate) fn target(&self) -> Target {
        target(self.address)
    }

    /// Stops it, and waits until its port is free.
    pub(crate) async fn stop(self) -> SocketAddr {
        self.end.send(()).unwrap();
        self.task.await.unwrap();
        self.address
    }
}

pub(crate) fn target(address: SocketAddr) -> Target {
    format!("https://{address}").parse().unwrap()
}

pub(crate) async fn serve(
    address: SocketAddr,
    tls: Arc<ServerConfig>,
    router: Router,
) -> (SocketAddr, oneshot::Sender<()>, JoinHandle<server::Served>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (end, ended) = oneshot::channel::<()>();
    let limits = Limits { drain: std::time::Duration::from_millis(200), ..Limits::default() };
    let ended = async move { drop(ended.await) };
    (address, end, tokio::spawn(server::serve(listener, tls, router, limits, ended)))
}

/// Accepts [`MEASUREMENT`] under the simulated root, until it is told something else.
#[derive(Clone)]
pub(crate) struct Party {
    now: Arc<AtomicI64>,
    trust: Arc<Mutex<Result<Trust, String>>>,
}

impl Party {
    pub(crate) fn new() -> Self {
        let now = Arc::new(AtomicI64::new(at().unix_seconds()));
        Self { now, trust: Arc::new(Mutex::new(Ok(accepting(MEASUREMENT)))) }
    }

    pub(crate) fn pass(&self, seconds: i64) {
        self.now.fetch_add(seconds, Ordering::SeqCst);
    }

    pub(crate) fn go_to(&self, time: Timestamp) {
        self.now.store(time.unix_seconds(), Ordering::SeqCst);
    }

    pub(crate) fn trusts(&self, trust: Result<Trust, String>) {
        *self.trust.lock().unwrap() = trust;
    }
}

pub(crate) fn accepting(measurement: Measurement) -> Trust {
    let genoa = Some(GenoaTcb { bootloader: 10, tee: 0, snp: 23, microcode: 84 });
    let policy = Policy::strict(vec![measurement], MinimumTcb { genoa, ..MinimumTcb::default() });
    Trust {
        anchors: dangerous::simulated_anchors(&SimulatedRoots::amd(simulated_ark_der())).unwrap(),
        policies: vec![dangerous::allow_simulated(policy).into()],
    }
}

impl RelyingParty for Party {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_seconds(self.now.load(Ordering::SeqCst))
    }

    async fn trust(&self) -> Result<Trust, String> {
        self.trust.lock().unwrap().clone()
    }

    async fn endorse(&self, _: &Evidence, _: &Trust, _: Timestamp) -> Result<Endorsements, String> {
        Ok(Endorsements::default())
    }
}

//! A gateway between a fake keeper and fake workers, over real lines.

#![allow(dead_code, reason = "every test file uses its own part")]
#![allow(unreachable_pub, reason = "the crate of a test file has no users")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test helper that fails is a failed test"
)]

use anchorhold_gateway::{BodyKeys, Files, Gateway, Opening, Overrides, Written};
use anchorhold_ipc::{
    Appended, AuditEvent, Event, FinishReason, FromGateway, GuestCard, HeldProcess, Line, LineReader,
    LineWriter, LogFile, LogPart, ModelInfo, ModelKind, Prompt, Reason, RequestOutcome, RequestRecord,
    ServingEvidence, Shorter, ToGateway, Work, WorkKind, pair,
};
use anchorhold_rats::{Sha256Digest, WrappingKey};
use axum::Router;
use axum::body::{Body, Bytes};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tower::ServiceExt as _;

/// What the fake keeper says of every request.
pub const RECEIPT: &str = "payload.signature";
pub const KEY: &str = "key-of-acme-5c1f";
pub const OTHER_KEY: &str = "key-of-bolt-99aa";
/// All that tenant `acme` may do.
const SCOPES: &str = "scopes = [\"generate\", \"embed\", \"rerank\", \"models\", \"tokenize\", \"metrics\"]";
/// No wait of a test takes this long unless the test has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Takes what answers an entry, and lets it go when the entry is written.
pub type Recorder = Box<dyn Fn(Box<dyn FnOnce() + Send>) + Send>;

/// What the fake keeper does with entries and nonces.
#[derive(Default)]
pub struct Manners {
    pub log_refuses: AtomicBool,
    pub no_evidence: AtomicBool,
    /// Who writes entries; nobody, and they are answered at once.
    pub recorder: Mutex<Option<Recorder>>,
}

pub struct Rig {
    pub router: Router,
    pub gateway: Gateway,
    /// What bodies may be encrypted to.
    pub body_keys: Vec<WrappingKey>,
    pub manners: Arc<Manners>,
    pub events: Mutex<Receiver<FromGateway>>,
    writer: Arc<Mutex<LineWriter<ToGateway>>>,
}

/// The worker's end of a line.
pub struct FakeWorker {
    pub work: Receiver<Work>,
    pub events: LineWriter<Event>,
}

impl Rig {
    pub fn new() -> Self {
        Self::with("models = []", "")
    }

    /// With these lines in the settings: at the top, and under `[limits]`.
    pub fn with(top: &str, limits: &str) -> Self {
        Self::of(&settings(top, "", limits))
    }

    /// With these lines in the settings of tenant `acme`.
    pub fn with_terms(terms: &str) -> Self {
        Self::of(&settings("models = []", terms, ""))
    }

    /// With these settings.
    pub fn of(text: &str) -> Self {
        Self::of_both(text, None)
    }

    /// With these settings and this file of keys.
    pub fn of_both(text: &str, keys: Option<&str>) -> Self {
        let files: Files = keys.map(|keys| ("keys.toml".into(), keys.to_owned())).into_iter().collect();
        let config = Written::parse(text).unwrap().check(&files).unwrap();
        let (ours, theirs) = pair().unwrap();
        let body_keys = BodyKeys::generate().unwrap();
        let public = body_keys.public().cloned().collect();
        let authenticator_certificate = Vec::new();
        let workers = Vec::new();
        let opening = Opening {
            workers,
            authenticator_certificate,
            body_keys,
            guest: guest(),
            layers: (5, 1),
            port: 8443,
        };
        let settings = (config, Overrides::default());
        let gateway = Gateway::start(settings, Line::new(theirs), opening).unwrap();
        let (writer, reader) = Line::<ToGateway, FromGateway>::new(ours).split();
        let writer = Arc::new(Mutex::new(writer));
        let manners = Arc::new(Manners::default());
        let (seen, events) = channel();
        let (answers, behaves) = (Arc::clone(&writer), Arc::clone(&manners));
        std::thread::spawn(move || keep(reader, &answers, &behaves, &seen));
        Self {
            router: gateway.router(),
            gateway,
            body_keys: public,
            manners,
            events: Mutex::new(events),
            writer,
        }
    }

    /// A worker for this model, known to the gateway when this returns.
    pub async fn worker(&self, id: &str, kind: ModelKind) -> FakeWorker {
        self.worker_of(info(id, kind)).await
    }

    /// The same, of a model that says this of itself.
    pub async fn worker_of(&self, info: ModelInfo) -> FakeWorker {
        let (theirs, worker) = FakeWorker::new();
        let ready = ToGateway::WorkerReady(info);
        self.writer.lock().unwrap().send(&ready, &[theirs.as_fd()]).unwrap();
        self.settle().await;
        worker
    }

    /// The gateway has handled every earlier message of the keeper: answers come in order.
    pub async fn settle(&self) {
        let request = get(&format!("/.well-known/anchorhold-attestation?nonce={}", "0".repeat(64)));
        self.send(request).await;
    }

    pub fn tell(&self, message: &ToGateway) {
        self.writer.lock().unwrap().send(message, &[]).unwrap();
    }

    /// The keeper goes away.
    pub fn hang_up(&self) {
        self.writer.lock().unwrap().shut_down();
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        send(self.router.clone(), request).await
    }

    /// Sends the request from a task of its own.
    pub fn begin(&self, request: Request<Body>) -> tokio::task::JoinHandle<Answer> {
        tokio::spawn(send(self.router.clone(), request))
    }

    /// The next message from the gateway.
    pub fn next(&self) -> FromGateway {
        self.events.lock().unwrap().recv_timeout(PATIENCE).unwrap()
    }

    /// The next audit entry about a request. One that was not answered says why, in a word that the log has.
    pub fn next_record(&self) -> RequestRecord {
        loop {
            if let FromGateway::Record { event: AuditEvent::Request(record), .. } = self.next() {
                assert_eq!(record.reason.is_none(), record.outcome == RequestOutcome::Complete, "{record:?}");
                assert_ne!(record.reason, Some(Reason::Other), "{record:?}");
                return *record;
            }
        }
    }
}

/// What the fake keeper says of itself.
pub fn guest() -> GuestCard {
    GuestCard {
        platform: "AMD SEV-SNP".to_owned(),
        is_simulated: true,
        measurement: "c0ffee".repeat(16),
        log_origin: "test.example/<boot>".to_owned(),
        log_size: 3,
        held: vec![HeldProcess {
            process: "gateway".to_owned(),
            active: vec!["seccomp".to_owned()],
            missing: vec!["landlock".to_owned()],
        }],
    }
}

/// Settings with two tenants of one key each.
pub fn settings(top: &str, terms: &str, limits: &str) -> String {
    let digest = |key: &str| Sha256Digest::of(key.as_bytes());
    format!(
        "listen = \"127.0.0.1:0\"\nnames = [\"localhost\"]\ncertificate = \"/dev/null\"\n{top}\n\
             [[tenant]]\nname = \"acme\"\n{SCOPES}\n{terms}\n[[tenant]]\nname = \"bolt\"\n\
             [[key]]\ntenant = \"acme\"\nsha256 = \"{}\"\n[[key]]\ntenant = \"bolt\"\nsha256 = \"{}\"\n\
             [limits]\n{limits}\n",
        digest(KEY),
        digest(OTHER_KEY)
    )
}

pub async fn send(router: Router, request: Request<Body>) -> Answer {
    let response = router.oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: parts.status, headers: parts.headers, body }
}

/// Runs what waits for a thread of the gateway, away from the test's own.
pub async fn aside<T: Send + 'static>(wait: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(wait).await.unwrap()
}

/// Answers as the keeper does.
fn keep(
    mut reader: LineReader<FromGateway>,
    writer: &Arc<Mutex<LineWriter<ToGateway>>>,
    manners: &Manners,
    seen: &Sender<FromGateway>,
) {
    let mut index = 0;
    while let Ok((message, _)) = reader.receive() {
        let answer = match &message {
            FromGateway::Record { ticket, event } => {
                index += 1;
                let index = (!manners.log_refuses.load(Ordering::SeqCst)).then_some(index);
                let receipt = matches!(event, AuditEvent::Request(record) if record.commitments.is_some())
                    .then(|| RECEIPT.to_owned());
                Some(ToGateway::Appended(Appended { ticket: *ticket, index, receipt }))
            }
            FromGateway::Attest { ticket, nonce } => {
                let document = format!("{{\"document for\":\"{nonce:?}\"}}").into_bytes();
                let document = (!manners.no_evidence.load(Ordering::SeqCst)).then_some(document);
                Some(ToGateway::Attested(Box::new(ServingEvidence { ticket: *ticket, document })))
            }
            FromGateway::ReadLog { ticket, part } => {
                let file = match part {
                    LogPart::Checkpoint => LogFile::Found(b"a note".to_vec()),
                    LogPart::Entries { index: 0, width: 3 } => LogFile::Found(vec![0, 1, b'e']),
                    LogPart::Entries { index: 1, .. } => LogFile::Unavailable,
                    _ => LogFile::Missing,
                };
                Some(ToGateway::LogFile { ticket: *ticket, file })
            }
            _ => None,
        };
        let is_entry = matches!(message, FromGateway::Record { .. });
        // Nobody looks any more when the test is over.
        let _ = seen.send(message);
        let Some(answer) = answer else { continue };
        let writer = Arc::clone(writer);
        let reply = move || writer.lock().unwrap().send(&answer, &[]).is_ok();
        match &*manners.recorder.lock().unwrap() {
            Some(record) if is_entry => record(Box::new(move || _ = reply())),
            _ if reply() => {}
            _ => return,
        }
    }
}

impl Drop for FakeWorker {
    /// A process that ends closes its descriptors; here a thread holds one of them.
    fn drop(&mut self) {
        self.events.shut_down();
    }
}

pub fn info(id: &str, kind: ModelKind) -> ModelInfo {
    ModelInfo {
        id: id.to_owned(),
        version: 1,
        kind,
        max_tokens: 512,
        dimensions: if kind == ModelKind::Embedding { 4 } else { 0 },
        shorter: Shorter::No,
        manifest_digest: [7; 32],
    }
}

impl FakeWorker {
    /// A worker, and the gateway's end of its line.
    pub fn new() -> (OwnedFd, Self) {
        let (ours, theirs) = pair().unwrap();
        let (events, mut reader) = Line::<Event, Work>::new(ours).split();
        let (seen, work) = channel();
        std::thread::spawn(move || {
            while let Ok((item, _)) = reader.receive() {
                if seen.send(item).is_err() {
                    return;
                }
            }
        });
        (theirs, Self { work, events })
    }

    pub fn next(&self) -> Work {
        self.work.recv_timeout(PATIENCE).unwrap()
    }

    /// The next request: its id and what it asks.
    pub fn submitted(&self) -> (anchorhold_ipc::RequestId, WorkKind) {
        match self.next() {
            Work::Submit { id, kind, .. } => (id, *kind),
            other => panic!("expected a request, got {other:?}"),
        }
    }

    pub fn say(&mut self, event: &Event) {
        self.events.send(event, &[]).unwrap();
    }

    /// Answers everything from now on: a generation says the last text of its prompt back, one character at a time,
    /// an embedding is `[index, 0.5, -1, 0.1]`, and a score a quarter of the document's length.
    pub fn serve(mut self) {
        std::thread::spawn(move || {
            while let Ok(work) = self.work.recv() {
                let Work::Submit { id, kind, .. } = work else { continue };
                let events = match *kind {
                    WorkKind::Embed { inputs, .. } => {
                        let vector =
                            |index: usize| vec![f32::from(u16::try_from(index).unwrap()), 0.5, -1.0, 0.1];
                        let vectors: Vec<_> = (0..inputs.len()).map(vector).collect();
                        vec![Event::Embedded { id, tokens_in: 3 * vectors.len() as u64, vectors }]
                    }
                    WorkKind::Rerank { documents, .. } => {
                        let score =
                            |document: &String| f32::from(u8::try_from(document.len()).unwrap()) / 4.0;
                        let scores: Vec<_> = documents.iter().map(score).collect();
                        vec![Event::Ranked { id, tokens_in: 7 * scores.len() as u64, scores }]
                    }
                    WorkKind::Tokenize { prompt, spell, .. } => {
                        let bytes = said(&prompt).into_bytes();
                        let spelled = spell.then(|| bytes.iter().map(|byte| vec![*byte]).collect());
                        let tokens = bytes.into_iter().map(u32::from).collect();
                        vec![Event::Tokenized { id, tokens, spelled }]
                    }
                    WorkKind::Detokenize { tokens, .. } => {
                        let text = tokens.iter().map(|token| char::from_u32(*token).unwrap()).collect();
                        vec![Event::Detokenized { id, text }]
                    }
                    WorkKind::Generate { prompt, stop, .. } => {
                        generation(id, &said(&prompt), stop.max_tokens)
                    }
                };
                for event in events {
                    if self.events.send(&event, &[]).is_err() {
                        return;
                    }
                }
            }
        });
    }
}

/// The text that the fake worker says back.
pub fn said(prompt: &Prompt) -> String {
    match prompt {
        Prompt::Chat(conversation) => conversation.messages.last().unwrap().content.clone(),
        Prompt::Text(text) => text.clone(),
        Prompt::Tokens(ids) => format!("{ids:?}"),
    }
}

fn generation(id: anchorhold_ipc::RequestId, text: &str, most: u32) -> Vec<Event> {
    let most = if most == 0 { usize::MAX } else { usize::try_from(most).unwrap() };
    let taken: Vec<char> = text.chars().take(most).collect();
    let cut = taken.len() < text.chars().count();
    let mut events: Vec<Event> = taken
        .iter()
        .map(|character| Event::Delta { id, choice: 0, text: character.to_string(), told: Vec::new() })
        .collect();
    let reason = if cut { FinishReason::Length } else { FinishReason::Stop };
    events.push(Event::Finished {
        id,
        choice: 0,
        reason,
        tokens_in: 5,
        tokens_found: 0,
        tokens_out: taken.len() as u64,
    });
    events
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    pub fn code(&self) -> Value {
        self.json()["error"]["code"].clone()
    }

    pub fn param(&self) -> Value {
        self.json()["error"]["param"].clone()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap()
    }

    /// The JSON of each `data:` event; the last one is the text `[DONE]` in a stream that ended well.
    pub fn events(&self) -> Vec<Value> {
        let text = self.text();
        assert!(text.ends_with("\n\n"));
        text.trim_end()
            .split("\n\n")
            .map(|event| {
                let lines: Vec<_> = event.lines().filter(|line| !line.starts_with(':')).collect();
                let event = lines.join("\n");
                let data = event.trim_start_matches("event: error\n").strip_prefix("data: ").unwrap();
                serde_json::from_str(data).unwrap_or_else(|_| Value::String(data.to_owned()))
            })
            .collect()
    }
}

pub fn get(path: &str) -> Request<Body> {
    request("GET", path, Body::empty())
}

pub fn request(method: &str, path: &str, body: Body) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {KEY}"))
        .header("content-type", "application/json")
        .body(body)
        .unwrap()
}

pub fn post(path: &str, body: &Value) -> Request<Body> {
    request("POST", path, Body::from(body.to_string()))
}

pub fn chat(text: &str) -> Value {
    serde_json::json!({"model": "chat", "messages": [{"role": "user", "content": text}]})
}

/// `change` on top of `body`.
pub fn with(mut body: Value, change: Value) -> Value {
    for (key, value) in change.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

/// Polls until `holds`; threads of the gateway are on their way there.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        tokio::task::yield_now().await;
    }
}

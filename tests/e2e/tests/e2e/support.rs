//! What the tests share.

use anchorhold_channel::client::{Answer, Streaming};
use anchorhold_e2e::client::{Caller, Frames};
use anchorhold_e2e::guest::{Guest, Settings};
use anchorhold_e2e::models::{self, CHAT, EMBEDDING, RERANKER};
use anchorhold_e2e::refusals::Stand;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::io::Write as _;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long something may take that takes a moment.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// Between two questions at first, and at most.
const PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Connections live on this runtime, also while a test does something else.
static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
});

/// Waits for a future.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.block_on(future)
}

/// Runs a future beside the test.
pub(crate) fn aside<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    RUNTIME.spawn(future)
}

/// Held by tests that stop, kill or scan processes, or that measure a time.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // A test that failed leaves nothing behind that could disturb the next.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether memory and environment of other processes may be read. Where the suite has to be whole, it must be.
pub(crate) fn may_read_memory() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    assert!(is_root || std::env::var_os("CI").is_none(), "reading the memory of processes needs root");
    if !is_root {
        // Past the test harness, which shows only what failed; without standard error nobody reads it.
        let _ = writeln!(std::io::stderr(), "skipped: reading the memory of processes needs root");
    }
    is_root
}

/// Asks again and again until there is an answer.
pub(crate) fn until<T>(what: &str, within: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + within;
    let mut pause = PAUSE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "not within {} ms: {what}", within.as_millis());
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// A deployment that serves, and a caller who has verified it.
pub(crate) struct Served {
    pub(crate) caller: Caller,
    pub(crate) guest: Guest,
    pub(crate) stand: Stand,
}

impl Served {
    /// With the chat model.
    pub(crate) fn chat() -> Self {
        let mut stand = Stand::new().unwrap();
        let settings = stand.with_chat().unwrap();
        Self::start(stand, &settings)
    }

    /// With the embedding model and the chat model.
    pub(crate) fn both() -> Self {
        let mut stand = Stand::new().unwrap();
        let packages = [
            stand.seal(&models::embedding().unwrap(), (EMBEDDING, 1)).unwrap(),
            stand.seal(&models::chat(), (CHAT, 1)).unwrap(),
        ];
        let measurement = stand.measurement.clone();
        stand.serve(&packages, &measurement).unwrap();
        let settings = Settings::new(&stand.broker, &stand.owner, &packages).unwrap();
        Self::start(stand, &settings)
    }

    /// With the reranker alone.
    pub(crate) fn reranker() -> Self {
        let mut stand = Stand::new().unwrap();
        let packages = [stand.seal(&models::reranker(), (RERANKER, 1)).unwrap()];
        let measurement = stand.measurement.clone();
        stand.serve(&packages, &measurement).unwrap();
        let settings = Settings::new(&stand.broker, &stand.owner, &packages).unwrap();
        Self::start(stand, &settings)
    }

    pub(crate) fn start(stand: Stand, settings: &Settings) -> Self {
        let guest = stand.start(settings).unwrap().ready().unwrap();
        let caller = wait(Caller::verify(&guest, &stand.measurement)).unwrap();
        Self { caller, guest, stand }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        wait(self.caller.get(path)).unwrap()
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        wait(self.caller.post(path, body)).unwrap()
    }

    /// A stream of which the first text has come.
    pub(crate) fn begin_stream(&self, body: &Value) -> Stream {
        let path = if body["prompt"].is_null() { "/v1/chat/completions" } else { "/v1/completions" };
        let mut stream = Stream {
            streaming: wait(self.caller.stream(path, body)).unwrap(),
            frames: Frames::default(),
            text: String::new(),
            error: None,
            bytes: Vec::new(),
        };
        while stream.text.is_empty() {
            assert!(stream.piece(), "the stream ended before its first text");
        }
        stream
    }

    /// The value of a metric without labels.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let text = String::from_utf8(self.get("/metrics").body.to_vec()).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no metric {name} in {text}")).parse().unwrap()
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.metric("anchorhold_requests_in_flight")
    }

    pub(crate) fn worker(&self, model: &str) -> Pid {
        Pid::from_raw(self.guest.worker_pid(model).unwrap()).unwrap()
    }

    /// Stops the clock of a worker; it goes on when the value is dropped, unless it was killed.
    pub(crate) fn pause_worker(&self, model: &str) -> Paused {
        let pid = self.worker(model);
        kill_process(pid, Signal::STOP).unwrap();
        let raw = pid.as_raw_nonzero();
        until("a stopped worker", SOON, || {
            let status = std::fs::read_to_string(format!("/proc/{raw}/stat")).unwrap();
            status.rsplit(')').next()?.trim_start().starts_with('T').then_some(())
        });
        Paused(pid)
    }

    /// Ends the deployment as an operator would; gives back its log.
    pub(crate) fn stop(self) -> Vec<Value> {
        let log = self.guest.audit_log.clone();
        self.guest.stop().unwrap();
        anchorhold_e2e::guest::log_entries(&log).unwrap()
    }
}

/// A worker that is stopped.
pub(crate) struct Paused(Pid);

impl Paused {
    pub(crate) fn kill(&self) {
        kill_process(self.0, Signal::KILL).unwrap();
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        // One that was killed cannot go on.
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// A streamed answer.
pub(crate) struct Stream {
    streaming: Streaming,
    pub(crate) frames: Frames,
    pub(crate) text: String,
    /// The code of the error event, if one came.
    pub(crate) error: Option<String>,
    /// The body so far.
    pub(crate) bytes: Vec<u8>,
}

impl Stream {
    /// Reads one piece; false at the end.
    pub(crate) fn piece(&mut self) -> bool {
        let Some(piece) = wait(self.streaming.next_piece()).unwrap() else { return false };
        self.bytes.extend_from_slice(&piece);
        for event in self.frames.push(&piece) {
            let choice = &event["choices"][0];
            if let Some(text) = choice["delta"]["content"].as_str().or(choice["text"].as_str()) {
                self.text.push_str(text);
            }
            if let Some(code) = event["error"]["code"].as_str() {
                self.error = Some(code.to_owned());
            }
        }
        true
    }

    pub(crate) fn header(&self, name: &str) -> String {
        self.streaming.headers[name].to_str().unwrap().to_owned()
    }

    /// Reads to the end.
    pub(crate) fn finish(mut self) -> Self {
        while self.piece() {}
        self
    }
}

/// A chat request.
pub(crate) fn chat(prompt: &str) -> Value {
    json!({
        "model": CHAT, "temperature": 0, "max_tokens": 64,
        "messages": [{"role": "user", "content": prompt}],
    })
}

/// A streamed request that keeps the worker busy for a second and more: as many prompts as one request may have, each
/// answered up to the end of the model's context.
pub(crate) fn long(prompt: &str) -> Value {
    json!({
        "model": CHAT, "temperature": 0, "max_tokens": 400, "ignore_eos": true, "stream": true,
        "prompt": vec![prompt; 16],
    })
}

/// `body` with some fields set.
pub(crate) fn with(mut body: Value, more: Value) -> Value {
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

/// The stable code in the body of an error.
pub(crate) fn code(answer: &Answer) -> String {
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    body["error"]["code"].as_str().unwrap_or_default().to_owned()
}

/// How many entries of the log are of this kind.
pub(crate) fn count(entries: &[Value], kind: &str) -> usize {
    entries.iter().filter(|entry| entry["type"] == kind).count()
}

//! What the audit log adds to a request: the answer waits until its entry is durable. The same gateway before a keeper that answers at once,
//! and before one with a log on a real disk (`BENCH_DIR`, the system's temporary folder otherwise) and on tmpfs (`TMPFS_DIR`, `/dev/shm`
//! otherwise). At 1 caller and at 32, in turns, so that what else the machine does meets all of them. The log's thread appends together
//! what waits together, as the keeper's does below 64 waiting entries.

use crate::common::{FakeWorker, Rig};
use crate::{Behind, asked, at};
use anchorhold_audit_log::{
    Actor, ActorKind, BootId, Event, EventType, Log, Origin, Outcome, Receipt, Request, RequestId, Route,
    Signer, Stamp, commit,
};
use anchorhold_ipc::ModelKind;
use bytes::Bytes;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const CALLERS: [usize; 2] = [1, 32];
/// Requests of all callers together, of one turn.
const TURN: usize = 64;
/// What the keeper appends together at most, and how often it signs a checkpoint.
const MAX_TOGETHER: usize = 512;
const CHECKPOINT_EVERY: Duration = Duration::from_millis(250);

type Reply = Box<dyn FnOnce() + Send>;

fn stamp() -> Stamp {
    Stamp { wall_ns: 1_790_000_000_123_456_789, mono_ns: 86_400_123_456_789 }
}

/// The entry of a request.
fn event() -> Event {
    let key = [1; 32];
    Event {
        actor: Some(Actor::new(ActorKind::Client)),
        request: Some(Request {
            finish: None,
            ms: 420,
            receipt: Some(Receipt::new(commit(&key, b"request"), commit(&key, b"response"))),
            rid: RequestId::new("01ARZ3NDEKTSV4RRFFQ69G5FAV").unwrap(),
            route: Route::ChatCompletions,
            status: Some(200),
            stream: true,
            tin: 512,
            tout: 1,
            ttft_ms: Some(31),
        }),
        ..Event::new(EventType::InferComplete, Outcome::Success, stamp())
    }
}

/// Appends an entry for each answer that waits, and lets the answers go.
fn write(path: &Path, waiting: &Receiver<Reply>) {
    let signer = Signer::generate(Origin::new("bench.example/1").unwrap()).unwrap();
    let mut log = Log::create(path, signer, BootId::new([0; 16]), stamp()).unwrap();
    let mut checkpointed = Instant::now();
    while let Ok(first) = waiting.recv() {
        let mut replies = vec![first];
        replies.extend(waiting.try_iter().take(MAX_TOGETHER - 1));
        log.append(&vec![event(); replies.len()]).unwrap();
        replies.into_iter().for_each(|reply| reply());
        if checkpointed.elapsed() >= CHECKPOINT_EVERY {
            log.checkpoint().unwrap();
            checkpointed = Instant::now();
        }
    }
}

/// A gateway whose keeper writes a log below this folder, or none; with as many connections as there are callers.
struct Way {
    name: &'static str,
    _folder: Option<tempfile::TempDir>,
    _rig: Rig,
    callers: Vec<Behind>,
}

impl Way {
    async fn new(name: &'static str, parent: Option<PathBuf>, callers: usize) -> Self {
        let rig = Rig::with("models = []", "");
        let folder = parent.map(|parent| tempfile::tempdir_in(parent).unwrap());
        if let Some(folder) = &folder {
            let (entries, waiting) = channel();
            let path = folder.path().join("log");
            std::thread::spawn(move || write(&path, &waiting));
            // Nobody waits any more when the log is gone.
            *rig.manners.recorder.lock().unwrap() = Some(Box::new(move |reply| drop(entries.send(reply))));
        }
        let worker: FakeWorker = rig.worker("chat", ModelKind::Chat).await;
        worker.serve();
        let mut connections = Vec::new();
        for _ in 0..callers {
            connections.push(Behind::new(&rig).await);
        }
        Self { name, _folder: folder, _rig: rig, callers: connections }
    }

    /// Microseconds of each request of one turn.
    async fn turn(&mut self, body: &Bytes) -> Vec<f64> {
        let each = TURN / self.callers.len();
        let asking = self.callers.iter_mut().map(|caller| async move {
            let mut times = Vec::new();
            for _ in 0..each {
                times.push(caller.ask(body).await);
            }
            times
        });
        futures_util::future::join_all(asking).await.concat()
    }
}

/// Measures as often as `turns` says.
pub(crate) async fn measure(turns: usize) -> Vec<Value> {
    let folder = |name: &str, or: PathBuf| std::env::var_os(name).map_or(or, PathBuf::from);
    let disk = folder("BENCH_DIR", std::env::temp_dir());
    let tmpfs = folder("TMPFS_DIR", "/dev/shm".into());
    let body = asked(1);
    let mut results = Vec::new();
    for callers in CALLERS {
        let mut ways = [
            Way::new("none", None, callers).await,
            Way::new("tmpfs", Some(tmpfs.clone()), callers).await,
            Way::new("disk", Some(disk.clone()), callers).await,
        ];
        let mut times = [const { Vec::new() }; 3];
        for turn in 0..=turns {
            for (way, times) in ways.iter_mut().zip(&mut times) {
                let took = way.turn(&body).await;
                // The first turn warms up.
                if turn > 0 {
                    times.extend(took);
                }
            }
        }
        let [none, ..] = &times;
        for (way, times) in ways.iter().zip(&times) {
            for (name, share) in [("p50", 50), ("p99", 99)] {
                let (value, without) = (at(times, share), at(none, share));
                results.push(json!({
                    "name": format!("request_with_audit_{}_{callers}_callers_{name}", way.name),
                    "value": value, "unit": "us", "peer": "a recorder that answers at once", "ratio": value / without,
                    "added": value - without
                }));
            }
        }
    }
    results
}

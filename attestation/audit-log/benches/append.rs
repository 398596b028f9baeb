//! Entries per second, each group made durable with fdatasync, against the medium's own rate of it in the same run; and what one costs
//! in time on a CPU. `BENCH_DIR` is where the log is written (the medium under test; the system's temporary folder otherwise), `JSON` a file
//! for the results.

use anchorhold_audit_log::{
    Actor, ActorKind, BootId, Event, EventType, Log, Origin, Outcome, Receipt, Request, RequestId, Route,
    Signer, Stamp, commit,
};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

type Failed = Box<dyn std::error::Error>;

const RUN: Duration = Duration::from_secs(2);
const GROUPS: [usize; 5] = [1, 8, 64, 512, 1024];
/// About what an entry and its frame have.
const ENTRY_BYTES: usize = 512;

fn event() -> Event {
    let key = [1; 32];
    Event {
        actor: Some(Actor::new(ActorKind::Client)),
        request: Some(Request {
            finish: None,
            ms: 420,
            receipt: Some(Receipt::new(commit(&key, b"request"), commit(&key, b"response"))),
            rid: RequestId::new("01ARZ3NDEKTSV4RRFFQ69G5FAV").expect("a ULID is a request id"),
            route: Route::ChatCompletions,
            status: Some(200),
            stream: true,
            tin: 512,
            tout: 256,
            ttft_ms: Some(31),
        }),
        ..Event::new(EventType::InferComplete, Outcome::Success, Stamp { wall_ns: 0, mono_ns: 0 })
    }
}

/// Nanoseconds that this thread was on a CPU, as the kernel counts.
fn on_cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// What came of calling something again and again.
struct Run {
    calls_per_s: f64,
    cpu_us: f64,
    p50_ms: f64,
    p99_ms: f64,
}

fn run(mut call: impl FnMut() -> Result<(), Failed>) -> Result<Run, Failed> {
    let mut times = Vec::new();
    let (cpu, started) = (on_cpu_ns(), Instant::now());
    while started.elapsed() < RUN {
        let before = Instant::now();
        call()?;
        times.push(before.elapsed());
    }
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), on_cpu_ns() - cpu);
    times.sort_unstable();
    let calls = f64::from(u32::try_from(times.len())?);
    let at = |share: usize| times.get(times.len() * share / 100).map_or(0.0, |time| time.as_secs_f64() * 1e3);
    Ok(Run {
        calls_per_s: calls / seconds,
        cpu_us: Duration::from_nanos(cpu).as_secs_f64() * 1e6 / calls,
        p50_ms: at(50),
        p99_ms: at(99),
    })
}

fn appends(directory: &Path, group: usize) -> Result<Run, Failed> {
    let signer = Signer::generate(Origin::new("bench.example/1")?)?;
    let at = Stamp { wall_ns: 0, mono_ns: 0 };
    let mut log = Log::create(&directory.join(format!("log-{group}")), signer, BootId::new([0; 16]), at)?;
    let events = vec![event(); group];
    let run = run(|| Ok(log.append(&events).map(drop)?))?;
    log.close(at)?;
    Ok(run)
}

/// As many bytes as a group has, appended to a file and made durable.
fn syncs(directory: &Path, group: usize) -> Result<Run, Failed> {
    let mut file = File::create(directory.join(format!("plain-{group}")))?;
    let bytes = vec![b'x'; group * ENTRY_BYTES];
    run(|| {
        file.write_all(&bytes)?;
        Ok(file.sync_data()?)
    })
}

fn main() -> Result<(), Failed> {
    let mut results = Vec::new();
    let parent = std::env::var_os("BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = tempfile::tempdir_in(parent)?;
    for group in GROUPS {
        let size = f64::from(u32::try_from(group)?);
        let (plain, log) = (syncs(directory.path(), group)?, appends(directory.path(), group)?);
        let (value, peer) = (size * log.calls_per_s, size * plain.calls_per_s);
        let cpu_us = log.cpu_us / size;
        writeln!(
            std::io::stdout(),
            "audit append, groups of {group}: {value:.0} entries/s, {:.2} of the medium's {:.0} syncs/s; {cpu_us:.1} us of a CPU an entry; \
             a group p50 {:.2} ms, p99 {:.2} ms",
            value / peer,
            plain.calls_per_s,
            log.p50_ms,
            log.p99_ms
        )?;
        results.push(serde_json::json!({
            "name": format!("audit_append_batch_{group}"), "value": value, "unit": "entries/s", "peer": "fdatasync", "ratio": value / peer
        }));
        for (name, value, unit) in
            [("cpu", cpu_us, "us"), ("p50", log.p50_ms, "ms"), ("p99", log.p99_ms, "ms")]
        {
            let name = format!("audit_append_batch_{group}_{name}");
            results.push(serde_json::json!({ "name": name, "value": value, "unit": unit }));
        }
    }
    if let Some(path) = std::env::var_os("JSON") {
        std::fs::write(path, serde_json::to_vec_pretty(&results)?)?;
    }
    Ok(())
}

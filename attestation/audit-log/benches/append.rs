//! Entries per second, each group made durable with fdatasync, against the medium's own rate of it in the same run; what one costs in
//! time on a CPU, by parts; and from that how many one core can write at most. `BENCH_DIR` is where the log is written (the medium under
//! test; the system's temporary folder otherwise), `JSON` a file for the results.
//!
//! Three ways: each group appended and waited for, each group submitted while the next is encoded, as the keeper does when much waits, and
//! the same encrypted, as a guest's log is.

use anchorhold_audit_log::merkle::{Growth, leaf_hash};
use anchorhold_audit_log::{
    Actor, ActorKind, Beginning, BootId, Event, EventType, Log, Origin, Outcome, Receipt, Request, RequestId,
    Route, Signer, Stamp, StorageKey, commit, encode_entry,
};
use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

type Failed = Box<dyn std::error::Error>;

/// How long each way of a group is measured, in alternation with the medium alone.
const RUN: Duration = Duration::from_millis(300);
const ROUNDS: usize = 7;
const GROUPS: [usize; 6] = [1, 8, 64, 256, 512, 1024];
const FRAME_HEADER_BYTES: usize = 8;

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
        ..Event::new(
            EventType::InferComplete,
            Outcome::Success,
            Stamp { wall_ns: 1_790_000_000_123_456_789, mono_ns: 86_400_123_456_789 },
        )
    }
}

/// Nanoseconds that the threads of this process were on a CPU, as the kernel counts.
fn on_cpu_ns() -> u64 {
    let of_thread = |path: &Path| {
        let text = std::fs::read_to_string(path.join("schedstat")).unwrap_or_default();
        text.split_whitespace().next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0)
    };
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    threads.map(|thread| of_thread(&thread.path())).sum()
}

/// What came of calling something again and again.
#[derive(Clone)]
struct Run {
    calls_per_s: f64,
    cpu_us: f64,
    p50_ms: f64,
    p99_ms: f64,
}

fn run(call: &mut dyn FnMut() -> Result<(), Failed>) -> Result<Run, Failed> {
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

/// The run in the middle by its rate.
fn median(mut runs: Vec<Run>) -> Result<Run, Failed> {
    runs.sort_by(|a, b| a.calls_per_s.total_cmp(&b.calls_per_s));
    let middle = runs.len() / 2;
    runs.into_iter().nth(middle).ok_or_else(|| "no run".into())
}

fn beginning() -> Result<Beginning, Failed> {
    let signer = Signer::generate(Origin::new("bench.example/1")?)?;
    Ok(Beginning::new(signer, BootId::new([0; 16]), event().at))
}

/// As many bytes as a group has, appended to a file and made durable; the same by [`Log::append`]; by [`Log::submit`]; by that, encrypted. In
/// turns, so that what else the machine does meets all of them.
fn group(directory: &Path, group: usize, entry_bytes: usize) -> Result<[Run; 4], Failed> {
    let path = |way| directory.join(format!("{way}-{group}"));
    let mut plain = File::create(path("plain"))?;
    let bytes = vec![b'x'; group * (entry_bytes + FRAME_HEADER_BYTES)];
    let mut appended = Log::begin(&path("appended"), beginning()?)?;
    let mut submitted = Log::begin(&path("submitted"), beginning()?)?;
    let (key, _) = StorageKey::generate()?;
    let mut encrypted = Log::begin(&path("encrypted"), beginning()?.encrypted(key, Vec::new()))?;
    let events = vec![event(); group];
    let submit = |log: &mut Log| {
        for event in &events {
            log.stage(event.clone())?;
        }
        Ok(log.submit()?)
    };
    let mut runs: [Vec<Run>; 4] = Default::default();
    for _ in 0..ROUNDS {
        let round = [
            run(&mut || {
                plain.write_all(&bytes)?;
                Ok(plain.sync_data()?)
            })?,
            run(&mut || Ok(appended.append(&events).map(drop)?))?,
            run(&mut || submit(&mut submitted))?,
            run(&mut || submit(&mut encrypted))?,
        ];
        submitted.settle()?;
        encrypted.settle()?;
        runs.iter_mut().zip(round).for_each(|(runs, run)| runs.push(run));
    }
    let [plain, appended, submitted, encrypted] = runs.map(median);
    Ok([plain?, appended?, submitted?, encrypted?])
}

/// Microseconds on a CPU for one call.
fn cost_us(mut call: impl FnMut()) -> f64 {
    const CALLS: u32 = 200_000;
    let mut best = f64::MAX;
    for _ in 0..5 {
        let before = on_cpu_ns();
        (0..CALLS).for_each(|_| call());
        best = best.min(Duration::from_nanos(on_cpu_ns() - before).as_secs_f64() * 1e6 / f64::from(CALLS));
    }
    best
}

/// What an entry costs by parts, in microseconds.
fn parts(leaf: &[u8]) -> Vec<(&'static str, f64)> {
    let event = event();
    let hash = leaf_hash(leaf);
    let mut growth = Growth::new();
    vec![
        ("copy of the event", cost_us(|| drop(black_box(event.clone())))),
        (
            "copy, id with its randomness, JSON",
            cost_us(|| drop(black_box(encode_entry(&event, 7, BootId::new([0; 16]))))),
        ),
        (
            "SHA-256 of the leaf",
            cost_us(|| {
                black_box(leaf_hash(black_box(leaf)));
            }),
        ),
        (
            "growth of the tree",
            cost_us(|| {
                growth.push(hash);
                if growth.size().is_multiple_of(1024) {
                    growth.rebase(growth.size());
                }
            }),
        ),
    ]
}

fn main() -> Result<(), Failed> {
    let mut results = Vec::new();
    let mut out = std::io::stdout();
    let parent = std::env::var_os("BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = tempfile::tempdir_in(parent)?;
    let leaf = encode_entry(&event(), 1_000_000, BootId::new([0; 16]))?;
    writeln!(out, "an entry of {} bytes", leaf.len())?;
    for (part, us) in parts(&leaf) {
        writeln!(out, "  {part}: {us:.2} us of a CPU")?;
    }
    for size in GROUPS {
        let [plain, appended, submitted, encrypted] = group(directory.path(), size, leaf.len())?;
        let entries = f64::from(u32::try_from(size)?);
        let peer = entries * plain.calls_per_s;
        for (way, name, log) in [
            ("appended", "", appended),
            ("submitted", "_submitted", submitted),
            ("submitted, encrypted,", "_encrypted", encrypted),
        ] {
            let value = entries * log.calls_per_s;
            let cpu_us = log.cpu_us / entries;
            writeln!(
                out,
                "groups of {size} {way}: {value:.0} entries/s, {:.2} of the medium's {:.0} syncs/s; {cpu_us:.2} us of a CPU an entry, so at \
                 most {:.0} entries/s on one core; a group p50 {:.2} ms, p99 {:.2} ms",
                value / peer,
                plain.calls_per_s,
                1e6 / cpu_us,
                log.p50_ms,
                log.p99_ms
            )?;
            let name = format!("audit_append_batch_{size}{name}");
            results.push(serde_json::json!({
                "name": name, "value": value, "unit": "entries/s", "peer": "fdatasync", "ratio": value / peer
            }));
            for (part, value, unit) in
                [("cpu", cpu_us, "us"), ("p50", log.p50_ms, "ms"), ("p99", log.p99_ms, "ms")]
            {
                let name = format!("{name}_{part}");
                results.push(serde_json::json!({ "name": name, "value": value, "unit": unit }));
            }
        }
    }
    if let Some(path) = std::env::var_os("JSON") {
        std::fs::write(path, serde_json::to_vec_pretty(&results)?)?;
    }
    Ok(())
}

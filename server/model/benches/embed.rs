//! Sentences per second of MiniLM and tokens per second of anchor-chat, through the sealed path.
//!
//! usage: `cargo bench -p anchorhold-model --bench embed -- [THREADS] [JSON=PATH] [CPU]`
//!
//! `CPU` counts the process' CPU time instead of wall time: with one thread it gives stable numbers on a busy machine. Peers in the same
//! units: `tests/models/bench_embed_peers.py`.

#![expect(clippy::unwrap_used, reason = "a benchmark ends where it fails")]

#[path = "../tests/common/mod.rs"]
mod common;

use common::Sequences;
use std::io::Write as _;
use std::time::{Duration, Instant};

/// Runs whose median is reported.
const ROUNDS: usize = 9;

struct Clock {
    cpu: bool,
    start: Instant,
}

impl Clock {
    /// Time since the benchmark, or of the process' threads since it, began.
    fn now(&self) -> Duration {
        if !self.cpu {
            return self.start.elapsed();
        }
        cpu_time()
    }
}

fn cpu_time() -> Duration {
    // The first number of each thread's `schedstat` is its time on a CPU, in nanoseconds.
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let nanos = tasks.filter_map(|task| {
        let stat = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        stat.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// The median time of a run, in seconds.
fn median(clock: &Clock, mut run: impl FnMut()) -> f64 {
    run();
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let before = clock.now();
            run();
            (clock.now() - before).as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times.get(ROUNDS / 2).copied().unwrap_or(f64::NAN)
}

fn embeddings(clock: &Clock, threads: usize, report: &mut Report) {
    let mut model = common::embedding(&common::minilm(), threads);
    let sentence =
        |len: u32, index: u32| (0..len).map(|i| (index * len + i) * 7919 % 20_000 + 1000).collect();
    for (batch, len) in [(32_u32, 64_u32), (1, 16), (1, 64)] {
        let inputs: Vec<Vec<u32>> = (0..batch).map(|index| sentence(len, index)).collect();
        let inputs: Vec<&[u32]> = inputs.iter().map(Vec::as_slice).collect();
        let seconds = median(clock, || drop(model.embedder.embed(&inputs).unwrap()));
        report.add(&format!("minilm_b{batch}_t{len}"), f64::from(batch) / seconds, "sentences/s");
    }
}

fn chat(clock: &Clock, threads: usize, report: &mut Report) {
    const STEPS: u32 = 64;
    let mut sequences = Sequences::new(common::chat(&common::anchor_chat(), threads).generator);
    let prompt: Vec<u32> = (0..256).map(|i| 5 + i * 31 % 760).collect();
    let seconds = median(clock, || {
        sequences.one(0, &prompt);
        sequences.release(0);
    });
    report.add("anchor_chat_prefill_256", 256.0 / seconds, "tokens/s");
    for batch in [1_u32, 8, 32] {
        let rows: Vec<(u64, &[u32])> = (0..batch).map(|id| (id.into(), &[9_u32][..])).collect();
        let seconds = median(clock, || {
            for _ in 0..STEPS {
                sequences.step(&rows).unwrap();
            }
            rows.iter().for_each(|(sequence, _)| sequences.release(*sequence));
        });
        report.add(&format!("anchor_chat_decode_b{batch}"), f64::from(STEPS * batch) / seconds, "tokens/s");
    }
}

#[derive(Default)]
struct Report(Vec<serde_json::Value>);

impl Report {
    fn add(&mut self, name: &str, value: f64, unit: &str) {
        let mut out = std::io::stdout();
        writeln!(out, "{name}: {value:.1} {unit}").unwrap();
        self.0.push(serde_json::json!({ "name": name, "value": value, "unit": unit }));
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let threads = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(1);
    let clock = Clock { cpu: arguments.iter().any(|argument| argument == "CPU"), start: Instant::now() };
    let mut report = Report::default();
    embeddings(&clock, threads, &mut report);
    chat(&clock, threads, &mut report);
    if let Some(path) = arguments.iter().find_map(|argument| argument.strip_prefix("JSON=")) {
        std::fs::write(path, serde_json::to_vec(&report.0).unwrap()).unwrap();
    }
}

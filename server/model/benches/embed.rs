//! Sentences per second of MiniLM and tokens per second of anchor-chat, through the sealed path.
//!
//! usage: `cargo bench -p anchorhold-model --bench embed -- [THREADS] [JSON=PATH] [CPU]`
//!
//! `CPU` counts the process' CPU time instead of wall time: with one thread it gives stable numbers on a busy machine. Peers in the same
//! units: `tests/models/bench_embed_peers.py`.

#![expect(clippy::unwrap_used, reason = "a benchmark ends where it fails")]

#[path = "../tests/common/mod.rs"]
mod common;
mod harness;

use anchorhold_model::Precision;
use common::Sequences;
use harness::{Arguments, Clock, Report, median};

/// Runs whose median is reported.
const ROUNDS: usize = 9;

/// The median time of a run, in seconds.
fn time(clock: &Clock, mut run: impl FnMut()) -> f64 {
    run();
    median((0..ROUNDS).map(|_| clock.seconds(&mut run)).collect())
}

fn embeddings(clock: &Clock, threads: usize, (precision, mark): (Precision, &str), report: &mut Report) {
    let mut model = common::embedding_with(&common::minilm(), threads, precision);
    let sentence =
        |len: u32, index: u32| (0..len).map(|i| (index * len + i) * 7919 % 20_000 + 1000).collect();
    for (batch, len) in [(32_u32, 64_u32), (1, 16), (1, 64)] {
        let inputs: Vec<Vec<u32>> = (0..batch).map(|index| sentence(len, index)).collect();
        let inputs: Vec<&[u32]> = inputs.iter().map(Vec::as_slice).collect();
        let seconds = time(clock, || drop(model.embedder.embed(&inputs).unwrap()));
        report.add(&format!("minilm{mark}_b{batch}_t{len}"), f64::from(batch) / seconds, "sentences/s");
    }
}

fn chat(clock: &Clock, threads: usize, (precision, mark): (Precision, &str), report: &mut Report) {
    const STEPS: u32 = 64;
    let mut sequences =
        Sequences::new(common::chat_with(&common::anchor_chat(), threads, precision).generator);
    let prompt: Vec<u32> = (0..256).map(|i| 5 + i * 31 % 760).collect();
    let seconds = time(clock, || {
        sequences.one(0, &prompt);
        sequences.release(0);
    });
    report.add(&format!("anchor_chat{mark}_prefill_256"), 256.0 / seconds, "tokens/s");
    for batch in [1_u32, 8, 32] {
        let rows: Vec<(u64, &[u32])> = (0..batch).map(|id| (id.into(), &[9_u32][..])).collect();
        let seconds = time(clock, || {
            for _ in 0..STEPS {
                sequences.step(&rows).unwrap();
            }
            rows.iter().for_each(|(sequence, _)| sequences.release(*sequence));
        });
        report.add(
            &format!("anchor_chat{mark}_decode_b{batch}"),
            f64::from(STEPS * batch) / seconds,
            "tokens/s",
        );
    }
}

fn main() {
    let arguments = Arguments::read();
    let (clock, threads) = (&arguments.clock, arguments.threads);
    let mut report = Report::default();
    for mode in [(Precision::F32, ""), (Precision::Bf16, "_bf16")] {
        embeddings(clock, threads, mode, &mut report);
        chat(clock, threads, mode, &mut report);
    }
    report.write(&arguments);
}

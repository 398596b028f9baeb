//! What `make gpu-check` runs on a machine with a GPU: the parity tests on the device itself, and how fast it is.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use anchorhold_cuda::{Capacity, CudaDecoder, CudaDevice, self_test};
use anchorhold_engine::{Draw, Generator};
use anchorhold_model::{LoadedModel, load_on};
use anchorhold_sealed_weights::Effort;
use common::*;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn on_the_gpu(folder: &Path, capacity: Capacity) -> Box<dyn Generator> {
    let device = CudaDevice::open().unwrap();
    let (loaded, _) = load_on(&sealed(folder), Effort::default(), |plan, weights| {
        Ok(Box::new(CudaDecoder::load(device, &plan, weights, capacity)?))
    })
    .unwrap();
    match loaded {
        LoadedModel::Chat(model) => model.generator,
        _ => panic!("not a chat model"),
    }
}

#[test]
#[ignore = "needs a GPU: make gpu-check"]
fn the_kernels_compute_what_they_must() {
    self_test(&mut CudaDevice::open().unwrap()).unwrap();
}

#[test]
#[ignore = "needs a GPU: make gpu-check"]
fn prompts_and_answers_equal_the_cpu_decoder() {
    for (folder, vocabulary) in models() {
        assert_equals_the_cpu(&folder, vocabulary, &mut Sequences::new(on_the_gpu(&folder, CAPACITY)));
    }
}

/// A draw that takes every step of the kernel.
const DRAW: Draw = Draw { temperature: 0.8, top_k: 50, top_p: 0.95, min_p: 0.01, uniform: 0.6 };

/// Tokens per second of the model in the folder that `ANCHORHOLD_GPU_MODEL` names, or of a small one.
#[test]
#[ignore = "needs a GPU: make gpu-check"]
fn measured() {
    let folder = std::env::var_os("ANCHORHOLD_GPU_MODEL").map_or_else(anchor_chat, PathBuf::from);
    let mut model = Sequences::new(on_the_gpu(&folder, Capacity::default()));
    let vocabulary = u32::try_from(model.generator.vocabulary()).unwrap();
    let prompt = prompt(512.min(model.generator.context() - 80), vocabulary);
    let say = |what: &str, tokens: usize, took: Duration| {
        println!("{what}: {:.0} tokens/s", tokens as f64 / took.as_secs_f64());
    };
    let read = |model: &mut Sequences, sequence: u64| {
        let start = Instant::now();
        model.one(sequence, &prompt);
        start.elapsed()
    };
    read(&mut model, 100);
    say(&format!("prompt of {}", prompt.len()), prompt.len(), read(&mut model, 101));
    for batch in [1_u64, 8, 32] {
        for sequence in 0..batch {
            read(&mut model, 1000 * batch + sequence);
        }
        let rows: Vec<(u64, &[u32])> =
            (0..batch).map(|sequence| (1000 * batch + sequence, &prompt[..1])).collect();
        // The first step of a bucket is recorded.
        model.step(&rows).unwrap();
        let (start, steps) = (Instant::now(), 32);
        for _ in 0..steps {
            model.step(&rows).unwrap();
        }
        say(&format!("answers from logits, {batch} at once"), rows.len() * steps, start.elapsed());
        let start = Instant::now();
        for _ in 0..steps {
            model.draw(&rows, DRAW).unwrap();
        }
        say(&format!("answers drawn there, {batch} at once"), rows.len() * steps, start.elapsed());
        (0..batch).for_each(|sequence| model.release(1000 * batch + sequence));
    }
}

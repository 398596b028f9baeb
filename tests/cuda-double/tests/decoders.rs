//! The CUDA decoder on the double against the CPU decoder in bf16, and against itself in other company.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use anchorhold_engine::{BlockId, Row};
use common::*;

#[test]
fn prompts_and_answers_equal_the_cpu_decoder() {
    for (folder, vocabulary) in models() {
        for order in [Order::Forwards, Order::Backwards] {
            assert_equals_the_cpu(&folder, vocabulary, &mut cuda(&folder, order).0);
        }
    }
}

#[test]
fn logits_do_not_depend_on_company() {
    for (folder, vocabulary) in models() {
        let (mut alone, _) = cuda(&folder, Order::Forwards);
        let prompts = [90, 1, 37, 64].map(|len| prompt(len, vocabulary));
        let wanted: Vec<_> =
            (0..).zip(&prompts).map(|(sequence, prompt)| alone.one(sequence, prompt)).collect();
        let (mut together, _) = cuda(&folder, Order::Backwards);
        let rows: Vec<(u64, &[u32])> = (0..).zip(prompts.iter().map(Vec::as_slice)).collect();
        assert!(together.step(&rows).unwrap() == wanted, "prompts");
        for token in 2..6 {
            // Alone in a bucket of one, and together in one of four.
            let wanted: Vec<_> = (0..4).map(|sequence| alone.one(sequence, &[token])).collect();
            let token = [token];
            let rows: Vec<(u64, &[u32])> = (0..4).map(|sequence| (sequence, token.as_slice())).collect();
            assert!(together.step(&rows).unwrap() == wanted, "answers");
            // Three of four in the same bucket.
            let wanted: Vec<_> = (0..3).map(|sequence| alone.one(sequence, &token)).collect();
            assert!(together.step(&rows[..3]).unwrap() == wanted, "a bucket that is not full");
            let last = alone.one(3, &token);
            assert!(together.one(3, &token) == last, "the one that was left out");
        }
    }
}

#[test]
fn chunks_and_blocks_of_another_sequence_make_no_difference_that_counts() {
    let (mut model, _) = cuda(&anchor_chat(), Order::Forwards);
    let prompt = prompt(140, 768);
    let wanted = model.one(1, &prompt);
    for chunk in [16, 64, 99] {
        let mut logits = Vec::new();
        for part in prompt.chunks(chunk) {
            logits = model.one(100, part);
        }
        assert_near(&logits, &wanted, "in chunks");
        model.release(100);
    }
    // The first two blocks are those of the first sequence.
    let own = [BlockId(0), BlockId(1), BlockId(20)];
    let row = Row { tokens: &prompt[128..], start: 128, blocks: &own };
    assert_near(&model.generator.step(&[row]).unwrap()[0], &wanted, "after a prefix that was found");
}

#[test]
fn a_step_crosses_twice_and_takes_no_memory() {
    let (mut model, crossings) = cuda(&tiny("llama"), Order::Forwards);
    let (mut other, _) = cuda(&tiny("llama"), Order::Forwards);
    model.one(1, &prompt(70, 128));
    let eager: Vec<_> = {
        other.one(1, &prompt(70, 128));
        // Beside a row with two tokens nothing is replayed.
        (5..9)
            .zip(50..)
            .map(|(token, beside)| other.step(&[(1, &[token]), (beside, &[9, 9])]).unwrap().remove(0))
            .collect()
    };
    let mut replayed = vec![model.one(1, &[5])];
    let before = *crossings.lock().unwrap();
    replayed.extend((6..9).map(|token| model.one(1, &[token])));
    let after = *crossings.lock().unwrap();
    assert!(replayed == eager, "a replayed step is the step");
    assert_eq!((after.up - before.up, after.down - before.down), (3, 3));
    assert_eq!((after.allocations, after.starts), (before.allocations, before.starts));
    assert_eq!(after.replays - before.replays, 3);
}

#[test]
fn what_is_erased_is_gone() {
    let (mut model, _) = cuda(&tiny("qwen3"), Order::Forwards);
    let prompt = prompt(65, 128);
    let wanted = model.one(1, &prompt);
    let row = |blocks: &'static [BlockId]| Row { tokens: &[2], start: 65, blocks };
    const BLOCKS: &[BlockId] = &[BlockId(0), BlockId(1)];
    let kept = model.generator.step(&[row(BLOCKS)]).unwrap();
    model.generator.erase(&BLOCKS[..1]);
    let erased = model.generator.step(&[row(BLOCKS)]).unwrap();
    assert!(kept[0].iter().zip(&erased[0]).any(|(a, b)| (a - b).abs() > 0.01));
    model.generator.erase(&[BlockId(1), BlockId(u32::MAX)]);
    model.release(1);
    assert!(model.one(2, &prompt) == wanted);
}

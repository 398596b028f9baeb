//! A row's logits are the same bits whoever runs beside it, at any length of a step, after a prefix was found, and after it was put back.
//!
//! The real scheduler drives the real models. Between them stands a witness who knows from the blocks alone which tokens a row continues,
//! and holds its logits against those that the same tokens had in any run before.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use anchorhold_engine::{
    BackendError, BlockId, CacheDomain, Counters, GenerationLimits, GenerationRequest, GenerationScheduler,
    Generator, Moment, Row, Sampling, SequenceId, Tenancy, TokenId,
};
use anchorhold_model::Precision;
use std::collections::HashMap;

/// Every kind of decoder: dense, with windows, with norms around, with experts in all layers and in some.
const FAMILIES: [&str; 5] = ["llama", "mistral", "gemma3", "mixtral", "qwen3-moe"];

/// The logits after each text of tokens, as bits.
type Known = HashMap<Vec<TokenId>, Vec<u32>>;

struct Witness {
    inner: Box<dyn Generator>,
    /// What the blocks hold, position by position.
    blocks: HashMap<BlockId, Vec<TokenId>>,
    known: Known,
    /// How many texts were seen more than once.
    compared: usize,
}

impl Generator for Witness {
    fn vocabulary(&self) -> usize {
        self.inner.vocabulary()
    }

    fn context(&self) -> usize {
        self.inner.context()
    }

    fn block(&self) -> usize {
        self.inner.block()
    }

    fn step(&mut self, rows: &[Row<'_>]) -> Result<Vec<Vec<f32>>, BackendError> {
        let answers = self.inner.step(rows)?;
        let size = self.block();
        for (row, logits) in rows.iter().zip(&answers) {
            for (at, token) in (row.start..).zip(row.tokens) {
                let block = self.blocks.entry(row.blocks[at / size]).or_default();
                block.truncate(at % size);
                block.push(*token);
            }
            let text: Vec<TokenId> = row.blocks.iter().flat_map(|block| self.blocks[block].clone()).collect();
            assert_eq!(text.len(), row.start + row.tokens.len());
            let bits: Vec<u32> = logits.iter().map(|logit| logit.to_bits()).collect();
            if let Some(known) = self.known.get(&text) {
                assert!(*known == bits, "{} tokens, of which {} were there", text.len(), row.start);
                self.compared += 1;
            } else {
                self.known.insert(text, bits);
            }
        }
        Ok(answers)
    }

    fn erase(&mut self, blocks: &[BlockId]) {
        self.inner.erase(blocks);
        for block in blocks {
            self.blocks.remove(block);
        }
    }
}

/// Some prompts, of which every other begins like the first.
fn prompts(count: u32) -> Vec<Vec<TokenId>> {
    let own = |number: u32, len: u32| (0..len).map(move |at| (at * at + 5 * at + 31 * number) % 128);
    let prompt = |number: u32| match number % 2 {
        0 => own(0, 40 + number % 3 * 16).chain(own(number, number % 7)).collect(),
        _ => own(number, 1 + 37 * number % 90).collect(),
    };
    (0..count).map(prompt).collect()
}

/// Generates a few tokens after each prompt, all at once as far as the limits allow; the answers, and what the scheduler did.
fn run(
    witness: &mut Witness,
    prompts: &[Vec<TokenId>],
    limits: GenerationLimits,
) -> (Vec<Vec<TokenId>>, Counters) {
    let mut scheduler = GenerationScheduler::new(limits, &*witness, Vec::new());
    for (number, prompt) in (0_u64..).zip(prompts) {
        let sampling = Sampling { seed: number, ..Sampling::default() };
        let tenancy = Tenancy { domain: CacheDomain([7; 16]), share: 1 };
        let prompt = prompt.clone();
        let sequence = SequenceId(number);
        let request = GenerationRequest {
            sequence,
            choices: 1,
            tenancy,
            prompt,
            sampling,
            max_tokens: 20,
            min_tokens: 0,
            ignore_eos: true,
            stop_tokens: Vec::new(),
            logprobs: None,
            ends_by: Moment::NEVER,
        };
        scheduler.submit(request, None).unwrap();
    }
    let mut answers = vec![Vec::new(); prompts.len()];
    while !scheduler.is_idle() {
        for output in scheduler.step(Moment(0), witness) {
            answers[usize::try_from(output.sequence.0).unwrap()].push(output.token.unwrap());
        }
    }
    // The next scheduler begins with blocks that hold nothing.
    let held: Vec<BlockId> = witness.blocks.keys().copied().collect();
    witness.erase(&held);
    (answers, scheduler.counters())
}

fn same_in_any_run(family: &str, precision: Precision) {
    let load = |threads| common::chat_with(&common::tiny(family), threads, precision).generator;
    let mut witness = Witness { inner: load(1), blocks: HashMap::new(), known: HashMap::new(), compared: 0 };
    let prompts = prompts(32);
    let ample = GenerationLimits {
        step_tokens: 4096,
        cache_tokens: 8192,
        keep_prefixes: false,
        ..GenerationLimits::default()
    };
    let alone = |prompt: &Vec<TokenId>| {
        let prompt = std::slice::from_ref(prompt);
        run(&mut witness, prompt, ample).0.remove(0)
    };
    // Alone each has the seed of the first, so what is compared is the logits after the prompts, and the answer of the first.
    let wanted: Vec<Vec<TokenId>> = prompts.iter().map(alone).collect();
    witness.inner = load(2);
    let (together, _) = run(&mut witness, &prompts, ample);
    assert_eq!(together[0], wanted[0], "{family}");
    let (mut found, mut put_back) = (0, 0);
    for (step_tokens, running, cache_tokens) in
        [(1, 1, 8192), (2, 2, 160), (7, 8, 256), (8, 8, 8192), (33, 32, 320), (256, 32, 416)]
    {
        let limits = GenerationLimits { step_tokens, running, cache_tokens, keep_prefixes: true, ..ample };
        let (answers, counters) = run(&mut witness, &prompts, limits);
        assert_eq!(answers, together, "{family} {limits:?}");
        found += counters.found;
        put_back += counters.put_back;
    }
    assert!(found > 500 && put_back > 10, "{family}: {found} found, {put_back} put back");
    assert!(witness.compared > 3000, "{family}: {} compared", witness.compared);
}

#[test]
fn logits_are_the_same_bits_in_any_run() {
    for family in FAMILIES {
        same_in_any_run(family, Precision::F32);
    }
}

#[test]
fn logits_in_bf16_are_the_same_bits_in_any_run() {
    for family in FAMILIES {
        same_in_any_run(family, Precision::Bf16);
    }
}

//! Tokens that the device draws, against the sampler of the host: by the kernel alone, and by the decoder.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use anchorhold_cuda::{Argument, Device as _, Kernel, Launch};
use anchorhold_engine::{Answer, BackendError, BlockId, Draw, Row, Sampler, Sampling, Terms, Wanted};
use common::*;

/// Random numbers of the tests themselves: xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn short(&mut self) -> u16 {
        let [.., a, b] = self.next().to_le_bytes();
        u16::from_le_bytes([a, b])
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.short()) % all.len()]
    }

    fn sampling(&mut self) -> Sampling {
        Sampling {
            temperature: self.one_of(&[0.0, 0.05, 0.7, 1.0, 2.0, 100.0, f32::INFINITY, f32::NAN]),
            top_k: self.one_of(&[0, 0, 1, 2, 5, 40, 1000, u32::MAX]),
            top_p: self.one_of(&[1.0, 2.0, 0.0, -1.0, 0.1, 0.5, 0.9, 0.999, f32::NAN]),
            min_p: self.one_of(&[0.0, 0.0, -1.0, 0.001, 0.2, 1.0, 2.0]),
            seed: self.next(),
            ..Sampling::default()
        }
    }

    /// Logits that are spread out, of a few values, all alike, or so far apart that most weights are zero.
    fn logits(&mut self, count: usize) -> Vec<f32> {
        let scale = self.one_of(&[1.0, 8.0, 0.0, 300.0, f32::MAX]);
        let step = self.one_of(&[1, 1 << 12, 1 << 15]);
        (0..count)
            .map(|_| {
                let value = self.short() / step * step;
                (f32::from(value) / 32768.0 - 1.0) * scale
            })
            .collect()
    }
}

/// What the kernel draws for each row, in one launch.
fn drawn(double: &mut Double, draws: &[Draw], logits: &[Vec<f32>]) -> Vec<u32> {
    let (rows, vocabulary) = (u32::try_from(draws.len()).unwrap(), logits[0].len());
    // As `kernels/step.cuh` reads it: the rows, where their draws are, and those.
    let mut words = [0; 16];
    (words[1], words[14]) = (rows, 16);
    let mut words = words.to_vec();
    for draw in draws {
        let uniform = draw.uniform.to_le_bytes();
        let [low, high] = [0, 4].map(|at| u32::from_le_bytes(uniform[at..at + 4].try_into().unwrap()));
        let floats = [draw.temperature, draw.top_p, draw.min_p].map(f32::to_bits);
        words.extend([1, floats[0], draw.top_k, floats[1], floats[2], low, high]);
    }
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let step = double.allocate(bytes.len()).unwrap();
    double.send(step, &bytes).unwrap();
    let bytes: Vec<u8> = logits.concat().iter().flat_map(|logit| logit.to_le_bytes()).collect();
    let at = double.allocate(bytes.len()).unwrap();
    double.upload(at, &bytes).unwrap();
    let tokens = double.allocate(4 * draws.len()).unwrap();
    let arguments = vec![
        Argument::Address(step.start()),
        Argument::Address(at.start()),
        Argument::Address(tokens.start()),
        Argument::Number(u32::try_from(vocabulary).unwrap()),
    ];
    // One row more than the step has, as in a bucket that is not full.
    let grid = [rows + 1, 1, 1];
    double.launch(&Launch { kernel: Kernel::DrawTokens, grid, threads: 512, shared: 0, arguments }).unwrap();
    let mut bytes = vec![0; tokens.bytes()];
    double.read(tokens, &mut bytes).unwrap();
    bytes.as_chunks::<4>().0.iter().map(|four| u32::from_le_bytes(*four)).collect()
}

#[test]
fn the_kernel_draws_what_the_sampler_draws() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut all, mut greedy, mut other) = (0, 0, 0);
    for (vocabulary, launches) in
        [(2, 20), (31, 20), (32, 20), (33, 20), (257, 20), (1000, 20), (5000, 5), (40_000, 1)]
    {
        for launch in 0..launches {
            let order = if launch % 2 == 0 { Order::Forwards } else { Order::Backwards };
            let settings: Vec<Sampling> = (0..32).map(|_| random.sampling()).collect();
            let logits: Vec<Vec<f32>> = (0..32).map(|_| random.logits(vocabulary)).collect();
            let mut samplers: Vec<_> = settings.iter().map(|of| Sampler::new(of.clone(), &[])).collect();
            let draws: Vec<Draw> = samplers.iter().map(|sampler| sampler.plain_draw().unwrap()).collect();
            let tokens = drawn(&mut Double::new(16 << 20, order), &draws, &logits);
            for (at, sampler) in samplers.iter_mut().enumerate() {
                let wanted = sampler.draw(logits[at].clone(), Terms::default()).unwrap().token;
                let is_greedy = draws[at].temperature == 0.0;
                if tokens[at] != wanted {
                    assert!(!is_greedy, "{:?}", settings[at]);
                    println!("{} for {wanted} of {vocabulary}: {:?}", tokens[at], draws[at]);
                    other += 1;
                }
                all += 1;
                greedy += usize::from(is_greedy);
            }
        }
    }
    println!("{other} of {all} differ");
    assert!(all >= 4_000 && greedy > 500);
    // Where rounding decides: a sum that lies on a bound to within its last bits.
    assert!(other <= 4, "{other} of {all} differ");
}

#[test]
fn logits_that_are_not_finite_give_no_token() {
    let draws = [0.0, 1.0].map(|temperature| {
        Sampler::new(Sampling { temperature, ..Sampling::default() }, &[]).plain_draw().unwrap()
    });
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for at in [0, 77, 999] {
            let mut logits = vec![vec![1.0; 1000]; 2];
            logits.iter_mut().for_each(|logits| logits[at] = bad);
            let tokens = drawn(&mut Double::new(1 << 20, Order::Forwards), &draws, &logits);
            assert_eq!(tokens, [u32::MAX; 2]);
        }
    }
}

#[test]
fn the_decoder_draws_as_the_sampler_does_from_its_logits_and_copies_four_bytes_for_each_row() {
    let (mut with_logits, _) = cuda(&anchor_chat(), Order::Forwards);
    let (with_draws, crossings) = cuda(&anchor_chat(), Order::Backwards);
    let mut generator = with_draws.generator;
    let mut random = Random(5);
    let mut tokens: Vec<Vec<u32>> = [3, 20, 64].map(|len| prompt(len, 768)).to_vec();
    let blocks: Vec<Vec<BlockId>> = (0..3).map(|row| [2 * row, 2 * row + 1].map(BlockId).to_vec()).collect();
    let mut done = [0; 3];
    for step in 0..40 {
        let rows: Vec<(u64, &[u32])> = (0..3).map(|row| (row as u64, &tokens[row][done[row]..])).collect();
        let logits = with_logits.step(&rows).unwrap();
        let mut samplers = [0; 3].map(|_| Sampler::new(random.sampling(), &[]));
        let mut wanted: Vec<_> =
            samplers.iter().map(|sampler| Wanted::Token(sampler.plain_draw().unwrap())).collect();
        // Now and then a row wants its logits, or nothing.
        let (others, bytes) = match step % 8 {
            5 => (vec![(0, Wanted::Logits)], 256 + 4 * 768),
            6 => (vec![(1, Wanted::Logits), (2, Wanted::Nothing)], 256 + 2 * 4 * 768),
            _ => (Vec::new(), 3 * 4),
        };
        others.iter().for_each(|(row, other)| wanted[*row] = *other);
        let rows: Vec<_> = (0..3)
            .map(|row| Row {
                tokens: &tokens[row][done[row]..],
                start: done[row],
                blocks: &blocks[row][..tokens[row].len().div_ceil(64)],
            })
            .collect();
        let before = *crossings.lock().unwrap();
        let answers = generator.step_and_draw(&rows, &wanted).unwrap();
        let after = *crossings.lock().unwrap();
        assert_eq!((after.down - before.down, after.bytes_down - before.bytes_down), (1, bytes));
        for row in 0..3 {
            let token = samplers[row].draw(logits[row].clone(), Terms::default()).unwrap().token;
            match wanted[row] {
                Wanted::Nothing => assert_eq!(answers[row], Answer::Nothing),
                Wanted::Logits => assert_eq!(answers[row], Answer::Logits(logits[row].clone())),
                Wanted::Token(_) => assert_eq!(answers[row], Answer::Token(Ok(token)), "step {step}"),
            }
            done[row] = tokens[row].len();
            tokens[row].push(token);
        }
    }
    assert!(crossings.lock().unwrap().replays > 30);
    let row = Row { tokens: &[2], start: 0, blocks: &blocks[0][..1] };
    let uneven = Err(BackendError::new("not as many wishes as rows"));
    assert_eq!(generator.step_and_draw(&[row], &[]), uneven);
}

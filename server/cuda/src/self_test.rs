//! Small questions to every kernel whose answers are computed on the CPU, asked before a model is loaded: a device, a driver or a module
//! that computes wrongly is found before it answers anybody.

use crate::device::{Address, CacheView, Device, DeviceError, Heads, Memory, Onto, Product, Scores};
use crate::kernels::{self, Attended, Bend, Kernel, NormWeight, On, Turning, parts_bytes};
use crate::step::{BLOCK, NOT_FINITE, Step, StepLimits};
use anchorhold_engine::{BlockId, Draw, Row, Wanted};
use anchorhold_model::numbers::bf16;

/// Features of a line: more than a warp, no power of two.
const WIDTH: usize = 80;
/// More query heads of one key head than a block of threads takes together.
const HEADS: Heads = Heads { queries: 20, keys: 2, head: 80 };
/// A window that begins inside a block, and a bound that bends the scores.
const SCORES: Scores = Scores { scale: 0.11, cap: 2.5, window: 100 };
/// Positions of the row that appends one token, and of the one that appends all.
const DECODED: usize = 150;
const PREFILLED: usize = 70;
/// How far an answer in bf16 may be from the exact one, for answers of about one.
const TOLERANCE: f32 = 0.03;

/// Tokens of which one is drawn.
const CHOICES: usize = 1000;
/// Each setting alone, and with others; the first takes the likeliest token.
const DRAWS: [Draw; 7] = [
    Draw { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0, uniform: 0.9 },
    Draw { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, uniform: 0.3 },
    Draw { temperature: 1.5, top_k: 40, top_p: 1.0, min_p: 0.0, uniform: 0.8 },
    Draw { temperature: 2.0, top_k: 0, top_p: 0.9, min_p: 0.0, uniform: 0.95 },
    Draw { temperature: 2.0, top_k: 0, top_p: 1.0, min_p: 0.3, uniform: 0.5 },
    Draw { temperature: 1.2, top_k: 50, top_p: 0.7, min_p: 0.05, uniform: 0.99 },
    Draw { temperature: 3.0, top_k: 500, top_p: 0.5, min_p: 0.0, uniform: 0.6 },
];

/// Asks every kernel.
///
/// # Errors
/// [`DeviceError::SelfTest`] with the kernel that answered wrongly, or the device failed.
pub fn self_test(device: &mut dyn Device) -> Result<(), DeviceError> {
    let mut bench = Bench::new(device)?;
    bench.lines()?;
    bench.product()?;
    bench.gates()?;
    bench.attention()?;
    bench.draws()
}

/// Numbers between -1 and 1, the same each time.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let [a, b, ..] = state.to_le_bytes();
        f32::from(i16::from_le_bytes([a, b])) / 32768.0
    };
    (0..count).map(|_| next()).collect()
}

fn rounded(values: &[f32]) -> Vec<f32> {
    values.iter().map(|value| f32::from_bits(bf16(*value) << 16)).collect()
}

fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn bf16_bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| {
            let [low, high, ..] = bf16(*value).to_le_bytes();
            [low, high]
        })
        .collect()
}

struct Bench<'a> {
    device: &'a mut dyn Device,
    step: Memory,
    /// Tokens of the step, row after row.
    tokens: Vec<u32>,
}

impl<'a> Bench<'a> {
    /// A device that was told of a step with one row that appends a token and one that appends many.
    fn new(device: &'a mut dyn Device) -> Result<Self, DeviceError> {
        let tokens: Vec<u32> = (0..=PREFILLED).zip(0_u32..).map(|(_, at)| at * 7 % 31).collect();
        let ids: Vec<BlockId> = [4, 1, 3, 0, 2].map(BlockId).to_vec();
        let (one, many) = tokens.split_at(1);
        let (first, second) = ids.split_at(DECODED.div_ceil(BLOCK));
        let rows = [
            Row { tokens: one, start: DECODED - 1, blocks: first },
            Row { tokens: many, start: 0, blocks: second },
        ];
        let mut step = Step::default();
        step.describe(&rows, &[Wanted::Logits; 2]);
        let limits = StepLimits { lines: tokens.len(), rows: 2, blocks: first.len() };
        let memory = device.allocate(limits.bytes())?;
        device.send(memory, step.bytes())?;
        Ok(Self { device, step: memory, tokens })
    }

    fn on(&self, count: usize) -> On {
        On { step: self.step.start(), count: u32::try_from(count).unwrap_or(u32::MAX) }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<Address, DeviceError> {
        let memory = self.device.allocate(bytes.len())?;
        self.device.upload(memory, bytes)?;
        Ok(memory.start())
    }

    fn read_f32(&mut self, memory: Memory) -> Result<Vec<f32>, DeviceError> {
        let mut bytes = vec![0; memory.bytes()];
        self.device.read(memory, &mut bytes)?;
        Ok(bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect())
    }

    fn read_bf16(&mut self, memory: Memory) -> Result<Vec<f32>, DeviceError> {
        let mut bytes = vec![0; memory.bytes()];
        self.device.read(memory, &mut bytes)?;
        let wide = |two: &[u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(*two)) << 16);
        Ok(bytes.as_chunks::<2>().0.iter().map(wide).collect())
    }

    /// Token vectors, norms and biases.
    fn lines(&mut self) -> Result<(), DeviceError> {
        let (lines, hidden) = (self.tokens.len(), narrow(WIDTH));
        let table = rounded(&numbers(31 * WIDTH, 1));
        let (weight, bias) = (numbers(WIDTH, 2), numbers(WIDTH, 3));
        let table_at = self.put(&bf16_bytes(&table))?;
        let norm = NormWeight { weight: self.put(&f32_bytes(&weight))?, epsilon: 1e-5 };
        let bias_at = self.put(&f32_bytes(&bias))?;
        let x = self.device.allocate(4 * lines * WIDTH)?;
        let out = self.device.allocate(2 * lines * WIDTH)?;
        let last = self.device.allocate(2 * 2 * WIDTH)?;
        self.device.launch(&kernels::embed(self.on(lines), table_at, x.start(), (hidden, 0.5)))?;
        let mut wanted: Vec<f32> = Vec::new();
        for &token in &self.tokens {
            wanted
                .extend(table.chunks_exact(WIDTH).nth(token as usize).into_iter().flatten().map(|v| v * 0.5));
        }
        near(Kernel::Embed, &self.read_f32(x)?, &wanted)?;
        self.device.launch(&kernels::add_bias(self.on(lines), bias_at, x.start(), hidden))?;
        wanted.chunks_exact_mut(WIDTH).for_each(|line| line.iter_mut().zip(&bias).for_each(|(x, b)| *x += b));
        near(Kernel::AddBias, &self.read_f32(x)?, &wanted)?;
        self.device.launch(&kernels::rms_norm(self.on(lines), x.start(), norm, (out.start(), hidden)))?;
        let normed: Vec<f32> =
            wanted.chunks_exact(WIDTH).flat_map(|line| normalised(line, &weight)).collect();
        near(Kernel::RmsNorm, &self.read_bf16(out)?, &normed)?;
        self.device.launch(&kernels::last_norm(self.on(2), x.start(), norm, (last.start(), hidden)))?;
        let ends = [normed.get(..WIDTH), normed.get(PREFILLED * WIDTH..)];
        let ends: Vec<f32> = ends.into_iter().flatten().flatten().copied().collect();
        near(Kernel::LastNorm, &self.read_bf16(last)?, &ends)?;
        let added = self.put(&f32_bytes(&wanted))?;
        self.device.launch(&kernels::add_normed(self.on(lines), added, norm, (x.start(), hidden)))?;
        wanted.iter_mut().zip(&normed).for_each(|(x, normed)| *x += normed);
        near(Kernel::AddNormed, &self.read_f32(x)?, &wanted)
    }

    /// A product, alone and onto what was there.
    fn product(&mut self) -> Result<(), DeviceError> {
        let (rows, columns, depth) = (5, 24, WIDTH);
        let (x, weights) = (rounded(&numbers(rows * depth, 4)), rounded(&numbers(columns * depth, 5)));
        let out = self.device.allocate(4 * rows * columns)?;
        let mut product = Product {
            x: self.put(&bf16_bytes(&x))?,
            weights: self.put(&bf16_bytes(&weights))?,
            out: out.start(),
            rows,
            columns,
            depth,
            onto: Onto::Nothing,
        };
        let dot = |x: &[f32], w: &[f32]| x.iter().zip(w).map(|(x, w)| x * w).sum::<f32>();
        let products =
            x.chunks_exact(depth).flat_map(|x| weights.chunks_exact(depth).map(move |w| dot(x, w)));
        let products: Vec<f32> = products.collect();
        self.device.multiply(&product)?;
        near_product(&self.read_f32(out)?, &products)?;
        product.onto = Onto::Itself;
        self.device.multiply(&product)?;
        near_product(&self.read_f32(out)?, &products.iter().map(|value| 2.0 * value).collect::<Vec<_>>())
    }

    /// Both gates, and the bound of logits.
    fn gates(&mut self) -> Result<(), DeviceError> {
        let lines = self.tokens.len();
        let wide: Vec<f32> = numbers(lines * 2 * WIDTH, 6).iter().map(|value| 3.0 * value).collect();
        let wide_at = self.put(&f32_bytes(&wide))?;
        let out = self.device.allocate(2 * lines * WIDTH)?;
        for bend in [Bend::Silu, Bend::GeluTanh] {
            let launch = kernels::gate_multiply(self.on(lines), wide_at, out.start(), (narrow(WIDTH), bend));
            self.device.launch(&launch)?;
            let bent = |x: f32| match bend {
                Bend::Silu => x / (1.0 + (-x).exp()),
                Bend::GeluTanh => 0.5 * x * (1.0 + (0.797_884_6 * (x + 0.044_715 * x.powi(3))).tanh()),
            };
            let wanted: Vec<f32> = wide
                .chunks_exact(2 * WIDTH)
                .flat_map(|line| {
                    let (gate, up) = line.split_at(WIDTH);
                    gate.iter().zip(up).map(|(gate, up)| bent(*gate) * up).collect::<Vec<_>>()
                })
                .collect();
            near(Kernel::GateMultiply, &self.read_bf16(out)?, &wanted)?;
        }
        let logits: Vec<f32> = wide.iter().take(2 * WIDTH).copied().collect();
        let memory = self.device.allocate(4 * 2 * WIDTH)?;
        self.device.upload(memory, &f32_bytes(&logits))?;
        self.device.launch(&kernels::cap_logits(self.on(2), memory.start(), narrow(WIDTH), 1.5))?;
        let wanted: Vec<f32> = logits.iter().map(|logit| 1.5 * (logit / 1.5).tanh()).collect();
        near(Kernel::CapLogits, &self.read_f32(memory)?, &wanted)
    }

    /// Keys, values and queries of a step over a cache that holds earlier ones, and both attentions.
    fn attention(&mut self) -> Result<(), DeviceError> {
        let lines = self.tokens.len();
        let (all, head) = (22 + 2, HEADS.head as usize);
        let mixed = rounded(&numbers(lines * all * head, 7));
        let block_len = 2 * HEADS.keys as usize * BLOCK * head;
        // The blocks of the first row hold its earlier positions; what else is in them is never to be seen.
        let kept = rounded(&numbers(5 * block_len, 8));
        let cache_memory = self.device.allocate(2 * kept.len())?;
        self.device.upload(cache_memory, &bf16_bytes(&kept))?;
        let cache = CacheView {
            memory: cache_memory.start(),
            block_len: block_len as u64,
            layer: 0,
            heads: HEADS.keys,
            head: HEADS.head,
        };
        let angles: Vec<f32> = (0..DECODED)
            .flat_map(|position| {
                (0..head / 2).flat_map(move |pair| {
                    let angle = (position * (pair + 1) % 97) as f32 / 97.0;
                    [angle.cos(), angle.sin()]
                })
            })
            .collect();
        let (bias, norms) = (numbers(all * head, 9), numbers(2 * head, 10));
        let (query_norm, key_norm) = norms.split_at(head);
        let turning = Turning {
            bias: self.put(&f32_bytes(&bias))?,
            query_norm: self.put(&f32_bytes(query_norm))?,
            key_norm: self.put(&f32_bytes(key_norm))?,
            angles: self.put(&f32_bytes(&angles))?,
            epsilon: 1e-5,
        };
        let mixed_at = self.put(&f32_bytes(&mixed))?;
        let features = HEADS.queries as usize * head;
        let queries = self.device.allocate(2 * lines * features)?;
        let launch =
            kernels::rope_write(self.on(lines), (mixed_at, queries.start()), &turning, (cache, HEADS));
        self.device.launch(&launch)?;
        let exact = Exact { mixed: &mixed, bias: &bias, norms: [query_norm, key_norm], angles: &angles };
        let turned: Vec<f32> = (0..lines)
            .flat_map(|line| (0..20).flat_map(|at| exact.head(line, at)).collect::<Vec<_>>())
            .collect();
        near(Kernel::RopeWrite, &self.read_bf16(queries)?, &turned)?;
        let attended = Attended { cache, heads: HEADS, scores: SCORES };
        let out = self.device.allocate(2 * lines * features)?;
        let parts = self.device.allocate(parts_bytes(HEADS))?;
        let tiles = PREFILLED.div_ceil(64);
        self.device.launch(&kernels::prefill_attention(
            self.on(tiles),
            queries.start(),
            &attended,
            out.start(),
        ))?;
        self.device.launch(&kernels::decode_attention(
            self.on(1),
            queries.start(),
            &attended,
            parts.start(),
        ))?;
        self.device.launch(&kernels::combine_parts(self.on(1), parts.start(), HEADS, out.start()))?;
        let got = self.read_bf16(out)?;
        let (decoded, prefilled) = got.split_at(features.min(got.len()));
        near(Kernel::DecodeAttention, decoded, &exact.decoded(&kept))?;
        near(Kernel::PrefillAttention, prefilled, &exact.prefilled())
    }
}

impl Bench<'_> {
    /// Tokens drawn by all settings, and one out of logits that are not finite.
    fn draws(&mut self) -> Result<(), DeviceError> {
        let draws: Vec<Draw> = DRAWS.into_iter().chain(DRAWS.first().copied()).collect();
        let mut logits: Vec<f32> =
            numbers(draws.len() * CHOICES, 11).iter().map(|value| 8.0 * value).collect();
        if let Some(last) = logits.last_mut() {
            *last = f32::NAN;
        }
        let wanted: Vec<Wanted> = draws.iter().copied().map(Wanted::Token).collect();
        let row = Row { tokens: &[0], start: 0, blocks: &[BlockId(0)] };
        let mut step = Step::default();
        step.describe(&vec![row; draws.len()], &wanted);
        let memory = self.device.allocate(step.bytes().len())?;
        self.device.send(memory, step.bytes())?;
        let logits_at = self.put(&f32_bytes(&logits))?;
        let tokens = self.device.allocate(4 * draws.len())?;
        let on = On { step: memory.start(), ..self.on(draws.len()) };
        self.device.launch(&kernels::draw_tokens(on, logits_at, tokens.start(), narrow(CHOICES)))?;
        let mut bytes = vec![0; tokens.bytes()];
        self.device.read(tokens, &mut bytes)?;
        let drawn = bytes.as_chunks::<4>().0.iter().map(|four| u32::from_le_bytes(*four));
        let exact = |(draw, logits): (&Draw, &[f32])| draw.token(logits).unwrap_or(NOT_FINITE);
        if drawn.eq(draws.iter().zip(logits.chunks_exact(CHOICES)).map(exact)) {
            Ok(())
        } else {
            Err(DeviceError::SelfTest(Kernel::DrawTokens.name()))
        }
    }
}

/// The same attention straight from its definition.
struct Exact<'a> {
    mixed: &'a [f32],
    bias: &'a [f32],
    norms: [&'a [f32]; 2],
    angles: &'a [f32],
}

impl Exact<'_> {
    fn position(line: usize) -> usize {
        if line == 0 { DECODED - 1 } else { line - 1 }
    }

    /// Head `at` of query, key and value, as it is to be after norm and turn.
    fn head(&self, line: usize, at: usize) -> Vec<f32> {
        let head = HEADS.head as usize;
        let from = self.mixed.chunks_exact(head).nth(line * 24 + at).unwrap_or_default();
        let bias = self.bias.chunks_exact(head).nth(at).unwrap_or_default();
        let biased: Vec<f32> = from.iter().zip(bias).map(|(x, b)| x + b).collect();
        if at >= 22 {
            return rounded(&biased);
        }
        let [of_queries, of_keys] = self.norms;
        let mut part = normalised(&biased, if at < 20 { of_queries } else { of_keys });
        let angles = self.angles.chunks_exact(head).nth(Self::position(line)).unwrap_or_default();
        let (first, second) = part.split_at_mut(head / 2);
        for ((a, b), angle) in first.iter_mut().zip(second).zip(angles.as_chunks::<2>().0) {
            let [cos, sin] = *angle;
            (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
        }
        rounded(&part)
    }

    /// The answers of the row with one token; `kept` is what the cache held before.
    fn decoded(&self, kept: &[f32]) -> Vec<f32> {
        let head = HEADS.head as usize;
        let old = |position: usize, at: usize| {
            let block = [4, 1, 3].into_iter().nth(position / BLOCK).unwrap_or_default();
            let line = (block * 2 * HEADS.keys as usize + at) * BLOCK + position % BLOCK;
            kept.chunks_exact(head).nth(line).unwrap_or_default().to_vec()
        };
        let key_or_value = |position: usize, at: usize| {
            if position + 1 == DECODED { self.head(0, 20 + at) } else { old(position, at) }
        };
        self.answers(0, key_or_value)
    }

    /// The answers of the row that appends all its tokens.
    fn prefilled(&self) -> Vec<f32> {
        let answers = |line| self.answers(line, |position, at| self.head(position + 1, 20 + at));
        (1..=PREFILLED).flat_map(answers).collect()
    }

    /// All heads of a line; `cached` gives the keys (0 and 1) and values (2 and 3) of a position.
    fn answers(&self, line: usize, cached: impl Fn(usize, usize) -> Vec<f32>) -> Vec<f32> {
        let end = Self::position(line) + 1;
        let seen = end.saturating_sub(SCORES.window as usize)..end;
        let columns = |at: usize| seen.clone().map(|position| cached(position, at)).collect::<Vec<_>>();
        let all: Vec<Vec<Vec<f32>>> = (0..4).map(columns).collect();
        let answer = |at: usize| {
            let query = self.head(line, at);
            let keys = all.get(at / 10).map(Vec::as_slice).unwrap_or_default();
            let values = all.get(2 + at / 10).map(Vec::as_slice).unwrap_or_default();
            let share = |key: &Vec<f32>| {
                let score: f32 = query.iter().zip(key).map(|(q, k)| q * k).sum::<f32>() * SCORES.scale;
                (SCORES.cap * (score / SCORES.cap).tanh()).exp()
            };
            let shares: Vec<f32> = keys.iter().map(share).collect();
            let sum: f32 = shares.iter().sum();
            let mut answer = vec![0.0; HEADS.head as usize];
            for (share, value) in shares.iter().zip(values) {
                answer.iter_mut().zip(value).for_each(|(to, value)| *to += share / sum * value);
            }
            answer
        };
        (0..20).flat_map(answer).collect()
    }
}

fn normalised(line: &[f32], weight: &[f32]) -> Vec<f32> {
    let square: f32 = line.iter().map(|x| x * x).sum::<f32>() / line.len() as f32;
    let scale = 1.0 / (square + 1e-5).sqrt();
    line.iter().zip(weight).map(|(x, weight)| x * scale * weight).collect()
}

fn near(kernel: Kernel, got: &[f32], wanted: &[f32]) -> Result<(), DeviceError> {
    all_near(kernel.name(), got, wanted)
}

fn near_product(got: &[f32], wanted: &[f32]) -> Result<(), DeviceError> {
    all_near("a matrix product", got, wanted)
}

fn all_near(what: &'static str, got: &[f32], wanted: &[f32]) -> Result<(), DeviceError> {
    // Written so that a NaN is not near.
    let near = |(got, wanted): (&f32, &f32)| (got - wanted).abs() <= TOLERANCE * wanted.abs().max(1.0);
    if got.len() == wanted.len() && got.iter().zip(wanted).all(near) {
        Ok(())
    } else {
        Err(DeviceError::SelfTest(what))
    }
}

fn narrow(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

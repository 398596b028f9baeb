//! A dense decoder on a device: the steps of a [`Generator`] as launches and products.
//!
//! Between the layers the states are f32; what is multiplied is bf16, and sums are f32. A step crosses to the device once, with its
//! description, and back once, with a token for each row that draws and the logits of those that want them. A step in which every row
//! appends one token is recorded for its number of rows, rounded up to a bucket, and replayed from then on.

use crate::device::{Address, CacheView, Device, DeviceError, Graph, Heads, Memory, Onto, Product, Scores};
use crate::kernels::{self, Attended, Bend, NormWeight, On, Turning, parts_bytes, prefill_shared};
use crate::step::{BLOCK, NOT_FINITE, Step, StepLimits};
use crate::weights::{DeviceWeights, LayerWeights};
use anchorhold_engine::{Answer, BackendError, BlockId, Generator, Row, RowLimits, Wanted};
use anchorhold_model::{DecoderPlan, LoadError, PlannedGate, PlannedWeights};

/// How many rows a recorded step may have.
const BUCKETS: [usize; 6] = [1, 2, 4, 8, 16, 32];
/// The largest head, `MAX_HEAD` of `kernels/rope.cuh`.
const MAX_HEAD: usize = 256;
/// The longest context: bounds the table of angles to 128 MiB for a head of 128.
const MAX_CONTEXT: usize = 1 << 18;
/// A share of the free memory that the cache leaves alone, for what libraries take: one in this many.
const SPARE: usize = 16;

/// What a decoder may take of its device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// The most tokens of a step.
    pub step_tokens: usize,
    /// The most sequences of a step.
    pub rows: usize,
    /// The most positions of the cache; fewer when the device has not as much memory.
    pub cache_tokens: usize,
}

impl Default for Capacity {
    fn default() -> Self {
        Self { step_tokens: 2048, rows: 32, cache_tokens: 1 << 22 }
    }
}

/// The numbers of a model, as kernels take them.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    hidden: usize,
    intermediate: usize,
    vocabulary: usize,
    context: usize,
    layers: usize,
    heads: Heads,
    epsilon: f32,
    score_scale: f32,
    bend: Bend,
}

impl Sizes {
    fn of(plan: &DecoderPlan) -> Result<Self, DeviceError> {
        let refused = Err(DeviceError::Launch(
            "a size of the model is one that the kernels do not take: heads of 8 to 256 features in eights, and layers in eights",
        ));
        let eights = |size: usize| size > 0 && size.is_multiple_of(8);
        if !eights(plan.head) || plan.head > MAX_HEAD || !eights(plan.hidden) || !eights(plan.intermediate) {
            return refused;
        }
        if plan.vocabulary < 2 || plan.key_heads == 0 || !plan.heads.is_multiple_of(plan.key_heads) {
            return refused;
        }
        Ok(Self {
            hidden: plan.hidden,
            intermediate: plan.intermediate,
            vocabulary: plan.vocabulary,
            context: plan.context.min(MAX_CONTEXT),
            layers: plan.windows.len(),
            heads: Heads {
                queries: narrow(plan.heads),
                keys: narrow(plan.key_heads),
                head: narrow(plan.head),
            },
            epsilon: plan.epsilon,
            score_scale: plan.score_scale,
            bend: match plan.gate {
                PlannedGate::Silu => Bend::Silu,
                PlannedGate::GeluTanh => Bend::GeluTanh,
            },
        })
    }

    /// Features of all query heads.
    fn queries(&self) -> usize {
        self.heads.queries as usize * self.heads.head as usize
    }

    /// Features of all heads.
    fn mixed(&self) -> usize {
        (self.heads.queries + 2 * self.heads.keys) as usize * self.heads.head as usize
    }

    /// Elements that one layer keeps of one block.
    fn layer_len(&self) -> usize {
        2 * self.heads.keys as usize * BLOCK * self.heads.head as usize
    }
}

/// Memory that every step uses anew.
struct Scratch {
    step: Memory,
    x: Memory,
    normed: Memory,
    mixed: Memory,
    queries: Memory,
    attended: Memory,
    wide: Memory,
    gated: Memory,
    parts: Memory,
    /// What is copied back: the tokens, and the logits behind them.
    answers: Memory,
    tokens: Memory,
    logits: Memory,
}

impl Scratch {
    fn allocate(device: &mut dyn Device, sizes: &Sizes, limits: StepLimits) -> Result<Self, DeviceError> {
        let StepLimits { lines, rows, .. } = limits;
        let longest = lines.max(rows);
        let (behind, logits) = (tokens_bytes(rows), 4 * rows * sizes.vocabulary);
        let answers = device.allocate(behind + logits)?;
        Ok(Self {
            step: device.allocate(limits.bytes())?,
            x: device.allocate(4 * longest * sizes.hidden)?,
            normed: device.allocate(2 * longest * sizes.hidden)?,
            mixed: device.allocate(4 * longest * sizes.mixed())?,
            queries: device.allocate(2 * longest * sizes.queries())?,
            attended: device.allocate(2 * longest * sizes.queries())?,
            wide: device.allocate(4 * longest * 2 * sizes.intermediate)?,
            gated: device.allocate(2 * longest * sizes.intermediate)?,
            parts: device.allocate(rows * parts_bytes(sizes.heads))?,
            answers,
            tokens: answers.part(0, behind)?,
            logits: answers.part(behind, logits)?,
        })
    }
}

/// What is launched for a step: at least as many as it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    lines: usize,
    rows: usize,
    decodes: usize,
    tiles: usize,
}

/// A decoder and the cache of its sequences, on a device.
pub struct CudaDecoder<D> {
    device: D,
    sizes: Sizes,
    limits: StepLimits,
    weights: DeviceWeights,
    windows: Vec<u32>,
    angles: Address,
    cache: Memory,
    blocks: usize,
    scratch: Scratch,
    step: Step,
    graphs: [Option<Graph>; BUCKETS.len()],
    answers: Vec<u8>,
}

impl<D: Device> CudaDecoder<D> {
    /// Loads the model onto the device, and takes all the memory that it will ever use.
    ///
    /// # Errors
    /// The package is refused, the kernels do not take the model's sizes, or the device has not enough memory or fails.
    pub fn load(
        mut device: D,
        plan: &DecoderPlan,
        weights: PlannedWeights<'_>,
        capacity: Capacity,
    ) -> Result<Self, LoadError> {
        let refused = |error: DeviceError| LoadError::Device(error.to_string());
        let mut sizes = Sizes::of(plan).map_err(refused)?;
        if prefill_shared(sizes.heads.head) > device.shared_bytes() {
            return Err(refused(DeviceError::Unusable(
                "the heads of the model are too large for this device",
            )));
        }
        let weights = DeviceWeights::load(&mut device, plan, weights)?;
        let angles = angles(&mut device, plan, sizes.context).map_err(refused)?;
        let lines = capacity.step_tokens.max(1);
        let rows = capacity.rows.clamp(1, lines);
        let limits = StepLimits { lines, rows, blocks: sizes.context.div_ceil(BLOCK) };
        let scratch = Scratch::allocate(&mut device, &sizes, limits).map_err(refused)?;
        let (cache, blocks) = cache(&mut device, &sizes, capacity.cache_tokens).map_err(refused)?;
        sizes.context = sizes.context.min(blocks * BLOCK);
        let all = |window: &Option<usize>| window.map_or(u32::MAX, narrow);
        Ok(Self {
            device,
            sizes,
            limits,
            weights,
            windows: plan.windows.iter().map(all).collect(),
            angles,
            cache,
            blocks,
            answers: vec![0; scratch.answers.bytes()],
            scratch,
            step: Step::default(),
            graphs: [None; BUCKETS.len()],
        })
    }

    /// Blocks of the cache.
    #[must_use]
    pub const fn blocks(&self) -> usize {
        self.blocks
    }

    /// Runs a step whose rows were checked.
    fn run(&mut self, rows: &[Row<'_>], wanted: &[Wanted]) -> Result<Vec<Answer>, DeviceError> {
        self.step.describe(rows, wanted);
        self.device.send(self.scratch.step, self.step.bytes())?;
        let bucket = BUCKETS.iter().position(|&bucket| bucket >= rows.len() && bucket <= self.limits.rows);
        match bucket.filter(|_| self.step.decodes == rows.len()) {
            Some(bucket) => self.run_bucket(bucket)?,
            None => self.forward(Shape {
                lines: self.step.lines,
                rows: self.step.rows,
                decodes: self.step.decodes,
                tiles: self.step.tiles,
            })?,
        }
        self.read_answers(wanted)
    }

    /// Copies back, in one piece, the tokens, and where a row wants logits, everything up to them.
    fn read_answers(&mut self, wanted: &[Wanted]) -> Result<Vec<Answer>, DeviceError> {
        let line = 4 * self.sizes.vocabulary;
        let behind = self.scratch.tokens.bytes();
        let bytes = match wanted.iter().rposition(|wanted| *wanted == Wanted::Logits) {
            Some(last) => behind + (last + 1) * line,
            None => 4 * wanted.len(),
        };
        let answers = self.answers.get_mut(..bytes).unwrap_or_default();
        self.device.read(self.scratch.answers.part(0, bytes)?, answers)?;
        let (tokens, logits) = answers.split_at(behind.min(bytes));
        let answer = |(at, (wanted, token)): (usize, (&Wanted, &[u8; 4]))| match wanted {
            Wanted::Nothing => Answer::Nothing,
            Wanted::Token(_) => Answer::Token(match u32::from_le_bytes(*token) {
                NOT_FINITE => Err(BackendError::NOT_FINITE),
                token => Ok(token),
            }),
            Wanted::Logits => {
                let own = logits.chunks_exact(line).nth(at).unwrap_or_default();
                Answer::Logits(own.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect())
            }
        };
        Ok(wanted.iter().zip(tokens.as_chunks::<4>().0).enumerate().map(answer).collect())
    }

    /// Runs a step of one token for each row, as it was recorded; the first time as it comes, and records it then.
    fn run_bucket(&mut self, bucket: usize) -> Result<(), DeviceError> {
        let recorded = self.graphs.get_mut(bucket);
        if let Some(Some(graph)) = recorded {
            let graph = *graph;
            return self.device.replay(graph);
        }
        let count = BUCKETS.get(bucket).copied().unwrap_or(1);
        let shape = Shape { lines: count, rows: count, decodes: count, tiles: 0 };
        self.forward(shape)?;
        self.device.begin_recording()?;
        let forward = self.forward(shape);
        // Ended in any case: what follows would be recorded and not done.
        let graph = self.device.end_recording();
        forward?;
        let graph = graph?;
        if let Some(place) = self.graphs.get_mut(bucket) {
            *place = Some(graph);
        }
        Ok(())
    }

    /// Everything between a step's description and its answers.
    fn forward(&mut self, shape: Shape) -> Result<(), DeviceError> {
        let sizes = self.sizes;
        let lines = On { step: self.scratch.step.start(), count: narrow(shape.lines) };
        let x = self.scratch.x.start();
        let normed = self.scratch.normed.start();
        self.device.launch(&kernels::embed(lines, self.weights.words, x, (narrow(sizes.hidden), 1.0)))?;
        for layer in 0..sizes.layers {
            self.layer(layer, lines, shape)?;
        }
        let norm = NormWeight { weight: self.weights.norm, epsilon: sizes.epsilon };
        let rows = On { count: narrow(shape.rows), ..lines };
        self.device.launch(&kernels::last_norm(rows, x, norm, (normed, narrow(sizes.hidden))))?;
        self.device.multiply(&Product {
            x: normed,
            weights: self.weights.output,
            out: self.scratch.logits.start(),
            rows: shape.rows,
            columns: sizes.vocabulary,
            depth: sizes.hidden,
            onto: Onto::Nothing,
        })?;
        let (logits, tokens) = (self.scratch.logits.start(), self.scratch.tokens.start());
        self.device.launch(&kernels::draw_tokens(rows, logits, tokens, narrow(sizes.vocabulary)))
    }

    fn layer(&mut self, layer: usize, lines: On, shape: Shape) -> Result<(), DeviceError> {
        let (Some(&weights), sizes) = (self.weights.layers.get(layer), self.sizes) else {
            return Err(DeviceError::Launch("there is no such layer"));
        };
        let hidden = narrow(sizes.hidden);
        let epsilon = sizes.epsilon;
        let (x, normed) = (self.scratch.x.start(), self.scratch.normed.start());
        let (wide, gated) = (self.scratch.wide.start(), self.scratch.gated.start());
        let norm = NormWeight { weight: weights.attention_norm, epsilon };
        self.device.launch(&kernels::rms_norm(lines, x, norm, (normed, hidden)))?;
        self.attention((layer, &weights), lines, shape)?;
        let into = |x, weights, out, columns, depth, onto| Product {
            x,
            weights,
            out,
            rows: shape.lines,
            columns,
            depth,
            onto,
        };
        let attended = self.scratch.attended.start();
        let out = into(attended, weights.attention_out, x, sizes.hidden, sizes.queries(), Onto::Itself);
        self.device.multiply(&out)?;
        if weights.attention_out_bias != Address::NULL {
            self.device.launch(&kernels::add_bias(lines, weights.attention_out_bias, x, hidden))?;
        }
        let norm = NormWeight { weight: weights.feed_forward_norm, epsilon };
        self.device.launch(&kernels::rms_norm(lines, x, norm, (normed, hidden)))?;
        let width = 2 * sizes.intermediate;
        self.device.multiply(&into(normed, weights.gate_up, wide, width, sizes.hidden, Onto::Nothing))?;
        let bend = (narrow(sizes.intermediate), sizes.bend);
        self.device.launch(&kernels::gate_multiply(lines, wide, gated, bend))?;
        self.device.multiply(&into(gated, weights.down, x, sizes.hidden, sizes.intermediate, Onto::Itself))
    }

    /// From normed states to the answers of the attention.
    fn attention(
        &mut self,
        (layer, weights): (usize, &LayerWeights),
        lines: On,
        shape: Shape,
    ) -> Result<(), DeviceError> {
        let (sizes, heads) = (self.sizes, self.sizes.heads);
        let (mixed, queries) = (self.scratch.mixed.start(), self.scratch.queries.start());
        let (parts, out) = (self.scratch.parts.start(), self.scratch.attended.start());
        self.device.multiply(&Product {
            x: self.scratch.normed.start(),
            weights: weights.query_key_value,
            out: mixed,
            rows: shape.lines,
            columns: sizes.mixed(),
            depth: sizes.hidden,
            onto: Onto::Nothing,
        })?;
        let cache = CacheView {
            memory: self.cache.start(),
            block_len: wide(sizes.layers * sizes.layer_len()),
            layer: wide(layer * sizes.layer_len()),
            heads: heads.keys,
            head: heads.head,
        };
        let turning = Turning {
            bias: weights.bias,
            query_norm: weights.query_norm,
            key_norm: weights.key_norm,
            angles: self.angles,
            epsilon: sizes.epsilon,
        };
        self.device.launch(&kernels::rope_write(lines, (mixed, queries), &turning, (cache, heads)))?;
        let window = self.windows.get(layer).copied().unwrap_or(u32::MAX);
        let scores = Scores { scale: sizes.score_scale, cap: 0.0, window };
        let attended = Attended { cache, heads, scores };
        let on = |count| On { count: narrow(count), ..lines };
        if shape.tiles > 0 {
            self.device.launch(&kernels::prefill_attention(on(shape.tiles), queries, &attended, out))?;
        }
        if shape.decodes > 0 {
            self.device.launch(&kernels::decode_attention(on(shape.decodes), queries, &attended, parts))?;
            self.device.launch(&kernels::combine_parts(on(shape.decodes), parts, heads, out))?;
        }
        Ok(())
    }

    fn check(&self, rows: &[Row<'_>]) -> Result<(), BackendError> {
        let tokens: usize = rows.iter().map(|row| row.tokens.len()).sum();
        if rows.len() > self.limits.rows || tokens > self.limits.lines {
            return Err(BackendError::new("a step has more rows or tokens than the device has room for"));
        }
        let limits =
            RowLimits { vocabulary: self.sizes.vocabulary, context: self.sizes.context, block: BLOCK };
        for row in rows {
            row.check(limits)?;
            if row.blocks.iter().any(|block| block.index() >= self.blocks) {
                return Err(BackendError::new("a block is not in the cache"));
            }
        }
        // What a row writes is nobody else's.
        let written = |row: &Row<'_>| row.blocks.iter().skip(row.start / BLOCK).copied().collect::<Vec<_>>();
        let mut written: Vec<BlockId> = rows.iter().flat_map(written).collect();
        written.sort_unstable();
        let twice = written.windows(2).any(|pair| matches!(pair, [a, b] if a == b));
        let before = |row: &Row<'_>| row.blocks.iter().take(row.start / BLOCK).copied().collect::<Vec<_>>();
        let read = rows.iter().flat_map(before).any(|block| written.binary_search(&block).is_ok());
        if twice || read {
            return Err(BackendError::new("a block is written by one row and used by another"));
        }
        Ok(())
    }
}

impl<D: Device> Generator for CudaDecoder<D> {
    fn vocabulary(&self) -> usize {
        self.sizes.vocabulary
    }

    fn context(&self) -> usize {
        self.sizes.context
    }

    fn block(&self) -> usize {
        BLOCK
    }

    fn capacity(&self) -> usize {
        self.blocks * BLOCK
    }

    fn step(&mut self, rows: &[Row<'_>]) -> Result<Vec<Vec<f32>>, BackendError> {
        let logits = |answer| match answer {
            Answer::Logits(logits) => logits,
            // Each row wants its logits, so that there is no other answer.
            Answer::Nothing | Answer::Token(_) => Vec::new(),
        };
        let answers = self.step_and_draw(rows, &vec![Wanted::Logits; rows.len()])?;
        Ok(answers.into_iter().map(logits).collect())
    }

    fn step_and_draw(&mut self, rows: &[Row<'_>], wanted: &[Wanted]) -> Result<Vec<Answer>, BackendError> {
        self.check(rows)?;
        if wanted.len() != rows.len() {
            return Err(BackendError::new("not as many wishes as rows"));
        }
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        self.run(rows, wanted).map_err(failed)
    }

    fn erase(&mut self, blocks: &[BlockId]) {
        let bytes = 2 * self.sizes.layers * self.sizes.layer_len();
        for block in blocks {
            let memory = self.cache.part(block.index().saturating_mul(bytes), bytes);
            // A device that fails here fails in the next step too, which says so.
            let _ = memory.and_then(|memory| self.device.clear(memory));
        }
    }
}

/// The table of angles of every position, on the device.
fn angles(device: &mut dyn Device, plan: &DecoderPlan, context: usize) -> Result<Address, DeviceError> {
    let line = plan.head / 2 * 2 * 4;
    let table = device.allocate(context * line)?;
    let mut bytes = Vec::with_capacity(ANGLES_AT_ONCE * line);
    for first in (0..context).step_by(ANGLES_AT_ONCE) {
        bytes.clear();
        for position in first..context.min(first + ANGLES_AT_ONCE) {
            for (cos, sin) in plan.angles(position) {
                bytes.extend_from_slice(&cos.to_le_bytes());
                bytes.extend_from_slice(&sin.to_le_bytes());
            }
        }
        device.upload(table.part(first * line, bytes.len())?, &bytes)?;
    }
    Ok(table.start())
}

/// Positions whose angles are copied at once.
const ANGLES_AT_ONCE: usize = 4096;

/// The cache and its blocks: as many positions as were asked for, or as the free memory has room for.
fn cache(device: &mut dyn Device, sizes: &Sizes, tokens: usize) -> Result<(Memory, usize), DeviceError> {
    let bytes = 2 * sizes.layers * sizes.layer_len();
    let free = device.free_bytes()?;
    let blocks = tokens.div_ceil(BLOCK).min((free - free / SPARE) / bytes);
    // A kernel's number of a block, times elements of one, is computed in 64 bits; the number itself has 32.
    let blocks = blocks.min(u32::MAX as usize);
    if blocks == 0 {
        return Err(DeviceError::Memory { wanted: bytes, free });
    }
    Ok((device.allocate(blocks * bytes)?, blocks))
}

/// Bytes of the rows' tokens, so that the logits behind them are aligned as an allocation is.
const fn tokens_bytes(rows: usize) -> usize {
    (4 * rows).next_multiple_of(256)
}

/// What a device refused once it refuses from then on: the driver gives up its context.
fn failed(error: DeviceError) -> BackendError {
    BackendError::last(match error {
        DeviceError::Launch(reason) | DeviceError::Unusable(reason) => reason,
        DeviceError::Memory { .. } => "the device has no memory left",
        _ => "the device failed",
    })
}

fn narrow(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn wide(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

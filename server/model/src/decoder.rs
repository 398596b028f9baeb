//! Decoders, over a cache of blocks.
//!
//! One computation for all architectures, whose files each make a [`Config`] of their `config.json`: RMS norm, rotary positions,
//! grouped-query attention, a gated feed-forward part or several of which a router picks, and as the architecture asks biases, more norms,
//! bounds on scores, and a window of positions that a token sees. All rows of a step are laid one after the other for the linear layers; only attention looks at one row at
//! a time, so a row's logits are the same bits alone, in company, and however its prompt was cut into steps.
//!
//! What flows between the layers lies in memory that the model keeps: a step takes none but for its answer.

mod attend;
mod config;
mod embedder;
mod experts;
mod feed_forward;
pub(crate) mod gemma2;
pub(crate) mod gemma3;
pub(crate) mod llama;
pub(crate) mod mistral;
pub(crate) mod mixtral;
mod plan;
pub(crate) mod qwen2;
pub(crate) mod qwen3;
pub(crate) mod qwen3_moe;
mod windows;

pub(crate) use config::Config;
pub(crate) use embedder::DecoderEmbedder;
pub(crate) use plan::other_architecture;
pub use plan::{
    DecoderPlan, LayerPart, PlannedGate, PlannedTensor, PlannedWeights, Stored, TensorPlace, WeightPart,
};

use self::attend::{Memory, Plan};
use self::config::{Biases, HeadNorms, Norms};
use self::experts::{Experts, Routes};
use self::feed_forward::{FeedForward, Gated};
use crate::error::LoadError;
use crate::gguf::ROPE_FACTORS;
use crate::kernel::{Isa, Packing, Pages, Pair, WIDTH};
use crate::math::{self, Norm};
use crate::ops::Linear;
use crate::packed::{Packed, Then};
use crate::rope::Rope;
use crate::rows::{Input, Sheet, grow};
use crate::threads::{Team, Threads};
use crate::weights::Weights;
use anchorhold_engine::{BackendError, BlockId, Generator, Precision, Row, RowLimits};
use zeroize::Zeroize as _;

struct Layer {
    attention_norm: Norm,
    query_key_value: Linear,
    /// Of each head's query, and of each head's key.
    head_norms: Option<[Norm; 2]>,
    /// How many positions a token sees, itself included; `None` for all.
    window: Option<usize>,
    attention_out: Linear,
    /// Of what the attention adds.
    attention_out_norm: Option<Norm>,
    norm: Norm,
    feed_forward: FeedForward,
    /// Of what the feed-forward part adds.
    down_norm: Option<Norm>,
}

/// A decoder and the cache of its sequences.
pub(crate) struct Decoder {
    model: Model,
    threads: Threads,
    cache: Cache,
    flow: Flow,
}

/// What does not change.
struct Model {
    isa: Isa,
    /// The table of token vectors, unless it is also the output layer.
    words: Option<Packed>,
    layers: Vec<Layer>,
    norm: Norm,
    head_out: Linear,
    rope: Rope,
    /// Of the layers that see a window only, where it is another.
    window_rope: Option<Rope>,
    sizes: Sizes,
    /// How the values between the layers are bent and scaled.
    ways: Ways,
}

/// Keys and values.
enum Cache {
    F32(Memory<f32>),
    Bf16(Memory<Pair>),
}

#[derive(Debug, Clone, Copy)]
struct Sizes {
    hidden: usize,
    /// Features of a head.
    head: usize,
    /// Heads that have keys and values.
    key_heads: usize,
    /// Query heads of one key head.
    group: usize,
    vocabulary: usize,
    context: usize,
    /// Layers of which the cache keeps keys and values; a cache of one is written anew by each layer.
    kept: usize,
}

/// What [`Config`] says beside the sizes.
#[derive(Debug, Clone, Copy)]
struct Ways {
    embedding_scale: f32,
    score_scale: f32,
    score_cap: Option<f32>,
    logit_cap: Option<f32>,
}

/// What flows between the layers during a step. Keeps its memory for the next step.
#[derive(Default)]
struct Flow {
    x: Sheet,
    input: Input,
    wide_input: Input,
    mixed: Sheet,
    wide: Sheet,
    /// What is normalised before it is added to `x`.
    added: Sheet,
    logits: Sheet,
    routes: Routes,
    plan: Plan,
    attended: Vec<f32>,
    line: Vec<f32>,
    scales: Vec<f32>,
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.attended.zeroize();
        self.line.zeroize();
    }
}

impl Sizes {
    /// Where the cache has a layer.
    fn kept(&self, layer: usize) -> usize {
        layer.min(self.kept.saturating_sub(1))
    }

    /// Features of all query heads.
    fn queries(&self) -> usize {
        self.key_heads * self.group * self.head
    }

    /// Features of all key heads.
    fn keys(&self) -> usize {
        self.key_heads * self.head
    }
}

/// Of which layers the cache keeps keys and values after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// All, for sequences that go on.
    All,
    /// One at a time: all tokens of a sequence are computed at once, so no layer needs those of another.
    One,
}

impl Decoder {
    /// Builds the model from its tensors, which are those of [`Config::needs`].
    ///
    /// # Errors
    /// A tensor is not there, which [`Weights::load`] rules out.
    pub(crate) fn new(
        config: &Config,
        weights: &mut Weights,
        threads: &Threads,
        keep: Keep,
    ) -> Result<Self, LoadError> {
        let precision = weights.precision();
        let model = Model::new(config, weights, keep)?;
        let cache = match (precision, keep) {
            (Precision::Bf16, Keep::All) => Cache::Bf16(Memory::new(&model, threads)),
            // What is stored in few bits is multiplied in integers, so its products are as good as exact; and a vector shows what a
            // choice of the next token hides.
            _ => Cache::F32(Memory::new(&model, threads)),
        };
        Ok(Self { model, threads: threads.clone(), cache, flow: Flow::default() })
    }

    /// Computes the states of all tokens after the last layer, one row after the other, into the flow.
    fn states(&mut self, rows: &[Row<'_>]) {
        let Self { model, threads, cache, flow } = self;
        match cache {
            Cache::F32(memory) => model.states(Team::All(threads), rows, memory, flow),
            Cache::Bf16(memory) => model.states(Team::All(threads), rows, memory, flow),
        }
    }
}

impl Model {
    fn new(config: &Config, weights: &mut Weights, keep: Keep) -> Result<Self, LoadError> {
        let prefix = config.prefix;
        let isa = Isa::detect();
        let hidden = config.hidden;
        let words = weights.matrix(&format!("{prefix}embed_tokens.weight"))?;
        let (words, output) =
            if config.tied { (None, words) } else { (Some(words), weights.matrix("lm_head.weight")?) };
        let mut rope = config.rope.clone();
        if config.layout.is_some_and(|layout| layout.rope_factors) {
            rope = rope.slowed(&weights.passing(ROPE_FACTORS)?)?;
        }
        let layers = (0..config.windows.len()).map(|layer| Layer::new(isa, config, weights, layer));
        let layers: Vec<Layer> = layers.collect::<Result<_, _>>()?;
        let sizes = Sizes {
            hidden,
            head: config.head,
            key_heads: config.key_heads,
            group: config.heads / config.key_heads,
            vocabulary: config.vocabulary,
            context: config.context,
            kept: if keep == Keep::All { layers.len() } else { 1 },
        };
        Ok(Self {
            isa,
            words,
            layers,
            norm: rms_norm(config, weights, &format!("{prefix}norm"))?,
            head_out: Linear::new(isa, output, Pages::default(), Then::Store),
            rope,
            window_rope: config.window_rope.clone(),
            sizes,
            ways: Ways {
                embedding_scale: config.embedding_scale,
                score_scale: config.score_scale,
                score_cap: config.score_cap,
                logit_cap: config.logit_cap,
            },
        })
    }

    fn check(&self, rows: &[Row<'_>]) -> Result<(), BackendError> {
        let limits =
            RowLimits { vocabulary: self.sizes.vocabulary, context: self.sizes.context, block: WIDTH };
        rows.iter().try_for_each(|row| row.check(limits))
    }

    /// Computes the states of all tokens after the last layer.
    fn states<P: Packing>(&self, team: Team<'_>, rows: &[Row<'_>], memory: &mut Memory<P>, flow: &mut Flow) {
        memory.reserve(rows);
        flow.plan.make(self, rows);
        self.embed(rows, flow);
        for (index, layer) in self.layers.iter().enumerate() {
            self.normalise_into(team, flow, &layer.attention_norm, &layer.query_key_value);
            layer.query_key_value.forward(team, &flow.input, &mut flow.mixed);
            self.attend((team, index), rows, memory, flow);
            match &layer.attention_out_norm {
                None => layer.attention_out.forward(team, &flow.input, &mut flow.x),
                Some(norm) => {
                    layer.attention_out.forward(team, &flow.input, &mut flow.added);
                    self.add(flow, Some(norm));
                }
            }
            self.feed_forward(team, flow, layer);
        }
    }

    /// Adds what the second part of a layer makes of what flows.
    fn feed_forward(&self, team: Team<'_>, flow: &mut Flow, layer: &Layer) {
        let Flow { x, input, wide, wide_input, added, routes, .. } = flow;
        let count = x.rows();
        match (&layer.feed_forward, &layer.down_norm) {
            (FeedForward::Dense(part), norm) => {
                part.fill(input, team, count, |row, line| self.normalised(x, (row, &layer.norm), line));
                if norm.is_none() {
                    return part.forward(team, input, (wide, wide_input), x);
                }
                part.forward(team, input, (wide, wide_input), added);
            }
            (FeedForward::Experts(experts), _) => {
                let line = |row, line: &mut [f32]| self.normalised(x, (row, &layer.norm), line);
                experts.forward(team, routes, (count, line), added);
            }
        }
        self.add(flow, layer.down_norm.as_ref());
    }

    /// A row of what flows, normalised.
    fn normalised(&self, x: &Sheet, (row, norm): (usize, &Norm), line: &mut [f32]) {
        x.copy_row(row, line);
        math::normalise(self.isa, norm, line);
    }

    /// The vectors of the tokens.
    fn embed(&self, rows: &[Row<'_>], flow: &mut Flow) {
        let hidden = self.sizes.hidden;
        flow.x.resize(rows.iter().map(|row| row.tokens.len()).sum(), hidden);
        grow(&mut flow.line, hidden);
        let line = flow.line.get_mut(..hidden).unwrap_or_default();
        let words = self.words.as_ref().unwrap_or(self.head_out.weights());
        for (at, &id) in rows.iter().flat_map(|row| row.tokens).enumerate() {
            words.copy_row(id as usize, line);
            math::scale(self.isa, self.ways.embedding_scale, line);
            flow.x.write_row(at, line);
        }
    }

    /// Makes what flows, normalised, the input of `next`.
    fn normalise_into(&self, team: Team<'_>, flow: &mut Flow, norm: &Norm, next: &Linear) {
        let Flow { x, input, .. } = flow;
        next.fill(input, team, x.rows(), |row, line| self.normalised(x, (row, norm), line));
    }

    /// Adds to what flows, normalised where the architecture does that.
    fn add(&self, flow: &mut Flow, norm: Option<&Norm>) {
        let Flow { x, added, line, scales, .. } = flow;
        let count = x.rows().max(1);
        let Some(norm) = norm else { return math::add(self.isa, added.values(), x.values_mut()) };
        grow(line, self.sizes.hidden);
        let line = line.get_mut(..self.sizes.hidden).unwrap_or_default();
        scales.clear();
        scales.extend((0..added.rows()).map(|row| {
            added.copy_row(row, line);
            math::rms_scale(self.isa, line, norm.epsilon)
        }));
        let panels = x.lines_mut().chunks_exact_mut(count).zip(added.lines_mut().chunks_exact(count));
        for ((x, added), weights) in panels.zip(norm.weight.chunks(WIDTH)) {
            for ((x, added), scale) in x.iter_mut().zip(added).zip(scales.iter()) {
                for ((x, added), weight) in x.iter_mut().zip(added).zip(weights) {
                    *x += added * scale * weight;
                }
            }
        }
    }

    /// The logits after each row.
    fn logits(&self, team: Team<'_>, flow: &mut Flow) -> Vec<Vec<f32>> {
        let Flow { x, input, logits, plan, .. } = flow;
        let count = plan.last().len();
        self.head_out.fill(input, team, count, |row, line| {
            self.normalised(x, (plan.last().get(row).copied().unwrap_or_default(), &self.norm), line);
        });
        self.head_out.forward(team, input, logits);
        let logits = (0..count).map(|row| {
            let mut line = vec![0.0; self.sizes.vocabulary];
            logits.copy_row(row, &mut line);
            if let Some(cap) = self.ways.logit_cap {
                math::cap(self.isa, cap, &mut line);
            }
            line
        });
        logits.collect()
    }

    /// How a layer turns positions, and how many of them a token sees.
    fn positions(&self, layer: usize) -> (Turn, usize) {
        match (self.layers.get(layer).and_then(|layer| layer.window), &self.window_rope) {
            (Some(window), Some(_)) => (Turn::Window, window),
            (window, _) => (Turn::Full, window.unwrap_or(usize::MAX)),
        }
    }
}

/// Which of the two ropes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Full,
    Window,
}

impl Generator for Decoder {
    fn vocabulary(&self) -> usize {
        self.model.sizes.vocabulary
    }

    fn context(&self) -> usize {
        self.model.sizes.context
    }

    fn block(&self) -> usize {
        WIDTH
    }

    fn step(&mut self, rows: &[Row<'_>]) -> Result<Vec<Vec<f32>>, BackendError> {
        self.model.check(rows)?;
        self.flow.plan.check(rows)?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        self.states(rows);
        Ok(self.model.logits(Team::All(&self.threads), &mut self.flow))
    }

    fn erase(&mut self, blocks: &[BlockId]) {
        match &mut self.cache {
            Cache::F32(memory) => memory.erase(blocks),
            Cache::Bf16(memory) => memory.erase(blocks),
        }
    }
}

impl Layer {
    fn new(isa: Isa, config: &Config, weights: &mut Weights, layer: usize) -> Result<Self, LoadError> {
        let name = format!("{}layers.{layer}", config.prefix);
        let then = if config.norms == Norms::Around { Then::Store } else { Then::Add };
        let mut linear = |first: &str, biased: &[&str], then| -> Result<Linear, LoadError> {
            let packed = weights.matrix(&format!("{name}.{first}.weight"))?;
            let biases: Vec<String> = biased.iter().map(|part| format!("{name}.{part}.bias")).collect();
            let bias = weights.joined(&biases)?;
            Ok(Linear::new(isa, packed, bias, then))
        };
        let (inputs, output) =
            (["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"], ["self_attn.o_proj"]);
        let (biased_inputs, biased_output): (&[&str], &[&str]) = match config.biases {
            Biases::None => (&[], &[]),
            Biases::Inputs => (&inputs, &[]),
            Biases::All => (&inputs, &output),
        };
        // Those that begin a stack: keys and values lie below the queries, the up below the gate.
        let query_key_value = linear("self_attn.q_proj", biased_inputs, Then::Store)?;
        let attention_out = linear("self_attn.o_proj", biased_output, then)?;
        let feed_forward = match config.experts.as_ref().filter(|experts| experts.has(layer)) {
            None => {
                let mut part = |part: &str| weights.matrix(&format!("{name}.mlp.{part}.weight"));
                let parts = (part("gate_proj")?, part("down_proj")?);
                FeedForward::Dense(Gated::new(isa, config.gate, parts, then))
            }
            Some(shape) => {
                let ways = (config.hidden, config.gate);
                FeedForward::Experts(Experts::new(isa, shape, ways, weights, &name)?)
            }
        };
        let mut norm = |part: &str| rms_norm(config, weights, &format!("{name}.{part}"));
        let head_norms = match config.head_norms {
            HeadNorms::Absent => None,
            HeadNorms::Present => Some([norm("self_attn.q_norm")?, norm("self_attn.k_norm")?]),
        };
        let attention_norm = norm("input_layernorm")?;
        let after_attention = norm("post_attention_layernorm")?;
        let (attention_out_norm, before, down_norm) = match config.norms {
            Norms::Before => (None, after_attention, None),
            Norms::Around => (
                Some(after_attention),
                norm("pre_feedforward_layernorm")?,
                Some(norm("post_feedforward_layernorm")?),
            ),
        };
        Ok(Self {
            attention_norm,
            query_key_value,
            head_norms,
            window: config.windows.get(layer).copied().flatten(),
            attention_out,
            attention_out_norm,
            norm: before,
            feed_forward,
            down_norm,
        })
    }
}

fn rms_norm(config: &Config, weights: &mut Weights, name: &str) -> Result<Norm, LoadError> {
    let mut weight = weights.take(&format!("{name}.weight"))?;
    if config.norms_less_one() {
        weight.iter_mut().for_each(|weight| *weight += 1.0);
    }
    Ok(Norm { weight, bias: None, epsilon: config.epsilon })
}

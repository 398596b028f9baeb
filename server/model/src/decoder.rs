//! Decoders, over a cache of blocks.
//!
//! One computation for all architectures, whose files each make a [`Config`] of their `config.json`: RMS norm, rotary positions,
//! grouped-query attention, a gated feed-forward part or several of which a router picks, and as the architecture asks biases, more norms, bounds on scores, and a window of
//! positions that a token sees. All rows of a step are laid one after the other for the linear layers; only attention looks at one row at
//! a time, so a row's logits are the same bits alone, in company, and however its prompt was cut into steps.

mod config;
mod embedder;
mod experts;
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

use self::config::{Biases, HeadNorms, Norms};
use self::experts::Experts;
use crate::attention::{self, QUERIES, Queries, Unit};
use crate::cache::{Cache, Place, Shape};
use crate::error::LoadError;
use crate::gguf::ROPE_FACTORS;
use crate::kernel::{Isa, WIDTH};
use crate::math::{self, Activation, Gate, Norm};
use crate::ops::{self, Linear, failed};
use crate::packed::{Packed, copy_into};
use crate::rope::{self, Rope};
use crate::threads::Threads;
use crate::weights::Weights;
use anchorhold_engine::{BackendError, BlockId, Generator, Row};
use candle_core::{Device, Result as Tensors, Tensor};
use rayon::prelude::*;

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

/// The second part of a layer.
enum FeedForward {
    Dense { gate_up: Linear, down: Linear },
    Experts(Experts),
}

/// A decoder and the cache of its sequences.
pub(crate) struct Decoder {
    isa: Isa,
    threads: Threads,
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
    cache: Cache,
}

#[derive(Debug, Clone, Copy)]
struct Sizes {
    hidden: usize,
    intermediate: usize,
    /// Query heads of one key head.
    group: usize,
    vocabulary: usize,
    context: usize,
    cache: Shape,
}

/// What [`Config`] says beside the sizes.
#[derive(Debug, Clone, Copy)]
struct Ways {
    gate: Gate,
    embedding_scale: f32,
    score_scale: f32,
    score_cap: Option<f32>,
    logit_cap: Option<f32>,
}

impl Sizes {
    fn head(&self) -> usize {
        self.cache.unit.head
    }

    /// Where the cache has a layer; a cache of one layer is written anew by each.
    fn kept(&self, layer: usize) -> usize {
        layer.min(self.cache.layers.saturating_sub(1))
    }

    /// Features of all query heads.
    fn queries(&self) -> usize {
        self.cache.heads * self.group * self.head()
    }

    /// Features of all key heads.
    fn keys(&self) -> usize {
        self.cache.heads * self.head()
    }
}

impl Decoder {
    /// Builds the model from its tensors, which are those of [`Config::needs`].
    ///
    /// # Errors
    /// A tensor is not there, which [`Weights::load`] rules out.
    pub(crate) fn new(config: &Config, mut weights: Weights, threads: &Threads) -> Result<Self, LoadError> {
        let prefix = config.prefix;
        let isa = Isa::detect();
        let hidden = config.hidden;
        let words = weights.matrix(&format!("{prefix}embed_tokens.weight"))?;
        let (words, output) =
            if config.tied { (None, words) } else { (Some(words), weights.matrix("lm_head.weight")?) };
        let mut rope = config.rope.clone();
        if config.layout.is_some_and(|layout| layout.rope_factors) {
            rope = rope.slowed(&weights.take(ROPE_FACTORS)?)?;
        }
        let layers = (0..config.windows.len()).map(|layer| Layer::new(isa, config, &mut weights, layer));
        let layers = layers.collect::<Result<_, _>>()?;
        let unit = Unit { head: config.head };
        let shape = Shape { layers: config.windows.len(), heads: config.key_heads, unit };
        Ok(Self {
            isa,
            threads: threads.clone(),
            words,
            layers,
            norm: rms_norm(config, &mut weights, &format!("{prefix}norm"))?,
            head_out: Linear::new(isa, output, Vec::new(), Activation::None),
            rope,
            window_rope: config.window_rope.clone(),
            sizes: Sizes {
                hidden,
                intermediate: config.intermediate,
                group: config.heads / config.key_heads,
                vocabulary: config.vocabulary,
                context: config.context,
                cache: shape,
            },
            ways: Ways {
                gate: config.gate,
                embedding_scale: config.embedding_scale,
                score_scale: config.score_scale,
                score_cap: config.score_cap,
                logit_cap: config.logit_cap,
            },
            cache: Cache::new(shape),
        })
    }

    fn check(&self, rows: &[Row<'_>]) -> Result<(), BackendError> {
        for row in rows {
            if row.tokens.is_empty() {
                return Err(BackendError::new("a row is empty"));
            }
            if row.tokens.iter().any(|&id| id as usize >= self.sizes.vocabulary) {
                return Err(BackendError::new("a token is not in the vocabulary"));
            }
            let end = row.start.saturating_add(row.tokens.len());
            if end > self.sizes.context {
                return Err(BackendError::new("a sequence is longer than the context"));
            }
            if row.blocks.len() != end.div_ceil(WIDTH) {
                return Err(BackendError::new("a row has not as many blocks as its positions take"));
            }
        }
        // What a row writes is nobody else's.
        let written = |row: &Row<'_>| row.blocks.iter().skip(row.start / WIDTH).copied().collect::<Vec<_>>();
        let written: Vec<BlockId> = rows.iter().flat_map(written).collect();
        let uses = |block: &BlockId| rows.iter().filter(|row| row.blocks.contains(block)).count();
        if written.iter().any(|block| uses(block) > 1) {
            return Err(BackendError::new("a block is written by one row and used by another"));
        }
        Ok(())
    }

    /// The states of all tokens after the last layer, one row after the other. `cache` has memory for the rows' blocks.
    fn states(&self, rows: &[Row<'_>], cache: &mut Cache) -> Tensors<Tensor> {
        let sizes = &self.sizes;
        let count: usize = rows.iter().map(|row| row.tokens.len()).sum();
        let mut table = vec![0.0; count * sizes.hidden];
        let words = self.words.as_ref().unwrap_or(self.head_out.weights());
        let ids = rows.iter().flat_map(|row| row.tokens.iter());
        for (line, &id) in table.chunks_exact_mut(sizes.hidden).zip(ids) {
            words.copy_row(id as usize, line);
            line.iter_mut().for_each(|value| *value *= self.ways.embedding_scale);
        }
        let mut x = Tensor::from_vec(table, (count, sizes.hidden), &Device::Cpu)?;
        for (index, layer) in self.layers.iter().enumerate() {
            let normed = ops::normalise(self.isa, &x, &layer.attention_norm)?;
            let mut mixed = layer.query_key_value.forward(&normed)?.flatten_all()?.to_vec1::<f32>()?;
            self.normalise_heads(layer, &mut mixed);
            let mixed = self.attention(index, mixed, rows, cache)?;
            let mixed = layer.attention_out.forward(&mixed)?;
            x = ops::add(&x, &self.normalise_some(mixed, layer.attention_out_norm.as_ref())?)?;
            let down = self.feed_forward(layer, &ops::normalise(self.isa, &x, &layer.norm)?)?;
            x = ops::add(&x, &self.normalise_some(down, layer.down_norm.as_ref())?)?;
        }
        Ok(x)
    }

    fn feed_forward(&self, layer: &Layer, x: &Tensor) -> Tensors<Tensor> {
        match &layer.feed_forward {
            FeedForward::Dense { gate_up, down } => {
                let wide = gate_up.forward(x)?;
                down.forward(&ops::gate_multiply(self.isa, self.ways.gate, &wide, self.sizes.intermediate)?)
            }
            FeedForward::Experts(experts) => {
                ops::rowwise("experts", x, self.sizes.hidden, |x, out| experts.forward(x, out))
            }
        }
    }

    /// The logits after each row, one row after the other.
    fn forward(&self, rows: &[Row<'_>], cache: &mut Cache) -> Tensors<Vec<f32>> {
        let sizes = &self.sizes;
        let states = self.states(rows, cache)?.flatten_all()?.to_vec1::<f32>()?;
        let mut last = Vec::with_capacity(rows.len() * sizes.hidden);
        let mut end = 0;
        for row in rows {
            end += row.tokens.len() * sizes.hidden;
            last.extend_from_slice(states.get(end - sizes.hidden..end).unwrap_or_default());
        }
        let x = Tensor::from_vec(last, (rows.len(), sizes.hidden), &Device::Cpu)?;
        let x = ops::normalise(self.isa, &x, &self.norm)?;
        let mut logits = self.head_out.forward(&x)?.flatten_all()?.to_vec1()?;
        if let Some(cap) = self.ways.logit_cap {
            math::cap(self.isa, cap, &mut logits);
        }
        Ok(logits)
    }

    /// The norm of what a part of a layer adds, where the architecture has one.
    fn normalise_some(&self, x: Tensor, norm: Option<&Norm>) -> Tensors<Tensor> {
        match norm {
            Some(norm) => ops::normalise(self.isa, &x, norm),
            None => Ok(x),
        }
    }

    /// How a layer turns positions, and how many of them a token sees.
    fn positions(&self, layer: usize) -> (&Rope, usize) {
        match (self.layers.get(layer).and_then(|layer| layer.window), &self.window_rope) {
            (Some(window), Some(rope)) => (rope, window),
            (window, _) => (&self.rope, window.unwrap_or(usize::MAX)),
        }
    }

    /// Normalises each head's query and key, where the architecture does.
    fn normalise_heads(&self, layer: &Layer, mixed: &mut [f32]) {
        let Some([of_queries, of_keys]) = &layer.head_norms else { return };
        let (queries, keys) = (self.sizes.queries(), self.sizes.keys());
        mixed.par_chunks_exact_mut(queries + 2 * keys).for_each(|line| {
            let (query, rest) = line.split_at_mut(queries);
            math::normalise(self.isa, of_queries, query);
            math::normalise(self.isa, of_keys, rest.split_at_mut(keys).0);
        });
    }

    /// Turns queries and keys, writes keys and values to the cache, and lets each token look at itself and what came before it.
    fn attention(
        &self,
        layer: usize,
        mut mixed: Vec<f32>,
        rows: &[Row<'_>],
        cache: &mut Cache,
    ) -> Tensors<Tensor> {
        let sizes = &self.sizes;
        let (head, width) = (sizes.head(), sizes.queries() + 2 * sizes.keys());
        let (rope, _) = self.positions(layer);
        let mut lines = mixed.chunks_exact_mut(width);
        for row in rows {
            for (line, position) in lines.by_ref().take(row.tokens.len()).zip(row.start..) {
                let (turned, values) = line.split_at_mut(sizes.queries() + sizes.keys());
                let angles = rope.angles(position);
                turned.chunks_exact_mut(head).for_each(|part| rope::rotate(part, &angles));
                let keys = turned.get(sizes.queries()..).unwrap_or_default().chunks_exact(head);
                for (at, (key, value)) in keys.zip(values.chunks_exact(head)).enumerate() {
                    let place = Place { layer: sizes.kept(layer), head: at, position };
                    cache.write(row.blocks, place, key, value);
                }
            }
        }
        let lines: Vec<&[f32]> = mixed.chunks_exact(width).collect();
        let tasks = self.tasks(rows);
        let answers: Vec<Vec<f32>> =
            tasks.par_iter().map(|task| self.attend(layer, task, &lines, (rows, cache))).collect();
        let mut out = vec![0.0; lines.len() * sizes.queries()];
        for (task, answer) in tasks.iter().zip(&answers) {
            let group = sizes.group * head;
            let lines = out.chunks_exact_mut(sizes.queries()).skip(task.line);
            for (line, answer) in lines.zip(answer.chunks_exact(group)) {
                copy_into(line.get_mut(task.head * group..), answer);
            }
        }
        Tensor::from_vec(out, (lines.len(), sizes.queries()), &Device::Cpu)
    }

    /// Cuts a step's attention into tasks: some tokens of one row, for one key head.
    fn tasks(&self, rows: &[Row<'_>]) -> Vec<Task> {
        let share = (QUERIES / self.sizes.group).max(1);
        let mut tasks = Vec::new();
        let mut first = 0;
        for (row, tokens) in rows.iter().map(|row| row.tokens.len()).enumerate() {
            for offset in (0..tokens).step_by(share) {
                let count = share.min(tokens - offset);
                tasks.extend((0..self.sizes.cache.heads).map(|head| Task {
                    row,
                    line: first + offset,
                    offset,
                    count,
                    head,
                }));
            }
            first += tokens;
        }
        tasks
    }

    fn attend(
        &self,
        layer: usize,
        task: &Task,
        lines: &[&[f32]],
        (rows, cache): (&[Row<'_>], &Cache),
    ) -> Vec<f32> {
        let sizes = &self.sizes;
        let Some(row) = rows.get(task.row) else { return Vec::new() };
        let group = sizes.group * sizes.head();
        let mut queries = Queries {
            lines: Vec::new(),
            visible: Vec::new(),
            scale: self.ways.score_scale,
            cap: self.ways.score_cap,
        };
        let first = row.start + task.offset;
        let (_, window) = self.positions(layer);
        // No query of the task sees the units before this one.
        let skipped = (first + 1).saturating_sub(window) / WIDTH;
        for (line, position) in lines.iter().skip(task.line).take(task.count).zip(first..) {
            let heads = line.get(task.head * group..(task.head + 1) * group).unwrap_or_default();
            queries.lines.extend(heads.chunks_exact(sizes.head()));
            let seen = (position + 1).saturating_sub(window)..position + 1;
            let seen = seen.start - skipped * WIDTH..seen.end - skipped * WIDTH;
            queries.visible.extend(std::iter::repeat_n(seen, sizes.group));
        }
        let units = cache.units(row.blocks, sizes.kept(layer), task.head, first + task.count);
        let units = units.get(skipped..).unwrap_or_default();
        attention::attend(self.isa, sizes.cache.unit, units, &queries)
    }
}

/// Some tokens of one row, for one key head.
struct Task {
    row: usize,
    /// The first token's line among all lines of the step.
    line: usize,
    /// The first token's place in its row.
    offset: usize,
    count: usize,
    head: usize,
}

impl Generator for Decoder {
    fn vocabulary(&self) -> usize {
        self.sizes.vocabulary
    }

    fn context(&self) -> usize {
        self.sizes.context
    }

    fn block(&self) -> usize {
        WIDTH
    }

    fn step(&mut self, rows: &[Row<'_>]) -> Result<Vec<Vec<f32>>, BackendError> {
        self.check(rows)?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        // Taken out meanwhile, since the threads read the rest of the model.
        let mut cache = std::mem::replace(&mut self.cache, Cache::new(self.sizes.cache));
        rows.iter().for_each(|row| cache.reserve(row.blocks));
        let logits = self.threads.run(|| self.forward(rows, &mut cache));
        self.cache = cache;
        let logits = logits.map_err(failed)?;
        Ok(logits.chunks_exact(self.sizes.vocabulary).map(<[f32]>::to_vec).collect())
    }

    fn erase(&mut self, blocks: &[BlockId]) {
        self.cache.erase(blocks);
    }
}

impl Layer {
    fn new(isa: Isa, config: &Config, weights: &mut Weights, layer: usize) -> Result<Self, LoadError> {
        let name = format!("{}layers.{layer}", config.prefix);
        let mut linear = |first: &str, biased: &[&str]| -> Result<Linear, LoadError> {
            let packed = weights.matrix(&format!("{name}.{first}.weight"))?;
            let mut bias = Vec::new();
            for part in biased {
                bias.extend(weights.take(&format!("{name}.{part}.bias"))?);
            }
            Ok(Linear::new(isa, packed, bias, Activation::None))
        };
        let (inputs, output) =
            (["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"], ["self_attn.o_proj"]);
        let (biased_inputs, biased_output): (&[&str], &[&str]) = match config.biases {
            Biases::None => (&[], &[]),
            Biases::Inputs => (&inputs, &[]),
            Biases::All => (&inputs, &output),
        };
        // Those that begin a stack: keys and values lie below the queries, the up below the gate.
        let query_key_value = linear("self_attn.q_proj", biased_inputs)?;
        let attention_out = linear("self_attn.o_proj", biased_output)?;
        let feed_forward = match config.experts.as_ref().filter(|experts| experts.has(layer)) {
            None => FeedForward::Dense {
                gate_up: linear("mlp.gate_proj", &[])?,
                down: linear("mlp.down_proj", &[])?,
            },
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

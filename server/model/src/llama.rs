//! Llama decoders, computed in f32, with one growing cache for each sequence.
//!
//! Architecture: `transformers.LlamaForCausalLM`: RMS norm, rotary positions, grouped-query attention, SwiGLU. All rows of a step are laid
//! one after the other for the linear layers; only attention looks at one row at a time, so a row's logits are the same bits alone, in
//! company, and however its prompt was cut into steps.

use crate::attention::{self, QUERIES, Queries, Unit};
use crate::cache::{Cache, Place, Shape};
use crate::config::{self, Keys, MAX_CONTEXT, MAX_LAYERS, MAX_VOCABULARY, MAX_WIDTH, dimension};
use crate::error::LoadError;
use crate::kernel::{Isa, WIDTH};
use crate::math::{Activation, Norm};
use crate::ops::{self, Linear, failed};
use crate::packed::{Packed, copy_into};
use crate::rope::{self, Rope, RopeConfig};
use crate::threads::Threads;
use crate::weights::{Need, Weights};
use anchorhold_engine::{BackendError, BlockId, Generator, Row};
use candle_core::{Device, Result as Tensors, Tensor};
use rayon::prelude::*;
use serde::Deserialize;
use serde_json::{Map, Value};

/// The settings of `config.json` that Llama uses.
#[derive(Debug, Deserialize)]
pub(crate) struct Config {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    vocab_size: usize,
    max_position_embeddings: usize,
    rms_norm_eps: f32,
    hidden_act: String,
    #[serde(default)]
    tie_word_embeddings: bool,
    rope_theta: Option<f64>,
    rope_scaling: Option<RopeConfig>,
    rope_parameters: Option<RopeConfig>,
}

const KEYS: Keys = Keys {
    used: &[
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "vocab_size",
        "max_position_embeddings",
        "rms_norm_eps",
        "hidden_act",
        "tie_word_embeddings",
        "rope_theta",
        "rope_scaling",
        "rope_parameters",
    ],
    off: &[
        "attention_bias",
        "mlp_bias",
        "sliding_window",
        "use_sliding_window",
        "is_decoder",
        "add_cross_attention",
    ],
};

/// A constant that old transformers saved; [`Rope`] computes it.
const PASSED_OVER: &[&str] = &["rotary_emb.inv_freq"];

impl Config {
    /// Reads and checks `config.json`.
    ///
    /// # Errors
    /// A key that is not known, a setting that is not supported, or a dimension beyond its limit.
    pub(crate) fn read(object: Map<String, Value>) -> Result<Self, LoadError> {
        let read: Self = config::read(object, &KEYS)?;
        dimension(read.hidden_size, MAX_WIDTH)?;
        dimension(read.intermediate_size, MAX_WIDTH)?;
        dimension(read.num_hidden_layers, MAX_LAYERS)?;
        dimension(read.num_attention_heads, read.hidden_size)?;
        dimension(read.key_heads(), read.num_attention_heads)?;
        dimension(read.head(), read.hidden_size)?;
        dimension(read.vocab_size, MAX_VOCABULARY)?;
        dimension(read.max_position_embeddings, MAX_CONTEXT)?;
        if !read.num_attention_heads.is_multiple_of(read.key_heads()) {
            return Err(LoadError::Config("num_attention_heads is not a multiple of num_key_value_heads"));
        }
        if read.head_dim.is_none() && !read.hidden_size.is_multiple_of(read.num_attention_heads) {
            return Err(LoadError::Config("hidden_size is not a multiple of num_attention_heads"));
        }
        if read.hidden_act != "silu" {
            return Err(LoadError::Config("hidden_act is not silu"));
        }
        if !(0.0..1.0).contains(&read.rms_norm_eps) {
            return Err(LoadError::Config("rms_norm_eps is not between 0 and 1"));
        }
        read.rope()?;
        Ok(read)
    }

    fn key_heads(&self) -> usize {
        self.num_key_value_heads.unwrap_or(self.num_attention_heads)
    }

    fn head(&self) -> usize {
        self.head_dim.unwrap_or(self.hidden_size / self.num_attention_heads)
    }

    fn rope(&self) -> Result<Rope, LoadError> {
        if self.rope_parameters.is_some() && (self.rope_scaling.is_some() || self.rope_theta.is_some()) {
            return Err(LoadError::Config("rope is configured in two ways"));
        }
        let parameters = self.rope_parameters.as_ref().or(self.rope_scaling.as_ref());
        Rope::new(self.head(), self.rope_theta.unwrap_or(10_000.0), parameters)
    }

    /// The size of the vocabulary.
    pub(crate) fn vocabulary(&self) -> usize {
        self.vocab_size
    }

    /// The tensors, and the ends of names that are passed over.
    pub(crate) fn needs(&self) -> (Vec<Need>, Vec<&'static str>) {
        let (h, i) = (self.hidden_size, self.intermediate_size);
        // Each factor is below 2^17, so the products fit.
        let (queries, keys) = (self.num_attention_heads * self.head(), self.key_heads() * self.head());
        let mut needs = vec![
            Need::new("model.embed_tokens.weight", &[self.vocab_size, h]),
            Need::new("model.norm.weight", &[h]),
        ];
        let mut passed_over = PASSED_OVER.to_vec();
        if self.tie_word_embeddings {
            // Some files hold the shared table twice.
            passed_over.push("lm_head.weight");
        } else {
            needs.push(Need::new("lm_head.weight", &[self.vocab_size, h]));
        }
        for layer in 0..self.num_hidden_layers {
            for (part, shape) in [
                ("input_layernorm", [h].as_slice()),
                ("post_attention_layernorm", &[h]),
                ("self_attn.q_proj", &[queries, h]),
                ("self_attn.k_proj", &[keys, h]),
                ("self_attn.v_proj", &[keys, h]),
                ("self_attn.o_proj", &[h, queries]),
                ("mlp.gate_proj", &[i, h]),
                ("mlp.up_proj", &[i, h]),
                ("mlp.down_proj", &[h, i]),
            ] {
                needs.push(Need::new(format!("model.layers.{layer}.{part}.weight"), shape));
            }
        }
        (needs, passed_over)
    }
}

struct Layer {
    attention_norm: Norm,
    query_key_value: Linear,
    attention_out: Linear,
    norm: Norm,
    gate_up: Linear,
    down: Linear,
}

/// A Llama decoder and the cache of its sequences.
pub(crate) struct Llama {
    isa: Isa,
    threads: Threads,
    /// The table of token vectors, unless it is also the output layer.
    words: Option<Packed>,
    layers: Vec<Layer>,
    norm: Norm,
    head_out: Linear,
    rope: Rope,
    sizes: Sizes,
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

impl Sizes {
    fn head(&self) -> usize {
        self.cache.unit.head
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

impl Llama {
    /// Builds the model from its tensors, which are those of [`Config::needs`].
    ///
    /// # Errors
    /// A tensor is not there, which [`Weights::load`] rules out.
    pub(crate) fn new(config: &Config, mut weights: Weights, threads: &Threads) -> Result<Self, LoadError> {
        let isa = Isa::detect();
        let hidden = config.hidden_size;
        let words = weights.take("model.embed_tokens.weight")?;
        let words = weights.pack(&[&words], hidden);
        let (words, output) = if config.tie_word_embeddings {
            (None, words)
        } else {
            let output = weights.take("lm_head.weight")?;
            (Some(words), weights.pack(&[&output], hidden))
        };
        let layers = (0..config.num_hidden_layers).map(|layer| Layer::new(isa, config, &mut weights, layer));
        let layers = layers.collect::<Result<_, _>>()?;
        let unit = Unit { head: config.head() };
        let shape = Shape { layers: config.num_hidden_layers, heads: config.key_heads(), unit };
        Ok(Self {
            isa,
            threads: threads.clone(),
            words,
            layers,
            norm: rms_norm(config, &mut weights, "model.norm")?,
            head_out: Linear::new(isa, output, Vec::new(), Activation::None),
            rope: config.rope()?,
            sizes: Sizes {
                hidden,
                intermediate: config.intermediate_size,
                group: config.num_attention_heads / config.key_heads(),
                vocabulary: config.vocab_size,
                context: config.max_position_embeddings,
                cache: shape,
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

    /// The logits after each row, one row after the other. `cache` has memory for the rows' blocks.
    fn forward(&self, rows: &[Row<'_>], cache: &mut Cache) -> Tensors<Vec<f32>> {
        let sizes = &self.sizes;
        let count: usize = rows.iter().map(|row| row.tokens.len()).sum();
        let mut table = vec![0.0; count * sizes.hidden];
        let words = self.words.as_ref().unwrap_or(self.head_out.weights());
        let ids = rows.iter().flat_map(|row| row.tokens.iter());
        for (line, &id) in table.chunks_exact_mut(sizes.hidden).zip(ids) {
            words.copy_row(id as usize, line);
        }
        let mut x = Tensor::from_vec(table, (count, sizes.hidden), &Device::Cpu)?;
        for (index, layer) in self.layers.iter().enumerate() {
            let normed = ops::normalise(self.isa, &x, &layer.attention_norm)?;
            let mixed = layer.query_key_value.forward(&normed)?.flatten_all()?.to_vec1::<f32>()?;
            let mixed = self.attention(index, mixed, rows, cache)?;
            x = ops::add(&x, &layer.attention_out.forward(&mixed)?)?;
            let wide = layer.gate_up.forward(&ops::normalise(self.isa, &x, &layer.norm)?)?;
            let wide = ops::silu_multiply(self.isa, &wide, sizes.intermediate)?;
            x = ops::add(&x, &layer.down.forward(&wide)?)?;
        }
        let states = x.flatten_all()?.to_vec1::<f32>()?;
        let mut last = Vec::with_capacity(rows.len() * sizes.hidden);
        let mut end = 0;
        for row in rows {
            end += row.tokens.len() * sizes.hidden;
            last.extend_from_slice(states.get(end - sizes.hidden..end).unwrap_or_default());
        }
        let x = Tensor::from_vec(last, (rows.len(), sizes.hidden), &Device::Cpu)?;
        self.head_out.forward(&ops::normalise(self.isa, &x, &self.norm)?)?.flatten_all()?.to_vec1()
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
        let mut lines = mixed.chunks_exact_mut(width);
        for row in rows {
            for (line, position) in lines.by_ref().take(row.tokens.len()).zip(row.start..) {
                let (turned, values) = line.split_at_mut(sizes.queries() + sizes.keys());
                let angles = self.rope.angles(position);
                turned.chunks_exact_mut(head).for_each(|part| rope::rotate(part, &angles));
                let keys = turned.get(sizes.queries()..).unwrap_or_default().chunks_exact(head);
                for (at, (key, value)) in keys.zip(values.chunks_exact(head)).enumerate() {
                    cache.write(row.blocks, Place { layer, head: at, position }, key, value);
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
        let mut queries =
            Queries { lines: Vec::new(), visible: Vec::new(), scale: inverse_root(sizes.head()) };
        let first = row.start + task.offset;
        for (line, position) in lines.iter().skip(task.line).take(task.count).zip(first..) {
            let heads = line.get(task.head * group..(task.head + 1) * group).unwrap_or_default();
            queries.lines.extend(heads.chunks_exact(sizes.head()));
            queries.visible.extend(std::iter::repeat_n(position + 1, sizes.group));
        }
        let units = cache.units(row.blocks, layer, task.head, first + task.count);
        attention::attend(self.isa, sizes.cache.unit, &units, &queries)
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

#[expect(clippy::cast_precision_loss, reason = "a head is narrower than 2^24")]
fn inverse_root(head: usize) -> f32 {
    1.0 / (head as f32).sqrt()
}

impl Generator for Llama {
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
        let name = format!("model.layers.{layer}");
        let mut linear = |parts: &[&str], depth| -> Result<Linear, LoadError> {
            let tensors = parts.iter().map(|part| weights.take(&format!("{name}.{part}.weight")));
            let tensors = tensors.collect::<Result<Vec<_>, _>>()?;
            let tensors: Vec<&[f32]> = tensors.iter().map(Vec::as_slice).collect();
            Ok(Linear::new(isa, weights.pack(&tensors, depth), Vec::new(), Activation::None))
        };
        let hidden = config.hidden_size;
        Ok(Self {
            query_key_value: linear(&["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"], hidden)?,
            attention_out: linear(&["self_attn.o_proj"], config.num_attention_heads * config.head())?,
            gate_up: linear(&["mlp.gate_proj", "mlp.up_proj"], hidden)?,
            down: linear(&["mlp.down_proj"], config.intermediate_size)?,
            attention_norm: rms_norm(config, weights, &format!("{name}.input_layernorm"))?,
            norm: rms_norm(config, weights, &format!("{name}.post_attention_layernorm"))?,
        })
    }
}

fn rms_norm(config: &Config, weights: &mut Weights, name: &str) -> Result<Norm, LoadError> {
    Ok(Norm { weight: weights.take(&format!("{name}.weight"))?, bias: None, epsilon: config.rms_norm_eps })
}

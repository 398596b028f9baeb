//! Dense decoders, computed in f32, with one growing cache for each sequence.
//!
//! One computation for all architectures that [`Config`] describes: RMS norm, rotary positions, grouped-query attention, SwiGLU, and as the
//! architecture asks biases, norms of each head, and a window of positions that a token sees. All rows of a step are laid one after the
//! other for the linear layers; only attention looks at one row at a time, so a row's logits are the same bits alone, in company, and
//! however its prompt was cut into steps.

mod config;

pub(crate) use config::{Biases, Config, HeadNorms, KEYS, Own, QWEN_WINDOW_KEYS, QwenWindow, Shared, Window};

use crate::attention::{self, QUERIES, Queries, Unit};
use crate::cache::{Cache, Place, Shape};
use crate::error::LoadError;
use crate::kernel::{Isa, WIDTH};
use crate::math::{self, Activation, Norm};
use crate::ops::{self, Linear, failed};
use crate::packed::{Packed, copy_into};
use crate::rope::{self, Rope};
use crate::threads::Threads;
use crate::weights::Weights;
use anchorhold_engine::{BackendError, Generator, Row, SequenceId};
use candle_core::{Device, Result as Tensors, Tensor};
use rayon::prelude::*;
use std::collections::{HashMap, HashSet};

struct Layer {
    attention_norm: Norm,
    query_key_value: Linear,
    /// Of each head's query, and of each head's key.
    head_norms: Option<[Norm; 2]>,
    /// How many positions a token sees, itself included; `None` for all.
    window: Option<usize>,
    attention_out: Linear,
    norm: Norm,
    gate_up: Linear,
    down: Linear,
}

/// A decoder and the caches of its sequences.
pub(crate) struct Decoder {
    isa: Isa,
    threads: Threads,
    /// The table of token vectors, unless it is also the output layer.
    words: Option<Packed>,
    layers: Vec<Layer>,
    norm: Norm,
    head_out: Linear,
    rope: Rope,
    sizes: Sizes,
    caches: HashMap<SequenceId, Cache>,
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

impl Decoder {
    /// Builds the model from its tensors, which are those of [`Config::needs`].
    ///
    /// # Errors
    /// A tensor is not there, which [`Weights::load`] rules out.
    pub(crate) fn new(config: &Config, mut weights: Weights, threads: &Threads) -> Result<Self, LoadError> {
        let isa = Isa::detect();
        let hidden = config.hidden;
        let pack = |tensor: &[f32]| Packed::new(&[tensor], hidden);
        let words = pack(&weights.take("model.embed_tokens.weight")?);
        let (words, output) =
            if config.tied { (None, words) } else { (Some(words), pack(&weights.take("lm_head.weight")?)) };
        let layers = (0..config.windows.len()).map(|layer| Layer::new(isa, config, &mut weights, layer));
        let layers = layers.collect::<Result<_, _>>()?;
        let unit = Unit { head: config.head };
        Ok(Self {
            isa,
            threads: threads.clone(),
            words,
            layers,
            norm: rms_norm(config, &mut weights, "model.norm")?,
            head_out: Linear::new(isa, output, Vec::new(), Activation::None),
            rope: config.rope.clone(),
            sizes: Sizes {
                hidden,
                intermediate: config.intermediate,
                group: config.heads / config.key_heads,
                vocabulary: config.vocabulary,
                context: config.context,
                cache: Shape { layers: config.windows.len(), heads: config.key_heads, unit },
            },
            caches: HashMap::new(),
        })
    }

    fn check(&self, rows: &[Row<'_>]) -> Result<(), BackendError> {
        let mut seen = HashSet::new();
        for row in rows {
            if row.tokens.is_empty() || !seen.insert(row.sequence) {
                return Err(BackendError::new("a row is empty or its sequence comes twice"));
            }
            if row.tokens.iter().any(|&id| id as usize >= self.sizes.vocabulary) {
                return Err(BackendError::new("a token is not in the vocabulary"));
            }
            let filled = self.caches.get(&row.sequence).map_or(0, Cache::len);
            if row.tokens.len() > self.sizes.context.saturating_sub(filled) {
                return Err(BackendError::new("a sequence is longer than the context"));
            }
        }
        Ok(())
    }

    /// The logits after each row, one row after the other. `caches` has room for the tokens; they are written but not yet counted.
    fn forward(&self, rows: &[Row<'_>], caches: &mut [Cache]) -> Tensors<Vec<f32>> {
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
            let mut mixed = layer.query_key_value.forward(&normed)?.flatten_all()?.to_vec1::<f32>()?;
            self.normalise_heads(layer, &mut mixed);
            let mixed = self.attention(index, mixed, rows, caches)?;
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

    /// Turns queries and keys, appends keys and values to the caches, and lets each token look at itself and what came before it.
    fn attention(
        &self,
        layer: usize,
        mut mixed: Vec<f32>,
        rows: &[Row<'_>],
        caches: &mut [Cache],
    ) -> Tensors<Tensor> {
        let sizes = &self.sizes;
        let (head, width) = (sizes.head(), sizes.queries() + 2 * sizes.keys());
        let mut lines = mixed.chunks_exact_mut(width);
        for (row, cache) in rows.iter().zip(caches.iter_mut()) {
            let start = cache.len();
            for (line, position) in lines.by_ref().take(row.tokens.len()).zip(start..) {
                let (turned, values) = line.split_at_mut(sizes.queries() + sizes.keys());
                let angles = self.rope.angles(position);
                turned.chunks_exact_mut(head).for_each(|part| rope::rotate(part, &angles));
                let keys = turned.get(sizes.queries()..).unwrap_or_default().chunks_exact(head);
                for (at, (key, value)) in keys.zip(values.chunks_exact(head)).enumerate() {
                    cache.write(&sizes.cache, Place { layer, head: at, position }, key, value);
                }
            }
        }
        let lines: Vec<&[f32]> = mixed.chunks_exact(width).collect();
        let tasks = self.tasks(rows);
        let answers: Vec<Vec<f32>> =
            tasks.par_iter().map(|task| self.attend(layer, task, &lines, caches)).collect();
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

    fn attend(&self, layer: usize, task: &Task, lines: &[&[f32]], caches: &[Cache]) -> Vec<f32> {
        let sizes = &self.sizes;
        let Some(cache) = caches.get(task.row) else { return Vec::new() };
        let group = sizes.group * sizes.head();
        let mut queries =
            Queries { lines: Vec::new(), visible: Vec::new(), scale: inverse_root(sizes.head()) };
        let first = cache.len() + task.offset;
        let window = self.layers.get(layer).and_then(|layer| layer.window).unwrap_or(usize::MAX);
        // No query of the task sees the units before this one.
        let skipped = (first + 1).saturating_sub(window) / WIDTH;
        for (line, position) in lines.iter().skip(task.line).take(task.count).zip(first..) {
            let heads = line.get(task.head * group..(task.head + 1) * group).unwrap_or_default();
            queries.lines.extend(heads.chunks_exact(sizes.head()));
            let seen = (position + 1).saturating_sub(window)..position + 1;
            let seen = seen.start - skipped * WIDTH..seen.end - skipped * WIDTH;
            queries.visible.extend(std::iter::repeat_n(seen, sizes.group));
        }
        let units = cache.units(&sizes.cache, layer, task.head, first + task.count);
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

#[expect(clippy::cast_precision_loss, reason = "a head is narrower than 2^24")]
fn inverse_root(head: usize) -> f32 {
    1.0 / (head as f32).sqrt()
}

impl Generator for Decoder {
    fn vocabulary(&self) -> usize {
        self.sizes.vocabulary
    }

    fn context(&self) -> usize {
        self.sizes.context
    }

    fn step(&mut self, rows: &[Row<'_>]) -> Result<Vec<Vec<f32>>, BackendError> {
        self.check(rows)?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut caches = Vec::with_capacity(rows.len());
        for row in rows {
            let mut cache = self.caches.remove(&row.sequence).unwrap_or_default();
            cache.reserve(&self.sizes.cache, row.tokens.len());
            caches.push(cache);
        }
        let logits = self.threads.run(|| self.forward(rows, &mut caches));
        for (row, mut cache) in rows.iter().zip(caches) {
            cache.advance(row.tokens.len());
            self.caches.insert(row.sequence, cache);
        }
        let logits = logits.map_err(failed)?;
        Ok(logits.chunks_exact(self.sizes.vocabulary).map(<[f32]>::to_vec).collect())
    }

    fn release(&mut self, sequence: SequenceId) {
        self.caches.remove(&sequence);
    }
}

impl Layer {
    fn new(isa: Isa, config: &Config, weights: &mut Weights, layer: usize) -> Result<Self, LoadError> {
        let name = format!("model.layers.{layer}");
        let mut linear = |parts: &[&str], depth, biased: bool| -> Result<Linear, LoadError> {
            let tensors = parts.iter().map(|part| weights.take(&format!("{name}.{part}.weight")));
            let tensors = tensors.collect::<Result<Vec<_>, _>>()?;
            let tensors: Vec<&[f32]> = tensors.iter().map(Vec::as_slice).collect();
            let packed = Packed::new(&tensors, depth);
            let mut bias = Vec::new();
            for part in parts.iter().filter(|_| biased) {
                bias.extend(weights.take(&format!("{name}.{part}.bias"))?);
            }
            Ok(Linear::new(isa, packed, bias, Activation::None))
        };
        let inputs = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];
        let query_key_value = linear(&inputs, config.hidden, config.biases != Biases::None)?;
        let attention_out =
            linear(&["self_attn.o_proj"], config.heads * config.head, config.biases == Biases::All)?;
        let gate_up = linear(&["mlp.gate_proj", "mlp.up_proj"], config.hidden, false)?;
        let down = linear(&["mlp.down_proj"], config.intermediate, false)?;
        let mut norm = |part: &str| rms_norm(config, weights, &format!("{name}.{part}"));
        let head_norms = match config.head_norms {
            HeadNorms::Absent => None,
            HeadNorms::Present => Some([norm("self_attn.q_norm")?, norm("self_attn.k_norm")?]),
        };
        Ok(Self {
            attention_norm: norm("input_layernorm")?,
            norm: norm("post_attention_layernorm")?,
            query_key_value,
            head_norms,
            window: config.windows.get(layer).copied().flatten(),
            attention_out,
            gate_up,
            down,
        })
    }
}

fn rms_norm(config: &Config, weights: &mut Weights, name: &str) -> Result<Norm, LoadError> {
    Ok(Norm { weight: weights.take(&format!("{name}.weight"))?, bias: None, epsilon: config.epsilon })
}

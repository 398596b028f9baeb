//! BERT encoders that give sentence embeddings, computed in f32 without padding.
//!
//! All inputs of a call are laid one after the other for the linear layers; only attention looks at one input at a time. Architecture:
//! Devlin et al. 2018, as `transformers.BertModel` computes it; pooling as sentence-transformers does.

use crate::attention::{self, QUERIES, Queries, Unit};
use crate::config::{self, Keys, MAX_CONTEXT, MAX_LAYERS, MAX_VOCABULARY, MAX_WIDTH, dimension};
use crate::error::LoadError;
use crate::kernel::{Isa, WIDTH};
use crate::math::{self, Activation, Norm};
use crate::ops::{self, Linear, failed};
use crate::packed::copy_into;
use crate::passes;
use crate::pooling::Pooling;
use crate::threads::Threads;
use crate::weights::{Need, Weights};
use anchorhold_engine::{BackendError, Embedder, TokenId};
use candle_core::{Device, Result as Tensors, Tensor};
use rayon::prelude::*;
use serde::Deserialize;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

/// The settings of `config.json` that BERT uses.
#[derive(Debug, Deserialize)]
pub(crate) struct Config {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    vocab_size: usize,
    max_position_embeddings: usize,
    type_vocab_size: usize,
    layer_norm_eps: f32,
    hidden_act: String,
    #[serde(default)]
    position_embedding_type: Option<String>,
}

const KEYS: Keys = Keys {
    used: &[
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "vocab_size",
        "max_position_embeddings",
        "type_vocab_size",
        "layer_norm_eps",
        "hidden_act",
        "position_embedding_type",
    ],
    off: &["is_decoder", "add_cross_attention", "tie_encoder_decoder"],
};

/// Tensors of the training head and constants, which an embedding does not need.
const PASSED_OVER: &[&str] = &["pooler.dense.weight", "pooler.dense.bias", "embeddings.position_ids"];

impl Config {
    /// Reads and checks `config.json`.
    ///
    /// # Errors
    /// A key that is not known, a setting that is not supported, or a dimension beyond its limit.
    pub(crate) fn read(object: Map<String, Value>) -> Result<Self, LoadError> {
        let read: Self = config::read(object, &[&KEYS])?;
        dimension(read.hidden_size, MAX_WIDTH)?;
        dimension(read.intermediate_size, MAX_WIDTH)?;
        dimension(read.num_hidden_layers, MAX_LAYERS)?;
        dimension(read.num_attention_heads, read.hidden_size)?;
        dimension(read.vocab_size, MAX_VOCABULARY)?;
        dimension(read.max_position_embeddings, MAX_CONTEXT)?;
        dimension(read.type_vocab_size, MAX_WIDTH)?;
        if !read.hidden_size.is_multiple_of(read.num_attention_heads) {
            return Err(LoadError::Config("hidden_size is not a multiple of num_attention_heads"));
        }
        if read.hidden_act != "gelu" {
            return Err(LoadError::Config("hidden_act is not gelu"));
        }
        if read.position_embedding_type.as_deref().is_some_and(|kind| kind != "absolute") {
            return Err(LoadError::Config("position_embedding_type is not absolute"));
        }
        if !(0.0..1.0).contains(&read.layer_norm_eps) {
            return Err(LoadError::Config("layer_norm_eps is not between 0 and 1"));
        }
        Ok(read)
    }

    /// The features of a token.
    pub(crate) fn hidden(&self) -> usize {
        self.hidden_size
    }

    /// The size of the vocabulary.
    pub(crate) fn vocabulary(&self) -> usize {
        self.vocab_size
    }

    /// The tensors, and the ends of names that are passed over. `prefix` is `bert.` where the weights come from a model with a head.
    pub(crate) fn needs(&self, prefix: &str) -> (Vec<Need>, &'static [&'static str]) {
        let (h, i) = (self.hidden_size, self.intermediate_size);
        let mut needs = vec![
            Need::new(format!("{prefix}embeddings.word_embeddings.weight"), &[self.vocab_size, h]),
            Need::new(
                format!("{prefix}embeddings.position_embeddings.weight"),
                &[self.max_position_embeddings, h],
            ),
            Need::new(format!("{prefix}embeddings.token_type_embeddings.weight"), &[self.type_vocab_size, h]),
        ];
        let mut pair = |name: String, shape: &[usize]| {
            needs.push(Need::new(format!("{name}.weight"), shape));
            needs.push(Need::new(format!("{name}.bias"), shape.get(..1).unwrap_or_default()));
        };
        pair(format!("{prefix}embeddings.LayerNorm"), &[h]);
        for layer in 0..self.num_hidden_layers {
            let layer = format!("{prefix}encoder.layer.{layer}");
            for part in ["query", "key", "value"] {
                pair(format!("{layer}.attention.self.{part}"), &[h, h]);
            }
            pair(format!("{layer}.attention.output.dense"), &[h, h]);
            pair(format!("{layer}.attention.output.LayerNorm"), &[h]);
            pair(format!("{layer}.intermediate.dense"), &[i, h]);
            pair(format!("{layer}.output.dense"), &[h, i]);
            pair(format!("{layer}.output.LayerNorm"), &[h]);
        }
        (needs, PASSED_OVER)
    }
}

/// One layer.
struct Layer {
    query_key_value: Linear,
    attention_out: Linear,
    attention_norm: Norm,
    up: Linear,
    down: Linear,
    norm: Norm,
}

/// A BERT encoder with pooling.
pub(crate) struct Bert {
    isa: Isa,
    threads: Threads,
    words: Zeroizing<Vec<f32>>,
    /// Position embeddings with the first token type's added.
    positions: Zeroizing<Vec<f32>>,
    norm: Norm,
    layers: Vec<Layer>,
    heads: usize,
    hidden: usize,
    vocabulary: usize,
    context: usize,
    pooling: Pooling,
}

impl Bert {
    /// Builds the model from its tensors, which are those of [`Config::needs`].
    ///
    /// # Errors
    /// A tensor is not there, which [`Weights::load`] rules out.
    pub(crate) fn new(
        config: &Config,
        prefix: &str,
        mut weights: Weights,
        pooling: Pooling,
        threads: &Threads,
    ) -> Result<Self, LoadError> {
        let isa = Isa::detect();
        let hidden = config.hidden_size;
        let words = weights.take(&format!("{prefix}embeddings.word_embeddings.weight"))?;
        let mut positions = weights.take(&format!("{prefix}embeddings.position_embeddings.weight"))?;
        let types = weights.take(&format!("{prefix}embeddings.token_type_embeddings.weight"))?;
        for line in positions.chunks_exact_mut(hidden) {
            for (value, kind) in line.iter_mut().zip(&types) {
                *value += kind;
            }
        }
        let build = |weights: &mut Weights, layer| {
            Layer::new(isa, config, weights, &format!("{prefix}encoder.layer.{layer}"))
        };
        let layers = (0..config.num_hidden_layers)
            .map(|layer| build(&mut weights, layer))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            isa,
            threads: threads.clone(),
            words: Zeroizing::new(words),
            positions: Zeroizing::new(positions),
            norm: layer_norm(config, &mut weights, &format!("{prefix}embeddings.LayerNorm"))?,
            layers,
            heads: config.num_attention_heads,
            hidden,
            vocabulary: config.vocab_size,
            context: pooling.max_tokens.unwrap_or(usize::MAX).min(config.max_position_embeddings),
            pooling,
        })
    }

    /// The last hidden states of all tokens of `inputs`, one input after the other.
    fn hidden_states(&self, inputs: &[&[TokenId]]) -> Tensors<Tensor> {
        let lengths: Vec<usize> = inputs.iter().map(|input| input.len()).collect();
        let count = lengths.iter().sum::<usize>();
        let mut table = vec![0.0; count * self.hidden];
        let tokens =
            inputs.iter().flat_map(|input| input.iter().zip(self.positions.chunks_exact(self.hidden)));
        for (line, (&id, place)) in table.chunks_exact_mut(self.hidden).zip(tokens) {
            let word = id as usize * self.hidden;
            math::add(self.words.get(word..word + self.hidden).unwrap_or_default(), place, line);
        }
        let table = Tensor::from_vec(table, (count, self.hidden), &Device::Cpu)?;
        let mut x = ops::normalise(self.isa, &table, &self.norm)?;
        for layer in &self.layers {
            let mixed = self.attention(&layer.query_key_value.forward(&x)?, &lengths)?;
            let mixed = layer.attention_out.forward(&mixed)?;
            x = ops::add_normalise(self.isa, &x, &mixed, &layer.attention_norm)?;
            let wide = layer.down.forward(&layer.up.forward(&x)?)?;
            x = ops::add_normalise(self.isa, &x, &wide, &layer.norm)?;
        }
        Ok(x)
    }

    /// Every token of an input looks at all tokens of that input.
    fn attention(&self, query_key_value: &Tensor, lengths: &[usize]) -> Tensors<Tensor> {
        let (hidden, head) = (self.hidden, self.hidden / self.heads);
        ops::rowwise("attention", query_key_value, hidden, |rows, out| {
            let mut tasks = Vec::new();
            let mut first = 0;
            for &len in lengths {
                tasks.extend((0..self.heads).map(|head| (first, len, head)));
                first += len;
            }
            let answer = |&(first, len, at): &(usize, usize, usize)| {
                let lines = rows.chunks_exact(3 * hidden).skip(first).take(len);
                attend_head(self.isa, &lines.collect::<Vec<_>>(), hidden, Unit { head }, at)
            };
            let answers: Vec<Vec<f32>> = tasks.par_iter().map(answer).collect();
            for (&(first, _, at), answer) in tasks.iter().zip(&answers) {
                let lines = out.chunks_exact_mut(hidden).skip(first);
                for (line, answer) in lines.zip(answer.chunks_exact(head)) {
                    copy_into(line.get_mut(at * head..), answer);
                }
            }
        })
    }

    fn pass(&self, inputs: &[&[TokenId]]) -> Result<Vec<Vec<f32>>, BackendError> {
        let states = self
            .hidden_states(inputs)
            .and_then(|states| states.flatten_all()?.to_vec1::<f32>())
            .map_err(failed)?;
        let mut rest = states.as_slice();
        let mut vectors = Vec::with_capacity(inputs.len());
        for input in inputs {
            let (own, tail) = rest.split_at((input.len() * self.hidden).min(rest.len()));
            rest = tail;
            vectors.push(self.pooling.pool(own, self.hidden));
        }
        Ok(vectors)
    }
}

/// One head of one input; `lines` are its rows of query, key and value, each of all heads.
fn attend_head(isa: Isa, lines: &[&[f32]], hidden: usize, unit: Unit, at: usize) -> Vec<f32> {
    let part = |line: &&'_ [f32], third: usize| {
        third * hidden + at * unit.head..(third * hidden + (at + 1) * unit.head).min(line.len())
    };
    let mut store = vec![0.0; lines.len().div_ceil(WIDTH) * unit.len()];
    for (lines, block) in lines.chunks(WIDTH).zip(store.chunks_exact_mut(unit.len())) {
        for (slot, line) in lines.iter().enumerate() {
            let key = line.get(part(line, 1)).unwrap_or_default();
            let value = line.get(part(line, 2)).unwrap_or_default();
            unit.write(block, slot, key, value);
        }
    }
    let units: Vec<&[f32]> = store.chunks_exact(unit.len()).collect();
    #[expect(clippy::cast_precision_loss, reason = "a head is narrower than 2^24")]
    let scale = 1.0 / (unit.head as f32).sqrt();
    let mut out = Vec::with_capacity(lines.len() * unit.head);
    for queries in lines.chunks(QUERIES) {
        let queries = Queries {
            lines: queries.iter().map(|line| line.get(part(line, 0)).unwrap_or_default()).collect(),
            visible: vec![0..lines.len(); queries.len()],
            scale,
            cap: None,
        };
        out.extend(attention::attend(isa, unit, &units, &queries));
    }
    out
}

impl Embedder for Bert {
    fn dimensions(&self) -> usize {
        self.hidden
    }

    fn context(&self) -> usize {
        self.context
    }

    fn embed(&mut self, inputs: &[&[TokenId]]) -> Result<Vec<Vec<f32>>, BackendError> {
        passes::check(inputs, self.context, self.vocabulary)?;
        let mut vectors = Vec::with_capacity(inputs.len());
        for pass in passes::cut(inputs) {
            vectors.extend(self.threads.run(|| self.pass(pass))?);
        }
        Ok(vectors)
    }
}

impl Layer {
    fn new(isa: Isa, config: &Config, weights: &mut Weights, name: &str) -> Result<Self, LoadError> {
        let hidden = config.hidden_size;
        let mut parts = Vec::new();
        let mut bias = Vec::new();
        for part in ["query", "key", "value"] {
            parts.push(weights.take(&format!("{name}.attention.self.{part}.weight"))?);
            bias.extend(weights.take(&format!("{name}.attention.self.{part}.bias"))?);
        }
        let parts: Vec<&[f32]> = parts.iter().map(Vec::as_slice).collect();
        let query_key_value = weights.pack(&parts, hidden);
        let mut linear = |part: &str, depth, activation| -> Result<Linear, LoadError> {
            let tensor = weights.take(&format!("{name}.{part}.weight"))?;
            let packed = weights.pack(&[&tensor], depth);
            Ok(Linear::new(isa, packed, weights.take(&format!("{name}.{part}.bias"))?, activation))
        };
        Ok(Self {
            query_key_value: Linear::new(isa, query_key_value, bias, Activation::None),
            attention_out: linear("attention.output.dense", hidden, Activation::None)?,
            up: linear("intermediate.dense", hidden, Activation::Gelu)?,
            down: linear("output.dense", config.intermediate_size, Activation::None)?,
            attention_norm: layer_norm(config, weights, &format!("{name}.attention.output.LayerNorm"))?,
            norm: layer_norm(config, weights, &format!("{name}.output.LayerNorm"))?,
        })
    }
}

fn layer_norm(config: &Config, weights: &mut Weights, name: &str) -> Result<Norm, LoadError> {
    Ok(Norm {
        weight: weights.take(&format!("{name}.weight"))?,
        bias: Some(weights.take(&format!("{name}.bias"))?),
        epsilon: config.layer_norm_eps,
    })
}

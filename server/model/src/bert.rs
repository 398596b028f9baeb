//! Encoders of the kinds BERT and RoBERTa, computed without padding: they give embeddings of texts, or scores of pairs of texts.
//!
//! All inputs of a call are laid one after the other for the linear layers; only attention looks at one input at a time. Architecture:
//! Devlin et al. 2018 and Liu et al. 2019, as transformers computes it; pooling and scores as sentence-transformers does.

mod config;
mod places;
mod score;

pub(crate) use config::{Config, Family, Purpose};
pub(crate) use score::Bend;

use self::places::Places;
use self::score::Head;
use crate::attention::{self, QUERIES, Queries, Unit};
use crate::error::LoadError;
use crate::kernel::{Isa, WIDTH};
use crate::math::{self, Activation, Norm};
use crate::ops::{self, Linear, failed};
use crate::packed::copy_into;
use crate::passes;
use crate::pooling::Pooling;
use crate::threads::Threads;
use crate::weights::Weights;
use anchorhold_engine::{BackendError, Embedder, TokenId};
use candle_core::{Device, Result as Tensors, Tensor};
use rayon::prelude::*;
use zeroize::Zeroizing;

/// What becomes of the states of an input's tokens.
pub(crate) enum Output {
    /// They are pooled into a vector.
    Pooled(Pooling),
    /// The first one is scored. The tokenizer puts this token between the texts of a pair, where the model tells them apart.
    Scored(Bend, Option<TokenId>),
}

enum Last {
    Pooled(Pooling),
    Scored(Head),
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

/// An encoder, and what becomes of its states.
pub(crate) struct Bert {
    isa: Isa,
    threads: Threads,
    words: Zeroizing<Vec<f32>>,
    places: Places,
    norm: Norm,
    layers: Vec<Layer>,
    heads: usize,
    hidden: usize,
    vocabulary: usize,
    context: usize,
    last: Last,
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
        output: Output,
        threads: &Threads,
    ) -> Result<Self, LoadError> {
        let isa = Isa::detect();
        let hidden = config.hidden;
        let mut context = config.context();
        let (last, separator) = match output {
            Output::Pooled(pooling) => {
                context = context.min(pooling.max_tokens.unwrap_or(usize::MAX));
                (Last::Pooled(pooling), None)
            }
            Output::Scored(bend, separator) => {
                (Last::Scored(Head::new(config, bend, &mut weights)?), separator)
            }
        };
        let words = weights.take(&format!("{prefix}embeddings.word_embeddings.weight"))?;
        let build = |weights: &mut Weights, layer| {
            Layer::new(isa, config, weights, &format!("{prefix}encoder.layer.{layer}"))
        };
        let layers = (0..config.layers).map(|layer| build(&mut weights, layer)).collect::<Result<_, _>>()?;
        Ok(Self {
            isa,
            threads: threads.clone(),
            words: Zeroizing::new(words),
            places: Places::new(config, prefix, separator, &mut weights)?,
            norm: layer_norm(config, &mut weights, &format!("{prefix}embeddings.LayerNorm"))?,
            layers,
            heads: config.heads,
            hidden,
            vocabulary: config.vocabulary,
            context,
            last,
        })
    }

    /// The last hidden states of all tokens of `inputs`, one input after the other.
    fn hidden_states(&self, inputs: &[&[TokenId]]) -> Tensors<Tensor> {
        let lengths: Vec<usize> = inputs.iter().map(|input| input.len()).collect();
        let count = lengths.iter().sum::<usize>();
        let mut table = vec![0.0; count * self.hidden];
        let tokens = inputs.iter().flat_map(|input| input.iter().zip(self.places.of(input)));
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
            vectors.push(match &self.last {
                Last::Pooled(pooling) => pooling.pool(own, self.hidden),
                Last::Scored(head) => {
                    vec![head.score(self.isa, own.get(..self.hidden).unwrap_or_default())]
                }
            });
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
        match &self.last {
            Last::Pooled(pooling) => pooling.dimensions(self.hidden),
            Last::Scored(_) => 1,
        }
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
        let hidden = config.hidden;
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
            down: linear("output.dense", config.intermediate, Activation::None)?,
            attention_norm: layer_norm(config, weights, &format!("{name}.attention.output.LayerNorm"))?,
            norm: layer_norm(config, weights, &format!("{name}.output.LayerNorm"))?,
        })
    }
}

fn layer_norm(config: &Config, weights: &mut Weights, name: &str) -> Result<Norm, LoadError> {
    Ok(Norm {
        weight: weights.take(&format!("{name}.weight"))?,
        bias: Some(weights.take(&format!("{name}.bias"))?),
        epsilon: config.epsilon,
    })
}

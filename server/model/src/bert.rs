//! Encoders of the kinds BERT and RoBERTa, computed without padding: they give embeddings of texts, or scores of pairs of texts.
//!
//! Inputs are laid one after the other for the linear layers; only attention looks at one input at a time. Of a batch, each thread takes
//! some inputs at a time through all layers, so that what flows between the layers stays in its caches; an input that comes alone is
//! shared by all threads. Architecture: Devlin et al. 2018 and Liu et al. 2019, as transformers computes it; pooling and scores as
//! sentence-transformers does.

mod config;
mod places;
mod score;

pub(crate) use config::{Config, Family, Purpose};
pub(crate) use score::Bend;

use self::places::Places;
use self::score::Classifier;
use crate::attention::{Attention, QUERIES, Unit};
use crate::error::LoadError;
use crate::kernel::{Isa, Pages, WIDTH};
use crate::math::{self, Norm};
use crate::ops::Linear;
use crate::packed::Then;
use crate::passes::{self, PASS_TOKENS};
use crate::pooling::Pooling;
use crate::rows::{Input, Sheet, copy_into, grow};
use crate::threads::{PerThread, Team, Threads};
use crate::weights::Weights;
use anchorhold_engine::{BackendError, Embedder, TokenId};
use zeroize::Zeroize as _;

/// Tokens that one thread takes through all layers: with fewer, the walk over the weights is not paid for.
const GROUP_TOKENS: usize = 128;

/// What becomes of the states of an input's tokens.
pub(crate) enum Output {
    /// They are pooled into a vector.
    Pooled(Pooling),
    /// The first one is scored. The tokenizer puts this token between the texts of a pair, where the model tells them apart.
    Scored(Bend, Option<TokenId>),
}

enum Last {
    Pooled(Pooling),
    Scored(Classifier),
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
    model: Model,
    threads: Threads,
    /// By thread.
    flows: PerThread<Flow>,
    heads: PerThread<Head>,
    vocabulary: usize,
    context: usize,
}

/// What does not change.
struct Model {
    isa: Isa,
    words: Pages<f32>,
    places: Places,
    norm: Norm,
    layers: Vec<Layer>,
    heads: usize,
    hidden: usize,
    last: Last,
}

/// What flows between the layers during a pass. Keeps its memory for the next pass.
#[derive(Default)]
struct Flow {
    x: Sheet,
    input: Input,
    wide_input: Input,
    mixed: Sheet,
    wide: Sheet,
    /// What attention answers: by input, then by head, then by token.
    attended: Vec<f32>,
    /// For each token, the first one of its input, and how many that has.
    spans: Vec<(usize, usize)>,
    states: Vec<f32>,
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.attended.zeroize();
        self.states.zeroize();
    }
}

/// Attention of one head of one input. It is exact in every precision: rounded queries and keys would cost a sentence's vector more than
/// all other products together.
struct Head {
    attention: Attention<f32>,
    /// Its keys and values.
    store: Vec<f32>,
    line: Vec<f32>,
}

impl Drop for Head {
    fn drop(&mut self) {
        self.store.zeroize();
        self.line.zeroize();
    }
}

impl Bert {
    /// Builds the model from its tensors, which are those of [`Config::needs`].
    ///
    /// # Errors
    /// A tensor is not there, which [`Weights::load`] rules out.
    pub(crate) fn new(
        config: &Config,
        prefix: &str,
        weights: &mut Weights,
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
                (Last::Scored(Classifier::new(config, bend, weights)?), separator)
            }
        };
        let words = weights.take(&format!("{prefix}embeddings.word_embeddings.weight"))?;
        let build = |weights: &mut Weights, layer| {
            Layer::new(isa, config, weights, &format!("{prefix}encoder.layer.{layer}"))
        };
        let layers = (0..config.layers).map(|layer| build(weights, layer)).collect::<Result<_, _>>()?;
        let head = || Head { attention: Attention::new(isa), store: Vec::new(), line: Vec::new() };
        let heads = PerThread::new(threads, head);
        let model = Model {
            isa,
            words,
            places: Places::new(config, prefix, separator, weights)?,
            norm: layer_norm(config, weights, &format!("{prefix}embeddings.LayerNorm"))?,
            layers,
            heads: config.heads,
            hidden,
            last,
        };
        let flows = PerThread::new(threads, Flow::default);
        Ok(Self { model, threads: threads.clone(), flows, heads, vocabulary: config.vocabulary, context })
    }

    /// The vectors of all inputs.
    fn run(&self, inputs: &[&[TokenId]], vectors: &mut [Vec<f32>]) {
        let (all, heads) = (Team::All(&self.threads), &self.heads);
        if passes::cut(inputs, GROUP_TOKENS).nth(self.threads.count() - 1).is_some() {
            all.each(beside(passes::cut(inputs, GROUP_TOKENS), vectors), |worker, (inputs, vectors)| {
                if let Some(mut flow) = self.flows.of(worker) {
                    self.model.pass((Team::Alone(worker), heads), &mut flow, inputs, vectors);
                }
            });
        } else if let Some(mut flow) = self.flows.of(0) {
            for (inputs, vectors) in beside(passes::cut(inputs, PASS_TOKENS), vectors) {
                self.model.pass((all, heads), &mut flow, inputs, vectors);
            }
        }
    }
}

/// Puts beside each group of inputs the places of their vectors.
fn beside<'a>(
    groups: impl Iterator<Item = &'a [&'a [TokenId]]> + Send,
    mut vectors: &'a mut [Vec<f32>],
) -> impl Iterator<Item = (&'a [&'a [TokenId]], &'a mut [Vec<f32>])> + Send {
    groups.map(move |inputs| {
        let (own, later) = std::mem::take(&mut vectors).split_at_mut(inputs.len());
        vectors = later;
        (inputs, own)
    })
}

impl Model {
    /// Computes the vectors of some inputs.
    fn pass(
        &self,
        (team, heads): (Team<'_>, &PerThread<Head>),
        flow: &mut Flow,
        inputs: &[&[TokenId]],
        vectors: &mut [Vec<f32>],
    ) {
        self.begin(flow, inputs);
        let count = flow.spans.len();
        for (at, layer) in self.layers.iter().enumerate() {
            layer.query_key_value.forward(team, &flow.input, &mut flow.mixed);
            self.attend((team, heads), flow, inputs);
            let head = self.hidden / self.heads;
            layer.attention_out.fill(&mut flow.input, team, count, |row, line| {
                let &(first, len) = flow.spans.get(row).unwrap_or(&(0, 0));
                let tokens = flow.attended.get(first * self.hidden..).unwrap_or_default();
                let answers = tokens.chunks_exact(head).skip(row - first).step_by(len.max(1));
                for (part, answer) in line.chunks_exact_mut(head).zip(answers) {
                    copy_into(part, answer);
                }
            });
            layer.attention_out.forward(team, &flow.input, &mut flow.x);
            self.normalise_into(flow, &layer.attention_norm, &layer.up);
            layer.up.forward(team, &flow.input, &mut flow.wide);
            layer.down.fill(&mut flow.wide_input, team, count, |row, line| flow.wide.copy_row(row, line));
            layer.down.forward(team, &flow.wide_input, &mut flow.x);
            match self.layers.get(at + 1) {
                Some(next) => self.normalise_into(flow, &layer.norm, &next.query_key_value),
                None => self.end(flow, &layer.norm),
            }
        }
        let mut rest = flow.states.as_slice();
        for (input, vector) in inputs.iter().zip(vectors) {
            let (own, tail) = rest.split_at((input.len() * self.hidden).min(rest.len()));
            rest = tail;
            *vector = match &self.last {
                Last::Pooled(pooling) => pooling.pool(own, self.hidden),
                Last::Scored(classifier) => {
                    vec![classifier.score(own.get(..self.hidden).unwrap_or_default())]
                }
            };
        }
    }

    /// The tokens' vectors with those of their positions.
    fn begin(&self, flow: &mut Flow, inputs: &[&[TokenId]]) {
        flow.spans.clear();
        let mut first = 0;
        for input in inputs {
            flow.spans.extend(std::iter::repeat_n((first, input.len()), input.len()));
            first += input.len();
        }
        flow.x.resize(first, self.hidden);
        let tokens = inputs.iter().flat_map(|input| input.iter().zip(self.places.of(input)));
        grow(&mut flow.states, first * self.hidden);
        for (row, ((&id, place), line)) in tokens.zip(flow.states.chunks_exact_mut(self.hidden)).enumerate() {
            let word = id as usize * self.hidden;
            line.copy_from_slice(place);
            math::add(self.isa, self.words.get(word..word + self.hidden).unwrap_or_default(), line);
            flow.x.write_row(row, line);
        }
        if let Some(layer) = self.layers.first() {
            self.normalise_into(flow, &self.norm, &layer.query_key_value);
        }
    }

    /// Normalises what flows, and makes it the input of `next`.
    fn normalise_into(&self, flow: &mut Flow, norm: &Norm, next: &Linear) {
        next.fill_here(&mut flow.input, flow.spans.len(), |row, line| {
            flow.x.copy_row(row, line);
            math::normalise(self.isa, norm, line);
            flow.x.write_row(row, line);
        });
    }

    /// Normalises what flows, and lays it out row by row.
    fn end(&self, flow: &mut Flow, norm: &Norm) {
        let lines = flow.states.chunks_exact_mut(self.hidden).take(flow.spans.len());
        for (row, line) in lines.enumerate() {
            flow.x.copy_row(row, line);
            math::normalise(self.isa, norm, line);
        }
    }

    /// Every token of an input looks at all tokens of that input.
    fn attend(&self, (team, heads): (Team<'_>, &PerThread<Head>), flow: &mut Flow, inputs: &[&[TokenId]]) {
        let Flow { mixed, attended, spans, .. } = flow;
        grow(attended, spans.len() * self.hidden);
        let (mut first, mut rest) = (0, attended.as_mut_slice());
        let head = self.hidden / self.heads;
        let tasks = inputs.iter().flat_map(|input| {
            let span = (first, input.len());
            first += input.len();
            let (own, later) = std::mem::take(&mut rest).split_at_mut(input.len() * self.hidden);
            rest = later;
            own.chunks_exact_mut(input.len() * head).enumerate().map(move |(at, out)| (span, at, out))
        });
        team.each(tasks, |worker, (span, at, out)| {
            if let Some(mut own) = heads.of(worker) {
                self.attend_head(&mut own, mixed, (span, at), out);
            }
        });
    }

    /// One head of one input.
    fn attend_head(
        &self,
        own: &mut Head,
        mixed: &Sheet,
        ((first, len), at): ((usize, usize), usize),
        out: &mut [f32],
    ) {
        let head = self.hidden / self.heads;
        let part = |third: usize| third * self.hidden + at * head..third * self.hidden + (at + 1) * head;
        let unit = Unit::<f32>::new(head);
        let count = len.div_ceil(WIDTH);
        let Head { attention, store, line } = own;
        grow(store, count * unit.len());
        grow(line, 2 * head);
        if let Some(last) = store.chunks_exact_mut(unit.len()).nth(count - 1) {
            // Positions beyond the input count for nothing, but must be numbers.
            last.fill(0.0);
        }
        let (key, value) = line.split_at_mut(head);
        for (units, rows) in store.chunks_exact_mut(unit.len()).zip((0..len).step_by(WIDTH)) {
            for (slot, row) in (rows..len.min(rows + WIDTH)).enumerate() {
                mixed.copy(first + row, part(1), key);
                mixed.copy(first + row, part(2), value);
                unit.write(units, slot, key, value.get(..head).unwrap_or_default());
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a head is narrower than 2^24")]
        let scale = 1.0 / (head as f32).sqrt();
        for (out, start) in out.chunks_mut(QUERIES * head).zip((0..len).step_by(QUERIES)) {
            let queries = &mut attention.queries;
            (queries.scale, queries.cap) = (scale, None);
            let rows = start..len.min(start + QUERIES);
            queries.visible.clear();
            queries.visible.resize(rows.len(), 0..len);
            grow(&mut queries.lines, rows.len() * head);
            for (row, line) in rows.zip(queries.lines.chunks_exact_mut(head)) {
                mixed.copy(first + row, part(0), line);
            }
            let units = |at: usize| store.get(at * unit.len()..(at + 1) * unit.len()).unwrap_or_default();
            attention.attend(unit, count, units, out);
        }
    }
}

impl Embedder for Bert {
    fn dimensions(&self) -> usize {
        match &self.model.last {
            Last::Pooled(pooling) => pooling.dimensions(self.model.hidden),
            Last::Scored(_) => 1,
        }
    }

    fn context(&self) -> usize {
        self.context
    }

    fn embed(&mut self, inputs: &[&[TokenId]]) -> Result<Vec<Vec<f32>>, BackendError> {
        passes::check(inputs, self.context, self.vocabulary)?;
        let mut vectors = vec![Vec::new(); inputs.len()];
        self.run(inputs, &mut vectors);
        Ok(vectors)
    }
}

impl Layer {
    fn new(isa: Isa, config: &Config, weights: &mut Weights, name: &str) -> Result<Self, LoadError> {
        // Keys and values lie below the queries.
        let query_key_value = weights.matrix(&format!("{name}.attention.self.query.weight"))?;
        let biases = ["query", "key", "value"].map(|part| format!("{name}.attention.self.{part}.bias"));
        let bias = weights.joined(&biases)?;
        let mut linear = |part: &str, then| -> Result<Linear, LoadError> {
            let packed = weights.matrix(&format!("{name}.{part}.weight"))?;
            Ok(Linear::new(isa, packed, weights.take(&format!("{name}.{part}.bias"))?, then))
        };
        Ok(Self {
            query_key_value: Linear::new(isa, query_key_value, bias, Then::Store),
            attention_out: linear("attention.output.dense", Then::Add)?,
            up: linear("intermediate.dense", Then::Gelu)?,
            down: linear("output.dense", Then::Add)?,
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

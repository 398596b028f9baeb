//! `config.json` of the encoders, and the tensors that it asks for.

use crate::config::{self, Keys, MAX_CONTEXT, MAX_LAYERS, MAX_VOCABULARY, MAX_WIDTH, dimension};
use crate::error::LoadError;
use crate::weights::Need;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Which of the two architectures it is. They differ in names and in the numbers of positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// `transformers.BertModel`.
    Bert,
    /// `transformers.RobertaModel` and `XLMRobertaModel`.
    Roberta,
}

/// What the weights are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Vectors of texts.
    Embedding,
    /// Scores of pairs: a classifier of one label stands on the first token.
    Score,
}

/// An encoder, checked. Made by [`Config::read`] only.
#[derive(Debug)]
pub(crate) struct Config {
    pub(super) family: Family,
    pub(super) hidden: usize,
    pub(super) intermediate: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    pub(super) vocabulary: usize,
    /// Rows of the table of positions.
    pub(super) positions: usize,
    /// Rows of the table of token types.
    pub(super) types: usize,
    /// The token that RoBERTa does not count as a position.
    pub(super) padding: usize,
    pub(super) epsilon: f32,
}

/// The settings that are used.
#[derive(Debug, Deserialize)]
struct File {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    vocab_size: usize,
    max_position_embeddings: usize,
    type_vocab_size: usize,
    layer_norm_eps: f32,
    hidden_act: String,
    position_embedding_type: Option<String>,
    pad_token_id: Option<usize>,
}

/// Of the keys that change nothing, the `pooler_*` ones and `directionality` come from the first checkpoints, and tied words count only for
/// a part that is not here.
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
        "pad_token_id",
        "tie_word_embeddings",
        "output_past",
        "problem_type",
        "directionality",
        "pooler_fc_size",
        "pooler_num_attention_heads",
        "pooler_num_fc_layers",
        "pooler_size_per_head",
        "pooler_type",
        "sentence_transformers",
        "sbert_ce_default_activation_function",
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
    pub(crate) fn read(object: Map<String, Value>, family: Family) -> Result<Self, LoadError> {
        let file: File = config::read(object, &[&KEYS])?;
        let hidden = dimension(file.hidden_size, MAX_WIDTH)?;
        let heads = dimension(file.num_attention_heads, hidden)?;
        let vocabulary = dimension(file.vocab_size, MAX_VOCABULARY)?;
        if !hidden.is_multiple_of(heads) {
            return Err(LoadError::Config("hidden_size is not a multiple of num_attention_heads"));
        }
        if file.hidden_act != "gelu" {
            return Err(LoadError::Config("hidden_act is not gelu"));
        }
        if file.position_embedding_type.as_deref().is_some_and(|kind| kind != "absolute") {
            return Err(LoadError::Config("position_embedding_type is not absolute"));
        }
        if !(0.0..1.0).contains(&file.layer_norm_eps) {
            return Err(LoadError::Config("layer_norm_eps is not between 0 and 1"));
        }
        let read = Self {
            family,
            hidden,
            intermediate: dimension(file.intermediate_size, MAX_WIDTH)?,
            layers: dimension(file.num_hidden_layers, MAX_LAYERS)?,
            heads,
            vocabulary,
            positions: dimension(file.max_position_embeddings, MAX_CONTEXT)?,
            types: dimension(file.type_vocab_size, MAX_WIDTH)?,
            // What transformers takes for RoBERTa where the key is absent; BERT does not look at it.
            padding: file.pad_token_id.unwrap_or(1),
            epsilon: file.layer_norm_eps,
        };
        if family == Family::Roberta && (read.padding >= vocabulary || read.context() == 0) {
            return Err(LoadError::Config("pad_token_id leaves no position for a token"));
        }
        Ok(read)
    }

    /// The features of a token.
    pub(crate) fn hidden(&self) -> usize {
        self.hidden
    }

    /// The size of the vocabulary.
    pub(crate) fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// The most tokens that have positions.
    pub(super) fn context(&self) -> usize {
        match self.family {
            Family::Bert => self.positions,
            Family::Roberta => self.positions.saturating_sub(self.padding.saturating_add(1)),
        }
    }

    /// What the encoder's names begin with in weights of a model with a head.
    pub(crate) fn prefix(&self) -> &'static str {
        match self.family {
            Family::Bert => "bert.",
            Family::Roberta => "roberta.",
        }
    }

    /// What the two layers of the classifier are called.
    pub(super) fn classifier(&self) -> [&'static str; 2] {
        match self.family {
            Family::Bert => ["bert.pooler.dense", "classifier"],
            Family::Roberta => ["classifier.dense", "classifier.out_proj"],
        }
    }

    /// The tensors, and the ends of names that are passed over. `prefix` is [`Config::prefix`] where the weights come from a model with a
    /// head, else empty.
    pub(crate) fn needs(&self, prefix: &str, purpose: Purpose) -> (Vec<Need>, &'static [&'static str]) {
        let (h, i) = (self.hidden, self.intermediate);
        let mut needs = vec![
            Need::new(format!("{prefix}embeddings.word_embeddings.weight"), &[self.vocabulary, h]),
            Need::new(format!("{prefix}embeddings.position_embeddings.weight"), &[self.positions, h]),
            Need::new(format!("{prefix}embeddings.token_type_embeddings.weight"), &[self.types, h]),
        ];
        // Vectors of tokens are looked up, and added as they are; the classifier packs its own, in full.
        let mut pair = |name: String, shape: &[usize], need: fn(String, &[usize]) -> Need| {
            needs.push(need(format!("{name}.weight"), shape));
            needs.push(Need::new(format!("{name}.bias"), shape.get(..1).unwrap_or_default()));
        };
        pair(format!("{prefix}embeddings.LayerNorm"), &[h], Need::new);
        for layer in 0..self.layers {
            let layer = format!("{prefix}encoder.layer.{layer}");
            pair(format!("{layer}.attention.self.query"), &[h, h], Need::matrix);
            pair(format!("{layer}.attention.self.key"), &[h, h], Need::below);
            pair(format!("{layer}.attention.self.value"), &[h, h], Need::below);
            pair(format!("{layer}.attention.output.dense"), &[h, h], Need::matrix);
            pair(format!("{layer}.attention.output.LayerNorm"), &[h], Need::new);
            pair(format!("{layer}.intermediate.dense"), &[i, h], Need::matrix);
            pair(format!("{layer}.output.dense"), &[h, i], Need::matrix);
            pair(format!("{layer}.output.LayerNorm"), &[h], Need::new);
        }
        if purpose == Purpose::Score {
            let [dense, out] = self.classifier();
            pair(dense.to_owned(), &[h, h], Need::new);
            pair(out.to_owned(), &[1, h], Need::new);
        }
        (needs, PASSED_OVER)
    }
}

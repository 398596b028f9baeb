//! `config.json` of Gemma 2, `transformers.Gemma2ForCausalLM`: every other layer sees a window, and scores and logits are kept in bounds.

use super::config::{self, Biases, Config, Gemma, Own, Shared, gelu_tanh};
use super::windows::{GEMMA_KEYS, GemmaWindow, Windows};
use crate::config::{Keys, read as read_keys};
use crate::error::LoadError;
use crate::rope::{self, RopeKeys};
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
struct File {
    #[serde(flatten)]
    shared: Shared,
    #[serde(flatten)]
    rope: RopeKeys,
    #[serde(flatten)]
    window: GemmaWindow,
    num_key_value_heads: usize,
    head_dim: usize,
    #[serde(default)]
    attention_bias: bool,
    hidden_activation: String,
    query_pre_attn_scalar: f64,
    attn_logit_softcapping: Option<f64>,
    final_logit_softcapping: Option<f64>,
    /// Beside `sliding_window` in the first files that were published.
    sliding_window_size: Option<usize>,
}

const KEYS: Keys = Keys {
    used: &[
        "num_key_value_heads",
        "head_dim",
        "attention_bias",
        "hidden_activation",
        "query_pre_attn_scalar",
        "attn_logit_softcapping",
        "final_logit_softcapping",
        "sliding_window_size",
    ],
    off: &["use_bidirectional_attention"],
};

/// Each second layer sees everything, where the file does not say which.
const EVERY: usize = 2;

/// Reads and checks `config.json`.
///
/// # Errors
/// A key that is not known, a setting that is not supported, or a dimension beyond its limit.
pub(crate) fn read(object: Map<String, Value>) -> Result<Config, LoadError> {
    // What transformers takes for an absent cap is a cap, while null is none: the file has to say which.
    if !["attn_logit_softcapping", "final_logit_softcapping"].iter().all(|&key| object.contains_key(key)) {
        return Err(LoadError::Config("a softcapping is neither set nor null"));
    }
    let file: File = read_keys(object, &[&config::KEYS, &rope::KEYS, &GEMMA_KEYS, &KEYS])?;
    gelu_tanh(&file.hidden_activation)?;
    if file.sliding_window_size.is_some_and(|size| !file.window.is(size)) {
        return Err(LoadError::Config("sliding_window_size is not sliding_window"));
    }
    file.shared.into_config(&Own {
        key_heads: Some(file.num_key_value_heads),
        head: Some(file.head_dim),
        biases: Biases::all(file.attention_bias),
        windows: Windows::Gemma(file.window, EVERY),
        gemma: Some(Gemma {
            query_pre_attn_scalar: file.query_pre_attn_scalar,
            attn_logit_softcapping: file.attn_logit_softcapping,
            final_logit_softcapping: file.final_logit_softcapping,
        }),
        ..Own::new(file.rope.settings()?)
    })
}

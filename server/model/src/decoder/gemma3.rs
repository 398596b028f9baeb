//! `config.json` of Gemma 3 for text, `transformers.Gemma3ForCausalLM`: five layers of six see a window and turn positions faster, and
//! each head's query and key are normalised.

use super::config::{self, Biases, Config, Gemma, HeadNorms, Own, Shared, gelu_tanh};
use super::windows::{GEMMA_KEYS, GemmaWindow, Windows};
use crate::config::{Keys, read as read_keys};
use crate::error::LoadError;
use crate::rope::{RopeConfig, RopeSettings, THETA};
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
struct File {
    #[serde(flatten)]
    shared: Shared,
    #[serde(flatten)]
    rope: Ropes,
    #[serde(flatten)]
    window: GemmaWindow,
    num_key_value_heads: usize,
    head_dim: usize,
    #[serde(default)]
    attention_bias: bool,
    hidden_activation: String,
    query_pre_attn_scalar: f64,
    final_logit_softcapping: Option<f64>,
}

/// The positions of both kinds of layers, in the form of transformers 5, or flat as transformers 4 writes them.
#[derive(Deserialize)]
struct Ropes {
    rope_parameters: Option<ByType>,
    rope_theta: Option<f64>,
    rope_scaling: Option<RopeConfig>,
    rope_local_base_freq: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ByType {
    full_attention: RopeConfig,
    sliding_attention: RopeConfig,
}

const KEYS: Keys = Keys {
    used: &[
        "rope_parameters",
        "rope_theta",
        "rope_scaling",
        "rope_local_base_freq",
        "num_key_value_heads",
        "head_dim",
        "attention_bias",
        "hidden_activation",
        "query_pre_attn_scalar",
        "final_logit_softcapping",
    ],
    // transformers ignores the cap of scores here; no model sets it.
    off: &["use_bidirectional_attention", "attn_logit_softcapping"],
};

/// Each sixth layer sees everything, where the file does not say which.
const EVERY: usize = 6;
/// The base of the layers that see everything, where the file has none.
const FULL_THETA: f64 = 1e6;

impl Ropes {
    /// Of the layers that see everything, and of those that see a window.
    fn settings(self) -> Result<(RopeSettings, RopeSettings), LoadError> {
        let Self { rope_parameters, rope_theta, rope_scaling, rope_local_base_freq } = self;
        let flat = rope_theta.is_some() || rope_scaling.is_some() || rope_local_base_freq.is_some();
        let (full, windowed) = match rope_parameters {
            Some(_) if flat => return Err(LoadError::Config("rope is configured in two ways")),
            Some(ByType { full_attention, sliding_attention }) => {
                (Some(full_attention), Some(sliding_attention))
            }
            None => (rope_scaling, None),
        };
        Ok((
            RopeSettings { theta: rope_theta.unwrap_or(FULL_THETA), parameters: full },
            RopeSettings { theta: rope_local_base_freq.unwrap_or(THETA), parameters: windowed },
        ))
    }
}

/// Reads and checks `config.json`.
///
/// # Errors
/// A key that is not known, a setting that is not supported, or a dimension beyond its limit.
pub(crate) fn read(object: Map<String, Value>) -> Result<Config, LoadError> {
    let file: File = read_keys(object, &[&config::KEYS, &GEMMA_KEYS, &KEYS])?;
    gelu_tanh(&file.hidden_activation)?;
    let (rope, window_rope) = file.rope.settings()?;
    file.shared.into_config(&Own {
        window_rope: Some(window_rope),
        key_heads: Some(file.num_key_value_heads),
        head: Some(file.head_dim),
        biases: Biases::all(file.attention_bias),
        head_norms: HeadNorms::Present,
        windows: Windows::Gemma(file.window, EVERY),
        gemma: Some(Gemma {
            query_pre_attn_scalar: file.query_pre_attn_scalar,
            attn_logit_softcapping: None,
            final_logit_softcapping: file.final_logit_softcapping,
        }),
        ..Own::new(rope)
    })
}

//! `config.json` of Llama 2 and 3, `transformers.LlamaForCausalLM`.

use super::config::{self, Biases, Config, Own, Shared};
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
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    #[serde(default)]
    attention_bias: bool,
}

const KEYS: Keys = Keys {
    used: &["num_key_value_heads", "head_dim", "attention_bias"],
    off: &["mlp_bias", "sliding_window", "use_sliding_window"],
};

/// Reads and checks `config.json`.
///
/// # Errors
/// A key that is not known, a setting that is not supported, or a dimension beyond its limit.
pub(crate) fn read(object: Map<String, Value>) -> Result<Config, LoadError> {
    let file: File = read_keys(object, &[&config::KEYS, &rope::KEYS, &KEYS])?;
    file.shared.into_config(&Own {
        key_heads: file.num_key_value_heads,
        head: file.head_dim,
        biases: Biases::all(file.attention_bias),
        ..Own::new(file.rope.settings()?)
    })
}

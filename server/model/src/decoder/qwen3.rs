//! `config.json` of dense Qwen3, `transformers.Qwen3ForCausalLM`: each head's query and key are normalised, and the heads have a size of
//! their own.

use super::config::{self, Biases, Config, HeadNorms, Own, Shared};
use super::windows::{QWEN_KEYS, QwenWindow, Windows};
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
    window: QwenWindow,
    num_key_value_heads: usize,
    head_dim: usize,
    #[serde(default)]
    attention_bias: bool,
}

const KEYS: Keys = Keys { used: &["num_key_value_heads", "head_dim", "attention_bias"], off: &[] };

/// Reads and checks `config.json`.
///
/// # Errors
/// A key that is not known, a setting that is not supported, or a dimension beyond its limit.
pub(crate) fn read(object: Map<String, Value>) -> Result<Config, LoadError> {
    let file: File = read_keys(object, &[&config::KEYS, &rope::KEYS, &QWEN_KEYS, &KEYS])?;
    file.shared.into_config(&Own {
        key_heads: Some(file.num_key_value_heads),
        head: Some(file.head_dim),
        biases: Biases::all(file.attention_bias),
        head_norms: HeadNorms::Present,
        windows: Windows::Qwen(file.window),
        ..Own::new(file.rope.settings()?)
    })
}

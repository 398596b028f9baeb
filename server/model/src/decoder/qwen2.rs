//! `config.json` of Qwen2 and Qwen2.5, `transformers.Qwen2ForCausalLM`: queries, keys and values have biases.

use super::config::{self, Biases, Config, Own, Shared};
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
    head_dim: Option<usize>,
}

const KEYS: Keys = Keys { used: &["num_key_value_heads", "head_dim"], off: &["use_mrope"] };

/// Reads and checks `config.json`.
///
/// # Errors
/// A key that is not known, a setting that is not supported, or a dimension beyond its limit.
pub(crate) fn read(object: Map<String, Value>) -> Result<Config, LoadError> {
    let file: File = read_keys(object, &[&config::KEYS, &rope::KEYS, &QWEN_KEYS, &KEYS])?;
    file.shared.into_config(&Own {
        key_heads: Some(file.num_key_value_heads),
        head: file.head_dim,
        biases: Biases::Inputs,
        windows: Windows::Qwen(file.window),
        ..Own::new(file.rope.settings()?)
    })
}

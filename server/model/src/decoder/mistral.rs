//! `config.json` of Mistral, `transformers.MistralForCausalLM`: Llama whose layers may all see a window only.

use super::config::{self, Config, Own, Shared};
use super::windows::Windows;
use crate::config::{Keys, read as read_keys};
use crate::error::LoadError;
use crate::rope::{self, RopeKeys};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The window that transformers takes when the key is absent. The later models write null, which is no window.
const WINDOW: usize = 4096;

#[derive(Deserialize)]
struct File {
    #[serde(flatten)]
    shared: Shared,
    #[serde(flatten)]
    rope: RopeKeys,
    num_key_value_heads: usize,
    head_dim: Option<usize>,
    sliding_window: Option<usize>,
}

const KEYS: Keys =
    Keys { used: &["num_key_value_heads", "head_dim", "sliding_window"], off: &["attention_bias"] };

/// Reads and checks `config.json`.
///
/// # Errors
/// A key that is not known, a setting that is not supported, or a dimension beyond its limit.
pub(crate) fn read(object: Map<String, Value>) -> Result<Config, LoadError> {
    let absent = !object.contains_key("sliding_window");
    let file: File = read_keys(object, &[&config::KEYS, &rope::KEYS, &KEYS])?;
    let window = file.sliding_window.or(absent.then_some(WINDOW));
    file.shared.into_config(&Own {
        key_heads: Some(file.num_key_value_heads),
        head: file.head_dim,
        windows: window.map_or(Windows::None, Windows::Every),
        ..Own::new(file.rope.settings()?)
    })
}

//! Reading JSON that the package brings: every key is known, so that nothing that changes results is passed over.

use crate::error::LoadError;
use anchorhold_sealed_weights::Role;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Keys of a config.
pub(crate) struct Keys {
    /// Read into the typed config.
    pub(crate) used: &'static [&'static str],
    /// Known, and supported only when absent, null, false, zero or empty.
    pub(crate) off: &'static [&'static str],
}

/// Keys that transformers writes and that change no result of an evaluation.
const HARMLESS: &[&str] = &[
    "_attn_implementation_autoset",
    "_from_model_config",
    "_name_or_path",
    "architectures",
    "attention_dropout",
    "attention_probs_dropout_prob",
    "bos_token_id",
    "cache_implementation",
    "chunk_size_feed_forward",
    "classifier_dropout",
    "dtype",
    "eos_token_id",
    "gradient_checkpointing",
    "hidden_dropout_prob",
    "id2label",
    "initializer_range",
    "label2id",
    "model_type",
    "output_attentions",
    "output_hidden_states",
    "pad_token_id",
    "pretraining_tp",
    "return_dict",
    "tokenizer_class",
    "torch_dtype",
    "transformers_version",
    "use_cache",
];

/// The object in a JSON file of the package.
pub(crate) fn object(role: Role, bytes: &[u8]) -> Result<Map<String, Value>, LoadError> {
    serde_json::from_slice(bytes).map_err(|_| LoadError::Form(role))
}

/// Reads a config whose keys are all in one of `keys` or harmless. Null is as good as absent.
pub(crate) fn read<T: DeserializeOwned>(
    mut object: Map<String, Value>,
    keys: &[&Keys],
) -> Result<T, LoadError> {
    let used = |key: &str| keys.iter().any(|keys| keys.used.contains(&key));
    let off = |key: &str| keys.iter().any(|keys| keys.off.contains(&key));
    object.retain(|_, value| !value.is_null());
    for (key, value) in &object {
        let known = used(key) || HARMLESS.contains(&key.as_str());
        if !(known || off(key) && is_off(value)) {
            return Err(LoadError::ConfigKey);
        }
    }
    object.retain(|key, _| used(key));
    serde_json::from_value(Value::Object(object)).map_err(|_| LoadError::Form(Role::Config))
}

fn is_off(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(items) => items.is_empty(),
    }
}

/// A dimension between 1 and `limit`.
pub(crate) fn dimension(value: usize, limit: usize) -> Result<usize, LoadError> {
    if value == 0 || value > limit {
        return Err(LoadError::Config("a dimension is zero or above its limit"));
    }
    Ok(value)
}

/// The largest vocabulary.
pub(crate) const MAX_VOCABULARY: usize = 1 << 21;
/// The largest hidden, intermediate or head size.
pub(crate) const MAX_WIDTH: usize = 1 << 17;
/// The most layers.
pub(crate) const MAX_LAYERS: usize = 512;
/// The longest context: positions up to here are exact in f32.
pub(crate) const MAX_CONTEXT: usize = 1 << 22;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    const KEYS: Keys = Keys { used: &["size"], off: &["bias"] };

    fn check(json: &str) -> Result<HashMap<String, u32>, LoadError> {
        read(object(Role::Config, json.as_bytes())?, &[&KEYS])
    }

    #[test]
    fn reads_known_keys_and_passes_over_harmless_ones() {
        let read =
            check(r#"{"size":3,"use_cache":true,"bias":false,"dtype":"float32","whatever":null}"#).unwrap();
        assert_eq!(read, HashMap::from([("size".to_owned(), 3)]));
    }

    #[test]
    fn case_22_refuses_remote_code_and_what_it_would_ignore() {
        for json in [
            r#"{"size":3,"auto_map":{"AutoModel":"x.Y"}}"#,
            r#"{"size":3,"bias":true}"#,
            r#"{"size":3,"bias":1}"#,
        ] {
            assert_eq!(check(json), Err(LoadError::ConfigKey), "{json}");
        }
        let deep = format!("{{\"size\":{}", "[".repeat(100_000));
        for json in ["[]", "{", "\u{0}", &deep, r#"{"size":"3"}"#] {
            assert_eq!(check(json), Err(LoadError::Form(Role::Config)));
        }
    }
}

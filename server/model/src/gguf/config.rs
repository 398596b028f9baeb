//! The keys of an architecture as a `config.json`.

use super::values::Metadata;
use crate::error::LoadError;
use anchorhold_sealed_weights::{GgufValue, TensorIndex};
use serde_json::{Map, Value, json};

/// What llama.cpp computes under one `general.architecture`.
struct Architecture {
    name: &'static str,
    /// In transformers.
    class: &'static str,
    model_type: &'static str,
    /// Keys beyond [`SHARED`], without the architecture's name.
    own: &'static [&'static str],
    /// Queries and keys are stored for turning pairs that lie side by side.
    paired: bool,
    gemma: bool,
}

const ARCHITECTURES: &[Architecture] = &[
    Architecture {
        name: "llama",
        class: "LlamaForCausalLM",
        model_type: "llama",
        own: &[],
        paired: true,
        gemma: false,
    },
    Architecture {
        name: "qwen2",
        class: "Qwen2ForCausalLM",
        model_type: "qwen2",
        own: &[],
        paired: false,
        gemma: false,
    },
    Architecture {
        name: "qwen3",
        class: "Qwen3ForCausalLM",
        model_type: "qwen3",
        own: &[],
        paired: false,
        gemma: false,
    },
    Architecture {
        name: "gemma2",
        class: "Gemma2ForCausalLM",
        model_type: "gemma2",
        own: &["attention.sliding_window", "attn_logit_softcapping", "final_logit_softcapping"],
        paired: false,
        gemma: true,
    },
    Architecture {
        name: "gemma3",
        class: "Gemma3ForCausalLM",
        model_type: "gemma3_text",
        own: &["attention.sliding_window", "final_logit_softcapping", "rope.freq_base_swa"],
        paired: false,
        gemma: true,
    },
];

/// Keys that every architecture may have.
const SHARED: &[&str] = &[
    "context_length",
    "embedding_length",
    "block_count",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scaling.type",
    "rope.scaling.factor",
    "vocab_size",
];

/// Keys that switch something on that is not done here, unless they are zero, false or `none`.
const OFF: &[&str] = &["expert_count", "expert_used_count", "pooling_type", "use_parallel_residual"];

/// Keys outside the architecture that change no result, or are read elsewhere.
const OUTSIDE: &[&str] = &["general.", "tokenizer.", "split.", "quantize."];

/// The version of the quantised types that [`crate::stored`] reads, `GGML_QNT_VERSION`.
const QUANTIZATION_VERSION: u64 = 2;

/// The config, and whether rows of queries and keys are stored as pairs.
pub(super) fn read(
    metadata: &Metadata<'_>,
    index: &TensorIndex,
) -> Result<(Map<String, Value>, bool), LoadError> {
    let name = metadata.text("general.architecture")?;
    let known = ARCHITECTURES.iter().find(|known| Some(known.name) == name).ok_or(LoadError::Architecture)?;
    if metadata.count("general.quantization_version")?.is_some_and(|version| version != QUANTIZATION_VERSION)
    {
        return Err(LoadError::Metadata("general.quantization_version is not 2"));
    }
    check_keys(known, metadata)?;
    let own = Own { prefix: known.name, metadata, index };
    let mut config = own.shared()?;
    config.insert("architectures".into(), json!([known.class]));
    config.insert("model_type".into(), json!(known.model_type));
    let gemma = if known.gemma { own.gemma(known)? } else { own.silu(known)? };
    config.extend(gemma);
    Ok((config, known.paired))
}

/// Refuses keys that are not known: they may change results.
fn check_keys(known: &Architecture, metadata: &Metadata<'_>) -> Result<(), LoadError> {
    for key in metadata.keys() {
        let inside = key.strip_prefix(known.name).and_then(|key| key.strip_prefix('.'));
        let fine = match inside {
            None => OUTSIDE.iter().any(|outside| key.starts_with(outside)),
            Some(inside) if OFF.contains(&inside) => metadata.get(key).is_some_and(is_off),
            Some(inside) => SHARED.contains(&inside) || known.own.contains(&inside),
        };
        if !fine {
            return Err(LoadError::ConfigKey);
        }
    }
    Ok(())
}

fn is_off(value: GgufValue<'_>) -> bool {
    matches!(
        value,
        GgufValue::Unsigned(0) | GgufValue::Signed(0) | GgufValue::Bool(false) | GgufValue::Text("none")
    )
}

/// The keys of one architecture.
struct Own<'a> {
    prefix: &'a str,
    metadata: &'a Metadata<'a>,
    index: &'a TensorIndex,
}

impl Own<'_> {
    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.prefix)
    }

    fn count(&self, key: &str) -> Result<Option<u64>, LoadError> {
        self.metadata.count(&self.key(key))
    }

    fn float(&self, key: &str) -> Result<Option<f64>, LoadError> {
        self.metadata.float(&self.key(key))
    }

    fn needed(&self, key: &str) -> Result<u64, LoadError> {
        self.count(key)?.ok_or(LoadError::Metadata("a size that the architecture needs is missing"))
    }

    fn has(&self, tensor: &str) -> bool {
        self.index.position(tensor).is_some()
    }

    /// What all architectures write alike.
    fn shared(&self) -> Result<Map<String, Value>, LoadError> {
        let heads = self.needed("attention.head_count")?;
        let hidden = self.needed("embedding_length")?;
        let head = match self.count("attention.key_length")? {
            Some(head) => head,
            None => hidden.checked_div(heads).ok_or(LoadError::Metadata("there are no heads"))?,
        };
        for same in ["attention.value_length", "rope.dimension_count"] {
            if self.count(same)?.is_some_and(|size| size != head) {
                return Err(LoadError::Metadata("keys, values and rotations are not of one size"));
            }
        }
        let epsilon = self.float("attention.layer_norm_rms_epsilon")?;
        let epsilon = epsilon.ok_or(LoadError::Metadata("the norms have no epsilon"))?;
        let config = json!({
            "max_position_embeddings": self.needed("context_length")?,
            "hidden_size": hidden,
            "num_hidden_layers": self.needed("block_count")?,
            "intermediate_size": self.needed("feed_forward_length")?,
            "num_attention_heads": heads,
            "num_key_value_heads": self.count("attention.head_count_kv")?.unwrap_or(heads),
            "head_dim": head,
            "rms_norm_eps": epsilon,
            "vocab_size": self.vocabulary()?,
            "tie_word_embeddings": !self.has("output.weight"),
            "eos_token_id": self.end_tokens()?,
        });
        let Value::Object(mut config) = config else { return Err(LoadError::ConfigKey) };
        if let Some(theta) = self.float("rope.freq_base")? {
            config.insert("rope_theta".into(), json!(theta));
        }
        if let Some(scaling) = self.scaling()? {
            config.insert("rope_scaling".into(), scaling);
        }
        Ok(config)
    }

    /// The rows of the table of token vectors; what the metadata counts must be as many.
    fn vocabulary(&self) -> Result<u64, LoadError> {
        let table = self.index.tensors().find(|tensor| tensor.name == "token_embd.weight");
        let rows = table.and_then(|table| table.shape.first().copied());
        let rows = rows.ok_or(LoadError::Metadata("there is no table of tokens"))?;
        if self.count("vocab_size")?.is_some_and(|count| count != rows) {
            return Err(LoadError::Metadata("vocab_size is not the number of token vectors"));
        }
        Ok(rows)
    }

    fn scaling(&self) -> Result<Option<Value>, LoadError> {
        let factor = self.float("rope.scaling.factor")?;
        match (self.metadata.text(&self.key("rope.scaling.type"))?, factor) {
            (None | Some("none"), None) => Ok(None),
            (Some("linear"), Some(factor)) => Ok(Some(json!({"rope_type": "linear", "factor": factor}))),
            _ => Err(LoadError::Metadata("rope.scaling is neither none nor linear with a factor")),
        }
    }

    /// The tokens that end an answer, one of a turn among them.
    fn end_tokens(&self) -> Result<Vec<u64>, LoadError> {
        let keys = ["eos", "eot", "eom"].map(|end| format!("tokenizer.ggml.{end}_token_id"));
        let ids = keys.iter().map(|key| self.metadata.count(key)).collect::<Result<Vec<_>, _>>()?;
        Ok(ids.into_iter().flatten().collect())
    }

    fn silu(&self, known: &Architecture) -> Result<Map<String, Value>, LoadError> {
        let mut config = Map::from_iter([("hidden_act".to_owned(), json!("silu"))]);
        if known.model_type != "qwen2" {
            config.insert("attention_bias".into(), json!(self.has("blk.0.attn_q.bias")));
        }
        Ok(config)
    }

    fn gemma(&self, known: &Architecture) -> Result<Map<String, Value>, LoadError> {
        let config = json!({
            "hidden_activation": "gelu_pytorch_tanh",
            "sliding_window": self.needed("attention.sliding_window")?,
            "query_pre_attn_scalar": self.query_scalar(known)?,
            "final_logit_softcapping": self.float("final_logit_softcapping")?,
        });
        let Value::Object(mut config) = config else { return Err(LoadError::ConfigKey) };
        if known.model_type == "gemma2" {
            let cap = self.float("attn_logit_softcapping")?;
            if cap.is_none() || config.get("final_logit_softcapping") == Some(&Value::Null) {
                return Err(LoadError::Metadata("a softcapping is missing"));
            }
            config.insert("attn_logit_softcapping".into(), json!(cap));
        } else if let Some(theta) = self.float("rope.freq_base_swa")? {
            config.insert("rope_local_base_freq".into(), json!(theta));
        }
        Ok(config)
    }

    /// The scores' divisor, which the metadata does not have. llama.cpp takes the size of a head, and for the 27 B models, which it
    /// knows by their layers, the share of a head in the hidden size (`src/models/gemma2.cpp`, `gemma3.cpp`).
    fn query_scalar(&self, known: &Architecture) -> Result<u64, LoadError> {
        let largest = if known.model_type == "gemma2" { 46 } else { 62 };
        let (hidden, heads) = (self.needed("embedding_length")?, self.needed("attention.head_count")?);
        let share = hidden.checked_div(heads).ok_or(LoadError::Metadata("there are no heads"))?;
        if self.needed("block_count")? == largest {
            return Ok(share);
        }
        Ok(self.count("attention.key_length")?.unwrap_or(share))
    }
}

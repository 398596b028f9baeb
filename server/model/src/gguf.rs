//! Models that are one GGUF file: the metadata as the files that transformers would have beside the weights.
//!
//! The metadata becomes a `config.json` in memory, which the readers of each architecture check as they check any other. Keys:
//! `gguf-py/gguf/constants.py` of llama.cpp. A key of the architecture that is not known here is refused, since it may change results.

mod config;
mod tokenizer;
mod values;

use self::values::Metadata;
use crate::error::LoadError;
use crate::weights::Place;
use anchorhold_sealed_weights::{Gguf, SealedModel, TensorIndex};
use serde_json::{Map, Value};

/// What a GGUF file says of itself, in the words of transformers.
pub(crate) struct Described {
    /// As `config.json`.
    pub(crate) config: Map<String, Value>,
    /// As `tokenizer_config.json`, with the template if the file has one.
    pub(crate) tokenizer_config: Map<String, Value>,
    /// As `tokenizer.json`; an error if the file has a tokenizer that is not known, or none.
    pub(crate) tokenizer: Result<Vec<u8>, LoadError>,
    pub(crate) layout: Layout,
}

/// In what the tensors differ from those of transformers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    /// What the feed-forward part's first norm is called in transformers.
    before_feed_forward: &'static str,
    /// The rows of queries and keys are pairs, which `llama.cpp` turns side by side.
    paired: bool,
    /// Each frequency of the positions has a divisor of its own, in a tensor.
    pub(crate) rope_factors: bool,
}

/// The tensor of the divisors, the same name in both.
pub(crate) const ROPE_FACTORS: &str = "rope_freqs.weight";

/// Reads what stands before the tensors.
///
/// # Errors
/// The architecture or a key is not known, or a value is missing or of another type.
pub(crate) fn describe(package: &SealedModel) -> Result<Described, LoadError> {
    let index = package.index();
    let len = index.files().first().map_or(0, |file| file.data_start());
    let bytes = package.weights_header()?;
    // Metadata alone needs no tensors: a file as long as its header is read the same way, and the table was checked with the card.
    describe_header(&Gguf::parse(&bytes, file_len(index, len))?, index)
}

/// The same of a header that was read, whose tensors are among those of `index`.
///
/// # Errors
/// Those of [`describe`].
pub(crate) fn describe_header(header: &Gguf<'_>, index: &TensorIndex) -> Result<Described, LoadError> {
    let metadata = Metadata::of(header);
    let (config, paired) = config::read(&metadata, index)?;
    let around = index.position("blk.0.post_ffw_norm.weight").is_some();
    Ok(Described {
        tokenizer_config: tokenizer::config(&metadata)?,
        tokenizer: tokenizer::read(&metadata),
        config,
        layout: Layout {
            before_feed_forward: if around {
                "pre_feedforward_layernorm"
            } else {
                "post_attention_layernorm"
            },
            paired,
            rope_factors: index.position(ROPE_FACTORS).is_some(),
        },
    })
}

/// The length of the first file, by its table.
fn file_len(index: &TensorIndex, data_start: u64) -> u64 {
    let tensors = index.files().first().and_then(|file| file.tensors().last());
    data_start.saturating_add(tensors.map_or(0, |tensor| tensor.end))
}

impl Layout {
    /// Where the file has the tensor that transformers calls `name`, in heads of `head` rows.
    pub(crate) fn locate(self, name: &str, head: usize) -> Option<Place> {
        let plain = |name: &str| Some(Place { name: name.to_owned(), paired: None });
        match name {
            ROPE_FACTORS => return plain(ROPE_FACTORS),
            "model.embed_tokens.weight" => return plain("token_embd.weight"),
            "model.norm.weight" => return plain("output_norm.weight"),
            "lm_head.weight" => return plain("output.weight"),
            _ => {}
        }
        let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
        let (part, kind) = rest.rsplit_once('.')?;
        let own = match part {
            "input_layernorm" => "attn_norm",
            "self_attn.q_proj" => "attn_q",
            "self_attn.k_proj" => "attn_k",
            "self_attn.v_proj" => "attn_v",
            "self_attn.o_proj" => "attn_output",
            "self_attn.q_norm" => "attn_q_norm",
            "self_attn.k_norm" => "attn_k_norm",
            "mlp.gate_proj" => "ffn_gate",
            "mlp.up_proj" => "ffn_up",
            "mlp.down_proj" => "ffn_down",
            "post_feedforward_layernorm" => "post_ffw_norm",
            part if part == self.before_feed_forward => "ffn_norm",
            "post_attention_layernorm" => "post_attention_norm",
            _ => return None,
        };
        let paired = (self.paired && matches!(own, "attn_q" | "attn_k")).then_some(head);
        Some(Place { name: format!("blk.{layer}.{own}.{kind}"), paired })
    }
}

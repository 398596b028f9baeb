//! `config.json` of Qwen3 with experts, `transformers.Qwen3MoeForCausalLM`: some layers are dense, and the picked experts may be weighed by
//! their share.

use super::config::{self, Biases, Config, HeadNorms, Own, Shared};
use super::experts::{Names, Settings, Weighing};
use super::windows::Windows;
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
    num_key_value_heads: usize,
    head_dim: Option<usize>,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    use_sliding_window: bool,
    sliding_window: Option<usize>,
    #[serde(alias = "num_local_experts")]
    num_experts: usize,
    num_experts_per_tok: usize,
    moe_intermediate_size: usize,
    #[serde(default)]
    norm_topk_prob: bool,
    decoder_sparse_step: Option<usize>,
    mlp_only_layers: Option<Vec<usize>>,
}

/// `max_window_layers` is not looked at by transformers here; the coefficient is for training.
const KEYS: Keys = Keys {
    used: &[
        "num_key_value_heads",
        "head_dim",
        "attention_bias",
        "use_sliding_window",
        "sliding_window",
        "max_window_layers",
        "num_experts",
        "num_local_experts",
        "num_experts_per_tok",
        "moe_intermediate_size",
        "norm_topk_prob",
        "decoder_sparse_step",
        "mlp_only_layers",
        "router_aux_loss_coef",
    ],
    off: &["output_router_logits"],
};

const NAMES: Names =
    Names { router: "mlp.gate", experts: "mlp.experts", gate: "gate_proj", up: "up_proj", down: "down_proj" };

/// Reads and checks `config.json`.
///
/// # Errors
/// A key that is not known, a setting that is not supported, or a dimension beyond its limit.
pub(crate) fn read(object: Map<String, Value>) -> Result<Config, LoadError> {
    let file: File = read_keys(object, &[&config::KEYS, &rope::KEYS, &KEYS])?;
    let experts = Settings {
        count: file.num_experts,
        picked: file.num_experts_per_tok,
        intermediate: file.moe_intermediate_size,
        weighing: if file.norm_topk_prob { Weighing::Share } else { Weighing::Probability },
        names: &NAMES,
        every: file.decoder_sparse_step.unwrap_or(1),
        dense: file.mlp_only_layers.unwrap_or_default(),
    };
    let window = file.sliding_window.filter(|_| file.use_sliding_window);
    file.shared.into_config(&Own {
        key_heads: Some(file.num_key_value_heads),
        head: file.head_dim,
        biases: Biases::all(file.attention_bias),
        head_norms: HeadNorms::Present,
        windows: window.map_or(Windows::None, Windows::Every),
        experts: Some(experts),
        ..Own::new(file.rope.settings()?)
    })
}

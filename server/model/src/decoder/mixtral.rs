//! `config.json` of Mixtral, `transformers.MixtralForCausalLM`: Mistral with experts in every layer.

use super::config::{self, Config, Own, Shared};
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
    sliding_window: Option<usize>,
    num_local_experts: usize,
    num_experts_per_tok: usize,
}

/// The coefficient and the noise are for training.
const KEYS: Keys = Keys {
    used: &[
        "num_key_value_heads",
        "head_dim",
        "sliding_window",
        "num_local_experts",
        "num_experts_per_tok",
        "router_aux_loss_coef",
        "router_jitter_noise",
    ],
    off: &["output_router_logits"],
};

const NAMES: Names = Names {
    router: "block_sparse_moe.gate",
    experts: "block_sparse_moe.experts",
    gate: "w1",
    up: "w3",
    down: "w2",
};

/// Reads and checks `config.json`.
///
/// # Errors
/// A key that is not known, a setting that is not supported, or a dimension beyond its limit.
pub(crate) fn read(object: Map<String, Value>) -> Result<Config, LoadError> {
    let file: File = read_keys(object, &[&config::KEYS, &rope::KEYS, &KEYS])?;
    let experts = Settings {
        count: file.num_local_experts,
        picked: file.num_experts_per_tok,
        intermediate: file.shared.intermediate(),
        weighing: Weighing::Share,
        names: &NAMES,
        every: 1,
        dense: Vec::new(),
    };
    file.shared.into_config(&Own {
        key_heads: Some(file.num_key_value_heads),
        head: file.head_dim,
        windows: file.sliding_window.map_or(Windows::None, Windows::Every),
        experts: Some(experts),
        ..Own::new(file.rope.settings_with(THETA)?)
    })
}

/// The base that transformers takes for Mixtral where the config has none.
const THETA: f64 = 1_000_000.0;

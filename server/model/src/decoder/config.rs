//! What a dense decoder computes, and the part of `config.json` that all its architectures share.

use crate::config::{Keys, MAX_CONTEXT, MAX_LAYERS, MAX_VOCABULARY, MAX_WIDTH, dimension};
use crate::error::LoadError;
use crate::rope::{Rope, RopeConfig};
use crate::weights::Need;
use serde::Deserialize;

/// A dense decoder, checked. Made by [`Shared::into_config`] only.
#[derive(Debug)]
pub(crate) struct Config {
    pub(super) hidden: usize,
    pub(super) intermediate: usize,
    /// Query heads; a multiple of the key heads.
    pub(super) heads: usize,
    pub(super) key_heads: usize,
    /// Features of a head.
    pub(super) head: usize,
    pub(super) vocabulary: usize,
    pub(super) context: usize,
    pub(super) epsilon: f32,
    /// The output layer is the table of token vectors.
    pub(super) tied: bool,
    pub(super) rope: Rope,
    pub(super) biases: Biases,
    pub(super) head_norms: HeadNorms,
    /// For each layer how many positions a token sees, itself included; `None` for all.
    pub(super) windows: Vec<Option<usize>>,
}

/// Which projections of the attention add a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Biases {
    None,
    /// Query, key and value.
    Inputs,
    /// Query, key, value and output.
    All,
}

/// Whether each head's query and key pass an RMS norm of their own before they are turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeadNorms {
    Absent,
    Present,
}

/// The keys of `config.json` that every architecture has.
#[derive(Debug, Deserialize)]
pub(crate) struct Shared {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    vocab_size: usize,
    max_position_embeddings: usize,
    rms_norm_eps: f32,
    hidden_act: String,
    #[serde(default)]
    tie_word_embeddings: bool,
    rope_theta: Option<f64>,
    rope_scaling: Option<RopeConfig>,
    rope_parameters: Option<RopeConfig>,
}

/// The keys of [`Shared`].
pub(crate) const KEYS: Keys = Keys {
    used: &[
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "vocab_size",
        "max_position_embeddings",
        "rms_norm_eps",
        "hidden_act",
        "tie_word_embeddings",
        "rope_theta",
        "rope_scaling",
        "rope_parameters",
    ],
    off: &["is_decoder", "add_cross_attention"],
};

/// What an architecture adds to the shared keys.
pub(crate) struct Own {
    /// Heads that have keys and values; as many as query heads when `None`.
    pub(crate) key_heads: Option<usize>,
    /// Features of a head; `None` when the heads share the hidden size.
    pub(crate) head: Option<usize>,
    pub(crate) biases: Biases,
    pub(crate) head_norms: HeadNorms,
    pub(crate) window: Window,
}

/// Which layers see a window only, and how many positions it has.
pub(crate) enum Window {
    /// Every layer sees everything.
    None,
    /// Every layer sees this many positions.
    Every(usize),
    /// These are the keys of Qwen.
    Qwen(QwenWindow),
}

/// How Qwen2 and Qwen3 write which layers see a window only.
#[derive(Debug, Deserialize)]
pub(crate) struct QwenWindow {
    #[serde(default)]
    use_sliding_window: bool,
    sliding_window: Option<usize>,
    max_window_layers: Option<usize>,
    layer_types: Option<Vec<String>>,
}

/// The keys of [`QwenWindow`].
pub(crate) const QWEN_WINDOW_KEYS: Keys =
    Keys { used: &["use_sliding_window", "sliding_window", "max_window_layers", "layer_types"], off: &[] };

impl QwenWindow {
    /// The window of each layer, as transformers reads the keys: a window counts only when it is switched on, and `layer_types` says which
    /// layers have it; without that, those from `max_window_layers` on.
    fn layers(&self, count: usize) -> Result<Vec<Option<usize>>, LoadError> {
        let window = self.sliding_window.map(|window| dimension(window, MAX_CONTEXT)).transpose()?;
        let window = window.filter(|_| self.use_sliding_window);
        match (&self.layer_types, window) {
            (Some(types), window) => layer_windows(types, window, count),
            (None, None) => Ok(vec![None; count]),
            (None, Some(_)) => {
                let first = self.max_window_layers.ok_or(LoadError::Config(
                    "use_sliding_window is on without layer_types or max_window_layers",
                ))?;
                Ok((0..count).map(|layer| window.filter(|_| layer >= first)).collect())
            }
        }
    }
}

/// The window of each layer by its `layer_types`.
fn layer_windows(
    types: &[String],
    window: Option<usize>,
    count: usize,
) -> Result<Vec<Option<usize>>, LoadError> {
    if types.len() != count {
        return Err(LoadError::Config("layer_types is not as long as num_hidden_layers"));
    }
    let layer = |kind: &String| match (kind.as_str(), window) {
        ("full_attention", _) => Ok(None),
        ("sliding_attention", Some(window)) => Ok(Some(window)),
        ("sliding_attention", None) => Err(LoadError::Config("layer_types asks for a window that is off")),
        _ => Err(LoadError::Config("layer_types names an attention that is not full or sliding")),
    };
    types.iter().map(layer).collect()
}

impl Shared {
    /// Checks everything.
    ///
    /// # Errors
    /// A setting that is not supported, or a dimension beyond its limit.
    pub(crate) fn into_config(self, own: &Own) -> Result<Config, LoadError> {
        let hidden = dimension(self.hidden_size, MAX_WIDTH)?;
        let layers = dimension(self.num_hidden_layers, MAX_LAYERS)?;
        let heads = dimension(self.num_attention_heads, hidden)?;
        let key_heads = dimension(own.key_heads.unwrap_or(heads), heads)?;
        if !heads.is_multiple_of(key_heads) {
            return Err(LoadError::Config("num_attention_heads is not a multiple of num_key_value_heads"));
        }
        if own.head.is_none() && !hidden.is_multiple_of(heads) {
            return Err(LoadError::Config("hidden_size is not a multiple of num_attention_heads"));
        }
        let head = dimension(own.head.unwrap_or(hidden / heads), hidden)?;
        if self.hidden_act != "silu" {
            return Err(LoadError::Config("hidden_act is not silu"));
        }
        if !(0.0..1.0).contains(&self.rms_norm_eps) {
            return Err(LoadError::Config("rms_norm_eps is not between 0 and 1"));
        }
        let windows = match &own.window {
            Window::None => vec![None; layers],
            Window::Every(window) => vec![Some(dimension(*window, MAX_CONTEXT)?); layers],
            Window::Qwen(keys) => keys.layers(layers)?,
        };
        Ok(Config {
            hidden,
            intermediate: dimension(self.intermediate_size, MAX_WIDTH)?,
            heads,
            key_heads,
            head,
            vocabulary: dimension(self.vocab_size, MAX_VOCABULARY)?,
            context: dimension(self.max_position_embeddings, MAX_CONTEXT)?,
            epsilon: self.rms_norm_eps,
            tied: self.tie_word_embeddings,
            rope: self.rope(head)?,
            biases: own.biases,
            head_norms: own.head_norms,
            windows,
        })
    }

    fn rope(&self, head: usize) -> Result<Rope, LoadError> {
        if self.rope_parameters.is_some() && (self.rope_scaling.is_some() || self.rope_theta.is_some()) {
            return Err(LoadError::Config("rope is configured in two ways"));
        }
        let parameters = self.rope_parameters.as_ref().or(self.rope_scaling.as_ref());
        Rope::new(head, self.rope_theta.unwrap_or(10_000.0), parameters)
    }
}

/// A constant that old transformers saved; [`Rope`] computes it.
const PASSED_OVER: &[&str] = &["rotary_emb.inv_freq"];

impl Config {
    /// The size of the vocabulary.
    pub(crate) fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// The tensors, and the ends of names that are passed over.
    pub(crate) fn needs(&self) -> (Vec<Need>, Vec<&'static str>) {
        let (h, i) = (self.hidden, self.intermediate);
        // Each factor is at most 2^17, so the products fit.
        let (queries, keys) = (self.heads * self.head, self.key_heads * self.head);
        let mut needs = vec![
            Need::new("model.embed_tokens.weight", &[self.vocabulary, h]),
            Need::new("model.norm.weight", &[h]),
        ];
        let mut passed_over = PASSED_OVER.to_vec();
        if self.tied {
            // Some files hold the shared table twice.
            passed_over.push("lm_head.weight");
        } else {
            needs.push(Need::new("lm_head.weight", &[self.vocabulary, h]));
        }
        for layer in 0..self.windows.len() {
            let mut need = |part: &str, shape: &[usize]| {
                needs.push(Need::new(format!("model.layers.{layer}.{part}"), shape));
            };
            for (part, shape) in [
                ("input_layernorm.weight", [h].as_slice()),
                ("post_attention_layernorm.weight", &[h]),
                ("self_attn.q_proj.weight", &[queries, h]),
                ("self_attn.k_proj.weight", &[keys, h]),
                ("self_attn.v_proj.weight", &[keys, h]),
                ("self_attn.o_proj.weight", &[h, queries]),
                ("mlp.gate_proj.weight", &[i, h]),
                ("mlp.up_proj.weight", &[i, h]),
                ("mlp.down_proj.weight", &[h, i]),
            ] {
                need(part, shape);
            }
            if self.biases != Biases::None {
                need("self_attn.q_proj.bias", &[queries]);
                need("self_attn.k_proj.bias", &[keys]);
                need("self_attn.v_proj.bias", &[keys]);
            }
            if self.biases == Biases::All {
                need("self_attn.o_proj.bias", &[h]);
            }
            if self.head_norms == HeadNorms::Present {
                need("self_attn.q_norm.weight", &[self.head]);
                need("self_attn.k_norm.weight", &[self.head]);
            }
        }
        (needs, passed_over)
    }
}

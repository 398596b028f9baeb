//! What a decoder computes, and the part of `config.json` that all its architectures share.

use super::experts;
use super::windows::Windows;
use crate::config::{Keys, MAX_CONTEXT, MAX_LAYERS, MAX_VOCABULARY, MAX_WIDTH, dimension};
use crate::error::LoadError;
use crate::gguf::{Layout, ROPE_FACTORS};
use crate::math::Gate;
use crate::rope::{Rope, RopeSettings};
use crate::weights::{Need, Place};
use serde::Deserialize;

/// A decoder, checked. Made by [`Shared::into_config`] only.
#[derive(Debug)]
pub(crate) struct Config {
    pub(super) hidden: usize,
    /// Of the layers without experts.
    pub(super) intermediate: usize,
    /// Of the layers whose feed-forward part is several.
    pub(super) experts: Option<experts::Shape>,
    /// Query heads; a multiple of the key heads.
    pub(super) heads: usize,
    pub(super) key_heads: usize,
    /// Features of a head.
    pub(super) head: usize,
    pub(super) vocabulary: usize,
    pub(super) context: usize,
    pub(super) epsilon: f32,
    /// What the tensors' names begin with, other than the output layer's.
    pub(super) prefix: &'static str,
    /// The output layer is the table of token vectors.
    pub(super) tied: bool,
    pub(super) rope: Rope,
    /// Of the layers that see a window only, where it is another.
    pub(super) window_rope: Option<Rope>,
    pub(super) biases: Biases,
    pub(super) head_norms: HeadNorms,
    pub(super) norms: Norms,
    pub(super) gate: Gate,
    /// For each layer how many positions a token sees, itself included; `None` for all.
    pub(super) windows: Vec<Option<usize>>,
    /// Multiplies the token vectors.
    pub(super) embedding_scale: f32,
    /// Multiplies the scores of the attention.
    pub(super) score_scale: f32,
    /// Keeps the scores of the attention between minus and plus this.
    pub(super) score_cap: Option<f32>,
    /// Keeps the logits between minus and plus this.
    pub(super) logit_cap: Option<f32>,
    /// How the tensors lie, where the container is GGUF.
    pub(super) layout: Option<Layout>,
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

impl Biases {
    /// What the key `attention_bias` means.
    pub(crate) fn all(switched_on: bool) -> Self {
        if switched_on { Self::All } else { Self::None }
    }
}

/// Whether each head's query and key pass an RMS norm of their own before they are turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeadNorms {
    Absent,
    Present,
}

/// Where a layer normalises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Norms {
    /// Before the attention and before the feed-forward part.
    Before,
    /// Before and after each of both, as Gemma does. Weights of Gemma's norms are stored less one.
    Around,
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
    hidden_act: Option<String>,
    tie_word_embeddings: Option<bool>,
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
    ],
    off: &["is_decoder", "add_cross_attention"],
};

/// What an architecture adds to the shared keys.
pub(crate) struct Own {
    pub(crate) rope: RopeSettings,
    /// Of the layers that see a window only; as the others when `None`.
    pub(crate) window_rope: Option<RopeSettings>,
    /// Heads that have keys and values; as many as query heads when `None`.
    pub(crate) key_heads: Option<usize>,
    /// Features of a head; `None` when the heads share the hidden size.
    pub(crate) head: Option<usize>,
    pub(crate) biases: Biases,
    pub(crate) head_norms: HeadNorms,
    pub(crate) windows: Windows,
    /// `None` where every layer has one feed-forward part.
    pub(crate) experts: Option<experts::Settings>,
    /// Gemma's ways; `None` for those of Llama.
    pub(crate) gemma: Option<Gemma>,
}

/// In what Gemma differs from Llama: norms around each part, a tanh GELU, scaled token vectors, and a tied output layer unless the config
/// says otherwise.
pub(crate) struct Gemma {
    /// Scores are divided by its square root.
    pub(crate) query_pre_attn_scalar: f64,
    pub(crate) attn_logit_softcapping: Option<f64>,
    pub(crate) final_logit_softcapping: Option<f64>,
}

impl Own {
    /// Llama's ways with these positions, to be changed field by field.
    pub(crate) fn new(rope: RopeSettings) -> Self {
        Self {
            rope,
            window_rope: None,
            key_heads: None,
            head: None,
            biases: Biases::None,
            head_norms: HeadNorms::Absent,
            windows: Windows::None,
            experts: None,
            gemma: None,
        }
    }
}

impl Shared {
    /// Features inside a feed-forward part.
    pub(crate) fn intermediate(&self) -> usize {
        self.intermediate_size
    }

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
        if !(0.0..1.0).contains(&self.rms_norm_eps) {
            return Err(LoadError::Config("rms_norm_eps is not between 0 and 1"));
        }
        let experts = own.experts.as_ref().map(|experts| experts.check(layers, MAX_WIDTH)).transpose()?;
        let context = dimension(self.max_position_embeddings, MAX_CONTEXT)?;
        let rope = |settings| Rope::new(head, context, settings);
        let window_rope = own.window_rope.as_ref().map(rope).transpose()?;
        let gemma = own.gemma.as_ref();
        let score_divisor = gemma.map_or(Ok(float(head)), |gemma| divisor(gemma.query_pre_attn_scalar))?;
        Ok(Config {
            hidden,
            intermediate: dimension(self.intermediate_size, MAX_WIDTH)?,
            experts,
            heads,
            key_heads,
            head,
            vocabulary: dimension(self.vocab_size, MAX_VOCABULARY)?,
            context,
            epsilon: self.rms_norm_eps,
            prefix: "model.",
            tied: self.tie_word_embeddings.unwrap_or(gemma.is_some()),
            rope: rope(&own.rope)?,
            window_rope,
            biases: own.biases,
            head_norms: own.head_norms,
            norms: if gemma.is_some() { Norms::Around } else { Norms::Before },
            gate: self.gate(gemma)?,
            windows: own.windows.layers(layers)?,
            embedding_scale: if gemma.is_some() { float(hidden).sqrt() } else { 1.0 },
            score_scale: 1.0 / score_divisor.sqrt(),
            score_cap: cap(gemma.and_then(|gemma| gemma.attn_logit_softcapping))?,
            logit_cap: cap(gemma.and_then(|gemma| gemma.final_logit_softcapping))?,
            layout: None,
        })
    }

    fn gate(&self, gemma: Option<&Gemma>) -> Result<Gate, LoadError> {
        match (gemma, self.hidden_act.as_deref()) {
            (None, Some("silu")) => Ok(Gate::Silu),
            (None, _) => Err(LoadError::Config("hidden_act is not silu")),
            // Gemma reads `hidden_activation`; older files have this key beside it.
            (Some(_), None | Some("gelu_pytorch_tanh")) => Ok(Gate::GeluTanh),
            (Some(_), Some(_)) => Err(LoadError::Config("hidden_act is not gelu_pytorch_tanh")),
        }
    }
}

/// Checks the `hidden_activation` of Gemma.
///
/// # Errors
/// It is another one.
pub(crate) fn gelu_tanh(hidden_activation: &str) -> Result<(), LoadError> {
    if hidden_activation == "gelu_pytorch_tanh" {
        Ok(())
    } else {
        Err(LoadError::Config("hidden_activation is not gelu_pytorch_tanh"))
    }
}

#[expect(clippy::cast_precision_loss, reason = "dimensions are below 2^24")]
fn float(dimension: usize) -> f32 {
    dimension as f32
}

#[expect(clippy::cast_possible_truncation, reason = "the computation is in f32")]
fn divisor(value: f64) -> Result<f32, LoadError> {
    if (1e-3..=1e6).contains(&value) {
        Ok(value as f32)
    } else {
        Err(LoadError::Config("query_pre_attn_scalar is out of range"))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the computation is in f32")]
fn cap(value: Option<f64>) -> Result<Option<f32>, LoadError> {
    match value {
        Some(value) if !(1e-3..=1e6).contains(&value) => {
            Err(LoadError::Config("a softcapping is out of range"))
        }
        value => Ok(value.map(|value| value as f32)),
    }
}

/// A constant that old transformers saved; [`Rope`] computes it.
const PASSED_OVER: &[&str] = &["rotary_emb.inv_freq"];

impl Config {
    /// The size of the vocabulary.
    pub(crate) fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// The features of a token.
    pub(crate) fn hidden(&self) -> usize {
        self.hidden
    }

    /// The same decoder without an output layer of its own, and with tensors whose names begin with `prefix`.
    pub(crate) fn without_head(self, prefix: &'static str) -> Self {
        Self { tied: true, prefix, ..self }
    }

    /// The same decoder with its tensors in a GGUF file.
    pub(crate) fn laid_out(self, layout: Layout) -> Self {
        Self { layout: Some(layout), ..self }
    }

    /// Where the container has the tensor that transformers calls by this name.
    pub(crate) fn locate(&self, name: &str) -> Option<Place> {
        match self.layout {
            Some(layout) => layout.locate(name, self.head),
            None => Place::as_named(name),
        }
    }

    /// Whether the weights of its norms are stored less one.
    pub(super) fn norms_less_one(&self) -> bool {
        self.norms == Norms::Around && self.layout.is_none()
    }

    /// Whether another config of the same model may say this: what is in both containers in the same words is the same.
    pub(crate) fn agrees_with(&self, other: &Self) -> bool {
        let sizes = |config: &Self| {
            let Self { hidden, intermediate, heads, key_heads, head, vocabulary, .. } = *config;
            [hidden, intermediate, heads, key_heads, head, vocabulary, config.windows.len()]
        };
        let ways = |config: &Self| (config.tied, config.biases, config.head_norms, config.norms, config.gate);
        sizes(self) == sizes(other) && ways(self) == ways(other) && self.windows == other.windows
    }

    /// The tensors, and the ends of names that are passed over.
    pub(crate) fn needs(&self) -> (Vec<Need>, Vec<&'static str>) {
        let h = self.hidden;
        let mut needs = vec![
            Need::matrix(format!("{}embed_tokens.weight", self.prefix), &[self.vocabulary, h]),
            Need::new(format!("{}norm.weight", self.prefix), &[h]),
        ];
        let mut passed_over = PASSED_OVER.to_vec();
        if self.layout.is_some_and(|layout| layout.rope_factors) {
            needs.push(Need::new(ROPE_FACTORS, &[self.head / 2]));
        }
        if self.layout.is_some() {
            passed_over.clear();
        } else if self.tied {
            // Some files hold the shared table twice.
            passed_over.push("lm_head.weight");
        }
        if !self.tied {
            needs.push(Need::matrix("lm_head.weight", &[self.vocabulary, h]));
        }
        let parts = self.layer_needs();
        for layer in 0..self.windows.len() {
            let name = |part: &str| format!("{}layers.{layer}.{part}", self.prefix);
            let layer_parts = parts.iter().map(|(part, shape)| match *part {
                // One product with the queries.
                "self_attn.k_proj.weight" | "self_attn.v_proj.weight" => Need::below(name(part), shape),
                _ if shape.len() > 1 => Need::matrix(name(part), shape),
                _ => Need::new(name(part), shape),
            });
            needs.extend(layer_parts);
            needs.extend(match self.experts.as_ref().filter(|experts| experts.has(layer)) {
                Some(experts) => experts.needs(h, name),
                None => self.dense_needs(name),
            });
        }
        (needs, passed_over)
    }

    /// The tensors of a feed-forward part that is one.
    fn dense_needs(&self, name: impl Fn(&str) -> String) -> Vec<Need> {
        let (h, i) = (self.hidden, self.intermediate);
        vec![
            Need::matrix(name("mlp.gate_proj.weight"), &[i, h]),
            Need::below(name("mlp.up_proj.weight"), &[i, h]),
            Need::matrix(name("mlp.down_proj.weight"), &[h, i]),
        ]
    }

    /// The tensors of one layer other than those of its feed-forward part.
    fn layer_needs(&self) -> Vec<(&'static str, Vec<usize>)> {
        let h = self.hidden;
        // Each factor is at most 2^17, so the products fit.
        let (queries, keys) = (self.heads * self.head, self.key_heads * self.head);
        let mut needs = vec![
            ("input_layernorm.weight", vec![h]),
            ("post_attention_layernorm.weight", vec![h]),
            ("self_attn.q_proj.weight", vec![queries, h]),
            ("self_attn.k_proj.weight", vec![keys, h]),
            ("self_attn.v_proj.weight", vec![keys, h]),
            ("self_attn.o_proj.weight", vec![h, queries]),
        ];
        if self.norms == Norms::Around {
            needs.push(("pre_feedforward_layernorm.weight", vec![h]));
            needs.push(("post_feedforward_layernorm.weight", vec![h]));
        }
        if self.biases != Biases::None {
            needs.push(("self_attn.q_proj.bias", vec![queries]));
            needs.push(("self_attn.k_proj.bias", vec![keys]));
            needs.push(("self_attn.v_proj.bias", vec![keys]));
        }
        if self.biases == Biases::All {
            needs.push(("self_attn.o_proj.bias", vec![h]));
        }
        if self.head_norms == HeadNorms::Present {
            needs.push(("self_attn.q_norm.weight", vec![self.head]));
            needs.push(("self_attn.k_norm.weight", vec![self.head]));
        }
        needs
    }
}

#[cfg(test)]
mod tests {
    use super::super::{gemma2, gemma3, llama, mistral, mixtral, qwen2, qwen3, qwen3_moe};
    use super::*;
    use serde_json::{Map, Value, json};

    type Read = fn(Map<String, Value>) -> Result<Config, LoadError>;

    macro_rules! published {
        ($name:literal) => {
            include_str!(concat!("../../../../tests/vectors/models/configs/", $name, ".json"))
        };
    }

    const PUBLISHED: &[(Read, &str)] = &[
        (llama::read, published!("llama-2-7b")),
        (llama::read, published!("llama-3.2-1b")),
        (mistral::read, published!("mistral-7b-instruct-v0.1")),
        (mistral::read, published!("mistral-7b-instruct-v0.3")),
        (qwen2::read, published!("qwen2.5-0.5b")),
        (qwen2::read, published!("qwen2.5-0.5b-instruct")),
        (qwen3::read, published!("qwen3-0.6b")),
        (gemma2::read, published!("gemma-2-9b-it")),
        (gemma3::read, published!("gemma-3-1b-it")),
        (mixtral::read, published!("mixtral-8x7b-instruct-v0.1")),
        (qwen3_moe::read, published!("qwen3-30b-a3b")),
    ];

    fn published(at: usize) -> Config {
        let (read, text) = PUBLISHED[at];
        read(serde_json::from_str(text).unwrap()).unwrap()
    }

    #[test]
    fn published_configs_mean_what_their_models_do() {
        let all: Vec<Config> = (0..PUBLISHED.len()).map(published).collect();
        let windows =
            |at: usize| all[at].windows.iter().map(|window| window.unwrap_or(0)).collect::<Vec<_>>();
        assert_eq!(windows(2), [4096; 32]);
        for at in [0, 1, 3, 4, 5, 6, 9, 10] {
            assert!(windows(at).iter().all(|window| *window == 0));
        }
        assert_eq!(windows(7)[..4], [4096, 0, 4096, 0]);
        assert_eq!(windows(8)[..7], [512, 512, 512, 512, 512, 0, 512]);
        let tied: Vec<bool> = all.iter().map(|config| config.tied).collect();
        assert_eq!(tied, [false, true, false, false, true, true, true, true, true, false, false]);
        assert!(all[..9].iter().all(|config| config.experts.is_none()));
        assert!((0..48).all(|layer| all[10].experts.as_ref().unwrap().has(layer)));
        assert_eq!((all[6].heads * all[6].head, all[6].hidden), (2048, 1024));
        assert_eq!(
            (all[7].score_scale, all[7].score_cap, all[7].logit_cap),
            (0.0625, Some(50.0), Some(30.0))
        );
        assert_eq!((all[8].score_cap, all[8].logit_cap, all[8].window_rope.is_some()), (None, None, true));
    }

    #[test]
    fn case_22_no_value_of_any_key_makes_a_config_beyond_its_limits() {
        let values = [
            json!(null),
            json!(true),
            json!(0),
            json!(-1),
            json!(1),
            json!(3),
            json!(0.5),
            json!(1e300),
            json!(u64::MAX),
            json!(1_u64 << 17),
            json!(1_u64 << 40),
            json!(""),
            json!("silu"),
            json!([]),
            json!(vec!["full_attention"; 1000]),
            json!({}),
            json!({"rope_type": "linear", "factor": 1e300}),
            json!({"rope_type": "default", "rope_theta": 1e300}),
        ];
        let mut read_anyway = 0;
        for (read, text) in PUBLISHED {
            let whole: Map<String, Value> = serde_json::from_str(text).unwrap();
            let more =
                ["head_dim", "layer_types", "rope_parameters", "rope_local_base_freq", "quantization_config"];
            for key in whole.keys().map(String::as_str).chain(more) {
                for value in &values {
                    let mut changed = whole.clone();
                    changed.insert(key.to_owned(), value.clone());
                    let Ok(config) = read(changed) else { continue };
                    read_anyway += 1;
                    assert!(config.windows.len() <= MAX_LAYERS && config.context <= MAX_CONTEXT);
                    assert!(config.head <= config.hidden && config.heads.is_multiple_of(config.key_heads));
                    assert!(config.windows.iter().all(|window| window.is_none_or(|window| window > 0)));
                    assert!(config.score_scale.is_finite() && config.score_scale > 0.0);
                    assert!(
                        config
                            .experts
                            .as_ref()
                            .is_none_or(|experts| experts.needs(1, str::to_owned).len() <= 3073)
                    );
                    let widest = config.needs().0.into_iter().flat_map(|need| need.shape).max().unwrap();
                    assert!(widest <= MAX_WIDTH * MAX_WIDTH, "{key} {value}");
                }
            }
        }
        assert!(read_anyway > 100);
    }
}

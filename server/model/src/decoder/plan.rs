//! A decoder for somebody else's device: what it computes, and its weights as they come out of the package.

use super::config::{Config, Norms};
use crate::error::LoadError;
use crate::math::Gate;
use crate::rope::Rope;
use crate::weights::Need;
use anchorhold_sealed_weights::{DEFAULT_BLOCK_LEN, Dtype, Effort, SealedModel};
use std::collections::HashMap;
use std::ops::ControlFlow;

/// What a dense decoder computes, checked: each number is within the limits of this crate, and each tensor of the shape that it implies.
/// Biases and norms of heads are there if their tensors are.
#[derive(Debug)]
pub struct DecoderPlan {
    /// Features of a token.
    pub hidden: usize,
    /// Features of the feed-forward part.
    pub intermediate: usize,
    /// Query heads, a multiple of the key heads.
    pub heads: usize,
    /// Heads that have keys and values.
    pub key_heads: usize,
    /// Features of a head, an even number.
    pub head: usize,
    /// Token ids are below this.
    pub vocabulary: usize,
    /// The most positions of a sequence.
    pub context: usize,
    /// Added to the mean square of every RMS norm.
    pub epsilon: f32,
    /// What bends the gate of the feed-forward part.
    pub gate: PlannedGate,
    /// Multiplies the scores of the attention.
    pub score_scale: f32,
    /// Whether the output layer is the table of token vectors.
    pub tied: bool,
    /// For each layer how many positions a token sees, itself included; `None` for all.
    pub windows: Vec<Option<usize>>,
    /// The tensors; a [`WeightPart`] names one by its place here.
    pub tensors: Vec<PlannedTensor>,
    rope: Rope,
}

/// What bends a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlannedGate {
    /// `x * sigmoid(x)`.
    Silu,
    /// GELU with a tanh.
    GeluTanh,
}

/// One tensor of a plan, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedTensor {
    /// What it is for.
    pub place: TensorPlace,
    /// Rows of a matrix; 1 for a vector.
    pub rows: usize,
    /// The length of a row.
    pub columns: usize,
}

/// What a tensor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TensorPlace {
    /// The vectors of the tokens.
    Words,
    /// The norm before the output layer.
    Norm,
    /// The output layer, where it is not the table of the token vectors.
    Output,
    /// A part of a layer.
    Layer(usize, LayerPart),
}

/// A part of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LayerPart {
    /// The norm before the attention.
    AttentionNorm,
    /// The projection to queries.
    Query,
    /// The projection to keys.
    Key,
    /// The projection to values.
    Value,
    /// The bias of the queries.
    QueryBias,
    /// The bias of the keys.
    KeyBias,
    /// The bias of the values.
    ValueBias,
    /// The norm of each query head.
    QueryNorm,
    /// The norm of each key head.
    KeyNorm,
    /// The projection of the attention's answers.
    AttentionOut,
    /// Its bias.
    AttentionOutBias,
    /// The norm before the feed-forward part.
    FeedForwardNorm,
    /// The gate's projection.
    Gate,
    /// The projection that the gate multiplies.
    Up,
    /// The projection back.
    Down,
}

/// The names of the parts in a layer, as transformers gives them.
const PARTS: &[(&str, LayerPart)] = &[
    ("input_layernorm.weight", LayerPart::AttentionNorm),
    ("self_attn.q_proj.weight", LayerPart::Query),
    ("self_attn.k_proj.weight", LayerPart::Key),
    ("self_attn.v_proj.weight", LayerPart::Value),
    ("self_attn.q_proj.bias", LayerPart::QueryBias),
    ("self_attn.k_proj.bias", LayerPart::KeyBias),
    ("self_attn.v_proj.bias", LayerPart::ValueBias),
    ("self_attn.q_norm.weight", LayerPart::QueryNorm),
    ("self_attn.k_norm.weight", LayerPart::KeyNorm),
    ("self_attn.o_proj.weight", LayerPart::AttentionOut),
    ("self_attn.o_proj.bias", LayerPart::AttentionOutBias),
    ("post_attention_layernorm.weight", LayerPart::FeedForwardNorm),
    ("mlp.gate_proj.weight", LayerPart::Gate),
    ("mlp.up_proj.weight", LayerPart::Up),
    ("mlp.down_proj.weight", LayerPart::Down),
];

impl DecoderPlan {
    /// The plan of this config.
    ///
    /// # Errors
    /// [`LoadError::Device`] for what no device back end computes: experts, norms after a part, bounds on scores or logits, two kinds of positions.
    pub(crate) fn new(config: &Config, needs: &[Need]) -> Result<Self, LoadError> {
        let llama = config.norms == Norms::Before
            && config.window_rope.is_none()
            && config.score_cap.is_none()
            && config.logit_cap.is_none()
            && config.experts.is_none();
        if !llama {
            return Err(other_architecture());
        }
        let tensors = needs.iter().map(|need| tensor(need, config.prefix)).collect::<Option<Vec<_>>>();
        let tensors = tensors.ok_or_else(other_architecture)?;
        Ok(Self {
            hidden: config.hidden,
            intermediate: config.intermediate,
            heads: config.heads,
            key_heads: config.key_heads,
            head: config.head,
            vocabulary: config.vocabulary,
            context: config.context,
            epsilon: config.epsilon,
            gate: match config.gate {
                Gate::Silu => PlannedGate::Silu,
                Gate::GeluTanh => PlannedGate::GeluTanh,
            },
            score_scale: config.score_scale,
            tied: config.tied,
            windows: config.windows.clone(),
            tensors,
            rope: config.rope.clone(),
        })
    }

    /// The cosine and the sine by which each pair of features is turned at a position; feature `i` of a head's first half is paired
    /// with feature `i` of its second.
    #[must_use]
    pub fn angles(&self, position: usize) -> Vec<(f32, f32)> {
        self.rope.angles(position).collect()
    }
}

/// A device back end computes less than this crate.
pub(crate) fn other_architecture() -> LoadError {
    LoadError::Device("only Llama, Mistral, Qwen2 and Qwen3 run on this device".to_owned())
}

fn tensor(need: &Need, prefix: &str) -> Option<PlannedTensor> {
    let place = match need.name.strip_prefix(prefix) {
        Some("embed_tokens.weight") => TensorPlace::Words,
        Some("norm.weight") => TensorPlace::Norm,
        Some(name) if name.starts_with("layers.") => {
            let (layer, part) = name.strip_prefix("layers.")?.split_once('.')?;
            let (_, part) = PARTS.iter().find(|(known, _)| *known == part)?;
            TensorPlace::Layer(layer.parse().ok()?, *part)
        }
        _ if need.name == "lm_head.weight" => TensorPlace::Output,
        _ => return None,
    };
    match *need.shape.as_slice() {
        [columns] => Some(PlannedTensor { place, rows: 1, columns }),
        [rows, columns] => Some(PlannedTensor { place, rows, columns }),
        _ => None,
    }
}

/// The element type of a stored tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// 32 bits.
    F32,
    /// IEEE's 16 bits.
    F16,
    /// The upper half of 32 bits.
    Bf16,
}

/// Some bytes of one tensor, verified. A tensor comes from its first byte to its last, in one part or several; a part may end inside
/// an element.
#[derive(Debug, Clone, Copy)]
pub struct WeightPart<'a> {
    /// The tensor's place in [`DecoderPlan::tensors`].
    pub tensor: usize,
    /// Where the bytes begin in it.
    pub offset: u64,
    /// What they are; little-endian.
    pub stored: Stored,
    /// The bytes. Their memory is used again for the next part, and wiped at the end.
    pub bytes: &'a [u8],
}

/// The weights of a plan, still sealed.
pub struct PlannedWeights<'a> {
    package: &'a SealedModel,
    effort: Effort<'a>,
    /// For each tensor of the package its place in the plan and its type; `None` for those that are passed over.
    wanted: Vec<Option<(usize, Stored)>>,
}

impl<'a> PlannedWeights<'a> {
    /// Holds the signed table against the needs, before a byte of the weights is read.
    ///
    /// # Errors
    /// A needed tensor is missing or of another shape or type, or the package has one that is neither needed nor `passed_over`.
    pub(crate) fn new(
        package: &'a SealedModel,
        effort: Effort<'a>,
        (needs, passed_over): (&[Need], &[&str]),
    ) -> Result<Self, LoadError> {
        let mut places: HashMap<&str, usize> =
            needs.iter().enumerate().map(|(place, need)| (need.name.as_str(), place)).collect();
        let mut wanted = Vec::new();
        let mut extra = 0;
        for tensor in package.index().tensors() {
            let place = places.remove(tensor.name.as_str());
            let Some((place, need)) = place.and_then(|place| Some((place, needs.get(place)?))) else {
                extra += usize::from(!passed_over.iter().any(|end| tensor.name.ends_with(end)));
                wanted.push(None);
                continue;
            };
            let same = need.shape.iter().map(|&dimension| dimension as u64).eq(tensor.shape.iter().copied());
            let stored = match tensor.dtype {
                Dtype::F32 => Some(Stored::F32),
                Dtype::F16 => Some(Stored::F16),
                Dtype::Bf16 => Some(Stored::Bf16),
                _ => None,
            };
            let stored = stored.filter(|_| same);
            let refused = || LoadError::Tensor { index: place, expected: needs.len() };
            wanted.push(Some((place, stored.ok_or_else(refused)?)));
        }
        if let Some(&index) = places.values().min() {
            return Err(LoadError::Tensor { index, expected: needs.len() });
        }
        if extra > 0 {
            return Err(LoadError::ExtraTensors(extra));
        }
        Ok(Self { package, effort, wanted })
    }

    /// Verifies and decrypts the weights and hands them out part by part; the next are decrypted meanwhile.
    ///
    /// # Errors
    /// The bytes are refused, or `take` breaks.
    pub fn pour(self, take: &mut dyn FnMut(&WeightPart<'_>) -> ControlFlow<()>) -> Result<(), LoadError> {
        let all = usize::try_from(self.package.arrangement()?.len()).unwrap_or(usize::MAX);
        // A small model takes small blocks, but never less than a segment with the gaps in it.
        let block = DEFAULT_BLOCK_LEN.min(all.saturating_add(SLACK));
        self.package.stage(block, &self.effort, |staged| {
            for range in staged.ranges {
                let wanted = self.wanted.get(range.tensor).copied().flatten();
                let bytes = staged.bytes.get(range.start..).and_then(|bytes| bytes.get(..range.len));
                let (Some((tensor, stored)), Some(bytes)) = (wanted, bytes) else { continue };
                take(&WeightPart { tensor, offset: range.tensor_offset, stored, bytes })?;
            }
            ControlFlow::Continue(())
        })?;
        Ok(())
    }
}

/// More than the longest segment and the gaps between the tensors in it.
const SLACK: usize = 24 << 20;

//! The plain words of a request: what is asked, how to sample, how it ended. No tensor, no HTTP.

use serde::{Deserialize, Serialize};

/// A token's number in the model's vocabulary.
pub type TokenId = u32;

/// Names one request on one worker connection; chosen by the gateway, never reused on that connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RequestId(pub u64);

/// Names one sequence (one choice of one request) inside a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SequenceId(pub u64);

/// A point in time, in milliseconds since whenever the caller began to count. Nothing here looks at a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    /// Later than every other.
    pub const NEVER: Self = Self(u64::MAX);
}

/// How the next token is drawn. Applied in this order: penalties and bias, temperature, top-k, top-p, min-p.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 is argmax with the lowest id on a tie; at most 2.
    pub temperature: f32,
    /// Keep the most likely tokens whose probabilities sum to this; 1 keeps all.
    pub top_p: f32,
    /// Keep this many of the most likely tokens; 0 keeps all.
    pub top_k: u32,
    /// Drop tokens less likely than this share of the most likely one; 0 drops none.
    pub min_p: f32,
    /// Subtracted from a token's logit once for each time it was generated; -2 to 2.
    pub frequency_penalty: f32,
    /// Subtracted from a token's logit if it was generated at all; -2 to 2.
    pub presence_penalty: f32,
    /// Added to the logits of these tokens; -100 to 100.
    pub logit_bias: Vec<(TokenId, f32)>,
    /// The same seed gives the same text, alone or in company.
    pub seed: u64,
}

/// Where a generation must end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopRules {
    /// The most tokens that are generated.
    pub max_tokens: u32,
    /// Texts that end the output and are not part of it; the earliest match wins.
    pub stop: Vec<String>,
    /// Go on past the model's end-of-sequence token.
    pub ignore_eos: bool,
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FinishReason {
    /// The model's end-of-sequence token, or a stop text.
    Stop,
    /// `max_tokens`, or the model's context is full.
    Length,
}

/// What a loaded model can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ModelKind {
    /// Answers with vectors.
    Embedding,
    /// Answers with text.
    Chat,
    /// Answers with scores of documents for a query.
    Rerank,
}

/// How exactly a model's weights are held and multiplied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// In 32 bits, as transformers computes by default.
    #[default]
    F32,
    /// Weights, and what they are multiplied with, rounded to bf16; sums in 32 bits. Half the memory, and faster where the machine
    /// has instructions for it.
    Bf16,
    /// As the weights are stored. What multiplies tensors in Q8_0, Q4_K or Q6_K is rounded to 8 bits in blocks, as llama.cpp does; what
    /// multiplies those in bf16 to bf16; all others are held and multiplied in 32 bits.
    Stored,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// `system`, `developer`, `user`, `assistant` or `tool`.
    pub role: String,
    /// The text.
    pub content: String,
}

/// Text, or tokens that the caller made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Prompt {
    /// A conversation, rendered by the model's own chat template.
    Chat(Vec<ChatMessage>),
    /// Plain text.
    Text(String),
    /// Token ids.
    Tokens(Vec<TokenId>),
}

//! The plain words of a request: what is asked, how to sample, how it ended. No tensor, no HTTP.

use crate::conversation::Conversation;
use crate::random::derived;
use serde::{Deserialize, Serialize};
use std::fmt;

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

/// How the next token is drawn. Applied in this order: repetition penalty, the other penalties, bias, temperature, top-k, top-p, min-p.
///
/// The default draws by the model's own probabilities.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 is argmax with the lowest id on a tie; at most 2.
    pub temperature: f32,
    /// Keep the most likely tokens whose probabilities sum to this; 1 keeps all.
    pub top_p: f32,
    /// Keep this many of the most likely tokens; 0 keeps all.
    pub top_k: u32,
    /// Drop tokens less likely than this share of the most likely one; 0 drops none.
    pub min_p: f32,
    /// What a logit is divided by if it is positive, and multiplied with if not, when the token is in the prompt or was generated; over
    /// 0, and 1 changes nothing (Keskar et al., "CTRL", section 4.1).
    pub repetition_penalty: f32,
    /// Subtracted from a token's logit once for each time it was generated; -2 to 2.
    pub frequency_penalty: f32,
    /// Subtracted from a token's logit if it was generated at all; -2 to 2.
    pub presence_penalty: f32,
    /// Added to the logits of these tokens; -100 to 100.
    pub logit_bias: Vec<(TokenId, f32)>,
    /// The same seed gives the same text, alone or in company.
    pub seed: u64,
}

impl fmt::Debug for Sampling {
    /// Without the caller's text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sampling")
            .field("temperature", &self.temperature)
            .field("top_p", &self.top_p)
            .field("top_k", &self.top_k)
            .field("min_p", &self.min_p)
            .field("repetition_penalty", &self.repetition_penalty)
            .field("frequency_penalty", &self.frequency_penalty)
            .field("presence_penalty", &self.presence_penalty)
            .field("logit_bias", &self.logit_bias.len())
            .finish_non_exhaustive()
    }
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: 0,
        }
    }
}

impl Sampling {
    /// The sampling of one of several choices: the first has the seed itself, each other a seed that follows from it and from the
    /// choice's number.
    #[must_use]
    pub fn of_choice(&self, choice: u32) -> Self {
        Self { seed: derived(self.seed, choice), ..self.clone() }
    }
}

/// Where a generation must end.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopRules {
    /// The most tokens that are generated.
    pub max_tokens: u32,
    /// Until so many tokens are generated, none that would end the text is drawn.
    pub min_tokens: u32,
    /// Tokens that end the output besides the model's own; they are part of it where they have text.
    pub stop_tokens: Vec<TokenId>,
    /// Texts that end the output and are not part of it; the earliest match wins.
    pub stop: Vec<String>,
    /// Go on past the model's end-of-sequence token.
    pub ignore_eos: bool,
}

impl fmt::Debug for StopRules {
    /// Without the stop texts and tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { max_tokens, min_tokens, stop_tokens, stop, ignore_eos } = self;
        f.debug_struct("StopRules")
            .field("max_tokens", max_tokens)
            .field("min_tokens", min_tokens)
            .field("stop_tokens", &stop_tokens.len())
            .field("stop", &stop.len())
            .field("ignore_eos", ignore_eos)
            .finish()
    }
}

/// The most choices of one request.
pub const MAX_CHOICES: u16 = 16;
/// The most likely tokens that are told at one place.
pub const MAX_LOGPROBS: u8 = 20;

/// The form that an output must have.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Structure {
    /// A JSON object.
    JsonObject,
    /// JSON that fits this schema, which is a JSON document itself.
    JsonSchema(String),
    /// Text that this regular expression matches from its beginning to its end.
    Regex(String),
    /// One of these texts.
    Choice(Vec<String>),
}

impl fmt::Debug for Structure {
    /// Its kind alone: the rest is the caller's text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::JsonObject => "JsonObject",
            Self::JsonSchema(_) => "JsonSchema",
            Self::Regex(_) => "Regex",
            Self::Choice(_) => "Choice",
        })
    }
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

/// Text, or tokens that the caller made.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Prompt {
    /// A conversation, rendered by the model's own chat template.
    Chat(Conversation),
    /// Plain text.
    Text(String),
    /// Token ids.
    Tokens(Vec<TokenId>),
}

impl fmt::Debug for Prompt {
    /// How long it is: the rest is the caller's text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chat(conversation) => conversation.fmt(f),
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Tokens(ids) => write!(f, "Tokens({})", ids.len()),
        }
    }
}

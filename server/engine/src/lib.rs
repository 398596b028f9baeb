//! The scheduler of a worker and the plain types of a request. Knows neither HTTP nor tensors.

mod types;

pub use types::{
    ChatMessage, FinishReason, ModelKind, Prompt, RequestId, Sampling, SequenceId, StopRules, TokenId,
};

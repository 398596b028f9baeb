//! The scheduler of a worker and the plain types of a request. Knows neither HTTP nor tensors.

mod backend;
mod types;

pub use backend::{BackendError, Embedder, Generator, Row};
pub use types::{
    ChatMessage, FinishReason, ModelKind, Prompt, RequestId, Sampling, SequenceId, StopRules, TokenId,
};

//! The scheduler of a worker and the plain types of a request. Knows neither HTTP nor tensors.
//!
//! [`GenerationScheduler`] and [`EmbeddingBatcher`] decide what a model computes next; [`Generator`] and [`Embedder`]
//! are what they ask of the model; [`Sampler`] draws tokens. All are plain state machines: no clock, no thread, no
//! input or output, so a run is repeated exactly by making the same calls again.
//!
//! What is promised, and tested by simulation over thousands of seeds: every request that was taken ends exactly
//! once, no block of the cache is lost, written by two or read across domains, the limits hold in every step, everyone who waits is
//! served at last, and what a request answers does not depend on who else is served or was served before.

mod admission;
mod backend;
mod cache;
mod constraint;
mod conversation;
mod draw;
mod embedding;
mod fairness;
mod generation;
mod load;
mod logprobs;
mod random;
mod sampler;
mod shorter;
mod types;

pub use admission::{SubmitError, TokenField};
pub use backend::{Answer, BackendError, BlockId, Embedder, Generator, Row, RowLimits, Wanted};
pub use cache::CacheDomain;
pub use constraint::{Constraint, TooComplex};
pub use conversation::{CallName, Calling, ChatMessage, Conversation, MustCall, Tool, ToolCall};
pub use draw::Draw;
pub use embedding::{EmbeddingBatcher, EmbeddingLimits, EmbeddingOutput, Unanswered};
pub use fairness::part;
pub use generation::{
    Counters, Finish, GenerationLimits, GenerationRequest, GenerationScheduler, StepOutput, Tenancy,
};
pub use load::Load;
pub use logprobs::{Logprobs, TokenLogprob};
pub use sampler::{DrawError, Drawn, Sampler, Terms};
pub use shorter::Shorter;
pub use types::{
    FinishReason, MAX_CHOICES, MAX_LOGPROBS, ModelKind, Moment, Precision, Prompt, RequestId, Sampling,
    SequenceId, StopRules, Structure, TokenId,
};

//! The bodies of the HTTP API, in the shape that `OpenAI`'s clients expect: requests become validated values or an
//! [`ApiError`], values become answers and stream events.
//!
//! Start with [`ChatRequest::parse`], [`CompletionRequest::parse`], [`ResponsesRequest::parse`], [`EmbeddingRequest::parse`],
//! [`RerankRequest::parse`] and [`TokenizeRequest::parse`]. Promised for any bytes at all: an answer in time that grows with the length of the body alone, no panic, and an error text that
//! quotes nothing of the body. A documented field works or is refused by name; unknown fields are accepted, save
//! in `structured_outputs`, where one may be all that a caller asks of a text.
//!
//! This crate is *not* a server: it knows no HTTP library, no model and no process. The caller bounds the body with
//! [`MAX_BODY_BYTES`] before it reads it.

mod chat;
mod completion;
mod embedding;
mod error;
mod fields;
mod form;
mod generation;
mod input;
mod json;
mod logprobs;
mod openapi;
mod rerank;
mod response;
mod responses;
mod stream;
mod tokenize;
mod tools;
mod unsupported;

pub use chat::{Answered, ChatRequest, MAX_MESSAGES, MAX_PARTS, MAX_TOP_LOGPROBS, Message, Role};
pub use completion::{CompletionRequest, DEFAULT_COMPLETION_TOKENS, MAX_LOGPROBS, MAX_PROMPTS, MAX_TEXTS};
pub use embedding::{EmbeddingRequest, Encoding, MAX_INPUTS};
pub use error::{ApiError, OverQuota};
pub use form::{Form, FormKind, MAX_CHOICE_BYTES, MAX_CHOICE_TEXTS, MAX_REGEX_BYTES, MAX_SCHEMA_BYTES};
pub use generation::{
    Delivery, Generation, MAX_LOGIT_BIAS, MAX_MODEL_NAME_BYTES, MAX_N, MAX_OUTPUT_TOKENS,
    MAX_REPETITION_PENALTY, MAX_STOP_BYTES, MAX_STOP_TOKENS, MAX_STOPS, MIN_REPETITION_PENALTY,
};
pub use input::Input;
pub use json::{MAX_BODY_BYTES, MAX_DEPTH, MAX_VALUES};
pub use logprobs::{Spelled, Token, characters};
pub use openapi::openapi;
pub use rerank::{Echo, MAX_DOCUMENTS, RerankRequest, reranking};
pub use response::{
    Choice, Finish, Head, ModelCard, Usage, chat_completion, embeddings, model, models, text_completion,
};
pub use responses::{ResponseFrames, ResponseSettings, ResponsesRequest};
pub use stream::{CallDelta, ChoiceFrames, DONE, Ending, Frames, Part, Surface};
pub use tokenize::{DetokenizeRequest, MAX_DETOKENIZED, Source, TokenizeRequest, detokenized, tokenized};
pub use tools::{
    MAX_ARGUMENTS_BYTES, MAX_CALLS, MAX_TOOL_DESCRIPTION_BYTES, MAX_TOOLS, Tool, ToolCall, ToolChoice, Tools,
};

//! One request in numbers, and the model that it was for.

use crate::id::{ModelId, RequestId};
use crate::{Hash, Receipt};
use serde::{Deserialize, Serialize};

/// One request in numbers; nothing of its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Why generation ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish: Option<Finish>,
    /// From the first byte of the request to the last of the answer, in milliseconds.
    pub ms: u64,
    /// Commitments that only the caller can open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
    /// Our own id of the request.
    pub rid: RequestId,
    /// Which route.
    pub route: Route,
    /// The HTTP status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Whether the answer was streamed.
    pub stream: bool,
    /// Prompt tokens.
    pub tin: u64,
    /// Generated tokens.
    pub tout: u64,
    /// Until the first token, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttft_ms: Option<u64>,
}

/// The routes that the log tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Route {
    /// `/v1/chat/completions`.
    #[serde(rename = "chat.completions")]
    ChatCompletions,
    /// `/v1/completions`.
    #[serde(rename = "completions")]
    Completions,
    /// `/v1/embeddings`.
    #[serde(rename = "embeddings")]
    Embeddings,
    /// `/v1/rerank`.
    #[serde(rename = "rerank")]
    Rerank,
    /// `/tokenize` and `/detokenize`.
    #[serde(rename = "tokenize")]
    Tokenize,
    /// `/v1/responses` and below.
    #[serde(rename = "responses")]
    Responses,
    /// `/v1/models` and below.
    #[serde(rename = "models")]
    Models,
    /// The key broker's `/v1/challenge`.
    #[serde(rename = "challenge")]
    Challenge,
    /// The key broker's `/v1/release`.
    #[serde(rename = "release")]
    Release,
    /// The key broker's `/kbs/v0`: the protocol of Confidential Containers.
    #[serde(rename = "kbs")]
    Kbs,
    /// A witness's `/add-checkpoint`.
    #[serde(rename = "add-checkpoint")]
    AddCheckpoint,
    /// `/v1/audit` and below.
    #[serde(rename = "audit")]
    Audit,
    /// Any other route.
    #[serde(rename = "other")]
    Other,
}

/// Why generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model or a stop string ended it.
    Stop,
    /// The limit on tokens ended it.
    Length,
    /// The model called a tool.
    ToolCalls,
}

/// Which model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Its name.
    pub id: ModelId,
    /// SHA-256 of its sealed manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Hash>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ver: Option<u64>,
}

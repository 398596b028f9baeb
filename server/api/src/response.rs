//! Whole answers.

use crate::logprobs::{ChatLogprobs, TextLogprobs, Token};
use crate::{Encoding, ToolCall};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use std::fmt;

/// What is the same in every object of one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The answer's id.
    pub id: String,
    /// When it was begun, in seconds since 1970.
    pub created: u64,
    /// The model's name.
    pub model: String,
}

/// Why a choice ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// The model ended it, or a stop text did.
    Stop,
    /// The limit of tokens, or of the context, did.
    Length,
    /// Its calls did.
    #[serde(rename = "tool_calls")]
    ToolCalls,
}

/// One generated text.
#[derive(Clone, PartialEq)]
pub struct Choice {
    /// All of it, without its calls.
    pub text: String,
    /// The calls that it makes.
    pub calls: Vec<ToolCall>,
    /// Why it ended.
    pub finish: Finish,
    /// Its tokens, where they are to be told.
    pub tokens: Option<Vec<Token>>,
}

impl fmt::Debug for Choice {
    /// Without the caller's text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Choice")
            .field("text", &self.text.len())
            .field("finish", &self.finish)
            .field("tokens", &self.tokens.as_ref().map(Vec::len))
            .finish()
    }
}

/// Tokens of one request, over all choices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Usage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: PromptDetails,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct PromptDetails {
    cached_tokens: u64,
}

impl Usage {
    /// Of these counts; `cached_tokens` are those of the prompt that were not computed, because the tenant had asked something that begins
    /// alike.
    #[must_use]
    pub fn new(prompt_tokens: u64, cached_tokens: u64, completion_tokens: u64) -> Self {
        let total_tokens = prompt_tokens.saturating_add(completion_tokens);
        let prompt_tokens_details = PromptDetails { cached_tokens };
        Self { prompt_tokens, completion_tokens, total_tokens, prompt_tokens_details }
    }

    /// As `/v1/responses` writes it. No model here reasons apart from its answer.
    pub(crate) fn of_response(self) -> serde_json::Value {
        serde_json::json!({
            "input_tokens": self.prompt_tokens,
            "input_tokens_details": {"cached_tokens": self.prompt_tokens_details.cached_tokens},
            "output_tokens": self.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": self.total_tokens,
        })
    }
}

#[derive(Serialize)]
struct Completion<'a, C> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: Vec<C>,
    usage: Usage,
    system_fingerprint: Option<&'a str>,
}

#[derive(Serialize)]
struct ChatChoice<'a> {
    index: usize,
    message: AssistantMessage<'a>,
    logprobs: Option<ChatLogprobs<'a>>,
    finish_reason: Finish,
}

#[derive(Serialize)]
struct AssistantMessage<'a> {
    role: &'static str,
    content: Option<&'a str>,
    refusal: Option<()>,
    tool_calls: Option<Vec<Call<'a>>>,
}

#[derive(Serialize)]
struct Call<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    arguments: &'a str,
}

impl<'a> Call<'a> {
    fn of(call: &'a ToolCall) -> Self {
        let ToolCall { id, name, arguments } = call;
        Self { id, kind: "function", function: Function { name, arguments } }
    }
}

/// The message of an answer; one that calls and says nothing has no content.
fn message(choice: &Choice) -> AssistantMessage<'_> {
    let calls: Vec<Call<'_>> = choice.calls.iter().map(Call::of).collect();
    let is_silent = !calls.is_empty() && choice.text.is_empty();
    AssistantMessage {
        role: "assistant",
        content: (!is_silent).then_some(choice.text.as_str()),
        refusal: None,
        tool_calls: (!calls.is_empty()).then_some(calls),
    }
}

#[derive(Serialize)]
struct TextChoice<'a> {
    index: usize,
    text: &'a str,
    logprobs: Option<TextLogprobs<'a>>,
    finish_reason: Finish,
}

fn bytes(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain structs with string keys are always JSON")
}

/// The answer of `POST /v1/chat/completions`.
#[must_use]
pub fn chat_completion(head: &Head, choices: &[Choice], usage: Usage) -> Vec<u8> {
    let choices = choices.iter().enumerate().map(|(index, choice)| ChatChoice {
        index,
        message: message(choice),
        logprobs: choice.tokens.as_deref().map(ChatLogprobs),
        finish_reason: choice.finish,
    });
    bytes(&Completion {
        id: &head.id,
        object: "chat.completion",
        created: head.created,
        model: &head.model,
        choices: choices.collect(),
        usage,
        system_fingerprint: None,
    })
}

/// The answer of `POST /v1/completions`, choices in the order of the prompts, those of one prompt together.
#[must_use]
pub fn text_completion(head: &Head, choices: &[Choice], usage: Usage) -> Vec<u8> {
    let choices = choices
        .iter()
        .enumerate()
        .map(|(index, choice)| TextChoice {
            index,
            text: &choice.text,
            logprobs: choice.tokens.as_deref().map(|tokens| TextLogprobs { tokens, offset: 0 }),
            finish_reason: choice.finish,
        })
        .collect();
    bytes(&Completion {
        id: &head.id,
        object: "text_completion",
        created: head.created,
        model: &head.model,
        choices,
        usage,
        system_fingerprint: None,
    })
}

#[derive(Serialize)]
struct EmbeddingList<'a> {
    object: &'static str,
    data: Vec<Embedding<'a>>,
    model: &'a str,
    usage: EmbeddingUsage,
}

#[derive(Serialize)]
struct Embedding<'a> {
    object: &'static str,
    index: usize,
    embedding: Vector<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Vector<'a> {
    Float(&'a [f32]),
    Base64(String),
}

#[derive(Serialize)]
struct EmbeddingUsage {
    prompt_tokens: u64,
    total_tokens: u64,
}

/// The answer of `POST /v1/embeddings`, vectors in the order of the inputs. Presumes finite numbers: JSON has no others.
#[must_use]
pub fn embeddings(model: &str, vectors: &[Vec<f32>], encoding: Encoding, tokens: u64) -> Vec<u8> {
    let write = |vector| match encoding {
        Encoding::Float => Vector::Float(vector),
        Encoding::Base64 => Vector::Base64(packed(vector)),
    };
    let data = vectors
        .iter()
        .enumerate()
        .map(|(index, vector)| Embedding { object: "embedding", index, embedding: write(vector) })
        .collect();
    let usage = EmbeddingUsage { prompt_tokens: tokens, total_tokens: tokens };
    bytes(&EmbeddingList { object: "list", data, model, usage })
}

fn packed(vector: &[f32]) -> String {
    let little_endian: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
    STANDARD.encode(little_endian)
}

/// What callers are told about a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelCard {
    /// Its name.
    pub id: String,
    /// Since when it answers, in seconds since 1970.
    pub created: u64,
    /// `chat`, `embedding` or `rerank`.
    pub kind: &'static str,
    /// The most tokens of prompt and output together.
    pub max_model_len: u32,
    /// The length of an embedding.
    pub dimensions: Option<u32>,
    /// The version under which it was sealed.
    pub version: u64,
    /// SHA-256 of the signed manifest, in hex.
    pub manifest_sha256: String,
}

#[derive(Serialize)]
struct ModelObject<'a> {
    object: &'static str,
    owned_by: &'static str,
    #[serde(flatten)]
    card: &'a ModelCard,
}

#[derive(Serialize)]
struct ModelList<'a> {
    object: &'static str,
    data: Vec<ModelObject<'a>>,
}

fn model_object(card: &ModelCard) -> ModelObject<'_> {
    ModelObject { object: "model", owned_by: "anchorhold", card }
}

/// The answer of `GET /v1/models/{id}`.
#[must_use]
pub fn model(card: &ModelCard) -> Vec<u8> {
    bytes(&model_object(card))
}

/// The answer of `GET /v1/models`.
#[must_use]
pub fn models(cards: &[ModelCard]) -> Vec<u8> {
    bytes(&ModelList { object: "list", data: cards.iter().map(model_object).collect() })
}

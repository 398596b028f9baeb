//! The schemas by name: requests, which stand beside their parsers, and answers.

use super::schema::{Field, Schema};
use crate::chat::ChatRequest;
use crate::completion::CompletionRequest;
use crate::embedding::EmbeddingRequest;
use crate::rerank::RerankRequest;
use crate::responses::ResponsesRequest;
use crate::tokenize::{DetokenizeRequest, TokenizeRequest};
use serde_json::{Map, Value};

pub(super) fn schemas() -> Value {
    let named = [
        ("ChatRequest", ChatRequest::schema()),
        ("CompletionRequest", CompletionRequest::schema()),
        ("ResponsesRequest", ResponsesRequest::schema()),
        ("Response", response()),
        ("EmbeddingRequest", EmbeddingRequest::schema()),
        ("RerankRequest", RerankRequest::schema()),
        ("TokenizeRequest", TokenizeRequest::schema()),
        ("DetokenizeRequest", DetokenizeRequest::schema()),
        ("ChatCompletion", completion("chat.completion", chat_choice())),
        ("ChatCompletionChunk", chunk("chat.completion.chunk", ("delta", delta()), chat_logprobs())),
        ("TextCompletion", completion("text_completion", text_choice())),
        ("TextCompletionChunk", chunk("text_completion", ("text", Schema::words()), text_logprobs())),
        ("Usage", usage()),
        ("Embeddings", embeddings()),
        ("Reranking", reranking()),
        ("Model", model()),
        ("Models", Schema::answer(vec![object("list"), ("data", Schema::all(Schema::named("Model")))])),
        ("Tokens", tokens()),
        ("Text", Schema::answer(vec![("prompt", Schema::words())])),
        ("Status", Schema::answer(vec![("status", Schema::words())])),
        ("Readiness", readiness()),
        ("Version", Schema::answer(vec![("name", Schema::words()), ("version", Schema::words())])),
        ("Error", error()),
    ];
    let named = named.into_iter().map(|(name, schema)| (name.to_owned(), schema.value()));
    Value::Object(named.collect::<Map<_, _>>())
}

fn readiness() -> Schema {
    let layers = || Schema::all(Schema::words());
    let held =
        Schema::answer(vec![("process", Schema::words()), ("layers", layers()), ("missing", layers())]);
    let states = Schema::one_of_words(&["well", "late"]);
    let log = Schema::answer(vec![("state", states), ("cosigned", Schema::count().or_null())]);
    Schema::answer(vec![
        ("status", Schema::one_of_words(&["ready"])),
        ("audit", log),
        ("confinement", Schema::all(held)),
    ])
}

fn object(kind: &str) -> Field {
    ("object", Schema::one_of_words(&[kind]))
}

fn finish() -> Schema {
    Schema::one_of_words(&["stop", "length", "tool_calls"])
}

fn completion(kind: &str, choice: Schema) -> Schema {
    Schema::answer(vec![
        ("id", Schema::words()),
        object(kind),
        ("created", Schema::count()),
        ("model", Schema::words()),
        ("choices", Schema::all(choice)),
        ("usage", Schema::named("Usage")),
        ("system_fingerprint", Schema::null()),
    ])
}

fn chat_choice() -> Schema {
    let message = Schema::answer(vec![
        ("role", Schema::one_of_words(&["assistant"])),
        ("content", Schema::words().or_null()),
        ("refusal", Schema::null()),
        ("tool_calls", Schema::all(Schema::answer(call())).or_null()),
    ]);
    Schema::answer(vec![
        ("index", Schema::count()),
        ("message", message),
        ("logprobs", chat_logprobs().or_null()),
        ("finish_reason", finish()),
    ])
}

fn call() -> Vec<Field> {
    let function = Schema::answer(vec![("name", Schema::words()), ("arguments", Schema::words())]);
    vec![("id", Schema::words()), ("type", Schema::one_of_words(&["function"])), ("function", function)]
}

fn text_choice() -> Schema {
    Schema::answer(vec![
        ("index", Schema::count()),
        ("text", Schema::words()),
        ("logprobs", text_logprobs().or_null()),
        ("finish_reason", finish()),
    ])
}

fn chunk(kind: &str, piece: Field, logprobs: Schema) -> Schema {
    let choice = Schema::answer(vec![
        ("index", Schema::count()),
        piece,
        ("logprobs", logprobs.or_null()),
        ("finish_reason", finish().or_null()),
    ]);
    let about = "Null but in the last chunk; absent unless `stream_options` asks for it";
    let usage = Schema::named("Usage").about(about);
    Schema::request(
        vec![
            ("id", Schema::words()),
            object(kind),
            ("created", Schema::count()),
            ("model", Schema::words()),
            ("choices", Schema::all(choice)),
            ("system_fingerprint", Schema::null()),
        ],
        vec![("usage", usage)],
    )
    .closed()
}

fn delta() -> Schema {
    let role = Schema::one_of_words(&["assistant"]);
    let function =
        Schema::request(Vec::new(), vec![("name", Schema::words()), ("arguments", Schema::words())]).closed();
    let kind = Schema::one_of_words(&["function"]);
    let call = Schema::request(
        vec![("index", Schema::count()), ("function", function)],
        vec![("id", Schema::words()), ("type", kind)],
    )
    .closed();
    let fields = vec![("role", role), ("content", Schema::words()), ("tool_calls", Schema::all(call))];
    Schema::request(Vec::new(), fields).closed()
}

/// Tokens with their logarithms of the probability.
fn told() -> Schema {
    let spelled = || {
        vec![
            ("token", Schema::words()),
            ("logprob", Schema::real()),
            ("bytes", Schema::all(Schema::integer(&(0..=u8::MAX)))),
        ]
    };
    let mut token = spelled();
    token.push(("top_logprobs", Schema::all(Schema::answer(spelled()))));
    Schema::all(Schema::answer(token))
}

fn chat_logprobs() -> Schema {
    Schema::answer(vec![("content", told()), ("refusal", Schema::null())])
}

/// What `/v1/responses` answers, and what its events repeat.
fn response() -> Schema {
    let kind = |kind: &str| ("type", Schema::one_of_words(&[kind]));
    let item_status = || ("status", Schema::one_of_words(&["in_progress", "completed", "incomplete"]));
    let part = Schema::answer(vec![
        kind("output_text"),
        ("text", Schema::words()),
        ("annotations", Schema::list(Schema::object(), &(0..=0))),
        ("logprobs", told()),
    ]);
    let message = Schema::answer(vec![
        ("id", Schema::words()),
        kind("message"),
        item_status(),
        ("role", Schema::one_of_words(&["assistant"])),
        ("content", Schema::all(part)),
    ]);
    let call = Schema::answer(vec![
        ("id", Schema::words()),
        kind("function_call"),
        item_status(),
        ("call_id", Schema::words()),
        ("name", Schema::words()),
        ("arguments", Schema::words()),
    ]);
    let error = Schema::answer(vec![("code", Schema::words()), ("message", Schema::words())]);
    let details = Schema::answer(vec![("reason", Schema::one_of_words(&["max_output_tokens"]))]);
    Schema::answer(vec![
        ("id", Schema::words()),
        object("response"),
        ("created_at", Schema::count()),
        ("status", Schema::one_of_words(&["in_progress", "completed", "incomplete", "failed"])),
        ("model", Schema::words()),
        ("background", Schema::only(&false.into())),
        ("store", Schema::only(&false.into())),
        ("previous_response_id", Schema::null()),
        ("truncation", Schema::one_of_words(&["disabled"])),
        ("service_tier", Schema::words()),
        ("error", error.or_null()),
        ("incomplete_details", details.or_null()),
        ("instructions", Schema::words().or_null()),
        ("max_output_tokens", Schema::count().or_null()),
        ("max_tool_calls", Schema::null()),
        ("metadata", Schema::object()),
        ("output", Schema::all(Schema::any_of([message, call]))),
        ("parallel_tool_calls", Schema::flag()),
        ("reasoning", Schema::object()),
        ("temperature", Schema::real()),
        ("top_p", Schema::real()),
        ("top_logprobs", Schema::count()),
        ("text", Schema::object()),
        ("tool_choice", Schema::any_of([Schema::words(), Schema::object()])),
        ("tools", Schema::all(Schema::object())),
        ("usage", response_usage().or_null()),
        ("user", Schema::null()),
    ])
}

fn response_usage() -> Schema {
    Schema::answer(vec![
        ("input_tokens", Schema::count()),
        ("input_tokens_details", Schema::answer(vec![("cached_tokens", Schema::count())])),
        ("output_tokens", Schema::count()),
        ("output_tokens_details", Schema::answer(vec![("reasoning_tokens", Schema::count())])),
        ("total_tokens", Schema::count()),
    ])
}

fn text_logprobs() -> Schema {
    Schema::answer(vec![
        ("tokens", Schema::all(Schema::words())),
        ("token_logprobs", Schema::all(Schema::real())),
        ("top_logprobs", Schema::all(Schema::map(Schema::real(), usize::from(crate::MAX_LOGPROBS) + 1))),
        ("text_offset", Schema::all(Schema::count())),
    ])
}

fn usage() -> Schema {
    let details = Schema::answer(vec![("cached_tokens", Schema::count())]);
    Schema::answer(vec![
        ("prompt_tokens", Schema::count()),
        ("completion_tokens", Schema::count()),
        ("total_tokens", Schema::count()),
        ("prompt_tokens_details", details),
    ])
}

fn prompt_usage() -> Schema {
    Schema::answer(vec![("prompt_tokens", Schema::count()), ("total_tokens", Schema::count())])
}

fn embeddings() -> Schema {
    let vector = Schema::any_of([Schema::all(Schema::real()), Schema::words()]);
    let embedding =
        Schema::answer(vec![object("embedding"), ("index", Schema::count()), ("embedding", vector)]);
    Schema::answer(vec![
        object("list"),
        ("data", Schema::all(embedding)),
        ("model", Schema::words()),
        ("usage", prompt_usage()),
    ])
}

fn reranking() -> Schema {
    let document = Schema::answer(vec![("text", Schema::words())]);
    let ranked = Schema::request(
        vec![("index", Schema::count()), ("relevance_score", Schema::real())],
        vec![("document", document.about("Only where `return_documents` is true"))],
    );
    Schema::answer(vec![
        ("id", Schema::words()),
        ("model", Schema::words()),
        ("results", Schema::all(ranked.closed())),
        ("usage", prompt_usage()),
    ])
}

fn model() -> Schema {
    Schema::answer(vec![
        object("model"),
        ("owned_by", Schema::words()),
        ("id", Schema::words()),
        ("created", Schema::count()),
        ("kind", Schema::one_of_words(&["chat", "embedding", "rerank"])),
        ("max_model_len", Schema::count()),
        ("dimensions", Schema::count().or_null()),
        ("version", Schema::count()),
        ("manifest_sha256", Schema::words().about("SHA-256 of the signed manifest of the sealed package")),
    ])
}

fn tokens() -> Schema {
    Schema::answer(vec![
        ("count", Schema::count()),
        ("max_model_len", Schema::count()),
        ("tokens", Schema::all(Schema::count())),
        ("token_strs", Schema::all(Schema::words()).or_null()),
    ])
}

fn error() -> Schema {
    let error = Schema::answer(vec![
        ("message", Schema::words().about("Names fields and limits; never quotes the request")),
        ("type", Schema::words()),
        ("param", Schema::words().or_null()),
        ("code", Schema::words().or_null().about("Stable")),
    ]);
    Schema::answer(vec![("error", error)])
}

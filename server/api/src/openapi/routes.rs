//! The routes, and what each may be refused with.

use super::schema::Schema;
use serde_json::{Map, Value, json};

/// A refusal: its status, its name in the document, what it means, and the headers that come with it.
const REFUSALS: [(&str, &str, &str, &[&str]); 11] = [
    ("400", "Invalid", "The request cannot be answered; `param` names the field", &[]),
    ("401", "NoKey", "No key, or none that is known", &["www-authenticate"]),
    ("403", "Denied", "The key may not do this", &[]),
    ("404", "NotFound", "No such model or route", &[]),
    ("405", "WrongMethod", "The route does not know the method", &["allow"]),
    ("408", "Slow", "The body did not arrive in time", &[]),
    ("413", "TooLarge", "The body is over the limit", &[]),
    ("415", "NotJson", "The body is not plain JSON by its headers", &[]),
    ("429", "TooMany", "The tenant has used up what it may", &["retry-after"]),
    ("500", "Broken", "Broken on our side", &[]),
    ("503", "Unavailable", "True again later", &["retry-after"]),
];

/// Of routes that ask a model.
const ASKED: [&str; 11] = ["400", "401", "403", "404", "405", "408", "413", "415", "429", "500", "503"];
/// Of other routes with a key.
const TOLD: [&str; 6] = ["401", "403", "404", "405", "500", "503"];
/// Of routes without a key.
const OPEN: [&str; 3] = ["405", "500", "503"];

pub(super) fn refusals() -> Value {
    let one = |(_, name, text, headers): &(&str, &str, &str, &[&str])| {
        let headers = headers.iter().map(|name| ((*name).to_owned(), json!({"schema": {"type": "string"}})));
        let headers: Map<String, Value> = headers.collect();
        let content = json!({"application/json": {"schema": Schema::named("Error").value()}});
        ((*name).to_owned(), json!({"description": text, "headers": headers, "content": content}))
    };
    Value::Object(REFUSALS.iter().map(one).collect())
}

/// An answer of status 200 in this media type.
fn content(kind: &str, schema: Schema) -> Value {
    json!({(kind): {"schema": schema.value()}})
}

fn json_of(name: &str) -> Value {
    content("application/json", Schema::named(name))
}

fn operation(id: &str, summary: &str, ok: &Value, refused: &[&str]) -> Value {
    let mut responses = Map::new();
    let headers = json!({
        "x-request-id": {"schema": {"type": "string"}},
        "openai-processing-ms": {"schema": {"type": "integer"}},
    });
    responses.insert("200".to_owned(), json!({"description": "Done", "headers": headers, "content": ok}));
    for (status, name, ..) in REFUSALS.iter().filter(|(status, ..)| refused.contains(status)) {
        let reference = json!({"$ref": format!("#/components/responses/{name}")});
        responses.insert((*status).to_owned(), reference);
    }
    json!({"operationId": id, "summary": summary, "responses": responses})
}

fn asks(id: &str, summary: &str, body: &str, ok: &Value) -> Value {
    let mut operation = operation(id, summary, ok, &ASKED);
    operation["requestBody"] = json!({"required": true, "content": json_of(body)});
    json!({"post": operation})
}

fn tells(id: &str, summary: &str, ok: &Value) -> Value {
    json!({"get": operation(id, summary, ok, &TOLD)})
}

fn open(method: &str, mut operation: Value) -> Value {
    operation["security"] = json!([]);
    json!({(method): operation})
}

/// An answer that is one object, or events of the other kind where the caller asks for them.
fn streamed(whole: &str, chunk: &str) -> Value {
    let mut both = json_of(whole);
    both["text/event-stream"] = json!({
        "schema": {"type": "string", "description": format!(
            "`data:` events, each a {chunk} (`#/components/schemas/{chunk}`), and `[DONE]` at the end"
        )},
    });
    both
}

pub(super) fn paths() -> Value {
    let mut paths = models();
    paths.extend(operators());
    paths.extend(proofs());
    Value::Object(paths)
}

fn path(name: &str, item: Value) -> (String, Value) {
    (name.to_owned(), item)
}

fn models() -> Map<String, Value> {
    let mut one = tells("retrieveModel", "One model", &json_of("Model"));
    one["parameters"] =
        json!([{"name": "model", "in": "path", "required": true, "schema": {"type": "string"}}]);
    let chat = streamed("ChatCompletion", "ChatCompletionChunk");
    let text = streamed("TextCompletion", "TextCompletionChunk");
    Map::from_iter([
        path(
            "/v1/chat/completions",
            asks("createChatCompletion", "The next message of a conversation", "ChatRequest", &chat),
        ),
        path("/v1/completions", asks("createCompletion", "Text after a prompt", "CompletionRequest", &text)),
        path(
            "/v1/embeddings",
            asks("createEmbedding", "Vectors of texts", "EmbeddingRequest", &json_of("Embeddings")),
        ),
        path(
            "/v1/rerank",
            asks("rerank", "How well documents answer a query", "RerankRequest", &json_of("Reranking")),
        ),
        path("/tokenize", asks("tokenize", "The tokens of a prompt", "TokenizeRequest", &json_of("Tokens"))),
        path("/detokenize", asks("detokenize", "The text of tokens", "DetokenizeRequest", &json_of("Text"))),
        path("/v1/models", tells("listModels", "The models", &json_of("Models"))),
        path("/v1/models/{model}", one),
    ])
}

fn operators() -> Map<String, Value> {
    let text = |kind| content(kind, Schema::words());
    let mut numbers = text("text/plain");
    numbers["application/openmetrics-text"] = json!({"schema": {"type": "string"}});
    let told = |id, summary, ok: &Value| open("get", operation(id, summary, ok, &OPEN));
    Map::from_iter([
        path("/", told("status", "What is served and how to verify it, for people", &text("text/html"))),
        path("/health", told("health", "Whether the server is alive", &json_of("Status"))),
        path("/readyz", told("ready", "Whether every model can answer", &json_of("Status"))),
        path("/version", told("version", "The server's version", &json_of("Version"))),
        path(
            "/openapi.json",
            told("openapi", "This document", &content("application/json", Schema::object())),
        ),
        path("/metrics", tells("metrics", "Numbers for operators", &numbers)),
    ])
}

fn proofs() -> Map<String, Value> {
    let evidence = content("application/json", Schema::object());
    let mut document = operation("attestation", "Evidence of what runs here", &evidence, &OPEN);
    document["responses"]["400"] = json!({"$ref": "#/components/responses/Invalid"});
    document["parameters"] = json!([{
        "name": "nonce", "in": "query", "required": true,
        "description": "Random, chosen by the caller for this request",
        "schema": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    }]);
    let bytes = || content("application/octet-stream", Schema::words());
    let mut authenticator =
        operation("authenticator", "An authenticator of this connection (RFC 9261)", &bytes(), &OPEN);
    authenticator["responses"]["400"] = json!({"$ref": "#/components/responses/Invalid"});
    authenticator["requestBody"] = json!({
        "required": true, "description": "A ClientCertificateRequest", "content": bytes(),
    });
    Map::from_iter([
        path("/.well-known/anchorhold-attestation", open("get", document)),
        path("/.well-known/anchorhold-authenticator", open("post", authenticator)),
    ])
}

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
/// Of those among them that take something.
const OPEN_ASKED: [&str; 4] = ["400", "405", "500", "503"];

pub(super) fn refusals() -> Value {
    let one = |(_, name, text, headers): &(&str, &str, &str, &[&str])| {
        let headers = headers.iter().map(|name| ((*name).to_owned(), json!({"schema": {"type": "string"}})));
        let headers: Map<String, Value> = headers.collect();
        let content = json!({"application/json": {"schema": Schema::named("Error").value()}});
        ((*name).to_owned(), json!({"description": text, "headers": headers, "content": content}))
    };
    Value::Object(REFUSALS.iter().map(one).collect())
}

/// A body in these media types.
fn content(kinds: impl IntoIterator<Item = (&'static str, Schema)>) -> Value {
    let kinds = kinds.into_iter().map(|(kind, schema)| (kind.to_owned(), json!({"schema": schema.value()})));
    Value::Object(kinds.collect())
}

fn json_of(name: &str) -> Value {
    content([("application/json", Schema::named(name))])
}

/// What a method of a path does.
struct Operation(Map<String, Value>);

impl Operation {
    /// Answers `ok` with status 200, and may refuse with these statuses.
    fn new(id: &str, summary: &str, ok: &Value, refused: &[&str]) -> Self {
        let headers = json!({
            "x-request-id": {"schema": {"type": "string"}},
            "openai-processing-ms": {"schema": {"type": "integer"}},
        });
        let done = json!({"description": "Done", "headers": headers, "content": ok});
        let refusals = REFUSALS.iter().filter(|(status, ..)| refused.contains(status));
        let refusals = refusals.map(|(status, name, ..)| {
            ((*status).to_owned(), json!({"$ref": format!("#/components/responses/{name}")}))
        });
        let responses: Map<String, Value> =
            std::iter::once(("200".to_owned(), done)).chain(refusals).collect();
        Self(Map::from_iter([
            ("operationId".to_owned(), json!(id)),
            ("summary".to_owned(), json!(summary)),
            ("responses".to_owned(), Value::Object(responses)),
        ]))
    }

    fn with(mut self, word: &str, value: Value) -> Self {
        self.0.insert(word.to_owned(), value);
        self
    }

    /// It needs no key.
    fn open(self) -> Self {
        self.with("security", json!([]))
    }

    fn body(self, content: &Value) -> Self {
        self.with("requestBody", json!({"required": true, "content": content}))
    }

    /// The item of a path that knows this method alone.
    fn on(self, method: &str) -> Value {
        json!({(method): self.0})
    }
}

fn asks(id: &str, summary: &str, body: &str, ok: &Value) -> Value {
    Operation::new(id, summary, ok, &ASKED).body(&json_of(body)).on("post")
}

fn tells(id: &str, summary: &str, ok: &Value) -> Value {
    Operation::new(id, summary, ok, &TOLD).on("get")
}

fn tells_anybody(id: &str, summary: &str, ok: &Value) -> Value {
    Operation::new(id, summary, ok, &OPEN).open().on("get")
}

/// An answer that is one object, or events of the other kind where the caller asks for them.
fn streamed(whole: &str, chunk: &str) -> Value {
    let about = format!("`data:` events, each a `#/components/schemas/{chunk}`, and `[DONE]` at the end");
    content([("application/json", Schema::named(whole)), ("text/event-stream", Schema::words().about(about))])
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

/// Nothing is stored, so each answer is gone.
fn no_response() -> Value {
    let id = json!([{"name": "response", "in": "path", "required": true, "schema": {"type": "string"}}]);
    let gone = |id: &str| {
        let operation = Operation::new(id, "No response is ever stored: always 404", &json!({}), &TOLD);
        Value::Object(operation.0)
    };
    json!({"parameters": id, "get": gone("retrieveResponse"), "delete": gone("deleteResponse")})
}

fn models() -> Map<String, Value> {
    let id = json!([{"name": "model", "in": "path", "required": true, "schema": {"type": "string"}}]);
    let one = Operation::new("retrieveModel", "One model", &json_of("Model"), &TOLD).with("parameters", id);
    let chat = streamed("ChatCompletion", "ChatCompletionChunk");
    let text = streamed("TextCompletion", "TextCompletionChunk");
    let about = "`data:` events of OpenAI's types, each with `type` and `sequence_number`";
    let events = content([
        ("application/json", Schema::named("Response")),
        ("text/event-stream", Schema::words().about(about)),
    ]);
    Map::from_iter([
        path(
            "/v1/chat/completions",
            asks("createChatCompletion", "The next message of a conversation", "ChatRequest", &chat),
        ),
        path("/v1/completions", asks("createCompletion", "Text after a prompt", "CompletionRequest", &text)),
        path(
            "/v1/responses",
            asks("createResponse", "The next items of a conversation", "ResponsesRequest", &events),
        ),
        path("/v1/responses/{response}", no_response()),
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
        path("/v1/models/{model}", one.on("get")),
    ])
}

fn operators() -> Map<String, Value> {
    let page = content([("text/html", Schema::words())]);
    let document = content([("application/json", Schema::object())]);
    let numbers =
        content([("text/plain", Schema::words()), ("application/openmetrics-text", Schema::words())]);
    let signed = content([("text/plain", Schema::words().about("A checkpoint of c2sp.org/tlog-checkpoint"))]);
    let octets = content([("application/octet-stream", Schema::words())]);
    let about = "Hashes or entries of the audit log, as c2sp.org/tlog-tiles has them below `tile/`";
    let name = json!([{"name": "tile", "in": "path", "required": true, "schema": {"type": "string"}}]);
    let tile = Operation::new("auditTile", about, &octets, &TOLD).with("parameters", name).on("get");
    Map::from_iter([
        path("/", tells_anybody("status", "What is served and how to verify it, for people", &page)),
        path("/health", tells_anybody("health", "Whether the server is alive", &json_of("Status"))),
        path(
            "/readyz",
            tells_anybody(
                "ready",
                "Whether every model can answer, how the audit log stands, and what holds each process",
                &json_of("Readiness"),
            ),
        ),
        path("/version", tells_anybody("version", "The server's version", &json_of("Version"))),
        path("/openapi.json", tells_anybody("openapi", "This document", &document)),
        path("/metrics", tells("metrics", "Numbers for operators", &numbers)),
        path("/v1/audit/checkpoint", tells("auditCheckpoint", "The end of the audit log, signed", &signed)),
        path("/v1/audit/tile/{tile}", tile),
    ])
}

fn proofs() -> Map<String, Value> {
    let evidence = content([("application/json", Schema::object())]);
    let bytes = content([("application/octet-stream", Schema::words())]);
    let keys = content([("application/ohttp-keys", Schema::words())]);
    let nonce = json!([{
        "name": "nonce", "in": "query", "required": true,
        "description": "Random, chosen by the caller for this request",
        "schema": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    }]);
    let document = Operation::new("attestation", "Evidence of what runs here", &evidence, &OPEN_ASKED);
    let about = "An authenticator of this connection, for a ClientCertificateRequest (RFC 9261)";
    let authenticator = Operation::new("authenticator", about, &bytes, &OPEN_ASKED);
    Map::from_iter([
        path("/.well-known/anchorhold-attestation", document.open().with("parameters", nonce).on("get")),
        path("/.well-known/anchorhold-authenticator", authenticator.open().body(&bytes).on("post")),
        path(
            "/.well-known/hpke-keys",
            tells_anybody("bodyKeys", "Keys to which bodies may be encrypted (EHBP)", &keys),
        ),
    ])
}

//! Case 34: texts that callers send are looked for in everything that leaves the gateway except their own answers.

#![expect(clippy::unwrap_used, reason = "a test helper that fails is a failed test")]

mod common;

use anchorhold_api::RerankRequest;
use anchorhold_ipc::{
    CacheDomain, CallPart, Event, FromGateway, ModelKind, Prompt, RequestError, RequestId, Specials, Tenancy,
    WorkKind,
};
use axum::body::Body;
use common::{KEY, Rig, aside, chat, get, post, request, with};
use http::Request;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use tracing_subscriber::fmt::MakeWriter;

const CANARY: &str = "canary-c0ffee-4711";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Captured {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Requests of which every one is refused, with the canary wherever a caller's text can stand.
fn refused() -> Vec<Request<Body>> {
    let raw = |path: &str, body: String| request("POST", path, Body::from(body));
    let mut requests: Vec<Request<Body>> = ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"]
        .into_iter()
        .flat_map(|path| {
            [
                raw(path, format!("{{\"model\":\"chat\",\"{CANARY}")),
                raw(path, format!("{{\"{CANARY}\":1,\"{CANARY}\":2}}")),
                raw(path, CANARY.to_owned()),
                raw(path, format!("{{\"model\":\"{CANARY}\",\"input\":\"x\",\"prompt\":\"x\"}}")),
                raw(path, format!("{{\"model\":7,\"prompt\":\"{CANARY}\\ud800\"}}")),
                raw(path, json!({"model": "chat", "stop": {CANARY: CANARY}}).to_string()),
                raw(path, json!({"model": "chat", "prompt": [CANARY, 1], "input": [CANARY, 1]}).to_string()),
                raw(
                    path,
                    json!({"model": CANARY, "messages": [{"role": CANARY, "content": CANARY}]}).to_string(),
                ),
                raw(path, json!({"model": "chat", "chat_template": CANARY, "user": CANARY}).to_string()),
            ]
        })
        .collect();
    for change in [
        json!({"model": CANARY}),
        json!({"temperature": CANARY}),
        json!({"logit_bias": {CANARY: 1}}),
        json!({"tools": [{"type": CANARY}]}),
        json!({"response_format": {"type": CANARY}}),
        json!({"response_format": {"type": "json_schema", "json_schema": {"name": CANARY, "schema": CANARY}}}),
        json!({"guided_json": CANARY}),
        json!({"guided_regex": format!("{CANARY}\\")}),
        json!({"guided_choice": {CANARY: CANARY}}),
        json!({"guided_regex": CANARY, "guided_choice": [CANARY]}),
        json!({"structured_outputs": CANARY}),
        json!({"structured_outputs": {"regex": CANARY, "choice": [CANARY]}}),
        json!({"logprobs": CANARY}),
        json!({"logprobs": true, "top_logprobs": CANARY}),
        json!({"messages": [{"role": CANARY, "content": CANARY}]}),
        json!({"messages": [{"role": "user", "content": [{"type": CANARY, CANARY: CANARY}]}]}),
    ] {
        requests.push(post("/v1/chat/completions", &with(chat(CANARY), change)));
    }
    requests.push(post(
        "/v1/rerank",
        &json!({"model": "rank", "query": CANARY, "documents": [{CANARY: CANARY}]}),
    ));
    requests.extend(refused_tokens());
    requests.push(get(&format!("/v1/models/{CANARY}")));
    requests.push(get(&format!("/v1/responses/{CANARY}")));
    requests.extend(refused_calls());
    requests.push(get(&format!("/{CANARY}?{CANARY}={CANARY}")));
    requests.push(get(&format!("/.well-known/anchorhold-attestation?nonce={CANARY}")));
    for (name, value) in [
        ("authorization", format!("Bearer {CANARY}")),
        ("content-type", CANARY.to_owned()),
        ("content-encoding", CANARY.to_owned()),
    ] {
        let mut request = post("/v1/chat/completions", &chat(CANARY));
        request.headers_mut().insert(name, value.parse().unwrap());
        requests.push(request);
    }
    for request in &mut requests {
        request.headers_mut().insert("cookie", format!("session={CANARY}").parse().unwrap());
        request.headers_mut().insert("user-agent", CANARY.parse().unwrap());
        for name in ["traceparent", "tracestate", "baggage"] {
            request.headers_mut().insert(name, CANARY.parse().unwrap());
        }
    }
    requests
}

/// The same with tools, and of responses.
fn refused_calls() -> Vec<Request<Body>> {
    let mut requests = Vec::new();
    for change in [
        json!({"tools": [{"type": "function", "function": {"name": format!("{CANARY}.")}}]}),
        json!({"tool_choice": CANARY}),
        json!({"functions": [{"name": CANARY}]}),
        json!({"messages": [{"role": "tool", "tool_call_id": CANARY, "content": CANARY}]}),
    ] {
        requests.push(post("/v1/chat/completions", &with(chat(CANARY), change)));
    }
    for change in [
        json!({"input": [{"type": CANARY, CANARY: CANARY}]}),
        json!({"previous_response_id": CANARY}),
        json!({"text": {"format": {"type": CANARY}}}),
    ] {
        let body = json!({"model": "chat", "input": CANARY});
        requests.push(post("/v1/responses", &with(body, change)));
    }
    requests
}

/// The same, of questions about tokens.
fn refused_tokens() -> Vec<Request<Body>> {
    [
        ("/tokenize", json!({"model": "chat", "prompt": [CANARY]})),
        ("/tokenize", json!({"model": CANARY, "prompt": CANARY})),
        ("/tokenize", json!({"model": "chat", "prompt": CANARY, "messages": CANARY})),
        ("/detokenize", json!({"model": "chat", "tokens": [CANARY]})),
    ]
    .map(|(path, body)| post(path, &body))
    .into()
}

/// Requests of which every one is answered, with the canary in each text.
fn served() -> Vec<Request<Body>> {
    let mut requests = vec![
        post("/v1/chat/completions", &chat(CANARY)),
        post(
            "/v1/chat/completions",
            &with(chat(CANARY), json!({"stream": true, "user": CANARY, "cache_salt": CANARY})),
        ),
        post(
            "/v1/responses",
            &json!({"model": "chat", "input": CANARY, "instructions": CANARY, "metadata": {CANARY: CANARY}}),
        ),
        post("/v1/responses", &json!({"model": "chat", "input": CANARY, "stream": true})),
        post("/v1/completions", &json!({"model": "chat", "prompt": CANARY, "max_tokens": 100})),
        post("/v1/embeddings", &json!({"model": "embed", "input": CANARY})),
        post("/v1/rerank", &json!({"model": "rank", "query": CANARY, "documents": [CANARY]})),
        post("/tokenize", &json!({"model": "chat", "prompt": CANARY, "return_token_strs": true})),
        post("/tokenize", &json!({"model": "chat", "messages": [{"role": "user", "content": CANARY}]})),
    ];
    for change in forms() {
        requests.push(post("/v1/chat/completions", &with(chat(CANARY), change)));
    }
    for request in &mut requests {
        let trace = format!("00-{TRACE}-00f067aa0ba902b7-01");
        request.headers_mut().insert("traceparent", trace.parse().unwrap());
        request.headers_mut().insert("tracestate", format!("x={CANARY}").parse().unwrap());
    }
    requests
}

/// What asks for a form or for tokens, or ends a text.
fn forms() -> Vec<Value> {
    let schema = json!({"title": CANARY});
    vec![
        json!({"response_format": {"type": "json_schema", "json_schema": {"name": CANARY, "schema": schema}}}),
        json!({"guided_json": schema}),
        json!({"guided_regex": CANARY}),
        json!({"guided_choice": [CANARY]}),
        json!({"structured_outputs": {"choice": [CANARY]}}),
        json!({"logprobs": true, "top_logprobs": 3, "stop": [CANARY]}),
        called(),
    ]
}

/// Tools and calls with the canary in each text, and in the names that may be chosen.
fn called() -> Value {
    let parameters = json!({"type": "object", "properties": {CANARY: {"description": CANARY}}});
    let arguments = json!({CANARY: CANARY}).to_string();
    json!({
        "tools": [{"type": "function", "function": {"name": CANARY, "description": CANARY, "parameters": parameters}}],
        "tool_choice": {"type": "function", "function": {"name": CANARY}},
        "messages": [
            {"role": "assistant", "content": CANARY, "tool_calls": [{"id": CANARY, "type": "function", "function": {"name": CANARY, "arguments": arguments}}]},
            {"role": "tool", "tool_call_id": CANARY, "content": CANARY},
        ],
    })
}

/// A message of the line may come into a log by its `Debug`.
#[tokio::test]
async fn case_34_what_a_worker_is_asked_and_says_is_printed_without_text() {
    let rig = Rig::new();
    let mut chats = rig.worker("chat", ModelKind::Chat).await;
    let ranks = rig.worker("rank", ModelKind::Rerank).await;
    let body = json!({"model": "rank", "query": CANARY, "documents": [CANARY]});
    let read = RerankRequest::parse(body.to_string().as_bytes()).unwrap();
    let mut printed = format!("{read:?}");
    let task = rig.begin(post("/v1/rerank", &body));
    let (kind, _ranks) = aside(move || (ranks.submitted().1, ranks)).await;
    printed.push_str(&format!("{kind:?}"));
    task.abort();
    for change in forms() {
        let task = rig.begin(post("/v1/chat/completions", &with(chat(CANARY), change)));
        let asked;
        (chats, asked) = aside(move || {
            let (id, kind) = chats.submitted();
            chats.say(&Event::Failed { id, error: RequestError::Internal });
            (chats, kind)
        })
        .await;
        task.await.unwrap();
        printed.push_str(&format!("{asked:?}"));
    }
    let delta = Event::Delta { id: RequestId(1), choice: 0, text: CANARY.to_owned(), told: Vec::new() };
    for part in [CallPart::Begin(CANARY.to_owned()), CallPart::Arguments(CANARY.to_owned())] {
        printed.push_str(&format!("{:?}", Event::Call { id: RequestId(1), choice: 0, part }));
    }
    let tenancy = Tenancy { domain: CacheDomain([1; 16]), share: 1 };
    let texts = WorkKind::Embed { tenancy, inputs: vec![Prompt::Text(CANARY.to_owned())] };
    let (specials, prompt) = (Specials::Added, Prompt::Text(CANARY.to_owned()));
    let tokens = WorkKind::Tokenize { tenancy, prompt, specials, spell: true };
    let (id, spelled) = (RequestId(1), Some(vec![CANARY.as_bytes().to_vec()]));
    let told = [
        Event::Tokenized { id, tokens: vec![4711], spelled },
        Event::Detokenized { id, text: CANARY.to_owned() },
    ];
    printed.push_str(&format!("{delta:?}{texts:?}{tokens:?}{told:?}"));
    assert!(printed.contains("Generate") && !printed.contains(CANARY), "{printed}");
}

#[tokio::test]
async fn case_34_what_callers_send_is_in_no_error_log_metric_or_entry() {
    let logs = Captured::default();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(logs.clone());
    subscriber.try_init().unwrap();
    let rig = Rig::with("models = []\nlog = { spans = true }", "");
    rig.worker("chat", ModelKind::Chat).await.serve();
    rig.worker("embed", ModelKind::Embedding).await.serve();
    rig.worker("rank", ModelKind::Rerank).await.serve();
    for request in refused() {
        let answer = rig.send(request).await;
        assert!(answer.status.is_client_error(), "{}", answer.status);
        assert!(!answer.text().contains(CANARY), "{}", answer.text());
        assert!(answer.headers.values().all(|value| !value.to_str().unwrap().contains(CANARY)));
        assert!(answer.json().get("error").is_some_and(Value::is_object));
    }
    let served = served();
    let expected = refused().len() + served.len() - 2 + 1;
    for request in served {
        assert!(rig.send(request).await.status.is_success());
    }
    let metrics = rig.send(get("/metrics")).await.text();
    // The last entry is the one of the request for the metrics.
    let mut entries = String::new();
    let mut count = 0;
    while count < expected {
        let message = rig.next();
        entries.push_str(&format!("{message:?}\n"));
        count += usize::from(matches!(message, FromGateway::Record { .. }));
    }
    let logs = String::from_utf8(logs.0.lock().unwrap().clone()).unwrap();
    assert!(logs.contains("gen_ai.usage.input_tokens") && logs.contains(TRACE));
    assert!(logs.contains("chat_completions") && entries.contains("ChatCompletions"));
    for (place, text) in [("logs", &logs), ("metrics", &metrics), ("entries", &entries)] {
        assert!(!text.contains(CANARY) && !text.contains(KEY), "{place}: {text}");
    }
}

//! Calls of tools in both routes that offer them, and `/v1/responses`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test helper that fails is a failed test")]

mod common;

use anchorhold_ipc::{
    CallPart, Event, FinishReason, ModelKind, MustCall, Prompt, RejectReason, RequestError, RequestId,
    RequestOutcome, Route, StructureFault, ToolFault, WorkKind,
};
use common::{FakeWorker, Rig, aside, chat, get, post, request, with};
use http::StatusCode;
use serde_json::{Value, json};

fn said(id: RequestId, parts: &[&str]) -> Vec<Event> {
    let part = |text: &&str| match text.split_once(' ') {
        Some(("begin", name)) => Event::Call { id, choice: 0, part: CallPart::Begin(name.into()) },
        Some(("more", text)) => Event::Call { id, choice: 0, part: CallPart::Arguments(text.into()) },
        _ => Event::Delta { id, choice: 0, text: (*text).into(), told: Vec::new() },
    };
    parts.iter().map(part).collect()
}

/// Waits for one request, says this and ends; the worker, and what was asked.
async fn answer(
    mut worker: FakeWorker,
    parts: &'static [&'static str],
    reason: FinishReason,
) -> (FakeWorker, WorkKind) {
    aside(move || {
        let (id, kind) = worker.submitted();
        said(id, parts).iter().for_each(|event| worker.say(event));
        let (tokens_in, tokens_found, tokens_out) = (7, 0, 9);
        worker.say(&Event::Finished { id, choice: 0, reason, tokens_in, tokens_found, tokens_out });
        (worker, kind)
    })
    .await
}

const TWO_CALLS: &[&str] =
    &["I look.", "begin get_weather", "more {\"city\":", "more \"Köln\"}", "begin clock", "more {}"];

fn tools() -> Value {
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    json!([
        {"type": "function", "function": {"name": "get_weather", "description": "d", "parameters": parameters}},
        {"type": "function", "function": {"name": "clock", "strict": true}},
    ])
}

#[tokio::test]
async fn a_chat_calls_tools_whole_and_streamed() {
    let rig = Rig::new();
    let worker = rig.worker("chat", ModelKind::Chat).await;
    let body =
        with(chat("x"), json!({"tools": tools(), "tool_choice": "required", "parallel_tool_calls": false}));
    let task = rig.begin(post("/v1/chat/completions", &body));
    let (worker, kind) = answer(worker, TWO_CALLS, FinishReason::Stop).await;
    let WorkKind::Generate { prompt: Prompt::Chat(conversation), structure: None, .. } = kind else {
        panic!("{kind:?}")
    };
    let offered: Vec<_> = conversation.tools.iter().map(|tool| (tool.name.as_str(), tool.strict)).collect();
    assert_eq!(offered, [("get_weather", false), ("clock", true)]);
    assert!(
        conversation.tools[0].json.starts_with(r#"{"type":"function","function":{"name":"get_weather","#)
    );
    assert_eq!((conversation.calling.must, conversation.calling.once), (MustCall::Any, true));

    let whole = task.await.unwrap().json();
    let choice = &whole["choices"][0];
    assert_eq!(
        (&choice["finish_reason"], &choice["message"]["content"]),
        (&json!("tool_calls"), &json!("I look."))
    );
    let calls = choice["message"]["tool_calls"].as_array().unwrap();
    assert_eq!(calls[0]["function"], json!({"name": "get_weather", "arguments": "{\"city\":\"Köln\"}"}));
    assert_eq!(calls[1]["function"], json!({"name": "clock", "arguments": "{}"}));
    let id = |call: &Value| call["id"].as_str().unwrap().to_owned();
    assert!(id(&calls[0]).starts_with("call_") && id(&calls[0]) != id(&calls[1]));

    let task = rig.begin(post("/v1/chat/completions", &with(body, json!({"stream": true}))));
    let (worker, _) = answer(worker, TWO_CALLS, FinishReason::Length).await;
    let events = task.await.unwrap().events();
    let deltas = events.iter().filter_map(|event| event.pointer("/choices/0/delta/tool_calls/0"));
    let deltas: Vec<_> = deltas.collect();
    assert_eq!(deltas.len(), 5);
    assert_eq!((&deltas[0]["index"], &deltas[0]["type"]), (&json!(0), &json!("function")));
    assert_eq!(deltas[0]["function"], json!({"name": "get_weather", "arguments": ""}));
    assert_eq!(deltas[2], &json!({"index": 0, "function": {"arguments": "\"Köln\"}"}}));
    assert_eq!((&deltas[3]["index"], &deltas[3]["function"]["name"]), (&json!(1), &json!("clock")));
    let last =
        events.iter().filter_map(|event| event.pointer("/choices/0/finish_reason")?.as_str()).next_back();
    assert_eq!(last, Some("length"), "arguments may be cut, and the reason says so");
    drop(worker);
}

#[tokio::test]
async fn tools_that_may_not_be_called_are_not_shown() {
    let rig = Rig::new();
    let worker = rig.worker("chat", ModelKind::Chat).await;
    let calls =
        json!([{"id": "call_1", "type": "function", "function": {"name": "clock", "arguments": "{ }"}}]);
    let messages = json!([
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": null, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "call_1", "content": "noon"},
    ]);
    let body = json!({"model": "chat", "messages": messages, "tools": tools(), "tool_choice": "none"});
    let task = rig.begin(post("/v1/chat/completions", &body));
    let (_worker, kind) = answer(worker, &["It is noon."], FinishReason::Stop).await;
    let WorkKind::Generate { prompt: Prompt::Chat(conversation), .. } = kind else { panic!("{kind:?}") };
    assert!(conversation.tools.is_empty());
    let [_, assistant, tool] = &conversation.messages[..] else { panic!("three messages") };
    assert_eq!((assistant.calls[0].name.as_str(), assistant.calls[0].arguments.as_str()), ("clock", "{}"));
    let answers = tool.answers.as_ref().unwrap();
    assert_eq!((answers.id.as_str(), answers.tool.as_str()), ("call_1", "clock"));
    assert_eq!(task.await.unwrap().json()["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn what_the_model_cannot_call_is_refused_by_name() {
    let rig = Rig::new();
    let mut worker = rig.worker("chat", ModelKind::Chat).await;
    for (fault, said) in [
        (ToolFault::NotOffered, "shows it no tools"),
        (ToolFault::Structure(StructureFault::TooComplex), "more work"),
    ] {
        let task = rig.begin(post("/v1/chat/completions", &with(chat("x"), json!({"tools": tools()}))));
        worker = aside(move || {
            let (id, _) = worker.submitted();
            worker.say(&Event::Failed { id, error: RequestError::Rejected(RejectReason::Tools(fault)) });
            worker
        })
        .await;
        let answer = task.await.unwrap();
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        let error = answer.json()["error"].clone();
        assert_eq!(error["param"], "tools");
        assert!(error["message"].as_str().unwrap().contains(said), "{error}");
        assert_eq!(rig.next_record().outcome, RequestOutcome::Rejected);
    }
}

#[tokio::test]
async fn a_response_leaves_whole_and_as_events_of_its_own() {
    let rig = Rig::new();
    let worker = rig.worker("chat", ModelKind::Chat).await;
    let long = json!({"model": "chat", "input": "x", "max_output_tokens": 1_000_000});
    let refused = rig.send(post("/v1/responses", &long)).await.json();
    assert_eq!(refused["error"]["param"], "max_output_tokens");
    assert_eq!(rig.next_record().outcome, RequestOutcome::Rejected);
    let tool = json!({"type": "function", "name": "clock"});
    let body = json!({"model": "chat", "input": "x", "instructions": "i", "tools": [tool, {"type": "function", "name": "get_weather"}]});
    let task = rig.begin(post("/v1/responses", &body));
    let (worker, kind) = answer(worker, TWO_CALLS, FinishReason::Stop).await;
    let WorkKind::Generate { prompt: Prompt::Chat(conversation), .. } = kind else { panic!("{kind:?}") };
    let roles: Vec<_> = conversation.messages.iter().map(|message| message.role.as_str()).collect();
    assert_eq!(roles, ["system", "user"]);
    let whole = task.await.unwrap().json();
    assert_eq!(
        (&whole["object"], &whole["status"], &whole["store"]),
        (&json!("response"), &json!("completed"), &json!(false))
    );
    let kinds: Vec<_> =
        whole["output"].as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["message", "function_call", "function_call"]);
    assert_eq!(whole["usage"]["total_tokens"], 16);
    let record = rig.next_record();
    assert_eq!(
        (record.route, record.outcome, record.tokens_out),
        (Route::Responses, RequestOutcome::Complete, 9)
    );

    let task = rig.begin(post("/v1/responses", &with(body, json!({"stream": true}))));
    let (_worker, _) = answer(worker, &["a", "b"], FinishReason::Length).await;
    let answer = task.await.unwrap();
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let kinds: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("event: response.")).collect();
    assert_eq!(kinds[..4], ["created", "in_progress", "output_item.added", "content_part.added"]);
    assert_eq!(kinds.last(), Some(&"incomplete"));
    assert!(!text.contains("[DONE]"));
    let record = rig.next_record();
    assert_eq!(
        (record.route, record.stream, record.outcome),
        (Route::Responses, true, RequestOutcome::Complete)
    );
}

#[tokio::test]
async fn the_last_event_of_a_response_waits_for_its_entry() {
    let rig = Rig::new();
    let worker = rig.worker("chat", ModelKind::Chat).await;
    rig.manners.log_refuses.store(true, std::sync::atomic::Ordering::SeqCst);
    let body = json!({"model": "chat", "input": "x", "stream": true});
    let task = rig.begin(post("/v1/responses", &body));
    let (_worker, _) = answer(worker, &["a"], FinishReason::Stop).await;
    let body = task.await.unwrap().body;
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert!(text.contains("event: response.failed") && !text.contains("event: response.completed"), "{text}");
}

#[tokio::test]
async fn no_response_is_found_since_none_is_stored() {
    let rig = Rig::new();
    for (method, path) in [
        ("GET", "/v1/responses/resp_1"),
        ("DELETE", "/v1/responses/resp_1"),
        ("GET", "/v1/responses/resp_1/input_items"),
    ] {
        let answer = rig.send(request(method, path, axum::body::Body::empty())).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}");
        assert_eq!(answer.json()["error"]["param"], "response_id");
        assert_eq!(rig.next_record().route, Route::Responses);
    }
    assert_eq!(rig.send(get("/v1/responses")).await.status, StatusCode::METHOD_NOT_ALLOWED);
}

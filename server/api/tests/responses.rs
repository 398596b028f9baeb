//! `/v1/responses`: requests, the answer, and the events about it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test helper that fails is a failed test"
)]

use anchorhold_api::*;
use serde_json::{Value, json};

const CANARY: &str = "canary-7f3a";

fn body(change: &Value) -> Vec<u8> {
    let mut body = json!({"model": "m", "input": CANARY});
    for (key, value) in change.as_object().unwrap() {
        body[key] = value.clone();
    }
    body.to_string().into_bytes()
}

fn parse(change: &Value) -> ResponsesRequest {
    ResponsesRequest::parse(&body(change)).unwrap()
}

fn refused(change: &Value, param: &str) {
    let error = ResponsesRequest::parse(&body(change)).expect_err(param);
    assert_eq!((error.status(), error.param()), (400, Some(param)), "{error}");
    assert!(!error.to_json().contains(CANARY) && !format!("{error:?}").contains(CANARY));
}

#[test]
fn reads_items_as_messages() {
    let asked = parse(&json!({"instructions": "be brief", "input": [
        {"role": "developer", "content": "d"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]},
        {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed", "content": [{"type": "output_text", "text": "I look.", "annotations": []}]},
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{\"x\": 1}"},
        {"type": "function_call", "call_id": "c2", "name": "g", "arguments": ""},
        {"type": "function_call_output", "call_id": "c2", "output": "two"},
        {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "one"}]},
        {"type": "function_call", "call_id": "c3", "name": "f", "arguments": "{}"},
    ]}));
    let said: Vec<_> =
        asked.messages.iter().map(|m| (m.role.as_str(), m.content.as_str(), m.calls.len())).collect();
    assert_eq!(
        said,
        [
            ("system", "be brief", 0),
            ("developer", "d", 0),
            ("user", "a\nb", 0),
            ("assistant", "I look.", 2),
            ("tool", "two", 0),
            ("tool", "one", 0),
            ("assistant", "", 1),
        ]
    );
    assert_eq!(asked.messages[4].answers.as_ref().unwrap().name, "g");
    assert_eq!(parse(&json!({})).messages.len(), 1);
}

#[test]
fn reads_how_to_generate() {
    let asked = parse(&json!({
        "max_output_tokens": 9, "temperature": 0.5, "top_p": 0.5, "store": true, "stream": true, "top_logprobs": 3,
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": true}, "verbosity": "low"},
        "include": ["message.output_text.logprobs", "reasoning.encrypted_content"], "reasoning": {"effort": "low"}, "user": "u", "metadata": {"a": "b"},
        "background": false, "truncation": "disabled", "previous_response_id": null, "service_tier": "auto", "prompt_cache_key": "k",
    }));
    let generation = asked.generation;
    assert_eq!((generation.max_tokens, generation.temperature, generation.top_p), (Some(9), 0.5, 0.5));
    assert_eq!((generation.n, generation.logprobs), (1, Some(3)));
    let form = generation.form.unwrap();
    assert_eq!(
        (form.field, form.kind),
        ("text.format", FormKind::JsonSchema(r#"{"type":"object"}"#.to_owned()))
    );
    assert_eq!(asked.delivery, Delivery::Stream { include_usage: false });
    assert_eq!(parse(&json!({"include": ["message.output_text.logprobs"]})).generation.logprobs, Some(0));
    assert_eq!(
        parse(&json!({"text": {"format": {"type": "text"}}, "top_logprobs": 0})).generation.logprobs,
        None
    );
    let tools = parse(&json!({
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": true}],
        "tool_choice": {"type": "function", "name": "f"}, "parallel_tool_calls": false,
    }))
    .tools;
    assert_eq!(
        (tools.choice, tools.parallel, tools.list[0].strict),
        (ToolChoice::Named("f".into()), false, true)
    );
}

#[test]
fn refuses_what_needs_a_store_or_runs_elsewhere_by_name() {
    let item = |item: Value| json!({"input": [item]});
    for (change, param) in [
        (json!({"previous_response_id": CANARY}), "previous_response_id"),
        (json!({"conversation": CANARY}), "conversation"),
        (json!({"prompt": {"id": CANARY}}), "prompt"),
        (json!({"background": true}), "background"),
        (json!({"truncation": "auto"}), "truncation"),
        (json!({"max_tool_calls": 1}), "max_tool_calls"),
        (json!({"n": 2}), "n"),
        (json!({"messages": []}), "messages"),
        (json!({"max_tokens": 3}), "max_tokens"),
        (json!({"response_format": {"type": "json_object"}}), "response_format"),
        (json!({"max_output_tokens": 0}), "max_output_tokens"),
        (json!({"temperature": 3}), "temperature"),
        (json!({"store": 1}), "store"),
        (json!({"include": ["file_search_call.results"]}), "include"),
        (json!({"include": CANARY}), "include"),
        (json!({"top_logprobs": 21}), "top_logprobs"),
        (json!({"instructions": [CANARY]}), "instructions"),
        (json!({"metadata": {"a": 1}}), "metadata"),
        (json!({"text": {"format": {"type": "grammar"}}}), "text.format.type"),
        (json!({"text": {"format": {"type": "json_schema", "schema": {}}}}), "text.format.name"),
        (json!({"text": {"format": {"type": "json_schema", "name": "n"}}}), "text.format.schema"),
        (json!({"tools": [{"type": "web_search"}]}), "tools[0].type"),
        (json!({"tools": [{"type": "function", "function": {"name": "f"}}]}), "tools[0].name"),
        (
            json!({"tools": [{"type": "function", "name": "f"}], "text": {"format": {"type": "json_object"}}}),
            "text.format",
        ),
        (json!({"tool_choice": {"type": "file_search"}}), "tool_choice.type"),
        (json!({"input": null}), "input"),
        (json!({"input": []}), "input"),
        (json!({"input": vec![json!({"role": "user", "content": "x"}); MAX_MESSAGES + 1]}), "input"),
        (item(json!(CANARY)), "input[0]"),
        (item(json!({"type": "reasoning", "summary": []})), "input[0].type"),
        (item(json!({"type": "item_reference", "id": CANARY})), "input[0].type"),
        (item(json!({"role": "tool", "content": CANARY})), "input[0].role"),
        (item(json!({"role": "user"})), "input[0].content"),
        (
            item(json!({"role": "user", "content": [{"type": "input_image", "image_url": CANARY}]})),
            "input[0].content[0].type",
        ),
        (item(json!({"role": "user", "content": "a\u{0}"})), "input[0].content"),
        (item(json!({"type": "function_call", "name": "f", "arguments": "{}"})), "input[0].call_id"),
        (
            item(json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": CANARY})),
            "input[0].arguments",
        ),
        (item(json!({"type": "function_call_output", "call_id": "c", "output": CANARY})), "input[0].call_id"),
    ] {
        refused(&change, param);
    }
}

fn frames(change: &Value) -> ResponseFrames {
    let head = Head { id: "resp_01".to_owned(), created: 7, model: "m".to_owned() };
    ResponseFrames::new(head, parse(change).settings)
}

/// The type and the JSON of each event.
fn events(frames: &[String]) -> Vec<(String, Value)> {
    let one = |frame: &String| {
        let (kind, data) = frame.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
        let json: Value = serde_json::from_str(data.strip_suffix("\n\n").unwrap()).unwrap();
        assert_eq!(json["type"], kind);
        (kind.to_owned(), json)
    };
    frames.iter().map(one).collect()
}

/// A text, a call and a text.
fn tell(frames: &mut ResponseFrames, reason: Finish) -> Vec<String> {
    let token = Token { own: Spelled { bytes: b"a".to_vec(), logprob: -0.5 }, top: Vec::new() };
    let mut all = frames.begin(1);
    all.extend(frames.delta(0, Part { text: "a", tokens: std::slice::from_ref(&token), offset: 0 }));
    all.extend(frames.delta(0, Part { text: "b", tokens: &[], offset: 0 }));
    all.extend(frames.call(0, CallDelta::Begin { id: "call_1", name: "f" }));
    all.extend(frames.call(0, CallDelta::Arguments("{")));
    all.extend(frames.call(0, CallDelta::Arguments("}")));
    all.extend(frames.delta(0, Part { text: "", tokens: &[], offset: 0 }));
    all.extend(frames.delta(0, Part { text: "c", tokens: &[], offset: 0 }));
    all.extend(frames.finish(0, reason));
    all
}

#[test]
fn events_tell_of_each_item_from_its_beginning_to_its_end() {
    let mut frames = frames(&json!({"stream": true}));
    let mut all = tell(&mut frames, Finish::Stop);
    all.push(frames.end(Usage::new(3, 1, 2)).last);
    let events = events(&all);
    let kinds: Vec<&str> = events.iter().map(|(kind, _)| kind.strip_prefix("response.").unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "created",
            "in_progress",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "completed",
        ]
    );
    for (at, (_, event)) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], at);
    }
    assert_eq!(events[0].1["response"]["status"], "in_progress");
    let first = &events[4].1;
    assert_eq!(
        (&first["delta"], &first["item_id"], &first["output_index"]),
        (&json!("a"), &json!("msg_01_0"), &json!(0))
    );
    assert_eq!((&first["content_index"], &first["logprobs"][0]["token"]), (&json!(0), &json!("a")));
    assert_eq!(events[6].1["text"], "ab");
    assert_eq!(
        events[9].1["item"],
        json!({"id": "fc_01_1", "type": "function_call", "status": "in_progress", "call_id": "call_1", "name": "f", "arguments": ""})
    );
    assert_eq!((&events[12].1["arguments"], &events[12].1["name"]), (&json!("{}"), &json!("f")));
    let whole = &events[20].1["response"];
    let kinds: Vec<&Value> = whole["output"].as_array().unwrap().iter().map(|item| &item["type"]).collect();
    assert_eq!(kinds, ["message", "function_call", "message"]);
    assert_eq!(
        whole["usage"],
        json!({"input_tokens": 3, "input_tokens_details": {"cached_tokens": 1}, "output_tokens": 2, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 5})
    );
    // The answer that leaves whole is the same.
    assert_eq!(serde_json::from_slice::<Value>(&frames.whole(Usage::new(3, 1, 2))).unwrap(), *whole);
}

#[test]
fn an_answer_repeats_its_request_and_says_what_is_not_kept() {
    let mut frames = frames(&json!({
        "instructions": "i", "max_output_tokens": 5, "temperature": 0.25, "metadata": {"k": "v"}, "store": true, "tool_choice": "none",
        "tools": [{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}}],
    }));
    tell(&mut frames, Finish::Length);
    let whole: Value = serde_json::from_slice(&frames.whole(Usage::new(1, 0, 5))).unwrap();
    for (key, value) in [
        ("id", json!("resp_01")),
        ("object", json!("response")),
        ("created_at", json!(7)),
        ("status", json!("incomplete")),
        ("store", json!(false)),
        ("incomplete_details", json!({"reason": "max_output_tokens"})),
        ("error", json!(null)),
        ("instructions", json!("i")),
        ("max_output_tokens", json!(5)),
        ("temperature", json!(0.25)),
        ("top_p", json!(1.0)),
        ("metadata", json!({"k": "v"})),
        ("tool_choice", json!("none")),
        ("parallel_tool_calls", json!(true)),
        ("text", json!({"format": {"type": "text"}})),
        ("previous_response_id", json!(null)),
        ("background", json!(false)),
        ("truncation", json!("disabled")),
        (
            "tools",
            json!([{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": false}]),
        ),
    ] {
        assert_eq!(whole[key], value, "{key}");
    }
    assert_eq!(whole["output"][2]["status"], "incomplete");
}

#[test]
fn a_stream_that_breaks_ends_with_the_error_and_one_without_words_has_a_message() {
    let mut broken = frames(&json!({}));
    let mut all = broken.begin(1);
    all.push(broken.failed(&ApiError::unavailable("worker_lost", "gone")));
    let (kind, event) = events(&all).pop().unwrap();
    assert_eq!((kind.as_str(), &event["response"]["error"]["message"]), ("response.failed", &json!("gone")));
    assert_eq!(event["response"]["status"], "failed");
    let mut silent = frames(&json!({}));
    silent.begin(1);
    silent.finish(0, Finish::Stop);
    let whole: Value = serde_json::from_slice(&silent.whole(Usage::new(1, 0, 1))).unwrap();
    assert_eq!(whole["output"][0]["content"][0]["text"], "");
}

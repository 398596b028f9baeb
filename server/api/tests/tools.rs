//! Tools, and the calls that a conversation tells of.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test helper that fails is a failed test"
)]

use anchorhold_api::*;
use serde_json::{Value, json};

/// In every request below where text can stand; no error may hold it.
const CANARY: &str = "canary-7f3a";

fn body(change: &Value) -> Vec<u8> {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": CANARY}]});
    for (key, value) in change.as_object().unwrap() {
        body[key] = value.clone();
    }
    body.to_string().into_bytes()
}

fn parse(change: &Value) -> ChatRequest {
    ChatRequest::parse(&body(change)).unwrap()
}

fn refused(change: &Value, param: &str) {
    let error = ChatRequest::parse(&body(change)).expect_err(param);
    assert_eq!((error.status(), error.param()), (400, Some(param)), "{error}");
    assert!(!error.to_json().contains(CANARY) && !format!("{error:?}").contains(CANARY));
}

fn tool(name: &str) -> Value {
    json!({"type": "function", "function": {"name": name, "description": CANARY, "parameters": {"type": "object", "properties": {"z": {}, "a": {}}}}})
}

#[test]
fn reads_tools_and_whether_they_must_be_called() {
    // As text, which keeps the order of keys.
    let body = r#"{"model": "m", "messages": [{"role": "user", "content": "x"}], "tools": [
        {"type": "function", "function": {"strict": false, "parameters": {"type": "object", "properties": {"z": {}, "a": {}}}, "description": "canary-7f3a", "name": "get_weather"}},
        {"type": "function", "function": {"name": "c-1", "strict": true}}]}"#;
    let tools = ChatRequest::parse(body.as_bytes()).unwrap().tools;
    let names: Vec<_> = tools.list.iter().map(|tool| (tool.name.as_str(), tool.strict)).collect();
    assert_eq!(names, [("get_weather", false), ("c-1", true)]);
    assert_eq!((tools.choice.clone(), tools.parallel), (ToolChoice::Auto, true));
    assert!(tools.may_be_called());
    // As templates expect it, in the order of the schema, and never without properties.
    let shown = format!(
        r#"{{"type":"function","function":{{"name":"get_weather","description":"{CANARY}","parameters":{{"type":"object","properties":{{"z":{{}},"a":{{}}}}}}}}}}"#
    );
    assert_eq!(tools.list[0].chat_json(), shown);
    assert_eq!(
        tools.list[1].chat_json(),
        r#"{"type":"function","function":{"name":"c-1","parameters":{"type":"object","properties":{}}}}"#
    );
    for (asked, wanted, may) in [
        (json!("none"), ToolChoice::None, false),
        (json!("auto"), ToolChoice::Auto, true),
        (json!("required"), ToolChoice::Required, true),
        (json!({"type": "function", "function": {"name": "f"}}), ToolChoice::Named("f".into()), true),
    ] {
        let change = json!({"tools": [tool("f")], "tool_choice": asked, "parallel_tool_calls": false});
        let tools = parse(&change).tools;
        assert_eq!((tools.choice.clone(), tools.parallel), (wanted, false));
        assert_eq!(tools.may_be_called(), may);
    }
    assert!(!format!("{tools:?}").contains(CANARY));
}

#[test]
fn refuses_tools_that_cannot_be_offered() {
    let function = |inner: Value| json!({"tools": [{"type": "function", "function": inner}]});
    let long = "x".repeat(MAX_SCHEMA_BYTES);
    for (change, param) in [
        (json!({"tools": CANARY}), "tools"),
        (json!({"tools": vec![tool("f"); MAX_TOOLS + 1]}), "tools"),
        (json!({"tools": [CANARY]}), "tools[0]"),
        (json!({"tools": [{}]}), "tools[0].type"),
        (json!({"tools": [{"type": "function"}]}), "tools[0].function"),
        (json!({"tools": [tool("f"), tool("g"), tool("f")]}), "tools[2].function.name"),
        (function(json!({})), "tools[0].function.name"),
        (function(json!({"name": ""})), "tools[0].function.name"),
        (function(json!({"name": "a".repeat(65)})), "tools[0].function.name"),
        (function(json!({"name": format!("{CANARY}.x")})), "tools[0].function.name"),
        (function(json!({"name": "naïve"})), "tools[0].function.name"),
        (function(json!({"name": "f", "description": 7})), "tools[0].function.description"),
        (
            function(json!({"name": "f", "description": "x".repeat(MAX_TOOL_DESCRIPTION_BYTES + 1)})),
            "tools[0].function.description",
        ),
        (function(json!({"name": "f", "strict": "yes"})), "tools[0].function.strict"),
        (function(json!({"name": "f", "parameters": CANARY})), "tools[0].function.parameters"),
        (function(json!({"name": "f", "parameters": {"title": long}})), "tools[0].function.parameters"),
        (json!({"tool_choice": "required"}), "tool_choice"),
        (json!({"tool_choice": CANARY}), "tool_choice"),
        (json!({"tools": [tool("f")], "tool_choice": 1}), "tool_choice"),
        (json!({"tools": [tool("f")], "tool_choice": {"type": "function"}}), "tool_choice.function"),
        (
            json!({"tools": [tool("f")], "tool_choice": {"type": "function", "function": {"name": CANARY}}}),
            "tool_choice.function.name",
        ),
        (json!({"parallel_tool_calls": "yes"}), "parallel_tool_calls"),
        (json!({"tools": [tool("f")], "response_format": {"type": "json_object"}}), "response_format"),
        (json!({"tools": [tool("f")], "guided_regex": "a"}), "guided_regex"),
    ] {
        refused(&change, param);
    }
    parse(&json!({"tools": [tool("f")], "tool_choice": "none", "response_format": {"type": "json_object"}}));
}

#[test]
fn what_took_the_place_of_functions_is_named() {
    for (change, newer) in [
        (json!({"functions": [{"name": CANARY}]}), "'tools'"),
        (json!({"function_call": {"name": CANARY}}), "'tool_choice'"),
    ] {
        let error = ChatRequest::parse(&body(&change)).unwrap_err();
        assert_eq!((error.code(), error.status()), (Some("unsupported_parameter"), 400));
        assert!(error.message().contains(newer), "{error}");
    }
}

fn called(calls: &Value, then: &Value) -> Value {
    json!({"messages": [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": null, "tool_calls": calls},
        then,
    ]})
}

fn call(id: &str, arguments: &Value) -> Value {
    json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}})
}

#[test]
fn reads_calls_and_what_tools_answered() {
    let calls =
        json!([call("call_1", &json!("{\"b\": 1.50, \"a\": [\"\u{e9}\"]}")), call("call_2", &json!(" "))]);
    let asked = parse(&called(
        &calls,
        &json!({"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "7"}]}),
    ));
    let [_, assistant, tool] = &asked.messages[..] else { panic!("three messages") };
    let made: Vec<_> =
        assistant.calls.iter().map(|call| (call.id.as_str(), call.arguments.as_str())).collect();
    assert_eq!(made, [("call_1", "{\"b\":1.5,\"a\":[\"\u{e9}\"]}"), ("call_2", "{}")]);
    assert_eq!((assistant.content.as_str(), tool.content.as_str()), ("", "7"));
    let answered = tool.answers.as_ref().unwrap();
    assert_eq!((answered.id.as_str(), answered.name.as_str()), ("call_1", "f"));
    let refusal = |message: Value| parse(&json!({"messages": [message]})).messages[0].content.clone();
    assert_eq!(
        refusal(json!({"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]})),
        "no"
    );
    assert_eq!(refusal(json!({"role": "assistant", "content": null, "refusal": "never"})), "never");
}

#[test]
fn refuses_calls_that_are_none_and_answers_to_none() {
    let answer = json!({"role": "tool", "tool_call_id": "a", "content": CANARY});
    let of = |calls: Value| called(&calls, &answer);
    let many = vec![call("a", &json!("{}")); MAX_CALLS + 1];
    let long = format!("{{\"x\":\"{}\"}}", "x".repeat(MAX_ARGUMENTS_BYTES));
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(40), "]".repeat(40));
    let arguments = "messages[1].tool_calls[0].function.arguments";
    for (change, param) in [
        (of(json!(CANARY)), "messages[1].tool_calls"),
        (of(json!(many)), "messages[1].tool_calls"),
        (of(json!([{"id": "a", "type": "custom"}])), "messages[1].tool_calls[0].type"),
        (
            of(json!([{"type": "function", "function": {"name": "f", "arguments": "{}"}}])),
            "messages[1].tool_calls[0].id",
        ),
        (
            of(json!([{"id": "a", "type": "function", "function": {"name": "f.g"}}])),
            "messages[1].tool_calls[0].function.name",
        ),
        (of(json!([call("a", &json!({"x": 1}))])), arguments),
        (of(json!([call("a", &json!(CANARY))])), arguments),
        (of(json!([call("a", &json!("[]"))])), arguments),
        (of(json!([call("a", &json!("{\"a\":1,\"a\":2}"))])), arguments),
        (of(json!([call("a", &json!(long))])), arguments),
        (of(json!([call("a", &json!(deep))])), arguments),
        (of(json!([call("b", &json!("{}"))])), "messages[2].tool_call_id"),
        (
            called(&json!([call("a", &json!("{}"))]), &json!({"role": "tool", "content": "x"})),
            "messages[2].tool_call_id",
        ),
        (json!({"messages": [answer]}), "messages[0].tool_call_id"),
        (
            json!({"messages": [{"role": "user", "content": "x", "tool_calls": [call("a", &json!("{}"))]}]}),
            "messages[0].tool_calls",
        ),
        (json!({"messages": [{"role": "assistant", "content": null}]}), "messages[0].content"),
        (json!({"messages": [{"role": "user", "refusal": "x"}]}), "messages[0].content"),
        (
            json!({"messages": [{"role": "assistant", "content": "x", "function_call": {"name": "f"}}]}),
            "messages[0].function_call",
        ),
        (json!({"messages": [{"role": "function", "content": "x", "name": "f"}]}), "messages[0].role"),
    ] {
        refused(&change, param);
    }
}

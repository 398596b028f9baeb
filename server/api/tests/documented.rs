//! Every field that OpenAI documents for the routes served here, as the parameters of its Python client 3.57 list them: one that is taken
//! changes what is read, one that is not offered is refused by its name, and those that ask nothing of this server are few and stand here.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test helper that fails is a failed test"
)]

use Expected::{Effect, NoMeaning, Refused};
use anchorhold_api::*;
use serde_json::{Value, json};
use std::fmt::Debug;

/// What a value that asks for something does.
#[derive(Clone, Copy)]
enum Expected {
    /// What is read is not what is read without it.
    Effect,
    /// A 400 that names the field.
    Refused,
    /// What is read is the same: it is about OpenAI's own service, or about how it may be quick or cheap, and not about the answer.
    NoMeaning,
}

/// The one check: `plain` with the field in it, against `plain`.
fn check<T: PartialEq + Debug>(
    plain: &Value,
    fields: &[(&str, Value, Expected)],
    parse: impl Fn(&[u8]) -> Result<T, ApiError>,
) {
    let read = parse(plain.to_string().as_bytes()).unwrap();
    for (name, value, expected) in fields {
        let mut body = plain.clone();
        body[*name] = value.clone();
        let changed = parse(body.to_string().as_bytes());
        match (expected, changed) {
            (Effect, Ok(changed)) => assert_ne!(changed, read, "{name} is silently ignored"),
            (NoMeaning, Ok(changed)) => assert_eq!(changed, read, "{name}"),
            (Refused, Err(error)) => {
                let param = error.param().unwrap_or_default();
                assert!(param == *name || param.starts_with(&format!("{name}.")), "{name}: {error}");
                assert_eq!(error.status(), 400, "{name}");
            }
            (_, outcome) => panic!("{name}: {outcome:?}"),
        }
    }
}

#[test]
fn every_documented_field_of_chats() {
    let message = json!([{"role": "user", "content": "y"}]);
    let function = json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}});
    let plain = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
    let mut fields = vec![
        ("model", json!("other"), Effect),
        ("messages", message, Effect),
        ("audio", json!({"voice": "alloy", "format": "wav"}), Refused),
        ("frequency_penalty", json!(1), Effect),
        ("function_call", json!({"name": "f"}), Refused),
        ("functions", json!([{"name": "f"}]), Refused),
        ("logit_bias", json!({"5": 1}), Effect),
        ("logprobs", json!(true), Effect),
        ("max_completion_tokens", json!(3), Effect),
        ("max_tokens", json!(3), Effect),
        ("modalities", json!(["text", "audio"]), Refused),
        ("moderation", json!({"model": "omni"}), Refused),
        ("n", json!(2), Effect),
        ("presence_penalty", json!(1), Effect),
        ("response_format", json!({"type": "json_object"}), Effect),
        ("seed", json!(7), Effect),
        ("stop", json!("z"), Effect),
        ("stream", json!(true), Effect),
        ("temperature", json!(0.5), Effect),
        ("tools", json!([function]), Effect),
        ("top_p", json!(0.5), Effect),
        ("web_search_options", json!({"search_context_size": "low"}), Refused),
    ];
    fields.extend(of_the_service());
    fields.extend([
        ("prediction", json!({"type": "content", "content": "x"}), NoMeaning),
        ("reasoning_effort", json!("low"), NoMeaning),
        ("verbosity", json!("low"), NoMeaning),
    ]);
    check(&plain, &fields, ChatRequest::parse);
    // These belong to another field.
    let streamed = json!({"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": true});
    check(&streamed, &[("stream_options", json!({"include_usage": true}), Effect)], ChatRequest::parse);
    check(&plain, &[("stream_options", json!({"include_usage": true}), Refused)], ChatRequest::parse);
    let told = json!({"model": "m", "messages": [{"role": "user", "content": "x"}], "logprobs": true});
    check(&told, &[("top_logprobs", json!(3), Effect)], ChatRequest::parse);
    check(&plain, &[("top_logprobs", json!(3), Refused)], ChatRequest::parse);
    let tools = json!({"model": "m", "messages": [{"role": "user", "content": "x"}], "tools": [function]});
    let fields = [("tool_choice", json!("required"), Effect), ("parallel_tool_calls", json!(false), Effect)];
    check(&tools, &fields, ChatRequest::parse);
}

#[test]
fn every_documented_field_of_completions() {
    let plain = json!({"model": "m", "prompt": "x"});
    let fields = [
        ("model", json!("other"), Effect),
        ("prompt", json!("y"), Effect),
        ("best_of", json!(2), Refused),
        ("echo", json!(true), Refused),
        ("frequency_penalty", json!(1), Effect),
        ("logit_bias", json!({"5": 1}), Effect),
        ("logprobs", json!(2), Effect),
        ("max_tokens", json!(3), Effect),
        ("n", json!(2), Effect),
        ("presence_penalty", json!(1), Effect),
        ("seed", json!(7), Effect),
        ("stop", json!(["z"]), Effect),
        ("stream", json!(true), Effect),
        ("stream_options", json!({"include_usage": true}), Refused),
        ("suffix", json!("end"), Refused),
        ("temperature", json!(0.5), Effect),
        ("top_p", json!(0.5), Effect),
        ("user", json!("u"), NoMeaning),
    ];
    check(&plain, &fields, CompletionRequest::parse);
    let streamed = json!({"model": "m", "prompt": "x", "stream": true});
    check(&streamed, &[("stream_options", json!({"include_usage": true}), Effect)], CompletionRequest::parse);
}

#[test]
fn every_documented_field_of_embeddings() {
    let fields = [
        ("model", json!("other"), Effect),
        ("input", json!(["y"]), Effect),
        ("dimensions", json!(2), Effect),
        ("encoding_format", json!("base64"), Effect),
        ("user", json!("u"), NoMeaning),
    ];
    check(&json!({"model": "m", "input": "x"}), &fields, EmbeddingRequest::parse);
}

#[test]
fn every_documented_field_of_responses() {
    let function = json!({"type": "function", "name": "f", "parameters": {"type": "object"}});
    let plain = json!({"model": "m", "input": "x"});
    let mut fields = vec![
        ("model", json!("other"), Effect),
        ("input", json!("y"), Effect),
        ("access_programs", json!(["p"]), Refused),
        ("background", json!(true), Refused),
        ("background_options", json!({"x": 1}), Refused),
        ("context_management", json!([{"type": "compaction"}]), Refused),
        ("conversation", json!("conv_1"), Refused),
        ("image", json!({"size": "auto"}), Refused),
        ("include", json!(["message.output_text.logprobs"]), Effect),
        ("instructions", json!("i"), Effect),
        ("max_output_tokens", json!(3), Effect),
        ("max_tool_calls", json!(1), Refused),
        ("moderation", json!({"model": "omni"}), Refused),
        ("previous_response_id", json!("resp_1"), Refused),
        ("prompt", json!({"id": "p"}), Refused),
        ("stream", json!(true), Effect),
        ("stream_options", json!({"include_obfuscation": false}), Refused),
        ("temperature", json!(0.5), Effect),
        ("text", json!({"format": {"type": "json_object"}}), Effect),
        ("tools", json!([function]), Effect),
        ("top_logprobs", json!(3), Effect),
        ("top_p", json!(0.5), Effect),
        ("truncation", json!("auto"), Refused),
        ("reasoning", json!({"effort": "low"}), NoMeaning),
    ];
    // The answer repeats them.
    fields.extend(of_the_service().into_iter().map(|(name, value, expected)| match name {
        "metadata" => (name, value, Effect),
        _ => (name, value, expected),
    }));
    check(&plain, &fields, ResponsesRequest::parse);
    let tools = json!({"model": "m", "input": "x", "tools": [function]});
    let fields = [("tool_choice", json!("required"), Effect), ("parallel_tool_calls", json!(false), Effect)];
    check(&tools, &fields, ResponsesRequest::parse);
}

/// Fields about OpenAI's accounts, stores and caches.
fn of_the_service() -> Vec<(&'static str, Value, Expected)> {
    vec![
        ("metadata", json!({"a": "b"}), NoMeaning),
        ("prompt_cache_key", json!("k"), NoMeaning),
        ("prompt_cache_options", json!({"ttl": "24h"}), NoMeaning),
        ("prompt_cache_retention", json!("24h"), NoMeaning),
        ("safety_identifier", json!("s"), NoMeaning),
        ("service_tier", json!("auto"), NoMeaning),
        ("store", json!(true), NoMeaning),
        ("user", json!("u"), NoMeaning),
    ]
}

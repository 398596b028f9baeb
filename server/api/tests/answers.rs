//! The shape of answers and stream events.

#![expect(clippy::unwrap_used, reason = "a test helper that fails is a failed test")]

use anchorhold_api::*;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

fn head() -> Head {
    Head { id: "id-1".to_owned(), created: 7, model: "m".to_owned() }
}

fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// The JSON of one event, which must be one line between `data: ` and an empty line.
fn event(frame: &str) -> Value {
    let json = frame.strip_prefix("data: ").unwrap().strip_suffix("\n\n").unwrap();
    assert!(!json.contains('\n'));
    serde_json::from_str(json).unwrap()
}

#[test]
fn a_chat_answer_has_every_documented_key() {
    let choice =
        Choice { text: "hi\n\"é\"".to_owned(), calls: Vec::new(), finish: Finish::Length, tokens: None };
    assert_eq!(
        value(&chat_completion(&head(), &[choice], Usage::new(3, 1, 2))),
        json!({
            "id": "id-1", "object": "chat.completion", "created": 7, "model": "m", "system_fingerprint": null,
            "choices": [{
                "index": 0, "logprobs": null, "finish_reason": "length",
                "message": {"role": "assistant", "content": "hi\n\"é\"", "refusal": null, "tool_calls": null},
            }],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "prompt_tokens_details": {"cached_tokens": 1}},
        })
    );
}

fn part(text: &str) -> Part<'_> {
    Part { text, tokens: &[], offset: 0 }
}

fn spelled(bytes: &[u8], logprob: f32) -> Spelled {
    Spelled { bytes: bytes.to_vec(), logprob }
}

/// "né" in three tokens, the last two of which share a character.
fn three() -> Vec<Token> {
    let token = |bytes, logprob| Token {
        own: spelled(bytes, logprob),
        top: vec![spelled(b"x", -0.25), spelled(&[0xC3], -1.5)],
    };
    vec![token(b"n", -0.5), token(&[0xC3], -1.5), token(&[0xA9], f32::MIN)]
}

#[test]
fn chat_tells_tokens_as_the_documentation_shows() {
    let choice = |text: &str| Choice {
        text: text.to_owned(),
        calls: Vec::new(),
        finish: Finish::Stop,
        tokens: Some(three()),
    };
    let answer = value(&chat_completion(&head(), &[choice("né"), choice("other")], Usage::new(1, 0, 6)));
    assert_eq!(answer["choices"][1]["index"], 1);
    assert_eq!(answer["choices"][1]["message"]["content"], "other");
    let top = json!([
        {"token": "x", "logprob": -0.25, "bytes": [120]},
        {"token": "\\xc3", "logprob": -1.5, "bytes": [195]},
    ]);
    assert_eq!(
        answer["choices"][0]["logprobs"],
        json!({"refusal": null, "content": [
            {"token": "n", "logprob": -0.5, "bytes": [110], "top_logprobs": top},
            {"token": "\\xc3", "logprob": -1.5, "bytes": [195], "top_logprobs": top},
            {"token": "\\xa9", "logprob": -9999.0, "bytes": [169], "top_logprobs": top},
        ]})
    );
}

#[test]
fn completions_tell_tokens_as_four_lists() {
    let choice =
        Choice { text: "né".to_owned(), calls: Vec::new(), finish: Finish::Stop, tokens: Some(three()) };
    let answer = value(&text_completion(&head(), &[choice], Usage::new(1, 0, 3)));
    let told = &answer["choices"][0]["logprobs"];
    assert_eq!(told["tokens"], json!(["n", "bytes:\\xc3", "bytes:\\xa9"]));
    assert_eq!(told["token_logprobs"], json!([-0.5, -1.5, -9999.0]));
    assert_eq!(told["text_offset"], json!([0, 1, 2]));
    assert_eq!(told["top_logprobs"][0], json!({"x": -0.25, "bytes:\\xc3": -1.5, "n": -0.5}));
    assert_eq!(told["top_logprobs"][1], json!({"x": -0.25, "bytes:\\xc3": -1.5}), "it is among them");
}

#[test]
fn frames_carry_what_is_told_with_the_text() {
    let tokens = three();
    assert_eq!(characters(&tokens), 2);
    let part = Part { text: "né", tokens: &tokens, offset: 7 };
    let chat = event(&ChoiceFrames::new(Surface::Chat, head(), false).delta(2, part).concat());
    assert_eq!(chat["choices"][0]["logprobs"]["content"][0]["token"], "n");
    assert_eq!(chat["choices"][0]["index"], 2);
    let completion = event(&ChoiceFrames::new(Surface::Completion, head(), false).delta(0, part).concat());
    assert_eq!(completion["choices"][0]["logprobs"]["text_offset"], json!([7, 8, 9]));
    let without = event(&ChoiceFrames::new(Surface::Chat, head(), false).finish(0, Finish::Stop).concat());
    assert_eq!(without["choices"][0]["logprobs"], Value::Null);
}

#[test]
fn a_completion_answer_keeps_the_order_of_prompts() {
    let choices = ["a", "b"].map(|text| Choice {
        text: text.to_owned(),
        calls: Vec::new(),
        finish: Finish::Stop,
        tokens: None,
    });
    let answer = value(&text_completion(&head(), &choices, Usage::new(1, 0, 1)));
    assert_eq!(answer["object"], "text_completion");
    assert_eq!(
        answer["choices"][1],
        json!({"index": 1, "text": "b", "logprobs": null, "finish_reason": "stop"})
    );
}

#[test]
fn base64_vectors_equal_the_float_form() {
    let vectors = vec![vec![0.1, -1.5e-8, 3.0], vec![f32::MAX, f32::MIN_POSITIVE, -0.0]];
    let floats = value(&embeddings("m", &vectors, Encoding::Float, 9));
    let packed = value(&embeddings("m", &vectors, Encoding::Base64, 9));
    assert_eq!(floats["usage"], json!({"prompt_tokens": 9, "total_tokens": 9}));
    for (index, vector) in vectors.iter().enumerate() {
        assert_eq!(floats["data"][index]["index"], index);
        let numbers: Vec<f32> = serde_json::from_value(floats["data"][index]["embedding"].clone()).unwrap();
        let bytes = STANDARD.decode(packed["data"][index]["embedding"].as_str().unwrap()).unwrap();
        let unpacked: Vec<f32> =
            bytes.chunks_exact(4).map(|c| f32::from_le_bytes(c.try_into().unwrap())).collect();
        assert_eq!((&numbers, &unpacked), (vector, vector));
    }
}

#[test]
fn chat_frames_carry_the_role_first_and_usage_last() {
    let mut frames = ChoiceFrames::new(Surface::Chat, head(), true);
    let opening = event(&frames.begin(1).concat());
    assert_eq!(opening["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    assert_eq!((&opening["object"], &opening["usage"]), (&json!("chat.completion.chunk"), &Value::Null));
    assert!(opening.as_object().unwrap().contains_key("usage"));
    let delta = event(&frames.delta(0, part("a\nb")).concat());
    assert_eq!(delta["choices"][0]["delta"], json!({"content": "a\nb"}));
    assert_eq!(delta["choices"][0]["finish_reason"], Value::Null);
    let finish = event(&frames.finish(0, Finish::Stop).concat());
    assert_eq!(finish["choices"][0]["delta"], json!({}));
    assert_eq!(finish["choices"][0]["finish_reason"], "stop");
    let usage = event(&frames.end(Usage::new(1, 0, 2)).before.unwrap());
    assert_eq!((&usage["choices"], &usage["usage"]["total_tokens"]), (&json!([]), &json!(3)));
}

#[test]
fn calls_are_told_whole_and_in_deltas() {
    let calls = ["a", "b"].map(|id| ToolCall::begun(format!("call_{id}"), "f".to_owned()));
    let choice = |text: &str| Choice {
        text: text.to_owned(),
        calls: calls.to_vec(),
        finish: Finish::ToolCalls,
        tokens: None,
    };
    let answer = value(&chat_completion(&head(), &[choice(""), choice("x")], Usage::new(1, 0, 1)));
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": ""}});
    assert_eq!(
        answer["choices"][0],
        json!({
            "index": 0, "logprobs": null, "finish_reason": "tool_calls",
            "message": {"role": "assistant", "content": null, "refusal": null, "tool_calls": [call("call_a"), call("call_b")]},
        })
    );
    assert_eq!(answer["choices"][1]["message"]["content"], "x");

    let mut frames = ChoiceFrames::new(Surface::Chat, head(), false);
    frames.begin(2);
    let mut delta = |part| event(&frames.call(1, part).concat())["choices"][0]["delta"]["tool_calls"].clone();
    let begun = |index: usize, id: &str| json!([{"index": index, "id": id, "type": "function", "function": {"name": "f", "arguments": ""}}]);
    assert_eq!(delta(CallDelta::Begin { id: "call_a", name: "f" }), begun(0, "call_a"));
    assert_eq!(delta(CallDelta::Arguments("{\"")), json!([{"index": 0, "function": {"arguments": "{\""}}]));
    assert_eq!(delta(CallDelta::Begin { id: "call_b", name: "f" }), begun(1, "call_b"));
    assert_eq!(delta(CallDelta::Arguments("{}")), json!([{"index": 1, "function": {"arguments": "{}"}}]));
    let finish = event(&frames.finish(1, Finish::ToolCalls).concat());
    assert_eq!(finish["choices"][0]["finish_reason"], "tool_calls");
}

#[test]
fn completion_frames_carry_text_and_no_usage_unless_asked() {
    let mut frames = ChoiceFrames::new(Surface::Completion, head(), false);
    assert!(frames.begin(1).is_empty());
    assert_eq!(frames.end(Usage::new(1, 0, 2)), Ending { before: None, last: DONE.to_owned() });
    let delta = event(&frames.delta(3, part("x")).concat());
    assert_eq!((&delta["choices"][0]["text"], &delta["choices"][0]["index"]), (&json!("x"), &json!(3)));
    assert!(!delta.as_object().unwrap().contains_key("usage"));
}

#[test]
fn an_error_event_is_one_event_with_the_error_object() {
    let mut frames = ChoiceFrames::new(Surface::Chat, head(), false);
    let frame = frames.failed(&ApiError::unavailable("worker_lost", "gone"));
    let data = frame.strip_prefix("event: error\n").unwrap();
    assert_eq!(event(data)["error"]["code"], "worker_lost");
}

#[test]
fn models_show_their_length_and_digest() {
    let card = ModelCard {
        id: "m".to_owned(),
        created: 1,
        kind: "chat",
        max_model_len: 2048,
        dimensions: None,
        version: 3,
        manifest_sha256: "ab".to_owned(),
    };
    let one = value(&model(&card));
    assert_eq!(
        (&one["object"], &one["owned_by"], &one["max_model_len"]),
        (&json!("model"), &json!("anchorhold"), &json!(2048))
    );
    assert_eq!(value(&models(std::slice::from_ref(&card))), json!({"object": "list", "data": [one]}));
}

#[test]
fn errors_that_pass_say_when_to_try_again() {
    assert!(ApiError::rate_limited().retry_after().is_some());
    assert!(ApiError::unavailable("draining", "x").retry_after().is_some());
    assert_eq!(ApiError::internal().retry_after(), None);
    assert_eq!(
        (ApiError::unauthorized().status(), ApiError::unauthorized().code()),
        (401, Some("invalid_api_key"))
    );
}

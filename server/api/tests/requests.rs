//! What requests are read as, and one case for each refusal.

#![expect(clippy::unwrap_used, reason = "a test helper that fails is a failed test")]

use anchorhold_api::*;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// In every request below where text can stand; no error may hold it.
const CANARY: &str = "canary-7f3a";

fn chat_body(change: Value) -> Vec<u8> {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": CANARY}], "user": CANARY});
    merge(&mut body, change);
    body.to_string().into_bytes()
}

fn completion_body(change: Value) -> Vec<u8> {
    let mut body = json!({"model": "m", "prompt": CANARY});
    merge(&mut body, change);
    body.to_string().into_bytes()
}

fn embedding_body(change: Value) -> Vec<u8> {
    let mut body = json!({"model": "m", "input": CANARY});
    merge(&mut body, change);
    body.to_string().into_bytes()
}

fn merge(body: &mut Value, change: Value) {
    for (key, value) in change.as_object().unwrap() {
        body[key] = value.clone();
    }
}

/// The one check of refusals: status 400, this field, four keys, nothing of the caller's text.
fn check_refused<T: std::fmt::Debug>(result: Result<T, ApiError>, param: &str) {
    let error = result.expect_err(param);
    assert_eq!((error.status(), error.param()), (400, Some(param)), "{error}");
    let object: Value = serde_json::from_str(&error.to_json()).unwrap();
    let mut keys: Vec<&String> = object.get("error").and_then(Value::as_object).unwrap().keys().collect();
    keys.sort();
    assert_eq!(keys, ["code", "message", "param", "type"]);
    assert!(!error.to_json().contains(CANARY) && !format!("{error:?}").contains(CANARY));
}

fn chat_refused(change: Value, param: &str) {
    check_refused(ChatRequest::parse(&chat_body(change)), param);
}

fn completion_refused(change: Value, param: &str) {
    check_refused(CompletionRequest::parse(&completion_body(change)), param);
}

fn embedding_refused(change: Value, param: &str) {
    check_refused(EmbeddingRequest::parse(&embedding_body(change)), param);
}

#[test]
fn reads_a_full_chat_request() {
    let body = json!({
        "model": "llama",
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "developer", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "user", "content": "u", "name": "n"},
            {"role": "assistant", "content": "", "tool_calls": [], "refusal": null},
            {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{ }"}}]},
            {"role": "tool", "content": "t", "tool_call_id": "1"},
        ],
        "temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.1,
        "frequency_penalty": -2, "presence_penalty": 2, "logit_bias": {"10": -100, "9": 100},
        "seed": -1, "max_completion_tokens": 7, "max_tokens": 7, "stop": ["a", "b"], "ignore_eos": true,
        "stream": true, "stream_options": {"include_usage": true, "include_obfuscation": false},
    });
    let request = ChatRequest::parse(body.to_string().as_bytes()).unwrap();
    let said: Vec<_> = request.messages.iter().map(|m| (m.role.as_str(), m.content.as_str())).collect();
    assert_eq!(
        said,
        [
            ("system", "s"),
            ("developer", "a\nb"),
            ("user", "u"),
            ("assistant", ""),
            ("assistant", ""),
            ("tool", "t")
        ]
    );
    let generation = request.generation;
    assert_eq!((generation.temperature, generation.top_p, generation.top_k), (0.5, 0.9, 40));
    assert_eq!(
        (generation.min_p, generation.frequency_penalty, generation.presence_penalty),
        (0.1, -2.0, 2.0)
    );
    assert_eq!(generation.logit_bias, [(9, 100.0), (10, -100.0)]);
    assert_eq!((generation.seed, generation.max_tokens), (Some(u64::MAX), Some(7)));
    assert_eq!((generation.stop, generation.ignore_eos), (vec!["a".to_owned(), "b".to_owned()], true));
    assert_eq!(request.delivery, Delivery::Stream { include_usage: true });
}

#[test]
fn null_is_absent_and_fields_without_meaning_are_accepted() {
    let plain = ChatRequest::parse(&chat_body(json!({}))).unwrap();
    assert_eq!(plain.delivery, Delivery::Whole);
    assert_eq!(
        (plain.generation.temperature, plain.generation.top_p, plain.generation.max_tokens),
        (1.0, 1.0, None)
    );
    let with_nulls = chat_body(json!({
        "temperature": null, "top_p": null, "n": null, "stop": null, "stream": null, "stream_options": null,
        "tools": null, "tool_choice": null, "response_format": null, "logit_bias": null, "logprobs": null,
        "max_tokens": null, "max_completion_tokens": null, "seed": null, "chat_template": null,
    }));
    assert_eq!(ChatRequest::parse(&with_nulls).unwrap(), plain);
    let with_meaningless = chat_body(json!({
        "user": "u", "metadata": {"a": "b"}, "store": true, "service_tier": "auto", "reasoning_effort": "low",
        "verbosity": "low", "prompt_cache_key": "k", "safety_identifier": "s", "prediction": {"type": "content"},
        "parallel_tool_calls": true, "cache_salt": "salt", "never_heard_of": [1, {"x": 2}],
    }));
    assert_eq!(ChatRequest::parse(&with_meaningless).unwrap(), plain);
    let with_defaults = chat_body(json!({
        "n": 1, "logprobs": false, "top_logprobs": 0, "tools": [], "tool_choice": "none", "functions": [],
        "response_format": {"type": "text"}, "modalities": ["text"], "repetition_penalty": 1.0, "top_k": -1,
        "min_p": 0, "min_tokens": 0, "stop": [], "logit_bias": {}, "skip_special_tokens": true,
    }));
    assert_eq!(ChatRequest::parse(&with_defaults).unwrap(), plain);
}

#[test]
fn refuses_documented_fields_that_are_not_offered_by_name() {
    for (change, param) in [
        (json!({"tools": [{"type": "web_search"}]}), "tools[0].type"),
        (json!({"tools": [{"type": "custom", "custom": {"name": CANARY}}]}), "tools[0].type"),
        (json!({"tool_choice": {"type": "allowed_tools", "allowed_tools": {}}}), "tool_choice.type"),
        (json!({"tool_choice": {"type": "custom", "custom": {"name": CANARY}}}), "tool_choice.type"),
        (json!({"functions": [{}]}), "functions"),
        (json!({"function_call": {"name": "f"}}), "function_call"),
        (json!({"modalities": ["text", "audio"]}), "modalities"),
        (json!({"audio": {"voice": "x"}}), "audio"),
        (json!({"web_search_options": {}}), "web_search_options"),
        (json!({"chat_template": CANARY}), "chat_template"),
        (json!({"chat_template_kwargs": {"a": 1}}), "chat_template_kwargs"),
        (json!({"echo": true}), "echo"),
        (json!({"add_generation_prompt": false}), "add_generation_prompt"),
        (json!({"continue_final_message": true}), "continue_final_message"),
        (json!({"documents": [{}]}), "documents"),
        (json!({"return_token_ids": true}), "return_token_ids"),
        (json!({"truncate_prompt_tokens": 1}), "truncate_prompt_tokens"),
        (json!({"prompt_logprobs": 1}), "prompt_logprobs"),
        (json!({"prompt_embeds": "AAAA"}), "prompt_embeds"),
        (json!({"structured_outputs": {"grammar": "root ::= x"}}), "structured_outputs.grammar"),
        (json!({"structured_outputs": {"whitespace_pattern": " "}}), "structured_outputs.whitespace_pattern"),
        (json!({"guided_grammar": "root ::= x"}), "guided_grammar"),
        (json!({"response_format": {"type": "structural_tag"}}), "response_format.type"),
        (json!({"response_format": {"type": "json_object", "schema": {}}}), "response_format.schema"),
        (json!({"use_beam_search": true}), "use_beam_search"),
        (json!({"include_stop_str_in_output": true}), "include_stop_str_in_output"),
        (json!({"skip_special_tokens": false}), "skip_special_tokens"),
        (json!({"bad_words": ["x"]}), "bad_words"),
        (json!({"priority": 1}), "priority"),
    ] {
        chat_refused(change.clone(), param);
        let error = ChatRequest::parse(&chat_body(change)).unwrap_err();
        assert_eq!(error.code(), Some("unsupported_parameter"));
        assert!(error.message().contains(param));
    }
    for (change, param) in [
        (json!({"best_of": 2}), "best_of"),
        (json!({"echo": true}), "echo"),
        (json!({"suffix": CANARY}), "suffix"),
        (json!({"chat_template": "x"}), "chat_template"),
    ] {
        completion_refused(change, param);
    }
    for (change, param) in [
        (json!({"messages": [{}]}), "messages"),
        (json!({"truncate_prompt_tokens": -1}), "truncate_prompt_tokens"),
        (json!({"normalize": false}), "normalize"),
    ] {
        embedding_refused(change, param);
    }
}

#[test]
fn reads_what_is_asked_of_tokens_choices_and_ends() {
    let chat = |change| ChatRequest::parse(&chat_body(change)).unwrap().generation;
    let plain = chat(json!({}));
    assert_eq!((plain.n, plain.logprobs, plain.min_tokens, plain.repetition_penalty), (1, None, 0, 1.0));
    assert_eq!(chat(json!({"logprobs": true})).logprobs, Some(0));
    assert_eq!(chat(json!({"logprobs": true, "top_logprobs": 20})).logprobs, Some(20));
    let asked = chat(json!({
        "n": 16, "repetition_penalty": 1.25, "stop_token_ids": [3, 0], "min_tokens": 2, "max_tokens": 2,
    }));
    assert_eq!((asked.n, asked.repetition_penalty, asked.min_tokens), (16, 1.25, 2));
    assert_eq!(asked.stop_token_ids, [3, 0]);
    let completion = |change| CompletionRequest::parse(&completion_body(change)).unwrap();
    assert_eq!(completion(json!({"logprobs": 5})).generation.logprobs, Some(5));
    assert_eq!(completion(json!({"logprobs": 0})).generation.logprobs, Some(0));
    let most = completion(json!({"n": 16, "prompt": vec!["x"; 8], "best_of": 1}));
    assert_eq!((most.prompts.len(), most.generation.n), (8, 16));
}

#[test]
fn refuses_too_much_of_tokens_choices_and_ends() {
    for (change, param) in [
        (json!({"n": 0}), "n"),
        (json!({"n": 17}), "n"),
        (json!({"logprobs": 1}), "logprobs"),
        (json!({"top_logprobs": 3}), "top_logprobs"),
        (json!({"logprobs": false, "top_logprobs": 1}), "top_logprobs"),
        (json!({"logprobs": true, "top_logprobs": 21}), "top_logprobs"),
        (json!({"repetition_penalty": 0}), "repetition_penalty"),
        (json!({"repetition_penalty": 10.5}), "repetition_penalty"),
        (json!({"repetition_penalty": 1e-37}), "repetition_penalty"),
        (json!({"guided_regex": "a\\"}), "guided_regex"),
        (json!({"structured_outputs": {"regex": "\\\\\\"}}), "structured_outputs.regex"),
        (json!({"stop_token_ids": vec![1; 65]}), "stop_token_ids"),
        (json!({"stop_token_ids": [-1]}), "stop_token_ids"),
        (json!({"stop_token_ids": 1}), "stop_token_ids"),
        (json!({"min_tokens": -1}), "min_tokens"),
        (json!({"min_tokens": 3, "max_tokens": 2}), "min_tokens"),
    ] {
        chat_refused(change, param);
    }
    for (change, param) in [
        (json!({"logprobs": 6}), "logprobs"),
        (json!({"logprobs": true}), "logprobs"),
        (json!({"n": 16, "prompt": vec!["x"; 9]}), "n"),
        (json!({"min_tokens": 17}), "min_tokens"),
    ] {
        completion_refused(change, param);
    }
}

#[test]
fn reads_every_way_to_ask_for_a_form() {
    let schema = json!({"properties": {"a": {}, "z": {}}, "type": "object"});
    let json_schema = json!({"name": "n", "description": "d", "strict": true, "schema": schema});
    let text = schema.to_string();
    let wanted = FormKind::JsonSchema(text.clone());
    for (change, field, kind) in [
        (json!({"response_format": {"type": "json_object"}}), "response_format", FormKind::JsonObject),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": json_schema}}),
            "response_format",
            wanted.clone(),
        ),
        (json!({"guided_json": schema}), "guided_json", wanted.clone()),
        (json!({"guided_json": text}), "guided_json", wanted.clone()),
        (json!({"structured_outputs": {"json": schema}}), "structured_outputs", wanted),
        (json!({"structured_outputs": {"json_object": true}}), "structured_outputs", FormKind::JsonObject),
        (json!({"guided_regex": "a+"}), "guided_regex", FormKind::Regex("a+".to_owned())),
        (
            json!({"structured_outputs": {"regex": "a+"}}),
            "structured_outputs",
            FormKind::Regex("a+".to_owned()),
        ),
        (
            json!({"guided_choice": ["b", "a"]}),
            "guided_choice",
            FormKind::Choice(vec!["b".into(), "a".into()]),
        ),
        (
            json!({"structured_outputs": {"choice": ["b"]}}),
            "structured_outputs",
            FormKind::Choice(vec!["b".into()]),
        ),
    ] {
        let form = ChatRequest::parse(&chat_body(change.clone())).unwrap().generation.form.unwrap();
        assert_eq!((form.field, form.kind), (field, kind.clone()));
        let form = CompletionRequest::parse(&completion_body(change)).unwrap().generation.form.unwrap();
        assert_eq!((form.field, form.kind), (field, kind));
    }
    for nothing in [
        json!({"response_format": {"type": "text"}}),
        json!({"structured_outputs": {}}),
        json!({"structured_outputs": {CANARY: null}}),
        json!({"structured_outputs": {"disable_any_whitespace": true, "json": null}, "guided_regex": null}),
    ] {
        assert_eq!(ChatRequest::parse(&chat_body(nothing)).unwrap().generation.form, None);
    }
}

#[test]
fn a_schema_keeps_the_order_of_its_properties() {
    let schema = r#"{"type":"object","properties":{"z":{"const":[1,-2.5,null,true]},"a":{}}}"#;
    let body = format!(r#"{{"model":"m","prompt":"p","guided_json":{schema}}}"#);
    let form = CompletionRequest::parse(body.as_bytes()).unwrap().generation.form.unwrap();
    assert_eq!(form.kind, FormKind::JsonSchema(schema.to_owned()));
}

#[test]
fn refuses_forms_that_cannot_be_one() {
    let schema = |inner: Value| json!({"response_format": {"type": "json_schema", "json_schema": inner}});
    let at = |name: &str| format!("response_format.json_schema.{name}");
    for (change, param) in [
        (json!({"response_format": CANARY}), "response_format".to_owned()),
        (json!({"response_format": {}}), "response_format.type".to_owned()),
        (json!({"response_format": {"type": "json_schema"}}), "response_format.json_schema".to_owned()),
        (schema(json!({"schema": {}})), at("name")),
        (schema(json!({"name": "n".repeat(65), "schema": {}})), at("name")),
        (schema(json!({"name": "n"})), at("schema")),
        (schema(json!({"name": "n", "schema": true})), at("schema")),
        (schema(json!({"name": "n", "schema": {}, "strict": 1})), at("strict")),
        (schema(json!({"name": "n", "schema": {"description": CANARY.repeat(6_000)}})), at("schema")),
        (json!({"guided_json": CANARY}), "guided_json".to_owned()),
        (json!({"guided_json": []}), "guided_json".to_owned()),
        (json!({"guided_regex": ""}), "guided_regex".to_owned()),
        (json!({"guided_regex": "a\u{0}"}), "guided_regex".to_owned()),
        (json!({"guided_regex": "a".repeat(4097)}), "guided_regex".to_owned()),
        (json!({"guided_choice": []}), "guided_choice".to_owned()),
        (json!({"guided_choice": [CANARY, ""]}), "guided_choice".to_owned()),
        (json!({"guided_choice": [CANARY, 1]}), "guided_choice".to_owned()),
        (json!({"guided_choice": vec!["a"; 1025]}), "guided_choice".to_owned()),
        (json!({"guided_choice": vec!["a".repeat(1000); 66]}), "guided_choice".to_owned()),
        (json!({"structured_outputs": {"json": {}, "regex": "a"}}), "structured_outputs".to_owned()),
        (json!({"structured_outputs": {"regexp": "a"}}), "structured_outputs".to_owned()),
        (json!({"structured_outputs": {"json": {}, CANARY: 1}}), "structured_outputs".to_owned()),
        (json!({"structured_outputs": {"choice": CANARY}}), "structured_outputs.choice".to_owned()),
        (
            json!({"response_format": {"type": "json_object"}, "guided_choice": ["a"]}),
            "guided_choice".to_owned(),
        ),
    ] {
        chat_refused(change, &param);
    }
}

#[test]
fn case_38_refuses_extreme_parameters() {
    for (change, param) in [
        (json!({"temperature": 2.01}), "temperature"),
        (json!({"temperature": -0.01}), "temperature"),
        (json!({"temperature": "1"}), "temperature"),
        (json!({"temperature": true}), "temperature"),
        (json!({"top_p": 1.01}), "top_p"),
        (json!({"top_p": -1}), "top_p"),
        (json!({"top_k": -2}), "top_k"),
        (json!({"top_k": 1.5}), "top_k"),
        (json!({"top_k": u64::MAX}), "top_k"),
        (json!({"min_p": 1.5}), "min_p"),
        (json!({"frequency_penalty": 2.5}), "frequency_penalty"),
        (json!({"presence_penalty": -2.5}), "presence_penalty"),
        (json!({"seed": 1.5}), "seed"),
        (json!({"seed": 1e30}), "seed"),
        (json!({"max_tokens": 0}), "max_tokens"),
        (json!({"max_tokens": -1}), "max_tokens"),
        (json!({"max_tokens": u64::MAX}), "max_tokens"),
        (json!({"max_completion_tokens": 0}), "max_completion_tokens"),
        (json!({"max_completion_tokens": "8"}), "max_completion_tokens"),
        (json!({"max_tokens": 1, "max_completion_tokens": 2}), "max_tokens"),
        (json!({"stop": ["1", "2", "3", "4", "5"]}), "stop"),
        (json!({"stop": ""}), "stop"),
        (json!({"stop": ["ok", ""]}), "stop"),
        (json!({"stop": [1]}), "stop"),
        (json!({"stop": 7}), "stop"),
        (json!({"stop": "s".repeat(MAX_STOP_BYTES + 1)}), "stop"),
        (json!({"stop": "a\u{0}b"}), "stop"),
        (json!({"logit_bias": {"1": 100.5}}), "logit_bias"),
        (json!({"logit_bias": {CANARY: 1}}), "logit_bias"),
        (json!({"logit_bias": {"-1": 1}}), "logit_bias"),
        (json!({"logit_bias": {"+1": 1}}), "logit_bias"),
        (json!({"logit_bias": {"1": "1"}}), "logit_bias"),
        (json!({"logit_bias": [1]}), "logit_bias"),
        (json!({"ignore_eos": 1}), "ignore_eos"),
        (json!({"stream": "yes"}), "stream"),
        (json!({"stream_options": {}}), "stream_options"),
        (json!({"stream": false, "stream_options": {"include_usage": true}}), "stream_options"),
        (json!({"stream": true, "stream_options": 1}), "stream_options"),
        (json!({"stream": true, "stream_options": {"include_usage": 1}}), "stream_options.include_usage"),
    ] {
        chat_refused(change, param);
    }
    let many: Vec<_> = (0..=MAX_LOGIT_BIAS).map(|id| (id.to_string(), json!(1))).collect();
    chat_refused(json!({"logit_bias": serde_json::Map::from_iter(many)}), "logit_bias");
}

#[test]
fn case_38_refuses_conversations_out_of_shape() {
    for (change, param) in [
        (json!({"cache_salt": ""}), "cache_salt"),
        (json!({"model": ""}), "model"),
        (json!({"model": 1}), "model"),
        (json!({"model": null}), "model"),
        (json!({"model": "x".repeat(MAX_MODEL_NAME_BYTES + 1)}), "model"),
        (json!({"model": "a\u{0}"}), "model"),
        (json!({"messages": null}), "messages"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": CANARY}), "messages"),
        (json!({"messages": [CANARY]}), "messages[0]"),
        (json!({"messages": [{"content": CANARY}]}), "messages[0].role"),
        (json!({"messages": [{"role": CANARY, "content": "x"}]}), "messages[0].role"),
        (json!({"messages": [{"role": "function", "content": "x"}]}), "messages[0].role"),
        (json!({"messages": [{"role": 3, "content": "x"}]}), "messages[0].role"),
        (json!({"messages": [{"role": "user", "content": "x"}, {"role": "user"}]}), "messages[1].content"),
        (json!({"messages": [{"role": "user", "content": null}]}), "messages[0].content"),
        (json!({"messages": [{"role": "user", "content": 5}]}), "messages[0].content"),
        (json!({"messages": [{"role": "user", "content": []}]}), "messages[0].content"),
        (json!({"messages": [{"role": "user", "content": "a\u{0}b"}]}), "messages[0].content"),
        (json!({"messages": [{"role": "user", "content": [CANARY]}]}), "messages[0].content[0]"),
        (
            json!({"messages": [{"role": "user", "content": [{"text": CANARY}]}]}),
            "messages[0].content[0].type",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "text"}]}]}),
            "messages[0].content[0].text",
        ),
        (json!({"messages": [{"role": "user", "content": "x", "name": 1}]}), "messages[0].name"),
        (
            json!({"messages": [{"role": "assistant", "content": "x", "tool_calls": [{}]}]}),
            "messages[0].tool_calls[0].type",
        ),
    ] {
        chat_refused(change, param);
    }
    let parts = vec![json!({"type": "text", "text": "x"}); MAX_PARTS + 1];
    chat_refused(json!({"messages": [{"role": "user", "content": parts}]}), "messages[0].content");
}

#[test]
fn case_38_refuses_a_flood_of_messages_in_bounded_time() {
    let messages =
        |count: usize| format!("{{\"model\":\"m\",\"messages\":[{}]}}", vec!["{}"; count].join(","));
    let at_limit = vec![json!({"role": "user", "content": "x"}); MAX_MESSAGES];
    ChatRequest::parse(&chat_body(json!({"messages": at_limit}))).unwrap();
    for count in [MAX_MESSAGES + 1, 100_000, 1_000_000] {
        let body = messages(count);
        let begun = Instant::now();
        let error = ChatRequest::parse(body.as_bytes()).unwrap_err();
        // The case asks for 50 ms; the rest is room for a busy machine.
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        assert_eq!(error.status(), 400);
    }
}

#[test]
fn case_39_refuses_everything_that_would_be_fetched_or_decoded() {
    for part in [
        json!({"type": "image_url", "image_url": {"url": "http://169.254.169.254/latest/meta-data"}}),
        json!({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}),
        json!({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}),
        json!({"type": "file", "file": {"file_id": "f"}}),
        json!({"type": "image_embeds", "image_embeds": "AAAA"}),
        json!({"type": 4}),
    ] {
        chat_refused(
            json!({"messages": [{"role": "user", "content": [part]}]}),
            "messages[0].content[0].type",
        );
    }
    completion_refused(json!({"prompt_embeds": "gASVAAAA"}), "prompt_embeds");
}

#[test]
fn reads_the_four_forms_of_input() {
    let prompts =
        |value: Value| CompletionRequest::parse(&completion_body(json!({"prompt": value}))).unwrap().prompts;
    let text = |text: &str| Input::Text(text.to_owned());
    assert_eq!(prompts(json!("a")), [text("a")]);
    assert_eq!(prompts(json!(["a", "b"])), [text("a"), text("b")]);
    assert_eq!(prompts(json!([1, 2])), [Input::Tokens(vec![1, 2])]);
    assert_eq!(prompts(json!([[1], [2, 3]])), [Input::Tokens(vec![1]), Input::Tokens(vec![2, 3])]);
    let request = EmbeddingRequest::parse(&embedding_body(json!({
        "input": ["a", "b"], "encoding_format": "base64", "dimensions": 384, "user": "u"
    })))
    .unwrap();
    assert_eq!(request.inputs, [text("a"), text("b")]);
    assert_eq!((request.encoding, request.dimensions), (Encoding::Base64, Some(384)));
    assert_eq!(EmbeddingRequest::parse(&embedding_body(json!({}))).unwrap().encoding, Encoding::Float);
    let tokens = CompletionRequest::parse(&completion_body(json!({}))).unwrap().generation.max_tokens;
    assert_eq!(tokens, Some(DEFAULT_COMPLETION_TOKENS));
}

#[test]
fn refuses_inputs_that_are_empty_mixed_or_too_many() {
    for (input, param) in [
        (json!(null), "input"),
        (json!(""), "input"),
        (json!([]), "input"),
        (json!([CANARY, ""]), "input[1]"),
        (json!([[]]), "input[0]"),
        (json!([[1], []]), "input[1]"),
        (json!([CANARY, 1]), "input"),
        (json!([1, CANARY]), "input"),
        (json!([[1], CANARY]), "input"),
        (json!([[CANARY]]), "input[0]"),
        (json!([-1]), "input"),
        (json!([1.5]), "input[0]"),
        (json!([u64::MAX]), "input"),
        (json!({"text": CANARY}), "input"),
        (json!(7), "input"),
        (json!("a\u{0}"), "input"),
        (json!(vec!["x"; MAX_INPUTS + 1]), "input"),
    ] {
        embedding_refused(json!({"input": input}), param);
    }
    EmbeddingRequest::parse(&embedding_body(json!({"input": vec!["x"; MAX_INPUTS]}))).unwrap();
    completion_refused(json!({"prompt": vec!["x"; MAX_PROMPTS + 1]}), "prompt");
    completion_refused(json!({"prompt": null}), "prompt");
    embedding_refused(json!({"encoding_format": "int8"}), "encoding_format");
    embedding_refused(json!({"dimensions": 0}), "dimensions");
}

#[test]
fn tiny_temperatures_and_a_top_p_of_zero_stay_usable() {
    let generation =
        ChatRequest::parse(&chat_body(json!({"temperature": 1e-30, "top_p": 0}))).unwrap().generation;
    assert_eq!(generation.temperature, 0.0);
    assert!(generation.top_p > 0.0);
}

#[test]
fn case_34_broken_bodies_are_not_quoted() {
    for body in [
        format!("{{\"model\":\"m\",\"messages\":\"{CANARY}"),
        format!("{{\"{CANARY}\":1,\"{CANARY}\":2}}"),
        CANARY.to_owned(),
        format!("{{\"a\":{CANARY}}}"),
        format!("[\"{CANARY}\"]"),
        format!("{{\"model\":\"m\"}} {CANARY}"),
        format!("{{\"a\":\"{CANARY}\\ud800\"}}"),
        format!("{{\"model\":\"m\",\"messages\":[],\"temperature\":\"{CANARY}\"}}"),
    ] {
        let error = ChatRequest::parse(body.as_bytes()).unwrap_err();
        assert_eq!(error.status(), 400);
        assert!(!error.to_json().contains(CANARY), "{error}");
    }
}

proptest! {
    #[test]
    fn any_bytes_give_a_value_or_a_client_error(body in proptest::collection::vec(any::<u8>(), 0..512)) {
        for status in statuses(&body) {
            prop_assert!((400..500).contains(&status));
        }
    }

    #[test]
    fn any_shuffle_of_json_gives_a_value_or_a_client_error(
        body in r#"\{("(model|messages|input|prompt|stop|role|content|n)":(\[|\]|\{|\}|"x"|-?[0-9]{1,20}|null|,){1,9},?){0,9}\}?"#
    ) {
        for status in statuses(body.as_bytes()) {
            prop_assert!((400..500).contains(&status));
        }
    }
}

fn statuses(body: &[u8]) -> Vec<u16> {
    let errors = [
        ChatRequest::parse(body).err(),
        CompletionRequest::parse(body).err(),
        EmbeddingRequest::parse(body).err(),
    ];
    errors.into_iter().flatten().map(|error| error.status()).collect()
}

/// A token id of a caller, and how a list that begins with the canary's bytes is printed.
const TOKEN: &str = "471147";
const BYTES: &str = "99, 97, 110";

#[test]
fn nothing_that_is_printed_holds_the_callers_text() {
    let asked = json!({"stop": [CANARY], "stop_token_ids": [471_147], "logit_bias": {"471147": 1}});
    let mut printed = String::new();
    for form in [
        json!({"guided_choice": [CANARY]}),
        json!({"guided_regex": CANARY}),
        json!({"guided_json": {"title": CANARY}}),
        json!({"response_format": {"type": "json_object"}}),
    ] {
        let mut change = asked.clone();
        merge(&mut change, form);
        printed += &format!("{:?}", ChatRequest::parse(&chat_body(change.clone())).unwrap());
        printed += &format!("{:?}", CompletionRequest::parse(&completion_body(change)).unwrap());
    }
    for input in [json!(CANARY), json!([471_147]), json!([[471_147], [471_147]])] {
        printed +=
            &format!("{:?}", EmbeddingRequest::parse(&embedding_body(json!({"input": input}))).unwrap());
        printed +=
            &format!("{:?}", CompletionRequest::parse(&completion_body(json!({"prompt": input}))).unwrap());
    }
    let body = json!({"model": "m", "query": CANARY, "documents": [CANARY]}).to_string();
    printed += &format!("{:?}", RerankRequest::parse(body.as_bytes()).unwrap());
    let spelled = Spelled { bytes: CANARY.as_bytes().to_vec(), logprob: -1.0 };
    let token = Token { own: spelled.clone(), top: vec![spelled] };
    let choice = Choice {
        text: CANARY.to_owned(),
        calls: Vec::new(),
        finish: Finish::Stop,
        tokens: Some(vec![token.clone()]),
    };
    let part = Part { text: CANARY, tokens: std::slice::from_ref(&token), offset: 0 };
    printed += &format!("{choice:?}{token:?}{part:?}");
    assert!(printed.contains("Message") && printed.contains("Tokens(1)"), "{printed}");
    for secret in [CANARY, TOKEN, BYTES] {
        assert!(!printed.contains(secret), "{secret} in {printed}");
    }
}

//! The OpenAPI document: the checked-in copy is current, it is whole in itself, and answers have the shapes it tells of.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test helper that fails is a failed test"
)]

use anchorhold_api::*;
use serde_json::{Value, json};

fn document() -> Value {
    serde_json::from_slice(&openapi()).unwrap()
}

/// Rewritten by `UPDATE_OPENAPI=1`.
#[test]
fn the_checked_in_copy_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        let mut text = serde_json::to_string_pretty(&sorted(document())).unwrap();
        text.push('\n');
        std::fs::write(path, text).unwrap();
    }
    let checked_in: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(checked_in, document(), "run the tests with UPDATE_OPENAPI=1");
}

/// With keys in order, whatever order the library keeps.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let ordered: std::collections::BTreeMap<_, _> =
                map.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            Value::Object(ordered.into_iter().collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(sorted).collect()),
        other => other,
    }
}

fn walk(value: &Value, visit: &mut impl FnMut(&str, &Value)) {
    for (key, below) in value.as_object().into_iter().flatten() {
        visit(key, below);
        walk(below, visit);
    }
    value.as_array().into_iter().flatten().for_each(|below| walk(below, visit));
}

#[test]
fn every_reference_leads_somewhere_and_every_operation_has_its_own_id() {
    let document = document();
    let (mut references, mut ids) = (0, Vec::new());
    walk(&document, &mut |key, value| match key {
        "$ref" => {
            let pointer = value.as_str().unwrap().strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
            references += 1;
        }
        "operationId" => ids.push(value.clone()),
        _ => {}
    });
    assert!(references > 50 && ids.len() > 12);
    let all = ids.len();
    ids.sort_by_key(ToString::to_string);
    ids.dedup();
    assert_eq!(ids.len(), all);
}

/// Whether the value has this schema. Knows the words that the document uses, and no others.
fn fits(value: &Value, schema: &Value, root: &Value) -> bool {
    schema.as_object().unwrap().iter().all(|(word, wanted)| match word.as_str() {
        "$ref" => fits(value, root.pointer(wanted.as_str().unwrap().trim_start_matches('#')).unwrap(), root),
        "anyOf" => wanted.as_array().unwrap().iter().any(|one| fits(value, one, root)),
        "type" => match wanted {
            Value::Array(kinds) => kinds.iter().any(|kind| is_a(value, kind)),
            kind => is_a(value, kind),
        },
        "enum" => wanted.as_array().unwrap().contains(value),
        "const" => wanted == value,
        "minimum" => value.as_f64().is_none_or(|number| number >= wanted.as_f64().unwrap()),
        "maximum" => value.as_f64().is_none_or(|number| number <= wanted.as_f64().unwrap()),
        "minLength" => {
            value.as_str().is_none_or(|text| text.chars().count() as u64 >= wanted.as_u64().unwrap())
        }
        "maxLength" => {
            value.as_str().is_none_or(|text| text.chars().count() as u64 <= wanted.as_u64().unwrap())
        }
        "minItems" => value.as_array().is_none_or(|list| list.len() as u64 >= wanted.as_u64().unwrap()),
        "maxItems" => value.as_array().is_none_or(|list| list.len() as u64 <= wanted.as_u64().unwrap()),
        "maxProperties" => value.as_object().is_none_or(|map| map.len() as u64 <= wanted.as_u64().unwrap()),
        "items" => value.as_array().is_none_or(|list| list.iter().all(|item| fits(item, wanted, root))),
        "required" => value.as_object().is_none_or(|map| {
            wanted.as_array().unwrap().iter().all(|name| map.contains_key(name.as_str().unwrap()))
        }),
        "properties" => value.as_object().is_none_or(|map| {
            map.iter().all(|(name, value)| wanted.get(name).is_none_or(|schema| fits(value, schema, root)))
        }),
        "additionalProperties" => value.as_object().is_none_or(|map| {
            let known = |name: &String| schema["properties"].get(name).is_some();
            map.iter().filter(|(name, _)| !known(name)).all(|(_, value)| match wanted {
                Value::Bool(allowed) => *allowed,
                of => fits(value, of, root),
            })
        }),
        "description" | "default" | "x-anchorhold-offered" => true,
        other => panic!("{other}"),
    })
}

fn is_a(value: &Value, kind: &Value) -> bool {
    match kind.as_str().unwrap() {
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        other => panic!("{other}"),
    }
}

fn check(name: &str, value: &Value) {
    let root = document();
    assert!(fits(value, &root["components"]["schemas"][name], &root), "{name}: {value}");
}

fn read(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// The object of each event.
fn events(event: &str) -> Value {
    read(event.trim().strip_prefix("data: ").unwrap().as_bytes())
}

#[test]
fn answers_have_the_shapes_that_the_document_tells() {
    let head = Head { id: "x".to_owned(), created: 1, model: "m".to_owned() };
    let spelled = || Spelled { bytes: vec![0xf0, 0x9f], logprob: -0.5 };
    let tokens = || vec![Token { own: spelled(), top: vec![spelled()] }];
    let usage = Usage::new(3, 1, 2);
    for told in [None, Some(tokens())] {
        let calls = vec![ToolCall::begun("c".to_owned(), "f".to_owned())];
        let choice = Choice { text: String::new(), calls, finish: Finish::ToolCalls, tokens: told };
        check("ChatCompletion", &read(&chat_completion(&head, std::slice::from_ref(&choice), usage)));
        check("TextCompletion", &read(&text_completion(&head, &[choice], usage)));
    }
    for (surface, name) in
        [(Surface::Chat, "ChatCompletionChunk"), (Surface::Completion, "TextCompletionChunk")]
    {
        for include_usage in [false, true] {
            let mut frames = ChoiceFrames::new(surface, head.clone(), include_usage);
            let mut written = frames.begin(1);
            let told = tokens();
            for tokens in [&[][..], &told] {
                written.extend(frames.delta(0, Part { text: "t", tokens, offset: 0 }));
            }
            if surface == Surface::Chat {
                written.extend(frames.call(0, CallDelta::Begin { id: "c", name: "f" }));
                written.extend(frames.call(0, CallDelta::Arguments("{}")));
            }
            written.extend(frames.finish(0, Finish::Stop));
            written.extend(frames.end(usage).before);
            assert!(written.len() >= 3);
            written.iter().for_each(|event| check(name, &events(event)));
        }
    }
    let tool = json!({"type": "function", "name": "f", "parameters": {}});
    let body =
        json!({"model": "m", "input": "x", "tools": [tool], "instructions": "i", "metadata": {"k": "v"}});
    let settings = ResponsesRequest::parse(body.to_string().as_bytes()).unwrap().settings;
    for finish in [Finish::Stop, Finish::Length] {
        let mut frames = ResponseFrames::new(head.clone(), settings.clone());
        frames.begin(1);
        frames.delta(0, Part { text: "t", tokens: &tokens(), offset: 0 });
        frames.call(0, CallDelta::Begin { id: "c", name: "f" });
        frames.call(0, CallDelta::Arguments("{}"));
        frames.finish(0, finish);
        check("Response", &read(&frames.whole(usage)));
    }
    for encoding in [Encoding::Float, Encoding::Base64] {
        check("Embeddings", &read(&embeddings("m", &[vec![0.5]], encoding, 1)));
    }
    for echo in [false, true] {
        let body = json!({"model": "m", "query": "q", "documents": ["a"], "return_documents": echo});
        let asked = RerankRequest::parse(body.to_string().as_bytes()).unwrap();
        check("Reranking", &read(&reranking("r", &asked, &[0.5], 3)));
    }
    let card = |dimensions| ModelCard {
        id: "m".to_owned(),
        created: 1,
        kind: "embedding",
        max_model_len: 5,
        dimensions,
        version: 1,
        manifest_sha256: String::new(),
    };
    check("Model", &read(&model(&card(Some(4)))));
    check("Models", &read(&models(&[card(None)])));
    check("Tokens", &read(&tokenized(&[1], None, 5)));
    check("Tokens", &read(&tokenized(&[1], Some(&[vec![65]]), 5)));
    check("Text", &read(&detokenized("t")));
    for error in [ApiError::internal(), ApiError::invalid("n", "wrong"), ApiError::unauthorized()] {
        check("Error", &read(error.to_json().as_bytes()));
    }
}

#[test]
fn what_the_parsers_take_and_refuse_the_schemas_do_too() {
    type Parse = fn(&[u8]) -> bool;
    let chat: Parse = |body| ChatRequest::parse(body).is_ok();
    let text: Parse = |body| CompletionRequest::parse(body).is_ok();
    let embedding: Parse = |body| EmbeddingRequest::parse(body).is_ok();
    let rerank: Parse = |body| RerankRequest::parse(body).is_ok();
    let tokens: Parse = |body| TokenizeRequest::parse(body).is_ok();
    let messages = json!([{"role": "user", "content": "x"}]);
    let root = document();
    for (name, parse, base, changes) in [
        ("ChatRequest", chat, json!({"model": "m", "messages": messages}), GENERATION),
        ("CompletionRequest", text, json!({"model": "m", "prompt": "x"}), GENERATION),
        (
            "EmbeddingRequest",
            embedding,
            json!({"model": "m", "input": ["x", "y"]}),
            r#"[[{"encoding_format": "base64"}, {"dimensions": null}, {"input": [[1, 2]]}, {"normalize": true}],
                [{"encoding_format": "hex"}, {"dimensions": 0}, {"input": []}, {"input": ""}, {"normalize": false}]]"#,
        ),
        (
            "RerankRequest",
            rerank,
            json!({"model": "m", "query": "q", "documents": ["x"]}),
            r#"[[{"top_n": 1}, {"documents": [{"text": "x"}]}], [{"top_n": 0}, {"query": ""}, {"documents": []}]]"#,
        ),
        (
            "TokenizeRequest",
            tokens,
            json!({"model": "m", "prompt": ""}),
            r#"[[{"add_special_tokens": false}, {"return_token_strs": null}], [{"prompt": ["x"]}, {"prompt": null}]]"#,
        ),
    ] {
        let schema = &root["components"]["schemas"][name];
        let changes: [Vec<Value>; 2] = serde_json::from_str(changes).unwrap();
        let [taken, refused] = changes.map(|changes| {
            changes.into_iter().map(|change| {
                let mut body = base.clone();
                for (key, value) in change.as_object().unwrap() {
                    body[key] = value.clone();
                }
                body
            })
        });
        for (wanted, bodies) in [(true, taken.collect::<Vec<_>>()), (false, refused.collect())] {
            for body in bodies {
                assert_eq!(parse(body.to_string().as_bytes()), wanted, "{body}");
                assert_eq!(fits(&body, schema, &root), wanted, "{body}");
            }
        }
    }
}

/// What both kinds of generation take, and what they refuse.
const GENERATION: &str = r#"[
    [{}, {"n": 16}, {"temperature": 2}, {"top_p": 0}, {"top_k": -1}, {"repetition_penalty": 0.01}, {"stop": null},
     {"stop": "x"}, {"stop": ["a", "b", "c", "d"]}, {"seed": 18446744073709551615}, {"logit_bias": {"3": -100}},
     {"stream": true, "stream_options": {}}, {"response_format": {"type": "text"}}, {"user": 3}, {"priority": 0},
     {"structured_outputs": {"choice": ["a"]}}, {"guided_json": {}}, {"truncate_prompt_tokens": null}],
    [{"model": ""}, {"model": null}, {"n": 0}, {"n": 17}, {"n": 1.5}, {"temperature": 2.1}, {"top_p": -1}, {"top_k": -2},
     {"repetition_penalty": 0}, {"stop": ["a", "b", "c", "d", "e"]}, {"stop": ""}, {"seed": "1"}, {"logit_bias": {"3": 101}},
     {"stream": 1}, {"response_format": {"type": "xml"}}, {"response_format": {}}, {"priority": 1}, {"max_tokens": 0},
     {"structured_outputs": {"grammar": "x"}}, {"structured_outputs": {"unknown": 1}}, {"guided_choice": []},
     {"guided_choice": [""]}, {"truncate_prompt_tokens": 1}, {"best_of": 0, "echo": 1, "n": 0}]
]"#;

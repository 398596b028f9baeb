//! What requests about tokens are read as, one case for each refusal, and the shapes of their answers.

use anchorhold_api::*;
use serde_json::{Value, json};

const CANARY: &str = "canary-7f3a";

fn tokenize(body: Value) -> Result<TokenizeRequest, ApiError> {
    TokenizeRequest::parse(body.to_string().as_bytes())
}

fn detokenize(body: Value) -> Result<DetokenizeRequest, ApiError> {
    DetokenizeRequest::parse(body.to_string().as_bytes())
}

#[test]
fn reads_texts_and_conversations() {
    let asked = tokenize(json!({"model": "m", "prompt": ""})).unwrap();
    assert_eq!(asked.source, Source::Text { text: String::new(), add_special_tokens: true });
    assert!(!asked.return_token_strs);
    let asked = tokenize(json!({
        "model": "m", "prompt": CANARY, "add_special_tokens": false, "return_token_strs": true, "messages": null,
    }));
    let asked = asked.unwrap();
    assert_eq!(asked.source, Source::Text { text: CANARY.to_owned(), add_special_tokens: false });
    assert!(asked.return_token_strs && !format!("{asked:?}").contains(CANARY));
    let messages = json!([{"role": "user", "content": [{"type": "text", "text": CANARY}]}]);
    let asked = tokenize(json!({"model": "m", "messages": messages, "add_special_tokens": false})).unwrap();
    let Source::Conversation { messages, .. } = asked.source else { panic!() };
    assert_eq!((messages.len(), messages[0].content.as_str()), (1, CANARY));
    let asked = detokenize(json!({"model": "m", "tokens": [3, 0]})).unwrap();
    assert_eq!(asked.tokens, [3, 0]);
    assert!(detokenize(json!({"model": "m", "tokens": []})).unwrap().tokens.is_empty());
    assert_eq!(
        detokenize(json!({"model": "m", "tokens": vec![1; MAX_DETOKENIZED]})).unwrap().tokens.len(),
        MAX_DETOKENIZED
    );
}

#[test]
fn refuses_by_name_what_it_cannot_cut() {
    let messages = json!([{"role": "user", "content": "x"}]);
    for (body, param) in [
        (json!({"prompt": CANARY}), "model"),
        (json!({"model": "m"}), "prompt"),
        (json!({"model": "m", "prompt": [CANARY]}), "prompt"),
        (json!({"model": "m", "prompt": 3}), "prompt"),
        (json!({"model": "m", "prompt": "a\u{0}"}), "prompt"),
        (json!({"model": "m", "prompt": CANARY, "messages": messages}), "messages"),
        (json!({"model": "m", "messages": []}), "messages"),
        (json!({"model": "m", "messages": messages, "add_special_tokens": true}), "add_special_tokens"),
        (json!({"model": "m", "messages": messages, "chat_template": CANARY}), "chat_template"),
        (
            json!({"model": "m", "messages": messages, "add_generation_prompt": false}),
            "add_generation_prompt",
        ),
        (json!({"model": "m", "prompt": "x", "return_token_strs": 1}), "return_token_strs"),
    ] {
        let error = tokenize(body).unwrap_err();
        assert_eq!((error.status(), error.param()), (400, Some(param)));
        assert!(!error.message().contains(CANARY));
    }
    for body in [
        json!({"model": "m"}),
        json!({"model": "m", "tokens": 3}),
        json!({"model": "m", "tokens": [-1]}),
        json!({"model": "m", "tokens": [0.5]}),
        json!({"model": "m", "tokens": [u64::MAX]}),
        json!({"model": "m", "tokens": ["3"]}),
        json!({"model": "m", "tokens": vec![1; MAX_DETOKENIZED + 1]}),
    ] {
        assert_eq!(detokenize(body).unwrap_err().param(), Some("tokens"));
    }
}

#[test]
fn answers_have_the_shapes_of_vllm() {
    let read = |bytes: Vec<u8>| serde_json::from_slice::<Value>(&bytes).unwrap();
    assert_eq!(
        read(tokenized(&[7, 8], None, 64)),
        json!({"count": 2, "max_model_len": 64, "tokens": [7, 8], "token_strs": null})
    );
    let spelled = [b"a".to_vec(), vec![0xf0, 0x9f]];
    assert_eq!(read(tokenized(&[7, 8], Some(&spelled), 64))["token_strs"], json!(["a", "\u{fffd}"]));
    assert_eq!(read(detokenized("a\"ü")), json!({"prompt": "a\"ü"}));
}

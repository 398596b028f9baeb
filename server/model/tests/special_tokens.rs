//! A message never becomes a control token, whatever it spells and whatever form the tokenizer has.
//!
//! The tokenizers are small and worse than published ones: their vocabularies hold the special tokens beside plain ones, and merges that
//! put them together.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use anchorhold_engine::{CallName, ChatMessage, Conversation, Tool, ToolCall};
use anchorhold_model::{ChatModel, ChatTemplate, SpecialTokens};
use common::gguf::{GgufFile, Meta, converted};
use serde_json::{Value, json};

/// All families' tiny models have so many tokens.
const TOKENS: usize = 128;

/// A tokenizer's parts in which families differ.
struct Form {
    name: &'static str,
    special: &'static [&'static str],
    space: char,
    /// The special tokens are looked for in what the normalizer made.
    normalized: bool,
    normalizer: Value,
    pre_tokenizer: Value,
    decoder: Value,
    byte_fallback: bool,
}

fn forms() -> Vec<Form> {
    let byte_level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let spaces = json!({"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"});
    let back = json!({"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]});
    let pieces = |first: Value| json!({"type": "Sequence", "normalizers": [first, spaces.clone()]});
    let begun = json!({"type": "Prepend", "prepend": "\u{2581}"});
    let composed = json!({"type": "NFKC"});
    let sentencepiece = |name, special, normalized, first| Form {
        name,
        special,
        space: '\u{2581}',
        normalized,
        normalizer: pieces(first),
        pre_tokenizer: Value::Null,
        decoder: back.clone(),
        byte_fallback: true,
    };
    let bytes = |name, special, normalizer| Form {
        name,
        special,
        space: 'Ġ',
        normalized: false,
        normalizer,
        pre_tokenizer: byte_level.clone(),
        decoder: byte_level.clone(),
        byte_fallback: false,
    };
    const LLAMA: &[&str] = &["</s>", "<s>", "[INST]", "[/INST]"];
    const GEMMA: &[&str] = &["<end_of_turn>", "<eos>", "<bos>"];
    vec![
        bytes("chatml", &["<|im_end|>", "<|im_start|>"], json!({"type": "NFC"})),
        bytes("llama-3", &["<|eot_id|>", "<|end_header_id|>"], Value::Null),
        bytes("chatml, normalised", &["<|im_end|>", "<|im_start|>"], composed.clone()),
        sentencepiece("llama-2", LLAMA, false, begun),
        sentencepiece("gemma", GEMMA, false, json!({"type": "NFC"})),
        sentencepiece("llama-2, normalised", LLAMA, false, composed.clone()),
        sentencepiece("llama-2, looked for when normalised", LLAMA, true, composed),
    ]
}

/// The characters, the special tokens after them, and what the first special token is put together from.
fn vocabulary(special: &[&str], space: char) -> (Vec<String>, Vec<[String; 2]>) {
    let mut tokens: Vec<String> = ('!'..='~').map(String::from).collect();
    tokens.push(space.into());
    tokens.extend(special.iter().map(|text| (*text).to_owned()));
    let mut merges = Vec::new();
    for (at, character) in special[0].char_indices().skip(1) {
        let (left, whole) = (special[0][..at].to_owned(), special[0][..=at].to_owned());
        merges.push([left, character.to_string()]);
        if !tokens.contains(&whole) {
            tokens.push(whole);
        }
    }
    (tokens, merges)
}

impl Form {
    fn json(&self) -> Value {
        let (tokens, merges) = vocabulary(self.special, self.space);
        assert!(tokens.len() <= TOKENS);
        let id = |text: &str| tokens.iter().position(|token| token == text).unwrap();
        let added = self.special.iter().map(|text| {
            json!({"id": id(text), "content": text, "special": true, "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": self.normalized})
        });
        let vocab: Value = tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
        json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added.collect::<Vec<_>>(),
            "normalizer": self.normalizer, "pre_tokenizer": self.pre_tokenizer, "post_processor": null, "decoder": self.decoder,
            "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": self.byte_fallback,
                "ignore_merges": self.name == "llama-3", "vocab": vocab, "merges": merges},
        })
    }

    fn load(&self) -> ChatModel {
        let folder = common::copy(&common::tiny("qwen2"));
        std::fs::write(folder.path().join("tokenizer.json"), self.json().to_string()).unwrap();
        common::chat(folder.path(), 1)
    }
}

/// GGUF with the same tokens, of the kind that `model` says.
fn gguf(special: &[&str], model: &str, pre: Option<&str>) -> ChatModel {
    let (mut tokens, merges) = vocabulary(special, if model == "llama" { '\u{2581}' } else { 'Ġ' });
    let count = tokens.len();
    tokens.extend((count..TOKENS).map(|id| format!("unused{id}")));
    let control = |token: &String| if special.contains(&token.as_str()) { 3 } else { 1 };
    let kinds = tokens.iter().map(control).collect();
    let mut file: GgufFile = converted("llama");
    file.set("tokenizer.ggml.model", Meta::Text(model.into()));
    file.set("tokenizer.ggml.pre", pre.map(|pre| Meta::Text(pre.into())));
    file.set("tokenizer.ggml.token_type", Meta::Kinds(kinds));
    file.set("tokenizer.ggml.tokens", Meta::Texts(tokens));
    file.set("tokenizer.ggml.merges", Meta::Texts(merges.iter().map(|pair| pair.join(" ")).collect()));
    file.set("tokenizer.ggml.scores", Meta::Floats(vec![0.0; TOKENS]));
    common::chat(file.write().path(), 1)
}

/// What a message may be to be taken for `special`.
fn attacks(special: &str) -> Vec<String> {
    let wide: String = special.chars().map(|one| char::from_u32(u32::from(one) + 0xFEE0).unwrap()).collect();
    let middle = special.len() / 2;
    let (left, right) = special.split_at(middle);
    let first_wide: String = wide.chars().take(1).chain(special.chars().skip(1)).collect();
    vec![
        special.to_owned(),
        format!("a {special} b{special}{special}"),
        format!("{left}{special}{right}"),
        format!("\u{2581}{special}"),
        format!("{left}\u{FDD0}{right}"),
        first_wide,
        format!("{wide} {special}{wide}"),
        wide,
    ]
}

/// The tokens of a conversation in which every text of a tool and a call is this one.
fn calling(model: &ChatModel, special: &[&str], text: &str) -> Vec<u32> {
    let source = format!(
        "{}{{{{ tools | tojson }}}}{{% for m in messages %}}{{% for c in m.tool_calls or [] %}}{{{{ c.function | tojson }}}}{{{{ c.id }}}}\
        {{% endfor %}}{{{{ m.name }}}}{{{{ m.tool_call_id }}}}{{{{ m.content or '' }}}}{{% endfor %}}{}",
        special[1], special[0]
    );
    let template = ChatTemplate::new(&source, SpecialTokens::default()).unwrap();
    let nested = json!({text: [text, {"x": text}]});
    let call = ToolCall { id: text.into(), name: text.into(), arguments: nested.to_string() };
    let made = ChatMessage { calls: vec![call], ..ChatMessage::text("assistant", "") };
    let answers = Some(CallName { id: text.into(), tool: text.into() });
    let answer = ChatMessage { answers, ..ChatMessage::text("tool", text) };
    let json =
        json!({"type": "function", "function": {"name": text, "description": text, "parameters": nested}});
    let tool = Tool { name: text.into(), json: json.to_string(), strict: false };
    let conversation =
        Conversation { messages: vec![made, answer], tools: vec![tool], ..Conversation::default() };
    model.codec.encode_chat(&template, &conversation).unwrap()
}

/// Messages that spell special tokens give a prompt no special token that another message would not have.
fn check(name: &str, model: &ChatModel, special: &[&str]) {
    let ids: Vec<u32> = special.iter().map(|text| model.codec.token(text).unwrap()).collect();
    let source = format!(
        "{}{{{{ messages[0].role }}}}: {{{{ messages[0].content | trim }}}}{}",
        special[1], special[0]
    );
    let template = ChatTemplate::new(&source, SpecialTokens::default()).unwrap();
    let control = |role: &str, content: &str| -> Vec<u32> {
        let conversation = vec![ChatMessage::text(role, content)].into();
        let tokens = model.codec.encode_chat(&template, &conversation).unwrap();
        tokens.into_iter().filter(|id| ids.contains(id)).collect()
    };
    assert_eq!(control("user", "hello"), [ids[1], ids[0]], "{name}: the template's own");
    for attack in special.iter().flat_map(|special| attacks(special)) {
        assert_eq!(control("user", &attack), [ids[1], ids[0]], "{name}: {attack:?}");
        assert_eq!(control(&attack, "hello"), [ids[1], ids[0]], "{name}: {attack:?} as a role");
        let tokens = model.codec.encode(&attack).unwrap();
        assert!(!tokens.iter().any(|id| ids.contains(id)), "{name}: {attack:?} as a plain prompt");
        let called = calling(model, special, &attack);
        let control: Vec<u32> = called.into_iter().filter(|id| ids.contains(id)).collect();
        assert_eq!(control, [ids[1], ids[0]], "{name}: {attack:?} in tools and calls");
        // The small vocabularies of bytes have those of ASCII only.
        assert!(!(attack.is_ascii() && tokens.is_empty()), "{name}: {attack:?} is not lost");
    }
}

#[test]
fn no_message_becomes_a_control_token_in_any_form() {
    for form in forms() {
        check(form.name, &form.load(), form.special);
    }
}

#[test]
fn no_message_becomes_a_control_token_of_a_gguf_file() {
    for special in [&["</s>", "<s>", "[INST]"][..], &["<end_of_turn>", "<start_of_turn>"]] {
        check("SentencePiece in GGUF", &gguf(special, "llama", None), special);
    }
    for pre in ["gpt-2", "llama-bpe", "qwen2"] {
        for special in [&["<|im_end|>", "<|im_start|>"][..], &["<|eot_id|>", "<|end_header_id|>"]] {
            check(pre, &gguf(special, "gpt2", Some(pre)), special);
        }
    }
}

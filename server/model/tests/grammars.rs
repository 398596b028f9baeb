//! Answers that keep to a form, whatever the model would say, and forms that are refused in bounded work.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use anchorhold_engine::{Constraint, Sampler, Sampling, Structure, Terms, TokenId};
use anchorhold_model::{ChatModel, GrammarError};
use serde_json::value::RawValue;
use serde_json::{Value, json};

const MOST_TOKENS: usize = 400;

fn model() -> ChatModel {
    common::chat(&common::anchor_chat(), 1)
}

/// What a text of pure chance becomes under a form: logits without a model, hot, from this seed. `None` when it did not end.
fn random_text(model: &ChatModel, structure: &Structure, seed: u64, sampling: Sampling) -> Option<String> {
    let mut constraint = model.grammars.constraint(structure).unwrap();
    let vocabulary = model.generator.vocabulary();
    let mut sampler = Sampler::new(Sampling { seed, ..sampling }, &[]);
    let mut tokens = Vec::new();
    for place in 0..MOST_TOKENS {
        // Chance, and a little more of the end the longer it takes, so that texts end.
        let mut logits: Vec<f32> = (0..vocabulary).map(|token| chance(seed, place, token)).collect();
        logits[model.end_tokens[0] as usize] += place as f32 / 8.0;
        logits[usize::from(b'"')] += 1.0;
        let terms = Terms { constraint: Some(constraint.as_mut()), ..Terms::default() };
        let token = sampler.draw(logits, terms).unwrap().token;
        if model.end_tokens.contains(&token) {
            return Some(model.codec.decode(&tokens).unwrap());
        }
        tokens.push(token);
    }
    None
}

/// A number from 0 to 4, by SplitMix64's finalizer.
fn chance(seed: u64, place: usize, token: usize) -> f32 {
    let mut z = (seed << 40) ^ ((place as u64) << 20) ^ token as u64;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z >> 62) as f32 + ((z >> 30) & 0xFF) as f32 / 256.0
}

fn schema(schema: &Value) -> Structure {
    Structure::JsonSchema(schema.to_string())
}

#[test]
fn tokens_spell_the_text_that_they_decode_to() {
    let model = model();
    let vocabulary = model.vocabulary.as_ref().unwrap();
    let text = "naïve 🦀 {\"a\": [1, 2]}\n\tend";
    let tokens = &model.codec.encode(text).unwrap()[1..];
    let spelled: Vec<u8> = tokens.iter().flat_map(|token| vocabulary.bytes(*token).to_vec()).collect();
    assert_eq!(spelled, text.as_bytes());
    assert_eq!(vocabulary.bytes(1), b"<|end|>");
    for family in ["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3"] {
        let model = common::chat(&common::tiny(family), 1);
        let vocabulary = model.vocabulary.as_ref().unwrap();
        let tokens: Vec<TokenId> = (5..100).collect();
        let spelled: Vec<u8> = tokens.iter().flat_map(|token| vocabulary.bytes(*token).to_vec()).collect();
        assert_eq!(String::from_utf8(spelled).unwrap(), model.codec.decode(&tokens).unwrap(), "{family}");
    }
}

#[test]
fn a_schema_gives_json_that_fits_it() {
    let model = model();
    let asked = schema(&json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "kind": {"enum": ["cat", "dog"]},
            "tags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
        },
        "required": ["name", "age", "kind", "tags"],
        "additionalProperties": false,
    }));
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..60 {
        let text = random_text(&model, &asked, seed, Sampling::default()).expect("bounded by the schema");
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let keys: Vec<&String> = value.as_object().unwrap().keys().collect();
        assert_eq!(keys.len(), 4, "{text}");
        assert!(value["name"].as_str().unwrap().chars().count() <= 12);
        assert!(value["age"].as_u64().unwrap() <= 150);
        assert!(["cat", "dog"].contains(&value["kind"].as_str().unwrap()));
        assert!(value["tags"].as_array().unwrap().iter().all(Value::is_boolean));
        assert_eq!(text, serde_json::to_string(&value).unwrap(), "compact, in the order of the schema");
        seen.insert(text);
    }
    assert!(seen.len() > 50, "{} texts", seen.len());
}

#[test]
fn a_json_object_is_one_whatever_is_in_it() {
    let model = model();
    let mut ended = 0;
    for seed in 0..30 {
        let Some(text) = random_text(&model, &Structure::JsonObject, seed, Sampling::default()) else {
            continue;
        };
        // Not as a value: a number of JSON may be beyond what a float holds.
        assert!(text.starts_with('{') && serde_json::from_str::<&RawValue>(&text).is_ok(), "{text}");
        ended += 1;
    }
    assert!(ended >= 5, "{ended} ended");
}

#[test]
fn a_choice_gives_one_of_its_texts_and_each_of_them() {
    let model = model();
    let texts = ["yes", "no", "a.b*c", "naïve 🦀", "\\d+/\n", "yesterday"];
    let asked = Structure::Choice(texts.map(str::to_owned).to_vec());
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let text =
            random_text(&model, &asked, seed, Sampling { temperature: 2.0, ..Sampling::default() }).unwrap();
        assert!(texts.contains(&text.as_str()), "{text:?}");
        seen.insert(text);
    }
    assert_eq!(seen.len(), texts.len(), "{seen:?}");
}

#[test]
fn a_regular_expression_is_matched_from_beginning_to_end() {
    let model = model();
    let asked = Structure::Regex(r"[a-c]{2,4}-(\d\d|x/y)!".to_owned());
    for seed in 0..60 {
        let text = random_text(&model, &asked, seed, Sampling::default()).unwrap();
        let (letters, rest) = text.split_once('-').unwrap();
        assert!(
            (2..=4).contains(&letters.len()) && letters.bytes().all(|byte| (b'a'..=b'c').contains(&byte))
        );
        let middle = rest.strip_suffix('!').unwrap();
        assert!(middle == "x/y" || (middle.len() == 2 && middle.bytes().all(|byte| byte.is_ascii_digit())));
    }
}

#[test]
fn a_bias_and_penalties_cannot_leave_the_form() {
    let model = model();
    let asked = Structure::Choice(vec!["yes".to_owned(), "no".to_owned()]);
    let end = model.end_tokens[0];
    let sampling = Sampling {
        logit_bias: (0..768).map(|token| (token, if token == end { -100.0 } else { 100.0 })).collect(),
        presence_penalty: 2.0,
        repetition_penalty: 5.0,
        ..Sampling::default()
    };
    for seed in 0..20 {
        let text = random_text(&model, &asked, seed, sampling.clone()).unwrap();
        assert!(["yes", "no"].contains(&text.as_str()), "{text:?}");
    }
}

#[test]
fn forks_go_their_own_ways() {
    let model = model();
    let first = model.grammars.constraint(&Structure::Choice(vec!["ab".into(), "cd".into()])).unwrap();
    let allowed = |constraint: &mut dyn Constraint| {
        let mut logits = vec![0.0; 768];
        constraint.restrict(&mut logits).unwrap();
        (0..768).filter(|token| logits[*token as usize] == 0.0).collect::<Vec<TokenId>>()
    };
    let token = |text: &str| model.codec.token(text).unwrap();
    let (mut one, mut other) = (first.fork(), first.fork());
    let both = allowed(one.as_mut());
    one.accept(token("a")).unwrap();
    assert_eq!(allowed(one.as_mut()), [token("b")]);
    assert_eq!(allowed(other.as_mut()), both);
    one.accept(token("b")).unwrap();
    assert_eq!(allowed(one.as_mut()), model.end_tokens, "nothing but the end");
    one.accept(model.end_tokens[0]).unwrap();
}

/// Compiles, and takes as many steps as a text may have; a form that is refused is refused here or there.
fn outcome(model: &ChatModel, structure: &Structure) -> Result<usize, GrammarError> {
    let mut constraint = model.grammars.constraint(structure)?;
    let mut steps = 0;
    while steps < 50 {
        let mut logits = vec![0.0; 768];
        constraint.restrict(&mut logits).map_err(|_| GrammarError::TooComplex)?;
        let token = (0..768).rev().find(|token| logits[*token as usize] == 0.0).unwrap();
        if model.end_tokens.contains(&token) {
            break;
        }
        constraint.accept(token).map_err(|_| GrammarError::TooComplex)?;
        steps += 1;
    }
    Ok(steps)
}

#[test]
fn refuses_what_is_no_form() {
    let model = model();
    let refusal = |structure: &Structure| model.grammars.constraint(structure).unwrap_err();
    for malformed in [
        "",
        "[]",
        "true",
        "3",
        "{",
        "{\"type\":\"object\"} {}",
        "{\"type\":\"canary\"}",
        "{\"properties\":[]}",
        "{\"$ref\":\"https://example.com/schema.json\"}",
        "{\"$ref\":\"#/$defs/none\"}",
        "{\"type\":\"string\",\"pattern\":\"(\"}",
        "{\"canary\":1,\"unevaluatedItems\":{\"x\":{}}}",
    ] {
        let refused = model.grammars.constraint(&Structure::JsonSchema(malformed.to_owned()));
        assert_eq!(refused.unwrap_err(), GrammarError::Malformed, "{malformed}");
    }
    for malformed in ["(", "[", "a{2,1}", "(?=a)b", "\\1", "*"] {
        assert_eq!(refusal(&Structure::Regex(malformed.to_owned())), GrammarError::Malformed, "{malformed}");
    }
    assert_eq!(refusal(&Structure::Choice(Vec::new())), GrammarError::Malformed);
    assert_eq!(refusal(&Structure::Choice(vec![String::new()])), GrammarError::Malformed);
    let never = schema(&json!({"type": "integer", "minimum": 3, "maximum": 2}));
    assert_eq!(refusal(&never), GrammarError::Unsatisfiable);
}

#[test]
fn options_of_the_library_are_not_the_callers_to_set() {
    let model = model();
    let asked = schema(&json!({
        "x-guidance": {"whitespace_flexible": true, "lenient": true},
        "type": "object", "properties": {"a": {"const": 1}}, "required": ["a"], "additionalProperties": false,
    }));
    for seed in 0..10 {
        assert_eq!(random_text(&model, &asked, seed, Sampling::default()).unwrap(), "{\"a\":1}");
    }
}

#[test]
fn case_38_forms_that_are_too_long_or_too_deep_are_refused() {
    let model = model();
    let nested = |depth: usize| {
        (0..depth).fold(json!({"type": "null"}), |inner, _| json!({"type": "array", "items": inner}))
    };
    let too_much = |structure: Structure| {
        let refused = outcome(&model, &structure);
        assert_eq!(refused, Err(GrammarError::TooComplex), "{structure:?}");
    };
    too_much(Structure::JsonSchema(format!("{{\"description\":\"{}\"}}", "x".repeat(1 << 20))));
    too_much(schema(&nested(40)));
    too_much(Structure::Regex("a".repeat(5_000)));
    too_much(Structure::Choice(vec!["a".to_owned(); 2_000]));
    too_much(Structure::Choice(vec!["a".repeat(70_000)]));
    assert_eq!(outcome(&model, &Structure::Regex("ok".to_owned())), Ok(2), "and others are served as before");
}

//! anchor-chat against transformers (tests/vectors/models/anchor-chat.json), and against itself in other company.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use anchorhold_engine::{ChatMessage, Generator, Row, SequenceId};

const MOST_DIFFERENCE: f32 = 1e-3;

fn messages(chat: &serde_json::Value) -> Vec<ChatMessage> {
    serde_json::from_value(chat["messages"].clone()).unwrap()
}

fn step(model: &mut dyn Generator, sequence: u64, tokens: &[u32]) -> Vec<f32> {
    model.step(&[Row { sequence: SequenceId(sequence), tokens }]).unwrap().remove(0)
}

fn argmax(logits: &[f32]) -> u32 {
    let best = logits.iter().enumerate().rev().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
    u32::try_from(best).unwrap()
}

fn assert_near(got: &[f32], wanted: &[f32], what: &str) {
    assert_eq!(got.len(), wanted.len());
    let most = got.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(most <= MOST_DIFFERENCE, "{what}: {most}");
}

fn assert_same_bits(got: &[f32], wanted: &[f32], what: &str) {
    assert_eq!(got.len(), wanted.len());
    assert!(got.iter().zip(wanted).all(|(a, b)| a.to_bits() == b.to_bits()), "{what}");
}

#[test]
fn prompts_equal_transformers() {
    let model = common::chat(&common::anchor_chat(), 1);
    let goldens = common::goldens("anchor-chat.json");
    let template = model.template.as_ref().unwrap();
    for chat in goldens["chats"].as_array().unwrap() {
        assert_eq!(template.render(&messages(chat)).unwrap(), chat["rendered"].as_str().unwrap());
        assert_eq!(model.codec.encode_chat(template, &messages(chat)).unwrap(), common::ids(&chat["tokens"]));
    }
    for text in goldens["texts"].as_array().unwrap() {
        let tokens = model.codec.encode(text["text"].as_str().unwrap()).unwrap();
        assert_eq!(tokens, common::ids(&text["tokens"]), "{}", text["text"]);
        assert_eq!(model.codec.decode(&tokens).unwrap(), text["text"].as_str().unwrap());
    }
    let tool = ChatMessage { role: "tool".into(), content: "x".into() };
    assert!(template.render(&[tool]).is_err());
}

#[test]
fn logits_equal_transformers() {
    let mut model = common::chat(&common::anchor_chat(), 2);
    assert_eq!((model.generator.vocabulary(), model.generator.context()), (768, 512));
    assert_eq!(model.end_tokens, [1]);
    for (sequence, chat) in (0..).zip(common::goldens("anchor-chat.json")["chats"].as_array().unwrap()) {
        let mut tokens = common::ids(&chat["tokens"]);
        let wanted = common::numbers(&chat["logits"]);
        let mut logits = step(&mut *model.generator, sequence, &tokens);
        assert_near(&logits, &wanted, chat["rendered"].as_str().unwrap());
        for wanted in common::ids(&chat["greedy"]) {
            assert_eq!(argmax(&logits), wanted);
            tokens = vec![wanted];
            logits = step(&mut *model.generator, sequence, &tokens);
        }
        model.generator.release(SequenceId(sequence));
        let mut text = String::new();
        let mut stream = model.codec.stream();
        for token in common::ids(&chat["greedy"]) {
            text += &stream.push(token);
        }
        assert_eq!(text + &stream.finish(), chat["answer"].as_str().unwrap());
    }
}

#[test]
fn llama3_rope_scaling_equals_transformers_in_both_config_forms() {
    let goldens = common::goldens("anchor-chat.json");
    let folder = common::copy(&common::anchor_chat());
    for old_form in [false, true] {
        common::change(folder.path(), "config.json", |config| {
            let mut rope = goldens["llama3"].clone();
            let object = config.as_object_mut().unwrap();
            object.remove("rope_parameters");
            if old_form {
                let theta = rope.as_object_mut().unwrap().remove("rope_theta").unwrap();
                object.insert("rope_theta".into(), theta);
                object.insert("rope_scaling".into(), rope);
            } else {
                object.insert("rope_parameters".into(), rope);
            }
        });
        let mut model = common::chat(folder.path(), 1);
        for (sequence, chat) in (0..).zip(goldens["chats"].as_array().unwrap()) {
            let logits = step(&mut *model.generator, sequence, &common::ids(&chat["tokens"]));
            assert_near(&logits, &common::numbers(&chat["llama3_logits"]), "llama3");
        }
    }
}

/// A text that fills most of the context, of tokens that the model knows.
fn long_prompt() -> Vec<u32> {
    (0..400_u32).map(|i| 5 + (i * i + 7 * i) % 760).collect()
}

#[test]
fn logits_do_not_depend_on_company_chunks_or_threads() {
    let prompts: Vec<Vec<u32>> = [400, 1, 37, 64, 130]
        .iter()
        .map(|&len| long_prompt()[..len].iter().rev().copied().collect())
        .collect();
    let mut alone = common::chat(&common::anchor_chat(), 1);
    let wanted: Vec<Vec<f32>> =
        (0..).zip(&prompts).map(|(sequence, prompt)| step(&mut *alone.generator, sequence, prompt)).collect();
    for threads in [1, 2, 3] {
        let mut model = common::chat(&common::anchor_chat(), threads);
        let row = |(sequence, tokens): (u64, _)| Row { sequence: SequenceId(sequence), tokens };
        let rows: Vec<Row<'_>> = (0..).zip(prompts.iter().map(Vec::as_slice)).map(row).collect();
        for (got, wanted) in model.generator.step(&rows).unwrap().iter().zip(&wanted) {
            assert_same_bits(got, wanted, "in one batch");
        }
        for chunk in [1, 16, 33, 100] {
            let sequence = 100 + chunk as u64;
            let mut logits = Vec::new();
            for (index, part) in prompts[0].chunks(chunk).enumerate() {
                // A neighbour that decodes meanwhile, from an empty cache of its own.
                let neighbour = [5 + u32::try_from(index).unwrap() % 700];
                let rows = [
                    Row { sequence: SequenceId(sequence), tokens: part },
                    Row { sequence: SequenceId(1000 + sequence), tokens: &neighbour },
                ];
                logits = model.generator.step(&rows).unwrap().remove(0);
            }
            assert_same_bits(&logits, &wanted[0], "in chunks");
            model.generator.release(SequenceId(sequence));
        }
    }
}

#[test]
fn a_released_sequence_begins_anew() {
    let mut model = common::chat(&common::anchor_chat(), 1);
    let first = step(&mut *model.generator, 1, &[0, 20, 30]);
    let grown = step(&mut *model.generator, 1, &[40]);
    model.generator.release(SequenceId(1));
    assert_same_bits(&step(&mut *model.generator, 1, &[0, 20, 30]), &first, "after release");
    assert!(grown.iter().zip(&first).any(|(a, b)| (a - b).abs() > 0.1));
}

#[test]
fn refuses_rows_that_do_not_fit() {
    let mut model = common::chat(&common::anchor_chat(), 1);
    let row = |sequence, tokens| Row { sequence: SequenceId(sequence), tokens };
    let long = vec![5; 513];
    assert!(model.generator.step(&[row(1, &[])]).is_err());
    assert!(model.generator.step(&[row(1, &[768])]).is_err());
    assert!(model.generator.step(&[row(1, &long)]).is_err());
    assert!(model.generator.step(&[row(1, &[5]), row(1, &[6])]).is_err());
    assert!(model.generator.step(&[row(1, &long[..512])]).is_ok());
    assert!(model.generator.step(&[row(1, &[5])]).is_err(), "the context is full");
    assert_eq!(model.generator.step(&[]).unwrap().len(), 0);
}

#[test]
fn characters_split_over_tokens_come_out_whole() {
    let codec = common::chat(&common::anchor_chat(), 1).codec;
    let text = "Größe 今日は 👩‍👩‍👧‍👦 👍🏽 e\u{301} ok";
    let tokens = codec.encode(text).unwrap();
    let mut stream = codec.stream();
    let pieces: Vec<String> = tokens.iter().map(|&token| stream.push(token)).collect();
    assert!(pieces.iter().all(|piece| !piece.contains('\u{FFFD}')), "{pieces:?}");
    assert_eq!(pieces.concat() + &stream.finish(), text);
    // A character that never becomes whole is shown at the end, and does not swallow what follows it.
    let broken = codec.encode("👍").unwrap();
    let mut stream = codec.stream();
    let mut out: String = broken[1..3].iter().map(|&token| stream.push(token)).collect();
    assert_eq!(out, "");
    let letter = *codec.encode("a").unwrap().last().unwrap();
    out += &stream.push(letter);
    assert!(out.ends_with('a') && out.starts_with('\u{FFFD}'), "{out:?}");
    let mut stream = codec.stream();
    let many: String = std::iter::repeat_n(broken[1], 100).map(|token| stream.push(token)).collect();
    assert!(!many.is_empty(), "what is held back is bounded");
}

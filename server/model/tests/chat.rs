//! anchor-chat against transformers (tests/vectors/models/anchor-chat.json), and against itself in other company.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use anchorhold_engine::{BlockId, ChatMessage, Conversation, Row};
use anchorhold_model::Precision;
use common::{Sequences, argmax, assert_same_bits};

const MOST_DIFFERENCE: f32 = 1e-3;

fn messages(chat: &serde_json::Value) -> Conversation {
    common::conversation(&chat["messages"], &serde_json::Value::Null)
}

fn anchor_chat(threads: usize, precision: Precision) -> Sequences {
    Sequences::new(common::chat_with(&common::anchor_chat(), threads, precision).generator)
}

fn row<'a>(tokens: &'a [u32], start: usize, blocks: &'a [BlockId]) -> Row<'a> {
    Row { tokens, start, blocks }
}

fn assert_near(got: &[f32], wanted: &[f32], what: &str) {
    assert_eq!(got.len(), wanted.len());
    let most = got.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(most <= MOST_DIFFERENCE, "{what}: {most}");
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
    let unknown = vec![ChatMessage::text("narrator", "x")];
    assert!(template.render(&unknown.into()).is_err());
}

#[test]
fn logits_equal_transformers() {
    let model = common::chat(&common::anchor_chat(), 2);
    assert_eq!((model.generator.vocabulary(), model.generator.context()), (768, 512));
    assert_eq!(model.end_tokens, [1]);
    let mut sequences = Sequences::new(model.generator);
    for (sequence, chat) in (0..).zip(common::goldens("anchor-chat.json")["chats"].as_array().unwrap()) {
        let mut tokens = common::ids(&chat["tokens"]);
        let wanted = common::numbers(&chat["logits"]);
        let mut logits = sequences.one(sequence, &tokens);
        assert_near(&logits, &wanted, chat["rendered"].as_str().unwrap());
        for wanted in common::ids(&chat["greedy"]) {
            assert_eq!(argmax(&logits), wanted);
            tokens = vec![wanted];
            logits = sequences.one(sequence, &tokens);
        }
        sequences.release(sequence);
        let mut text = String::new();
        let mut stream = model.codec.stream();
        for token in common::ids(&chat["greedy"]) {
            text += &stream.push(token);
        }
        assert_eq!(text + &stream.finish(), chat["answer"].as_str().unwrap());
    }
}

#[test]
fn logits_in_bf16_are_near_transformers_and_name_the_same_token() {
    let model = common::chat_with(&common::anchor_chat(), 2, Precision::Bf16).generator;
    let mut sequences = Sequences::new(model);
    for (sequence, chat) in (0..).zip(common::goldens("anchor-chat.json")["chats"].as_array().unwrap()) {
        let wanted = common::numbers(&chat["logits"]);
        let logits = sequences.one(sequence, &common::ids(&chat["tokens"]));
        let most = logits.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(most <= 0.25, "{most}");
        let mut sorted = wanted.clone();
        sorted.sort_by(|a, b| b.total_cmp(a));
        assert!(sorted[0] - sorted[1] <= 0.3 || argmax(&logits) == argmax(&wanted));
        sequences.release(sequence);
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
        let mut sequences = Sequences::new(common::chat(folder.path(), 1).generator);
        for (sequence, chat) in (0..).zip(goldens["chats"].as_array().unwrap()) {
            let logits = sequences.one(sequence, &common::ids(&chat["tokens"]));
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
    same_in_any_company(Precision::F32);
    same_in_any_company(Precision::Bf16);
}

fn same_in_any_company(precision: Precision) {
    let prompts: Vec<Vec<u32>> = [400, 1, 37, 64, 130]
        .iter()
        .map(|&len| long_prompt()[..len].iter().rev().copied().collect())
        .collect();
    let mut alone = anchor_chat(1, precision);
    let wanted: Vec<Vec<f32>> =
        (0..).zip(&prompts).map(|(sequence, prompt)| alone.one(sequence, prompt)).collect();
    for threads in [1, 2, 3] {
        let mut model = anchor_chat(threads, precision);
        let rows: Vec<(u64, &[u32])> = (0..).zip(prompts.iter().map(Vec::as_slice)).collect();
        for (got, wanted) in model.step(&rows).unwrap().iter().zip(&wanted) {
            assert_same_bits(got, wanted, "in one batch");
        }
        for chunk in [1, 16, 33, 100] {
            let sequence = 100 + chunk as u64;
            let mut logits = Vec::new();
            for (index, part) in prompts[0].chunks(chunk).enumerate() {
                // A neighbour that decodes meanwhile, in blocks of its own.
                let neighbour = [5 + u32::try_from(index).unwrap() % 700];
                logits = model.step(&[(sequence, part), (1000 + sequence, &neighbour)]).unwrap().remove(0);
            }
            assert_same_bits(&logits, &wanted[0], "in chunks");
            model.release(sequence);
        }
    }
}

#[test]
fn logits_do_not_depend_on_who_computed_the_blocks_before() {
    let prompt = long_prompt();
    let mut model = anchor_chat(2, Precision::F32).generator;
    let size = model.block();
    let blocks: Vec<BlockId> = (0..).map(BlockId).take(prompt.len().div_ceil(size)).collect();
    let wanted = model.step(&[Row { tokens: &prompt, start: 0, blocks: &blocks }]).unwrap().remove(0);
    for shared in [1, 5, prompt.len() / size] {
        // The first blocks are another sequence's; the rest lies elsewhere.
        let (start, fresh) = (shared * size, (100..).map(BlockId));
        let own: Vec<BlockId> = blocks[..shared].iter().copied().chain(fresh).take(blocks.len()).collect();
        let row = Row { tokens: &prompt[start..], start, blocks: &own };
        let beside = Row { tokens: &[9], start, blocks: &[&blocks[..shared], &[BlockId(300)]].concat() };
        let got = model.step(&[row, beside]).unwrap().remove(0);
        assert_same_bits(&got, &wanted, "over blocks of another");
        model.erase(&own[shared..]);
        model.erase(&[BlockId(300)]);
    }
    model.erase(&blocks[..1]);
    let last = [Row { tokens: &prompt[399..], start: 399, blocks: &blocks }];
    let got = model.step(&last).unwrap().remove(0);
    assert!(got.iter().zip(&wanted).any(|(a, b)| (a - b).abs() > 0.01), "what is erased is gone");
}

#[test]
fn a_released_sequence_begins_anew() {
    let mut model = anchor_chat(1, Precision::F32);
    let first = model.one(1, &[0, 20, 30]);
    let grown = model.one(1, &[40]);
    model.release(1);
    assert_same_bits(&model.one(1, &[0, 20, 30]), &first, "after release");
    assert!(grown.iter().zip(&first).any(|(a, b)| (a - b).abs() > 0.1));
}

#[test]
fn refuses_rows_that_do_not_fit() {
    let mut model = anchor_chat(1, Precision::F32).generator;
    let size = model.block();
    let ids = |from: u32, count: usize| (from..).map(BlockId).take(count).collect::<Vec<_>>();
    let (one, sixteen) = (ids(0, 1), ids(0, 512 / size));
    let long = vec![5; 513];
    let mut code = |rows: &[Row<'_>]| model.step(rows).map_err(|error| error.code()).map(|_| ());
    assert_eq!(code(&[row(&[], 0, &one)]), Err("a row is empty"));
    assert_eq!(code(&[row(&[768], 0, &one)]), Err("a token is not in the vocabulary"));
    assert_eq!(code(&[row(&long, 0, &ids(0, 17))]), Err("a sequence is longer than the context"));
    assert_eq!(code(&[row(&[5], usize::MAX, &one)]), Err("a sequence is longer than the context"));
    let not_as_many = Err("a row has not as many blocks as its positions take");
    assert_eq!(code(&[row(&[5], 0, &[])]), not_as_many);
    assert_eq!(code(&[row(&[5], 0, &ids(0, 2))]), not_as_many);
    assert_eq!(code(&[row(&[5], size, &one)]), not_as_many);
    let used = Err("a block is written by one row and used by another");
    assert_eq!(code(&[row(&[5], 0, &one), row(&[6], 1, &one)]), used);
    assert_eq!(code(&[row(&[5], 0, &one), row(&[6], size, &ids(0, 2))]), used);
    assert_eq!(code(&[row(&long[..512], 0, &sixteen)]), Ok(()));
    // Earlier blocks may be shared by any number of rows.
    let (a, b) = (ids(0, 2), vec![BlockId(0), BlockId(40)]);
    assert_eq!(code(&[row(&[5], size, &a), row(&[6], size, &b)]), Ok(()));
    assert_eq!(code(&[]), Ok(()));
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

//! Models in GGUF: against transformers over dequantised numbers (tests/vectors/models/gguf.json), against themselves in other company,
//! and what their metadata may not say.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use anchorhold_model::{LoadError, LoadedModel, Precision, TemplateError};
use common::gguf::{GgufFile, Meta, converted, folder};
use common::{Sequences, argmax, assert_same_bits};
use serde_json::Value;
use std::path::Path;

const MODELS: [&str; 2] = ["llama-q8_0", "llama-q4_k_m"];
/// Where every number is computed in f32.
const MOST_DIFFERENCE: f32 = 1e-4;
/// Where what multiplies the weights is rounded to 8 bits. The step is the largest number of a block in 127; of noise that is an error of
/// half a hundredth of the numbers' own deviation in each product, whatever its length. Some such products follow each other, between
/// them scores and gates that make a difference larger.
const MOST_SHARE: f32 = 0.06;

fn load(folder: &Path, threads: usize, precision: Precision) -> Sequences {
    Sequences::new(common::chat_with(folder, threads, precision).generator)
}

fn most_difference(got: &[f32], wanted: &[f32]) -> f32 {
    assert_eq!(got.len(), wanted.len());
    got.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// The length of the difference in that of the goldens, and the largest single difference.
fn differences(name: &str, precision: Precision) -> Vec<(f32, f32)> {
    let folder = folder(name);
    let mut model = load(folder.path(), 2, precision);
    let goldens = common::goldens("gguf.json");
    let prompts = goldens[name]["prompts"].as_array().unwrap();
    let differ = |(sequence, prompt): (u64, &Value)| {
        let wanted = common::numbers(&prompt["logits"]);
        let got = model.one(sequence, &common::ids(&prompt["tokens"]));
        let square = |values: &mut dyn Iterator<Item = f32>| values.map(|value| value * value).sum::<f32>();
        let difference = square(&mut got.iter().zip(&wanted).map(|(a, b)| a - b));
        ((difference / square(&mut wanted.iter().copied())).sqrt(), most_difference(&got, &wanted))
    };
    (0..).zip(prompts).map(differ).collect()
}

#[test]
fn exact_logits_equal_transformers_over_dequantised_numbers() {
    for name in MODELS {
        for (_, difference) in differences(name, Precision::F32) {
            assert!(difference <= MOST_DIFFERENCE, "{name}: {difference}");
        }
    }
}

#[test]
fn logits_as_stored_are_near_transformers_over_dequantised_numbers() {
    for name in MODELS {
        for precision in [Precision::Stored, Precision::Bf16] {
            for (share, difference) in differences(name, precision) {
                assert!(share <= MOST_SHARE, "{name} {precision:?}: {share}");
                assert!(difference > 0.0, "{name} {precision:?}: nothing was rounded");
            }
        }
    }
}

#[test]
fn texts_become_the_tokens_of_their_tokenizers() {
    let goldens = common::goldens("gguf.json");
    for name in MODELS {
        let model = common::chat(folder(name).path(), 1);
        for text in goldens[name]["texts"].as_array().unwrap() {
            let (text, wanted) = (text["text"].as_str().unwrap(), common::ids(&text["tokens"]));
            let tokens = model.codec.encode(text).unwrap();
            assert_eq!(tokens, wanted, "{name}: {text:?}");
            assert_eq!(model.codec.decode(&tokens).unwrap(), text, "{name}");
        }
        assert_eq!(model.end_tokens, if name == "llama-q8_0" { [1] } else { [2] });
        assert_eq!(model.template.is_some(), name == "llama-q8_0");
    }
}

/// Prompts of several blocks, and of one token.
fn prompts(count: u32) -> Vec<Vec<u32>> {
    let len = |i: u32| [70, 1, 33, 5, 32, 2, 64, 17][(i % 8) as usize];
    (0..count).map(|i| (0..len(i)).map(|at| (at * at + 5 * at + 31 * i) % 320).collect()).collect()
}

#[test]
fn logits_do_not_depend_on_company_chunks_or_threads() {
    for name in MODELS {
        let folder = folder(name);
        let prompts = prompts(32);
        let mut alone = load(folder.path(), 1, Precision::Stored);
        let wanted: Vec<Vec<f32>> =
            (0..).zip(&prompts).map(|(sequence, prompt)| alone.one(sequence, prompt)).collect();
        for threads in [1, 2] {
            let mut model = load(folder.path(), threads, Precision::Stored);
            for count in [2, 8, 32] {
                let rows: Vec<(u64, &[u32])> =
                    (200..).zip(prompts.iter().map(Vec::as_slice)).take(count).collect();
                for (got, wanted) in model.step(&rows).unwrap().iter().zip(&wanted) {
                    assert_same_bits(got, wanted, &format!("{name} in a batch of {count}"));
                }
                rows.iter().for_each(|&(sequence, _)| model.release(sequence));
            }
            for size in [1, 7, 32, 33] {
                let mut logits = Vec::new();
                for part in prompts[0].chunks(size) {
                    logits = model.one(0, part);
                }
                model.release(0);
                assert_same_bits(&logits, &wanted[0], &format!("{name} in parts of {size}"));
            }
        }
    }
}

#[test]
fn every_family_is_the_one_that_transformers_has() {
    for family in ["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3"] {
        // As llama.cpp computes it: no window for Mistral, whose later models have none either, scores by the size of a head,
        // and of six layers only the last without a window.
        let folder = common::copy(&common::tiny(family));
        common::change(folder.path(), "config.json", |config| {
            match family {
                "mistral" => config["sliding_window"] = Value::Null,
                "gemma2" | "gemma3" => config["query_pre_attn_scalar"] = 16.into(),
                _ => {}
            }
            if family == "gemma3" {
                config["layer_types"] = vec!["sliding_attention"; 2].into();
            }
        });
        let mut theirs = load(folder.path(), 1, Precision::F32);
        let folder = converted(family).write();
        let mut model = load(folder.path(), 1, Precision::F32);
        for (sequence, prompt) in (0..).zip(prompts(8)) {
            let prompt: Vec<u32> = prompt.iter().map(|token| token % 128).collect();
            let difference = most_difference(&model.one(sequence, &prompt), &theirs.one(sequence, &prompt));
            assert!(difference <= MOST_DIFFERENCE, "{family}, {} tokens: {difference}", prompt.len());
        }
    }
}

#[test]
fn files_beside_it_come_first_and_may_not_contradict() {
    let folder = converted("qwen2").write();
    for name in ["tokenizer.json", "tokenizer_config.json", "config.json"] {
        std::fs::copy(common::tiny("qwen2").join(name), folder.path().join(name)).unwrap();
    }
    let model = common::chat(folder.path(), 1);
    assert_eq!(model.codec.encode("ab").unwrap().len(), 2);
    common::change(folder.path(), "config.json", |config| config["tie_word_embeddings"] = false.into());
    assert_eq!(common::refusal(folder.path()), LoadError::Metadata("config.json says otherwise"));
}

/// What loading says of a family's file when it was changed.
fn refusal(family: &str, change: impl FnOnce(&mut GgufFile)) -> LoadError {
    let mut file = converted(family);
    change(&mut file);
    common::refusal(file.write().path())
}

#[test]
fn case_22_refuses_metadata_that_it_would_have_to_ignore() {
    let text = |text: &str| Meta::Text(text.into());
    for (key, value) in [
        ("llama.expert_count", Meta::Count(8)),
        ("llama.attention.sliding_window", Meta::Count(20)),
        ("llama.attention.max_alibi_bias", Meta::Float(8.0)),
        ("llama.rope.scaling.attn_factor", Meta::Float(2.0)),
        ("llama.pooling_type", Meta::Count(1)),
        ("mistral.context_length", Meta::Count(8)),
        ("clip.has_vision_encoder", Meta::Bool(true)),
    ] {
        assert_eq!(refusal("llama", |file| file.set(key, value)), LoadError::ConfigKey, "{key}");
    }
    for (key, value) in [
        ("llama.rope.scaling.type", text("yarn")),
        ("llama.rope.scaling.type", text("linear")),
        ("llama.rope.scaling.factor", Meta::Float(2.0)),
        ("llama.rope.dimension_count", Meta::Count(4)),
        ("llama.attention.value_length", Meta::Count(8)),
        ("llama.vocab_size", Meta::Count(127)),
        ("llama.block_count", text("2")),
        ("llama.attention.layer_norm_rms_epsilon", Meta::Count(1)),
        ("general.quantization_version", Meta::Count(1)),
    ] {
        let error = refusal("llama", |file| file.set(key, value));
        assert!(matches!(error, LoadError::Metadata(_)), "{key}: {error:?}");
    }
    for key in ["llama.block_count", "llama.attention.head_count", "llama.attention.layer_norm_rms_epsilon"] {
        assert!(matches!(refusal("llama", |file| file.set(key, None)), LoadError::Metadata(_)), "{key}");
    }
    for name in ["mpt", "mixtral", "LLAMA", ""] {
        let error = refusal("llama", |file| file.set("general.architecture", text(name)));
        assert_eq!(error, LoadError::Architecture, "{name}");
    }
    let none = refusal("gemma2", |file| file.set("gemma2.attn_logit_softcapping", None));
    assert_eq!(none, LoadError::Metadata("a softcapping is missing"));
    // The same without a change is loaded.
    let mut file = converted("llama");
    file.set("llama.expert_count", Meta::Count(0));
    file.set("llama.rope.scaling.type", text("none"));
    assert!(common::sealed(file.write().path(), 1).is_ok());
}

#[test]
fn case_22_refuses_huge_sizes_before_memory_is_taken() {
    for key in
        ["embedding_length", "block_count", "feed_forward_length", "context_length", "attention.head_count"]
    {
        for value in [0, u32::MAX] {
            let error = refusal("llama", |file| file.set(&format!("llama.{key}"), Meta::Count(value)));
            assert!(matches!(error, LoadError::Config(_) | LoadError::Metadata(_)), "{key}: {error:?}");
        }
    }
    let error = refusal("llama", |file| file.set("llama.feed_forward_length", Meta::Count(1 << 17)));
    assert!(matches!(error, LoadError::Tensor { .. }), "{error:?}");
}

#[test]
fn case_22_refuses_tensors_that_are_missing_extra_or_of_another_type() {
    let count = converted("llama").tensors.len();
    for at in 0..count {
        let error = refusal("llama", |file| file.tensors[at].name += ".other");
        let fine =
            matches!(error, LoadError::Tensor { .. } | LoadError::ExtraTensors(_) | LoadError::Metadata(_));
        assert!(fine, "{at}: {error:?}");
        // As many bytes of integers.
        let error = refusal("llama", |file| file.tensors[at].kind = 26);
        assert!(matches!(error, LoadError::Tensor { .. }), "{at}: {error:?}");
    }
    // A type that is stored, and not computed with: Q4_0, 32 numbers in 18 bytes.
    let error = refusal("qwen2", |file| {
        let tensor = file.tensors.iter_mut().find(|tensor| tensor.name == "token_embd.weight").unwrap();
        (tensor.kind, tensor.bytes) = (2, vec![0; 128 * 18]);
    });
    assert!(matches!(error, LoadError::Tensor { index: 0, .. }), "{error:?}");
    let error = refusal("llama", |file| {
        let factors = file.tensors.iter_mut().find(|tensor| tensor.name == "rope_freqs.weight").unwrap();
        factors.bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    assert_eq!(error, LoadError::Config("rope scaling has a value out of range"));
}

#[test]
fn case_22_refuses_tokenizers_that_it_does_not_know() {
    let text = |text: &str| Meta::Text(text.into());
    for (key, value) in [
        ("tokenizer.ggml.model", Some(text("t5"))),
        ("tokenizer.ggml.model", None),
        ("tokenizer.ggml.model", Some(text("llama"))),
        ("tokenizer.ggml.pre", Some(text("deepseek-coder"))),
        ("tokenizer.ggml.pre", None),
        // Patterns have names; one of the file's own is none.
        ("tokenizer.ggml.pre", Some(text("(?=(a+)+$)(a+)+b\\1"))),
        ("tokenizer.ggml.merges", None),
        ("tokenizer.ggml.tokens", None),
        ("tokenizer.ggml.tokens", Some(Meta::Texts(vec!["a".into(); 128]))),
        ("tokenizer.ggml.tokens", Some(Meta::Texts((0..129).map(|id| id.to_string()).collect()))),
        ("tokenizer.ggml.token_type", Some(Meta::Kinds(vec![1; 3]))),
        ("tokenizer.ggml.merges", Some(Meta::Texts(vec!["no such".into()]))),
        ("tokenizer.ggml.add_eos_token", Some(Meta::Bool(true))),
        ("tokenizer.ggml.precompiled_charsmap", Some(Meta::Kinds(Vec::new()))),
    ] {
        let error = refusal("llama", |file| file.set(key, value.clone()));
        assert!(matches!(error, LoadError::Tokenizer(_)), "{key} {value:?}: {error:?}");
    }
    let long = refusal("llama", |file| {
        file.set("tokenizer.ggml.model", text("llama"));
        file.set("tokenizer.ggml.tokens", Meta::Texts((0..128).map(|id| format!("{id:0300}")).collect()));
    });
    assert_eq!(long, LoadError::Tokenizer("a token is longer than 256 bytes"));
    // All texts of up to 17 of two letters: 260,000 tokens of which every part is one, and four million pairs.
    let explosion = |longest: u32| {
        refusal("llama", |file| {
            let texts = (1..=longest).flat_map(|len| (0_u32..1 << len).map(move |bits| (len, bits)));
            let letter = |bits: u32| if bits.is_multiple_of(2) { 'a' } else { 'b' };
            let tokens: Vec<String> =
                texts.map(|(len, bits)| (0..len).map(|at| letter(bits >> at)).collect()).collect();
            file.set("tokenizer.ggml.model", text("llama"));
            file.set("tokenizer.ggml.token_type", Meta::Kinds(vec![1; tokens.len()]));
            file.set("tokenizer.ggml.scores", Meta::Floats(vec![0.0; tokens.len()]));
            file.set("tokenizer.ggml.tokens", Meta::Texts(tokens));
        })
    };
    assert_eq!(explosion(17), LoadError::Tokenizer("tokens have too many parts that are tokens"));
    let template = refusal("llama", |file| file.set("tokenizer.chat_template", text("{% for %}")));
    assert_eq!(template, LoadError::Template(TemplateError::Syntax));
    let wrong_type =
        refusal("llama", |file| file.set("tokenizer.ggml.token_type", Meta::Kinds(vec![-1; 128])));
    assert!(matches!(wrong_type, LoadError::Metadata(_)));
    for key in ["bos", "eos"] {
        let error = refusal("llama", |file| {
            file.set("tokenizer.ggml.add_bos_token", Meta::Bool(true));
            file.set(&format!("tokenizer.ggml.{key}_token_id"), Meta::Count(4_000_000_000));
        });
        assert!(matches!(error, LoadError::Tokenizer(_) | LoadError::Config(_)), "{key}: {error:?}");
    }
}

#[test]
fn tokens_are_greedy_and_alike_as_stored_and_exact() {
    let folder = folder("llama-q8_0");
    let greedy = |precision| {
        let LoadedModel::Chat(model) = common::sealed_with(folder.path(), 2, precision).unwrap().0 else {
            panic!("not a chat model")
        };
        let mut tokens = model.codec.encode("What is Anchorhold?").unwrap();
        let mut model = Sequences::new(model.generator);
        let mut logits = model.one(0, &tokens);
        for _ in 0..4 {
            tokens.push(argmax(&logits));
            logits = model.one(0, &tokens[tokens.len() - 1..]);
        }
        tokens
    };
    assert_eq!(greedy(Precision::Stored), greedy(Precision::F32));
}

//! Decoders that embed, as Qwen3-Embedding does: the tiny decoders with the files of sentence-transformers, against transformers.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use anchorhold_model::{LoadError, Precision};
use serde_json::{Value, json};
use std::path::Path;

const FAMILIES: [&str; 8] =
    ["llama", "mistral", "qwen2", "qwen3", "mixtral", "qwen3-moe", "gemma2", "gemma3"];

/// Weights of noise as wide as these amplify what rounding changes: 0.99989 was seen, where trained encoders keep 0.9999.
const LEAST_COSINE_BF16: f64 = 0.999;

/// What the published files say, with the sizes of the tiny model.
fn folder(family: &str) -> tempfile::TempDir {
    let folder = common::copy(&common::tiny(family));
    let write = |name: &str, value: Value| {
        std::fs::write(folder.path().join(name), serde_json::to_vec(&value).unwrap()).unwrap();
    };
    std::fs::create_dir(folder.path().join("1_Pooling")).unwrap();
    let module = |at: usize, path: &str, kind: &str| json!({"idx": at, "name": at.to_string(), "path": path, "type": format!("sentence_transformers.models.{kind}")});
    write(
        "modules.json",
        json!([
            module(0, "", "Transformer"),
            module(1, "1_Pooling", "Pooling"),
            module(2, "2_Normalize", "Normalize")
        ]),
    );
    write(
        "1_Pooling/config.json",
        json!({
            "word_embedding_dimension": 32, "pooling_mode_cls_token": false, "pooling_mode_mean_tokens": false,
            "pooling_mode_max_tokens": false, "pooling_mode_mean_sqrt_len_tokens": false,
            "pooling_mode_weightedmean_tokens": false, "pooling_mode_lasttoken": true, "include_prompt": true,
        }),
    );
    write(
        "config_sentence_transformers.json",
        json!({
            "prompts": {"query": "Instruct: x\nQuery:", "document": ""}, "default_prompt_name": null,
            "similarity_fn_name": "cosine",
        }),
    );
    folder
}

/// Renames the tensors as a model without the part that generates has them.
fn strip_names(folder: &Path) {
    let path = folder.join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let len = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let header: serde_json::Map<String, Value> = serde_json::from_slice(&bytes[8..8 + len]).unwrap();
    let bare = |name: &str| name.strip_prefix("model.").unwrap_or(name).to_owned();
    let header: serde_json::Map<String, Value> =
        header.into_iter().map(|(name, tensor)| (bare(&name), tensor)).collect();
    let mut header = serde_json::to_vec(&header).unwrap();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend(header);
    out.extend(&bytes[8 + len..]);
    std::fs::write(path, out).unwrap();
}

#[test]
fn vectors_equal_transformers_under_both_kinds_of_names() {
    let goldens = common::goldens("decoders.json");
    for family in FAMILIES {
        let folder = folder(family);
        for bare in [false, true] {
            if bare {
                strip_names(folder.path());
            }
            let mut model = common::embedding(folder.path(), 2).embedder;
            assert_eq!((model.dimensions(), model.context()), (32, 128));
            for prompt in goldens[family]["embeddings"].as_array().unwrap() {
                let (tokens, wanted) = (common::ids(&prompt["tokens"]), common::numbers(&prompt["vector"]));
                let got = model.embed(&[&tokens]).unwrap().remove(0);
                let cosine: f64 = got.iter().zip(&wanted).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                assert!(cosine > 0.999_999, "{family} {bare} {}: {cosine}", tokens.len());
                assert!(got.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-5));
            }
        }
    }
}

#[test]
fn vectors_in_bf16_are_near_transformers() {
    let goldens = common::goldens("decoders.json");
    for family in FAMILIES {
        let mut model = common::embedding_with(folder(family).path(), 2, Precision::Bf16).embedder;
        for prompt in goldens[family]["embeddings"].as_array().unwrap() {
            let (tokens, wanted) = (common::ids(&prompt["tokens"]), common::numbers(&prompt["vector"]));
            let got = model.embed(&[&tokens]).unwrap().remove(0);
            let cosine: f64 = got.iter().zip(&wanted).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            assert!(cosine > LEAST_COSINE_BF16, "{family} {}: {cosine}", tokens.len());
        }
    }
}

#[test]
fn vectors_do_not_depend_on_company_or_threads() {
    let folder = folder("qwen3");
    let long: Vec<u32> = (0..128_u32).map(|at| (at * at + 3) % 128).collect();
    // More tokens than one pass takes.
    let inputs: Vec<&[u32]> = (0..20).map(|at| &long[at..128 - 3 * at]).collect();
    let mut alone = common::embedding(folder.path(), 1).embedder;
    let wanted: Vec<Vec<f32>> = inputs.iter().map(|input| alone.embed(&[input]).unwrap().remove(0)).collect();
    for threads in [1, 2] {
        let got = common::embedding(folder.path(), threads).embedder.embed(&inputs).unwrap();
        let bits = |vectors: &[Vec<f32>]| vectors.iter().flatten().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&got), bits(&wanted));
    }
}

#[test]
fn refuses_inputs_and_files_that_do_not_fit() {
    let folder = folder("qwen3");
    let mut model = common::embedding(folder.path(), 1).embedder;
    for input in [[].as_slice(), &[128], &[5; 129]] {
        assert!(model.embed(&[input]).is_err());
    }
    assert!(model.embed(&[]).unwrap().is_empty());
    common::change(folder.path(), "1_Pooling/config.json", |pooling| {
        pooling["pooling_mode_lasttoken"] = json!(false);
    });
    assert_eq!(
        common::refusal(folder.path()),
        LoadError::Config("pooling mode is not one that sentence-transformers has")
    );
}

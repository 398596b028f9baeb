//! MiniLM against sentence-transformers (tests/vectors/models/minilm.json).

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use anchorhold_model::Precision;

/// sentence-transformers in f32, on the same weights: what remains is the order of sums.
const LEAST_COSINE: f64 = 0.999_999;
/// The same with weights and what they are multiplied with rounded to bf16.
const LEAST_COSINE_BF16: f64 = 0.9999;

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn embeddings_equal_sentence_transformers() {
    equal_sentence_transformers(Precision::F32, LEAST_COSINE);
}

#[test]
fn embeddings_in_bf16_are_near_sentence_transformers() {
    equal_sentence_transformers(Precision::Bf16, LEAST_COSINE_BF16);
}

fn equal_sentence_transformers(precision: Precision, least: f64) {
    let mut model = common::embedding_with(&common::minilm(), 2, precision);
    assert_eq!((model.embedder.dimensions(), model.embedder.context()), (384, 256));
    let goldens = common::goldens("minilm.json");
    let rows = goldens["vectors"].as_array().unwrap();
    assert!(rows.len() >= 60);
    let tokens: Vec<Vec<u32>> =
        rows.iter().map(|row| model.codec.encode(row["text"].as_str().unwrap()).unwrap()).collect();
    let inputs: Vec<&[u32]> = tokens.iter().map(Vec::as_slice).collect();
    let together = model.embedder.embed(&inputs).unwrap();
    for ((row, input), batched) in rows.iter().zip(&inputs).zip(&together) {
        let text = &row["text"];
        assert_eq!(*input, common::ids(&row["tokens"]), "tokens of {text}");
        let wanted = common::numbers(&row["vector"]);
        assert!(cosine(batched, &wanted) >= least, "{text}: {}", cosine(batched, &wanted));
        assert!((batched.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() - 1.0).abs() < 1e-5);
        let alone = model.embedder.embed(&[input]).unwrap();
        assert!(alone[0].iter().zip(batched).all(|(a, b)| a.to_bits() == b.to_bits()), "{text} in company");
    }
    assert!(cosine(&together[11], &together[12]) > cosine(&together[11], &together[13]) + 0.3);
}

#[test]
fn special_tokens_in_a_text_are_not_control_tokens() {
    let model = common::embedding(&common::minilm(), 1);
    let tokens = model.codec.encode("[SEP] a [CLS][MASK]").unwrap();
    let inner = &tokens[1..tokens.len() - 1];
    assert!(inner.iter().all(|id| !(100..=103).contains(id)), "{tokens:?}");
}

#[test]
fn refuses_inputs_that_do_not_fit() {
    let mut model = common::embedding(&common::minilm(), 1);
    let long = vec![1000; 257];
    for input in [&[][..], &long, &[30_522]] {
        assert!(model.embedder.embed(&[input]).is_err());
    }
    assert!(model.embedder.embed(&[&long[..256]]).is_ok());
    assert_eq!(model.embedder.embed(&[]).unwrap().len(), 0);
}

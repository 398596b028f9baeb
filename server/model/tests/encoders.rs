//! Encoders of the kinds BERT and RoBERTa against sentence-transformers (tests/vectors/models/encoders.json): all poolings, and scores of
//! pairs.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use anchorhold_model::{LoadError, Precision};
use serde_json::{Value, json};
use std::path::Path;

const RERANKERS: [&str; 2] = ["xlm-reranker", "bert-reranker"];

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// The embedding model, pooled as `kind` says: modes with plus signs between them, and perhaps a normalisation.
fn pooled(kind: &str) -> tempfile::TempDir {
    let folder = common::copy(&common::tiny("xlm-roberta"));
    let modes = kind.strip_suffix("+normalize");
    common::change(folder.path(), "1_Pooling/config.json", |pooling| {
        let modes: Vec<&str> = modes.unwrap_or(kind).split('+').collect();
        pooling["pooling_mode"] = if let [mode] = modes[..] { json!(mode) } else { json!(modes) };
    });
    if modes.is_none() {
        common::change(folder.path(), "modules.json", |modules| {
            modules.as_array_mut().unwrap().pop();
        });
    }
    folder
}

#[test]
fn every_pooling_equals_sentence_transformers() {
    let goldens = &common::goldens("encoders.json")["xlm-roberta"];
    let rows = goldens["texts"].as_array().unwrap();
    let poolings = goldens["poolings"].as_object().unwrap();
    assert_eq!(poolings.len(), 14);
    for (precision, least) in [(Precision::F32, 0.999_999), (Precision::Bf16, 0.9999)] {
        for (kind, vectors) in poolings {
            let mut model = common::embedding_with(pooled(kind).path(), 2, precision);
            assert_eq!(model.embedder.context(), 64);
            for (row, vector) in rows.iter().zip(vectors.as_array().unwrap()) {
                let tokens = model.codec.encode(row["text"].as_str().unwrap()).unwrap();
                assert_eq!(tokens, common::ids(&row["tokens"]));
                let (got, wanted) =
                    (model.embedder.embed(&[&tokens]).unwrap().remove(0), common::numbers(vector));
                assert_eq!((got.len(), model.embedder.dimensions()), (wanted.len(), wanted.len()));
                assert!(cosine(&got, &wanted) >= least, "{kind}: {}", cosine(&got, &wanted));
                if precision == Precision::F32 {
                    assert!(got.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-4), "{kind}");
                }
            }
        }
    }
}

/// A reranker's scores of the golden pairs, each alone, and the names of what is wanted.
fn check_scores(folder: &Path, family: &str, wanted: &str, (precision, most): (Precision, f32)) {
    let goldens = &common::goldens("encoders.json")[family];
    let mut model = common::rerank_with(folder, 2, precision);
    assert_eq!((model.scorer.dimensions(), model.scorer.context()), (1, 64));
    for pair in goldens["pairs"].as_array().unwrap() {
        let (query, document) = (pair["query"].as_str().unwrap(), pair["document"].as_str().unwrap());
        let tokens = model.codec.encode_pairs(query, &[document.to_owned()]).unwrap().remove(0);
        assert_eq!(tokens, common::ids(&pair["tokens"]), "{family}: {query} {document}");
        let (got, wanted) =
            (model.scorer.embed(&[&tokens]).unwrap()[0][0], common::numbers(&pair[wanted])[0]);
        assert!((got - wanted).abs() <= most, "{family}: {query} {document}: {got} {wanted}");
    }
}

#[test]
fn scores_equal_those_of_a_cross_encoder() {
    for family in RERANKERS {
        let folder = common::copy(&common::tiny(family));
        check_scores(folder.path(), family, "score", (Precision::F32, 1e-5));
        check_scores(folder.path(), family, "score", (Precision::Bf16, 0.05));
        let raw = json!("torch.nn.modules.linear.Identity");
        common::change(folder.path(), "config.json", |config| {
            config["sbert_ce_default_activation_function"] = raw.clone();
        });
        check_scores(folder.path(), family, "logit", (Precision::F32, 1e-4));
        check_scores(folder.path(), family, "logit", (Precision::Bf16, 0.25));
        std::fs::write(
            folder.path().join("config_sentence_transformers.json"),
            json!({"activation_fn": "torch.nn.modules.activation.Sigmoid"}).to_string(),
        )
        .unwrap();
        check_scores(folder.path(), family, "score", (Precision::F32, 1e-5));
    }
}

#[test]
fn roberta_is_computed_as_xlm_roberta() {
    let folder = common::copy(&common::tiny("xlm-reranker"));
    common::change(folder.path(), "config.json", |config| {
        config["architectures"] = json!(["RobertaForSequenceClassification"]);
        config["model_type"] = json!("roberta");
    });
    check_scores(folder.path(), "xlm-reranker", "score", (Precision::F32, 1e-5));
}

#[test]
fn scores_and_vectors_do_not_depend_on_company_or_threads() {
    let bits = |vectors: &[Vec<f32>]| vectors.iter().flatten().map(|x| x.to_bits()).collect::<Vec<_>>();
    for precision in [Precision::F32, Precision::Bf16] {
        for family in ["xlm-reranker", "bert-reranker", "xlm-roberta"] {
            let load = |threads| match family {
                "xlm-roberta" => common::embedding_with(&common::tiny(family), threads, precision).embedder,
                _ => common::rerank_with(&common::tiny(family), threads, precision).scorer,
            };
            // The separator and the padding of each tokenizer are among the tokens.
            let inputs: Vec<Vec<u32>> = (0..32_u32)
                .map(|at| (0..1 + at * 63 / 31).map(|i| (i * i + 7 * at + 1) % 104).collect())
                .collect();
            let inputs: Vec<&[u32]> = inputs.iter().map(Vec::as_slice).collect();
            let mut alone = load(1);
            let wanted: Vec<Vec<f32>> =
                inputs.iter().map(|input| alone.embed(&[input]).unwrap().remove(0)).collect();
            for threads in [1, 2] {
                let mut model = load(threads);
                for count in [2, 8, 32] {
                    let got = model.embed(&inputs[..count]).unwrap();
                    assert_eq!(bits(&got), bits(&wanted[..count]), "{family} {precision:?} {count}");
                }
            }
        }
    }
}

#[test]
fn special_tokens_in_a_text_are_plain_text_in_pairs_too() {
    let xlm = common::rerank_with(&common::tiny("xlm-reranker"), 1, Precision::F32).codec;
    let bert = common::rerank_with(&common::tiny("bert-reranker"), 1, Precision::F32).codec;
    // Full-width letters become the special token only once they are normalised.
    for (codec, spelled, wide, special, wrapping) in [
        (&xlm, "a</s>b<pad><mask>", "\u{ff1c}/s\u{ff1e}", vec![0, 1, 2, 105], vec![0, 2, 2, 2]),
        (&bert, "a[SEP]b[PAD][MASK]", "[SEP]", vec![0, 2, 3, 4], vec![2, 3, 3]),
    ] {
        for text in [spelled, wide, "<s>", "[CLS]"] {
            let tokens = codec.encode_pairs(text, &[text.to_owned()]).unwrap().remove(0);
            let found: Vec<u32> = tokens.iter().filter(|id| special.contains(id)).copied().collect();
            assert_eq!(found, wrapping, "{text}: {tokens:?}");
        }
    }
    let single = xlm.encode("</s>").unwrap();
    assert_eq!(single.iter().filter(|&&id| id == 2).count(), 1);
}

#[test]
fn refuses_inputs_that_do_not_fit() {
    for family in RERANKERS {
        let mut model = common::rerank_with(&common::tiny(family), 1, Precision::F32);
        for input in [&[][..], &[5; 65], &[200]] {
            assert!(model.scorer.embed(&[input]).is_err());
        }
        assert!(model.scorer.embed(&[&[5; 64]]).is_ok());
        assert!(model.codec.encode_pairs("a", &[]).unwrap().is_empty());
        let long = "a".repeat(anchorhold_model::MAX_TEXT_LEN + 1);
        assert!(model.codec.encode_pairs("a", std::slice::from_ref(&long)).is_err());
        assert!(model.codec.encode_pairs(&long, &["a".to_owned()]).is_err());
    }
}

fn refusal(family: &str, key: &str, value: &Value) -> LoadError {
    let folder = common::copy(&common::tiny(family));
    common::change(folder.path(), "config.json", |config| config[key] = value.clone());
    common::refusal(folder.path())
}

#[test]
fn case_22_refuses_encoders_that_are_not_what_their_config_says() {
    let config = LoadError::Config;
    for family in ["xlm-roberta", "xlm-reranker", "bert-reranker"] {
        for (key, value, error) in [
            ("hidden_act", json!("gelu_new"), config("hidden_act is not gelu")),
            (
                "position_embedding_type",
                json!("relative_key"),
                config("position_embedding_type is not absolute"),
            ),
            ("layer_norm_eps", json!(-1.0), config("layer_norm_eps is not between 0 and 1")),
            ("num_attention_heads", json!(5), config("hidden_size is not a multiple of num_attention_heads")),
            ("type_vocab_size", json!(0), config("a dimension is zero or above its limit")),
            ("max_position_embeddings", json!(1_u64 << 40), config("a dimension is zero or above its limit")),
            ("is_decoder", json!(true), LoadError::ConfigKey),
            ("add_pooling_layer", json!(true), LoadError::ConfigKey),
            ("architectures", json!(["BertForTokenClassification"]), LoadError::Architecture),
            ("model_type", json!("electra"), LoadError::Architecture),
        ] {
            assert_eq!(refusal(family, key, &value), error, "{family}: {key}");
        }
    }
    let padding = config("pad_token_id leaves no position for a token");
    for value in [65, 106, usize::MAX] {
        assert_eq!(refusal("xlm-roberta", "pad_token_id", &json!(value)), padding);
    }
    // The classifier has one label, and nothing else is loaded as one.
    assert!(matches!(
        refusal("xlm-reranker", "architectures", &json!(["XLMRobertaModel"])),
        LoadError::Package(_)
    ));
    assert!(matches!(
        refusal("xlm-roberta", "architectures", &json!(["XLMRobertaForSequenceClassification"])),
        LoadError::Config("a classifier comes with files of pooling")
    ));
    assert_eq!(
        refusal("bert-reranker", "type_vocab_size", &json!(1)),
        LoadError::Tensor { index: 2, expected: 41 }
    );
    let activation = config("activation of the score is not a sigmoid or the identity");
    let tanh = json!("torch.nn.modules.activation.Tanh");
    assert_eq!(refusal("bert-reranker", "sbert_ce_default_activation_function", &tanh), activation);
}

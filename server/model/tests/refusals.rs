//! Packages that are sealed by their owner and still not what they should be.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use anchorhold_model::{LoadError, LoadedModel, TemplateError};
use serde_json::{Value, json};
use std::path::Path;

/// What loading says of anchor-chat with another `config.json`.
fn with_config(change: impl FnOnce(&mut Value)) -> LoadError {
    let folder = common::copy(&common::anchor_chat());
    common::change(folder.path(), "config.json", change);
    common::refusal(folder.path())
}

/// Rewrites the header of the weights; `data` follows it.
fn write_weights(folder: &Path, header: &Value, data: &[u8]) {
    let header = serde_json::to_vec(header).unwrap();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.extend(data);
    std::fs::write(folder.join("model.safetensors"), bytes).unwrap();
}

fn read_weights(folder: &Path) -> (Value, Vec<u8>) {
    let bytes = std::fs::read(folder.join("model.safetensors")).unwrap();
    let len = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    (serde_json::from_slice(&bytes[8..8 + len]).unwrap(), bytes[8 + len..].to_vec())
}

#[test]
fn case_22_refuses_unknown_architectures_and_quantisation() {
    assert_eq!(with_config(|c| c["architectures"] = json!(["GPT2LMHeadModel"])), LoadError::Architecture);
    assert_eq!(
        with_config(|c| c["architectures"] = json!(["LlamaForCausalLM", "BertModel"])),
        LoadError::Architecture
    );
    assert_eq!(with_config(|c| c["model_type"] = json!("bert")), LoadError::Architecture);
    assert_eq!(with_config(|c| c["quantization_config"] = json!({"bits": 4})), LoadError::ConfigKey);
}

#[test]
fn case_22_refuses_settings_that_it_would_have_to_ignore() {
    for (key, value) in [
        ("mlp_bias", json!(true)),
        ("sliding_window", json!(128)),
        ("partial_rotary_factor", json!(0.5)),
        ("logit_scale", json!(0.1)),
    ] {
        assert_eq!(with_config(|c| c[key] = value), LoadError::ConfigKey, "{key}");
    }
    for (key, value) in [
        ("hidden_act", json!("gelu")),
        ("rope_parameters", json!({"rope_type": "longrope", "rope_theta": 1e4, "factor": 2.0})),
        ("rope_theta", json!(1e4)),
        ("rms_norm_eps", json!(-1.0)),
        ("num_key_value_heads", json!(3)),
        ("eos_token_id", json!(768)),
        ("eos_token_id", json!("x")),
    ] {
        let error = with_config(|c| c[key] = value);
        assert!(matches!(error, LoadError::Config(_)), "{key}: {error:?}");
    }
}

#[test]
fn case_22_refuses_huge_dimensions_before_memory_is_taken() {
    for (key, value) in [
        ("hidden_size", json!(u64::MAX)),
        ("hidden_size", json!(1_u64 << 32)),
        ("num_hidden_layers", json!(1_000_000_000)),
        ("vocab_size", json!(0)),
        ("intermediate_size", json!(-1)),
        ("head_dim", json!(1_u64 << 40)),
        ("max_position_embeddings", json!(1_u64 << 40)),
    ] {
        let error = with_config(|c| c[key] = value.clone());
        assert!(matches!(error, LoadError::Config(_) | LoadError::Form(_)), "{key} {value}: {error:?}");
    }
    // Within the limits, but not what the file holds: terabytes that are never allocated.
    let error = with_config(|c| {
        c["vocab_size"] = json!(2_000_000);
        c["hidden_size"] = json!(131_072);
    });
    assert_eq!(error, LoadError::Tensor { index: 0, expected: 38 });
}

#[test]
fn case_22_refuses_tensors_that_are_missing_extra_or_of_another_shape() {
    let folder = common::copy(&common::anchor_chat());
    let (header, data) = read_weights(folder.path());
    let name = "model.layers.0.mlp.up_proj.weight";
    let mut renamed = header.clone();
    let tensor = renamed.as_object_mut().unwrap().remove(name).unwrap();
    renamed["other.weight"] = tensor.clone();
    write_weights(folder.path(), &renamed, &data);
    assert!(matches!(common::refusal(folder.path()), LoadError::Tensor { expected: 38, .. }));
    let mut turned = header.clone();
    turned[name]["shape"] = json!([tensor["shape"][1], tensor["shape"][0]]);
    write_weights(folder.path(), &turned, &data);
    assert!(matches!(common::refusal(folder.path()), LoadError::Tensor { expected: 38, .. }));
    let mut typed = header.clone();
    typed[name]["dtype"] = json!("I16");
    write_weights(folder.path(), &typed, &data);
    assert!(matches!(common::refusal(folder.path()), LoadError::Tensor { expected: 38, .. }));
    let mut extra = header.clone();
    extra["extra"] = json!({"dtype": "U8", "shape": [4], "data_offsets": [data.len(), data.len() + 4]});
    let longer = [data.as_slice(), &[0; 4]].concat();
    write_weights(folder.path(), &extra, &longer);
    assert_eq!(common::refusal(folder.path()), LoadError::ExtraTensors(1));
    write_weights(folder.path(), &header, &data);
    assert!(common::sealed(folder.path(), 1).is_ok());
}

#[test]
fn case_22_refuses_hostile_templates_and_small_files() {
    let folder = common::copy(&common::anchor_chat());
    let template = folder.path().join("chat_template.jinja");
    std::fs::write(&template, "{% for %}").unwrap();
    assert_eq!(common::refusal(folder.path()), LoadError::Template(TemplateError::Syntax));
    std::fs::write(&template, "x".repeat(300_000)).unwrap();
    assert_eq!(common::refusal(folder.path()), LoadError::Template(TemplateError::TooLong));
    std::fs::remove_file(&template).unwrap();
    match common::sealed(folder.path(), 1).unwrap().0 {
        LoadedModel::Chat(model) => assert!(model.template.is_none()),
        _ => panic!("not a chat model"),
    }
    std::fs::write(folder.path().join("tokenizer.json"), "{}").unwrap();
    assert!(matches!(common::refusal(folder.path()), LoadError::Tokenizer(_)));
}

#[test]
fn weights_in_f32_give_what_bf16_gives() {
    let folder = common::copy(&common::anchor_chat());
    let logits = || {
        let generator = common::chat(folder.path(), 1).generator;
        common::Sequences::new(generator).one(1, &[0, 3, 50, 60, 1, 4])
    };
    let wanted = logits();
    let (header, data) = read_weights(folder.path());
    let widened: Vec<u8> =
        data.as_chunks::<2>().0.iter().flat_map(|&[low, high]| [0, 0, low, high]).collect();
    let mut wide = header;
    for (name, tensor) in wide.as_object_mut().unwrap() {
        if name != "__metadata__" {
            tensor["dtype"] = json!("F32");
            for offset in tensor["data_offsets"].as_array_mut().unwrap() {
                *offset = json!(offset.as_u64().unwrap() * 2);
            }
        }
    }
    write_weights(folder.path(), &wide, &widened);
    let got = logits();
    assert!(got.iter().zip(&wanted).all(|(a, b)| a.to_bits() == b.to_bits()));
}

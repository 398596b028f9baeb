//! The decoders against transformers (tests/vectors/models/decoders.json), against themselves in other company, and what their
//! configs may not say.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use anchorhold_model::{LoadError, Precision};
use common::{Sequences, argmax, assert_same_bits};
use serde_json::{Map, Value, json};
use std::path::Path;

const MOST_DIFFERENCE: f32 = 1e-4;
const FAMILIES: &[&str] = &["llama", "mistral", "qwen2", "qwen3", "mixtral", "qwen3-moe", "gemma2", "gemma3"];

type Object = Map<String, Value>;

fn load(folder: &Path, threads: usize) -> Sequences {
    Sequences::new(common::chat(folder, threads).generator)
}

fn assert_near(got: &[f32], wanted: &[f32], what: &str) {
    assert_eq!(got.len(), wanted.len());
    let most = got.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(most <= MOST_DIFFERENCE, "{what}: {most}");
}

/// A copy of a family's model with another config.
fn with(family: &str, change: impl FnOnce(&mut Object)) -> tempfile::TempDir {
    let folder = common::copy(&common::tiny(family));
    common::change(folder.path(), "config.json", |config| change(config.as_object_mut().unwrap()));
    folder
}

/// The config as transformers 4 writes it.
fn old_form(config: &mut Object) {
    let mut rope = config.remove("rope_parameters").unwrap();
    if let Some(local) = rope.get("sliding_attention") {
        config.insert("rope_local_base_freq".into(), local["rope_theta"].clone());
        config.insert("sliding_window_pattern".into(), json!(2));
        rope = rope["full_attention"].clone();
    }
    config.insert("rope_theta".into(), rope.as_object_mut().unwrap().remove("rope_theta").unwrap());
    let scaling = if rope["rope_type"] == "default" { Value::Null } else { rope };
    config.insert("rope_scaling".into(), scaling);
    let dtype = config.remove("dtype").unwrap();
    config.insert("torch_dtype".into(), dtype);
    if let Some(experts) = config.get("num_local_experts").filter(|_| config["model_type"] == "qwen3_moe") {
        config.insert("num_experts".into(), experts.clone());
        config.remove("num_local_experts");
    }
    config.remove("layer_types");
    config.remove("_sliding_window_pattern");
}

fn assert_logits(folder: &Path, prompts: &Value, wanted: &[&Value], what: &str) {
    let mut model = load(folder, 1);
    for (sequence, (prompt, wanted)) in (0..).zip(prompts.as_array().unwrap().iter().zip(wanted)) {
        let tokens = common::ids(&prompt["tokens"]);
        let got = model.one(sequence, &tokens);
        assert_near(&got, &common::numbers(wanted), &format!("{what}, {} tokens", tokens.len()));
    }
}

#[test]
fn logits_and_greedy_tokens_equal_transformers() {
    for family in FAMILIES {
        let goldens = &common::goldens("decoders.json")[family];
        let mut model = load(&common::tiny(family), 2);
        for (sequence, prompt) in (0..).zip(goldens["prompts"].as_array().unwrap()) {
            let tokens = common::ids(&prompt["tokens"]);
            let mut logits = model.one(sequence, &tokens);
            let what = format!("{family}, {} tokens", tokens.len());
            assert_near(&logits, &common::numbers(&prompt["logits"]), &what);
            for wanted in common::ids(&prompt["greedy"]) {
                assert_eq!(argmax(&logits), wanted, "{what}");
                logits = model.one(sequence, &[wanted]);
            }
        }
    }
}

#[test]
fn logits_in_bf16_are_near_transformers_and_name_the_same_token() {
    for family in FAMILIES {
        let goldens = &common::goldens("decoders.json")[family];
        let model = common::chat_with(&common::tiny(family), 2, Precision::Bf16);
        let mut model = Sequences::new(model.generator);
        for (sequence, prompt) in (0..).zip(goldens["prompts"].as_array().unwrap()) {
            let wanted = common::numbers(&prompt["logits"]);
            let logits = model.one(sequence, &common::ids(&prompt["tokens"]));
            let most = logits.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(most <= 0.25, "{family}: {most}");
            let mut sorted = wanted.clone();
            sorted.sort_by(|a, b| b.total_cmp(a));
            assert!(sorted[0] - sorted[1] <= 0.3 || argmax(&logits) == argmax(&wanted), "{family}");
        }
    }
}

#[test]
fn windows_scalings_and_caps_equal_transformers() {
    let mut variants = 0;
    for family in FAMILIES {
        let goldens = &common::goldens("decoders.json")[family];
        for variant in goldens["variants"].as_array().unwrap() {
            let folder = with(family, |config| config.extend(variant["change"].as_object().unwrap().clone()));
            let wanted: Vec<&Value> = variant["logits"].as_array().unwrap().iter().collect();
            let what = format!("{family}, {}", variant["name"]);
            assert_logits(folder.path(), &goldens["prompts"], &wanted, &what);
            variants += 1;
        }
    }
    assert!(variants >= 17);
}

#[test]
fn both_config_forms_are_read() {
    for family in FAMILIES {
        let prompts = &common::goldens("decoders.json")[family]["prompts"];
        let wanted: Vec<&Value> =
            prompts.as_array().unwrap().iter().map(|prompt| &prompt["logits"]).collect();
        assert_logits(with(family, old_form).path(), prompts, &wanted, family);
    }
}

#[test]
fn yarn_in_the_old_form_equals_transformers() {
    let goldens = &common::goldens("decoders.json")["qwen2"];
    let variants = goldens["variants"].as_array().unwrap();
    let yarn = variants.iter().find(|variant| variant["name"] == "yarn").unwrap();
    let folder = with("qwen2", |config| {
        config.extend(yarn["change"].as_object().unwrap().clone());
        old_form(config);
        let scaling = config["rope_scaling"].as_object_mut().unwrap();
        let kind = scaling.remove("rope_type").unwrap();
        scaling.insert("type".into(), kind);
    });
    let wanted: Vec<&Value> = yarn["logits"].as_array().unwrap().iter().collect();
    assert_logits(folder.path(), &goldens["prompts"], &wanted, "yarn");
}

#[test]
fn qwen_windows_by_the_first_layer_that_has_one() {
    let goldens = &common::goldens("decoders.json")["qwen2"];
    let folder = with("qwen2", |config| {
        old_form(config);
        for (key, value) in [
            ("use_sliding_window", json!(true)),
            ("sliding_window", json!(20)),
            ("max_window_layers", json!(1)),
        ] {
            config.insert(key.into(), value);
        }
    });
    let wanted: Vec<&Value> = goldens["variants"][0]["logits"].as_array().unwrap().iter().collect();
    assert_logits(folder.path(), &goldens["prompts"], &wanted, "max_window_layers");
}

/// Thirty-two prompts, the first longer than any window.
fn prompts() -> Vec<Vec<u32>> {
    let len = |i: u32| [100, 1, 37, 64, 20, 21, 3, 90][i as usize % 8];
    (0..32).map(|i| (0..len(i)).map(|at| (at * at + 5 * at + 31 * i) % 128).collect()).collect()
}

#[test]
fn logits_do_not_depend_on_company_chunks_or_threads() {
    for family in FAMILIES {
        same_in_any_company(family, Precision::F32);
    }
}

#[test]
fn logits_in_bf16_do_not_depend_on_company_chunks_or_threads() {
    for family in FAMILIES {
        same_in_any_company(family, Precision::Bf16);
    }
}

fn same_in_any_company(family: &str, precision: Precision) {
    let load =
        |threads| Sequences::new(common::chat_with(&common::tiny(family), threads, precision).generator);
    let prompts = prompts();
    let mut alone = load(1);
    let wanted: Vec<Vec<f32>> =
        (0..).zip(&prompts).map(|(sequence, prompt)| alone.one(sequence, prompt)).collect();
    for threads in [1, 2] {
        let mut model = load(threads);
        for count in [2_usize, 8, 32] {
            let rows: Vec<(u64, &[u32])> =
                (200..).zip(prompts.iter().map(Vec::as_slice)).take(count).collect();
            for (got, wanted) in model.step(&rows).unwrap().iter().zip(&wanted) {
                assert_same_bits(got, wanted, &format!("{family} {precision:?} in a batch of {count}"));
            }
            rows.iter().for_each(|&(sequence, _)| model.release(sequence));
        }
    }
    let mut model = load(2);
    for chunk in 1..=prompts[0].len() {
        let mut logits = Vec::new();
        for (index, part) in prompts[0].chunks(chunk).enumerate() {
            // A neighbour that decodes meanwhile.
            let neighbour = [u32::try_from(index).unwrap()];
            logits = model.step(&[(100, part), (101, &neighbour)]).unwrap().remove(0);
        }
        assert_same_bits(&logits, &wanted[0], &format!("{family} {precision:?} in chunks of {chunk}"));
        model.release(100);
        model.release(101);
    }
}

#[test]
fn published_configs_are_read() {
    // The tensors that each config asks for: the weights of the tiny model are not them, which is seen only after the config was read.
    for (name, family, expected) in [
        ("llama-2-7b", "llama", 3 + 32 * 9),
        ("llama-3.2-1b", "llama", 2 + 16 * 9),
        ("mistral-7b-instruct-v0.1", "mistral", 3 + 32 * 9),
        ("mistral-7b-instruct-v0.3", "mistral", 3 + 32 * 9),
        ("qwen2.5-0.5b", "qwen2", 2 + 24 * 12),
        ("qwen2.5-0.5b-instruct", "qwen2", 2 + 24 * 12),
        ("qwen3-0.6b", "qwen3", 2 + 28 * 11),
        ("mixtral-8x7b-instruct-v0.1", "mixtral", 3 + 32 * (7 + 8 * 3)),
        ("qwen3-30b-a3b", "qwen3-moe", 3 + 48 * (9 + 128 * 3)),
        ("gemma-2-9b-it", "gemma2", 2 + 42 * 11),
        ("gemma-3-1b-it", "gemma3", 2 + 26 * 13),
    ] {
        let folder = with(family, |config| {
            *config = common::goldens(&format!("configs/{name}.json")).as_object().unwrap().clone();
        });
        assert_eq!(common::refusal(folder.path()), LoadError::Tensor { index: 0, expected }, "{name}");
    }
}

/// What is refused in one family's config: `key` set to `value`, where a rule names it, else as something that the family does not know.
struct Case {
    family: &'static str,
    key: &'static str,
    value: Value,
    error: LoadError,
}

fn case(family: &'static str, key: &'static str, value: Value, rule: Option<&'static str>) -> Case {
    Case { family, key, value, error: rule.map_or(LoadError::ConfigKey, LoadError::Config) }
}

fn assert_refused(cases: Vec<Case>) {
    for Case { family, key, value, error } in cases {
        let folder = with(family, |config| {
            config.insert(key.into(), value.clone());
        });
        assert_eq!(common::refusal(folder.path()), error, "{family}: {key} {value}");
    }
}

const LIMIT: &str = "a dimension is zero or above its limit";

#[test]
fn case_22_refuses_what_one_family_does_not_do() {
    let off = "layer_types asks for a window that is off";
    let mut cases = vec![
        case("llama", "hidden_act", json!("gelu"), Some("hidden_act is not silu")),
        case("llama", "hidden_act", Value::Null, Some("hidden_act is not silu")),
        case("llama", "final_logit_softcapping", json!(30.0), None),
        case("llama", "mlp_bias", json!(true), None),
        case("llama", "sliding_window", json!(20), None),
        case("llama", "layer_types", json!(["full_attention", "full_attention"]), None),
        case("mistral", "attention_bias", json!(true), None),
        case("mistral", "use_sliding_window", json!(true), None),
        case("mistral", "max_window_layers", json!(1), None),
        case("mistral", "sliding_window", json!(0), Some(LIMIT)),
        case("mistral", "sliding_window", json!(1_u64 << 40), Some(LIMIT)),
        case("qwen2", "use_mrope", json!(true), None),
        case("qwen2", "attention_bias", json!(true), None),
        case("qwen3", "use_mrope", json!(true), None),
        case("qwen3", "num_experts", json!(8), None),
    ];
    for family in ["gemma2", "gemma3"] {
        let range = "query_pre_attn_scalar is out of range";
        cases.extend([
            case(family, "use_bidirectional_attention", json!(true), None),
            case(family, "hidden_act", json!("gelu"), Some("hidden_act is not gelu_pytorch_tanh")),
            case(
                family,
                "hidden_activation",
                json!("gelu"),
                Some("hidden_activation is not gelu_pytorch_tanh"),
            ),
            case(family, "query_pre_attn_scalar", json!(0), Some(range)),
            case(family, "query_pre_attn_scalar", json!(-1e300), Some(range)),
            case(family, "final_logit_softcapping", json!(0.0), Some("a softcapping is out of range")),
        ]);
    }
    cases.extend([
        case("gemma2", "attn_logit_softcapping", json!(-50.0), Some("a softcapping is out of range")),
        case("gemma2", "sliding_window_size", json!(21), Some("sliding_window_size is not sliding_window")),
        case("gemma2", "rope_local_base_freq", json!(1e4), None),
        case("gemma3", "attn_logit_softcapping", json!(50.0), None),
        case("gemma3", "rope_local_base_freq", json!(1e4), Some("rope is configured in two ways")),
    ]);
    for family in ["qwen2", "qwen3"] {
        cases.push(case(family, "layer_types", json!(["full_attention", "sliding_attention"]), Some(off)));
    }
    for family in ["qwen2", "qwen3", "gemma2", "gemma3"] {
        cases.extend([
            case(family, "sliding_window", json!(0), Some(LIMIT)),
            case(
                family,
                "layer_types",
                json!(["full_attention"]),
                Some("layer_types is not as long as num_hidden_layers"),
            ),
            case(
                family,
                "layer_types",
                json!(["full_attention", "linear_attention"]),
                Some("layer_types names an attention that is not full or sliding"),
            ),
        ]);
    }
    assert_refused(cases);
}

#[test]
fn case_22_refuses_experts_that_no_model_has() {
    assert_refused(vec![
        case("mixtral", "num_local_experts", json!(0), Some(LIMIT)),
        case("mixtral", "num_local_experts", json!(1_u64 << 40), Some(LIMIT)),
        case("mixtral", "num_experts_per_tok", json!(5), Some(LIMIT)),
        case("mixtral", "output_router_logits", json!(true), None),
        case("mixtral", "norm_topk_prob", json!(true), None),
        case("mixtral", "attention_bias", json!(true), None),
        case("qwen3-moe", "shared_expert_intermediate_size", json!(8), None),
        case("qwen3-moe", "layer_types", json!(["full_attention"]), None),
        case("qwen3-moe", "moe_intermediate_size", json!(0), Some(LIMIT)),
        case("qwen3-moe", "decoder_sparse_step", json!(0), Some(LIMIT)),
        case(
            "qwen3-moe",
            "mlp_only_layers",
            json!([3]),
            Some("mlp_only_layers names a layer that is not there"),
        ),
    ]);
}

#[test]
fn case_22_refuses_what_no_family_does() {
    let mut cases = Vec::new();
    for family in FAMILIES {
        for (key, value) in [
            ("logit_scale", json!(0.5)),
            ("partial_rotary_factor", json!(0.5)),
            ("quantization_config", json!({"bits": 4})),
            ("is_decoder", json!(true)),
        ] {
            cases.push(case(family, key, value, None));
        }
        let rope = |kind: &str, more: &str| {
            let one: Value =
                serde_json::from_str(&format!(r#"{{"rope_type":"{kind}","rope_theta":1e4{more}}}"#)).unwrap();
            if *family == "gemma3" { json!({"full_attention": one, "sliding_attention": one}) } else { one }
        };
        let unknown = "rope type is not default, linear, dynamic, llama3 or yarn";
        let amiss = "rope scaling lacks a value or has one too many";
        for (key, value, rule) in [
            ("rms_norm_eps", json!(1.0), "rms_norm_eps is not between 0 and 1"),
            ("num_key_value_heads", json!(3), "num_attention_heads is not a multiple of num_key_value_heads"),
            ("num_key_value_heads", json!(8), LIMIT),
            ("num_attention_heads", json!(0), LIMIT),
            ("hidden_size", json!(1_u64 << 32), LIMIT),
            ("intermediate_size", json!(0), LIMIT),
            ("num_hidden_layers", json!(1_000_000), LIMIT),
            ("vocab_size", json!(1_u64 << 40), LIMIT),
            ("max_position_embeddings", json!(0), LIMIT),
            ("rope_theta", json!(1e4), "rope is configured in two ways"),
            ("rope_scaling", json!({"rope_type": "default"}), "rope is configured in two ways"),
            ("rope_parameters", rope("longrope", r#","factor":4.0"#), unknown),
            ("rope_parameters", rope("yarn", ""), amiss),
            ("rope_parameters", rope("dynamic", ""), amiss),
            ("rope_parameters", rope("default", r#","factor":4.0"#), amiss),
            ("rope_parameters", rope("llama3", r#","factor":4.0"#), amiss),
        ] {
            cases.push(case(family, key, value, Some(rule)));
        }
    }
    assert_refused(cases);
}

#[test]
fn case_22_refuses_settings_that_are_missing_or_of_another_form() {
    let form = LoadError::Form(anchorhold_sealed_weights::Role::Config);
    for family in FAMILIES {
        let own: &[&str] = match *family {
            "llama" => &[],
            "qwen3" => &["num_key_value_heads", "head_dim"],
            "mixtral" => &["num_key_value_heads", "num_local_experts", "num_experts_per_tok"],
            "qwen3-moe" => &["num_key_value_heads", "num_experts_per_tok", "moe_intermediate_size"],
            "gemma2" | "gemma3" => {
                &["num_key_value_heads", "head_dim", "query_pre_attn_scalar", "sliding_window"]
            }
            _ => &["num_key_value_heads"],
        };
        for &key in own.iter().chain(&["hidden_size", "rms_norm_eps", "vocab_size"]) {
            for value in [None, Some(Value::Null), Some(json!("x")), Some(json!({}))] {
                let folder = with(family, |config| {
                    config.remove(key);
                    config.extend(value.clone().map(|value| (key.to_owned(), value)));
                });
                assert_eq!(common::refusal(folder.path()), form, "{family}: {key} {value:?}");
            }
        }
    }
    for family in FAMILIES {
        for value in [json!([20]), json!("20"), json!(20.5), json!(-20)] {
            let folder = with(family, |config| {
                config.insert("num_hidden_layers".into(), value);
            });
            assert_eq!(common::refusal(folder.path()), form, "{family}");
        }
    }
    for key in ["attn_logit_softcapping", "final_logit_softcapping"] {
        let folder = with("gemma2", |config| {
            config.remove(key);
        });
        let refused = LoadError::Config("a softcapping is neither set nor null");
        assert_eq!(common::refusal(folder.path()), refused, "{key}");
    }
    let saved_pattern_alone = with("gemma3", |config| {
        config.remove("layer_types");
    });
    assert_eq!(
        common::refusal(saved_pattern_alone.path()),
        LoadError::Config("_sliding_window_pattern stands without layer_types")
    );
    let on_without_layers = with("qwen2", |config| {
        for key in ["layer_types", "max_window_layers"] {
            config.remove(key);
        }
        config.insert("use_sliding_window".into(), json!(true));
        config.insert("sliding_window".into(), json!(20));
    });
    assert_eq!(
        common::refusal(on_without_layers.path()),
        LoadError::Config("use_sliding_window is on without layer_types or max_window_layers")
    );
}

#[test]
fn case_22_refuses_an_architecture_under_another_type() {
    for (family, kind) in [
        ("llama", "mistral"),
        ("mistral", "llama"),
        ("qwen2", "qwen3"),
        ("qwen3", "qwen2"),
        ("mixtral", "mistral"),
        ("qwen3-moe", "qwen3"),
        ("gemma2", "gemma3_text"),
        ("gemma3", "gemma3"),
    ] {
        let folder = with(family, |config| {
            config.insert("model_type".into(), json!(kind));
        });
        assert_eq!(common::refusal(folder.path()), LoadError::Architecture, "{family} as {kind}");
    }
}

#[test]
fn refuses_weights_of_another_family() {
    // The same sizes, so that what differs is biases and norms: neither may be missing, and none may be left over.
    let folder = with("qwen3", |config| {
        config.insert("attention_bias".into(), json!(true));
    });
    assert!(matches!(common::refusal(folder.path()), LoadError::Tensor { expected: 32, .. }));
    let folder = with("llama", |config| {
        config.insert("attention_bias".into(), json!(false));
    });
    assert_eq!(common::refusal(folder.path()), LoadError::ExtraTensors(8));
}

#[test]
fn an_absent_window_of_mistral_is_the_one_that_transformers_takes() {
    // 4096 positions are more than the context: all are seen, as with null.
    let goldens = &common::goldens("decoders.json")["mistral"];
    let wanted: Vec<&Value> = goldens["variants"][0]["logits"].as_array().unwrap().iter().collect();
    assert_eq!(goldens["variants"][0]["name"], "no window");
    let folder = with("mistral", |config| {
        config.remove("sliding_window");
    });
    assert_logits(folder.path(), &goldens["prompts"], &wanted, "absent");
}

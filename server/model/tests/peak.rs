//! How much memory a load takes at the most, in a process of its own: the weights as they compute, and little beside them.
//!
//! `ANCHORHOLD_DECODER` names the folder of another model to be measured, `ANCHORHOLD_PRECISION` is `f32`, `bf16` or `stored`.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "helpers of tests are tests"
)]

mod common;

use anchorhold_engine::Precision;
use common::gguf::{GgufFile, Meta, TensorOf, converted};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Says to the second process which folder it loads.
const FOLDER: &str = "ANCHORHOLD_PEAK_FOLDER";
const THREADS: usize = 2;
const HIDDEN: usize = 512;
const WIDE: usize = 2048;
const LAYERS: usize = 12;
const VOCABULARY: usize = 8192;
/// What a load may take beside the weights: a part for each thread of 8 MiB, a segment, and the tokenizer.
const BESIDE: u64 = 24 << 20;

/// A Llama in Q8_0 whose numbers are all zero.
fn zeros() -> GgufFile {
    let mut file = converted("llama");
    let sizes = [("embedding_length", HIDDEN), ("feed_forward_length", WIDE), ("block_count", LAYERS)];
    for (key, size) in sizes {
        file.set(&format!("llama.{key}"), Meta::Count(u32::try_from(size).unwrap()));
    }
    let tokens = (0..VOCABULARY).map(|id| format!("<{id}>")).collect();
    file.set("tokenizer.ggml.tokens", Meta::Texts(tokens));
    file.set("tokenizer.ggml.token_type", Meta::Kinds(vec![1; VOCABULARY]));
    let tensor = |name: String, shape: &[usize]| {
        let elements: usize = shape.iter().product();
        let (kind, len) = if shape.len() == 1 { (0, elements * 4) } else { (8, elements / 32 * 34) };
        TensorOf { name, shape: shape.to_vec(), kind, bytes: vec![0; len] }
    };
    file.tensors = vec![
        tensor("token_embd.weight".into(), &[VOCABULARY, HIDDEN]),
        tensor("output_norm.weight".into(), &[HIDDEN]),
    ];
    // Heads of 16 features, four with queries and two with keys.
    for layer in 0..LAYERS {
        for (name, shape) in [
            ("attn_norm", vec![HIDDEN]),
            ("attn_q", vec![64, HIDDEN]),
            ("attn_k", vec![32, HIDDEN]),
            ("attn_v", vec![32, HIDDEN]),
            ("attn_output", vec![HIDDEN, 64]),
            ("ffn_norm", vec![HIDDEN]),
            ("ffn_gate", vec![WIDE, HIDDEN]),
            ("ffn_up", vec![WIDE, HIDDEN]),
            ("ffn_down", vec![HIDDEN, WIDE]),
        ] {
            file.tensors.push(tensor(format!("blk.{layer}.{name}.weight"), &shape));
        }
    }
    file
}

/// A reranker of the kind BERT in bf16 whose numbers are all zero.
fn zero_encoder() -> tempfile::TempDir {
    let folder = common::copy(&common::tiny("bert-reranker"));
    let path = folder.path().join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let len = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let tiny: Value = serde_json::from_slice(&bytes[8..8 + len]).unwrap();
    let mut config = Value::Null;
    common::change(folder.path(), "config.json", |own| {
        config = own.clone();
        own["hidden_size"] = HIDDEN.into();
        own["intermediate_size"] = WIDE.into();
        own["num_hidden_layers"] = LAYERS.into();
    });
    let grown = |side: &Value| match side {
        side if *side == config["hidden_size"] => HIDDEN.into(),
        side if *side == config["intermediate_size"] => WIDE.into(),
        side => side.clone(),
    };
    let (mut header, mut end) = (Map::new(), 0);
    let mut add = |name: String, shape: &[Value]| {
        let len = shape.iter().fold(2, |len, side| len * side.as_u64().unwrap());
        header.insert(name, json!({"dtype": "BF16", "shape": shape, "data_offsets": [end, end + len]}));
        end += len;
    };
    let first = "encoder.layer.0.";
    for (name, tensor) in tiny.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__") {
        let shape: Vec<Value> = tensor["shape"].as_array().unwrap().iter().map(grown).collect();
        if name.contains(first) {
            let of = |layer| name.replace(first, &format!("encoder.layer.{layer}."));
            (0..LAYERS).for_each(|layer| add(of(layer), &shape));
        } else if !name.contains("encoder.layer.") {
            add(name.clone(), &shape);
        }
    }
    let header = serde_json::to_vec(&header).unwrap();
    let begin = 8 + header.len() as u64;
    std::fs::write(&path, [&(header.len() as u64).to_le_bytes(), header.as_slice()].concat()).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(begin + end).unwrap();
    folder
}

/// A line of `/proc/self/status`, in bytes.
fn status(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim_matches(|letter: char| !letter.is_ascii_digit()).parse::<u64>().unwrap() << 10
}

fn precision() -> Precision {
    match std::env::var("ANCHORHOLD_PRECISION").as_deref() {
        Ok("f32") => Precision::F32,
        Ok("bf16") => Precision::Bf16,
        Ok("stored") | Err(_) => Precision::Stored,
        Ok(other) => panic!("{other} is no precision"),
    }
}

/// What the second process does; nothing where it was not asked to.
#[test]
fn a_load_in_a_process_of_its_own() {
    let Some(place) = std::env::var_os(FOLDER) else { return };
    let package = common::Package::at(Path::new(&place));
    let before = status("VmRSS:");
    let (model, stats) = package.load(THREADS, precision()).unwrap();
    let (peak, kept) = (status("VmHWM:"), status("VmRSS:"));
    println!("measured {} {} {}", peak - before, kept - before, stats.weight_bytes);
    drop(model);
}

/// The most bytes that a load in a process of its own took, those that it kept, and those of the weights in the package.
fn measure(folder: &Path, precision: Option<&str>) -> [u64; 3] {
    let place = tempfile::tempdir().unwrap();
    common::Package::seal(folder, place.path());
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "a_load_in_a_process_of_its_own", "--nocapture"]).env(FOLDER, place.path());
    child.envs(precision.map(|precision| ("ANCHORHOLD_PRECISION", precision)));
    let output = child.output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let measured =
        lines.lines().find_map(|line| line.split_once("measured ")).unwrap_or_else(|| panic!("{lines}"));
    let numbers: Vec<u64> = measured.1.split(' ').map(|number| number.parse().unwrap()).collect();
    let [peak, kept, weights] = numbers[..] else { panic!("{lines}") };
    println!("peak {peak}, kept {kept}, weights in the package {weights} bytes");
    [peak, kept, weights]
}

#[test]
fn an_encoder_takes_little_more_than_its_weights() {
    let [peak, kept, weights] = measure(zero_encoder().path(), Some("bf16"));
    assert!(kept >= weights, "the measure measures: {kept} of {weights}");
    assert!(peak <= weights + BESIDE, "{peak} of {weights}");
}

#[test]
fn a_load_takes_little_more_than_the_weights() {
    let made;
    let folder = match std::env::var_os("ANCHORHOLD_DECODER") {
        Some(folder) => PathBuf::from(folder),
        None => {
            made = zeros().write();
            made.path().to_owned()
        }
    };
    let [peak, kept, weights] = measure(&folder, None);
    if std::env::var_os("ANCHORHOLD_DECODER").is_none() {
        assert!(kept >= weights, "the measure measures: {kept} of {weights}");
        assert!(peak <= weights + BESIDE, "{peak} of {weights}");
    }
}

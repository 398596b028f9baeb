//! GGUF files for the tests: those of `tests/models/gguf`, and tiny decoders written as llama.cpp's converter writes them.

use super::{ROOT, tiny};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A folder with this file of `tests/models/gguf` alone.
pub(crate) fn folder(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(file(name), folder.path().join("model.gguf")).unwrap();
    folder
}

pub(crate) fn file(name: &str) -> PathBuf {
    Path::new(ROOT).join(format!("tests/models/gguf/{name}.gguf"))
}

/// A metadata value.
#[derive(Debug, Clone)]
pub(crate) enum Meta {
    Count(u32),
    Float(f32),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    Kinds(Vec<i32>),
    Floats(Vec<f32>),
}

impl Meta {
    fn write(&self, out: &mut Vec<u8>) {
        let array = |out: &mut Vec<u8>, kind: u32, count: usize| {
            out.extend(9_u32.to_le_bytes());
            out.extend(kind.to_le_bytes());
            out.extend((count as u64).to_le_bytes());
        };
        match self {
            Self::Count(count) => {
                out.extend(4_u32.to_le_bytes());
                out.extend(count.to_le_bytes());
            }
            Self::Float(float) => {
                out.extend(6_u32.to_le_bytes());
                out.extend(float.to_le_bytes());
            }
            Self::Bool(on) => {
                out.extend(7_u32.to_le_bytes());
                out.push((*on).into());
            }
            Self::Text(value) => {
                out.extend(8_u32.to_le_bytes());
                text(value, out);
            }
            Self::Texts(values) => {
                array(out, 8, values.len());
                values.iter().for_each(|value| text(value, out));
            }
            Self::Kinds(values) => {
                array(out, 5, values.len());
                values.iter().for_each(|value| out.extend(value.to_le_bytes()));
            }
            Self::Floats(values) => {
                array(out, 6, values.len());
                values.iter().for_each(|value| out.extend(value.to_le_bytes()));
            }
        }
    }
}

fn text(value: &str, out: &mut Vec<u8>) {
    out.extend((value.len() as u64).to_le_bytes());
    out.extend(value.as_bytes());
}

/// A tensor: outermost dimension first, ggml's number of its type, its bytes.
pub(crate) struct TensorOf {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) kind: u32,
    pub(crate) bytes: Vec<u8>,
}

/// A file to be written.
pub(crate) struct GgufFile {
    pub(crate) metadata: Vec<(String, Meta)>,
    pub(crate) tensors: Vec<TensorOf>,
}

impl GgufFile {
    /// Sets a key, or removes it.
    pub(crate) fn set(&mut self, key: &str, value: impl Into<Option<Meta>>) {
        self.metadata.retain(|(name, _)| name != key);
        self.metadata.extend(value.into().map(|value| (key.to_owned(), value)));
    }

    /// The folder with the file alone.
    pub(crate) fn write(&self) -> tempfile::TempDir {
        let mut out = b"GGUF".to_vec();
        out.extend(3_u32.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            text(key, &mut out);
            value.write(&mut out);
        }
        let mut offset = 0;
        for tensor in &self.tensors {
            text(&tensor.name, &mut out);
            out.extend(u32::try_from(tensor.shape.len()).unwrap().to_le_bytes());
            tensor.shape.iter().rev().for_each(|&side| out.extend((side as u64).to_le_bytes()));
            out.extend(tensor.kind.to_le_bytes());
            out.extend((offset as u64).to_le_bytes());
            offset += tensor.bytes.len().next_multiple_of(32);
        }
        for tensor in &self.tensors {
            out.resize(out.len().next_multiple_of(32), 0);
            out.extend(&tensor.bytes);
        }
        out.resize(out.len().next_multiple_of(32), 0);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("model.gguf"), out).unwrap();
        folder
    }
}

/// The tiny decoder of a family as llama.cpp's converter writes it, in f32.
pub(crate) fn converted(family: &str) -> GgufFile {
    let folder = tiny(family);
    let config: Value = serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
    let name = if family == "mistral" { "llama" } else { family };
    let mut file = GgufFile { metadata: metadata(name, &config), tensors: Vec::new() };
    let bytes = std::fs::read(folder.join("model.safetensors")).unwrap();
    let len = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let header: Value = serde_json::from_slice(&bytes[8..8 + len]).unwrap();
    for (name_of, tensor) in header.as_object().unwrap() {
        if name_of == "__metadata__" {
            continue;
        }
        let numbers = |key: &str| -> Vec<usize> {
            let list = tensor[key].as_array().unwrap();
            list.iter().map(|number| usize::try_from(number.as_u64().unwrap()).unwrap()).collect()
        };
        let (shape, offsets) = (numbers("shape"), numbers("data_offsets"));
        let mut data = bytes[8 + len + offsets[0]..8 + len + offsets[1]].to_vec();
        let head = config.get("head_dim").and_then(Value::as_u64).unwrap_or(8);
        if name == "llama" && (name_of.contains("q_proj") || name_of.contains("k_proj")) {
            data = side_by_side(&data, shape[0], usize::try_from(head).unwrap());
        }
        if family.starts_with("gemma") && name_of.contains("norm") {
            for number in data.as_chunks_mut::<4>().0 {
                *number = (f32::from_le_bytes(*number) + 1.0).to_le_bytes();
            }
        }
        file.tensors.push(TensorOf { name: own_name(name_of, family), shape, kind: 0, bytes: data });
    }
    if config["rope_parameters"]["rope_type"] == "llama3" {
        file.tensors.push(rope_factors(&config));
    }
    file
}

/// The rows of each head as llama.cpp turns them: the halves' rows in turn.
fn side_by_side(data: &[u8], rows: usize, head: usize) -> Vec<u8> {
    let lines: Vec<&[u8]> = data.chunks(data.len() / rows).collect();
    let line = |row: usize| {
        let (first, inside) = (row / head * head, row % head);
        lines[first + inside % 2 * (head / 2) + inside / 2]
    };
    (0..rows).flat_map(|row| line(row).to_vec()).collect()
}

/// The divisors of Llama 3's frequencies, by their definition.
fn rope_factors(config: &Value) -> TensorOf {
    let rope = &config["rope_parameters"];
    let value = |key: &str| rope[key].as_f64().unwrap();
    let head = config["head_dim"].as_f64().unwrap();
    let factor = |at: u32| {
        let wave = std::f64::consts::TAU * value("rope_theta").powf(f64::from(2 * at) / head);
        let ratio = value("original_max_position_embeddings") / wave;
        let (low, high) = (value("low_freq_factor"), value("high_freq_factor"));
        let smooth = ((ratio - low) / (high - low)).clamp(0.0, 1.0);
        1.0 / ((1.0 - smooth) / value("factor") + smooth)
    };
    #[expect(clippy::cast_possible_truncation, reason = "the file has f32")]
    let factors: Vec<f32> = (0..8).map(|at| factor(at) as f32).collect();
    TensorOf {
        name: "rope_freqs.weight".into(),
        shape: vec![factors.len()],
        kind: 0,
        bytes: factors.iter().flat_map(|factor| factor.to_le_bytes()).collect(),
    }
}

fn own_name(name: &str, family: &str) -> String {
    let outside = [
        ("model.embed_tokens.weight", "token_embd.weight"),
        ("model.norm.weight", "output_norm.weight"),
        ("lm_head.weight", "output.weight"),
    ];
    if let Some((_, own)) = outside.iter().find(|(theirs, _)| *theirs == name) {
        return (*own).to_owned();
    }
    let after = if family.starts_with("gemma") { "post_attention_norm" } else { "ffn_norm" };
    let mut own = name.replace("model.layers", "blk");
    for (theirs, part) in [
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", after),
        ("pre_feedforward_layernorm", "ffn_norm"),
        ("post_feedforward_layernorm", "post_ffw_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("self_attn.q_norm", "attn_q_norm"),
        ("self_attn.k_norm", "attn_k_norm"),
        ("mlp.", "ffn_"),
        ("_proj", ""),
    ] {
        own = own.replace(theirs, part);
    }
    own
}

fn metadata(name: &str, config: &Value) -> Vec<(String, Meta)> {
    let count = |key: &str| Meta::Count(u32::try_from(config[key].as_u64().unwrap()).unwrap());
    #[expect(clippy::cast_possible_truncation, reason = "the file has f32")]
    let float = |value: &Value| Meta::Float(value.as_f64().unwrap() as f32);
    let rope = &config["rope_parameters"];
    let full = rope.get("full_attention").unwrap_or(rope);
    let mut own = vec![
        ("context_length", count("max_position_embeddings")),
        ("embedding_length", count("hidden_size")),
        ("block_count", count("num_hidden_layers")),
        ("feed_forward_length", count("intermediate_size")),
        ("attention.head_count", count("num_attention_heads")),
        ("attention.head_count_kv", count("num_key_value_heads")),
        ("attention.layer_norm_rms_epsilon", float(&config["rms_norm_eps"])),
        ("rope.freq_base", float(&full["rope_theta"])),
    ];
    if config.get("head_dim").is_some() {
        own.extend(["attention.key_length", "attention.value_length"].map(|key| (key, count("head_dim"))));
    }
    if full["rope_type"] == "linear" {
        own.push(("rope.scaling.type", Meta::Text("linear".into())));
        own.push(("rope.scaling.factor", float(&full["factor"])));
    }
    if name.starts_with("gemma") {
        own.push(("attention.sliding_window", count("sliding_window")));
        for key in ["attn_logit_softcapping", "final_logit_softcapping"] {
            if config.get(key).is_some_and(Value::is_number) {
                own.push((key, float(&config[key])));
            }
        }
    }
    let tokens: Vec<String> = (0..128).map(|id| format!("<{id}>")).collect();
    let general =
        [("general.architecture", Meta::Text(name.into())), ("general.name", Meta::Text("tiny".into()))];
    let words = [
        ("tokenizer.ggml.model", Meta::Text("gpt2".into())),
        ("tokenizer.ggml.pre", Meta::Text("gpt-2".into())),
        ("tokenizer.ggml.tokens", Meta::Texts(tokens)),
        ("tokenizer.ggml.token_type", Meta::Kinds(vec![1; 128])),
        ("tokenizer.ggml.merges", Meta::Texts(Vec::new())),
        ("tokenizer.ggml.bos_token_id", Meta::Count(0)),
        ("tokenizer.ggml.eos_token_id", Meta::Count(1)),
        ("tokenizer.ggml.add_bos_token", Meta::Bool(false)),
    ];
    let own = own.into_iter().map(|(key, value)| (format!("{name}.{key}"), value));
    let others = general.into_iter().chain(words).map(|(key, value)| (key.to_owned(), value));
    others.chain(own).collect()
}

//! Tokens per second of a decoder of 0.46 billion parameters through the sealed path, and those of llama.cpp in the same run.
//!
//! usage: `cargo bench -p anchorhold-model --bench decode -- [THREADS] [JSON=PATH] [CPU] [F32 | STORED]`
//!
//! The model is the folder that `ANCHORHOLD_DECODER` names, which may hold a GGUF file alone, computed as it is stored with `STORED`;
//! without it one of the same shape with random weights is made. The peer is `llama-batched-bench` in the folder `LLAMA_CPP`, with the
//! file `LLAMA_GGUF`, in F16 or as ours; without them there is no ratio. `CPU` counts the
//! process' CPU time instead of wall time: with one thread it gives stable numbers on a busy machine. The peer's clock is then turned
//! into its own CPU time by the library `CPU_CLOCK` (a `clock_gettime` that answers so, to be preloaded).
//!
//! Both take turns. Prefill is of 512 tokens, decoding goes on after a prompt of 128 that all sequences share.

#![expect(clippy::unwrap_used, reason = "a benchmark ends where it fails")]

#[path = "../tests/common/mod.rs"]
mod common;
mod harness;

use anchorhold_engine::{BlockId, Generator, Row};
use anchorhold_model::Precision;
use harness::{Arguments, Clock, Report, median, say};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Times that we and the peer take turns.
const ROUNDS: usize = 3;
const BATCHES: [usize; 3] = [1, 8, 32];
const PREFILL: usize = 512;
/// Positions before decoding.
const PROMPT: usize = 128;
const STEPS: usize = 16;

/// The shape of the random model: Llama, tied.
const VOCABULARY: usize = 32_000;
const HIDDEN: usize = 1024;
const INTERMEDIATE: usize = 4096;
const LAYERS: usize = 28;
const HEADS: usize = 16;
const KEY_HEADS: usize = 4;
const HEAD: usize = 64;

/// Writes the random model, in bf16.
fn make(folder: &Path) {
    let chat = common::anchor_chat();
    for file in ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"] {
        std::fs::copy(chat.join(file), folder.join(file)).unwrap();
    }
    let config = serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "vocab_size": VOCABULARY, "hidden_size": HIDDEN, "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": KEY_HEADS,
        "head_dim": HEAD, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "tie_word_embeddings": true, "eos_token_id": 1,
    });
    std::fs::write(folder.join("config.json"), serde_json::to_vec(&config).unwrap()).unwrap();
    let mut tensors = vec![
        ("model.embed_tokens.weight".to_owned(), vec![VOCABULARY, HIDDEN]),
        ("model.norm.weight".to_owned(), vec![HIDDEN]),
    ];
    for layer in 0..LAYERS {
        for (part, shape) in [
            ("input_layernorm", vec![HIDDEN]),
            ("post_attention_layernorm", vec![HIDDEN]),
            ("self_attn.q_proj", vec![HEADS * HEAD, HIDDEN]),
            ("self_attn.k_proj", vec![KEY_HEADS * HEAD, HIDDEN]),
            ("self_attn.v_proj", vec![KEY_HEADS * HEAD, HIDDEN]),
            ("self_attn.o_proj", vec![HIDDEN, HEADS * HEAD]),
            ("mlp.gate_proj", vec![INTERMEDIATE, HIDDEN]),
            ("mlp.up_proj", vec![INTERMEDIATE, HIDDEN]),
            ("mlp.down_proj", vec![HIDDEN, INTERMEDIATE]),
        ] {
            tensors.push((format!("model.layers.{layer}.{part}.weight"), shape));
        }
    }
    let mut end = 0;
    let mut table = BTreeMap::new();
    for (name, shape) in &tensors {
        let start = end;
        end += shape.iter().product::<usize>() * 2;
        table.insert(
            name.clone(),
            serde_json::json!({ "dtype": "BF16", "shape": shape, "data_offsets": [start, end] }),
        );
    }
    let mut table = serde_json::to_vec(&table).unwrap();
    // Tensors begin where vectors may.
    table.resize((8 + table.len()).next_multiple_of(64) - 8, b' ');
    let mut file = std::io::BufWriter::new(std::fs::File::create(folder.join("model.safetensors")).unwrap());
    file.write_all(&u64::try_from(table.len()).unwrap().to_le_bytes()).unwrap();
    file.write_all(&table).unwrap();
    let mut state = 1_u32;
    for (name, shape) in &tensors {
        for _ in 0..shape.iter().product::<usize>() {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Norms are one; the rest is between plus and minus 1/32, of seven bits after the point.
            let number = f32::from(u8::try_from(state >> 24).unwrap()) / 4096.0 - 1.0 / 32.0;
            let number = if name.ends_with("norm.weight") { 1.0 } else { number };
            let [_, _, low, high] = number.to_le_bytes();
            file.write_all(&[low, high]).unwrap();
        }
    }
    file.flush().unwrap();
}

/// Tokens of anybody.
fn tokens(count: usize) -> Vec<u32> {
    (0..u32::try_from(count).unwrap()).map(|i| 5 + i * 31 % 700).collect()
}

fn blocks(range: std::ops::Range<usize>) -> Vec<BlockId> {
    range.map(|block| BlockId(u32::try_from(block).unwrap())).collect()
}

/// Tokens per second while a prompt is read.
fn prefill(clock: &Clock, model: &mut dyn Generator) -> f64 {
    let (tokens, blocks) = (tokens(PREFILL), blocks(0..PREFILL / model.block()));
    let seconds = clock.seconds(|| {
        drop(model.step(&[Row { tokens: &tokens, start: 0, blocks: &blocks }]).unwrap());
    });
    f64::from(u32::try_from(PREFILL).unwrap()) / seconds
}

/// Tokens per second of `batch` sequences.
fn decode(clock: &Clock, model: &mut dyn Generator, batch: usize) -> f64 {
    let shared = PROMPT / model.block();
    let prompt = blocks(0..shared);
    let tables: Vec<Vec<BlockId>> =
        (0..batch).map(|row| [prompt.clone(), blocks(shared + row..shared + row + 1)].concat()).collect();
    drop(model.step(&[Row { tokens: &tokens(PROMPT), start: 0, blocks: &prompt }]).unwrap());
    let mut step = |start: usize| {
        let row = |blocks| Row { tokens: &[9], start, blocks };
        let rows: Vec<Row<'_>> = tables.iter().map(|table| row(table.as_slice())).collect();
        drop(model.step(&rows).unwrap());
    };
    step(PROMPT);
    let seconds = clock.seconds(|| (PROMPT + 1..PROMPT + 1 + STEPS).for_each(&mut step));
    f64::from(u32::try_from(batch * STEPS).unwrap()) / seconds
}

/// llama.cpp, if the environment names it.
struct Peer {
    program: PathBuf,
    gguf: PathBuf,
    threads: String,
    /// What makes it count its own CPU time.
    clock: Option<PathBuf>,
}

impl Peer {
    fn find(arguments: &Arguments) -> Option<Self> {
        let name = |key| std::env::var_os(key).map(PathBuf::from);
        let (Some(folder), Some(gguf)) = (name("LLAMA_CPP"), name("LLAMA_GGUF")) else {
            say("llama.cpp: LLAMA_CPP and LLAMA_GGUF are not set, left out");
            return None;
        };
        let clock = arguments.clock.cpu.then(|| name("CPU_CLOCK").unwrap());
        let threads = arguments.threads.to_string();
        Some(Self { program: folder.join("llama-batched-bench"), gguf, threads, clock })
    }

    /// Tokens per second of prefill, then of each of [`BATCHES`].
    fn run(&self) -> Vec<f64> {
        let mut speeds = self.lines(PREFILL, "1", "speed_pp");
        speeds.extend(self.lines(PROMPT, "1,8,32", "speed_tg"));
        speeds
    }

    fn lines(&self, prompt: usize, batches: &str, key: &str) -> Vec<f64> {
        let mut command = Command::new(&self.program);
        command.arg("-m").arg(&self.gguf).args(["-t", &self.threads, "-tb", &self.threads]);
        command.args(["-c", "8192", "-b", "2048", "-ub", "512", "-npp", &prompt.to_string()]);
        command.args(["-ntg", &STEPS.to_string(), "-npl", batches, "-pps", "--output-format", "jsonl"]);
        if let Some(clock) = &self.clock {
            command.env("LD_PRELOAD", clock);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).unwrap();
        let objects = lines.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        objects.filter_map(|object| object.get(key)?.as_f64()).collect()
    }
}

fn main() {
    let arguments = Arguments::read();
    let asked = |word: &str| std::env::args().any(|argument| argument == word);
    let made = tempfile::tempdir().unwrap();
    let folder = std::env::var_os("ANCHORHOLD_DECODER").map_or_else(
        || {
            make(made.path());
            made.path().to_owned()
        },
        PathBuf::from,
    );
    let (precision, mark) = match (asked("F32"), asked("STORED")) {
        (true, _) => (Precision::F32, ""),
        (false, true) => (Precision::Stored, "_stored"),
        (false, false) => (Precision::Bf16, "_bf16"),
    };
    let mut model = common::chat_with(&folder, arguments.threads, precision).generator;
    let peer = Peer::find(&arguments);
    let (clock, model) = (&arguments.clock, model.as_mut());
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    prefill(clock, model);
    for _ in 0..ROUNDS {
        let mut speeds = vec![prefill(clock, model)];
        speeds.extend(BATCHES.iter().map(|&batch| decode(clock, model, batch)));
        ours.push(speeds);
        theirs.extend(peer.as_ref().map(Peer::run));
    }
    let names: Vec<String> = std::iter::once("prefill_512".to_owned())
        .chain(BATCHES.iter().map(|batch| format!("decode_b{batch}")))
        .collect();
    let mut report = Report::default();
    for (rounds, owner) in [(ours, ""), (theirs, "llama_cpp_")] {
        for (at, name) in names.iter().enumerate() {
            let speeds: Vec<f64> = rounds.iter().filter_map(|round| round.get(at).copied()).collect();
            if !speeds.is_empty() {
                report.add(&format!("{owner}llama_0.46b{mark}_{name}"), median(speeds), "tokens/s");
            }
        }
    }
    report.write(&arguments);
}

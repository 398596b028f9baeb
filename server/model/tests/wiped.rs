//! Nothing of a model is left in the memory of the process that dropped it.
//!
//! A child of the test seals a model whose weights are known numbers, so that this process never has them but by loading. Then its whole
//! writable memory is searched for them: as they are stored, and as they lie ready for products. A search is for pieces of a tensor from
//! behind its beginning, because the allocator writes over the beginning of what is freed.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper of a test that fails is a failed test"
)]

mod common;

use anchorhold_model::{LoadedModel, Precision, Threads, load_with};
use anchorhold_sealed_weights::{
    Effort, Manifest, OwnerKey, PackageFiles, SealOptions, SealedModel, SegmentSize, WeightsKey,
    read_manifest, seal,
};
use common::Sequences;
use common::gguf::converted;
use std::any::Any;
use std::fs::File;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

const WEIGHTS_KEY: [u8; 32] = [7; 32];
const OWNER_SEED: [u8; 32] = [3; 32];
const FOLDER: &str = "ANCHORHOLD_TEST_FOLDER";
const HIDDEN: usize = 32;
/// Columns of a panel of packed weights.
const PANEL: usize = 32;

/// Number `at` of the known ones of a tensor: between 0.5 and 1, exact in bf16, in no order that anything else has.
fn number(tensor: usize, at: usize) -> f32 {
    0.5 + f32::from(mixed(tensor, at)) / 256.0
}

/// The same number as a quantised file has it.
fn mixed(tensor: usize, at: usize) -> u8 {
    const ODD: usize = 0x9E37_79B9_7F4A_7C15;
    // Multiplied once, two places at one distance would differ by one number, and a column here could be one there.
    let mixed = (tensor * 8_191 + at + 1).wrapping_mul(ODD);
    u8::try_from((mixed ^ mixed >> 31).wrapping_mul(ODD) >> 57).unwrap_or_default()
}

const NORM: usize = 1;
const GATE: usize = 2;

const OTHER: usize = 3;

/// A model, and what it calls the tensors that are made known: a norm, a matrix for products, and one that is packed in full in every
/// precision (a router, a classifier).
struct Case {
    family: &'static str,
    tensors: &'static [(usize, &'static str)],
}

const CASES: [Case; 3] = [
    Case {
        family: "qwen3",
        tensors: &[(NORM, "model.norm.weight"), (GATE, "model.layers.0.mlp.gate_proj.weight")],
    },
    Case {
        family: "mixtral",
        tensors: &[
            (NORM, "model.norm.weight"),
            (GATE, "model.layers.0.self_attn.q_proj.weight"),
            (OTHER, "model.layers.0.block_sparse_moe.gate.weight"),
        ],
    },
    Case {
        family: "bert-reranker",
        tensors: &[
            (NORM, "bert.embeddings.LayerNorm.weight"),
            (GATE, "bert.encoder.layer.0.intermediate.dense.weight"),
            (OTHER, "bert.pooler.dense.weight"),
        ],
    },
];

/// Numbers of a piece that is searched for.
const PIECE: usize = 8;

/// What is searched for, each byte turned over: so the search does not find itself.
struct Needle {
    name: &'static str,
    turned: Vec<[u8; PIECE * 4]>,
}

impl Needle {
    /// Pieces of a line of numbers, of which the first is left out.
    fn new(name: &'static str, numbers: impl Iterator<Item = f32>) -> Self {
        Self::of_bytes(name, numbers.flat_map(f32::to_le_bytes))
    }

    fn of_bytes(name: &'static str, bytes: impl Iterator<Item = u8>) -> Self {
        let turned: Vec<u8> = bytes.map(|byte| !byte).collect();
        Self { name, turned: turned.as_chunks().0[1..].to_vec() }
    }

    fn lies_in(&self, memory: &[u8]) -> bool {
        let same = |window: &[u8]| {
            let turned_to =
                |piece: &[u8; PIECE * 4]| window.iter().zip(piece).all(|(byte, turned)| *byte == !*turned);
            self.turned.iter().any(turned_to)
        };
        memory.windows(PIECE * 4).any(same)
    }
}

fn needles() -> Vec<Needle> {
    let pairs = (0..PANEL).map(|row| {
        let half = |at| number(GATE, row * HIDDEN + at).to_bits() >> 16;
        f32::from_bits(half(0) | half(1) << 16)
    });
    // Four numbers of each row side by side, with 128 added.
    let quants = (0..PANEL / 2).flat_map(|row| (4..8).map(move |at| mixed(GATE, row * HIDDEN + at) ^ 0x80));
    vec![
        Needle::new("a norm", (0..HIDDEN).map(|at| number(NORM, at))),
        Needle::new("a row as stored", (0..HIDDEN).map(|at| number(GATE, at))),
        Needle::new("a row of what is packed in full", (0..HIDDEN).map(|at| number(OTHER, at))),
        Needle::new("a packed column", (0..PANEL).map(|row| number(GATE, row * HIDDEN))),
        Needle::new("packed pairs", pairs),
        Needle::of_bytes("packed quants", quants),
    ]
}

/// Which of them lie in writable memory that belongs to no file.
fn found(needles: &[Needle]) -> Vec<&'static str> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let memory = File::open("/proc/self/mem").unwrap();
    let mut found = vec![false; needles.len()];
    for line in maps.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        if !words[1].starts_with("rw") || words[4] != "0" {
            continue;
        }
        let (begin, end) = words[0].split_once('-').unwrap();
        let (begin, end) = (u64::from_str_radix(begin, 16).unwrap(), u64::from_str_radix(end, 16).unwrap());
        let mut chunk = vec![0; usize::try_from(end - begin).unwrap()];
        // Reading may make the process' own memory grow; what is gone meanwhile is not read.
        if memory.read_exact_at(&mut chunk, begin).is_err() {
            continue;
        }
        for (found, needle) in found.iter_mut().zip(needles) {
            *found = *found || needle.lies_in(&chunk);
        }
        chunk.fill(0);
        std::hint::black_box(&chunk);
    }
    needles.iter().zip(found).filter(|(_, found)| *found).map(|(needle, _)| needle.name).collect()
}

/// Writes the known numbers over tensors of a safetensors file.
fn make_known(path: &Path, tensors: &[(usize, &str)]) {
    let mut file = std::fs::read(path).unwrap();
    let len = usize::try_from(u64::from_le_bytes(file[..8].try_into().unwrap())).unwrap();
    let header: serde_json::Value = serde_json::from_slice(&file[8..8 + len]).unwrap();
    for &(tensor, name) in tensors {
        assert_eq!(header[name]["dtype"], "F32");
        let [from, to]: [usize; 2] = serde_json::from_value(header[name]["data_offsets"].clone()).unwrap();
        let numbers = file[8 + len + from..8 + len + to].as_chunks_mut::<4>().0;
        for (at, bytes) in numbers.iter_mut().enumerate() {
            *bytes = number(tensor, at).to_le_bytes();
        }
    }
    std::fs::write(path, file).unwrap();
}

/// A GGUF file with the same norm, and with known numbers in Q8_0, of scale one.
fn known_gguf() -> TempDir {
    let mut file = converted("qwen3");
    for tensor in &mut file.tensors {
        match tensor.name.as_str() {
            "output_norm.weight" => {
                tensor.bytes = (0..HIDDEN).flat_map(|at| number(NORM, at).to_le_bytes()).collect();
            }
            "blk.0.ffn_gate.weight" | "blk.0.ffn_up.weight" => {
                assert_eq!(tensor.shape[1], HIDDEN);
                tensor.kind = 8;
                let quants = |row| (0..HIDDEN).map(move |at| mixed(GATE, row * HIDDEN + at));
                let block = |row| [0x00, 0x3c].into_iter().chain(quants(row));
                tensor.bytes = (0..tensor.shape[0]).flat_map(block).collect();
            }
            _ => {}
        }
    }
    file.write()
}

#[test]
#[ignore = "the child of the test below"]
fn seals_known_numbers() {
    let Some(folder) = std::env::var_os(FOLDER) else { panic!("{FOLDER} is not set") };
    for case in CASES {
        let source = common::copy(&common::tiny(case.family));
        make_known(&source.path().join("model.safetensors"), case.tensors);
        seal_into(source.path(), &Path::new(&folder).join(case.family));
    }
    seal_into(known_gguf().path(), &Path::new(&folder).join("gguf"));
}

fn seal_into(source: &Path, package: &Path) {
    let owner = OwnerKey::from_seed(&OWNER_SEED).unwrap();
    let options = SealOptions { segment: SegmentSize::Mib1, ..SealOptions::new("test/model", 1, 1..=2) };
    seal(source, package, &options, &owner, &WEIGHTS_KEY, &Effort::default()).unwrap();
}

#[test]
fn a_model_that_is_dropped_leaves_nothing_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "seals_known_numbers", "--ignored"])
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    let needles = needles();
    assert_eq!(found(&needles), [""; 0], "before anything was loaded");
    let precisions = [(Precision::F32, "a packed column"), (Precision::Bf16, "packed pairs")];
    let exact =
        CASES.iter().flat_map(|case| precisions.map(|(precision, packed)| (case.family, precision, packed)));
    for (family, precision, packed) in exact.chain([("gguf", Precision::Stored, "packed quants")]) {
        let loaded = load_and_compute(&folder.path().join(family), precision);
        assert_eq!(found(&needles), ["a norm", packed], "{family} in {precision:?}: packed, not as stored");
        drop(loaded);
        assert_eq!(found(&needles), [""; 0], "{family}, dropped in {precision:?}");
    }
}

/// Loads a package and lets it compute once; what keeps the weights.
fn load_and_compute(package: &Path, precision: Precision) -> Box<dyn Any> {
    let owner = OwnerKey::from_seed(&OWNER_SEED).unwrap().public_key();
    let manifest = Manifest::verify(&read_manifest(package).unwrap(), &owner).unwrap();
    let key = WeightsKey::open(&manifest, &WEIGHTS_KEY).unwrap();
    let model = SealedModel::open(&key, PackageFiles::open(package, &manifest).unwrap()).unwrap();
    let threads = Threads::start(NonZeroUsize::MIN).unwrap();
    match load_with(&model, &threads, precision, None).unwrap().0 {
        LoadedModel::Chat(loaded) => {
            let mut sequences = Sequences::new(loaded.generator);
            sequences.one(1, &[3, 4, 5]);
            Box::new(sequences)
        }
        LoadedModel::Rerank(mut loaded) => {
            loaded.scorer.embed(&[&[2, 5, 3]]).unwrap();
            Box::new(loaded.scorer)
        }
        LoadedModel::Embedding(_) => panic!("no case embeds"),
    }
}

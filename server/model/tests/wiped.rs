//! Nothing of a model is left in the memory of the process that dropped it.
//!
//! A child of the test seals a model whose weights are known numbers, so that this process never has them but by loading. Then its whole
//! writable memory is searched for them: as they are stored, and as they lie ready for products.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
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
use std::fs::File;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

const WEIGHTS_KEY: [u8; 32] = [7; 32];
const OWNER_SEED: [u8; 32] = [3; 32];
const FOLDER: &str = "ANCHORHOLD_TEST_FOLDER";
const HIDDEN: usize = 32;
/// Columns of a panel of packed weights.
const PANEL: usize = 32;

/// Number `at` of the known ones of a tensor: between 0.5 and 1, exact in bf16, in no order that anything else has.
fn number(tensor: usize, at: usize) -> f32 {
    let mixed = (tensor * 8_191 + at).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 57;
    0.5 + u16::try_from(mixed).map_or(0.0, f32::from) / 256.0
}

const NORM: usize = 1;
const GATE: usize = 2;

/// What is searched for, each byte turned over: so the search does not find itself.
struct Needle {
    name: &'static str,
    turned: Vec<u8>,
}

impl Needle {
    fn new(name: &'static str, numbers: impl Iterator<Item = f32>) -> Self {
        Self { name, turned: numbers.flat_map(|number| number.to_le_bytes().map(|byte| !byte)).collect() }
    }

    fn lies_in(&self, memory: &[u8]) -> bool {
        let same = |window: &[u8]| window.iter().zip(&self.turned).all(|(byte, turned)| *byte == !*turned);
        memory.windows(self.turned.len()).any(same)
    }
}

fn needles() -> Vec<Needle> {
    let pairs = (0..PANEL).map(|row| {
        let half = |at| number(GATE, row * HIDDEN + at).to_bits() >> 16;
        f32::from_bits(half(0) | half(1) << 16)
    });
    vec![
        Needle::new("a norm", (0..HIDDEN).map(|at| number(NORM, at))),
        Needle::new("a row as stored", (0..HIDDEN).map(|at| number(GATE, at))),
        Needle::new("a packed column", (0..PANEL).map(|row| number(GATE, row * HIDDEN))),
        Needle::new("packed pairs", pairs),
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

/// Writes the known numbers over two tensors of a safetensors file.
fn make_known(path: &Path) {
    let mut file = std::fs::read(path).unwrap();
    let len = usize::try_from(u64::from_le_bytes(file[..8].try_into().unwrap())).unwrap();
    let header: serde_json::Value = serde_json::from_slice(&file[8..8 + len]).unwrap();
    for (tensor, name) in [(NORM, "model.norm.weight"), (GATE, "model.layers.0.mlp.gate_proj.weight")] {
        assert_eq!(header[name]["dtype"], "F32");
        let [from, to]: [usize; 2] = serde_json::from_value(header[name]["data_offsets"].clone()).unwrap();
        let numbers = file[8 + len + from..8 + len + to].as_chunks_mut::<4>().0;
        for (at, bytes) in numbers.iter_mut().enumerate() {
            *bytes = number(tensor, at).to_le_bytes();
        }
    }
    std::fs::write(path, file).unwrap();
}

#[test]
#[ignore = "the child of the test below"]
fn seals_known_numbers() {
    let Some(folder) = std::env::var_os(FOLDER) else { panic!("{FOLDER} is not set") };
    let source = common::copy(&common::tiny("qwen3"));
    make_known(&source.path().join("model.safetensors"));
    let owner = OwnerKey::from_seed(&OWNER_SEED).unwrap();
    let options = SealOptions { segment: SegmentSize::Mib1, ..SealOptions::new("test/model", 1, 1..=2) };
    let package = Path::new(&folder).join("package");
    seal(source.path(), &package, &options, &owner, &WEIGHTS_KEY, &Effort::default()).unwrap();
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
    for (precision, packed) in [(Precision::F32, "a packed column"), (Precision::Bf16, "packed pairs")] {
        let package = folder.path().join("package");
        let owner = OwnerKey::from_seed(&OWNER_SEED).unwrap().public_key();
        let manifest = Manifest::verify(&read_manifest(&package).unwrap(), &owner).unwrap();
        let key = WeightsKey::open(&manifest, &WEIGHTS_KEY).unwrap();
        let model = SealedModel::open(&key, PackageFiles::open(&package, &manifest).unwrap()).unwrap();
        let threads = Threads::start(NonZeroUsize::MIN).unwrap();
        let LoadedModel::Chat(loaded) = load_with(&model, &threads, precision, None).unwrap().0 else {
            panic!("not a chat model")
        };
        drop((key, model));
        let mut sequences = Sequences::new(loaded.generator);
        sequences.one(1, &[3, 4, 5]);
        assert_eq!(found(&needles), ["a norm", packed], "loaded in {precision:?}: packed, and not as stored");
        drop(sequences);
        assert_eq!(found(&needles), [""; 0], "dropped in {precision:?}");
    }
}

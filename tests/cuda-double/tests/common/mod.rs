//! Models for the tests: sealed, and loaded onto the CPU and onto the double.
#![allow(dead_code, reason = "each test binary uses some of it")]

pub(crate) use anchorhold_cuda_double::{Crossings, Double, Order};

use anchorhold_cuda::{Capacity, CudaDecoder};
use anchorhold_engine::{Answer, BackendError, BlockId, Draw, Generator, Precision, Row, Wanted};
use anchorhold_model::{LoadError, LoadedModel, Threads, load_on, load_with};
use anchorhold_sealed_weights::{
    Effort, Manifest, OwnerKey, PackageFiles, SealOptions, SealedModel, SegmentSize, WeightsKey,
    read_manifest, seal,
};
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const WEIGHTS_KEY: [u8; 32] = [7; 32];
/// Memory of the double.
const MEMORY: usize = 64 << 20;
/// Room for a few sequences of the tiny models.
pub(crate) const CAPACITY: Capacity = Capacity { step_tokens: 512, rows: 8, cache_tokens: 2048 };

/// The tiny decoder of a family.
pub(crate) fn tiny(family: &str) -> PathBuf {
    Path::new(ROOT).join(format!("tests/models/tiny-{family}"))
}

pub(crate) fn anchor_chat() -> PathBuf {
    Path::new(ROOT).join("tests/models/anchor-chat")
}

/// A folder, sealed and opened again, as the worker opens it.
pub(crate) fn sealed(folder: &Path) -> SealedModel {
    let place = tempfile::tempdir().unwrap();
    let package = place.path().join("package");
    let (owner, _) = OwnerKey::generate().unwrap();
    let options = SealOptions { segment: SegmentSize::Mib1, ..SealOptions::new("test/model", 1, 1..=2) };
    seal(folder, &package, &options, &owner, &WEIGHTS_KEY, &Effort::default()).unwrap();
    let manifest = Manifest::verify(&read_manifest(&package).unwrap(), &owner.public_key()).unwrap();
    let key = WeightsKey::open(&manifest, &WEIGHTS_KEY).unwrap();
    SealedModel::open(&key, PackageFiles::open(&package, &manifest).unwrap()).unwrap()
}

fn generator(loaded: LoadedModel) -> Box<dyn Generator> {
    match loaded {
        LoadedModel::Chat(model) => model.generator,
        _ => panic!("not a chat model"),
    }
}

/// The model on the CPU, in bf16.
pub(crate) fn cpu(folder: &Path) -> Sequences {
    let threads = Threads::start(NonZeroUsize::MIN).unwrap();
    let (loaded, _) = load_with(&sealed(folder), &threads, Precision::Bf16, None).unwrap();
    Sequences::new(generator(loaded))
}

/// The model on a double.
pub(crate) fn load_cuda(
    folder: &Path,
    double: Double,
    capacity: Capacity,
) -> Result<Box<dyn Generator>, LoadError> {
    let (loaded, _) = load_on(&sealed(folder), Effort::default(), |plan, weights| {
        Ok(Box::new(CudaDecoder::load(double, &plan, weights, capacity)?))
    })?;
    Ok(generator(loaded))
}

pub(crate) fn cuda(folder: &Path, order: Order) -> (Sequences, Arc<Mutex<Crossings>>) {
    let double = Double::new(MEMORY, order);
    let crossings = double.crossings();
    (Sequences::new(load_cuda(folder, double, CAPACITY).unwrap()), crossings)
}

/// A prompt of tokens that the model knows.
pub(crate) fn prompt(len: usize, vocabulary: u32) -> Vec<u32> {
    (0..len).zip(0_u32..).map(|(_, i)| 2 + (i * i + 7 * i) % (vocabulary - 2)).collect()
}

/// A folder for each family, and its vocabulary.
pub(crate) fn models() -> Vec<(PathBuf, u32)> {
    let tiny = ["llama", "mistral", "qwen2", "qwen3"].map(|family| (tiny(family), 128));
    tiny.into_iter().chain([(anchor_chat(), 768)]).collect()
}

/// Holds the logits of prompts and of answers against those of the CPU decoder in bf16.
pub(crate) fn assert_equals_the_cpu(folder: &Path, vocabulary: u32, cuda: &mut Sequences) {
    let mut cpu = cpu(folder);
    let name = folder.file_name().unwrap().to_string_lossy().into_owned();
    for (sequence, len) in [(1, 1), (2, 63), (3, 64), (4, 100)] {
        let prompt = prompt(len, vocabulary);
        assert_near(&cuda.one(sequence, &prompt), &cpu.one(sequence, &prompt), &name);
        for token in prompt.iter().take(3) {
            assert_near(&cuda.one(sequence, &[*token]), &cpu.one(sequence, &[*token]), &name);
        }
    }
    // All at once: rows that go on by one and by several tokens.
    let more = prompt(70, vocabulary);
    let tokens: [&[u32]; 3] = [&more[..3], &more[..1], &more[..20]];
    let rows: Vec<(u64, &[u32])> = (1..4).zip(tokens).collect();
    let wanted = cpu.step(&rows).unwrap();
    for (got, wanted) in cuda.step(&rows).unwrap().iter().zip(wanted) {
        assert_near(got, &wanted, &name);
    }
}

/// How far a logit in bf16 may be from another's, and how far all may be in the mean of squares.
const MOST_DIFFERENCE: f32 = 0.25;
const MOST_MEAN: f32 = 0.04;

pub(crate) fn assert_near(got: &[f32], wanted: &[f32], what: &str) {
    assert_eq!(got.len(), wanted.len());
    let differences: Vec<f32> = got.iter().zip(wanted).map(|(a, b)| (a - b).abs()).collect();
    let most = differences.iter().copied().fold(0.0, f32::max);
    let mean = (differences.iter().map(|d| d * d).sum::<f32>() / wanted.len() as f32).sqrt();
    assert!(most <= MOST_DIFFERENCE && mean <= MOST_MEAN, "{what}: {most} {mean}");
    let mut sorted = wanted.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    assert!(sorted[0] - sorted[1] <= 0.3 || argmax(got) == argmax(wanted), "{what}: another token");
}

fn argmax(logits: &[f32]) -> usize {
    logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0
}

/// Sequences over a generator, each with blocks of its own that nobody shares.
pub(crate) struct Sequences {
    pub(crate) generator: Box<dyn Generator>,
    /// How far each is, and where it lies.
    tables: HashMap<u64, (usize, Vec<BlockId>)>,
    free: Vec<BlockId>,
    next: u32,
}

impl Sequences {
    pub(crate) fn new(generator: Box<dyn Generator>) -> Self {
        Self { generator, tables: HashMap::new(), free: Vec::new(), next: 0 }
    }

    /// Appends tokens to sequences in one step; the logits after each.
    pub(crate) fn step(&mut self, rows: &[(u64, &[u32])]) -> Result<Vec<Vec<f32>>, BackendError> {
        self.append(rows, |generator, rows| generator.step(rows))
    }

    /// The same; the token that each draws.
    pub(crate) fn draw(&mut self, rows: &[(u64, &[u32])], draw: Draw) -> Result<Vec<Answer>, BackendError> {
        let wanted = vec![Wanted::Token(draw); rows.len()];
        self.append(rows, |generator, rows| generator.step_and_draw(rows, &wanted))
    }

    fn append<T>(
        &mut self,
        rows: &[(u64, &[u32])],
        step: impl FnOnce(&mut dyn Generator, &[Row<'_>]) -> T,
    ) -> T {
        let size = self.generator.block();
        for (sequence, tokens) in rows {
            let (start, blocks) = self.tables.entry(*sequence).or_default();
            while blocks.len() < (*start + tokens.len()).div_ceil(size) {
                blocks.push(self.free.pop().unwrap_or(BlockId(self.next)));
                self.next = self.next.max(blocks.last().unwrap().0 + 1);
            }
        }
        let rows_of = rows.iter().map(|(sequence, tokens)| {
            let (start, blocks) = &self.tables[sequence];
            Row { tokens, start: *start, blocks }
        });
        let answer = step(self.generator.as_mut(), &rows_of.collect::<Vec<_>>());
        for (sequence, tokens) in rows {
            self.tables.get_mut(sequence).unwrap().0 += tokens.len();
        }
        answer
    }

    pub(crate) fn one(&mut self, sequence: u64, tokens: &[u32]) -> Vec<f32> {
        self.step(&[(sequence, tokens)]).unwrap().remove(0)
    }

    pub(crate) fn release(&mut self, sequence: u64) {
        let (_, blocks) = self.tables.remove(&sequence).unwrap();
        self.generator.erase(&blocks);
        self.free.extend(blocks);
    }
}

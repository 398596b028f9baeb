//! Models for the tests: sealed into a folder of their own and loaded back, as the worker does.

#![allow(dead_code, reason = "each test binary uses some of it")]
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "helpers of tests are tests")]

pub(crate) mod gguf;

use anchorhold_engine::{
    BackendError, BlockId, CallName, ChatMessage, Conversation, Generator, Row, Tool, ToolCall,
};
use anchorhold_model::{
    ChatModel, EmbeddingModel, LoadError, LoadStats, LoadedModel, Precision, RerankModel, Threads, load_with,
};
use anchorhold_sealed_weights::{
    Effort, Manifest, OwnerKey, PackageFiles, SealOptions, SealedModel, SegmentSize, WeightsKey,
    read_manifest, seal,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const WEIGHTS_KEY: [u8; 32] = [7; 32];

pub(crate) fn anchor_chat() -> PathBuf {
    Path::new(ROOT).join("tests/models/anchor-chat")
}

/// The tiny decoder of a family.
pub(crate) fn tiny(family: &str) -> PathBuf {
    Path::new(ROOT).join(format!("tests/models/tiny-{family}"))
}

/// The folder of MiniLM: where the environment says, else under `.demo`, fetched if it is not there.
pub(crate) fn minilm() -> PathBuf {
    if let Some(folder) = std::env::var_os("ANCHORHOLD_MINILM") {
        return folder.into();
    }
    let folder = Path::new(ROOT).join(".demo/models/minilm");
    let script = Path::new(ROOT).join("tests/models/fetch_minilm.sh");
    let done = Command::new("sh").arg(script).arg(&folder).status();
    assert!(
        done.is_ok_and(|status| status.success()),
        "MiniLM is not there and could not be fetched: set ANCHORHOLD_MINILM to its folder, or run tests/models/fetch_minilm.sh"
    );
    folder
}

/// A golden file of `tests/vectors/models`.
pub(crate) fn goldens(name: &str) -> serde_json::Value {
    let path = Path::new(ROOT).join("tests/vectors/models").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Little-endian f32 in base64.
/// Messages and tools as transformers takes them.
pub(crate) fn conversation(messages: &serde_json::Value, tools: &serde_json::Value) -> Conversation {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let call = |call: &serde_json::Value| ToolCall {
        id: text(&call["id"]),
        name: text(&call["function"]["name"]),
        arguments: call["function"]["arguments"].to_string(),
    };
    let message = |message: &serde_json::Value| ChatMessage {
        calls: list(&message["tool_calls"]).iter().map(call).collect(),
        answers: message
            .get("tool_call_id")
            .map(|id| CallName { id: text(id), tool: text(&message["name"]) }),
        ..ChatMessage::text(text(&message["role"]), text(&message["content"]))
    };
    let tool = |tool: &serde_json::Value| Tool {
        name: text(&tool["function"]["name"]),
        json: tool.to_string(),
        strict: false,
    };
    Conversation {
        messages: list(messages).iter().map(message).collect(),
        tools: list(tools).iter().map(tool).collect(),
        ..Conversation::default()
    }
}

pub(crate) fn numbers(value: &serde_json::Value) -> Vec<f32> {
    let bytes = STANDARD.decode(value.as_str().unwrap()).unwrap();
    bytes.as_chunks::<4>().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect()
}

pub(crate) fn ids(value: &serde_json::Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect()
}

/// A copy of the model files of `folder`, to be changed.
pub(crate) fn copy(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let mut folders = vec![PathBuf::new()];
    while let Some(inside) = folders.pop() {
        std::fs::create_dir_all(copy.path().join(&inside)).unwrap();
        for entry in std::fs::read_dir(folder.join(&inside)).unwrap() {
            let entry = entry.unwrap();
            let name = inside.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                folders.push(name);
            } else if !entry.file_name().to_string_lossy().starts_with('.') {
                std::fs::copy(entry.path(), copy.path().join(name)).unwrap();
            }
        }
    }
    copy
}

/// Replaces the JSON file `name` of a folder by what `change` makes of it.
pub(crate) fn change(folder: &Path, name: &str, change: impl FnOnce(&mut serde_json::Value)) {
    let path = folder.join(name);
    let mut value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(path, serde_json::to_vec(&value).unwrap()).unwrap();
}

/// Seals a folder and loads the package, exactly.
pub(crate) fn sealed(folder: &Path, threads: usize) -> Result<(LoadedModel, LoadStats), LoadError> {
    sealed_with(folder, threads, Precision::F32)
}

pub(crate) fn sealed_with(
    folder: &Path,
    threads: usize,
    precision: Precision,
) -> Result<(LoadedModel, LoadStats), LoadError> {
    let place = tempfile::tempdir().unwrap();
    Package::seal(folder, place.path()).load(threads, precision)
}

/// A sealed package.
pub(crate) struct Package(PathBuf);

impl Package {
    /// Seals a folder into `place`.
    pub(crate) fn seal(folder: &Path, place: &Path) -> Self {
        let package = Self::at(place);
        let options = SealOptions { segment: SegmentSize::Mib1, ..SealOptions::new("test/model", 1, 1..=2) };
        seal(folder, &package.0, &options, &Self::owner(), &WEIGHTS_KEY, &Effort::default()).unwrap();
        package
    }

    /// The package that was sealed into `place`.
    pub(crate) fn at(place: &Path) -> Self {
        Self(place.join("package"))
    }

    fn owner() -> OwnerKey {
        OwnerKey::from_seed(&[5; 32]).unwrap()
    }

    pub(crate) fn load(
        &self,
        threads: usize,
        precision: Precision,
    ) -> Result<(LoadedModel, LoadStats), LoadError> {
        let owner = Self::owner().public_key();
        let manifest = Manifest::verify(&read_manifest(&self.0).unwrap(), &owner).unwrap();
        let key = WeightsKey::open(&manifest, &WEIGHTS_KEY).unwrap();
        let model = SealedModel::open(&key, PackageFiles::open(&self.0, &manifest).unwrap())?;
        load_with(&model, &Threads::start(NonZeroUsize::new(threads).unwrap()).unwrap(), precision, None)
    }
}

pub(crate) fn chat(folder: &Path, threads: usize) -> ChatModel {
    chat_with(folder, threads, Precision::F32)
}

pub(crate) fn chat_with(folder: &Path, threads: usize, precision: Precision) -> ChatModel {
    match sealed_with(folder, threads, precision).unwrap().0 {
        LoadedModel::Chat(model) => model,
        _ => panic!("not a chat model"),
    }
}

pub(crate) fn embedding(folder: &Path, threads: usize) -> EmbeddingModel {
    embedding_with(folder, threads, Precision::F32)
}

pub(crate) fn embedding_with(folder: &Path, threads: usize, precision: Precision) -> EmbeddingModel {
    match sealed_with(folder, threads, precision).unwrap().0 {
        LoadedModel::Embedding(model) => model,
        _ => panic!("not an embedding model"),
    }
}

pub(crate) fn rerank_with(folder: &Path, threads: usize, precision: Precision) -> RerankModel {
    match sealed_with(folder, threads, precision).unwrap().0 {
        LoadedModel::Rerank(model) => model,
        _ => panic!("not a reranker"),
    }
}

pub(crate) fn refusal(folder: &Path) -> LoadError {
    match sealed(folder, 1) {
        Ok(_) => panic!("a package that must be refused was loaded"),
        Err(error) => error,
    }
}

/// The token with the highest logit, the first of several.
pub(crate) fn argmax(logits: &[f32]) -> u32 {
    let best = logits.iter().enumerate().rev().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
    u32::try_from(best).unwrap()
}

pub(crate) fn assert_same_bits(got: &[f32], wanted: &[f32], what: &str) {
    assert_eq!(got.len(), wanted.len());
    assert!(got.iter().zip(wanted).all(|(a, b)| a.to_bits() == b.to_bits()), "{what}");
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
        let answer = self.generator.step(&rows_of.collect::<Vec<_>>());
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

//! From the keeper's order to a model in memory.

use crate::marks::ShownMarks;
use crate::package::open_package;
use crate::{Calls, Compute, Decoder, Language, LanguageError, LoadFailure, Model};
use anchorhold_engine::{Constraint, Conversation, Shorter, Structure, TokenId};
use anchorhold_ipc::{LoadModel, LoadReport, ModelInfo, StructureFault, ToolFault};
use anchorhold_model::{
    CallStream, ChatTemplate, Codec, GrammarError, Grammars, LoadError, LoadStats, LoadedModel, Marks,
    TextError, TextStream, Threads, Vocabulary,
};
use anchorhold_sealed_weights::{Effort, Progress, SealedModel, VerifiedManifest};
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Verifies, decrypts and loads the sealed model of this order; see `open_package` for what that establishes. The
/// weights key is erased before this returns.
///
/// # Errors
/// [`LoadFailure`] with the stage that refused.
pub fn load_sealed(order: LoadModel, descriptors: Vec<OwnedFd>) -> Result<(Model, LoadReport), LoadFailure> {
    let threads = NonZeroUsize::new(order.threads.into()).unwrap_or(NonZeroUsize::MIN);
    let cpus: Vec<usize> = order.cpus.iter().map(|&cpu| cpu.into()).collect();
    let threads = Threads::start_on(threads, &cpus)?;
    let precision = order.precision;
    load_sealed_with(order, descriptors, |package, effort| {
        anchorhold_model::load_with(package, &threads, precision, effort.progress)
    })
}

/// The same with another way from the opened package to a model.
///
/// # Errors
/// [`LoadFailure`] with the stage that refused.
pub fn load_sealed_with(
    order: LoadModel,
    descriptors: Vec<OwnedFd>,
    load: impl FnOnce(&SealedModel, Effort<'_>) -> Result<(LoadedModel, LoadStats), LoadError>,
) -> Result<(Model, LoadReport), LoadFailure> {
    let started = Instant::now();
    let (manifest, package) = open_package(&order, descriptors)?;
    let threads = NonZeroUsize::new(order.threads.into()).unwrap_or(NonZeroUsize::MIN);
    drop(order);
    let tenths = Tenths::default();
    let progress = |progress| tenths.show(progress);
    let (loaded, stats) = load(&package, Effort { threads, progress: Some(&progress) })?;
    let (model, (dimensions, shorter)) = model(loaded);
    let report = LoadReport {
        model: info(&manifest, &model, (dimensions, shorter)),
        bytes: stats.weight_bytes,
        memory_bytes: stats.memory.bytes,
        locked_bytes: stats.memory.locked,
        micros: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
    };
    Ok((model, report))
}

/// Weights from here on take long enough for their progress to be shown, in bytes.
const SHOWN_FROM: u64 = 1 << 30;

/// Shows on standard error when another tenth of the weights is decrypted. Tells no size: a package may hide it.
#[derive(Default)]
struct Tenths(AtomicU64);

impl Tenths {
    fn show(&self, progress: Progress) {
        let tenths = progress.done.saturating_mul(10).checked_div(progress.total).unwrap_or_default();
        if progress.total >= SHOWN_FROM && self.0.fetch_max(tenths, Ordering::Relaxed) < tenths {
            // A closed standard error costs the remark and nothing else.
            let _ = writeln!(std::io::stderr(), "anchorhold-worker: weights: {} % verified", tenths * 10);
        }
    }
}

fn info(manifest: &VerifiedManifest, model: &Model, (dimensions, shorter): (usize, Shorter)) -> ModelInfo {
    let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    ModelInfo {
        id: manifest.model_id().to_owned(),
        version: manifest.version(),
        kind: model.compute.kind(),
        max_tokens: narrow(model.compute.context()),
        dimensions: narrow(dimensions),
        shorter,
        manifest_digest: *manifest.digest(),
    }
}

/// The model and the length of its vectors, or 0, and to which they may be cut.
fn model(loaded: LoadedModel) -> (Model, (usize, Shorter)) {
    match loaded {
        LoadedModel::Embedding(model) => {
            let dimensions = model.embedder.dimensions();
            let compute = Compute::Embedder { embedder: model.embedder, vocabulary: model.vocabulary };
            let language =
                Arc::new(Words { codec: model.codec, template: None, vocabulary: None, grammars: None });
            (Model { language, compute }, (dimensions, model.shorter))
        }
        LoadedModel::Chat(model) => {
            let compute = Compute::Generator { generator: model.generator, eos: model.end_tokens };
            let language = Arc::new(Words {
                codec: model.codec,
                template: model.template.map(|template| template.with_clock(unix_seconds)),
                vocabulary: model.vocabulary,
                grammars: Some(model.grammars),
            });
            (Model { language, compute }, (0, Shorter::No))
        }
        LoadedModel::Rerank(model) => {
            let compute = Compute::Scorer { scorer: model.scorer, vocabulary: model.vocabulary };
            let language =
                Arc::new(Words { codec: model.codec, template: None, vocabulary: None, grammars: None });
            (Model { language, compute }, (0, Shorter::No))
        }
    }
}

/// Seconds since 1970, for templates that tell the model the date. A clock before that is wrong, and shows as 1970.
fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The package's own tokenizer and template.
struct Words {
    codec: Codec,
    template: Option<ChatTemplate>,
    vocabulary: Option<Vocabulary>,
    grammars: Option<Grammars>,
}

impl Language for Words {
    fn encode(&self, text: &str) -> Result<Vec<TokenId>, LanguageError> {
        Ok(self.codec.encode(text)?)
    }

    fn encode_bare(&self, text: &str) -> Result<Vec<TokenId>, LanguageError> {
        Ok(self.codec.encode_bare(text)?)
    }

    fn encode_pairs(&self, first: &str, seconds: &[String]) -> Result<Vec<Vec<TokenId>>, LanguageError> {
        Ok(self.codec.encode_pairs(first, seconds)?)
    }

    fn encode_chat(&self, conversation: &Conversation) -> Result<Vec<TokenId>, LanguageError> {
        let template = self.template.as_ref().ok_or(LanguageError::Template)?;
        Ok(self.codec.encode_chat(template, conversation)?)
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(self.codec.stream())
    }

    fn call_decoder(&self) -> Box<dyn Decoder> {
        let marks = self.marks().map_or_else(Vec::new, |marks| marks.shown());
        if marks.is_empty() {
            return self.decoder();
        }
        let codec = self.codec.clone();
        Box::new(ShownMarks::new(move || Box::new(codec.stream()) as Box<dyn Decoder>, marks))
    }

    fn spell(&self, token: TokenId) -> Vec<u8> {
        match &self.vocabulary {
            Some(vocabulary) => vocabulary.bytes(token).to_vec(),
            None => self.codec.decode(&[token]).unwrap_or_default().into_bytes(),
        }
    }

    fn constraint(&self, structure: &Structure) -> Result<Box<dyn Constraint>, StructureFault> {
        let grammars = self.grammars.as_ref().ok_or(StructureFault::NotOffered)?;
        grammars.constraint(structure).map_err(fault)
    }

    fn calls(&self, conversation: &Conversation) -> Result<Calls, ToolFault> {
        let marks = self.marks().ok_or(ToolFault::NotOffered)?;
        let Conversation { tools, calling, .. } = conversation;
        let grammars = self.grammars.as_ref().ok_or(ToolFault::NotOffered)?;
        let constraint = grammars.calls(marks, tools, calling);
        let constraint = constraint.map_err(|error| ToolFault::Structure(fault(error)))?;
        let names = tools.iter().map(|tool| tool.name.clone()).collect();
        Ok(Calls { stream: CallStream::new(marks.syntax, names, calling.once), constraint })
    }
}

impl Words {
    /// How the model's calls begin and end; `None` where calls cannot be offered.
    fn marks(&self) -> Option<Marks> {
        let syntax = self.template.as_ref()?.calls()?;
        Some(self.codec.marks(syntax))
    }
}

fn fault(error: GrammarError) -> StructureFault {
    match error {
        GrammarError::Malformed => StructureFault::Malformed,
        GrammarError::Unsatisfiable => StructureFault::Unsatisfiable,
        GrammarError::TooComplex => StructureFault::TooComplex,
        GrammarError::NotOffered => StructureFault::NotOffered,
    }
}

impl Decoder for TextStream {
    fn push(&mut self, token: TokenId) -> String {
        TextStream::push(self, token)
    }

    fn finish(self: Box<Self>) -> String {
        TextStream::finish(*self)
    }
}

impl From<TextError> for LanguageError {
    fn from(error: TextError) -> Self {
        match error {
            TextError::Template(_) => Self::Template,
            TextError::TooLong(_) | TextError::Tokenizer | TextError::Noncharacters => Self::Tokenizer,
        }
    }
}

impl From<LoadError> for LoadFailure {
    fn from(error: LoadError) -> Self {
        let code = match &error {
            LoadError::Package(error) => error.stage(),
            LoadError::Form(_) | LoadError::Config(_) | LoadError::ConfigKey | LoadError::Metadata(_) => {
                "config"
            }
            LoadError::Architecture => "architecture",
            LoadError::Tensor { .. } | LoadError::ExtraTensors(_) => "tensors",
            LoadError::Tokenizer(_) => "tokenizer",
            LoadError::Template(_) => "template",
            LoadError::Device(_) => "device",
            LoadError::Threads => "threads",
        };
        Self { code: code.to_owned(), detail: error.to_string() }
    }
}

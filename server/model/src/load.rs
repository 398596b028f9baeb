//! From a verified sealed package to a model that computes.

use crate::bert::{self, Bend, Bert, Family, Output, Purpose};
use crate::config;
use crate::decoder::{
    self, Decoder, DecoderEmbedder, DecoderPlan, Keep, PlannedWeights, gemma2, gemma3, llama, mistral,
    mixtral, qwen2, qwen3, qwen3_moe,
};
use crate::error::LoadError;
use crate::gguf::{self, Described};
use crate::grammar::Grammars;
use crate::kernel::Held;
use crate::pooling::{self, Pooling};
use crate::shorter;
use crate::template::{ChatTemplate, SpecialTokens};
use crate::text::{Codec, Use};
use crate::threads::Threads;
use crate::vocabulary::Vocabulary;
use crate::weights::{Locate, Need, Place, Weights};
use anchorhold_engine::{Embedder, Generator, ModelKind, Precision, Shorter, TokenId};
use anchorhold_sealed_weights::{Container, Effort, OnProgress, Role, SealedModel};
use serde_json::{Map, Value};
use std::fmt;
use std::num::NonZeroUsize;
use zeroize::Zeroizing;

/// A model that turns texts into vectors.
pub struct EmbeddingModel {
    /// Computes the vectors.
    pub embedder: Box<dyn Embedder>,
    /// Cuts texts into tokens.
    pub codec: Codec,
    /// How many token ids there are; the embedder refuses a whole batch for an id that is not below this.
    pub vocabulary: usize,
    /// To which lengths its vectors may be cut.
    pub shorter: Shorter,
}

/// A model that scores pairs of texts.
pub struct RerankModel {
    /// Computes the scores: vectors of one number, of which a higher one says that the second text answers the first better.
    pub scorer: Box<dyn Embedder>,
    /// Cuts pairs of texts into tokens.
    pub codec: Codec,
    /// How many token ids there are; the scorer refuses a whole batch for an id that is not below this.
    pub vocabulary: usize,
}

/// A model that continues conversations.
pub struct ChatModel {
    /// Computes the logits.
    pub generator: Box<dyn Generator>,
    /// Cuts texts into tokens and back.
    pub codec: Codec,
    /// Makes a prompt of a conversation; `None` if the package has no template, so that only plain prompts are served.
    pub template: Option<ChatTemplate>,
    /// The tokens that end an answer.
    pub end_tokens: Vec<TokenId>,
    /// Which bytes each token stands for, where that can be told.
    pub vocabulary: Option<Vocabulary>,
    /// Keeps answers to a form.
    pub grammars: Grammars,
}

/// A model, ready to compute.
pub enum LoadedModel {
    /// Answers with vectors.
    Embedding(EmbeddingModel),
    /// Answers with text.
    Chat(ChatModel),
    /// Answers with scores.
    Rerank(RerankModel),
}

impl LoadedModel {
    /// Which kind it is.
    #[must_use]
    pub fn kind(&self) -> ModelKind {
        match self {
            Self::Embedding(_) => ModelKind::Embedding,
            Self::Chat(_) => ModelKind::Chat,
            Self::Rerank(_) => ModelKind::Rerank,
        }
    }
}

impl fmt::Debug for LoadedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoadedModel({:?})", self.kind())
    }
}

/// What was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadStats {
    /// Tensors that the model uses.
    pub tensors: usize,
    /// Numbers in them.
    pub parameters: u64,
    /// Plaintext bytes of the weights that were verified and decrypted.
    pub weight_bytes: u64,
    /// The memory that the weights lie in on this machine, and how much of it is locked.
    pub memory: Held,
}

/// Decrypts a package into a model. The architecture is the one that its `config.json` names, or the metadata of a GGUF file.
///
/// Presumes that `package` was opened under the manifest that the key release named. Its files are still not trusted to be well made:
/// every size is held against a limit or against the signed table before memory is taken for it.
///
/// # Errors
/// Any variant of [`LoadError`]; nothing of the package is kept then.
pub fn load(package: &SealedModel, threads: &Threads) -> Result<(LoadedModel, LoadStats), LoadError> {
    load_with(package, threads, Precision::F32, None)
}

/// The same with this precision, and tells how much of the weights is decrypted.
///
/// # Errors
/// Those of [`load`].
pub fn load_with(
    package: &SealedModel,
    threads: &Threads,
    precision: Precision,
    progress: Option<OnProgress<'_>>,
) -> Result<(LoadedModel, LoadStats), LoadError> {
    let described = match package.index().container() {
        Container::Safetensors => None,
        Container::Gguf => Some(gguf::describe(package)?),
    };
    let count = NonZeroUsize::new(threads.count()).unwrap_or(NonZeroUsize::MIN);
    let effort = Effort { threads: count, progress };
    let object = match &described {
        Some(described) => described.config.clone(),
        None => config::object(Role::Config, &package.file(Role::Config)?)?,
    };
    let load = Load { source: Source { package, described }, threads, precision, effort };
    if let Some((family, purpose)) = encoder_of(&object) {
        return match purpose {
            Purpose::Embedding => load_encoder(&load, object, family),
            Purpose::Score => load_reranker(&load, object, family),
        };
    }
    let read = decoder_of(&object).ok_or(LoadError::Architecture)?;
    load_decoder(&load, object, read)
}

/// The encoder that a config names, and what it answers with.
pub(crate) fn encoder_of(object: &Map<String, Value>) -> Option<(Family, Purpose)> {
    let encoders = [
        ("BertModel", "bert", Family::Bert, Purpose::Embedding),
        ("RobertaModel", "roberta", Family::Roberta, Purpose::Embedding),
        ("XLMRobertaModel", "xlm-roberta", Family::Roberta, Purpose::Embedding),
        ("BertForSequenceClassification", "bert", Family::Bert, Purpose::Score),
        ("RobertaForSequenceClassification", "roberta", Family::Roberta, Purpose::Score),
        ("XLMRobertaForSequenceClassification", "xlm-roberta", Family::Roberta, Purpose::Score),
    ];
    let named = encoders.into_iter().find(|(class, kind, ..)| is(object, class, kind));
    named.map(|(_, _, family, purpose)| (family, purpose))
}

/// What reads the config of the decoder that it names.
pub(crate) fn decoder_of(object: &Map<String, Value>) -> Option<ReadConfig> {
    let decoders: [(&str, &str, ReadConfig); 8] = [
        ("LlamaForCausalLM", "llama", llama::read),
        ("MistralForCausalLM", "mistral", mistral::read),
        ("Qwen2ForCausalLM", "qwen2", qwen2::read),
        ("Qwen3ForCausalLM", "qwen3", qwen3::read),
        ("MixtralForCausalLM", "mixtral", mixtral::read),
        ("Qwen3MoeForCausalLM", "qwen3_moe", qwen3_moe::read),
        ("Gemma2ForCausalLM", "gemma2", gemma2::read),
        ("Gemma3ForCausalLM", "gemma3_text", gemma3::read),
    ];
    let named = decoders.into_iter().find(|(class, kind, _)| is(object, class, kind));
    named.map(|(_, _, read)| read)
}

fn is(object: &Map<String, Value>, class: &str, kind: &str) -> bool {
    architecture(object) == Some(class) && object.get("model_type").and_then(Value::as_str) == Some(kind)
}

/// The same for a chat model that `build` makes of its plan and its weights, for a device of its own.
///
/// # Errors
/// Those of [`load`], [`LoadError::Device`] for a model that has no plan, and those of `build`.
pub fn load_on(
    package: &SealedModel,
    effort: Effort<'_>,
    build: impl FnOnce(DecoderPlan, PlannedWeights<'_>) -> Result<Box<dyn Generator>, LoadError>,
) -> Result<(LoadedModel, LoadStats), LoadError> {
    if package.index().container() != Container::Safetensors {
        return Err(LoadError::Device("GGUF weights do not run on this device".to_owned()));
    }
    let object = config::object(Role::Config, &package.file(Role::Config)?)?;
    let read = decoder_of(&object).ok_or_else(decoder::other_architecture)?;
    if has(package, Role::Modules) {
        return Err(LoadError::Device("models that embed do not run on this device".to_owned()));
    }
    load_chat(&Source { package, described: None }, object, read, |config| {
        let (needs, passed_over) = config.needs();
        let plan = DecoderPlan::new(config, &needs)?;
        let weights = PlannedWeights::new(package, effort, (&needs, &passed_over))?;
        // What the device has is not memory of this machine.
        Ok((build(plan, weights)?, stats(package, &needs, Held::default())))
    })
}

/// A package on its way to a model of this machine's processor.
struct Load<'a> {
    source: Source<'a>,
    threads: &'a Threads,
    precision: Precision,
    effort: Effort<'a>,
}

/// A package and what is said in it.
struct Source<'a> {
    package: &'a SealedModel,
    /// What the metadata says, if the weights are GGUF.
    described: Option<Described>,
}

impl Source<'_> {
    /// The tokenizer: a file of its own before the metadata.
    fn tokenizer(&self) -> Result<Zeroizing<Vec<u8>>, LoadError> {
        match &self.described {
            Some(described) if !has(self.package, Role::Tokenizer) => {
                described.tokenizer.clone().map(Zeroizing::new)
            }
            _ => Ok(self.package.file(Role::Tokenizer)?),
        }
    }

    /// The config of the tokenizer, empty if there is none: a file of its own before the metadata.
    fn tokenizer_config(&self) -> Result<Map<String, Value>, LoadError> {
        match (optional(self.package, Role::TokenizerConfig)?, &self.described) {
            (Some(bytes), _) => config::object(Role::TokenizerConfig, &bytes),
            (None, Some(described)) => Ok(described.tokenizer_config.clone()),
            (None, None) => Ok(Map::new()),
        }
    }

    /// The config of a decoder. A `config.json` beside a GGUF file must not say otherwise.
    fn config(&self, object: Map<String, Value>, read: ReadConfig) -> Result<decoder::Config, LoadError> {
        let config = read(object)?;
        let Some(described) = &self.described else { return Ok(config) };
        if let Some(bytes) = optional(self.package, Role::Config)? {
            let object = config::object(Role::Config, &bytes)?;
            let read = decoder_of(&object).ok_or(LoadError::Architecture)?;
            if !config.agrees_with(&read(object)?) {
                return Err(LoadError::Metadata("config.json says otherwise"));
            }
        }
        Ok(config.laid_out(described.layout))
    }
}

fn architecture(object: &Map<String, Value>) -> Option<&str> {
    match object.get("architectures")?.as_array()?.as_slice() {
        [Value::String(name)] => Some(name),
        _ => None,
    }
}

fn load_encoder(
    load: &Load<'_>,
    mut object: Map<String, Value>,
    family: Family,
) -> Result<(LoadedModel, LoadStats), LoadError> {
    let (package, threads) = (load.source.package, load.threads);
    let shorter = shorter::take(&mut object)?;
    let config = bert::Config::read(object, family)?;
    let pooling = read_pooling(package, config.hidden())?;
    let codec = Codec::read(&package.file(Role::Tokenizer)?, config.vocabulary(), Use::Embedding)?;
    let words = format!("{}embeddings.word_embeddings.weight", config.prefix());
    let prefix = if package.index().position(&words).is_some() { config.prefix() } else { "" };
    let (needs, passed_over) = config.needs(prefix, Purpose::Embedding);
    let mut weights = read_weights(load, (&needs, passed_over), &Place::as_named)?;
    let vocabulary = config.vocabulary();
    let embedder = Box::new(Bert::new(&config, prefix, &mut weights, Output::Pooled(pooling), threads)?);
    let stats = stats(package, &needs, weights.held());
    Ok((LoadedModel::Embedding(EmbeddingModel { embedder, codec, vocabulary, shorter }), stats))
}

/// An encoder with a classifier of one label: a cross-encoder of sentence-transformers.
fn load_reranker(
    load: &Load<'_>,
    object: Map<String, Value>,
    family: Family,
) -> Result<(LoadedModel, LoadStats), LoadError> {
    let (package, threads) = (load.source.package, load.threads);
    if has(package, Role::Pooling) {
        return Err(LoadError::Config("a classifier comes with files of pooling"));
    }
    let own = optional(package, Role::SentenceTransformers)?;
    let bend = Bend::read(own.as_ref().map(|bytes| bytes.as_slice()), &object)?;
    let config = bert::Config::read(object, family)?;
    let codec = Codec::read(&package.file(Role::Tokenizer)?, config.vocabulary(), Use::Embedding)?;
    // RoBERTa has one type, whatever the tokenizer says.
    let separator = if family == Family::Bert { codec.separator()? } else { None };
    let prefix = config.prefix();
    let (needs, passed_over) = config.needs(prefix, Purpose::Score);
    let mut weights = read_weights(load, (&needs, passed_over), &Place::as_named)?;
    let vocabulary = config.vocabulary();
    let scorer =
        Box::new(Bert::new(&config, prefix, &mut weights, Output::Scored(bend, separator), threads)?);
    let stats = stats(package, &needs, weights.held());
    Ok((LoadedModel::Rerank(RerankModel { scorer, codec, vocabulary }), stats))
}

/// How the token vectors become one of `hidden` features.
fn read_pooling(package: &SealedModel, hidden: usize) -> Result<Pooling, LoadError> {
    let (modules, pooling) = (package.file(Role::Modules)?, package.file(Role::Pooling)?);
    let (sentence, transformers) =
        (optional(package, Role::SentenceConfig)?, optional(package, Role::SentenceTransformers)?);
    let files = pooling::Files {
        modules: &modules,
        pooling: &pooling,
        sentence: sentence.as_ref().map(|bytes| bytes.as_slice()),
        transformers: transformers.as_ref().map(|bytes| bytes.as_slice()),
    };
    Pooling::read(&files, hidden)
}

/// Reads the `config.json` of one architecture.
pub(crate) type ReadConfig = fn(Map<String, Value>) -> Result<decoder::Config, LoadError>;

fn load_decoder(
    load: &Load<'_>,
    object: Map<String, Value>,
    read: ReadConfig,
) -> Result<(LoadedModel, LoadStats), LoadError> {
    if has(load.source.package, Role::Modules) {
        return load_embedding_decoder(load, object, read);
    }
    load_chat(&load.source, object, read, |config| {
        let (needs, passed_over) = config.needs();
        let mut weights = read_weights(load, (&needs, &passed_over), &|name| config.locate(name))?;
        let decoder = Box::new(Decoder::new(config, &mut weights, load.threads, Keep::All)?);
        Ok((decoder, stats(load.source.package, &needs, weights.held())))
    })
}

/// A decoder that continues conversations, with the arithmetic that `build` makes of its config.
fn load_chat(
    source: &Source<'_>,
    object: Map<String, Value>,
    read: ReadConfig,
    build: impl FnOnce(&decoder::Config) -> Result<(Box<dyn Generator>, LoadStats), LoadError>,
) -> Result<(LoadedModel, LoadStats), LoadError> {
    let mut end_tokens = token_ids(object.get("eos_token_id"))?;
    let config = source.config(object, read)?;
    let codec = Codec::read(&source.tokenizer()?, config.vocabulary(), Use::Chat)?;
    let tokens = source.tokenizer_config()?;
    if let Some(bytes) = optional(source.package, Role::GenerationConfig)? {
        let generation = config::object(Role::GenerationConfig, &bytes)?;
        end_tokens.extend(token_ids(generation.get("eos_token_id"))?);
    }
    let special = special_tokens(&tokens);
    end_tokens.extend(special.eos.as_ref().and_then(|eos| codec.token(eos)));
    end_tokens.sort_unstable();
    end_tokens.dedup();
    if end_tokens.is_empty() || end_tokens.iter().any(|&id| id as usize >= config.vocabulary()) {
        return Err(LoadError::Config("no end token, or one beyond the vocabulary"));
    }
    let template = template(source.package, &tokens, special)?;
    let (generator, stats) = build(&config)?;
    let vocabulary = codec.vocabulary(config.vocabulary(), &end_tokens);
    let grammars = Grammars::new(vocabulary.as_ref());
    let model = ChatModel { generator, codec, template, end_tokens, vocabulary, grammars };
    Ok((LoadedModel::Chat(model), stats))
}

/// A decoder that comes with the files of sentence-transformers.
fn load_embedding_decoder(
    load: &Load<'_>,
    mut object: Map<String, Value>,
    read: ReadConfig,
) -> Result<(LoadedModel, LoadStats), LoadError> {
    let (package, threads) = (load.source.package, load.threads);
    let shorter = shorter::take(&mut object)?;
    // Saved without the part that generates, its names have no prefix.
    let bare = package.index().position("embed_tokens.weight").is_some();
    let config = load.source.config(object, read)?.without_head(if bare { "" } else { "model." });
    let pooling = read_pooling(package, config.hidden())?;
    let codec = Codec::read(&load.source.tokenizer()?, config.vocabulary(), Use::Embedding)?;
    let (needs, passed_over) = config.needs();
    let mut weights = read_weights(load, (&needs, &passed_over), &|name| config.locate(name))?;
    let vocabulary = config.vocabulary();
    let embedder = Box::new(DecoderEmbedder::new(&config, &mut weights, pooling, threads)?);
    let stats = stats(package, &needs, weights.held());
    Ok((LoadedModel::Embedding(EmbeddingModel { embedder, codec, vocabulary, shorter }), stats))
}

fn read_weights(
    load: &Load<'_>,
    (needs, passed_over): (&[Need], &[&str]),
    locate: Locate<'_>,
) -> Result<Weights, LoadError> {
    Weights::load(load.source.package, &load.effort, (needs, passed_over), locate, load.precision)
}

fn stats(package: &SealedModel, needs: &[Need], memory: Held) -> LoadStats {
    let parameters = needs.iter().map(|need| need.shape.iter().product::<usize>() as u64).sum();
    LoadStats { tensors: needs.len(), parameters, weight_bytes: package.weight_bytes(), memory }
}

/// A file that a package need not have.
fn optional(package: &SealedModel, role: Role) -> Result<Option<Zeroizing<Vec<u8>>>, LoadError> {
    if has(package, role) { Ok(Some(package.file(role)?)) } else { Ok(None) }
}

fn has(package: &SealedModel, role: Role) -> bool {
    package.roles().any(|found| found == role)
}

/// One id, a list of ids, or none.
pub(crate) fn token_ids(value: Option<&Value>) -> Result<Vec<TokenId>, LoadError> {
    let id = |value: &Value| value.as_u64().and_then(|id| TokenId::try_from(id).ok());
    let ids = match value {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(ids)) => ids.iter().map(id).collect(),
        Some(value) => id(value).map(|id| vec![id]),
    };
    ids.ok_or(LoadError::Config("eos_token_id is not an id or a list of ids"))
}

pub(crate) fn special_tokens(tokens: &Map<String, Value>) -> SpecialTokens {
    let text = |key: &str| match tokens.get(key)? {
        Value::String(text) => Some(text.clone()),
        Value::Object(token) => token.get("content")?.as_str().map(str::to_owned),
        _ => None,
    };
    SpecialTokens {
        bos: text("bos_token"),
        eos: text("eos_token"),
        unk: text("unk_token"),
        pad: text("pad_token"),
    }
}

/// The template in its own file, else the one in `tokenizer_config.json`; of several there, the one called `default`.
fn template(
    package: &SealedModel,
    tokens: &Map<String, Value>,
    special: SpecialTokens,
) -> Result<Option<ChatTemplate>, LoadError> {
    let file = optional(package, Role::ChatTemplate)?;
    let named = |template: &&Value| template.get("name").and_then(Value::as_str) == Some("default");
    let source = match (&file, tokens.get("chat_template")) {
        (Some(bytes), _) => {
            Some(std::str::from_utf8(bytes).map_err(|_| LoadError::Form(Role::ChatTemplate))?)
        }
        (None, None | Some(Value::Null)) => None,
        (None, Some(Value::String(source))) => Some(source.as_str()),
        (None, Some(Value::Array(templates))) => {
            templates.iter().find(named).and_then(|template| template.get("template")?.as_str())
        }
        (None, Some(_)) => return Err(LoadError::Form(Role::TokenizerConfig)),
    };
    Ok(source.map(|source| ChatTemplate::new(source, special)).transpose()?)
}

//! From a verified sealed package to a model that computes.

use crate::bert::{self, Bert};
use crate::config;
use crate::decoder::{
    self, Decoder, DecoderEmbedder, DecoderPlan, PlannedWeights, gemma2, gemma3, llama, mistral, qwen2, qwen3,
};
use crate::error::LoadError;
use crate::pooling::{self, Pooling};
use crate::template::{ChatTemplate, SpecialTokens};
use crate::text::{Codec, Use};
use crate::threads::Threads;
use crate::weights::{Need, Weights};
use anchorhold_engine::{Embedder, Generator, ModelKind, Precision, TokenId};
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
}

/// A model, ready to compute.
pub enum LoadedModel {
    /// Answers with vectors.
    Embedding(EmbeddingModel),
    /// Answers with text.
    Chat(ChatModel),
}

impl LoadedModel {
    /// Which kind it is.
    #[must_use]
    pub fn kind(&self) -> ModelKind {
        match self {
            Self::Embedding(_) => ModelKind::Embedding,
            Self::Chat(_) => ModelKind::Chat,
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
}

/// Decrypts a package into a model. The architecture is the one that its `config.json` names.
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
    if package.index().container() != Container::Safetensors {
        return Err(LoadError::Container);
    }
    let count = NonZeroUsize::new(threads.count()).unwrap_or(NonZeroUsize::MIN);
    let effort = Effort { threads: count, progress };
    let load = Load { package, threads, precision, effort };
    let object = config::object(Role::Config, &package.file(Role::Config)?)?;
    match (architecture(&object), object.get("model_type").and_then(Value::as_str)) {
        (Some("BertModel"), Some("bert")) => load_bert(&load, object),
        (Some("LlamaForCausalLM"), Some("llama")) => load_decoder(&load, object, llama::read),
        (Some("MistralForCausalLM"), Some("mistral")) => load_decoder(&load, object, mistral::read),
        (Some("Qwen2ForCausalLM"), Some("qwen2")) => load_decoder(&load, object, qwen2::read),
        (Some("Qwen3ForCausalLM"), Some("qwen3")) => load_decoder(&load, object, qwen3::read),
        (Some("Gemma2ForCausalLM"), Some("gemma2")) => load_decoder(&load, object, gemma2::read),
        (Some("Gemma3ForCausalLM"), Some("gemma3_text")) => load_decoder(&load, object, gemma3::read),
        _ => Err(LoadError::Architecture),
    }
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
        return Err(LoadError::Container);
    }
    let object = config::object(Role::Config, &package.file(Role::Config)?)?;
    let read = match (architecture(&object), object.get("model_type").and_then(Value::as_str)) {
        (Some("LlamaForCausalLM"), Some("llama")) => llama::read,
        (Some("MistralForCausalLM"), Some("mistral")) => mistral::read,
        (Some("Qwen2ForCausalLM"), Some("qwen2")) => qwen2::read,
        (Some("Qwen3ForCausalLM"), Some("qwen3")) => qwen3::read,
        _ => {
            return Err(LoadError::Device(
                "only Llama, Mistral, Qwen2 and Qwen3 run on this device".to_owned(),
            ));
        }
    };
    if has(package, Role::Modules) {
        return Err(LoadError::Device("models that embed do not run on this device".to_owned()));
    }
    load_chat(package, object, read, |config| {
        let (needs, passed_over) = config.needs();
        let plan = DecoderPlan::new(config, &needs)?;
        let weights = PlannedWeights::new(package, effort, (&needs, &passed_over))?;
        Ok((build(plan, weights)?, stats(package, &needs)))
    })
}

/// A package on its way to a model.
struct Load<'a> {
    package: &'a SealedModel,
    threads: &'a Threads,
    precision: Precision,
    effort: Effort<'a>,
}

fn architecture(object: &Map<String, Value>) -> Option<&str> {
    match object.get("architectures")?.as_array()?.as_slice() {
        [Value::String(name)] => Some(name),
        _ => None,
    }
}

fn load_bert(load: &Load<'_>, object: Map<String, Value>) -> Result<(LoadedModel, LoadStats), LoadError> {
    let Load { package, threads, .. } = *load;
    let config = bert::Config::read(object)?;
    let pooling = read_pooling(package, config.hidden())?;
    let codec = Codec::read(&package.file(Role::Tokenizer)?, config.vocabulary(), Use::Embedding)?;
    let prefixed = package.index().position("bert.embeddings.word_embeddings.weight").is_some();
    let prefix = if prefixed { "bert." } else { "" };
    let (needs, passed_over) = config.needs(prefix);
    let (weights, stats) = read_weights(load, &needs, passed_over)?;
    let vocabulary = config.vocabulary();
    let bert = Bert::new(&config, prefix, weights, pooling, threads)?;
    Ok((LoadedModel::Embedding(EmbeddingModel { embedder: Box::new(bert), codec, vocabulary }), stats))
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
type ReadConfig = fn(Map<String, Value>) -> Result<decoder::Config, LoadError>;

fn load_decoder(
    load: &Load<'_>,
    object: Map<String, Value>,
    read: ReadConfig,
) -> Result<(LoadedModel, LoadStats), LoadError> {
    if has(load.package, Role::Modules) {
        return load_embedding_decoder(load, object, read);
    }
    load_chat(load.package, object, read, |config| {
        let (needs, passed_over) = config.needs();
        let (weights, stats) = read_weights(load, &needs, &passed_over)?;
        Ok((Box::new(Decoder::new(config, weights, load.threads)?), stats))
    })
}

/// A decoder that continues conversations, with the arithmetic that `build` makes of its config.
fn load_chat(
    package: &SealedModel,
    object: Map<String, Value>,
    read: ReadConfig,
    build: impl FnOnce(&decoder::Config) -> Result<(Box<dyn Generator>, LoadStats), LoadError>,
) -> Result<(LoadedModel, LoadStats), LoadError> {
    let mut end_tokens = token_ids(object.get("eos_token_id"))?;
    let config = read(object)?;
    let codec = Codec::read(&package.file(Role::Tokenizer)?, config.vocabulary(), Use::Chat)?;
    let tokens = optional(package, Role::TokenizerConfig)?;
    let tokens =
        tokens.map(|bytes| config::object(Role::TokenizerConfig, &bytes)).transpose()?.unwrap_or_default();
    if let Some(bytes) = optional(package, Role::GenerationConfig)? {
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
    let template = template(package, &tokens, special)?;
    let (generator, stats) = build(&config)?;
    Ok((LoadedModel::Chat(ChatModel { generator, codec, template, end_tokens }), stats))
}

/// A decoder that comes with the files of sentence-transformers.
fn load_embedding_decoder(
    load: &Load<'_>,
    object: Map<String, Value>,
    read: ReadConfig,
) -> Result<(LoadedModel, LoadStats), LoadError> {
    let Load { package, threads, .. } = *load;
    // Saved without the part that generates, its names have no prefix.
    let bare = package.index().position("embed_tokens.weight").is_some();
    let config = read(object)?.without_head(if bare { "" } else { "model." });
    let pooling = read_pooling(package, config.hidden())?;
    let codec = Codec::read(&package.file(Role::Tokenizer)?, config.vocabulary(), Use::Embedding)?;
    let (needs, passed_over) = config.needs();
    let (weights, stats) = read_weights(load, &needs, &passed_over)?;
    let vocabulary = config.vocabulary();
    let embedder = Box::new(DecoderEmbedder::new(&config, weights, pooling, threads)?);
    Ok((LoadedModel::Embedding(EmbeddingModel { embedder, codec, vocabulary }), stats))
}

fn read_weights(
    load: &Load<'_>,
    needs: &[Need],
    passed_over: &[&str],
) -> Result<(Weights, LoadStats), LoadError> {
    let weights = Weights::load(load.package, &load.effort, (needs, passed_over), load.precision)?;
    Ok((weights, stats(load.package, needs)))
}

fn stats(package: &SealedModel, needs: &[Need]) -> LoadStats {
    let parameters = needs.iter().map(|need| need.shape.iter().product::<usize>() as u64).sum();
    LoadStats { tensors: needs.len(), parameters, weight_bytes: package.weight_bytes() }
}

/// A file that a package need not have.
fn optional(package: &SealedModel, role: Role) -> Result<Option<Zeroizing<Vec<u8>>>, LoadError> {
    if has(package, role) { Ok(Some(package.file(role)?)) } else { Ok(None) }
}

fn has(package: &SealedModel, role: Role) -> bool {
    package.roles().any(|found| found == role)
}

/// One id, a list of ids, or none.
fn token_ids(value: Option<&Value>) -> Result<Vec<TokenId>, LoadError> {
    let id = |value: &Value| value.as_u64().and_then(|id| TokenId::try_from(id).ok());
    let ids = match value {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(ids)) => ids.iter().map(id).collect(),
        Some(value) => id(value).map(|id| vec![id]),
    };
    ids.ok_or(LoadError::Config("eos_token_id is not an id or a list of ids"))
}

fn special_tokens(tokens: &Map<String, Value>) -> SpecialTokens {
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

//! What the worker asks of a model: words, and arithmetic.

use anchorhold_engine::{Constraint, Conversation, Embedder, Generator, ModelKind, Structure, TokenId};
use anchorhold_ipc::{StructureFault, ToolFault};
use anchorhold_model::CallStream;
use std::fmt;
use std::sync::Arc;

/// A loaded model.
pub struct Model {
    /// Its words; used by several threads.
    pub language: Arc<dyn Language>,
    /// Its arithmetic; used by one thread.
    pub compute: Compute,
}

/// The arithmetic of a model, by what it can do.
pub enum Compute {
    /// Continues texts.
    Generator {
        /// The model.
        generator: Box<dyn Generator>,
        /// The tokens that end a text.
        eos: Vec<TokenId>,
    },
    /// Turns texts into vectors.
    Embedder {
        /// The model.
        embedder: Box<dyn Embedder>,
        /// How many token ids there are.
        vocabulary: usize,
    },
    /// Scores pairs of texts.
    Scorer {
        /// The model; its vectors have one number, the score.
        scorer: Box<dyn Embedder>,
        /// How many token ids there are.
        vocabulary: usize,
    },
}

/// Between text and tokens.
pub trait Language: Send + Sync {
    /// The tokens of plain text, with those that the model wants around it. Nothing in `text` becomes a control token.
    ///
    /// # Errors
    /// [`LanguageError::Tokenizer`].
    fn encode(&self, text: &str) -> Result<Vec<TokenId>, LanguageError>;

    /// The tokens of plain text alone. Nothing in `text` becomes a control token.
    ///
    /// # Errors
    /// [`LanguageError::Tokenizer`].
    fn encode_bare(&self, text: &str) -> Result<Vec<TokenId>, LanguageError>;

    /// The tokens of each pair of `first` and one of `seconds`. Nothing in them becomes a control token.
    ///
    /// # Errors
    /// [`LanguageError::Tokenizer`].
    fn encode_pairs(&self, first: &str, seconds: &[String]) -> Result<Vec<Vec<TokenId>>, LanguageError>;

    /// The tokens of a conversation and of the tools in it, by the model's own template.
    ///
    /// # Errors
    /// Either [`LanguageError`].
    fn encode_chat(&self, conversation: &Conversation) -> Result<Vec<TokenId>, LanguageError>;

    /// A decoder for one text.
    fn decoder(&self) -> Box<dyn Decoder>;

    /// A decoder that shows the special tokens by which calls are told from text.
    fn call_decoder(&self) -> Box<dyn Decoder> {
        self.decoder()
    }

    /// The bytes of a token, those of a special token too; they need not be whole characters.
    fn spell(&self, token: TokenId) -> Vec<u8>;

    /// What keeps one text within this form. Takes bounded time and memory, whatever the form.
    ///
    /// # Errors
    /// [`StructureFault`].
    fn constraint(&self, structure: &Structure) -> Result<Box<dyn Constraint>, StructureFault>;

    /// How an answer to this conversation, which has tools, is read and kept to calls. Takes bounded time and memory.
    ///
    /// # Errors
    /// [`ToolFault`].
    fn calls(&self, conversation: &Conversation) -> Result<Calls, ToolFault>;
}

/// How an answer that may call tools is read.
#[derive(Debug)]
pub struct Calls {
    /// Tells calls from text, in one answer.
    pub stream: CallStream,
    /// What keeps the answer to calls, or the calls to their form, where that is asked.
    pub constraint: Option<Box<dyn Constraint>>,
}

/// Turns one text's tokens into characters, as they come.
pub trait Decoder: Send {
    /// The whole characters that are certain after this token; often none.
    fn push(&mut self, token: TokenId) -> String;

    /// What was still held back.
    fn finish(self: Box<Self>) -> String;
}

/// Why text did not become tokens. Quotes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LanguageError {
    /// The chat template refused the conversation, or there is none.
    Template,
    /// The tokenizer failed.
    Tokenizer,
}

impl Compute {
    /// What the model can do.
    #[must_use]
    pub fn kind(&self) -> ModelKind {
        match self {
            Self::Generator { .. } => ModelKind::Chat,
            Self::Embedder { .. } => ModelKind::Embedding,
            Self::Scorer { .. } => ModelKind::Rerank,
        }
    }

    /// How many token ids there are.
    #[must_use]
    pub fn vocabulary(&self) -> usize {
        match self {
            Self::Generator { generator, .. } => generator.vocabulary(),
            Self::Embedder { vocabulary, .. } | Self::Scorer { vocabulary, .. } => *vocabulary,
        }
    }

    /// The most tokens of one sequence or input.
    #[must_use]
    pub fn context(&self) -> usize {
        match self {
            Self::Generator { generator, .. } => generator.context(),
            Self::Embedder { embedder, .. } | Self::Scorer { scorer: embedder, .. } => embedder.context(),
        }
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Model({:?})", self.compute.kind())
    }
}

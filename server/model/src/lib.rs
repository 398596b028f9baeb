//! Models that run on sealed weights.
//!
//! Call [`Threads::start`] while the process may still make threads, then [`load()`] with an opened package. The result computes through
//! the traits of `anchorhold-engine`, and brings the model's own tokenizer and chat template.
//!
//! Promised: a result depends on its own input only, bit for bit, whatever else is computed with it; caches of sequences are erased when
//! they are freed; no error quotes a text, a token or the package; text from outside does not become control tokens; a package that is
//! not what its config says is refused with a typed error before memory is taken for it, and unknown settings are refused, not ignored.
//!
//! A package is safetensors with the files of transformers, or GGUF alone.
//!
//! Not here: scheduling and sampling (`anchorhold-engine`), and who may load what. The temporary tensors of a step are freed but not
//! erased. There is no clock, no network and no file but the package's descriptors. Loading starts short-lived threads; computing does not.

mod attention;
mod bert;
mod cache;
mod calls;
mod config;
mod decoder;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gguf;
mod grammar;
mod kernel;
mod load;
mod math;
pub mod numbers;
mod ops;
mod packed;
mod passes;
mod pooling;
mod quantised;
mod rope;
mod rows;
mod shorter;
mod stored;
mod stream;
mod template;
mod text;
mod threads;
mod vocabulary;
mod weights;

pub use anchorhold_engine::Precision;
pub use calls::{CallStream, CallSyntax, Said};
pub use decoder::{
    DecoderPlan, LayerPart, PlannedGate, PlannedTensor, PlannedWeights, Stored, TensorPlace, WeightPart,
};
pub use error::LoadError;
pub use grammar::{GrammarError, Grammars, MAX_CHOICE_TEXTS, MAX_REGEX_LEN, MAX_STRUCTURE_LEN, Marks};
pub use kernel::Held;
pub use load::{ChatModel, EmbeddingModel, LoadStats, LoadedModel, RerankModel, load, load_on, load_with};
pub use stream::{Passed, StopMatcher, TextStream};
pub use template::{
    ChatTemplate, MAX_MESSAGES_LEN, MAX_RENDERED_LEN, MAX_TEMPLATE_LEN, SpecialTokens, TemplateError,
};
pub use text::{Codec, MAX_TEXT_LEN, TextError};
pub use threads::Threads;
pub use vocabulary::Vocabulary;

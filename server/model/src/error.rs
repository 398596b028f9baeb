//! Why a package does not become a model. No variant quotes the package's files, whose content is the owner's secret.

use crate::template::TemplateError;
use anchorhold_sealed_weights::Role;

/// A package was refused, or cannot be loaded on this machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The package's bytes were refused, or have no file of a role that the model needs.
    #[error("sealed package: {0}")]
    Package(#[from] anchorhold_sealed_weights::Error),
    /// A file is not the JSON that its role asks for.
    #[error("file of the role {0} is not of the expected form")]
    Form(Role),
    /// A rule for the metadata of a GGUF file.
    #[error("GGUF metadata: {0}")]
    Metadata(&'static str),
    /// `config.json`, or a GGUF file's `general.architecture`, names no architecture that this crate has.
    #[error(
        "architecture is not BertModel, RobertaModel or XLMRobertaModel, one of these ForSequenceClassification, or LlamaForCausalLM, MistralForCausalLM, MixtralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM, Qwen3MoeForCausalLM, Gemma2ForCausalLM or Gemma3ForCausalLM, with its own model_type; in GGUF llama, qwen2, qwen3, gemma2 or gemma3"
    )]
    Architecture,
    /// A rule for a file other than the tokenizer and the template.
    #[error("config: {0}")]
    Config(&'static str),
    /// `config.json` or a GGUF file's metadata switches something on that this crate does not know or do. Ignoring it would give wrong results.
    #[error("config has a key that this architecture does not know, or switches on what it does not do")]
    ConfigKey,
    /// The weights lack a tensor, or have one of another type or shape.
    #[error(
        "tensor {index} of the {expected} that the config asks for is missing or of another type or shape"
    )]
    Tensor {
        /// Which one, in the order in which the architecture lists them.
        index: usize,
        /// How many there are.
        expected: usize,
    },
    /// The weights hold tensors that the architecture does not know.
    #[error("weights hold {0} tensors that this architecture does not know")]
    ExtraTensors(usize),
    /// A rule for `tokenizer.json`.
    #[error("tokenizer: {0}")]
    Tokenizer(&'static str),
    /// The chat template is refused.
    #[error("chat template: {0}")]
    Template(#[from] TemplateError),
    /// The device does not run this model. The text is the device's own, and quotes nothing of the package.
    #[error("device: {0}")]
    Device(String),
    /// The threads that compute could not be started.
    #[error("compute threads could not be started")]
    Threads,
}

//! The files a package may hold: a closed list, each with its name in a model folder and its largest size.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What an object is for. Public in the manifest; bound into the object's encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The encrypted inner manifest, `card.sealed`.
    Card,
    /// All files of a package whose sizes are hidden.
    Bundle,
    /// `config.json`.
    Config,
    /// `tokenizer.json`.
    Tokenizer,
    /// `tokenizer_config.json`.
    TokenizerConfig,
    /// `special_tokens_map.json`.
    SpecialTokens,
    /// `chat_template.jinja`.
    ChatTemplate,
    /// `generation_config.json`.
    GenerationConfig,
    /// `modules.json` of sentence-transformers.
    Modules,
    /// `1_Pooling/config.json` of sentence-transformers.
    Pooling,
    /// `sentence_bert_config.json`.
    SentenceConfig,
    /// `config_sentence_transformers.json`.
    SentenceTransformers,
    /// `model.safetensors.index.json`.
    WeightsIndex,
    /// safetensors or GGUF, one file or several numbered ones.
    Weights,
}

const MIB: u64 = 1 << 20;

impl Role {
    /// Every role of a file that has one fixed name, in the order in which a package lists them; the weights follow.
    pub const NAMED: [Self; 11] = [
        Self::Config,
        Self::Tokenizer,
        Self::TokenizerConfig,
        Self::SpecialTokens,
        Self::ChatTemplate,
        Self::GenerationConfig,
        Self::Modules,
        Self::Pooling,
        Self::SentenceConfig,
        Self::SentenceTransformers,
        Self::WeightsIndex,
    ];

    /// The role as the manifest writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Card => "card",
            Self::Bundle => "bundle",
            Self::Config => "config",
            Self::Tokenizer => "tokenizer",
            Self::TokenizerConfig => "tokenizer_config",
            Self::SpecialTokens => "special_tokens",
            Self::ChatTemplate => "chat_template",
            Self::GenerationConfig => "generation_config",
            Self::Modules => "modules",
            Self::Pooling => "pooling",
            Self::SentenceConfig => "sentence_config",
            Self::SentenceTransformers => "sentence_transformers",
            Self::WeightsIndex => "weights_index",
            Self::Weights => "weights",
        }
    }

    /// The one name that a file of this role has in a model folder; `None` for weights, whose names vary, and for what is
    /// no file of a model.
    #[must_use]
    pub const fn file_name(self) -> Option<&'static str> {
        match self {
            Self::Config => Some("config.json"),
            Self::Tokenizer => Some("tokenizer.json"),
            Self::TokenizerConfig => Some("tokenizer_config.json"),
            Self::SpecialTokens => Some("special_tokens_map.json"),
            Self::ChatTemplate => Some("chat_template.jinja"),
            Self::GenerationConfig => Some("generation_config.json"),
            Self::Modules => Some("modules.json"),
            Self::Pooling => Some("1_Pooling/config.json"),
            Self::SentenceConfig => Some("sentence_bert_config.json"),
            Self::SentenceTransformers => Some("config_sentence_transformers.json"),
            Self::WeightsIndex => Some("model.safetensors.index.json"),
            Self::Card | Self::Bundle | Self::Weights => None,
        }
    }

    /// The most plaintext bytes an object of this role may have.
    #[must_use]
    pub const fn max_len(self) -> u64 {
        match self {
            Self::Card | Self::Tokenizer => 64 * MIB,
            Self::Weights | Self::Bundle => 2 << 40,
            Self::WeightsIndex => 16 * MIB,
            _ => MIB,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_serialised_ones_and_distinct() {
        let mut names = Vec::new();
        for role in Role::NAMED.into_iter().chain([Role::Card, Role::Bundle, Role::Weights]) {
            assert_eq!(serde_json::to_string(&role).unwrap(), format!("\"{role}\""));
            names.extend(role.file_name());
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Role::NAMED.len());
    }

    #[test]
    fn limits_are_those_of_the_specification() {
        assert_eq!(Role::Config.max_len(), 1 << 20);
        assert_eq!(Role::WeightsIndex.max_len(), 16 << 20);
        assert_eq!(Role::Tokenizer.max_len(), 64 << 20);
        assert_eq!(Role::Card.max_len(), 64 << 20);
        assert_eq!(Role::Weights.max_len(), 1 << 41);
        assert_eq!(Role::Bundle.max_len(), 1 << 41);
    }
}

//! The files a package may hold: a closed list, each with its name in a model folder and its largest size.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What an object is for. Public in the manifest; bound into the object's encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The encrypted inner manifest, `card.sealed`.
    Card,
    /// `model.safetensors`.
    Weights,
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
}

const MIB: u64 = 1 << 20;

impl Role {
    /// Every role but the card's, in the order in which a package lists them.
    pub const FILES: [Self; 11] = [
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
        Self::Weights,
    ];

    /// The roles without which a package is no model.
    pub(crate) const REQUIRED: [Self; 3] = [Self::Config, Self::Tokenizer, Self::Weights];

    /// The role as the manifest writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Card => "card",
            Self::Weights => "weights",
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
        }
    }

    /// The name of the file of this role in a model folder.
    #[must_use]
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Card => "card.sealed",
            Self::Weights => "model.safetensors",
            Self::Config => "config.json",
            Self::Tokenizer => "tokenizer.json",
            Self::TokenizerConfig => "tokenizer_config.json",
            Self::SpecialTokens => "special_tokens_map.json",
            Self::ChatTemplate => "chat_template.jinja",
            Self::GenerationConfig => "generation_config.json",
            Self::Modules => "modules.json",
            Self::Pooling => "1_Pooling/config.json",
            Self::SentenceConfig => "sentence_bert_config.json",
            Self::SentenceTransformers => "config_sentence_transformers.json",
        }
    }

    /// The most plaintext bytes an object of this role may have.
    #[must_use]
    pub const fn max_len(self) -> u64 {
        match self {
            Self::Card => 24 * MIB,
            Self::Weights => 2 << 40,
            Self::Tokenizer => 64 * MIB,
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
        for role in Role::FILES.into_iter().chain([Role::Card]) {
            assert_eq!(serde_json::to_string(&role).unwrap(), format!("\"{role}\""));
            names.push(role.file_name());
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 12);
    }
}

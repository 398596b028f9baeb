//! What a key may be used for.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// One thing that a key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Scope {
    /// Chat, completions, responses.
    Generate,
    /// Embeddings.
    Embed,
    /// Reranking.
    Rerank,
    /// The list of models.
    Models,
    /// Tokens of a text, and back.
    Tokenize,
    /// Numbers over all tenants, for operators.
    Metrics,
    /// The audit log's own routes.
    Audit,
}

/// Not the name of a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a scope: expected generate, embed, rerank, models, tokenize, metrics or audit")]
pub struct ScopeError;

impl Scope {
    /// Every scope, in the order in which they are written.
    pub const ALL: [Self; 7] =
        [Self::Generate, Self::Embed, Self::Rerank, Self::Models, Self::Tokenize, Self::Metrics, Self::Audit];

    /// Its name in settings, on the command line and in refusals.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Generate => "generate",
            Self::Embed => "embed",
            Self::Rerank => "rerank",
            Self::Models => "models",
            Self::Tokenize => "tokenize",
            Self::Metrics => "metrics",
            Self::Audit => "audit",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        Self::ALL.into_iter().find(|scope| scope.word() == text).ok_or(ScopeError)
    }
}

/// A set of scopes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// Asking models: what a tenant may do for whom nothing else is written. Numbers over all tenants are not among it.
    #[must_use]
    pub fn of_callers() -> Self {
        [Scope::Generate, Scope::Embed, Scope::Rerank, Scope::Models, Scope::Tokenize].into_iter().collect()
    }

    /// Whether `scope` is in the set.
    #[must_use]
    pub const fn contains(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Whether all of this set is in `other`.
    #[must_use]
    pub const fn is_within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// What is in both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether nothing is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The scopes in the set, in the order of [`Scope::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.contains(*scope))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.iter().map(Scope::word).collect();
        f.write_str(&words.join(","))
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scopes({self})")
    }
}

impl Serialize for Scopes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(Scope::word))
    }
}

impl<'de> Deserialize<'de> for Scopes {
    /// A list of names. An empty list is refused: a key or tenant that opens nothing is a mistake.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = Vec::<String>::deserialize(deserializer)?;
        let scopes: Result<Self, ScopeError> = words.iter().map(|word| word.parse::<Scope>()).collect();
        match scopes.map_err(serde::de::Error::custom)? {
            Self(0) => Err(serde::de::Error::custom("expected at least one scope, got none")),
            scopes => Ok(scopes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_sets_go_round() {
        for scope in Scope::ALL {
            assert_eq!(scope.word().parse(), Ok(scope));
            let only: Scopes = [scope].into_iter().collect();
            assert_eq!(only.iter().collect::<Vec<_>>(), [scope]);
            assert_eq!(only.to_string(), scope.word());
        }
        assert_eq!("Generate".parse::<Scope>(), Err(ScopeError));
        assert_eq!("".parse::<Scope>(), Err(ScopeError));
    }

    #[test]
    fn callers_ask_models_and_read_no_numbers() {
        let callers = Scopes::of_callers();
        assert_eq!(callers.to_string(), "generate,embed,rerank,models,tokenize");
        let embed: Scopes = [Scope::Embed].into_iter().collect();
        let metrics: Scopes = [Scope::Metrics, Scope::Embed].into_iter().collect();
        assert!(embed.is_within(callers) && !metrics.is_within(callers) && !callers.is_within(embed));
        assert_eq!(callers.and(metrics), embed);
        assert!(callers.and([Scope::Audit].into_iter().collect()).is_empty());
    }
}

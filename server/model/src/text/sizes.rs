//! How much there is in a `tokenizer.json`, counted before memory is taken for what it says.

use super::MAX_MERGES;
use crate::error::LoadError;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// The parts of a tokenizer that grow.
#[derive(Deserialize)]
pub(super) struct Sizes {
    #[serde(default)]
    added_tokens: Count,
    model: Model,
}

#[derive(Deserialize)]
struct Model {
    #[serde(default)]
    vocab: Count,
    #[serde(default)]
    merges: Count,
}

impl Sizes {
    /// Checks a tokenizer of a model with so many tokens. A token is one of the vocabulary or an added one, and may be both.
    ///
    /// # Errors
    /// [`LoadError::Tokenizer`]: not JSON, more tokens than the model has, or more than [`MAX_MERGES`] merges.
    pub(super) fn check(bytes: &[u8], vocabulary: usize) -> Result<(), LoadError> {
        let sizes: Self = serde_json::from_slice(bytes)
            .map_err(|_| LoadError::Tokenizer("not a tokenizer of a known form"))?;
        if sizes.added_tokens.0.max(sizes.model.vocab.0) > vocabulary {
            return Err(LoadError::Tokenizer("has more tokens than the model"));
        }
        if sizes.model.merges.0 > MAX_MERGES {
            return Err(LoadError::Tokenizer("has too many merges"));
        }
        Ok(())
    }
}

/// How many items a list or an object has; none for anything else.
#[derive(Default)]
struct Count(usize);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Counter)
    }
}

struct Counter;

impl<'de> Visitor<'de> for Counter {
    type Value = Count;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list, an object or null")
    }

    fn visit_unit<E>(self) -> Result<Count, E> {
        Ok(Count(0))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Count, A::Error> {
        let mut count = 0;
        while items.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(Count(count))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Count, A::Error> {
        let mut count = 0;
        while items.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(Count(count))
    }
}

//! The JSON files and texts of a model: form only. What they mean is the engine's to judge.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::error::Error;
use crate::role::Role;
use crate::rules::JsonRule;

/// The most levels of lists and objects in one another.
pub const MAX_JSON_DEPTH: usize = 32;

/// What the modules of a sentence-transformers model must be, so that none is code of the model's own.
const MODULE_PREFIX: &str = "sentence_transformers.";

/// Keys that ask a reader to fetch or run code which is not in the package.
pub(crate) fn is_code_key(key: &str) -> bool {
    matches!(key, "auto_map" | "custom_pipelines" | "code_revision" | "trust_remote_code")
}

/// Checks the form of a file of this role: UTF-8; for JSON also one value, of bounded depth, without repeated keys and
/// without keys that ask for code.
///
/// # Errors
/// [`Error::Json`], naming the rule. Time and memory are bounded by the size of the file.
pub(crate) fn check_file(role: Role, bytes: &[u8]) -> Result<(), Error> {
    check(role, bytes).map_err(|rule| Error::Json { role, rule })
}

fn check(role: Role, bytes: &[u8]) -> Result<(), JsonRule> {
    let text = std::str::from_utf8(bytes).map_err(|_| JsonRule::Utf8)?;
    if role == Role::ChatTemplate {
        return Ok(());
    }
    let mut found = None;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    // Our own limit stands below the 128 levels of the library, which refuses without saying why.
    let strict = Strict { role, depth: 0, place: Place::Other, found: &mut found };
    let read = strict.deserialize(&mut deserializer).and_then(|()| deserializer.end());
    match (read, found) {
        (Ok(()), _) => Ok(()),
        (Err(_), Some(rule)) => Err(rule),
        (Err(_), None) => Err(JsonRule::Malformed),
    }
}

/// What a value stands under.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A key that may only be null or false.
    Code,
    /// The `type` of a module.
    ModuleType,
    /// Anything else.
    Other,
}

/// Reads one value and keeps nothing of it. The rule that it breaks is left in `found`.
struct Strict<'f> {
    role: Role,
    depth: usize,
    place: Place,
    found: &'f mut Option<JsonRule>,
}

impl Strict<'_> {
    fn refuse<E: serde::de::Error>(&mut self, rule: JsonRule) -> E {
        *self.found = Some(rule);
        E::custom(rule)
    }

    /// The reader of a value inside this one.
    fn inner(&mut self, place: Place) -> Strict<'_> {
        Strict { role: self.role, depth: self.depth + 1, place, found: self.found }
    }

    fn enter<E: serde::de::Error>(&mut self) -> Result<(), E> {
        if self.place != Place::Other {
            return Err(self.refuse(self.rule_of_place()));
        }
        if self.depth == MAX_JSON_DEPTH {
            return Err(self.refuse(JsonRule::TooDeep));
        }
        Ok(())
    }

    const fn rule_of_place(&self) -> JsonRule {
        match self.place {
            Place::ModuleType => JsonRule::ModuleType,
            Place::Code | Place::Other => JsonRule::CodeKey,
        }
    }

    /// A value that is no list, object or text.
    fn scalar<E: serde::de::Error>(mut self, is_off: bool) -> Result<(), E> {
        match self.place {
            Place::Other => Ok(()),
            Place::Code if is_off => Ok(()),
            Place::Code | Place::ModuleType => Err(self.refuse(self.rule_of_place())),
        }
    }

    fn place_of(&self, key: &str) -> Place {
        if self.role != Role::Tokenizer && is_code_key(key) {
            Place::Code
        } else if self.role == Role::Modules && key == "type" {
            Place::ModuleType
        } else {
            Place::Other
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.scalar(!value)
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        self.scalar(false)
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        self.scalar(false)
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        self.scalar(false)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.scalar(true)
    }

    fn visit_str<E: serde::de::Error>(mut self, text: &str) -> Result<(), E> {
        match self.place {
            Place::Other => Ok(()),
            Place::ModuleType if text.starts_with(MODULE_PREFIX) => Ok(()),
            Place::Code | Place::ModuleType => Err(self.refuse(self.rule_of_place())),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        self.enter()?;
        while items.next_element_seed(self.inner(Place::Other))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        self.enter()?;
        let mut keys = HashSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            let place = self.place_of(&key);
            if !keys.insert(key) {
                return Err(self.refuse(JsonRule::DuplicateKey));
            }
            entries.next_value_seed(self.inner(place))?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;

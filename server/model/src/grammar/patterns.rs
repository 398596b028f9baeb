//! How many patterns a schema asks of one text at once.
//!
//! A text that must match several patterns is their intersection, whose derivative is a product of the ways in which each may go on: the
//! library counts its work between derivatives, and a single one of twenty patterns takes more memory than there is.

use super::GrammarError;
use serde_json::{Map, Value};

/// The most ways to go on in a text that must match several patterns, formats and bounds of its length: the product of those of each.
const MAX_BRANCHES: usize = 4096;
/// The ways to go on of a format, which is a pattern of the library's own.
const FORMAT_BRANCHES: usize = 16;
/// The most schemas that are looked at, those behind a reference as often as it is made.
const MAX_LOOKS: usize = 20_000;
/// The most references that are followed within each other.
const MAX_REFERENCES: usize = 64;

/// The most ways to hold for a schema that is several choices at once: each is an intersection of its own.
const MAX_WAYS: usize = 512;

/// Checks that no text of this schema must match several patterns at once that have more than [`MAX_BRANCHES`], or hold in more than
/// [`MAX_WAYS`] ways.
///
/// # Errors
/// [`GrammarError::TooComplex`]; [`GrammarError::Malformed`] for a reference that names no part of the schema.
pub(super) fn check(schema: &Value) -> Result<(), GrammarError> {
    let mut search = Search { root: schema, within: Vec::new(), looks: 0 };
    search.asked(schema).map(|_| ())
}

/// Not less than what a schema asks of one text, be it a part's: parts of two schemas that hold at once may be of one text.
#[derive(Clone, Copy)]
struct Asked {
    /// The ways to go on in it, with one pattern or several at once.
    branches: usize,
    /// In how many ways it may hold.
    ways: usize,
}

const NOTHING: Asked = Asked { branches: 1, ways: 1 };

impl Asked {
    /// Both at once.
    fn and(self, other: Self) -> Result<Self, GrammarError> {
        let branches = product(self.branches, other.branches, MAX_BRANCHES)?;
        Ok(Self { branches, ways: product(self.ways, other.ways, MAX_WAYS)? })
    }

    /// Either of both.
    fn or(self, other: Self) -> Self {
        Self { branches: self.branches.max(other.branches), ways: self.ways.saturating_add(other.ways) }
    }

    /// Both, of different texts.
    fn beside(self, other: Self) -> Self {
        Self { branches: self.branches.max(other.branches), ways: self.ways.max(other.ways) }
    }
}

struct Search<'a> {
    root: &'a Value,
    /// The references that are being followed. One that is met again within asks of another text, or of the same nothing new.
    within: Vec<&'a str>,
    looks: usize,
}

impl<'a> Search<'a> {
    fn asked(&mut self, schema: &'a Value) -> Result<Asked, GrammarError> {
        self.looks += 1;
        if self.looks > MAX_LOOKS {
            return Err(GrammarError::TooComplex);
        }
        let Value::Object(keys) = schema else { return Ok(NOTHING) };
        let mut whole = own(keys)?;
        let (mut named, mut parts) = (NOTHING, NOTHING);
        for (key, value) in keys {
            match (key.as_str(), value) {
                ("$ref", Value::String(name)) => whole = whole.and(self.referred(name)?)?,
                ("allOf", Value::Array(all)) => whole = whole.and(self.all(all.iter())?)?,
                ("anyOf" | "oneOf", Value::Array(any)) => {
                    let none = Asked { ways: 0, ..NOTHING };
                    let any = any.iter().try_fold(none, |asked, next| Ok(asked.or(self.asked(next)?)))?;
                    whole = whole.and(any)?;
                }
                ("properties", Value::Object(names)) => named = named.and(self.each(names.values())?)?,
                // A name may match each of them.
                ("patternProperties", Value::Object(names)) => {
                    named = named.and(self.all(names.values())?)?
                }
                ("prefixItems" | "items", Value::Array(items)) => {
                    parts = parts.beside(self.each(items.iter())?)
                }
                ("items" | "additionalItems" | "additionalProperties", value) => {
                    parts = parts.beside(self.asked(value)?);
                }
                _ => {}
            }
        }
        // Where another schema holds at once, its parts meet these.
        Ok(whole.beside(named).beside(parts))
    }

    fn all(&mut self, schemas: impl Iterator<Item = &'a Value>) -> Result<Asked, GrammarError> {
        let mut schemas = schemas;
        schemas.try_fold(NOTHING, |asked, next| asked.and(self.asked(next)?))
    }

    fn each(&mut self, schemas: impl Iterator<Item = &'a Value>) -> Result<Asked, GrammarError> {
        let mut schemas = schemas;
        schemas.try_fold(NOTHING, |asked, next| Ok(asked.beside(self.asked(next)?)))
    }

    fn referred(&mut self, name: &'a str) -> Result<Asked, GrammarError> {
        if self.within.contains(&name) {
            return Ok(NOTHING);
        }
        if self.within.len() == MAX_REFERENCES {
            return Err(GrammarError::TooComplex);
        }
        let pointer = name.strip_prefix('#').ok_or(GrammarError::Malformed)?;
        let schema = self.root.pointer(pointer).ok_or(GrammarError::Malformed)?;
        self.within.push(name);
        let asked = self.asked(schema)?;
        self.within.pop();
        Ok(asked)
    }
}

/// What a schema itself asks of a text.
fn own(keys: &Map<String, Value>) -> Result<Asked, GrammarError> {
    let mut own = match keys.get("pattern") {
        Some(Value::String(text)) => pattern(text),
        _ => NOTHING,
    };
    if keys.contains_key("format") {
        own = own.and(Asked { branches: FORMAT_BRANCHES, ..NOTHING })?;
    }
    if keys.contains_key("minLength") || keys.contains_key("maxLength") {
        own = own.and(pattern(""))?;
    }
    Ok(own)
}

/// One way on and one to stop, and one more for each choice and repetition.
fn pattern(text: &str) -> Asked {
    let choices = text.bytes().filter(|byte| b"|*+?{".contains(byte)).count();
    Asked { branches: 2 + choices, ..NOTHING }
}

/// The product of two numbers of ways; of one way and others, however many, it is the others.
fn product(one: usize, other: usize, limit: usize) -> Result<usize, GrammarError> {
    let product = one.saturating_mul(other);
    if one > 1 && other > 1 && product > limit { Err(GrammarError::TooComplex) } else { Ok(product) }
}

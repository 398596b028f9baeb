//! The metadata with the types that its readers ask for.

use crate::error::LoadError;
use anchorhold_sealed_weights::{Gguf, GgufValue};

/// The metadata of a file. A value of another type than asked for is an error, an absent one is none.
pub(crate) struct Metadata<'a>(&'a Gguf<'a>);

impl<'a> Metadata<'a> {
    pub(crate) fn of(header: &'a Gguf<'a>) -> Self {
        Self(header)
    }

    /// The keys, in the order of the file.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.0.metadata().iter().map(|(key, _)| *key)
    }

    pub(crate) fn get(&self, key: &str) -> Option<GgufValue<'a>> {
        self.0.get(key)
    }

    pub(crate) fn text(&self, key: &str) -> Result<Option<&'a str>, LoadError> {
        self.as_type(key, |value| if let GgufValue::Text(text) = value { Some(text) } else { None })
    }

    pub(crate) fn bool(&self, key: &str) -> Result<Option<bool>, LoadError> {
        self.as_type(key, |value| if let GgufValue::Bool(on) = value { Some(on) } else { None })
    }

    pub(crate) fn float(&self, key: &str) -> Result<Option<f64>, LoadError> {
        self.as_type(key, |value| if let GgufValue::Float(float) = value { Some(float) } else { None })
    }

    /// A number that counts something; writers use any integer type.
    pub(crate) fn count(&self, key: &str) -> Result<Option<u64>, LoadError> {
        self.as_type(key, |value| match value {
            GgufValue::Unsigned(number) => Some(number),
            GgufValue::Signed(number) => u64::try_from(number).ok(),
            _ => None,
        })
    }

    pub(crate) fn texts(&self, key: &str) -> Result<Option<Vec<&'a str>>, LoadError> {
        self.as_type(key, |value| match value {
            GgufValue::Array { element_type: 8, count, bytes } => texts(count, bytes),
            _ => None,
        })
    }

    /// An array of 32-bit integers without a negative one, of either type.
    pub(crate) fn counts(&self, key: &str) -> Result<Option<Vec<u32>>, LoadError> {
        self.as_type(key, |value| match value {
            GgufValue::Array { element_type: 4 | 5, bytes, .. } => {
                let counts = bytes.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes));
                counts.map(|count| i32::try_from(count).ok()?.try_into().ok()).collect()
            }
            _ => None,
        })
    }

    /// An array of 32-bit floats.
    pub(crate) fn floats(&self, key: &str) -> Result<Option<Vec<f32>>, LoadError> {
        self.as_type(key, |value| match value {
            GgufValue::Array { element_type: 6, bytes, .. } => {
                Some(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
            }
            _ => None,
        })
    }

    fn as_type<T>(
        &self,
        key: &str,
        typed: impl FnOnce(GgufValue<'a>) -> Option<T>,
    ) -> Result<Option<T>, LoadError> {
        let value =
            self.get(key).map(|value| typed(value).ok_or(LoadError::Metadata("a value is of another type")));
        value.transpose()
    }
}

/// `count` texts, each after its length, which the parser has checked.
fn texts(count: usize, bytes: &[u8]) -> Option<Vec<&str>> {
    let mut texts = Vec::new();
    let mut rest = bytes;
    for _ in 0..count {
        let (len, tail) = rest.split_first_chunk::<8>()?;
        let (text, tail) = tail.split_at_checked(usize::try_from(u64::from_le_bytes(*len)).ok()?)?;
        texts.push(std::str::from_utf8(text).ok()?);
        rest = tail;
    }
    Some(texts)
}

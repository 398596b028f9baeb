//! What an answer tells of its tokens, in the shapes of the two routes.

use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, SerializeStruct as _, Serializer};
use std::collections::HashSet;
use std::fmt;

/// What `OpenAI` writes for a token that is as good as impossible.
const LEAST: f32 = -9999.0;

/// A token of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// Its bytes and its logarithm of the probability.
    pub own: Spelled,
    /// The likeliest in its place, likeliest first.
    pub top: Vec<Spelled>,
}

/// Bytes, which need not be whole characters, and the natural logarithm of a probability.
#[derive(Clone, PartialEq)]
pub struct Spelled {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// At most 0.
    pub logprob: f32,
}

impl fmt::Debug for Spelled {
    /// Without the caller's text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spelled").field("bytes", &self.bytes.len()).field("logprob", &self.logprob).finish()
    }
}

impl Spelled {
    fn logprob(&self) -> f32 {
        self.logprob.max(LEAST)
    }

    /// The text, or the bytes as `\xe2` where they are not whole characters.
    fn text(&self) -> String {
        match std::str::from_utf8(&self.bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => self.bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect(),
        }
    }

    /// As the older route writes it.
    fn key(&self) -> String {
        match std::str::from_utf8(&self.bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => format!("bytes:{}", self.text()),
        }
    }

    /// Characters that begin in it.
    fn characters(&self) -> usize {
        self.bytes.iter().filter(|byte| !matches!(byte, 0x80..=0xBF)).count()
    }
}

/// How many characters of an answer begin in these tokens.
#[must_use]
pub fn characters(tokens: &[Token]) -> usize {
    tokens.iter().map(|token| token.own.characters()).sum()
}

/// As chat tells it: `{"content": [..], "refusal": null}`.
pub(crate) struct ChatLogprobs<'a>(pub(crate) &'a [Token]);

/// The list alone, as `/v1/responses` tells it too.
pub(crate) struct Content<'a>(pub(crate) &'a [Token]);

struct ChatToken<'a> {
    spelled: &'a Spelled,
    top: Option<&'a [Spelled]>,
}

impl Serialize for ChatLogprobs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("logprobs", 2)?;
        object.serialize_field("content", &Content(self.0))?;
        object.serialize_field("refusal", &None::<()>)?;
        object.end()
    }
}

impl Serialize for Content<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for token in self.0 {
            list.serialize_element(&ChatToken { spelled: &token.own, top: Some(&token.top) })?;
        }
        list.end()
    }
}

impl Serialize for ChatToken<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("token", &self.spelled.text())?;
        object.serialize_entry("logprob", &self.spelled.logprob())?;
        object.serialize_entry("bytes", &self.spelled.bytes)?;
        if let Some(top) = self.top {
            let top: Vec<_> = top.iter().map(|spelled| ChatToken { spelled, top: None }).collect();
            object.serialize_entry("top_logprobs", &top)?;
        }
        object.end()
    }
}

/// As completions tell it: four lists beside each other.
pub(crate) struct TextLogprobs<'a> {
    pub(crate) tokens: &'a [Token],
    /// Characters of the text before them.
    pub(crate) offset: usize,
}

impl Serialize for TextLogprobs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let texts: Vec<String> = self.tokens.iter().map(|token| token.own.key()).collect();
        let logprobs: Vec<f32> = self.tokens.iter().map(|token| token.own.logprob()).collect();
        let offsets = self.tokens.iter().scan(self.offset, |offset, token| {
            let start = *offset;
            *offset += token.own.characters();
            Some(start)
        });
        let top: Vec<TopOf<'_>> = self.tokens.iter().map(TopOf).collect();
        let mut object = serializer.serialize_struct("logprobs", 4)?;
        object.serialize_field("tokens", &texts)?;
        object.serialize_field("token_logprobs", &logprobs)?;
        object.serialize_field("top_logprobs", &top)?;
        object.serialize_field("text_offset", &offsets.collect::<Vec<_>>())?;
        object.end()
    }
}

/// A map from texts to logarithms: the likeliest, and the token itself where it is not among them. Of two with one text, the first.
struct TopOf<'a>(&'a Token);

impl Serialize for TopOf<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (mut map, mut seen) = (serializer.serialize_map(None)?, HashSet::new());
        for spelled in self.0.top.iter().chain([&self.0.own]) {
            let key = spelled.key();
            if !seen.contains(&key) {
                map.serialize_entry(&key, &spelled.logprob())?;
                seen.insert(key);
            }
        }
        map.end()
    }
}

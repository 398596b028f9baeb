//! Stream events: one JSON object in each, always on one line.

use crate::logprobs::{ChatLogprobs, TextLogprobs, Token};
use crate::{ApiError, Finish, Head, Usage};
use serde::Serialize;
use std::fmt;

/// The last event of a stream that ended well.
pub const DONE: &str = "data: [DONE]\n\n";

/// Which of the two streaming routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Completion,
}

/// Writes the events of one stream.
#[derive(Debug, Clone)]
pub struct Frames {
    surface: Surface,
    head: Head,
    include_usage: bool,
}

#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: Vec<ChunkChoice<'a>>,
    system_fingerprint: Option<&'a str>,
    /// Absent unless usage was asked for, then null up to the last chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
}

#[derive(Serialize)]
struct ChunkChoice<'a> {
    index: usize,
    #[serde(flatten)]
    piece: Piece<'a>,
    logprobs: Option<Logprobs<'a>>,
    finish_reason: Option<Finish>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Piece<'a> {
    Delta(Delta<'a>),
    Text(&'a str),
}

#[derive(Serialize)]
#[serde(untagged)]
enum Logprobs<'a> {
    Chat(ChatLogprobs<'a>),
    Completion(TextLogprobs<'a>),
}

/// More of one choice.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    /// The text.
    pub text: &'a str,
    /// Tokens that are told now.
    pub tokens: &'a [Token],
    /// Characters that began in the tokens that were told of this choice before.
    pub offset: usize,
}

impl fmt::Debug for Part<'_> {
    /// Without the caller's text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part")
            .field("text", &self.text.len())
            .field("tokens", &self.tokens.len())
            .field("offset", &self.offset)
            .finish()
    }
}

#[derive(Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

impl Frames {
    /// For one answer.
    #[must_use]
    pub fn new(surface: Surface, head: Head, include_usage: bool) -> Self {
        Self { surface, head, include_usage }
    }

    /// What comes first of choice `index`: the role, where the surface has one.
    #[must_use]
    pub fn opening(&self, index: usize) -> Option<String> {
        (self.surface == Surface::Chat).then(|| {
            let delta = Delta { role: Some("assistant"), content: Some("") };
            self.chunk(vec![choice(index, Piece::Delta(delta), None)], None)
        })
    }

    /// More of choice `index`.
    #[must_use]
    pub fn delta(&self, index: usize, part: Part<'_>) -> String {
        let Part { text, tokens, offset } = part;
        let (piece, logprobs) = match self.surface {
            Surface::Chat => (
                Piece::Delta(Delta { role: None, content: Some(text) }),
                Logprobs::Chat(ChatLogprobs(tokens)),
            ),
            Surface::Completion => (Piece::Text(text), Logprobs::Completion(TextLogprobs { tokens, offset })),
        };
        let logprobs = (!tokens.is_empty()).then_some(logprobs);
        self.chunk(vec![ChunkChoice { logprobs, ..choice(index, piece, None) }], None)
    }

    /// The end of choice `index`.
    #[must_use]
    pub fn finish(&self, index: usize, reason: Finish) -> String {
        let piece = match self.surface {
            Surface::Chat => Piece::Delta(Delta::default()),
            Surface::Completion => Piece::Text(""),
        };
        self.chunk(vec![choice(index, piece, Some(reason))], None)
    }

    /// The usage, when it was asked for: without choices, the last event before [`DONE`].
    #[must_use]
    pub fn usage(&self, usage: Usage) -> Option<String> {
        self.include_usage.then(|| self.chunk(Vec::new(), Some(usage)))
    }

    fn chunk(&self, choices: Vec<ChunkChoice<'_>>, usage: Option<Usage>) -> String {
        let object = match self.surface {
            Surface::Chat => "chat.completion.chunk",
            Surface::Completion => "text_completion",
        };
        let chunk = Chunk {
            id: &self.head.id,
            object,
            created: self.head.created,
            model: &self.head.model,
            choices,
            system_fingerprint: None,
            usage: self.include_usage.then_some(usage),
        };
        let json = serde_json::to_string(&chunk).expect("plain structs with string keys are always JSON");
        format!("data: {json}\n\n")
    }
}

fn choice(index: usize, piece: Piece<'_>, finish_reason: Option<Finish>) -> ChunkChoice<'_> {
    ChunkChoice { index, piece, logprobs: None, finish_reason }
}

/// The event that ends a stream which broke after its first byte.
#[must_use]
pub fn error_event(error: &ApiError) -> String {
    format!("event: error\ndata: {}\n\n", error.to_json())
}

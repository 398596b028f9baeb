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

/// Writes the events of one stream, one or several at a time.
pub trait Frames: Send {
    /// What comes before anything else, for so many choices.
    fn begin(&mut self, choices: usize) -> Vec<String>;

    /// More of choice `index`.
    fn delta(&mut self, index: usize, part: Part<'_>) -> Vec<String>;

    /// A part of a call of choice `index`.
    fn call(&mut self, index: usize, part: CallDelta<'_>) -> Vec<String>;

    /// The end of choice `index`.
    fn finish(&mut self, index: usize, reason: Finish) -> Vec<String>;

    /// The end of the last choice.
    fn end(&mut self, usage: Usage) -> Ending;

    /// The end of a stream that broke after its first byte.
    fn failed(&mut self, error: &ApiError) -> String;
}

/// How a stream ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// What comes before the last event.
    pub before: Option<String>,
    /// The event that says that all went well.
    pub last: String,
}

/// A part of a call.
#[derive(Clone, Copy)]
pub enum CallDelta<'a> {
    /// A call with this id of the tool of this name begins.
    Begin {
        /// The call's id.
        id: &'a str,
        /// The tool's name.
        name: &'a str,
    },
    /// More of its arguments.
    Arguments(&'a str),
}

/// Writes the events of the two routes with choices.
#[derive(Debug, Clone)]
pub struct ChoiceFrames {
    surface: Surface,
    head: Head,
    include_usage: bool,
    /// Of each choice, how many calls began.
    calls: Vec<usize>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[CallChunk<'a>; 1]>,
}

#[derive(Default, Serialize)]
struct CallChunk<'a> {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    function: FunctionChunk<'a>,
}

#[derive(Default, Serialize)]
struct FunctionChunk<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

impl ChoiceFrames {
    /// For one answer.
    #[must_use]
    pub fn new(surface: Surface, head: Head, include_usage: bool) -> Self {
        Self { surface, head, include_usage, calls: Vec::new() }
    }

    fn one(&self, choice: ChunkChoice<'_>) -> Vec<String> {
        vec![self.chunk(vec![choice], None)]
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

impl Frames for ChoiceFrames {
    /// The role of each choice, where the surface has one.
    fn begin(&mut self, choices: usize) -> Vec<String> {
        self.calls = vec![0; choices];
        let role = |index| {
            let delta = Delta { role: Some("assistant"), content: Some(""), tool_calls: None };
            self.chunk(vec![choice(index, Piece::Delta(delta), None)], None)
        };
        if self.surface == Surface::Chat { (0..choices).map(role).collect() } else { Vec::new() }
    }

    fn delta(&mut self, index: usize, part: Part<'_>) -> Vec<String> {
        let Part { text, tokens, offset } = part;
        let (piece, logprobs) = match self.surface {
            Surface::Chat => (
                Piece::Delta(Delta { content: Some(text), ..Delta::default() }),
                Logprobs::Chat(ChatLogprobs(tokens)),
            ),
            Surface::Completion => (Piece::Text(text), Logprobs::Completion(TextLogprobs { tokens, offset })),
        };
        let logprobs = (!tokens.is_empty()).then_some(logprobs);
        self.one(ChunkChoice { logprobs, ..choice(index, piece, None) })
    }

    fn call(&mut self, index: usize, part: CallDelta<'_>) -> Vec<String> {
        let Some(begun) = self.calls.get_mut(index) else { return Vec::new() };
        let chunk = match part {
            CallDelta::Begin { id, name } => {
                *begun += 1;
                let function = FunctionChunk { name: Some(name), arguments: "" };
                CallChunk { index: *begun - 1, id: Some(id), kind: Some("function"), function }
            }
            CallDelta::Arguments(arguments) => {
                let function = FunctionChunk { name: None, arguments };
                CallChunk { index: begun.saturating_sub(1), function, ..CallChunk::default() }
            }
        };
        let delta = Delta { tool_calls: Some([chunk]), ..Delta::default() };
        self.one(choice(index, Piece::Delta(delta), None))
    }

    fn finish(&mut self, index: usize, reason: Finish) -> Vec<String> {
        let piece = match self.surface {
            Surface::Chat => Piece::Delta(Delta::default()),
            Surface::Completion => Piece::Text(""),
        };
        self.one(choice(index, piece, Some(reason)))
    }

    /// The usage, when it was asked for, is an event without choices.
    fn end(&mut self, usage: Usage) -> Ending {
        let before = self.include_usage.then(|| self.chunk(Vec::new(), Some(usage)));
        Ending { before, last: DONE.to_owned() }
    }

    fn failed(&mut self, error: &ApiError) -> String {
        error_event(error)
    }
}

fn choice(index: usize, piece: Piece<'_>, finish_reason: Option<Finish>) -> ChunkChoice<'_> {
    ChunkChoice { index, piece, logprobs: None, finish_reason }
}

/// The event that ends a stream which broke after its first byte.
#[must_use]
fn error_event(error: &ApiError) -> String {
    format!("event: error\ndata: {}\n\n", error.to_json())
}

//! A conversation, with the tools that its model may call.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What was said, and what may be called.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// What was said, in order.
    pub messages: Vec<ChatMessage>,
    /// What may be called; none where the model is not to call.
    pub tools: Vec<Tool>,
    /// Whether and how often.
    pub calling: Calling,
}

/// One message of a conversation.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// `system`, `developer`, `user`, `assistant` or `tool`.
    pub role: String,
    /// The text.
    pub content: String,
    /// What the assistant called.
    pub calls: Vec<ToolCall>,
    /// Which call a tool answers.
    pub answers: Option<CallName>,
}

/// A call that was made.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The name of the call itself.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// A JSON object.
    pub arguments: String,
}

/// A call, by its names.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallName {
    /// The name of the call itself.
    pub id: String,
    /// The tool's name.
    pub tool: String,
}

/// A tool that may be called.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// Its name, of ASCII letters, digits, `_` and `-`.
    pub name: String,
    /// A JSON object as chat templates expect it: `{"type": "function", "function": {"name", "description", "parameters"}}`.
    pub json: String,
    /// Whether its arguments must fit their schema.
    pub strict: bool,
}

/// Whether and how often tools are called.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calling {
    /// Whether.
    pub must: MustCall,
    /// At most one call in one answer.
    pub once: bool,
}

/// Whether an answer must be calls.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MustCall {
    /// As the model likes.
    #[default]
    No,
    /// At least one, of any tool.
    Any,
    /// Of the tool of this name.
    Named(String),
}

impl ChatMessage {
    /// Plain text.
    #[must_use]
    pub fn text(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into(), calls: Vec::new(), answers: None }
    }

    /// Bytes of all that it says.
    #[must_use]
    pub fn len(&self) -> usize {
        let calls = self.calls.iter().map(|call| call.id.len() + call.name.len() + call.arguments.len());
        let answers = self.answers.as_ref().map_or(0, |call| call.id.len() + call.tool.len());
        self.role.len() + self.content.len() + calls.sum::<usize>() + answers
    }

    /// Whether it says nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Conversation {
    /// Bytes of all that is said and may be called.
    #[must_use]
    pub fn len(&self) -> usize {
        let tools = self.tools.iter().map(|tool| tool.json.len());
        self.messages.iter().map(ChatMessage::len).sum::<usize>() + tools.sum::<usize>()
    }

    /// Whether nothing was said and nothing may be called.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.tools.is_empty()
    }
}

impl Calling {
    /// Whether the tool to call is named.
    #[must_use]
    pub fn must_be_named(&self) -> bool {
        matches!(self.must, MustCall::Named(_))
    }
}

impl From<Vec<ChatMessage>> for Conversation {
    /// Without tools.
    fn from(messages: Vec<ChatMessage>) -> Self {
        Self { messages, ..Self::default() }
    }
}

// None of these shows any text of the caller.

impl fmt::Debug for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chat({} messages, {} tools)", self.messages.len(), self.tools.len())
    }
}

impl fmt::Debug for ChatMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChatMessage({} bytes, {} calls)", self.content.len(), self.calls.len())
    }
}

impl fmt::Debug for ToolCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ToolCall({} bytes)", self.arguments.len())
    }
}

impl fmt::Debug for CallName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallName")
    }
}

impl fmt::Debug for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tool({} bytes)", self.json.len())
    }
}

impl fmt::Debug for MustCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::No => "No",
            Self::Any => "Any",
            Self::Named(_) => "Named",
        })
    }
}

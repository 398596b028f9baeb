//! How models write that they call a tool: a closed list of syntaxes, and the reader of an answer that may hold calls.

mod object;
mod stream;

pub use stream::{CallStream, Said};

use crate::template::ChatTemplate;
use anchorhold_engine::{CallName, Calling, ChatMessage, Conversation, Tool, ToolCall};

/// How a model writes a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallSyntax {
    /// `<tool_call>{"name": .., "arguments": {..}}</tool_call>`, any number of times, before or after text. Hermes, Qwen.
    Hermes,
    /// `{"name": .., "parameters": {..}}` and nothing else, once. Llama 3.1.
    Llama,
    /// `[TOOL_CALLS][{"name": .., "arguments": {..}}, ..]` after text. Mistral, before its tekken tokenizers of version 11.
    Mistral,
}

impl CallSyntax {
    /// What begins calls, where something does. Some vocabularies have a special token for it, whose text answers do not show.
    #[must_use]
    pub fn opening(self) -> Option<&'static str> {
        match self {
            Self::Hermes => Some("<tool_call>"),
            Self::Llama => None,
            Self::Mistral => Some("[TOOL_CALLS]"),
        }
    }

    /// What ends a call.
    pub(crate) fn closing(self) -> Option<&'static str> {
        match self {
            Self::Hermes => Some("</tool_call>"),
            Self::Llama | Self::Mistral => None,
        }
    }

    /// What the arguments are called.
    pub(crate) fn arguments(self) -> &'static str {
        match self {
            Self::Hermes | Self::Mistral => "arguments",
            Self::Llama => "parameters",
        }
    }

    /// Whether no answer has more than one call: Llama's template refuses conversations with such answers.
    pub(crate) fn calls_once(self) -> bool {
        self == Self::Llama
    }

    /// The syntax in which this template writes a call, if it shows tools to the model at all and the syntax is of the list.
    pub(crate) fn of(template: &ChatTemplate) -> Option<Self> {
        let mut conversation = Conversation {
            messages: vec![ChatMessage::text("user", "question")],
            tools: vec![Tool { name: PROBE.into(), json: probe_tool(), strict: false }],
            calling: Calling::default(),
        };
        if !template.render(&conversation).ok()?.contains(PROBE) {
            return None;
        }
        let call = ToolCall { id: PROBE_ID.into(), name: PROBE.into(), arguments: PROBE_ARGUMENTS.into() };
        let mut calls = ChatMessage::text("assistant", "");
        calls.calls.push(call);
        let mut answer = ChatMessage::text("tool", "answer");
        answer.answers = Some(CallName { id: PROBE_ID.into(), tool: PROBE.into() });
        conversation.messages.extend([calls, answer]);
        Self::written(&template.render(&conversation).ok()?)
    }

    /// The syntax of the call in this prompt.
    fn written(prompt: &str) -> Option<Self> {
        let (before, _) = prompt.split_once(PROBE_KEY)?;
        let before: String = before.chars().filter(|character| !character.is_whitespace()).collect();
        // The longer ones first: a call of Llama is the end of one of another syntax that is not of the list.
        [Self::Hermes, Self::Mistral, Self::Llama].into_iter().find(|syntax| {
            let list = if *syntax == Self::Mistral { "[" } else { "" };
            let opening = syntax.opening().unwrap_or_default();
            let call = format!("{opening}{list}{{\"name\":\"{PROBE}\",\"{}\":{{", syntax.arguments());
            before.ends_with(&call)
        })
    }
}

/// A tool that no template names by itself.
const PROBE: &str = "anchorhold_probe";
/// Mistral's templates take ids of nine letters and digits only.
const PROBE_ID: &str = "probe0000";
const PROBE_ARGUMENTS: &str = r#"{"anchorhold_key": 1}"#;
const PROBE_KEY: &str = r#""anchorhold_key""#;

fn probe_tool() -> String {
    format!(
        r#"{{"type": "function", "function": {{"name": "{PROBE}", "description": "", "parameters": {{"type": "object", "properties": {{}}}}}}}}"#
    )
}

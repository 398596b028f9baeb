//! The texts of a conversation in which special tokens are broken before the template sees them.

use super::{TextError, mark};
use crate::template::TemplateError;
use anchorhold_engine::{CallName, ChatMessage, Conversation, Tool, ToolCall};
use serde_json::Value;

/// A character that no text of the conversation has; JSON may spell it, and then has it too.
pub(super) fn mark_of(conversation: &Conversation) -> Result<char, TextError> {
    let mut texts = Vec::new();
    let plain = shielded(conversation, |text| {
        texts.push(text.to_owned());
        String::new()
    });
    plain?;
    mark(texts.iter().map(String::as_str))
}

/// The conversation with each of its texts as `shield` gives it.
///
/// # Errors
/// [`TextError::Template`]: a tool, or the arguments of a call, are not JSON.
pub(super) fn shielded(
    conversation: &Conversation,
    mut shield: impl FnMut(&str) -> String,
) -> Result<Conversation, TextError> {
    let mut messages = Vec::with_capacity(conversation.messages.len());
    for message in &conversation.messages {
        let mut calls = Vec::with_capacity(message.calls.len());
        for call in &message.calls {
            let arguments = json(&call.arguments, &mut shield)?;
            calls.push(ToolCall { id: shield(&call.id), name: shield(&call.name), arguments });
        }
        messages.push(ChatMessage {
            role: shield(&message.role),
            content: shield(&message.content),
            calls,
            answers: message
                .answers
                .as_ref()
                .map(|call| CallName { id: shield(&call.id), tool: shield(&call.tool) }),
        });
    }
    let mut tools = Vec::with_capacity(conversation.tools.len());
    for tool in &conversation.tools {
        let json = json(&tool.json, &mut shield)?;
        tools.push(Tool { name: shield(&tool.name), json, strict: tool.strict });
    }
    Ok(Conversation { messages, tools, calling: conversation.calling.clone() })
}

fn json(text: &str, shield: &mut impl FnMut(&str) -> String) -> Result<String, TextError> {
    let failed = |_| TextError::Template(TemplateError::Failed);
    let mut value: Value = serde_json::from_str(text).map_err(failed)?;
    each_text(&mut value, shield);
    serde_json::to_string(&value).map_err(failed)
}

fn each_text(value: &mut Value, shield: &mut impl FnMut(&str) -> String) {
    match value {
        Value::String(text) => *text = shield(text),
        Value::Array(items) => items.iter_mut().for_each(|item| each_text(item, shield)),
        Value::Object(entries) => {
            *entries = std::mem::take(entries)
                .into_iter()
                .map(|(key, mut value)| {
                    each_text(&mut value, shield);
                    (shield(&key), value)
                })
                .collect();
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

//! A conversation as the templates of transformers expect it: a field that says nothing is not there.

use super::TemplateError;
use crate::calls::CallSyntax;
use anchorhold_engine::{ChatMessage, Conversation, ToolCall};
use minijinja::value::Value;

/// Letters and digits of an id in Mistral's conversations.
const MISTRAL_ID: usize = 9;

/// The messages, for a model that writes calls in this syntax.
///
/// # Errors
/// [`TemplateError::Failed`]: the arguments of a call are not JSON.
pub(super) fn messages(
    conversation: &Conversation,
    syntax: Option<CallSyntax>,
) -> Result<Vec<Value>, TemplateError> {
    conversation.messages.iter().map(|message| one(message, syntax)).collect()
}

/// The tools; none is none, as in transformers.
///
/// # Errors
/// [`TemplateError::Failed`]: a tool is not JSON.
pub(super) fn tools(conversation: &Conversation) -> Result<Value, TemplateError> {
    if conversation.tools.is_empty() {
        return Ok(Value::from(()));
    }
    let tools = conversation.tools.iter().map(|tool| json(&tool.json));
    Ok(Value::from(tools.collect::<Result<Vec<Value>, _>>()?))
}

fn one(message: &ChatMessage, syntax: Option<CallSyntax>) -> Result<Value, TemplateError> {
    let mut fields = vec![("role", Value::from(message.role.as_str()))];
    // Calls without a text have none, which is not the empty text to every template.
    let is_silent = !message.calls.is_empty() && message.content.is_empty();
    let content = if is_silent { Value::from(()) } else { Value::from(message.content.as_str()) };
    fields.push(("content", content));
    if !message.calls.is_empty() {
        let calls = message.calls.iter().map(|call| one_call(call, syntax));
        fields.push(("tool_calls", Value::from(calls.collect::<Result<Vec<Value>, _>>()?)));
    }
    if let Some(call) = &message.answers {
        fields.push(("name", Value::from(call.tool.as_str())));
        fields.push(("tool_call_id", Value::from(id(&call.id, syntax))));
    }
    Ok(Value::from_pairs(fields))
}

fn one_call(call: &ToolCall, syntax: Option<CallSyntax>) -> Result<Value, TemplateError> {
    let function = [("name", Value::from(call.name.as_str())), ("arguments", json(&call.arguments)?)];
    let fields = [
        ("id", Value::from(id(&call.id, syntax))),
        ("type", Value::from("function")),
        ("function", Value::from_pairs(function)),
    ];
    Ok(Value::from_pairs(fields))
}

/// An id as the template takes it. Mistral's refuse all that are not of nine letters and digits, so longer ones are known by their end.
fn id(id: &str, syntax: Option<CallSyntax>) -> &str {
    if syntax != Some(CallSyntax::Mistral) {
        return id;
    }
    id.len().checked_sub(MISTRAL_ID).and_then(|start| id.get(start..)).unwrap_or(id)
}

fn json(text: &str) -> Result<Value, TemplateError> {
    serde_json::from_str(text).map_err(|_| TemplateError::Failed)
}

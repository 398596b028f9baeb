//! The answer of `/v1/responses`: its items, and the events that tell of them as they grow.

use crate::json::{Object, Value};
use crate::logprobs::Content;
use crate::stream::{CallDelta, Ending, Frames, Part};
use crate::tools::{ToolCall, Tools};
use crate::{ApiError, Finish, Head, Token, Usage};
use serde_json::{Value as Json, json};
use std::fmt;

/// What an answer repeats of its request.
#[derive(Clone, PartialEq)]
pub struct ResponseSettings {
    pub(super) instructions: Option<String>,
    pub(super) max_output_tokens: Option<u32>,
    pub(super) temperature: f32,
    pub(super) top_p: f32,
    pub(super) tools: Tools,
    pub(super) format: Value,
    pub(super) top_logprobs: u8,
    pub(super) metadata: Object,
}

impl fmt::Debug for ResponseSettings {
    /// Without the caller's text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseSettings")
    }
}

/// Puts one answer together, and writes the events about it.
#[derive(Debug)]
pub struct ResponseFrames {
    head: Head,
    settings: ResponseSettings,
    sequence: u64,
    /// Items that are whole, and the one that grows.
    items: Vec<Item>,
    /// Whether the last item grows.
    is_open: bool,
    finish: Finish,
}

enum Item {
    Message { text: String, tokens: Vec<Token> },
    Call(ToolCall),
}

impl fmt::Debug for Item {
    /// Without the text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Message { .. } => "Message",
            Self::Call(_) => "Call",
        })
    }
}

impl Item {
    fn json(&self, id: &str, status: &str) -> Json {
        match self {
            Self::Message { .. } if status == "in_progress" => {
                json!({"id": id, "type": "message", "status": status, "role": "assistant", "content": []})
            }
            Self::Message { text, tokens } => json!({
                "id": id, "type": "message", "status": status, "role": "assistant", "content": [part(text, tokens)],
            }),
            Self::Call(ToolCall { id: call_id, name, arguments }) => json!({
                "id": id, "type": "function_call", "status": status, "call_id": call_id, "name": name, "arguments": arguments,
            }),
        }
    }
}

fn part(text: &str, tokens: &[Token]) -> Json {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": Content(tokens)})
}

impl ResponseFrames {
    /// For one answer.
    #[must_use]
    pub fn new(head: Head, settings: ResponseSettings) -> Self {
        Self { head, settings, sequence: 0, items: Vec::new(), is_open: false, finish: Finish::Stop }
    }

    /// The whole answer.
    #[must_use]
    pub fn whole(&self, usage: Usage) -> Vec<u8> {
        self.response(self.status(), Some(usage), None).to_string().into_bytes()
    }

    fn status(&self) -> &'static str {
        if self.finish == Finish::Length { "incomplete" } else { "completed" }
    }

    fn response(&self, status: &str, usage: Option<Usage>, error: Option<&ApiError>) -> Json {
        let ResponseSettings { instructions, max_output_tokens, temperature, top_p, tools, .. } =
            &self.settings;
        let item = |(at, item): (usize, &Item)| {
            let is_cut = status == "incomplete" && at + 1 == self.items.len();
            item.json(&self.item_id(at), if is_cut { "incomplete" } else { "completed" })
        };
        let output: Vec<Json> = self.items.iter().enumerate().map(item).collect();
        let list = tools.list.iter().map(|tool| {
            let parameters = tool.parameters.as_ref().and_then(|text| serde_json::from_str::<Json>(text).ok());
            json!({"type": "function", "name": tool.name, "description": tool.description, "parameters": parameters, "strict": tool.strict})
        });
        json!({
            "id": self.head.id, "object": "response", "created_at": self.head.created, "status": status, "model": self.head.model,
            "background": false, "store": false, "previous_response_id": null, "truncation": "disabled", "service_tier": "default",
            "error": error.map(|error| json!({"code": "server_error", "message": error.message()})),
            "incomplete_details": (status == "incomplete").then(|| json!({"reason": "max_output_tokens"})),
            "instructions": instructions, "max_output_tokens": max_output_tokens, "max_tool_calls": null,
            "metadata": Value::Object(self.settings.metadata.clone()),
            "output": if status == "in_progress" { Vec::new() } else { output },
            "parallel_tool_calls": tools.parallel, "reasoning": {"effort": null, "summary": null},
            "temperature": temperature, "top_p": top_p, "top_logprobs": self.settings.top_logprobs,
            "text": {"format": self.settings.format}, "tool_choice": tools.choice.flat(), "tools": list.collect::<Vec<Json>>(),
            "usage": usage.map(Usage::of_response), "user": null,
        })
    }

    /// The id of an item, by its place.
    fn item_id(&self, at: usize) -> String {
        let kind = match self.items.get(at) {
            Some(Item::Call(_)) => "fc",
            _ => "msg",
        };
        format!("{kind}_{}_{at}", self.head.id.trim_start_matches("resp_"))
    }

    fn event(&mut self, kind: &str, mut event: Json) -> String {
        if let Json::Object(fields) = &mut event {
            fields.insert("type".to_owned(), kind.into());
            fields.insert("sequence_number".to_owned(), self.sequence.into());
        }
        self.sequence += 1;
        format!("event: {kind}\ndata: {event}\n\n")
    }

    /// An event about the last item.
    fn about(&mut self, kind: &str, mut event: Json) -> String {
        let at = self.items.len().saturating_sub(1);
        let is_text = matches!(self.items.last(), Some(Item::Message { .. }));
        if let Json::Object(fields) = &mut event {
            fields.insert("output_index".to_owned(), at.into());
            if !fields.contains_key("item") {
                fields.insert("item_id".to_owned(), self.item_id(at).into());
                if is_text {
                    fields.insert("content_index".to_owned(), 0.into());
                }
            }
        }
        self.event(kind, event)
    }

    /// Begins an item, after the one before it has ended.
    fn open(&mut self, item: Item) -> Vec<String> {
        let mut events = self.close("completed");
        let is_text = matches!(item, Item::Message { .. });
        self.items.push(item);
        self.is_open = true;
        let id = self.item_id(self.items.len() - 1);
        let item = self.items.last().map(|item| item.json(&id, "in_progress"));
        events.push(self.about("response.output_item.added", json!({"item": item})));
        if is_text {
            events.push(self.about("response.content_part.added", json!({"part": part("", &[])})));
        }
        events
    }

    /// Ends the item that grows.
    fn close(&mut self, status: &str) -> Vec<String> {
        if !std::mem::take(&mut self.is_open) {
            return Vec::new();
        }
        let id = self.item_id(self.items.len().saturating_sub(1));
        let Some(item) = self.items.last() else { return Vec::new() };
        let done = json!({"item": item.json(&id, status)});
        let before = match item {
            Item::Message { text, tokens } => vec![
                ("response.output_text.done", json!({"text": text, "logprobs": Content(tokens)})),
                ("response.content_part.done", json!({"part": part(text, tokens)})),
            ],
            Item::Call(ToolCall { name, arguments, .. }) => {
                vec![("response.function_call_arguments.done", json!({"name": name, "arguments": arguments}))]
            }
        };
        let mut events: Vec<String> =
            before.into_iter().map(|(kind, event)| self.about(kind, event)).collect();
        events.push(self.about("response.output_item.done", done));
        events
    }
}

impl Frames for ResponseFrames {
    fn begin(&mut self, _choices: usize) -> Vec<String> {
        ["response.created", "response.in_progress"]
            .map(|kind| {
                let response = self.response("in_progress", None, None);
                self.event(kind, json!({"response": response}))
            })
            .into()
    }

    fn delta(&mut self, _index: usize, more: Part<'_>) -> Vec<String> {
        let mut events = Vec::new();
        if !(self.is_open && matches!(self.items.last(), Some(Item::Message { .. }))) {
            if more.text.is_empty() {
                // Tokens of a call, which has no place for them.
                return events;
            }
            events = self.open(Item::Message { text: String::new(), tokens: Vec::new() });
        }
        if let Some(Item::Message { text, tokens }) = self.items.last_mut() {
            text.push_str(more.text);
            tokens.extend_from_slice(more.tokens);
        }
        let delta = json!({"delta": more.text, "logprobs": Content(more.tokens)});
        events.push(self.about("response.output_text.delta", delta));
        events
    }

    fn call(&mut self, _index: usize, part: CallDelta<'_>) -> Vec<String> {
        match part {
            CallDelta::Begin { id, name } => {
                self.open(Item::Call(ToolCall::begun(id.to_owned(), name.to_owned())))
            }
            CallDelta::Arguments(more) => {
                let Some(Item::Call(call)) = self.items.last_mut() else { return Vec::new() };
                call.arguments.push_str(more);
                vec![self.about("response.function_call_arguments.delta", json!({"delta": more}))]
            }
        }
    }

    fn finish(&mut self, _index: usize, reason: Finish) -> Vec<String> {
        self.finish = reason;
        let mut events = Vec::new();
        if self.items.is_empty() {
            // An answer without a word is a message without a word.
            events = self.open(Item::Message { text: String::new(), tokens: Vec::new() });
        }
        events.extend(self.close(self.status()));
        events
    }

    fn end(&mut self, usage: Usage) -> Ending {
        let status = self.status();
        let response = self.response(status, Some(usage), None);
        let last = self.event(&format!("response.{status}"), json!({"response": response}));
        Ending { before: None, last }
    }

    fn failed(&mut self, error: &ApiError) -> String {
        let response = self.response("failed", None, Some(error));
        self.event("response.failed", json!({"response": response}))
    }
}

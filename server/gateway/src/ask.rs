//! What a worker is asked, in the words of its line.

use crate::flight::Worker;
use crate::words::random;
use anchorhold_api::{ApiError, FormKind, Generation, Input, Message, ToolChoice, Tools};
use anchorhold_ipc::{
    CallName, Calling, ChatMessage, Conversation, MustCall, Prompt, Sampling, StopRules, Structure, Tenancy,
    Tool, ToolCall, WorkKind,
};

/// The conversation, with the tools that may be called; with none where none may be.
pub(crate) fn conversation(messages: Vec<Message>, tools: Tools) -> Conversation {
    let call =
        |call: anchorhold_api::ToolCall| ToolCall { id: call.id, name: call.name, arguments: call.arguments };
    let message = |message: Message| ChatMessage {
        role: message.role.as_str().to_owned(),
        content: message.content,
        calls: message.calls.into_iter().map(call).collect(),
        answers: message.answers.map(|call| CallName { id: call.id, tool: call.name }),
    };
    let tool = |tool: &anchorhold_api::Tool| Tool {
        name: tool.name.clone(),
        json: tool.chat_json(),
        strict: tool.strict,
    };
    let offered = if tools.may_be_called() { tools.list.iter().map(tool).collect() } else { Vec::new() };
    let must = match tools.choice {
        ToolChoice::None | ToolChoice::Auto => MustCall::No,
        ToolChoice::Required => MustCall::Any,
        ToolChoice::Named(name) => MustCall::Named(name),
    };
    let calling = Calling { must, once: !tools.parallel };
    Conversation { messages: messages.into_iter().map(message).collect(), tools: offered, calling }
}

pub(crate) fn prompt(input: Input) -> Prompt {
    match input {
        Input::Text(text) => Prompt::Text(text),
        Input::Tokens(ids) => Prompt::Tokens(ids),
    }
}

/// Who is asked, for whom, and the field in which its tokens are limited.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) tenancy: Tenancy,
    pub(crate) limit_field: &'static str,
}

/// What the worker is asked for one prompt.
pub(crate) fn work(place: Place<'_>, prompt: Prompt, asked: &Generation) -> Result<WorkKind, ApiError> {
    let Place { worker, tenancy, limit_field } = place;
    let limit = worker.info.max_tokens;
    let max_tokens = asked.max_tokens.unwrap_or(0);
    if max_tokens > limit {
        return Err(ApiError::context_length(limit_field, max_tokens.into(), limit.into()));
    }
    let seed = match asked.seed {
        Some(seed) => seed,
        None => u64::from_le_bytes(random().ok_or_else(ApiError::internal)?),
    };
    let sampling = Sampling {
        temperature: asked.temperature,
        top_p: asked.top_p,
        top_k: asked.top_k,
        min_p: asked.min_p,
        repetition_penalty: asked.repetition_penalty,
        frequency_penalty: asked.frequency_penalty,
        presence_penalty: asked.presence_penalty,
        logit_bias: asked.logit_bias.clone(),
        seed,
    };
    let stop = StopRules {
        max_tokens,
        min_tokens: asked.min_tokens,
        stop_tokens: asked.stop_token_ids.clone(),
        stop: asked.stop.clone(),
        ignore_eos: asked.ignore_eos,
    };
    let structure = asked.form.as_ref().map(|form| Box::new(structure(form.kind.clone())));
    let (choices, logprobs) = (asked.n, asked.logprobs);
    Ok(WorkKind::Generate { tenancy, prompt, sampling, stop, choices, logprobs, structure })
}

fn structure(form: FormKind) -> Structure {
    match form {
        FormKind::JsonObject => Structure::JsonObject,
        FormKind::JsonSchema(schema) => Structure::JsonSchema(schema),
        FormKind::Regex(regex) => Structure::Regex(regex),
        FormKind::Choice(texts) => Structure::Choice(texts),
    }
}

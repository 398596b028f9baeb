//! `POST /tokenize` and `/detokenize`: the worker's own tokenizer answers, and no model computes anything.

use crate::ask::conversation;
use crate::exchange::{Answer, Exchange};
use crate::flight::{Update, Worker};
use crate::refuse::{self, Named};
use anchorhold_api::{ApiError, DetokenizeRequest, Source, TokenizeRequest, detokenized, tokenized};
use anchorhold_ipc::{Prompt, Specials, WorkKind};
use axum::extract::Request;
use std::sync::Arc;

pub(crate) async fn tokenize(exchange: &mut Exchange, request: Request) -> Result<Answer, ApiError> {
    exchange.admit()?;
    let body = exchange.body(request).await?;
    let asked = TokenizeRequest::parse(&body)?;
    drop(body);
    let worker = exchange.any_worker(&asked.model)?;
    let tenancy = exchange.tenancy();
    let (prompt, specials, field) = match asked.source {
        Source::Text { text, add_special_tokens: true } => (Prompt::Text(text), Specials::Added, "prompt"),
        Source::Text { text, add_special_tokens: false } => (Prompt::Text(text), Specials::Omitted, "prompt"),
        Source::Conversation { messages, tools } => {
            (Prompt::Chat(conversation(messages, tools)), Specials::Added, "messages")
        }
    };
    let work = WorkKind::Tokenize { tenancy, prompt, specials, spell: asked.return_token_strs };
    match ask(&worker, work, field).await? {
        Update::Tokenized { tokens, spelled }
            if spelled.as_ref().map(Vec::len) == asked.return_token_strs.then_some(tokens.len()) =>
        {
            Ok(Answer::Whole(tokenized(&tokens, spelled.as_deref(), worker.info.max_tokens)))
        }
        _ => Err(ApiError::internal()),
    }
}

pub(crate) async fn detokenize(exchange: &mut Exchange, request: Request) -> Result<Answer, ApiError> {
    exchange.admit()?;
    let body = exchange.body(request).await?;
    let asked = DetokenizeRequest::parse(&body)?;
    drop(body);
    let worker = exchange.any_worker(&asked.model)?;
    let work = WorkKind::Detokenize { tenancy: exchange.tenancy(), tokens: asked.tokens };
    match ask(&worker, work, "tokens").await? {
        Update::Detokenized { text } => Ok(Answer::Whole(detokenized(&text))),
        _ => Err(ApiError::internal()),
    }
}

/// The one event that ends such a request.
async fn ask(worker: &Arc<Worker>, work: WorkKind, field: &'static str) -> Result<Update, ApiError> {
    let mut flight = worker.submit(vec![work], 1).map_err(refuse::flight)?;
    match flight.next().await.map_err(refuse::flight)?.1 {
        Update::Failed(error) => Err(refuse::worker(&error, Named { prompt: field, form: "" })),
        update => Ok(update),
    }
}

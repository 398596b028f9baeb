//! The three routes that ask a model: from the body to the worker and back.

use crate::exchange::{Answer, Exchange};
use crate::flight::{Flight, Tokens, Update, Worker};
use crate::refuse;
use crate::stream::Run;
use crate::words::{random, unix_seconds};
use anchorhold_api::{
    ApiError, ChatRequest, Choice, CompletionRequest, Delivery, EmbeddingRequest, Finish, Frames, Generation,
    Head, Input, Surface, Usage, chat_completion, embeddings, text_completion,
};
use anchorhold_ipc::{ChatMessage, FinishReason, ModelKind, Prompt, Sampling, StopRules, Tenancy, WorkKind};
use axum::extract::Request;
use std::sync::Arc;

/// How the parts of an answer go together.
struct Shape {
    surface: Surface,
    delivery: Delivery,
    /// How many requests the worker gets.
    prompts: usize,
}

/// `POST /v1/chat/completions`.
pub(crate) async fn chat(exchange: &mut Exchange, request: Request) -> Result<Answer, ApiError> {
    exchange.admit()?;
    let body = exchange.body(request).await?;
    let asked = ChatRequest::parse(&body)?;
    drop(body);
    let worker = exchange.worker(&asked.model, ModelKind::Chat)?;
    let message = |message: anchorhold_api::Message| ChatMessage {
        role: message.role.as_str().to_owned(),
        content: message.content,
    };
    let prompt = Prompt::Chat(asked.messages.into_iter().map(message).collect());
    let work = vec![work((&worker, exchange.tenancy()), prompt, &asked.generation)?];
    run(exchange, &worker, work, (Surface::Chat, asked.delivery)).await
}

/// `POST /v1/completions`.
pub(crate) async fn completion(exchange: &mut Exchange, request: Request) -> Result<Answer, ApiError> {
    exchange.admit()?;
    let body = exchange.body(request).await?;
    let asked = CompletionRequest::parse(&body)?;
    drop(body);
    let worker = exchange.worker(&asked.model, ModelKind::Chat)?;
    let work = asked
        .prompts
        .into_iter()
        .map(|input| work((&worker, exchange.tenancy()), prompt(input), &asked.generation))
        .collect::<Result<_, _>>()?;
    run(exchange, &worker, work, (Surface::Completion, asked.delivery)).await
}

/// `POST /v1/embeddings`.
pub(crate) async fn embedding(exchange: &mut Exchange, request: Request) -> Result<Answer, ApiError> {
    exchange.admit()?;
    let body = exchange.body(request).await?;
    let asked = EmbeddingRequest::parse(&body)?;
    drop(body);
    let worker = exchange.worker(&asked.model, ModelKind::Embedding)?;
    let dimensions = worker.info.dimensions;
    if asked.dimensions.is_some_and(|wanted| wanted != dimensions) {
        let message = format!("this model's embeddings have {dimensions} dimensions and cannot be shortened");
        return Err(ApiError::invalid("dimensions", message));
    }
    let count = asked.inputs.len();
    let inputs = asked.inputs.into_iter().map(prompt).collect();
    let mut flight = worker.submit(vec![WorkKind::Embed { inputs }]).map_err(refuse::flight)?;
    let (vectors, tokens) = match flight.next().await.map_err(refuse::flight)?.1 {
        Update::Embedded { vectors, tokens_in } => (vectors, tokens_in),
        Update::Failed(error) => return Err(refuse::worker(&error, "input")),
        Update::Ranked { .. } | Update::Delta(_) | Update::Finished { .. } => {
            return Err(ApiError::internal());
        }
    };
    let whole = |vector: &Vec<f32>| {
        u32::try_from(vector.len()) == Ok(dimensions) && vector.iter().all(|number| number.is_finite())
    };
    if vectors.len() != count || !vectors.iter().all(whole) {
        return Err(ApiError::internal());
    }
    exchange.count(Tokens { read: tokens, ..Tokens::default() });
    Ok(Answer::Whole(embeddings(&asked.model, &vectors, asked.encoding, tokens)))
}

fn prompt(input: Input) -> Prompt {
    match input {
        Input::Text(text) => Prompt::Text(text),
        Input::Tokens(ids) => Prompt::Tokens(ids),
    }
}

/// What the worker is asked for one prompt.
fn work(
    (worker, tenancy): (&Worker, Tenancy),
    prompt: Prompt,
    asked: &Generation,
) -> Result<WorkKind, ApiError> {
    let limit = worker.info.max_tokens;
    let max_tokens = asked.max_tokens.unwrap_or(0);
    if max_tokens > limit {
        return Err(ApiError::context_length("max_tokens", max_tokens.into(), limit.into()));
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
        frequency_penalty: asked.frequency_penalty,
        presence_penalty: asked.presence_penalty,
        logit_bias: asked.logit_bias.clone(),
        seed,
    };
    let stop = StopRules { max_tokens, stop: asked.stop.clone(), ignore_eos: asked.ignore_eos };
    Ok(WorkKind::Generate { tenancy, prompt, sampling, stop })
}

/// Gives the work to the worker and gathers what comes back, or waits for the first of it and streams.
async fn run(
    exchange: &mut Exchange,
    worker: &Arc<Worker>,
    work: Vec<WorkKind>,
    (surface, delivery): (Surface, Delivery),
) -> Result<Answer, ApiError> {
    let prefix = match surface {
        Surface::Chat => "chatcmpl",
        Surface::Completion => "cmpl",
    };
    let head = Head {
        id: format!("{prefix}-{}", exchange.rid()),
        created: unix_seconds(),
        model: worker.info.id.clone(),
    };
    let shape = Shape { surface, delivery, prompts: work.len() };
    let mut flight = worker.submit(work).map_err(refuse::flight)?;
    let first = flight.next().await.map_err(refuse::flight)?;
    if let Update::Failed(error) = &first.1 {
        return Err(refuse::worker(error, field(surface)));
    }
    exchange.first_token();
    match shape.delivery {
        Delivery::Whole => gather(exchange, flight, first, (head, shape)).await,
        Delivery::Stream { include_usage } => {
            exchange.streams();
            let frames = Frames::new(surface, head, include_usage);
            Ok(Answer::Stream(Box::new(Run::new(flight, frames, shape.prompts, first))))
        }
    }
}

/// Where the route has its prompt.
pub(crate) fn field(surface: Surface) -> &'static str {
    match surface {
        Surface::Chat => "messages",
        Surface::Completion => "prompt",
    }
}

pub(crate) fn finish(reason: FinishReason) -> Finish {
    match reason {
        FinishReason::Stop => Finish::Stop,
        FinishReason::Length => Finish::Length,
    }
}

/// Waits for all of it.
async fn gather(
    exchange: &mut Exchange,
    mut flight: Flight,
    first: (usize, Update),
    (head, shape): (Head, Shape),
) -> Result<Answer, ApiError> {
    let mut choices = vec![Choice { text: String::new(), finish: Finish::Stop }; shape.prompts];
    let (mut open, mut tokens) = (shape.prompts, Tokens::default());
    let mut event = first;
    loop {
        let choice = choices.get_mut(event.0).ok_or_else(ApiError::internal)?;
        match event.1 {
            Update::Delta(text) => choice.text.push_str(&text),
            Update::Finished { reason, tokens: own } => {
                choice.finish = finish(reason);
                tokens.add(own);
                open -= 1;
            }
            Update::Failed(error) => return Err(refuse::worker(&error, field(shape.surface))),
            Update::Embedded { .. } | Update::Ranked { .. } => return Err(ApiError::internal()),
        }
        if open == 0 {
            break;
        }
        event = flight.next().await.map_err(refuse::flight)?;
    }
    exchange.count(tokens);
    let usage = Usage::new(tokens.read, tokens.made);
    Ok(Answer::Whole(match (shape.surface, choices.as_slice()) {
        (Surface::Chat, [choice]) => chat_completion(&head, choice, usage),
        (Surface::Chat, _) => return Err(ApiError::internal()),
        (Surface::Completion, choices) => text_completion(&head, choices, usage),
    }))
}

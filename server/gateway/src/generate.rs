//! The routes that ask a model for text: from the body to the worker and back.

use crate::ask::{Place, conversation, prompt, work};
use crate::exchange::{Answer, Exchange};
use crate::flight::{Update, Worker, most_told};
use crate::gather::{Gathered, gather};
use crate::refuse::{self, Named};
use crate::stream::Run;
use crate::words::unix_seconds;
use anchorhold_api::{
    ApiError, ChatRequest, ChoiceFrames, CompletionRequest, Delivery, Frames, Generation, Head,
    ResponseFrames, ResponseSettings, ResponsesRequest, Surface,
};
use anchorhold_ipc::{ModelKind, Prompt, WorkKind};
use axum::extract::Request;
use std::sync::Arc;

// What the API lets through, no worker refuses.
const _: () = assert!(anchorhold_api::MAX_N == anchorhold_ipc::MAX_CHOICES);
const _: () = assert!(anchorhold_api::MAX_TOP_LOGPROBS == anchorhold_ipc::MAX_LOGPROBS);
const _: () = assert!(anchorhold_api::MAX_LOGPROBS <= anchorhold_ipc::MAX_LOGPROBS);

/// What an answer is made of.
enum Made {
    Choices(Surface),
    Response(Box<ResponseSettings>),
}

impl Made {
    /// What its id begins with.
    fn prefix(&self) -> &'static str {
        match self {
            Self::Choices(Surface::Chat) => "chatcmpl-",
            Self::Choices(Surface::Completion) => "cmpl-",
            Self::Response(_) => "resp_",
        }
    }

    /// The field that the prompt comes from.
    fn prompt(&self) -> &'static str {
        match self {
            Self::Choices(Surface::Chat) => "messages",
            Self::Choices(Surface::Completion) => "prompt",
            Self::Response(_) => "input",
        }
    }

    /// The field that asks for so many of the likeliest tokens.
    fn told(&self, logprobs: u8) -> &'static str {
        match self {
            Self::Choices(Surface::Chat) if logprobs > 0 => "top_logprobs",
            Self::Choices(_) => "logprobs",
            Self::Response(_) => "top_logprobs",
        }
    }
}

/// How the parts of an answer go together.
struct Shape {
    made: Made,
    delivery: Delivery,
    /// How many texts after each prompt.
    n: u16,
    /// How many of the likeliest tokens are told at each place; `None` tells of no token.
    logprobs: Option<u8>,
    /// Of each text, where the caller says.
    max_tokens: Option<u32>,
    named: Named,
}

impl Shape {
    fn new(made: Made, delivery: Delivery, asked: &Generation) -> Self {
        let named = Named { prompt: made.prompt(), form: asked.form.as_ref().map_or("", |form| form.field) };
        Self { made, delivery, n: asked.n, logprobs: asked.logprobs, max_tokens: asked.max_tokens, named }
    }

    /// Refuses more of tokens than may be told: the whole answer is held in memory.
    fn check_told(&self, texts: usize, context: u32) -> Result<(), ApiError> {
        let Some(logprobs) = self.logprobs else { return Ok(()) };
        let texts = u64::try_from(texts).unwrap_or(u64::MAX);
        let tokens = texts.saturating_mul(self.max_tokens.unwrap_or(context).into());
        let most = most_told(logprobs);
        if tokens <= most {
            return Ok(());
        }
        let field = self.made.told(logprobs);
        let message = format!(
            "'{field}' asks to be told of up to {tokens} tokens, and at most {most} can be; lower it, 'max_tokens' or 'n'"
        );
        Err(ApiError::invalid(field, message))
    }
}

/// `POST /v1/chat/completions`.
pub(crate) async fn chat(exchange: &mut Exchange, request: Request) -> Result<Answer, ApiError> {
    exchange.admit()?;
    let body = exchange.body(request).await?;
    let asked = ChatRequest::parse(&body)?;
    drop(body);
    let worker = exchange.worker(&asked.model, ModelKind::Chat)?;
    let prompt = Prompt::Chat(conversation(asked.messages, asked.tools));
    let work = vec![work(place(exchange, &worker, "max_tokens"), prompt, &asked.generation)?];
    let shape = Shape::new(Made::Choices(Surface::Chat), asked.delivery, &asked.generation);
    run(exchange, &worker, work, shape).await
}

/// `POST /v1/responses`.
pub(crate) async fn response(exchange: &mut Exchange, request: Request) -> Result<Answer, ApiError> {
    exchange.admit()?;
    let body = exchange.body(request).await?;
    let asked = ResponsesRequest::parse(&body)?;
    drop(body);
    let worker = exchange.worker(&asked.model, ModelKind::Chat)?;
    let prompt = Prompt::Chat(conversation(asked.messages, asked.tools));
    let work = vec![work(place(exchange, &worker, "max_output_tokens"), prompt, &asked.generation)?];
    let made = Made::Response(Box::new(asked.settings));
    run(exchange, &worker, work, Shape::new(made, asked.delivery, &asked.generation)).await
}

/// `POST /v1/completions`.
pub(crate) async fn completion(exchange: &mut Exchange, request: Request) -> Result<Answer, ApiError> {
    exchange.admit()?;
    let body = exchange.body(request).await?;
    let asked = CompletionRequest::parse(&body)?;
    drop(body);
    let worker = exchange.worker(&asked.model, ModelKind::Chat)?;
    let place = place(exchange, &worker, "max_tokens");
    let work = asked
        .prompts
        .into_iter()
        .map(|input| work(place, prompt(input), &asked.generation))
        .collect::<Result<_, _>>()?;
    let shape = Shape::new(Made::Choices(Surface::Completion), asked.delivery, &asked.generation);
    run(exchange, &worker, work, shape).await
}

fn place<'a>(exchange: &Exchange, worker: &'a Worker, limit_field: &'static str) -> Place<'a> {
    Place { worker, tenancy: exchange.tenancy(), limit_field }
}

/// Gives the work to the worker and gathers what comes back, or waits for the first of it and streams.
async fn run(
    exchange: &mut Exchange,
    worker: &Arc<Worker>,
    work: Vec<WorkKind>,
    shape: Shape,
) -> Result<Answer, ApiError> {
    let head = Head {
        id: format!("{}{}", shape.made.prefix(), exchange.rid()),
        created: unix_seconds(),
        model: worker.info.id.clone(),
    };
    let texts = work.len() * usize::from(shape.n);
    shape.check_told(texts, worker.info.max_tokens)?;
    let mut flight = worker.submit(work, shape.n).map_err(refuse::flight)?;
    let first = flight.next().await.map_err(refuse::flight)?;
    if let Update::Failed(error) = &first.1 {
        return Err(refuse::worker(error, shape.named));
    }
    exchange.first_token();
    exchange.hear(&first.1);
    let Delivery::Stream { include_usage } = shape.delivery else {
        let gathered = match shape.made {
            Made::Choices(surface) => Gathered::choices(surface, head, texts, shape.logprobs.is_some()),
            Made::Response(settings) => Gathered::Response(Box::new(ResponseFrames::new(head, *settings))),
        };
        return gather((exchange, flight), first, gathered, (texts, shape.named)).await;
    };
    exchange.streams();
    let frames: Box<dyn Frames> = match shape.made {
        Made::Choices(surface) => Box::new(ChoiceFrames::new(surface, head, include_usage)),
        Made::Response(settings) => Box::new(ResponseFrames::new(head, *settings)),
    };
    Ok(Answer::Stream(Box::new(Run::new(flight, frames, texts, first))))
}

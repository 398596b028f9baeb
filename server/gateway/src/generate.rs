//! The three routes that ask a model: from the body to the worker and back.

use crate::exchange::{Answer, Exchange};
use crate::flight::{Flight, Tokens, Update, Worker, most_told};
use crate::refuse::{self, Named};
use crate::stream::Run;
use crate::words::{random, unix_seconds};
use anchorhold_api::{
    ApiError, ChatRequest, Choice, CompletionRequest, Delivery, EmbeddingRequest, Finish, FormKind, Frames,
    Generation, Head, Input, Spelled, Surface, Token, Usage, chat_completion, embeddings, text_completion,
};
use anchorhold_ipc::{
    ChatMessage, FinishReason, ModelKind, Prompt, Sampling, SpelledToken, StopRules, Structure, Tenancy,
    ToldToken, WorkKind,
};
use axum::extract::Request;
use std::sync::Arc;

// What the API lets through, no worker refuses.
const _: () = assert!(anchorhold_api::MAX_N == anchorhold_ipc::MAX_CHOICES);
const _: () = assert!(anchorhold_api::MAX_TOP_LOGPROBS == anchorhold_ipc::MAX_LOGPROBS);
const _: () = assert!(anchorhold_api::MAX_LOGPROBS <= anchorhold_ipc::MAX_LOGPROBS);

/// How the parts of an answer go together.
struct Shape {
    surface: Surface,
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
    fn new(surface: Surface, delivery: Delivery, asked: &Generation) -> Self {
        let prompt = match surface {
            Surface::Chat => "messages",
            Surface::Completion => "prompt",
        };
        let named = Named { prompt, form: asked.form.as_ref().map_or("", |form| form.field) };
        Self { surface, delivery, n: asked.n, logprobs: asked.logprobs, max_tokens: asked.max_tokens, named }
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
        let field = match self.surface {
            Surface::Chat if logprobs > 0 => "top_logprobs",
            Surface::Chat | Surface::Completion => "logprobs",
        };
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
    let message = |message: anchorhold_api::Message| ChatMessage {
        role: message.role.as_str().to_owned(),
        content: message.content,
    };
    let prompt = Prompt::Chat(asked.messages.into_iter().map(message).collect());
    let work = vec![work((&worker, exchange.tenancy()), prompt, &asked.generation)?];
    run(exchange, &worker, work, Shape::new(Surface::Chat, asked.delivery, &asked.generation)).await
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
    run(exchange, &worker, work, Shape::new(Surface::Completion, asked.delivery, &asked.generation)).await
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
    let mut flight = worker
        .submit(vec![WorkKind::Embed { tenancy: exchange.tenancy(), inputs }], 1)
        .map_err(refuse::flight)?;
    let (vectors, tokens) = match flight.next().await.map_err(refuse::flight)?.1 {
        Update::Embedded { vectors, tokens_in } => (vectors, tokens_in),
        Update::Failed(error) => {
            return Err(refuse::worker(&error, Named { prompt: "input", form: "" }));
        }
        _ => return Err(ApiError::internal()),
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

/// Gives the work to the worker and gathers what comes back, or waits for the first of it and streams.
async fn run(
    exchange: &mut Exchange,
    worker: &Arc<Worker>,
    work: Vec<WorkKind>,
    shape: Shape,
) -> Result<Answer, ApiError> {
    let prefix = match shape.surface {
        Surface::Chat => "chatcmpl",
        Surface::Completion => "cmpl",
    };
    let head = Head {
        id: format!("{prefix}-{}", exchange.rid()),
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
    match shape.delivery {
        Delivery::Whole => gather((exchange, flight), first, texts, (head, shape)).await,
        Delivery::Stream { include_usage } => {
            exchange.streams();
            let frames = Frames::new(shape.surface, head, include_usage);
            Ok(Answer::Stream(Box::new(Run::new(flight, frames, texts, first))))
        }
    }
}

pub(crate) fn finish(reason: FinishReason) -> Finish {
    match reason {
        FinishReason::Stop => Finish::Stop,
        FinishReason::Length => Finish::Length,
    }
}

/// What a worker tells of tokens, as the API writes it.
pub(crate) fn tokens(told: Vec<ToldToken>) -> Vec<Token> {
    let spelled = |token: SpelledToken| Spelled { bytes: token.bytes, logprob: token.logprob };
    let token = |told: ToldToken| Token {
        own: spelled(told.token),
        top: told.top.into_iter().map(spelled).collect(),
    };
    told.into_iter().map(token).collect()
}

/// Waits for all of it.
async fn gather(
    (exchange, mut flight): (&mut Exchange, Flight),
    first: (usize, Update),
    texts: usize,
    (head, shape): (Head, Shape),
) -> Result<Answer, ApiError> {
    let nothing =
        Choice { text: String::new(), finish: Finish::Stop, tokens: shape.logprobs.map(|_| Vec::new()) };
    let mut choices = vec![nothing; texts];
    let (mut open, mut counted) = (texts, Tokens::default());
    let mut event = first;
    loop {
        let choice = choices.get_mut(event.0).ok_or_else(ApiError::internal)?;
        match event.1 {
            Update::Delta { text, told } => {
                choice.text.push_str(&text);
                if let Some(all) = &mut choice.tokens {
                    all.extend(tokens(told));
                }
            }
            Update::Finished { reason, tokens: own } => {
                choice.finish = finish(reason);
                counted.add(own);
                // Whatever becomes of the others, this choice is counted.
                exchange.count(counted);
                open -= 1;
            }
            Update::Failed(error) => return Err(refuse::worker(&error, shape.named)),
            _ => return Err(ApiError::internal()),
        }
        if open == 0 {
            break;
        }
        event = flight.next().await.map_err(refuse::flight)?;
        exchange.hear(&event.1);
    }
    let usage = Usage::new(counted.read, counted.found, counted.made);
    Ok(Answer::Whole(match shape.surface {
        Surface::Chat => chat_completion(&head, &choices, usage),
        Surface::Completion => text_completion(&head, &choices, usage),
    }))
}

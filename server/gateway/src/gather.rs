//! Answers that leave whole.

use crate::exchange::{Answer, Exchange};
use crate::flight::{Flight, Tokens, Update};
use crate::refuse::{self, Named};
use crate::words::ulid;
use anchorhold_api::{
    ApiError, CallDelta, Choice, Finish, Frames as _, Head, Part, ResponseFrames, Spelled, Surface, Token,
    ToolCall, Usage, chat_completion, text_completion,
};
use anchorhold_ipc::{CallPart, FinishReason, SpelledToken, ToldToken};

/// What there is of an answer.
pub(crate) enum Gathered {
    Choices { surface: Surface, head: Head, choices: Vec<Choice> },
    Response(Box<ResponseFrames>),
}

impl Gathered {
    /// Of so many empty texts.
    pub(crate) fn choices(surface: Surface, head: Head, texts: usize, tells: bool) -> Self {
        let nothing = Choice {
            text: String::new(),
            calls: Vec::new(),
            finish: Finish::Stop,
            tokens: tells.then(Vec::new),
        };
        Self::Choices { surface, head, choices: vec![nothing; texts] }
    }

    fn text(&mut self, place: usize, text: &str, told: Vec<Token>) -> Option<()> {
        match self {
            Self::Choices { choices, .. } => {
                let choice = choices.get_mut(place)?;
                choice.text.push_str(text);
                if let Some(all) = &mut choice.tokens {
                    all.extend(told);
                }
            }
            Self::Response(frames) => drop(frames.delta(place, Part { text, tokens: &told, offset: 0 })),
        }
        Some(())
    }

    fn call(&mut self, place: usize, part: CallPart) -> Option<()> {
        match (self, part) {
            (Self::Choices { choices, .. }, CallPart::Begin(name)) => {
                choices.get_mut(place)?.calls.push(ToolCall::begun(call_id()?, name));
            }
            (Self::Choices { choices, .. }, CallPart::Arguments(text)) => {
                choices.get_mut(place)?.calls.last_mut()?.arguments.push_str(&text);
            }
            (Self::Response(frames), CallPart::Begin(name)) => {
                drop(frames.call(place, CallDelta::Begin { id: &call_id()?, name: &name }));
            }
            (Self::Response(frames), CallPart::Arguments(text)) => {
                drop(frames.call(place, CallDelta::Arguments(&text)));
            }
        }
        Some(())
    }

    fn finish(&mut self, place: usize, reason: FinishReason) -> Option<()> {
        match self {
            Self::Choices { choices, .. } => {
                let choice = choices.get_mut(place)?;
                choice.finish = finish(reason, !choice.calls.is_empty());
            }
            Self::Response(frames) => drop(frames.finish(place, finish(reason, false))),
        }
        Some(())
    }

    fn bytes(self, usage: Usage) -> Vec<u8> {
        match self {
            Self::Choices { surface: Surface::Chat, head, choices } => {
                chat_completion(&head, &choices, usage)
            }
            Self::Choices { surface: Surface::Completion, head, choices } => {
                text_completion(&head, &choices, usage)
            }
            Self::Response(frames) => frames.whole(usage),
        }
    }
}

/// A new name for a call, of which the last nine characters are a name for Mistral's templates. `None` without randomness.
pub(crate) fn call_id() -> Option<String> {
    ulid().map(|id| format!("call_{id}"))
}

/// Why a text ended that has calls or none.
pub(crate) fn finish(reason: FinishReason, calls: bool) -> Finish {
    match reason {
        FinishReason::Stop if calls => Finish::ToolCalls,
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
pub(crate) async fn gather(
    (exchange, mut flight): (&mut Exchange, Flight),
    first: (usize, Update),
    mut gathered: Gathered,
    (texts, named): (usize, Named),
) -> Result<Answer, ApiError> {
    let (mut open, mut counted) = (texts, Tokens::default());
    let (mut place, mut update) = first;
    loop {
        let taken = match update {
            Update::Delta { text, told } => gathered.text(place, &text, tokens(told)),
            Update::Call(part) => gathered.call(place, part),
            Update::Finished { reason, tokens: own } => {
                counted.add(own);
                // Whatever becomes of the others, this choice is counted.
                exchange.count(counted);
                open = open.saturating_sub(1);
                gathered.finish(place, reason)
            }
            Update::Failed(error) => return Err(refuse::worker(&error, named)),
            Update::Embedded { .. }
            | Update::Ranked { .. }
            | Update::Tokenized { .. }
            | Update::Detokenized { .. } => None,
        };
        taken.ok_or_else(ApiError::internal)?;
        if open == 0 {
            break;
        }
        (place, update) = flight.next().await.map_err(refuse::flight)?;
        exchange.hear(&update);
    }
    Ok(Answer::Whole(gathered.bytes(Usage::new(counted.read, counted.found, counted.made))))
}

//! The steps of a model that generates.

use crate::Language;
use crate::forms::FormPermit;
use crate::intake::{Form, Generate, Job};
use crate::serve::{Steps, refusal};
use crate::text::{Released, Text};
use anchorhold_engine::{
    Finish, FinishReason, GenerationLimits, GenerationRequest, GenerationScheduler, Generator, Load,
    Logprobs, Moment, RequestId, SequenceId, StepOutput, TokenId,
};
use anchorhold_ipc::{CallPart, Event, RejectReason, RequestError, SpelledToken, StructureFault, ToldToken};
use anchorhold_model::{CallStream, Said};
use std::collections::HashMap;
use std::sync::Arc;

/// The most tokens that one event tells of, so that no event is over the line's limit.
const MAX_TOLD: usize = 64;

pub(crate) struct Generation {
    scheduler: GenerationScheduler,
    generator: Box<dyn Generator>,
    language: Arc<dyn Language>,
    live: HashMap<SequenceId, Live>,
    requests: HashMap<RequestId, Request>,
    /// The number of the next sequence.
    next: u64,
    /// Whether the model computes nothing any more.
    is_over: bool,
}

/// What is left of a request.
struct Request {
    /// Its choices that have not ended.
    choices: Vec<SequenceId>,
    /// For the form that they keep to.
    _permit: Option<FormPermit>,
}

/// What is known of a sequence besides its tokens.
struct Live {
    text: Text,
    /// Tells calls from text, where tools may be called.
    calls: Option<CallStream>,
    /// Tokens that end it and are part of it.
    stop_tokens: Arc<[TokenId]>,
    choice: Choice,
}

/// Whose text a sequence is, and what it took.
#[derive(Clone, Copy)]
struct Choice {
    id: RequestId,
    number: u16,
    tokens_in: u64,
    tokens_found: u64,
    tokens_out: u64,
}

impl Generation {
    pub(crate) fn new(
        limits: GenerationLimits,
        generator: Box<dyn Generator>,
        eos: Vec<TokenId>,
        language: Arc<dyn Language>,
    ) -> Self {
        let scheduler = GenerationScheduler::new(limits, generator.as_ref(), eos);
        Self {
            scheduler,
            generator,
            language,
            live: HashMap::new(),
            requests: HashMap::new(),
            next: 0,
            is_over: false,
        }
    }

    /// What a step's output means to the caller.
    fn report(&mut self, output: StepOutput, events: &mut Vec<Event>) {
        // A choice of a request that failed in this step is not alive any more.
        let Some(mut live) = self.live.remove(&output.sequence) else { return };
        let (token, reason) = match (output.token, output.finish) {
            (Some(token), None) => (token, None),
            (Some(token), Some(Finish::Done(reason))) => (token, Some(reason)),
            (_, Some(Finish::Unconstrained(_))) => {
                let reason = RejectReason::Structure(StructureFault::TooComplex);
                return self.fail(live.choice.id, RequestError::Rejected(reason), events);
            }
            (_, Some(Finish::Failed(error))) => {
                self.is_over |= error.is_final();
                return self.fail(live.choice.id, RequestError::Internal, events);
            }
            (_, Some(Finish::Late)) => return self.fail(live.choice.id, RequestError::Late, events),
            _ => return self.fail(live.choice.id, RequestError::Internal, events),
        };
        live.choice.tokens_out += 1;
        live.choice.tokens_found = wide(output.found);
        let choice = live.choice;
        let told = output.logprobs.map(|logprobs| self.tell(token, &logprobs));
        let Some(reason) = reason else {
            let released = live.text.push(token, told);
            let stopped = released.stopped;
            let said = live.said(&released.text);
            choice.pass_on(released, said, events);
            if stopped || live.calls.as_ref().is_some_and(CallStream::is_over) {
                choice.pass_on(Released::default(), live.unsaid(), events);
                self.scheduler.cancel(output.sequence, self.generator.as_mut());
                self.end(output.sequence, choice.finished(FinishReason::Stop), events);
            } else {
                self.live.insert(output.sequence, live);
            }
            return;
        };
        // The model's own token that ends a text is not part of it.
        let is_text = reason == FinishReason::Length || live.stop_tokens.contains(&token);
        let text = std::mem::replace(&mut live.text, Text::empty());
        let released = text.finish(is_text.then_some((token, told)));
        let reason = if released.stopped { FinishReason::Stop } else { reason };
        let said = live.said(&released.text);
        choice.pass_on(released, said, events);
        choice.pass_on(Released::default(), live.unsaid(), events);
        self.end(output.sequence, choice.finished(reason), events);
    }

    /// Forgets a choice that ended.
    fn end(&mut self, sequence: SequenceId, (id, event): (RequestId, Event), events: &mut Vec<Event>) {
        if let Some(request) = self.requests.get_mut(&id) {
            request.choices.retain(|choice| *choice != sequence);
            if request.choices.is_empty() {
                self.requests.remove(&id);
            }
        }
        events.push(event);
    }

    /// Ends all choices of a request, one of which failed.
    fn fail(&mut self, id: RequestId, error: RequestError, events: &mut Vec<Event>) {
        self.cancel(id);
        events.push(Event::Failed { id, error });
    }

    fn tell(&self, token: TokenId, logprobs: &Logprobs) -> ToldToken {
        let spelled = |token, logprob| SpelledToken { bytes: self.language.spell(token), logprob };
        ToldToken {
            token: spelled(token, logprobs.drawn),
            top: logprobs.top.iter().map(|other| spelled(other.token, other.logprob)).collect(),
        }
    }
}

impl Live {
    /// What this text says.
    fn said(&mut self, text: &str) -> Vec<Said> {
        match &mut self.calls {
            Some(calls) => calls.push(text),
            None if text.is_empty() => Vec::new(),
            None => vec![Said::Text(text.to_owned())],
        }
    }

    /// What was held back because it might have become a call.
    fn unsaid(&mut self) -> Vec<Said> {
        self.calls.take().map_or_else(Vec::new, CallStream::finish)
    }
}

impl Choice {
    /// Tells what was said. Tokens go with its first text, though the text of some may be held back still.
    fn pass_on(self, released: Released, said: Vec<Said>, events: &mut Vec<Event>) {
        let (id, choice) = (self.id, self.number);
        let mut told = released.told;
        for part in said {
            let part = match part {
                Said::Text(text) => {
                    self.pass_on_text(text, std::mem::take(&mut told), events);
                    continue;
                }
                Said::Call(name) => CallPart::Begin(name),
                Said::Arguments(text) => CallPart::Arguments(text),
            };
            events.push(Event::Call { id, choice, part });
        }
        self.pass_on_text(String::new(), told, events);
    }

    fn pass_on_text(self, mut text: String, mut told: Vec<ToldToken>, events: &mut Vec<Event>) {
        let (id, choice) = (self.id, self.number);
        while !text.is_empty() || !told.is_empty() {
            let rest = told.split_off(told.len().min(MAX_TOLD));
            events.push(Event::Delta { id, choice, text: std::mem::take(&mut text), told });
            told = rest;
        }
    }

    fn finished(self, reason: FinishReason) -> (RequestId, Event) {
        let Self { id, number, tokens_in, tokens_found, tokens_out } = self;
        (id, Event::Finished { id, choice: number, reason, tokens_in, tokens_found, tokens_out })
    }
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

impl Steps for Generation {
    fn submit(&mut self, id: RequestId, ends_by: Moment, job: Job) -> Result<(), RequestError> {
        let Job::Generate(generate) = job else {
            return Err(RequestError::Rejected(RejectReason::WrongKind));
        };
        let Generate { tenancy, prompt, sampling, stop, choices, logprobs, form, calls } = *generate;
        let choices = choices.max(1);
        let tokens_in = wide(prompt.len());
        let stop_tokens: Arc<[TokenId]> = stop.stop_tokens.clone().into();
        let first = self.next;
        let request = GenerationRequest {
            sequence: SequenceId(first),
            choices: choices.into(),
            tenancy,
            prompt,
            sampling,
            max_tokens: stop.max_tokens,
            min_tokens: stop.min_tokens,
            ignore_eos: stop.ignore_eos,
            ends_by,
            stop_tokens: stop.stop_tokens,
            logprobs,
        };
        let (constraint, permit) = form.map(|Form { constraint, permit }| (constraint, permit)).unzip();
        self.scheduler.submit(request, constraint).map_err(|error| refusal(&error))?;
        self.next += u64::from(choices);
        for (number, sequence) in (0..choices).zip((first..).map(SequenceId)) {
            let decoder =
                if calls.is_some() { self.language.call_decoder() } else { self.language.decoder() };
            let (text, calls) = (Text::new(decoder, &stop.stop), calls.clone());
            let choice = Choice { id, number, tokens_in, tokens_found: 0, tokens_out: 0 };
            let live = Live { text, calls, stop_tokens: Arc::clone(&stop_tokens), choice };
            self.live.insert(sequence, live);
        }
        let choices = (first..self.next).map(SequenceId).collect();
        self.requests.insert(id, Request { choices, _permit: permit });
        Ok(())
    }

    fn cancel(&mut self, id: RequestId) {
        for sequence in self.requests.remove(&id).map(|request| request.choices).unwrap_or_default() {
            self.scheduler.cancel(sequence, self.generator.as_mut());
            self.live.remove(&sequence);
        }
    }

    fn step(&mut self, now: Moment) -> Vec<Event> {
        let mut events = Vec::new();
        for output in self.scheduler.step(now, self.generator.as_mut()) {
            self.report(output, &mut events);
        }
        events
    }

    fn load(&self) -> Load {
        self.scheduler.load()
    }

    fn is_idle(&self) -> bool {
        self.scheduler.is_idle()
    }

    fn is_over(&self) -> bool {
        self.is_over
    }
}

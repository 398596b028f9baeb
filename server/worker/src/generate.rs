//! The steps of a model that generates.

use crate::Language;
use crate::intake::Job;
use crate::serve::{Steps, refusal};
use crate::text::Text;
use anchorhold_engine::{
    Finish, FinishReason, GenerationLimits, GenerationRequest, GenerationScheduler, Generator, Moment,
    RequestId, SequenceId, StepOutput, TokenId,
};
use anchorhold_ipc::{Event, RejectReason, RequestError};
use std::collections::HashMap;
use std::sync::Arc;

pub(crate) struct Generation {
    scheduler: GenerationScheduler,
    generator: Box<dyn Generator>,
    language: Arc<dyn Language>,
    live: HashMap<SequenceId, Live>,
}

/// What is known of a sequence besides its tokens.
struct Live {
    text: Text,
    tokens_in: u64,
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
        Self { scheduler, generator, language, live: HashMap::new() }
    }

    /// What a step's output means to the caller.
    fn report(&mut self, output: &StepOutput, events: &mut Vec<Event>) {
        let id = RequestId(output.sequence.0);
        let Some(mut live) = self.live.remove(&output.sequence) else { return };
        let token = match (output.token, output.finish) {
            (_, Some(Finish::Late)) => return events.push(Event::Failed { id, error: RequestError::Late }),
            (Some(token), None | Some(Finish::Done(_))) => token,
            _ => return events.push(Event::Failed { id, error: RequestError::Internal }),
        };
        live.tokens_out += 1;
        let Live { tokens_in, tokens_out, .. } = live;
        let tokens_found = u64::try_from(output.found).unwrap_or(u64::MAX);
        let Some(Finish::Done(reason)) = output.finish else {
            let passed = live.text.push(token);
            pass_on(id, passed.text, events);
            if passed.stopped {
                self.scheduler.cancel(output.sequence, self.generator.as_mut());
                let reason = FinishReason::Stop;
                events.push(Event::Finished { id, reason, tokens_in, tokens_found, tokens_out });
            } else {
                self.live.insert(output.sequence, live);
            }
            return;
        };
        // The token that ends a text is not part of it.
        let passed = live.text.finish((reason == FinishReason::Length).then_some(token));
        pass_on(id, passed.text, events);
        let reason = if passed.stopped { FinishReason::Stop } else { reason };
        events.push(Event::Finished { id, reason, tokens_in, tokens_found, tokens_out });
    }
}

fn pass_on(id: RequestId, text: String, events: &mut Vec<Event>) {
    if !text.is_empty() {
        events.push(Event::Delta { id, text });
    }
}

impl Steps for Generation {
    fn submit(&mut self, id: RequestId, ends_by: Moment, job: Job) -> Result<(), RequestError> {
        let Job::Generate { tenancy, prompt, sampling, stop } = job else {
            return Err(RequestError::Rejected(RejectReason::WrongKind));
        };
        let sequence = SequenceId(id.0);
        let tokens_in = u64::try_from(prompt.len()).unwrap_or(u64::MAX);
        let (max_tokens, ignore_eos) = (stop.max_tokens, stop.ignore_eos);
        let request =
            GenerationRequest { sequence, tenancy, prompt, sampling, max_tokens, ignore_eos, ends_by };
        self.scheduler.submit(request).map_err(|error| refusal(&error))?;
        let text = Text::new(self.language.decoder(), &stop.stop);
        self.live.insert(sequence, Live { text, tokens_in, tokens_out: 0 });
        Ok(())
    }

    fn cancel(&mut self, id: RequestId) {
        let sequence = SequenceId(id.0);
        self.scheduler.cancel(sequence, self.generator.as_mut());
        self.live.remove(&sequence);
    }

    fn step(&mut self, now: Moment) -> Vec<Event> {
        let mut events = Vec::new();
        for output in self.scheduler.step(now, self.generator.as_mut()) {
            self.report(&output, &mut events);
        }
        events
    }

    fn is_idle(&self) -> bool {
        self.scheduler.is_idle()
    }
}

//! Which sequences run in the next step: continuous batching with prompts read in chunks.

use crate::admission::{all_known, wide};
use crate::{
    BackendError, FinishReason, Generator, Row, Sampler, Sampling, SequenceId, SubmitError, TokenId,
};
use std::collections::VecDeque;

/// The limits of a [`GenerationScheduler`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GenerationLimits {
    /// The most tokens in one step, so that long prompts do not stall those who already read their answer.
    pub step_tokens: usize,
    /// The most sequences that run at once; at most `step_tokens`.
    pub running: usize,
    /// The most tokens that the caches of all running sequences may come to hold; at least one whole context.
    pub cache_tokens: usize,
    /// The most requests that wait.
    pub waiting: usize,
    /// The most prompt tokens that wait; at least one whole context.
    pub waiting_tokens: usize,
}

impl Default for GenerationLimits {
    fn default() -> Self {
        Self { step_tokens: 256, running: 32, cache_tokens: 65_536, waiting: 256, waiting_tokens: 131_072 }
    }
}

/// One sequence to generate.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerationRequest {
    /// Names it in every [`StepOutput`]; unused by any live sequence.
    pub sequence: SequenceId,
    /// What comes before.
    pub prompt: Vec<TokenId>,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// The most tokens to generate; 0 means what is left of the context.
    pub max_tokens: u32,
    /// Go on past the model's end-of-sequence token.
    pub ignore_eos: bool,
}

/// What a step did to one sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepOutput {
    /// The sequence.
    pub sequence: SequenceId,
    /// The token that was drawn; the end-of-sequence token too. `None` when the sequence failed.
    pub token: Option<TokenId>,
    /// Set once, in the sequence's last output.
    pub finish: Option<Finish>,
}

/// How a sequence ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// By the rules of the request.
    Done(FinishReason),
    /// The model failed.
    Failed(BackendError),
}

/// Decides what runs; owns the sequences from `submit` to their last output.
///
/// First come, first served. A sequence starts when its whole prompt and output fit the cache limit, so a running
/// sequence is never put back. Each step carries one token of every sequence that generates, and with what is left
/// of the step's tokens goes on reading prompts, oldest first; at least one prompt token per step is read, so
/// everyone who waits is served at last.
///
/// Every sequence that was taken ends exactly once: in an output with `finish`, or in [`Self::cancel`]. The
/// generator's cache of a sequence is released at that moment, and only then.
#[derive(Debug)]
pub struct GenerationScheduler {
    limits: GenerationLimits,
    context: usize,
    vocabulary: usize,
    eos: Vec<TokenId>,
    waiting: VecDeque<Sequence>,
    running: Vec<Sequence>,
}

#[derive(Debug)]
struct Sequence {
    id: SequenceId,
    /// The prompt and what was generated.
    tokens: Vec<TokenId>,
    /// How many of `tokens` the generator's cache holds.
    cached: usize,
    /// How many of `tokens` are appended in the step under way.
    chunk: usize,
    /// Whether the generator was ever given tokens of this sequence.
    started: bool,
    generated: usize,
    max_tokens: usize,
    ignore_eos: bool,
    sampler: Sampler,
    ended: bool,
}

impl GenerationScheduler {
    /// A scheduler for this generator, with nothing to do. Limits that cannot work are raised or lowered as their
    /// documentation says. `eos` are the tokens that end a sequence.
    #[must_use]
    pub fn new(limits: GenerationLimits, generator: &dyn Generator, eos: Vec<TokenId>) -> Self {
        let context = generator.context();
        let step_tokens = limits.step_tokens.max(1);
        let limits = GenerationLimits {
            step_tokens,
            running: limits.running.clamp(1, step_tokens),
            cache_tokens: limits.cache_tokens.max(context),
            waiting: limits.waiting.max(1),
            waiting_tokens: limits.waiting_tokens.max(context),
        };
        let vocabulary = generator.vocabulary();
        Self { limits, context, vocabulary, eos, waiting: VecDeque::new(), running: Vec::new() }
    }

    /// Takes a request; it runs in a later step.
    ///
    /// # Errors
    /// [`SubmitError`]; the request is not kept.
    pub fn submit(&mut self, request: GenerationRequest) -> Result<(), SubmitError> {
        let prompt = request.prompt.len();
        if prompt == 0 {
            return Err(SubmitError::Empty);
        }
        let asked = usize::try_from(request.max_tokens).unwrap_or(usize::MAX);
        let whole = prompt.saturating_add(asked.max(1));
        if whole > self.context {
            return Err(SubmitError::TooLong { tokens: wide(whole), limit: wide(self.context) });
        }
        let bias = request.sampling.logit_bias.iter().map(|(token, _)| *token);
        if !all_known(request.prompt.iter().copied().chain(bias), self.vocabulary) {
            return Err(SubmitError::UnknownToken);
        }
        if self.live().any(|sequence| sequence.id == request.sequence) {
            return Err(SubmitError::InUse);
        }
        let queued: usize = self.waiting.iter().map(|sequence| sequence.tokens.len()).sum();
        if self.waiting.len() >= self.limits.waiting || queued + prompt > self.limits.waiting_tokens {
            return Err(SubmitError::Overloaded);
        }
        self.waiting.push_back(Sequence {
            id: request.sequence,
            tokens: request.prompt,
            cached: 0,
            chunk: 0,
            started: false,
            generated: 0,
            max_tokens: if asked == 0 { self.context - prompt } else { asked },
            ignore_eos: request.ignore_eos,
            sampler: Sampler::new(request.sampling),
            ended: false,
        });
        Ok(())
    }

    /// Forgets a sequence and frees its cache at once. False when it is not alive, which is no error: it may have
    /// ended in the last step. No output about it follows.
    pub fn cancel(&mut self, sequence: SequenceId, generator: &mut dyn Generator) -> bool {
        let before = self.live().count();
        self.waiting.retain(|waiting| waiting.id != sequence);
        for running in self.running.iter_mut().filter(|running| running.id == sequence) {
            running.ended = true;
        }
        self.release_ended(generator);
        self.live().count() < before
    }

    /// Runs one step: starts who may start, runs the generator once, draws tokens, and frees who ended.
    ///
    /// An error of the generator ends the sequences of that step and no other.
    pub fn step(&mut self, generator: &mut dyn Generator) -> Vec<StepOutput> {
        self.start_waiting();
        self.plan();
        let rows: Vec<Row<'_>> = self.running.iter().filter_map(Sequence::row).collect();
        if rows.is_empty() {
            return Vec::new();
        }
        let wanted = rows.len();
        let answer = generator.step(&rows).and_then(|logits| match logits.len() == wanted {
            true => Ok(logits),
            false => Err(BackendError::new("wrong number of rows")),
        });
        let stepped = self.running.iter_mut().filter(|sequence| sequence.chunk > 0);
        let outputs = match answer {
            Ok(logits) => stepped
                .zip(logits)
                .filter_map(|(sequence, logits)| sequence.advance(logits, self.vocabulary, &self.eos))
                .collect(),
            Err(error) => stepped.map(|sequence| sequence.fail(error)).collect(),
        };
        self.release_ended(generator);
        outputs
    }

    /// Whether a step would do nothing.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// Sequences that run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Requests that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn live(&self) -> impl Iterator<Item = &Sequence> {
        self.waiting.iter().chain(&self.running)
    }

    fn start_waiting(&mut self) {
        let mut reserved: usize = self.running.iter().map(Sequence::reservation).sum();
        while self.running.len() < self.limits.running {
            let fits = |next: &mut Sequence| reserved + next.reservation() <= self.limits.cache_tokens;
            let Some(next) = self.waiting.pop_front_if(fits) else { return };
            reserved += next.reservation();
            self.running.push(next);
        }
    }

    /// Shares the step's tokens out: first to those who generate, then to prompts, oldest first.
    fn plan(&mut self) {
        let mut left = self.limits.step_tokens;
        for reads_prompt in [false, true] {
            for sequence in self.running.iter_mut().filter(|next| (next.generated == 0) == reads_prompt) {
                sequence.chunk = left.min(sequence.tokens.len() - sequence.cached);
                sequence.started |= sequence.chunk > 0;
                left -= sequence.chunk;
            }
        }
    }

    fn release_ended(&mut self, generator: &mut dyn Generator) {
        self.running.retain(|sequence| {
            if sequence.ended && sequence.started {
                generator.release(sequence.id);
            }
            !sequence.ended
        });
    }
}

impl Sequence {
    /// Tokens that the cache may come to hold.
    fn reservation(&self) -> usize {
        self.tokens.len() - self.generated + self.max_tokens
    }

    /// What this step appends, if anything.
    fn row(&self) -> Option<Row<'_>> {
        let tokens = self.tokens.get(self.cached..self.cached + self.chunk)?;
        (!tokens.is_empty()).then_some(Row { sequence: self.id, tokens })
    }

    /// Takes the answer to this step's row; `None` while the prompt is still being read.
    fn advance(&mut self, logits: Vec<f32>, vocabulary: usize, eos: &[TokenId]) -> Option<StepOutput> {
        self.cached += self.chunk;
        self.chunk = 0;
        if self.cached < self.tokens.len() {
            return None;
        }
        if logits.len() != vocabulary {
            return Some(self.fail(BackendError::new("wrong number of logits")));
        }
        let token = match self.sampler.draw(logits) {
            Ok(token) => token,
            Err(error) => return Some(self.fail(error)),
        };
        self.tokens.push(token);
        self.generated += 1;
        let reason = if !self.ignore_eos && eos.contains(&token) {
            Some(FinishReason::Stop)
        } else if self.generated >= self.max_tokens {
            Some(FinishReason::Length)
        } else {
            None
        };
        self.ended = reason.is_some();
        Some(StepOutput { sequence: self.id, token: Some(token), finish: reason.map(Finish::Done) })
    }

    fn fail(&mut self, error: BackendError) -> StepOutput {
        self.ended = true;
        StepOutput { sequence: self.id, token: None, finish: Some(Finish::Failed(error)) }
    }
}

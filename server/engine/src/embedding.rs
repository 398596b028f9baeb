//! Which inputs are embedded together: batches of limited size, filled across requests.

use crate::admission::{all_known, wide};
use crate::fairness::{Turns, part};
use crate::{BackendError, Embedder, Moment, RequestId, SubmitError, Tenancy, TokenField, TokenId};
use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;

/// The limits of an [`EmbeddingBatcher`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbeddingLimits {
    /// The most tokens in one batch; at least one whole context.
    pub batch_tokens: usize,
    /// The most inputs in one batch.
    pub batch_inputs: usize,
    /// The inputs that may wait, shared out as [`GenerationLimits::waiting`](crate::GenerationLimits::waiting) is. One request is taken
    /// when nothing of its domain waits, however many it has.
    pub waiting_inputs: usize,
    /// The tokens that may wait, shared out likewise, with the same exception.
    pub waiting_tokens: usize,
}

impl Default for EmbeddingLimits {
    fn default() -> Self {
        Self { batch_tokens: 16_384, batch_inputs: 64, waiting_inputs: 8_192, waiting_tokens: 2_097_152 }
    }
}

/// The end of one embedding request.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddingOutput {
    /// The request.
    pub request: RequestId,
    /// One vector for each input, in order.
    pub vectors: Result<Vec<Vec<f32>>, Unanswered>,
}

/// Why a request that was taken has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unanswered {
    /// The model failed.
    Failed(BackendError),
    /// Its time was over.
    Late,
}

/// Collects requests and embeds them in batches, which domains fill in turns by the tokens that each had for its share; within a domain,
/// first come, first served.
///
/// A request with many inputs is spread over several batches, and small requests share one. Every request that was
/// taken ends exactly once: in an [`EmbeddingOutput`], or in [`Self::cancel`].
#[derive(Debug)]
pub struct EmbeddingBatcher {
    limits: EmbeddingLimits,
    context: usize,
    dimensions: usize,
    vocabulary: usize,
    turns: Turns,
    waiting: VecDeque<Request>,
}

struct Request {
    id: RequestId,
    tenancy: Tenancy,
    inputs: Vec<Vec<TokenId>>,
    /// The vectors of the first inputs.
    vectors: Vec<Vec<f32>>,
    /// How many of the next inputs are in the batch under way.
    planned: usize,
    ends_by: Moment,
    unanswered: Option<Unanswered>,
}

impl fmt::Debug for Request {
    /// Without the caller's text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("id", &self.id)
            .field("tenancy", &self.tenancy)
            .field("inputs", &self.inputs.len())
            .field("vectors", &self.vectors.len())
            .field("planned", &self.planned)
            .finish_non_exhaustive()
    }
}

impl EmbeddingBatcher {
    /// A batcher for this embedder, with nothing to do. Token ids must be below `vocabulary`.
    #[must_use]
    pub fn new(limits: EmbeddingLimits, embedder: &dyn Embedder, vocabulary: usize) -> Self {
        let limits = EmbeddingLimits {
            batch_tokens: limits.batch_tokens.max(embedder.context()),
            batch_inputs: limits.batch_inputs.max(1),
            ..limits
        };
        let (context, dimensions) = (embedder.context(), embedder.dimensions());
        Self { limits, context, dimensions, vocabulary, turns: Turns::default(), waiting: VecDeque::new() }
    }

    /// Takes a request; it is embedded in later steps, or given up at `ends_by`.
    ///
    /// # Errors
    /// [`SubmitError`]; the request is not kept.
    pub fn submit(
        &mut self,
        id: RequestId,
        tenancy: Tenancy,
        inputs: Vec<Vec<TokenId>>,
        ends_by: Moment,
    ) -> Result<(), SubmitError> {
        if inputs.is_empty() || inputs.iter().any(Vec::is_empty) {
            return Err(SubmitError::Empty);
        }
        let longest = inputs.iter().map(Vec::len).max().unwrap_or_default();
        if longest > self.context {
            return Err(SubmitError::TooLong { tokens: wide(longest), limit: wide(self.context) });
        }
        if !all_known(inputs.iter().flatten().copied(), self.vocabulary) {
            return Err(SubmitError::UnknownToken(TokenField::Prompt));
        }
        if self.waiting.iter().any(|request| request.id == id) {
            return Err(SubmitError::InUse);
        }
        if !self.may_wait(tenancy, &inputs) {
            return Err(SubmitError::Overloaded);
        }
        self.turns.arrive(tenancy.domain);
        let (vectors, unanswered) = (Vec::new(), None);
        self.waiting.push_back(Request { id, tenancy, inputs, vectors, planned: 0, ends_by, unanswered });
        Ok(())
    }

    /// Whether a domain's part of what waits holds these inputs too.
    fn may_wait(&self, tenancy: Tenancy, inputs: &[Vec<TokenId>]) -> bool {
        let own = || self.waiting.iter().filter(|request| request.tenancy.domain == tenancy.domain);
        let tokens: usize = own().flat_map(Request::left).chain(inputs).map(Vec::len).sum();
        let part = |limit| part(limit, tenancy, self.waiting.iter().map(|request| request.tenancy));
        own().next().is_none()
            || (own().flat_map(Request::left).count() + inputs.len() <= part(self.limits.waiting_inputs)
                && tokens <= part(self.limits.waiting_tokens))
    }

    /// Forgets a request. False when it is not alive. No output about it follows.
    pub fn cancel(&mut self, id: RequestId) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|request| request.id != id);
        self.waiting.len() < before
    }

    /// Ends who is late at `now`, embeds one batch and answers the requests that are complete. A failure ends the requests of that batch.
    pub fn step(&mut self, now: Moment, embedder: &mut dyn Embedder) -> Vec<EmbeddingOutput> {
        for request in self.waiting.iter_mut().filter(|request| request.ends_by <= now) {
            request.unanswered = Some(Unanswered::Late);
        }
        let mut outputs = self.take_ended();
        self.plan();
        let batch: Vec<&[TokenId]> = self.waiting.iter().flat_map(Request::batch).collect();
        if batch.is_empty() {
            return outputs;
        }
        let answer = embedder.embed(&batch).and_then(|vectors| match vectors.len() == batch.len() {
            true => Ok(vectors),
            false => Err(BackendError::new("wrong number of vectors")),
        });
        match answer {
            Ok(vectors) => {
                let mut vectors = vectors.into_iter();
                for request in &mut self.waiting {
                    request.take(&mut vectors, self.dimensions);
                }
            }
            Err(error) => {
                for request in self.waiting.iter_mut().filter(|request| request.planned > 0) {
                    request.unanswered = Some(Unanswered::Failed(error));
                }
            }
        }
        outputs.extend(self.take_ended());
        outputs
    }

    /// Whether a step would do nothing.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Inputs that wait, and their tokens.
    #[must_use]
    pub fn load(&self) -> (usize, usize) {
        let waiting = || self.waiting.iter().flat_map(Request::left);
        (waiting().count(), waiting().map(Vec::len).sum())
    }

    /// Marks the inputs that fit one batch, each the oldest of the domain whose turn it is.
    fn plan(&mut self) {
        let mut queues: HashMap<_, VecDeque<usize>> = HashMap::new();
        for (at, request) in self.waiting.iter_mut().enumerate() {
            request.planned = 0;
            queues.entry(request.tenancy.domain).or_default().push_back(at);
        }
        let mut tokens = self.limits.batch_tokens;
        for _ in 0..self.limits.batch_inputs {
            let turn = |(domain, queue): (_, &VecDeque<usize>)| {
                Some((self.turns.time(domain), *queue.front()?, domain))
            };
            let next = queues.iter().filter_map(|(domain, queue)| turn((*domain, queue))).min();
            let Some((_, at, domain)) = next else { return };
            let Some(request) = self.waiting.get_mut(at) else { return };
            let Some(length) = request.left().nth(request.planned).map(Vec::len) else { return };
            if length > tokens {
                // Whoever comes later stays behind, or a long input might wait for ever.
                return;
            }
            tokens -= length;
            request.planned += 1;
            self.turns.charge(domain, length, request.tenancy.share);
            if request.left().count() == request.planned
                && let Some(queue) = queues.get_mut(&domain)
            {
                queue.pop_front();
            }
        }
    }

    fn take_ended(&mut self) -> Vec<EmbeddingOutput> {
        let all = std::mem::take(&mut self.waiting);
        let (ended, waiting): (VecDeque<_>, _) = all.into_iter().partition(Request::has_ended);
        self.waiting = waiting;
        let output = |request: Request| EmbeddingOutput {
            request: request.id,
            vectors: request.unanswered.map_or(Ok(request.vectors), Err),
        };
        let busy: HashSet<_> = self.waiting.iter().map(|request| request.tenancy.domain).collect();
        self.turns.forget(|domain| busy.contains(&domain));
        ended.into_iter().map(output).collect()
    }
}

impl Request {
    /// The inputs that have no vector yet.
    fn left(&self) -> impl Iterator<Item = &Vec<TokenId>> {
        self.inputs.iter().skip(self.vectors.len())
    }

    /// The inputs that are in the batch under way.
    fn batch(&self) -> impl Iterator<Item = &[TokenId]> {
        self.inputs.iter().skip(self.vectors.len()).take(self.planned).map(Vec::as_slice)
    }

    /// Takes this request's share of a batch's vectors.
    fn take(&mut self, vectors: &mut impl Iterator<Item = Vec<f32>>, dimensions: usize) {
        for vector in vectors.take(self.planned) {
            let failed = |code| Some(Unanswered::Failed(BackendError::new(code)));
            if vector.len() != dimensions {
                self.unanswered = failed("wrong length of a vector");
            } else if !vector.iter().all(|value| value.is_finite()) {
                self.unanswered = failed("a vector is not finite");
            }
            self.vectors.push(vector);
        }
        self.planned = 0;
    }

    fn has_ended(&self) -> bool {
        self.unanswered.is_some() || self.vectors.len() == self.inputs.len()
    }
}

//! Which inputs are embedded together: batches of limited size, filled across requests.

use crate::admission::{all_known, wide};
use crate::{BackendError, Embedder, Moment, RequestId, SubmitError, TokenId};
use std::collections::VecDeque;

/// The limits of an [`EmbeddingBatcher`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbeddingLimits {
    /// The most tokens in one batch; at least one whole context.
    pub batch_tokens: usize,
    /// The most inputs in one batch.
    pub batch_inputs: usize,
    /// The most inputs that wait. One request is taken when nothing waits, however many it has.
    pub waiting_inputs: usize,
    /// The most tokens that wait, with the same exception.
    pub waiting_tokens: usize,
}

impl Default for EmbeddingLimits {
    fn default() -> Self {
        Self { batch_tokens: 16_384, batch_inputs: 64, waiting_inputs: 4_096, waiting_tokens: 1_048_576 }
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

/// Collects requests and embeds them in batches, first come, first served.
///
/// A request with many inputs is spread over several batches, and small requests share one. Every request that was
/// taken ends exactly once: in an [`EmbeddingOutput`], or in [`Self::cancel`].
#[derive(Debug)]
pub struct EmbeddingBatcher {
    limits: EmbeddingLimits,
    context: usize,
    dimensions: usize,
    vocabulary: usize,
    waiting: VecDeque<Request>,
}

#[derive(Debug)]
struct Request {
    id: RequestId,
    inputs: Vec<Vec<TokenId>>,
    /// The vectors of the first inputs.
    vectors: Vec<Vec<f32>>,
    /// How many of the next inputs are in the batch under way.
    planned: usize,
    ends_by: Moment,
    unanswered: Option<Unanswered>,
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
        Self { limits, context, dimensions, vocabulary, waiting: VecDeque::new() }
    }

    /// Takes a request; it is embedded in later steps, or given up at `ends_by`.
    ///
    /// # Errors
    /// [`SubmitError`]; the request is not kept.
    pub fn submit(
        &mut self,
        id: RequestId,
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
            return Err(SubmitError::UnknownToken);
        }
        if self.waiting.iter().any(|request| request.id == id) {
            return Err(SubmitError::InUse);
        }
        let (queued, tokens) = self.load();
        let more: usize = inputs.iter().map(Vec::len).sum();
        let fits = queued + inputs.len() <= self.limits.waiting_inputs
            && tokens + more <= self.limits.waiting_tokens;
        if !fits && !self.waiting.is_empty() {
            return Err(SubmitError::Overloaded);
        }
        let (vectors, unanswered) = (Vec::new(), None);
        self.waiting.push_back(Request { id, inputs, vectors, planned: 0, ends_by, unanswered });
        Ok(())
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
        let waiting =
            || self.waiting.iter().flat_map(|request| request.inputs.iter().skip(request.vectors.len()));
        (waiting().count(), waiting().map(Vec::len).sum())
    }

    /// Marks the oldest inputs that fit one batch.
    fn plan(&mut self) {
        let mut tokens = self.limits.batch_tokens;
        let mut inputs = self.limits.batch_inputs;
        for request in &mut self.waiting {
            request.planned = 0;
            for input in request.inputs.iter().skip(request.vectors.len()) {
                if inputs == 0 || input.len() > tokens {
                    // Whoever comes later stays behind, or a long input might wait for ever.
                    (inputs, tokens) = (0, 0);
                    break;
                }
                request.planned += 1;
                inputs -= 1;
                tokens -= input.len();
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
        ended.into_iter().map(output).collect()
    }
}

impl Request {
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

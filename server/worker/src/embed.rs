//! The steps of a model that embeds texts or scores pairs of them: a score is a vector of one number.

use crate::intake::Job;
use crate::serve::{Steps, refusal};
use anchorhold_engine::{Embedder, EmbeddingBatcher, EmbeddingLimits, Load, Moment, RequestId, Unanswered};
use anchorhold_ipc::{Event, MAX_FRAME_BYTES, RejectReason, RequestError};
use std::collections::HashMap;

/// What the inputs of the model are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// Texts, which become vectors.
    Texts,
    /// A query and a document each, which are scored.
    Pairs,
}

pub(crate) struct Embedding {
    of: Of,
    batcher: EmbeddingBatcher,
    embedder: Box<dyn Embedder>,
    dimensions: usize,
    /// Tokens of each live request.
    tokens_in: HashMap<RequestId, u64>,
}

impl Embedding {
    pub(crate) fn new(
        limits: EmbeddingLimits,
        (embedder, of): (Box<dyn Embedder>, Of),
        vocabulary: usize,
    ) -> Self {
        let batcher = EmbeddingBatcher::new(limits, embedder.as_ref(), vocabulary);
        let dimensions = embedder.dimensions();
        Self { of, batcher, embedder, dimensions, tokens_in: HashMap::new() }
    }
}

/// How many vectors fit into one frame, each with its length before it and the rest of the event beside them.
fn inputs_of_one_answer(dimensions: usize) -> usize {
    const BESIDE: usize = 64;
    const LENGTH: usize = 5;
    let one = dimensions.saturating_mul(size_of::<f32>()).saturating_add(LENGTH);
    (MAX_FRAME_BYTES - BESIDE) / one
}

impl Steps for Embedding {
    fn submit(&mut self, id: RequestId, ends_by: Moment, job: Job) -> Result<(), RequestError> {
        let Job::Embed { tenancy, inputs } = job else {
            return Err(RequestError::Rejected(RejectReason::WrongKind));
        };
        let limit = inputs_of_one_answer(self.dimensions);
        if inputs.len() > limit {
            let limit = u64::try_from(limit).unwrap_or(u64::MAX);
            return Err(RequestError::Rejected(RejectReason::TooManyInputs { limit }));
        }
        let tokens: usize = inputs.iter().map(Vec::len).sum();
        self.batcher.submit(id, tenancy, inputs, ends_by).map_err(|error| refusal(&error))?;
        self.tokens_in.insert(id, u64::try_from(tokens).unwrap_or(u64::MAX));
        Ok(())
    }

    fn cancel(&mut self, id: RequestId) {
        self.batcher.cancel(id);
        self.tokens_in.remove(&id);
    }

    fn step(&mut self, now: Moment) -> Vec<Event> {
        let outputs = self.batcher.step(now, self.embedder.as_mut()).into_iter();
        outputs
            .map(|output| {
                let id = output.request;
                let tokens_in = self.tokens_in.remove(&id).unwrap_or_default();
                match output.vectors {
                    Ok(vectors) if self.of == Of::Pairs => {
                        Event::Ranked { id, scores: vectors.into_iter().flatten().collect(), tokens_in }
                    }
                    Ok(vectors) => Event::Embedded { id, vectors, tokens_in },
                    Err(Unanswered::Late) => Event::Failed { id, error: RequestError::Late },
                    Err(Unanswered::Failed(_)) => Event::Failed { id, error: RequestError::Internal },
                }
            })
            .collect()
    }

    fn load(&self) -> Load {
        let (inputs, _) = self.batcher.load();
        Load { waiting: u64::try_from(inputs).unwrap_or(u64::MAX), ..Load::default() }
    }

    fn is_idle(&self) -> bool {
        self.batcher.is_idle()
    }
}

//! What the scheduler asks of a model. The model crate implements it with tensors, tests with arithmetic.

use crate::{SequenceId, TokenId};
use std::fmt;

/// Tokens that a step appends to one sequence's cache: many while the prompt is read, one while text is generated.
///
/// The first row of a sequence makes its cache; [`Generator::release`] frees it.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// Whose cache.
    pub sequence: SequenceId,
    /// What is appended; never empty, and at most once per sequence in one step.
    pub tokens: &'a [TokenId],
}

/// A model that continues token sequences and keeps a cache for each.
pub trait Generator: Send {
    /// How many token ids there are; each is below this.
    fn vocabulary(&self) -> usize;

    /// The most tokens that one sequence's cache holds.
    fn context(&self) -> usize;

    /// Appends every row to its sequence, and answers with the logits after the last token of each row, in row order.
    ///
    /// The logits of a row depend on its own sequence only, never on the other rows of the step.
    ///
    /// # Errors
    /// The device or the arithmetic failed; the caches of the sequences in `rows` are then of no use, and the caller
    /// releases them.
    fn step(&mut self, rows: &[Row<'_>]) -> Result<Vec<Vec<f32>>, BackendError>;

    /// Frees the sequence's cache; called once for each sequence that was in a step.
    fn release(&mut self, sequence: SequenceId);
}

/// A model that turns token sequences into vectors.
pub trait Embedder: Send {
    /// The length of a vector.
    fn dimensions(&self) -> usize;

    /// The most tokens of one input.
    fn context(&self) -> usize;

    /// One vector for each input, in order. The vector of an input does not depend on the other inputs.
    ///
    /// # Errors
    /// The device or the arithmetic failed.
    fn embed(&mut self, inputs: &[&[TokenId]]) -> Result<Vec<Vec<f32>>, BackendError>;
}

/// A backend could not compute. Says where, never with which content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackendError(&'static str);

impl BackendError {
    /// An error with this code, a few words fixed at build time, such as `matmul`.
    #[must_use]
    pub const fn new(code: &'static str) -> Self {
        Self(code)
    }

    /// The code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.0
    }
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the model failed: {}", self.0)
    }
}

impl std::error::Error for BackendError {}

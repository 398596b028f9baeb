//! What keeps a sequence within a form, such as a JSON schema. The model crate implements it with a grammar, tests with a rule.

use crate::TokenId;
use std::fmt;

/// Which tokens may come next in one sequence. Knows what came before, because every drawn token is told to it once, in order: a
/// sequence that is put back and computed again keeps its constraint as it is.
pub trait Constraint: Send + fmt::Debug {
    /// Sets the logit of every token that may not come next to negative infinity, and leaves the others as they are. Tokens that end
    /// the sequence may come where the form is complete, and there only.
    ///
    /// # Errors
    /// [`TooComplex`].
    fn restrict(&mut self, logits: &mut [f32]) -> Result<(), TooComplex>;

    /// Takes the token that came: one that [`Self::restrict`] left.
    ///
    /// # Errors
    /// [`TooComplex`].
    fn accept(&mut self, token: TokenId) -> Result<(), TooComplex>;

    /// How much memory it and so many forks of it take at the most, in bytes, before they are at work.
    fn bytes(&self, forks: usize) -> usize;

    /// The same constraint for another choice of the same request. Presumes that nothing came yet.
    fn fork(&self) -> Box<dyn Constraint>;
}

/// To say what may come next takes more work than one step may have; the sequence ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the constraint takes more work than a step may have")]
pub struct TooComplex;

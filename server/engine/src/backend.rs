//! What the scheduler asks of a model. The model crate implements it with tensors, tests with arithmetic.

use crate::admission::all_known;
use crate::{Draw, TokenId};
use std::fmt;

/// A block of the cache: the keys and values of as many positions as [`Generator::block`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub u32);

impl BlockId {
    /// Its place among all blocks.
    #[must_use]
    pub fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// Tokens that a step appends to one sequence: many while the prompt is read, one while text is generated.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    /// What is appended; never empty.
    pub tokens: &'a [TokenId],
    /// Positions of the sequence that were computed before.
    pub start: usize,
    /// Where its positions lie, block by block from the first on, those that are appended too. Blocks that hold earlier positions
    /// alone may be those of other rows as well, and are not written.
    pub blocks: &'a [BlockId],
}

/// What a generator holds, for its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowLimits {
    /// As [`Generator::vocabulary`].
    pub vocabulary: usize,
    /// As [`Generator::context`].
    pub context: usize,
    /// As [`Generator::block`]; not 0.
    pub block: usize,
}

impl Row<'_> {
    /// Whether a generator with these limits can compute it.
    ///
    /// # Errors
    /// It is empty or too long, a token is unknown, or its blocks are not as many as its positions take.
    pub fn check(&self, limits: RowLimits) -> Result<(), BackendError> {
        if self.tokens.is_empty() {
            return Err(BackendError::new("a row is empty"));
        }
        if !all_known(self.tokens.iter().copied(), limits.vocabulary) {
            return Err(BackendError::new("a token is not in the vocabulary"));
        }
        let end = self.start.saturating_add(self.tokens.len());
        if end > limits.context {
            return Err(BackendError::new("a sequence is longer than the context"));
        }
        if self.blocks.len() != end.div_ceil(limits.block) {
            return Err(BackendError::new("a row has not as many blocks as its positions take"));
        }
        Ok(())
    }
}

impl fmt::Debug for Row<'_> {
    /// Without the caller's text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Row")
            .field("tokens", &self.tokens.len())
            .field("start", &self.start)
            .field("blocks", &self.blocks)
            .finish()
    }
}

/// What the caller of [`Generator::step_and_draw`] needs of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Wanted {
    /// That it is computed: more of its tokens follow in a later step.
    Nothing,
    /// The logits after its last token.
    Logits,
    /// The token that this draw gives; logits will do.
    Token(Draw),
}

/// What a row of [`Generator::step_and_draw`] gets.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The row wanted nothing.
    Nothing,
    /// The logits after its last token.
    Logits(Vec<f32>),
    /// The token that its draw gave, or why there is none.
    Token(Result<TokenId, BackendError>),
}

/// A model that continues token sequences. Its cache is a number of blocks; the caller says which sequence has which.
pub trait Generator: Send {
    /// How many token ids there are; each is below this.
    fn vocabulary(&self) -> usize;

    /// The most positions of one sequence.
    fn context(&self) -> usize;

    /// The positions of one block.
    fn block(&self) -> usize;

    /// The most positions that its cache can hold, at least one whole context; a scheduler uses no block beyond them.
    fn capacity(&self) -> usize {
        usize::MAX
    }

    /// Computes every row and writes its keys and values to its blocks; answers with the logits after the last token of each row, in
    /// row order.
    ///
    /// The logits of a row depend on the tokens of its own sequence only: not on the other rows of the step, nor on how the
    /// tokens before were cut into steps, nor on who computed the blocks that hold them.
    ///
    /// # Errors
    /// The device or the arithmetic failed; what was to be written is then of no use.
    fn step(&mut self, rows: &[Row<'_>]) -> Result<Vec<Vec<f32>>, BackendError>;

    /// The same step, for a caller who needs a token more often than logits: a model whose logits are far away draws where they are.
    /// `wanted` has one entry for each row; a row gets what it wanted, or its logits.
    ///
    /// # Errors
    /// As [`Self::step`].
    fn step_and_draw(&mut self, rows: &[Row<'_>], wanted: &[Wanted]) -> Result<Vec<Answer>, BackendError> {
        let _ = wanted;
        Ok(self.step(rows)?.into_iter().map(Answer::Logits).collect())
    }

    /// Overwrites these blocks, so that nothing is left of what was in them.
    fn erase(&mut self, blocks: &[BlockId]);
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
pub struct BackendError {
    code: &'static str,
    is_final: bool,
}

impl BackendError {
    /// A logit is infinite, or no number.
    pub const NOT_FINITE: Self = Self::new("a logit is not finite");

    /// An error with this code, a few words fixed at build time, such as `matmul`.
    #[must_use]
    pub const fn new(code: &'static str) -> Self {
        Self { code, is_final: false }
    }

    /// The same of a backend that computes nothing any more, such as a device that is lost: only a new process can go on.
    #[must_use]
    pub const fn last(code: &'static str) -> Self {
        Self { code, is_final: true }
    }

    /// Whether nothing can be computed any more.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        self.is_final
    }

    /// The code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.code
    }
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the model failed: {}", self.code)
    }
}

impl std::error::Error for BackendError {}

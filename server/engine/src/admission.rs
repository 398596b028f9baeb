//! Why a queue does not take a request.

use crate::TokenId;

/// Why a request was not taken. Nothing of it was kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// As much waits as may; the request may be tried again.
    #[error("too much waits already")]
    Overloaded,
    /// No tokens, so nothing to go on from.
    #[error("no tokens")]
    Empty,
    /// Prompt, or prompt and output, do not fit the model's context.
    #[error("{tokens} tokens, the context holds {limit}")]
    TooLong {
        /// Tokens of the prompt and of the output that was asked for.
        tokens: u64,
        /// Tokens that fit.
        limit: u64,
    },
    /// A token id that the model does not have.
    #[error("a token outside the vocabulary")]
    UnknownToken,
    /// A live request has this id.
    #[error("the id is in use")]
    InUse,
}

/// Whether all `tokens` are below `vocabulary`.
pub(crate) fn all_known(mut tokens: impl Iterator<Item = TokenId>, vocabulary: usize) -> bool {
    tokens.all(|token| usize::try_from(token).is_ok_and(|token| token < vocabulary))
}

/// A count for an error's text.
pub(crate) fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

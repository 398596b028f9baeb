//! Why a queue does not take a request.

use crate::{GenerationRequest, TokenId};
use serde::{Deserialize, Serialize};

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
    UnknownToken(TokenField),
    /// A live request has this id.
    #[error("the id is in use")]
    InUse,
}

/// Where a request names tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenField {
    /// In the prompt, or in an input.
    Prompt,
    /// Among the tokens that end the output.
    StopTokens,
    /// Among those whose logits are changed.
    LogitBias,
}

/// Whether all `tokens` are below `vocabulary`.
pub(crate) fn all_known(mut tokens: impl Iterator<Item = TokenId>, vocabulary: usize) -> bool {
    tokens.all(|token| usize::try_from(token).is_ok_and(|token| token < vocabulary))
}

/// The first field of a request that names a token outside the vocabulary.
pub(crate) fn field_of_unknown(request: &GenerationRequest, vocabulary: usize) -> Option<TokenField> {
    let known = |tokens: &[TokenId]| all_known(tokens.iter().copied(), vocabulary);
    let biased = request.sampling.logit_bias.iter().map(|(token, _)| *token);
    if !known(&request.prompt) {
        Some(TokenField::Prompt)
    } else if !known(&request.stop_tokens) {
        Some(TokenField::StopTokens)
    } else if !all_known(biased, vocabulary) {
        Some(TokenField::LogitBias)
    } else {
        None
    }
}

/// A count for an error's text.
pub(crate) fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

//! The text of one sequence on its way out: tokens to whole characters, and characters past the stop texts.

use crate::Decoder;
use anchorhold_engine::TokenId;
use anchorhold_model::{Passed, StopMatcher};

/// Holds back what may still become a character or a stop text.
pub(crate) struct Text {
    decoder: Box<dyn Decoder>,
    stops: StopMatcher,
}

impl Text {
    pub(crate) fn new(decoder: Box<dyn Decoder>, stops: &[String]) -> Self {
        Self { decoder, stops: StopMatcher::new(stops) }
    }

    /// What may leave after this token.
    pub(crate) fn push(&mut self, token: TokenId) -> Passed {
        self.stops.push(&self.decoder.push(token))
    }

    /// What was still held back. `last` is the token that the request's length allowed, and not one that ends a text.
    pub(crate) fn finish(mut self, last: Option<TokenId>) -> Passed {
        let mut characters = last.map(|token| self.decoder.push(token)).unwrap_or_default();
        characters += &self.decoder.finish();
        let mut passed = self.stops.push(&characters);
        if !passed.stopped {
            passed.text += &self.stops.finish();
        }
        passed
    }
}

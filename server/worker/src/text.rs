//! The text of one choice on its way out: tokens to whole characters, and characters past the stop texts.

use crate::Decoder;
use anchorhold_engine::TokenId;
use anchorhold_ipc::ToldToken;
use anchorhold_model::{Passed, StopMatcher};
use std::collections::VecDeque;

/// After so many tokens without a character, none of them is waited with any longer. No character takes as many.
const MAX_OPEN: usize = 16;

/// Holds back what may still become a character or a stop text, and what is told of its tokens with it.
pub(crate) struct Text {
    decoder: Box<dyn Decoder>,
    stops: StopMatcher,
    /// Bytes of whole characters so far.
    decoded: usize,
    /// Bytes that left so far.
    left: usize,
    held: VecDeque<Held>,
}

/// What is told of a token whose text has not left.
struct Held {
    told: ToldToken,
    /// Where its text ends; `None` until its last character is whole.
    end: Option<usize>,
}

/// What may leave.
#[derive(Default)]
pub(crate) struct Released {
    pub(crate) text: String,
    /// Of tokens all of whose text has left.
    pub(crate) told: Vec<ToldToken>,
    /// Whether a stop text was found; nothing follows.
    pub(crate) stopped: bool,
}

impl Text {
    pub(crate) fn new(decoder: Box<dyn Decoder>, stops: &[String]) -> Self {
        Self { decoder, stops: StopMatcher::new(stops), decoded: 0, left: 0, held: VecDeque::new() }
    }

    /// Stands where a text was that is finished.
    pub(crate) fn empty() -> Self {
        Self::new(Box::new(Nothing), &[])
    }

    /// What may leave after this token.
    pub(crate) fn push(&mut self, token: TokenId, told: Option<ToldToken>) -> Released {
        let characters = self.decoder.push(token);
        self.hold(told, &characters);
        let passed = self.stops.push(&characters);
        self.release(passed)
    }

    /// What was still held back. `last` is a token that is part of the text, and not one that only ends it.
    pub(crate) fn finish(mut self, last: Option<(TokenId, Option<ToldToken>)>) -> Released {
        let mut characters = String::new();
        if let Some((token, told)) = last {
            characters = self.decoder.push(token);
            self.hold(told, &characters);
        }
        let rest = std::mem::replace(&mut self.decoder, Box::new(Nothing)).finish();
        self.decoded += rest.len();
        self.close();
        characters += &rest;
        let mut passed = self.stops.push(&characters);
        if !passed.stopped {
            let stops = std::mem::replace(&mut self.stops, StopMatcher::new(&[]));
            passed.text += &stops.finish();
        }
        self.release(passed)
    }

    /// Keeps what is told of a token after which these characters were whole.
    fn hold(&mut self, told: Option<ToldToken>, characters: &str) {
        let open = self.held.iter().rev().take_while(|held| held.end.is_none()).count();
        self.decoded += characters.len();
        if let Some(mut told) = told {
            if open == 0 && !characters.is_empty() {
                // As it stands in the text: some tokenizers drop a space at its beginning.
                told.token.bytes = characters.as_bytes().to_vec();
            }
            self.held.push_back(Held { told, end: None });
        }
        if !characters.is_empty() || open >= MAX_OPEN {
            self.close();
        }
    }

    /// The characters of all tokens so far are whole.
    fn close(&mut self) {
        for held in self.held.iter_mut().rev().take_while(|held| held.end.is_none()) {
            held.end = Some(self.decoded);
        }
    }

    fn release(&mut self, passed: Passed) -> Released {
        let Passed { text, stopped } = passed;
        self.left += text.len();
        let mut told = Vec::new();
        while self.held.front().is_some_and(|held| held.end.is_some_and(|end| end <= self.left)) {
            told.extend(self.held.pop_front().map(|held| held.told));
        }
        Released { text, told, stopped }
    }
}

/// Stands where a decoder was.
struct Nothing;

impl Decoder for Nothing {
    fn push(&mut self, _: TokenId) -> String {
        String::new()
    }

    fn finish(self: Box<Self>) -> String {
        String::new()
    }
}

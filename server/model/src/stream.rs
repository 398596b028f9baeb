//! Text that grows token by token: whole characters only, and an end at a stop text.

use crate::text::Codec;
use anchorhold_engine::TokenId;

/// The most tokens that are held back because they end inside a character. No character takes as many.
const MAX_HELD: usize = 16;

/// Turns tokens that come one at a time into text.
///
/// A token may end inside a character; it is then held back until the character is whole. The pieces together are the text of all tokens.
#[derive(Debug)]
pub struct TextStream {
    codec: Codec,
    /// Tokens whose text is out, as context for the next (a tokenizer may join a token to the one before), then tokens held back.
    window: Vec<TokenId>,
    shown: usize,
}

impl TextStream {
    pub(crate) fn new(codec: Codec) -> Self {
        Self { codec, window: Vec::new(), shown: 0 }
    }

    /// Takes a token and gives the text that is now whole; empty if none is.
    pub fn push(&mut self, token: TokenId) -> String {
        self.window.push(token);
        self.take(false)
    }

    /// Gives what was held back. What never became a character is the replacement character.
    pub fn finish(mut self) -> String {
        self.take(true)
    }

    fn take(&mut self, all: bool) -> String {
        let decode = |tokens: &[TokenId]| self.codec.decode(tokens).unwrap_or_default();
        let whole = decode(&self.window);
        let before = decode(self.window.get(..self.shown).unwrap_or_default());
        let held = self.window.len() - self.shown;
        let incomplete = whole.ends_with('\u{FFFD}') && !all && held < MAX_HELD;
        let new = whole.get(before.len()..).filter(|new| !incomplete && !new.is_empty()).map(str::to_owned);
        let Some(new) = new else {
            if held >= MAX_HELD {
                self.keep_last(held);
            }
            return String::new();
        };
        self.keep_last(held);
        new
    }

    /// Forgets the shown tokens; the `held` ones are the context from now on.
    fn keep_last(&mut self, held: usize) {
        self.window = self.window.split_off(self.window.len() - held);
        self.shown = held;
    }
}

/// Finds the first of some stop texts in text that comes in pieces.
///
/// The stop text that is whole first wins, and of several that end together the longest. That does not depend on how the text is cut.
#[derive(Debug)]
pub struct StopMatcher {
    stops: Vec<String>,
    held: String,
    stopped: bool,
}

/// What a piece of text led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// Text before any stop text, now certain.
    pub text: String,
    /// Whether a stop text was found; nothing follows.
    pub stopped: bool,
}

impl StopMatcher {
    /// A matcher for these texts; empty ones are left out.
    #[must_use]
    pub fn new(stops: &[String]) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        Self { stops, held: String::new(), stopped: false }
    }

    /// Takes a piece of text. What may be the beginning of a stop text is held back.
    pub fn push(&mut self, text: &str) -> Passed {
        if self.stopped {
            return Passed { text: String::new(), stopped: true };
        }
        self.held.push_str(text);
        let found = self.stops.iter().filter_map(|stop| {
            let start = self.held.find(stop.as_str())?;
            Some((start + stop.len(), start))
        });
        if let Some((_, start)) = found.min() {
            self.held.truncate(start);
            self.stopped = true;
            return Passed { text: std::mem::take(&mut self.held), stopped: true };
        }
        let keep = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        Passed { text: std::mem::replace(&mut self.held, rest), stopped: false }
    }

    /// Gives what was held back, when no more text comes.
    #[must_use]
    pub fn finish(self) -> String {
        self.held
    }
}

/// The length of the longest end of `text` that is a beginning of `stop`, but not all of it.
fn overlap(text: &str, stop: &str) -> usize {
    let starts = stop.char_indices().map(|(at, _)| at).rev();
    starts
        .filter(|&len| len <= text.len())
        .find(|&len| stop.get(..len).is_some_and(|start| text.ends_with(start)))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let stops: Vec<String> = stops.iter().map(ToString::to_string).collect();
        let mut matcher = StopMatcher::new(&stops);
        let mut out = String::new();
        for piece in pieces {
            let passed = matcher.push(piece);
            out += &passed.text;
            if passed.stopped {
                return (out, true);
            }
        }
        out += &matcher.finish();
        (out, false)
    }

    #[test]
    fn stops_are_found_however_the_text_is_cut() {
        let text = "one two the end of three";
        for stops in [["end"].as_slice(), &["three", "the"], &["xyz", "e e", "the end"], &["zzz"], &[""]] {
            let whole = cut(stops, &[text]);
            for size in 1..8 {
                let pieces: Vec<String> =
                    text.as_bytes().chunks(size).map(|c| String::from_utf8(c.to_vec()).unwrap()).collect();
                let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
                assert_eq!(cut(stops, &pieces), whole, "{stops:?} {size}");
            }
        }
        assert_eq!(cut(&["three", "the"], &[text]), ("one two ".into(), true));
        assert_eq!(cut(&["abcdef", "cd"], &["ab", "cdef"]), ("ab".into(), true));
        assert_eq!(cut(&["bcd", "abcd"], &["xabcd"]), ("x".into(), true));
    }

    #[test]
    fn a_beginning_of_a_stop_text_is_held_back_and_flushed() {
        let mut matcher = StopMatcher::new(&["</end>".into()]);
        assert_eq!(matcher.push("a </e").text, "a ");
        assert_eq!(matcher.push("x").text, "</ex");
        assert_eq!(matcher.push("é<").text, "é");
        assert_eq!(matcher.finish(), "<");
    }

    #[test]
    fn nothing_follows_a_stop() {
        let mut matcher = StopMatcher::new(&["b".into()]);
        assert_eq!(matcher.push("abc"), Passed { text: "a".into(), stopped: true });
        assert_eq!(matcher.push("d"), Passed { text: String::new(), stopped: true });
    }
}

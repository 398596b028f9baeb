//! Special tokens that a text shows, so that what reads it can tell calls by them.

use crate::Decoder;
use anchorhold_engine::TokenId;

/// Decodes as the decoders that `fresh` makes, and shows these tokens by their texts, which those leave out.
pub(crate) struct ShownMarks<F> {
    fresh: F,
    decoder: Box<dyn Decoder>,
    marks: Vec<(TokenId, &'static str)>,
}

impl<F: Fn() -> Box<dyn Decoder>> ShownMarks<F> {
    pub(crate) fn new(fresh: F, marks: Vec<(TokenId, &'static str)>) -> Self {
        Self { decoder: fresh(), fresh, marks }
    }
}

impl<F: Fn() -> Box<dyn Decoder> + Send> Decoder for ShownMarks<F> {
    fn push(&mut self, token: TokenId) -> String {
        let Some((_, text)) = self.marks.iter().find(|(mark, _)| *mark == token) else {
            return self.decoder.push(token);
        };
        // No character spans a special token.
        std::mem::replace(&mut self.decoder, (self.fresh)()).finish() + text
    }

    fn finish(self: Box<Self>) -> String {
        self.decoder.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Letters by their numbers, each held back until the next token; others have no text.
    #[derive(Default)]
    struct Late(String);

    impl Decoder for Late {
        fn push(&mut self, token: TokenId) -> String {
            let letter = char::from_u32(token).filter(char::is_ascii_alphabetic).map(String::from);
            std::mem::replace(&mut self.0, letter.unwrap_or_default())
        }

        fn finish(self: Box<Self>) -> String {
            self.0
        }
    }

    #[test]
    fn marks_stand_between_the_texts_around_them_and_others_stay_hidden() {
        let mut shown = Box::new(ShownMarks::new(|| Box::<Late>::default() as _, vec![(7, "[TOOL_CALLS]")]));
        let pieces: Vec<String> = [97, 98, 7, 8, 7, 99].map(|token| shown.push(token)).into();
        assert_eq!(pieces, ["", "a", "b[TOOL_CALLS]", "", "[TOOL_CALLS]", ""]);
        assert_eq!(shown.finish(), "c");
    }
}

//! Questions about tokens. The thread that turns text into tokens answers them; the model's steps never see them.

use crate::Language;
use crate::intake::{Intake, refusal};
use anchorhold_engine::{Prompt, RequestId, TokenField, TokenId};
use anchorhold_ipc::{Event, RejectReason, RequestError, Specials};

/// The most bytes that an answer may take on the line: half of what one message may have.
const MAX_ANSWER_BYTES: usize = 8 << 20;
/// The most bytes that a token, or the length of its text, takes there.
const NUMBER: usize = 5;

fn too_long() -> RequestError {
    let limit = u64::try_from(MAX_ANSWER_BYTES).unwrap_or(u64::MAX);
    RequestError::Rejected(RejectReason::AnswerTooLong { limit })
}

impl Intake {
    /// Which tokens a prompt is; the same as those of a request with this prompt.
    pub(crate) fn tokenize(
        &self,
        id: RequestId,
        prompt: Prompt,
        (specials, spell): (Specials, bool),
    ) -> Result<Event, RequestError> {
        let tokens = match (prompt, specials) {
            (Prompt::Text(text), Specials::Omitted) => {
                self.check_length(text.len())?;
                self.language.encode_bare(&text).map_err(refusal)?
            }
            (prompt, _) => self.tokens(prompt)?,
        };
        let mut left =
            MAX_ANSWER_BYTES.checked_sub(tokens.len().saturating_mul(NUMBER)).ok_or_else(too_long)?;
        let mut spelled = spell.then(Vec::new);
        if let Some(spelled) = &mut spelled {
            for &token in &tokens {
                let bytes = self.language.spell(token);
                left = left.checked_sub(bytes.len().saturating_add(NUMBER)).ok_or_else(too_long)?;
                spelled.push(bytes);
            }
        }
        Ok(Event::Tokenized { id, tokens, spelled })
    }

    /// Which text tokens are.
    pub(crate) fn detokenize(&self, id: RequestId, tokens: &[TokenId]) -> Result<Event, RequestError> {
        if tokens.iter().any(|&token| usize::try_from(token).map_or(true, |token| token >= self.vocabulary)) {
            return Err(RequestError::Rejected(RejectReason::UnknownToken(TokenField::Prompt)));
        }
        let text = decoded(self.language.as_ref(), tokens)?;
        Ok(Event::Detokenized { id, text })
    }
}

fn decoded(language: &dyn Language, tokens: &[TokenId]) -> Result<String, RequestError> {
    let (mut decoder, mut text) = (language.decoder(), String::new());
    for &token in tokens {
        text.push_str(&decoder.push(token));
        if text.len() > MAX_ANSWER_BYTES {
            return Err(too_long());
        }
    }
    text.push_str(&decoder.finish());
    if text.len() > MAX_ANSWER_BYTES { Err(too_long()) } else { Ok(text) }
}

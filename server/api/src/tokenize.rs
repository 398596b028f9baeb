//! `POST /tokenize` and `POST /detokenize`, in the shapes that vLLM gives them.

use crate::ApiError;
use crate::chat::{Message, messages, messages_schema};
use crate::fields::{Fields, as_integer, plain};
use crate::generation::{model, model_schema};
use crate::json::{MAX_BODY_BYTES, Value, parse_object};
use crate::openapi::schema::{Field, Schema};
use crate::tools::{Nesting, Tools};
use crate::unsupported;
use serde::Serialize;
use std::fmt;

/// The most tokens of one request to `/detokenize`.
pub const MAX_DETOKENIZED: usize = 256 * 1024;

/// What is to be cut into tokens.
#[derive(Clone, PartialEq, Eq)]
pub enum Source {
    /// A plain text, empty or not.
    Text {
        /// The text.
        text: String,
        /// Whether the tokens that the model wants around a text are among those told.
        add_special_tokens: bool,
    },
    /// A conversation, in the model's own template.
    Conversation {
        /// What was said.
        messages: Vec<Message>,
        /// What may be called.
        tools: Tools,
    },
}

impl fmt::Debug for Source {
    /// Without the caller's text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { text, add_special_tokens } => {
                write!(f, "Text({} bytes, {add_special_tokens})", text.len())
            }
            Self::Conversation { messages, tools } => {
                write!(f, "Conversation({}, {} tools)", messages.len(), tools.list.len())
            }
        }
    }
}

/// A request of which every field is within its range. Made only by [`TokenizeRequest::parse`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenizeRequest {
    /// The model's name.
    pub model: String,
    /// What is to be cut.
    pub source: Source,
    /// Whether each token's text is told too.
    pub return_token_strs: bool,
}

impl TokenizeRequest {
    /// The body in a schema: of a text, or of a conversation.
    pub(crate) fn schema() -> Schema {
        let of = |name, schema: Schema, special: Schema, more: Vec<Field>| {
            let mut fields = vec![
                ("add_special_tokens", special.about("The tokens that the model wants around a text")),
                ("return_token_strs", Schema::flag().default(false)),
            ];
            fields.extend(more);
            fields.extend(unsupported::fields_of(unsupported::TOKENIZE));
            Schema::request(vec![("model", model_schema()), (name, schema)], fields)
        };
        Schema::any_of([
            of("prompt", Schema::text(0..=MAX_BODY_BYTES), Schema::flag().default(true), Vec::new()),
            of(
                "messages",
                messages_schema(),
                Schema::only(&false.into()),
                Tools::schema(Nesting::Inner).into(),
            ),
        ])
    }

    /// Reads the body of a request.
    ///
    /// # Errors
    /// 400 with the field in `param`, or 413.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::new(parse_object(body)?);
        let model = model(&mut fields)?;
        unsupported::refuse(&mut fields, unsupported::TOKENIZE)?;
        let return_token_strs = fields.flag("return_token_strs")?.unwrap_or(false);
        let special = fields.flag("add_special_tokens")?;
        let source = match (fields.take("prompt"), fields.holds("messages")) {
            (Some(Value::Text(text)), false) => {
                plain("prompt", &text)?;
                Source::Text { text, add_special_tokens: special.unwrap_or(true) }
            }
            (Some(_), false) => return Err(fields.wrong("prompt", "text")),
            (Some(_), true) => {
                return Err(ApiError::invalid("messages", "'prompt' and 'messages' cannot both be given"));
            }
            (None, false) => return Err(fields.missing("prompt")),
            // The template writes what the model wants around a conversation, and nothing is added to it.
            (None, true) if special == Some(true) => return Err(ApiError::unsupported("add_special_tokens")),
            (None, true) => {
                let tools = Tools::parse(&mut fields, Nesting::Inner)?;
                Source::Conversation { messages: messages(&mut fields)?, tools }
            }
        };
        Ok(Self { model, source, return_token_strs })
    }
}

/// A request of which every field is within its range. Made only by [`DetokenizeRequest::parse`].
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DetokenizeRequest {
    /// The model's name.
    pub model: String,
    /// Up to [`MAX_DETOKENIZED`] token ids.
    pub tokens: Vec<u32>,
}

impl fmt::Debug for DetokenizeRequest {
    /// Without the caller's tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DetokenizeRequest").field("tokens", &self.tokens.len()).finish_non_exhaustive()
    }
}

impl DetokenizeRequest {
    /// The body in a schema.
    pub(crate) fn schema() -> Schema {
        let tokens = Schema::list(Schema::integer(&(0..=u32::MAX)), &(0..=MAX_DETOKENIZED));
        Schema::request(vec![("model", model_schema()), ("tokens", tokens)], Vec::new())
    }

    /// Reads the body of a request.
    ///
    /// # Errors
    /// 400 with the field in `param`, or 413.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::new(parse_object(body)?);
        let model = model(&mut fields)?;
        let wanted = format!("a list of up to {MAX_DETOKENIZED} token ids");
        let tokens = match fields.take("tokens") {
            None => return Err(fields.missing("tokens")),
            Some(Value::List(list)) if list.len() <= MAX_DETOKENIZED => {
                list.iter().map(as_integer).collect::<Option<_>>()
            }
            Some(_) => None,
        };
        let tokens = tokens.ok_or_else(|| fields.wrong("tokens", wanted))?;
        Ok(Self { model, tokens })
    }
}

#[derive(Serialize)]
struct Tokenized<'a> {
    count: usize,
    max_model_len: u32,
    tokens: &'a [u32],
    token_strs: Option<Vec<String>>,
}

#[derive(Serialize)]
struct Detokenized<'a> {
    prompt: &'a str,
}

/// The answer of `POST /tokenize`. A token that is no whole character is told with U+FFFD in place of what is not one.
#[must_use]
pub fn tokenized(tokens: &[u32], spelled: Option<&[Vec<u8>]>, max_model_len: u32) -> Vec<u8> {
    let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
    let token_strs = spelled.map(|spelled| spelled.iter().map(text).collect());
    let answer = Tokenized { count: tokens.len(), max_model_len, tokens, token_strs };
    serde_json::to_vec(&answer).expect("plain structs with string keys are always JSON")
}

/// The answer of `POST /detokenize`.
#[must_use]
pub fn detokenized(text: &str) -> Vec<u8> {
    serde_json::to_vec(&Detokenized { prompt: text }).expect("one text is always JSON")
}

//! The four forms of `prompt` and `input`: a text, texts, token ids, lists of token ids.

use crate::ApiError;
use crate::fields::{Fields, as_integer, plain};
use crate::json::{MAX_BODY_BYTES, MAX_VALUES, Value};
use crate::openapi::schema::Schema;
use std::fmt;

/// One prompt, or one text to embed.
#[derive(Clone, PartialEq, Eq)]
pub enum Input {
    /// Plain text, not empty.
    Text(String),
    /// Token ids, at least one.
    Tokens(Vec<u32>),
}

impl fmt::Debug for Input {
    /// How long it is: the rest is the caller's text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Tokens(ids) => write!(f, "Tokens({})", ids.len()),
        }
    }
}

/// The four forms in a schema.
pub(crate) fn inputs_schema(most: usize) -> Schema {
    let text = || Schema::text(1..=MAX_BODY_BYTES);
    let tokens = || Schema::list(Schema::integer(&(0..=u32::MAX)), &(1..=MAX_VALUES));
    Schema::any_of([text(), Schema::list(text(), &(1..=most)), tokens(), Schema::list(tokens(), &(1..=most))])
        .about("A text, texts, token ids, or lists of token ids")
}

/// Takes the field `name`: 1 to `most` inputs, in order, none of them empty.
pub(crate) fn inputs(fields: &mut Fields, name: &str, most: usize) -> Result<Vec<Input>, ApiError> {
    let value = fields.take(name).ok_or_else(|| fields.missing(name))?;
    let Value::List(list) = value else { return Ok(vec![one(value, name)?]) };
    match list.first() {
        None => Err(ApiError::invalid(name, format!("'{name}' is empty"))),
        Some(Value::Integer(_)) => Ok(vec![one(Value::List(list), name)?]),
        Some(_) if list.len() > most => {
            Err(ApiError::invalid(name, format!("'{name}' has more than {most} entries")))
        }
        Some(first) => {
            let kind = std::mem::discriminant(first);
            if list.iter().any(|item| std::mem::discriminant(item) != kind) {
                return Err(ApiError::invalid(name, format!("'{name}' mixes text and token ids")));
            }
            list.into_iter().enumerate().map(|(at, item)| one(item, &format!("{name}[{at}]"))).collect()
        }
    }
}

fn one(value: Value, path: &str) -> Result<Input, ApiError> {
    match value {
        Value::Text(text) if text.is_empty() => Err(ApiError::invalid(path, format!("'{path}' is empty"))),
        Value::Text(text) => plain(path, &text).map(|()| Input::Text(text)),
        Value::List(list) if list.is_empty() => Err(ApiError::invalid(path, format!("'{path}' is empty"))),
        Value::List(list) => {
            let ids = list.iter().map(as_integer).collect::<Option<Vec<u32>>>();
            ids.map(Input::Tokens).ok_or_else(|| {
                ApiError::invalid(path, format!("'{path}' has an entry that is not a token id"))
            })
        }
        _ => Err(ApiError::invalid(
            path,
            format!("'{path}' must be text, token ids, or a list of one of them"),
        )),
    }
}

//! Typed access to the fields of a request. An explicit null is the same as a field that is not there.

use crate::ApiError;
use crate::json::{Object, Value};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// The fields of one JSON object that were not taken yet.
pub(crate) struct Fields {
    map: BTreeMap<String, Value>,
    /// Where the object stands, such as `messages[3].`; names of our own only.
    place: String,
}

impl Fields {
    pub(crate) fn new(object: Object) -> Self {
        Self { map: object.into_iter().collect(), place: String::new() }
    }

    /// The fields of `value`, which stands at `place`.
    pub(crate) fn of(value: Value, place: &str) -> Result<Self, ApiError> {
        match value {
            Value::Object(object) => {
                Ok(Self { map: object.into_iter().collect(), place: format!("{place}.") })
            }
            _ => Err(ApiError::invalid(place, format!("'{place}' is not an object"))),
        }
    }

    /// How an error names this field.
    pub(crate) fn path(&self, name: &str) -> String {
        format!("{}{name}", self.place)
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        #[cfg(test)]
        taken::note(&self.path(name));
        self.map.remove(name).filter(|value| *value != Value::Null)
    }

    /// Whether the field is there.
    pub(crate) fn holds(&self, name: &str) -> bool {
        self.map.get(name).is_some_and(|value| *value != Value::Null)
    }

    /// Puts a field back that was looked at.
    pub(crate) fn put(&mut self, name: &str, value: Option<Value>) {
        if let Some(value) = value {
            self.map.insert(name.to_owned(), value);
        }
    }

    /// Whether nothing is left but nulls.
    pub(crate) fn is_empty(&self) -> bool {
        self.map.values().all(|value| *value == Value::Null)
    }

    pub(crate) fn missing(&self, name: &str) -> ApiError {
        let path = self.path(name);
        let message = format!("'{path}' is needed");
        ApiError::invalid(path, message)
    }

    pub(crate) fn wrong(&self, name: &str, wanted: impl std::fmt::Display) -> ApiError {
        let path = self.path(name);
        let message = format!("'{path}' must be {wanted}");
        ApiError::invalid(path, message)
    }

    /// Text of `bytes` bytes without U+0000.
    pub(crate) fn text(
        &mut self,
        name: &str,
        bytes: RangeInclusive<usize>,
    ) -> Result<Option<String>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Text(text)) if bytes.contains(&text.len()) => {
                plain(&self.path(name), &text)?;
                Ok(Some(text))
            }
            Some(_) => Err(self.wrong(name, format!("text of {} to {} bytes", bytes.start(), bytes.end()))),
        }
    }

    pub(crate) fn flag(&mut self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(self.wrong(name, "true or false")),
        }
    }

    /// A number within `range`.
    pub(crate) fn number(&mut self, name: &str, range: RangeInclusive<f32>) -> Result<Option<f32>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => {
                as_number(&value).filter(|number| range.contains(number)).map(Some).ok_or_else(|| {
                    self.wrong(name, format!("a number from {} to {}", range.start(), range.end()))
                })
            }
        }
    }

    /// A whole number within `range`.
    pub(crate) fn integer<N>(&mut self, name: &str, range: RangeInclusive<N>) -> Result<Option<N>, ApiError>
    where
        N: TryFrom<i128> + PartialOrd + std::fmt::Display,
    {
        match self.take(name) {
            None => Ok(None),
            Some(value) => {
                as_integer(&value).filter(|number| range.contains(number)).map(Some).ok_or_else(|| {
                    self.wrong(name, format!("a whole number from {} to {}", range.start(), range.end()))
                })
            }
        }
    }
}

/// Refuses text that the tokenizers and templates of some models cut short.
pub(crate) fn plain(path: &str, text: &str) -> Result<(), ApiError> {
    if text.contains('\0') {
        return Err(ApiError::invalid(path, format!("'{path}' holds the character U+0000")));
    }
    Ok(())
}

/// A finite number, rounded to the precision that the model works in.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "the caller checks the range of the rounded value, and sampling works in f32"
)]
pub(crate) fn as_number(value: &Value) -> Option<f32> {
    match value {
        Value::Integer(number) => Some(*number as f32),
        Value::Float(number) => Some(*number as f32),
        _ => None,
    }
}

pub(crate) fn as_integer<N: TryFrom<i128>>(value: &Value) -> Option<N> {
    match value {
        Value::Integer(number) => N::try_from(*number).ok(),
        _ => None,
    }
}

/// Which fields the parsers of this thread asked for, so that a test can hold them against the schemas.
#[cfg(test)]
pub(crate) mod taken {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    thread_local! {
        static PATHS: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
    }

    /// Notes a path, with `[]` for the place in a list.
    pub(super) fn note(path: &str) {
        let mut parts = path.split('[');
        let mut plain = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            plain.push('[');
            plain.push_str(part.trim_start_matches(|digit: char| digit.is_ascii_digit()));
        }
        PATHS.with_borrow_mut(|paths| paths.insert(plain));
    }

    /// The paths since the last call.
    pub(crate) fn take() -> BTreeSet<String> {
        PATHS.with_borrow_mut(std::mem::take)
    }
}

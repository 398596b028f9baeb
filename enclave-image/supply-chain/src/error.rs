//! Why an input was not read.

use std::fmt;

/// The rule that an input broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// More than is read.
    TooLong {
        /// What there is too much of.
        what: &'static str,
        /// The most that is read.
        limit: usize,
        /// What came.
        observed: usize,
    },
    /// Not the format that it should be.
    Malformed {
        /// What was read.
        what: &'static str,
        /// Where, or which part; shortened, without control characters.
        part: String,
    },
    /// Something is named that is not there.
    Missing {
        /// What kind of thing.
        what: &'static str,
        /// Its name; shortened, without control characters.
        name: String,
    },
}

const MAX_SHOWN_CHARS: usize = 64;

/// Text of outside, safe to show.
fn shown(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(MAX_SHOWN_CHARS).collect()
}

impl Error {
    pub(crate) fn malformed(what: &'static str, part: &str) -> Self {
        Self::Malformed { what, part: shown(part) }
    }

    pub(crate) fn missing(what: &'static str, name: &str) -> Self {
        Self::Missing { what, name: shown(name) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { what, limit, observed } => write!(f, "{what}: {observed}, the limit is {limit}"),
            Self::Malformed { what, part } => write!(f, "{what} is malformed: {part}"),
            Self::Missing { what, name } => write!(f, "there is no {what} {name}"),
        }
    }
}

impl std::error::Error for Error {}

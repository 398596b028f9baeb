//! Why no digest is given.

use std::fmt;

/// The rule that an input broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// More bytes, entries or pages than are read.
    TooLong {
        /// What there is too much of.
        what: &'static str,
        /// The most that is read.
        limit: usize,
        /// What came.
        observed: usize,
    },
    /// A file or a structure in it ends too early, or a length in it points outside.
    Truncated {
        /// The structure.
        what: &'static str,
    },
    /// A field holds what the format does not allow.
    Field {
        /// The field, with its structure.
        field: &'static str,
        /// What is allowed.
        wanted: &'static str,
        /// What came.
        observed: u64,
    },
    /// The file lacks a part without which this digest cannot be computed.
    Missing {
        /// The part.
        what: &'static str,
    },
    /// A part that may occur once occurs again.
    Repeated {
        /// The part.
        what: &'static str,
    },
    /// The file has what makes the boot, or what is measured, depend on more than the file.
    Unpredictable {
        /// What it has.
        what: &'static str,
    },
    /// The command line contains a zero byte: firmware measures up to the length, the kernel obeys up to the zero.
    CommandLineZero,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { what, limit, observed } => {
                write!(f, "{what}: {observed}, the limit is {limit}")
            }
            Self::Truncated { what } => write!(f, "{what} is cut short"),
            Self::Field { field, wanted, observed } => write!(f, "{field} is {observed:#x}, wanted {wanted}"),
            Self::Missing { what } => write!(f, "there is no {what}"),
            Self::Repeated { what } => write!(f, "{what} occurs twice"),
            Self::Unpredictable { what } => {
                write!(f, "{what}: what is measured would not follow from the files alone")
            }
            Self::CommandLineZero => f.write_str("command line contains a zero byte"),
        }
    }
}

impl std::error::Error for Error {}

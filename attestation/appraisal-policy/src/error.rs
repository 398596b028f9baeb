//! Why a file is refused.

use std::fmt;

/// The longest policy file, in bytes.
pub const MAX_POLICY_BYTES: usize = 256 * 1024;

/// Why a policy file was refused. Paths look like `grant[0].snp.min_tcb.genoa.bl`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyError {
    /// Over [`MAX_POLICY_BYTES`].
    TooLong {
        /// The length that came.
        observed_bytes: usize,
    },
    /// Not TOML.
    Syntax {
        /// Line, from 1, where reading stopped.
        line: usize,
    },
    /// A mandatory key is missing.
    Missing {
        /// Its path.
        path: String,
    },
    /// A key that no policy has.
    Unknown {
        /// Its path.
        path: String,
    },
    /// An empty list. What is meant to allow everything says `"any"`, where that is allowed.
    Empty {
        /// Its path.
        path: String,
    },
    /// A value of the wrong type, form or range.
    Value {
        /// The key's path.
        path: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// A value that no policy may have.
    Denied {
        /// The key's path.
        path: String,
        /// Why.
        reason: &'static str,
    },
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { observed_bytes } => {
                write!(f, "policy is {observed_bytes} bytes, the limit is {MAX_POLICY_BYTES}")
            }
            Self::Syntax { line } => write!(f, "not TOML (line {line})"),
            Self::Missing { path } => write!(f, "{path} is missing"),
            Self::Unknown { path } => write!(f, "{path} is no key of a policy"),
            Self::Empty { path } => write!(f, "{path} is an empty list"),
            Self::Value { path, wanted } => write!(f, "{path} is not {wanted}"),
            Self::Denied { path, reason } => write!(f, "{path} is refused: {reason}"),
        }
    }
}

impl std::error::Error for PolicyError {}

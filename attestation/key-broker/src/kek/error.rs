//! Why a secret was not wrapped or not unwrapped.

use super::{BlobError, KekId};
use std::fmt;
use std::time::Duration;

/// What a backend says of one call. No text of a backend is repeated: it may hold anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackendError {
    /// The backend works, and what it was given is not what it wrapped in this context.
    Open,
    /// Nobody answers, or the exchange broke.
    Unreachable {
        /// What was tried.
        what: &'static str,
    },
    /// It took too long. The call may still be under way; what comes of it is wiped.
    Timeout {
        /// The time it had.
        within: Duration,
    },
    /// As many calls as may wait for this backend do already.
    Busy {
        /// How many.
        limit: usize,
    },
    /// The backend is locked: sealed, not initialised, or in standby.
    Locked,
    /// The credential is refused, or does not allow this.
    Denied {
        /// What was tried.
        what: &'static str,
    },
    /// The key, the token or the file is not there.
    Missing {
        /// What is not there.
        what: &'static str,
    },
    /// The key is there and must not be used: it could be read out, or does not do what is asked of it.
    Unfit {
        /// What was wanted of it.
        wanted: &'static str,
    },
    /// This was wrapped under a version that the backend does not use any more, or never had.
    Version {
        /// The version.
        observed: u32,
    },
    /// The answer is not one.
    Garbage {
        /// What was wanted.
        wanted: &'static str,
    },
    /// An answer with a status that says nothing we know.
    Status {
        /// The status.
        observed: u16,
    },
    /// This kind of backend does not do that.
    Unsupported {
        /// What was asked.
        what: &'static str,
    },
    /// The system's random generator gave nothing.
    Random,
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("this was not wrapped under this key in this place"),
            Self::Unreachable { what } => write!(f, "no {what}"),
            Self::Timeout { within } => write!(f, "no answer within {} ms", within.as_millis()),
            Self::Busy { limit } => write!(f, "{limit} calls wait for an answer already"),
            Self::Locked => f.write_str("the backend is sealed, not initialised or in standby"),
            Self::Denied { what } => write!(f, "not permitted: {what}"),
            Self::Missing { what } => write!(f, "there is no {what}"),
            Self::Unfit { wanted } => write!(f, "the key is not {wanted}"),
            Self::Version { observed } => write!(f, "version {observed} of the key is not in use"),
            Self::Garbage { wanted } => write!(f, "the answer is not {wanted}"),
            Self::Status { observed } => write!(f, "answered with status {observed}"),
            Self::Unsupported { what } => write!(f, "this kind of backend does not have {what}"),
            Self::Random => f.write_str("the system's random generator gave nothing"),
        }
    }
}

impl std::error::Error for BackendError {}

/// Why a secret was not wrapped or not unwrapped. None of it is a guest's fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KekError {
    /// What is stored is not a wrapped secret.
    Blob(BlobError),
    /// The secret is wrapped under a key that this broker never had.
    Unknown {
        /// The key.
        kek: KekId,
    },
    /// The secret is wrapped under a key that was destroyed.
    Retired {
        /// The key.
        kek: KekId,
    },
    /// What is stored does not open under the key that it names, in this place.
    Open {
        /// The key.
        kek: KekId,
    },
    /// The backend gave a secret, and it is not the one that was wrapped. It was wiped.
    Commitment {
        /// The key.
        kek: KekId,
    },
    /// The secret has not the length that was wanted. It was wiped.
    Length,
    /// The backend has trouble.
    Backend {
        /// The key.
        kek: KekId,
        /// The trouble.
        error: BackendError,
    },
    /// The system's random generator gave nothing.
    Random,
}

impl fmt::Display for KekError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blob(error) => write!(f, "a stored secret is not a wrapped one: {error}"),
            Self::Unknown { kek } => {
                write!(
                    f,
                    "a stored secret is under key-encryption key {kek}, which this broker does not have"
                )
            }
            Self::Retired { kek } => {
                write!(f, "a stored secret is under key-encryption key {kek}, which was destroyed")
            }
            Self::Open { kek } => {
                write!(f, "a stored secret was not wrapped under key-encryption key {kek} in this place")
            }
            Self::Commitment { kek } => {
                write!(f, "key-encryption key {kek} gave another secret than the one that was wrapped")
            }
            Self::Length => f.write_str("a stored secret has not the length wanted"),
            Self::Backend { kek, error } => write!(f, "key-encryption key {kek}: {error}"),
            Self::Random => f.write_str("the system's random generator gave nothing"),
        }
    }
}

impl std::error::Error for KekError {}

impl From<BlobError> for KekError {
    fn from(error: BlobError) -> Self {
        Self::Blob(error)
    }
}

//! Why an envelope is refused.

use std::fmt;

/// The rule that an envelope broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// Over [`MAX_ENVELOPE_BYTES`](crate::MAX_ENVELOPE_BYTES).
    TooLong {
        /// The length that came.
        observed_bytes: usize,
    },
    /// Not the JSON of an envelope.
    Malformed,
    /// An envelope, and not spelled as this crate spells it.
    NotCanonical,
    /// The payload is of another type than the caller's.
    PayloadType {
        /// The caller's.
        wanted: &'static str,
    },
    /// The payload is not canonical base64.
    Payload,
    /// More signatures than there are trusted signers, or than any envelope may have.
    SignatureCount {
        /// The most that are allowed.
        limit: usize,
        /// The number that came.
        observed: usize,
    },
    /// Fewer signatures than the caller demands.
    Threshold {
        /// The number demanded.
        wanted: usize,
        /// The number that came.
        observed: usize,
    },
    /// A signature of a key that the caller does not trust.
    UnknownSigner {
        /// Its position, from 0.
        index: usize,
    },
    /// A second signature of one key.
    DuplicateSigner {
        /// Its position, from 0.
        index: usize,
    },
    /// Signatures that are not in ascending order of their key ids.
    Order {
        /// The position of the first that comes too late, from 0.
        index: usize,
    },
    /// A signature that is not canonical base64.
    SignatureEncoding {
        /// Its position, from 0.
        index: usize,
    },
    /// A signature that does not verify under the key that it names.
    Signature {
        /// Its position, from 0.
        index: usize,
    },
    /// Nothing to sign with.
    NoKey,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { observed_bytes } => {
                write!(f, "envelope is {observed_bytes} bytes, the limit is {}", crate::MAX_ENVELOPE_BYTES)
            }
            Self::Malformed => f.write_str("not a DSSE envelope"),
            Self::NotCanonical => f.write_str("envelope is not in its canonical form"),
            Self::PayloadType { wanted } => write!(f, "payload type is not {wanted}"),
            Self::Payload => f.write_str("payload is not canonical base64"),
            Self::SignatureCount { limit, observed } => {
                write!(f, "envelope has {observed} signatures, the limit is {limit}")
            }
            Self::Threshold { wanted, observed } => {
                write!(f, "envelope has {observed} signatures, wanted at least {wanted}")
            }
            Self::UnknownSigner { index } => write!(f, "signature {index} is of a key that is not trusted"),
            Self::DuplicateSigner { index } => write!(f, "signature {index} is of a key that already signed"),
            Self::Order { index } => write!(f, "signature {index} is out of the order of key ids"),
            Self::SignatureEncoding { index } => write!(f, "signature {index} is not canonical base64"),
            Self::Signature { index } => {
                write!(f, "signature {index} does not verify under the key it names")
            }
            Self::NoKey => f.write_str("no key to sign with"),
        }
    }
}

impl std::error::Error for Error {}

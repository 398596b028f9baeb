//! Why a body was refused.

use std::fmt;

/// Why a request or a response was not sealed or not opened. Nothing in it comes from a body. Towards a peer it is to be told apart
/// only as far as [`asks_for_new_key`](Self::asks_for_new_key) does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The header is not of the documented form.
    Header,
    /// The request was sealed to another key than this one.
    OtherKey,
    /// The public key is no usable key of its KEM.
    PublicKey,
    /// What the caller puts into the header is longer than [`MAX_HEAD_BYTES`](crate::MAX_HEAD_BYTES).
    HeadTooLong,
    /// The header was not made for this exchange: another method, path, content type or status, or altered.
    Head,
    /// A frame states a length that no frame has.
    FrameLength,
    /// A frame is not the next one of this body: altered, reordered, repeated, or of another body.
    Frame,
    /// The body ended before its end.
    Truncated,
    /// Bytes follow the end of the body.
    Appended,
    /// The body is longer than the caller's limit, or has more than [`MAX_FRAMES`](crate::MAX_FRAMES) frames.
    TooLong,
}

impl Error {
    /// Whether a client should fetch the keys again and repeat its request: the answer is then status 422 (for EHBP with
    /// [`ehbp::KEY_CONFIG_PROBLEM`](crate::ehbp::KEY_CONFIG_PROBLEM)). Every other refusal of a request is status 400, a body that is too
    /// long 413.
    #[must_use]
    pub const fn asks_for_new_key(self) -> bool {
        matches!(self, Self::OtherKey)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "the encryption header is not of the documented form",
            Self::OtherKey => "the request was not encrypted to a key in use",
            Self::PublicKey => "not a usable public key to encrypt to",
            Self::HeadTooLong => "more than 1024 bytes for the encrypted part of the header",
            Self::Head => "the encryption header was not made for this method, path, content type or status",
            Self::FrameLength => "a frame states a length that no frame has",
            Self::Frame => "a frame is not the next one of this body",
            Self::Truncated => "the body ended before its last frame",
            Self::Appended => "bytes follow the last frame of the body",
            Self::TooLong => "the encrypted body is longer than the limit",
        })
    }
}

impl std::error::Error for Error {}

//! Every way in which sealing, verifying or reading a package is refused, named by the stage that refused.

use std::fmt;
use std::io;

use crate::object::ObjectId;

/// Why a package, a key or a source folder was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The manifest is not a well-formed statement of this format, or breaks one of its rules.
    Manifest(&'static str),
    /// The manifest's envelope is not signed by the expected owner.
    Signature(&'static str),
    /// The manifest's version is older than what is asked for.
    Version {
        /// The least version that would do.
        least: u64,
        /// The version of the manifest.
        actual: u64,
    },
    /// The manifest is not valid at the given time, in seconds of the Unix epoch.
    Expired {
        /// The manifest's last valid second.
        not_after_s: u64,
        /// The time at which it was checked.
        at_s: u64,
    },
    /// Two parts that are each genuine do not belong together.
    Mixed(&'static str),
    /// The weights key is not the one the manifest commits to.
    WrongKey,
    /// An object's FLOE header is not the signed one, or was not made with the weights key.
    Header {
        /// The object.
        object: ObjectId,
        /// The rule that refused.
        rule: &'static str,
    },
    /// An object's segment hashes do not lead to the signed root.
    Tree {
        /// The object.
        object: ObjectId,
    },
    /// An encrypted segment is not the one the tree names, or is framed wrongly.
    Segment {
        /// The object.
        object: ObjectId,
        /// The segment's position in the object.
        index: u64,
        /// The rule that refused.
        rule: &'static str,
    },
    /// A segment's authentication tag does not verify.
    Tag {
        /// The object.
        object: ObjectId,
        /// The segment's position in the object.
        index: u64,
    },
    /// The decrypted card breaks a rule of the format.
    Card(&'static str),
    /// A safetensors header or the tensor index breaks a rule.
    Tensors(&'static str),
    /// A part of the package is shorter than signed, in bytes.
    Truncated {
        /// Which part.
        part: &'static str,
        /// The signed length.
        expected: u64,
        /// The length found.
        actual: u64,
    },
    /// A part of the package is longer than signed, in bytes.
    Trailing {
        /// Which part.
        part: &'static str,
        /// The signed length.
        expected: u64,
        /// The length found.
        actual: u64,
    },
    /// An object is larger than the caller or its role allows, in bytes.
    TooLarge {
        /// The limit.
        limit: u64,
        /// The signed or found length.
        actual: u64,
    },
    /// The package has no object of the role asked for.
    Absent(&'static str),
    /// The memory given for a tensor does not fit it.
    Destination(&'static str),
    /// A file of the folder to seal is refused.
    Source {
        /// Its path inside the folder.
        name: String,
        /// The rule that refused.
        rule: &'static str,
    },
    /// The options given for sealing break a rule.
    Options(&'static str),
    /// A key could not be used or made.
    Key(&'static str),
    /// The operating system reported an error.
    Io {
        /// What was being done.
        doing: &'static str,
        /// The kind of error.
        kind: io::ErrorKind,
    },
}

impl Error {
    /// The stage that refused, as one stable word for logs, metrics and tests.
    #[must_use]
    pub const fn stage(&self) -> &'static str {
        match self {
            Self::Manifest(_) => "manifest",
            Self::Signature(_) => "signature",
            Self::Version { .. } => "version",
            Self::Expired { .. } => "expired",
            Self::Mixed(_) => "mixed",
            Self::WrongKey => "wrong_key",
            Self::Header { .. } => "header",
            Self::Tree { .. } => "tree",
            Self::Segment { .. } => "segment",
            Self::Tag { .. } => "tag",
            Self::Card(_) => "card",
            Self::Tensors(_) => "tensors",
            Self::Truncated { .. } => "truncated",
            Self::Trailing { .. } => "trailing",
            Self::TooLarge { .. } => "too_large",
            Self::Absent(_) => "absent",
            Self::Destination(_) => "destination",
            Self::Source { .. } => "source",
            Self::Options(_) => "options",
            Self::Key(_) => "key",
            Self::Io { .. } => "io",
        }
    }

    /// For `map_err`: an operating system error met while `doing`.
    pub(crate) fn io(doing: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| Self::Io { doing, kind: error.kind() }
    }

    /// Compares a part's length with the signed one.
    pub(crate) fn check_length(part: &'static str, expected: u64, actual: u64) -> Result<(), Self> {
        match actual.cmp(&expected) {
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Less => Err(Self::Truncated { part, expected, actual }),
            std::cmp::Ordering::Greater => Err(Self::Trailing { part, expected, actual }),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest(rule) => write!(f, "manifest: {rule}"),
            Self::Signature(rule) => write!(f, "manifest signature: {rule}"),
            Self::Version { least, actual } => {
                write!(f, "manifest version is {actual}, at least {least} is required")
            }
            Self::Expired { not_after_s, at_s } => {
                write!(f, "manifest is valid until second {not_after_s}, the time is {at_s}")
            }
            Self::Mixed(rule) => write!(f, "package parts do not belong together: {rule}"),
            Self::WrongKey => f.write_str("weights key is not the one the manifest commits to"),
            Self::Header { object, rule } => write!(f, "object {object}: header: {rule}"),
            Self::Tree { object } => {
                write!(f, "object {object}: segment hashes do not lead to the signed root")
            }
            Self::Segment { object, index, rule } => write!(f, "object {object}: segment {index}: {rule}"),
            Self::Tag { object, index } => {
                write!(f, "object {object}: segment {index}: authentication tag does not verify")
            }
            Self::Card(rule) => write!(f, "card: {rule}"),
            Self::Tensors(rule) => write!(f, "tensors: {rule}"),
            Self::Truncated { part, expected, actual } => {
                write!(f, "{part} is truncated: {expected} bytes are signed, {actual} are there")
            }
            Self::Trailing { part, expected, actual } => {
                write!(f, "{part} has trailing bytes: {expected} bytes are signed, {actual} are there")
            }
            Self::TooLarge { limit, actual } => {
                write!(f, "object has {actual} bytes, at most {limit} are allowed")
            }
            Self::Absent(role) => write!(f, "package has no object of the role {role}"),
            Self::Destination(rule) => write!(f, "tensor destination: {rule}"),
            Self::Source { name, rule } => write!(f, "file {}: {rule}", name.escape_debug()),
            Self::Options(rule) => write!(f, "seal options: {rule}"),
            Self::Key(rule) => write!(f, "key: {rule}"),
            Self::Io { doing, kind } => write!(f, "{doing}: {kind}"),
        }
    }
}

impl std::error::Error for Error {}

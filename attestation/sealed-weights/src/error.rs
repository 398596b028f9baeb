//! Every way in which sealing, verifying or reading a package is refused, named by the stage that refused.

use std::fmt;
use std::io;

use crate::object::ObjectId;
use crate::role::Role;
use crate::rules::{
    CardRule, DestinationRule, GgufRule, HeaderRule, IndexRule, JsonRule, KeyRule, ManifestRule, MixedRule,
    ModelSignatureRule, OptionRule, SegmentRule, SignatureRule, SourceRule, TensorRule,
};

/// Why a package, a key or a source folder was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The manifest is not a well-formed statement of this format, or breaks one of its rules.
    Manifest(ManifestRule),
    /// The manifest's envelope is not signed by the expected owner.
    Signature(SignatureRule),
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
    Mixed(MixedRule),
    /// The weights key is not the one the manifest commits to.
    WrongKey,
    /// An object's FLOE header is not the signed one, or was not made with the weights key.
    Header {
        /// The object.
        object: ObjectId,
        /// The rule that refused.
        rule: HeaderRule,
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
        rule: SegmentRule,
    },
    /// A segment's authentication tag does not verify.
    Tag {
        /// The object.
        object: ObjectId,
        /// The segment's position in the object.
        index: u64,
    },
    /// The decrypted card breaks a rule of the format, or a file is not the one that it describes.
    Card(CardRule),
    /// A table of tensors breaks a rule.
    Tensors(TensorRule),
    /// A GGUF header breaks a rule.
    Gguf(GgufRule),
    /// A file that is JSON or text breaks a rule.
    Json {
        /// What the file is for.
        role: Role,
        /// The rule that refused.
        rule: JsonRule,
    },
    /// `model.safetensors.index.json` breaks a rule.
    WeightsIndex(IndexRule),
    /// The OpenSSF model signature, or a file under it, breaks a rule.
    ModelSignature(ModelSignatureRule),
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
    /// The package has no file of the role asked for.
    Absent(Role),
    /// The memory given for a tensor does not fit it.
    Destination(DestinationRule),
    /// A file of the folder to seal is refused.
    Source {
        /// Its path inside the folder.
        name: String,
        /// The rule that refused.
        rule: SourceRule,
    },
    /// The options given for sealing break a rule.
    Options(OptionRule),
    /// A key could not be used or made.
    Key(KeyRule),
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
            Self::Gguf(_) => "gguf",
            Self::Json { .. } => "json",
            Self::WeightsIndex(_) => "weights_index",
            Self::ModelSignature(_) => "model_signature",
            Self::Truncated { .. } => "truncated",
            Self::Trailing { .. } => "trailing",
            Self::Absent(_) => "absent",
            Self::Destination(_) => "destination",
            Self::Source { .. } => "source",
            Self::Options(_) => "options",
            Self::Key(_) => "key",
            Self::Io { .. } => "io",
        }
    }

    /// The rule that refused, as one stable word: the stage and, where a stage has several rules, the rule.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Manifest(rule) => rule.code(),
            Self::Signature(rule) => rule.code(),
            Self::Mixed(rule) => rule.code(),
            Self::Header { rule, .. } => rule.code(),
            Self::Segment { rule, .. } => rule.code(),
            Self::Card(rule) => rule.code(),
            Self::Tensors(rule) => rule.code(),
            Self::Gguf(rule) => rule.code(),
            Self::Json { rule, .. } => rule.code(),
            Self::WeightsIndex(rule) => rule.code(),
            Self::ModelSignature(rule) => rule.code(),
            Self::Destination(rule) => rule.code(),
            Self::Source { rule, .. } => rule.code(),
            Self::Options(rule) => rule.code(),
            Self::Key(rule) => rule.code(),
            Self::Version { .. }
            | Self::Expired { .. }
            | Self::WrongKey
            | Self::Tree { .. }
            | Self::Tag { .. }
            | Self::Truncated { .. }
            | Self::Trailing { .. }
            | Self::Absent(_)
            | Self::Io { .. } => self.stage(),
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
            Self::Gguf(rule) => write!(f, "GGUF: {rule}"),
            Self::Json { role, rule } => write!(f, "file of the role {role}: {rule}"),
            Self::WeightsIndex(rule) => write!(f, "weights index: {rule}"),
            Self::ModelSignature(rule) => write!(f, "model signature: {rule}"),
            Self::Truncated { part, expected, actual } => {
                write!(f, "{part} is truncated: {expected} bytes are signed, {actual} are there")
            }
            Self::Trailing { part, expected, actual } => {
                write!(f, "{part} has trailing bytes: {expected} bytes are signed, {actual} are there")
            }
            Self::Absent(role) => write!(f, "package has no file of the role {role}"),
            Self::Destination(rule) => write!(f, "tensor destination: {rule}"),
            Self::Source { name, rule } => write!(f, "file {}: {rule}", name.escape_debug()),
            Self::Options(rule) => write!(f, "seal options: {rule}"),
            Self::Key(rule) => write!(f, "key: {rule}"),
            Self::Io { doing, kind } => write!(f, "{doing}: {kind}"),
        }
    }
}

impl std::error::Error for Error {}

/// Rules become errors of their stage, so that a check can end in `rule.into()` or `?`.
macro_rules! from_rules {
    ($($rule:ident => $variant:ident),+) => {
        $(impl From<$rule> for Error {
            fn from(rule: $rule) -> Self {
                Self::$variant(rule)
            }
        })+
    };
}

from_rules!(
    ManifestRule => Manifest,
    SignatureRule => Signature,
    MixedRule => Mixed,
    CardRule => Card,
    TensorRule => Tensors,
    GgufRule => Gguf,
    IndexRule => WeightsIndex,
    ModelSignatureRule => ModelSignature,
    DestinationRule => Destination,
    OptionRule => Options,
    KeyRule => Key
);

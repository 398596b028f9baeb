//! One object of a package: its public name, its role, and what the owner signed about it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::floe::{self, Header};
use crate::hex::Hex;
use crate::layout::{Layout, SegmentSize};
use crate::merkle::Hash;
use crate::role::Role;
use crate::rules::ManifestRule;
use crate::suite::Suite;

/// The name of the card in a package.
pub(crate) const CARD_NAME: &str = "card.sealed";
const OBJECT_LABEL: &[u8] = b"anchorhold/sealed-weights/v2/object";

/// The name of an object, which says nothing about its content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ObjectId(Hex<16>);

impl ObjectId {
    pub(crate) const fn new(bytes: [u8; 16]) -> Self {
        Self(Hex(bytes))
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The public name of a weights key, 16 bytes written in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(Hex<16>);

impl KeyId {
    pub(crate) fn from_prefix_of(bytes: &[u8]) -> Self {
        let mut out = [0; 16];
        out.iter_mut().zip(bytes).for_each(|(out, byte)| *out = *byte);
        Self(Hex(out))
    }

    /// The bytes of the name.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// One object of a package as its owner signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectEntry {
    pub(crate) id: ObjectId,
    pub(crate) role: Role,
    pub(crate) size: SegmentSize,
    pub(crate) plaintext_len: u64,
    pub(crate) ciphertext_len: u64,
    pub(crate) header: Header,
    pub(crate) root: Hash,
    pub(crate) suite: Suite,
}

/// What decides the lengths of an object's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) suite: Suite,
    pub(crate) size: SegmentSize,
    pub(crate) plaintext_len: u64,
}

impl ObjectEntry {
    /// The object's name under `objects/`.
    #[must_use]
    pub const fn id(&self) -> ObjectId {
        self.id
    }

    /// What the object is for.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Bytes of the object file.
    #[must_use]
    pub const fn ciphertext_len(&self) -> u64 {
        self.ciphertext_len
    }

    /// Bytes of the plaintext.
    #[must_use]
    pub const fn plaintext_len(&self) -> u64 {
        self.plaintext_len
    }

    /// Number of encrypted segments, at least one.
    #[must_use]
    pub fn segment_count(&self) -> u64 {
        self.layout().segment_count()
    }

    /// Plaintext bytes per segment.
    #[must_use]
    pub const fn segment_size(&self) -> SegmentSize {
        self.size
    }

    /// The root of the tree over the encrypted segments.
    #[must_use]
    pub const fn root(&self) -> &[u8; 32] {
        &self.root
    }

    /// The associated data of the object's FLOE message: format, model, version, object id, role and plaintext length.
    /// A key holder therefore cannot move it to another place of any package.
    #[must_use]
    pub fn associated_data(&self, model_id: &str, version: u64) -> Vec<u8> {
        associated_data(model_id, version, self.id, self.role, self.plaintext_len())
    }

    pub(crate) fn layout(&self) -> Layout {
        self.size.layout(self.plaintext_len)
    }

    pub(crate) const fn header(&self) -> &Header {
        &self.header
    }

    /// Encrypted bytes of every segment but the last.
    pub(crate) const fn segment_len(&self) -> u32 {
        self.size.segment_len()
    }

    /// The entry of an object, or the rule that its length or header breaks.
    pub(crate) fn checked(
        (id, role): (ObjectId, Role),
        form: Form,
        header: Header,
        root: Hash,
    ) -> Result<Self, ManifestRule> {
        let Form { suite, size, plaintext_len } = form;
        if plaintext_len == 0 || plaintext_len > role.max_len() {
            return Err(ManifestRule::PlaintextLength);
        }
        if !header.starts_with(&floe::parameters(size.segment_len())) {
            return Err(ManifestRule::HeaderParameters);
        }
        let ciphertext_len = size.layout(plaintext_len).ciphertext_len().ok_or(ManifestRule::Lengths)?;
        Ok(Self { id, role, size, plaintext_len, ciphertext_len, header, root, suite })
    }

    /// The leaf hash of one encrypted segment.
    pub(crate) fn leaf(&self, segment: &[u8]) -> Hash {
        self.suite.leaf(segment)
    }

    /// The object's file, relative to the package.
    #[must_use]
    pub fn path(&self) -> String {
        match self.role {
            Role::Card => CARD_NAME.to_owned(),
            _ => format!("objects/{}", self.id),
        }
    }
}

pub(crate) fn associated_data(
    model_id: &str,
    version: u64,
    id: ObjectId,
    role: Role,
    plaintext_len: u64,
) -> Vec<u8> {
    let mut out = OBJECT_LABEL.to_vec();
    out.extend_from_slice(&(model_id.len() as u64).to_be_bytes());
    out.extend_from_slice(model_id.as_bytes());
    out.extend_from_slice(&version.to_be_bytes());
    out.extend_from_slice(&id.0.0);
    out.extend_from_slice(&(role.as_str().len() as u64).to_be_bytes());
    out.extend_from_slice(role.as_str().as_bytes());
    out.extend_from_slice(&plaintext_len.to_be_bytes());
    out
}

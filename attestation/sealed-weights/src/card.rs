//! The encrypted inner manifest: real file names, plaintext digests and the tensor table.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::hex::Hex;
use crate::merkle::Hash;
use crate::object::{ObjectEntry, ObjectId};
use crate::role::Role;
use crate::tensors::{Tensor, TensorIndex};

const FORMAT: u64 = 1;

/// A file of the package as the card describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardFile {
    id: ObjectId,
    role: Role,
    sha256: Hash,
}

impl CardFile {
    /// The object that holds the file.
    #[must_use]
    pub const fn id(&self) -> ObjectId {
        self.id
    }

    /// What the file is for.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The file's name in the folder that was sealed.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.role.file_name()
    }

    /// SHA-256 of the file. Secret as the file is: it tells which open model a package holds.
    #[must_use]
    pub const fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }
}

/// The decrypted card. Agrees with the manifest it came with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    files: Vec<CardFile>,
    index: TensorIndex,
}

impl Card {
    /// The files, in the order of the manifest's objects.
    #[must_use]
    pub fn files(&self) -> &[CardFile] {
        &self.files
    }

    /// The tensor table of the weights.
    #[must_use]
    pub const fn index(&self) -> &TensorIndex {
        &self.index
    }

    pub(crate) fn new(files: Vec<(ObjectId, Role, Hash)>, index: TensorIndex) -> Self {
        let files = files.into_iter().map(|(id, role, sha256)| CardFile { id, role, sha256 }).collect();
        Self { files, index }
    }

    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let inner = Inner {
            format: FORMAT,
            files: self.files.iter().map(File::of).collect(),
            header_len: self.index.header_len(),
            tensors: self.index.tensors().to_vec(),
        };
        serde_json::to_vec(&inner).map_err(|_| Error::Card("card cannot be written"))
    }

    /// Reads a decrypted card and holds it against the manifest's objects.
    pub(crate) fn parse(bytes: &[u8], objects: &[ObjectEntry]) -> Result<Self, Error> {
        let inner: Inner =
            serde_json::from_slice(bytes).map_err(|_| Error::Card("not the JSON of a card"))?;
        if inner.format != FORMAT {
            return Err(Error::Card("format version is not 1"));
        }
        if inner.files.len() != objects.len() {
            return Err(Error::Mixed("card and manifest list different files"));
        }
        let mut files = Vec::with_capacity(objects.len());
        let mut weights_len = None;
        for (file, object) in inner.files.into_iter().zip(objects) {
            if file.id != object.id() || file.role != object.role() {
                return Err(Error::Mixed("card and manifest list different files"));
            }
            if file.name != file.role.file_name() {
                return Err(Error::Card("file has another name than its role"));
            }
            if file.role == Role::Weights {
                weights_len = Some(object.plaintext_len());
            }
            files.push(CardFile { id: file.id, role: file.role, sha256: file.sha256.0 });
        }
        let weights_len = weights_len.ok_or(Error::Card("no weights"))?;
        let index = TensorIndex::checked(inner.header_len, inner.tensors, weights_len)?;
        Ok(Self { files, index })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inner {
    format: u64,
    files: Vec<File>,
    header_len: u64,
    tensors: Vec<Tensor>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    id: ObjectId,
    role: Role,
    name: String,
    sha256: Hex<32>,
}

impl File {
    fn of(file: &CardFile) -> Self {
        Self { id: file.id, role: file.role, name: file.name().to_owned(), sha256: Hex(file.sha256) }
    }
}

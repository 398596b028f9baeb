//! Tables of tensors: one for each file of weights, and the index over all of them. The rules here hold for every
//! container and for the card.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Deserializer, Serialize};

use crate::dtype::{Container, Dtype};
use crate::error::Error;
use crate::rules::TensorRule;
use crate::strict::{Bounded, Object};

/// The most tensors in one file.
pub const MAX_TENSORS: usize = 65_536;
/// The most tensors in all files of a model.
pub const MAX_MODEL_TENSORS: usize = 262_144;
/// The most dimensions of a tensor.
pub const MAX_RANK: usize = 8;
/// The longest name of a tensor, in bytes.
pub const MAX_NAME_LEN: usize = 512;

/// One tensor and where its bytes lie in its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tensor {
    /// The tensor's name.
    pub name: String,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its dimensions, outermost first; none for a scalar.
    #[serde(deserialize_with = "short_list")]
    pub shape: Vec<u64>,
    /// First byte, counted from [`FileTable::data_start`] of its file.
    pub begin: u64,
    /// One past the last byte.
    pub end: u64,
}

/// A shape that may be one dimension too long, for [`Tensor::check`] to say so.
fn short_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
    Bounded::<u64, { MAX_RANK + 1 }>::deserialize(deserializer).map(|shape| shape.0)
}

impl Tensor {
    /// Bytes of the tensor in the file.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.end.saturating_sub(self.begin)
    }

    /// Whether the tensor has no element.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of elements.
    #[must_use]
    pub const fn elements(&self) -> u64 {
        self.dtype.elements_in(self.len())
    }

    fn check(&self) -> Result<(), TensorRule> {
        if self.name.is_empty() || self.name.len() > MAX_NAME_LEN {
            return Err(TensorRule::Name);
        }
        if self.shape.len() > MAX_RANK {
            return Err(TensorRule::Rank);
        }
        let elements = self.shape.iter().try_fold(1_u64, |product, side| product.checked_mul(*side));
        let bytes = elements.and_then(|elements| self.dtype.bytes_of(elements));
        if bytes.is_none() || self.end.checked_sub(self.begin) != bytes {
            return Err(TensorRule::Size);
        }
        Ok(())
    }
}

/// The tensors of one file in the order of their bytes. Every rule that holds for all containers holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileTable {
    container: Container,
    data_start: u64,
    tensors: Vec<Tensor>,
}

impl FileTable {
    /// Checks a table from any source for a file of `file_len` bytes: tensors that are whole, apart, inside the file and of
    /// different names. In safetensors they leave no gap either; the gaps of GGUF are its parser's to judge.
    pub(crate) fn checked(
        container: Container,
        data_start: u64,
        mut tensors: Vec<Tensor>,
        file_len: u64,
    ) -> Result<Self, TensorRule> {
        if data_start > container.max_data_start() {
            return Err(TensorRule::HeaderTooLong);
        }
        let data_len = file_len.checked_sub(data_start).ok_or(TensorRule::HeaderBeyondFile)?;
        // A split GGUF may begin with a file of metadata alone.
        if tensors.len() > MAX_TENSORS || (tensors.is_empty() && container == Container::Safetensors) {
            return Err(TensorRule::Count);
        }
        tensors.sort_by(|a, b| (a.begin, a.end, &a.name).cmp(&(b.begin, b.end, &b.name)));
        let mut at = 0;
        for tensor in &tensors {
            tensor.check()?;
            if !tensor.dtype.is_of(container) {
                return Err(TensorRule::ElementType);
            }
            if tensor.begin < at || (container == Container::Safetensors && tensor.begin > at) {
                return Err(TensorRule::Gap);
            }
            at = tensor.end;
        }
        if at > data_len || (container == Container::Safetensors && at < data_len) {
            return Err(TensorRule::End);
        }
        let mut names = HashSet::with_capacity(tensors.len());
        if !tensors.iter().all(|tensor| names.insert(tensor.name.as_str())) {
            return Err(TensorRule::DuplicateName);
        }
        Ok(Self { container, data_start, tensors })
    }

    /// The container of the file.
    #[must_use]
    pub const fn container(&self) -> Container {
        self.container
    }

    /// Offset in the file of the first tensor byte, which is the length of everything before the tensors.
    #[must_use]
    pub const fn data_start(&self) -> u64 {
        self.data_start
    }

    /// The tensors in the order of their bytes.
    #[must_use]
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }
}

/// A table as the card spells it, before it is held against its file's length.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UncheckedTable {
    container: Container,
    data_start: u64,
    tensors: Bounded<Object<Tensor>, MAX_TENSORS>,
}

impl UncheckedTable {
    pub(crate) fn checked(self, file_len: u64) -> Result<FileTable, TensorRule> {
        let tensors = self.tensors.0.into_iter().map(|tensor| tensor.0).collect();
        FileTable::checked(self.container, self.data_start, tensors, file_len)
    }
}

/// All tensors of a model: those of the first file, then those of the next, each in the order of their bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorIndex {
    files: Vec<FileTable>,
    by_name: HashMap<String, usize>,
}

impl TensorIndex {
    pub(crate) fn of(files: Vec<FileTable>) -> Result<Self, Error> {
        let count: usize = files.iter().map(|file| file.tensors.len()).sum();
        if count == 0 {
            return Err(TensorRule::Count.into());
        }
        if count > MAX_MODEL_TENSORS {
            return Err(TensorRule::ModelCount.into());
        }
        let mut by_name = HashMap::with_capacity(count);
        for (position, tensor) in files.iter().flat_map(FileTable::tensors).enumerate() {
            if by_name.insert(tensor.name.clone(), position).is_some() {
                return Err(TensorRule::DuplicateName.into());
            }
        }
        Ok(Self { files, by_name })
    }

    /// The tensors, in order.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.files.iter().flat_map(FileTable::tensors)
    }

    /// Number of tensors.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is no tensor, which no verified package allows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The position of a tensor in [`TensorIndex::tensors`].
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The tables of the single files, in order.
    #[must_use]
    pub fn files(&self) -> &[FileTable] {
        &self.files
    }

    pub(crate) fn into_files(self) -> Vec<FileTable> {
        self.files
    }

    /// The container of the weights, which all files share.
    #[must_use]
    pub fn container(&self) -> Container {
        self.files.first().map_or(Container::Safetensors, FileTable::container)
    }
}

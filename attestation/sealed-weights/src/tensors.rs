//! The table of tensors of a safetensors file, read strictly.
//!
//! Format: <https://github.com/huggingface/safetensors>, "Format". An 8-byte little-endian length, a JSON header, then
//! the tensors' bytes, which must be covered by the table without gap or overlap.

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::Error;

/// The largest JSON header, in bytes.
pub const MAX_HEADER_LEN: u64 = 8 << 20;
/// The most tensors in one file.
pub const MAX_TENSORS: usize = 65_536;
/// The most dimensions of a tensor.
pub const MAX_RANK: usize = 8;
/// The longest name of a tensor, in bytes.
pub const MAX_NAME_LEN: usize = 512;
/// The most entries of the free-text `__metadata__`, which is read and dropped.
pub const MAX_METADATA: usize = 1024;

/// Bytes of the length before the JSON header.
const LENGTH_LEN: u64 = 8;

/// The element type of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the safetensors format")]
pub enum Dtype {
    #[serde(rename = "BOOL")]
    Bool,
    U8,
    I8,
    #[serde(rename = "F8_E5M2")]
    F8E5M2,
    #[serde(rename = "F8_E4M3")]
    F8E4M3,
    I16,
    U16,
    F16,
    #[serde(rename = "BF16")]
    Bf16,
    I32,
    U32,
    F32,
    F64,
    I64,
    U64,
}

impl Dtype {
    /// Bytes of one element.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 | Self::F8E5M2 | Self::F8E4M3 => 1,
            Self::I16 | Self::U16 | Self::F16 | Self::Bf16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
        }
    }
}

/// One tensor and where its bytes lie after the header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tensor {
    /// The tensor's name.
    pub name: String,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its dimensions, outermost first; none for a scalar.
    pub shape: Vec<u64>,
    /// First byte, counted from the end of the header.
    pub begin: u64,
    /// One past the last byte.
    pub end: u64,
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
        self.len() / self.dtype.size() as u64
    }
}

/// The tensors of one file in the order of their bytes. Every rule of the format and every limit of this module holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorIndex {
    header_len: u64,
    tensors: Vec<Tensor>,
}

impl TensorIndex {
    /// Reads the table from the beginning of a file of `file_len` bytes. `head` must hold at least the header.
    ///
    /// # Errors
    /// [`Error::Tensors`], naming the rule. Time and memory are bounded by the size of the header.
    pub fn parse(head: &[u8], file_len: u64) -> Result<Self, Error> {
        let header_len = Self::header_len_of(head, file_len)?;
        let json = usize::try_from(header_len)
            .ok()
            .and_then(|len| head.split_first_chunk::<8>()?.1.get(..len))
            .ok_or(Error::Tensors("header is cut off"))?;
        if json.first() != Some(&b'{') {
            return Err(Error::Tensors("header does not begin with a brace"));
        }
        let Header(tensors) =
            serde_json::from_slice(json).map_err(|_| Error::Tensors("header is not a table of tensors"))?;
        Self::checked(header_len, tensors, file_len)
    }

    /// The length of the JSON header that a file of `file_len` bytes announces in its first 8 bytes.
    pub(crate) fn header_len_of(head: &[u8], file_len: u64) -> Result<u64, Error> {
        let length = head.first_chunk::<8>().ok_or(Error::Tensors("header is cut off"))?;
        let header_len = u64::from_le_bytes(*length);
        if header_len > MAX_HEADER_LEN {
            return Err(Error::Tensors("header is longer than 8 MiB"));
        }
        if file_len < LENGTH_LEN + header_len {
            return Err(Error::Tensors("header is longer than the file"));
        }
        Ok(header_len)
    }

    /// Checks a table from any source against the format's rules for a file of `file_len` bytes.
    pub(crate) fn checked(header_len: u64, mut tensors: Vec<Tensor>, file_len: u64) -> Result<Self, Error> {
        if header_len > MAX_HEADER_LEN || file_len < LENGTH_LEN + header_len {
            return Err(Error::Tensors("header is longer than the file or 8 MiB"));
        }
        if tensors.is_empty() || tensors.len() > MAX_TENSORS {
            return Err(Error::Tensors("not between 1 and 65536 tensors"));
        }
        tensors.sort_by(|a, b| (a.begin, a.end, &a.name).cmp(&(b.begin, b.end, &b.name)));
        let mut at = 0;
        for tensor in &tensors {
            check_tensor(tensor)?;
            if tensor.begin != at {
                return Err(Error::Tensors("tensors overlap or leave a gap"));
            }
            at = tensor.end;
        }
        if at != file_len - LENGTH_LEN - header_len {
            return Err(Error::Tensors("tensors do not end where the file does"));
        }
        let mut names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| matches!(pair, [a, b] if a == b)) {
            return Err(Error::Tensors("two tensors share a name"));
        }
        Ok(Self { header_len, tensors })
    }

    /// The tensors in the order of their bytes.
    #[must_use]
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The position of a tensor in [`TensorIndex::tensors`].
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.tensors.iter().position(|tensor| tensor.name == name)
    }

    /// Offset in the file of the first tensor byte.
    #[must_use]
    pub const fn data_start(&self) -> u64 {
        LENGTH_LEN + self.header_len
    }

    pub(crate) const fn header_len(&self) -> u64 {
        self.header_len
    }
}

fn check_tensor(tensor: &Tensor) -> Result<(), Error> {
    if tensor.name.is_empty() || tensor.name.len() > MAX_NAME_LEN {
        return Err(Error::Tensors("name of a tensor is empty or longer than 512 bytes"));
    }
    if tensor.shape.len() > MAX_RANK {
        return Err(Error::Tensors("tensor has more than 8 dimensions"));
    }
    let bytes =
        tensor.shape.iter().try_fold(tensor.dtype.size() as u64, |size, side| size.checked_mul(*side));
    if bytes.is_none() || tensor.end.checked_sub(tensor.begin) != bytes {
        return Err(Error::Tensors("shape and element type do not give the number of bytes"));
    }
    Ok(())
}

/// The JSON header: refuses duplicate names and stops at the first tensor too many.
struct Header(Vec<Tensor>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: Dtype,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Table;
        impl<'de> Visitor<'de> for Table {
            type Value = Header;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of tensors")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut tensors = Vec::new();
                let mut metadata = false;
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        if std::mem::replace(&mut metadata, true) {
                            return Err(A::Error::custom("metadata twice"));
                        }
                        map.next_value_seed(Metadata)?;
                        continue;
                    }
                    if tensors.len() == MAX_TENSORS {
                        return Err(A::Error::custom("too many tensors"));
                    }
                    let Entry { dtype, shape, data_offsets: (begin, end) } = map.next_value()?;
                    tensors.push(Tensor { name, dtype, shape, begin, end });
                }
                Ok(Header(tensors))
            }
        }
        deserializer.deserialize_map(Table)
    }
}

/// `__metadata__`: texts by name. Read so that nothing else can hide there, then dropped.
struct Metadata;

impl<'de> DeserializeSeed<'de> for Metadata {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Metadata {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("texts by name")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut count = 0;
        while map.next_entry::<String, String>()?.is_some() {
            count += 1;
            if count > MAX_METADATA {
                return Err(A::Error::custom("too much metadata"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "tensors_tests.rs"]
mod tests;

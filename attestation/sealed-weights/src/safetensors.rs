//! The header of a safetensors file, read strictly.
//!
//! Format: <https://github.com/huggingface/safetensors>, "Format". An 8-byte little-endian length, a JSON header, then
//! the tensors' bytes, which must be covered by the table without gap or overlap.

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::dtype::{Container, Dtype};
use crate::error::Error;
use crate::rules::TensorRule;
use crate::strict::{Bounded, Object};
use crate::tensors::{FileTable, MAX_RANK, MAX_TENSORS, Tensor};

/// The largest JSON header, in bytes.
pub const MAX_SAFETENSORS_HEADER_LEN: u64 = 8 << 20;
/// The most entries of the free-text `__metadata__`, which is read and dropped.
pub const MAX_METADATA: usize = 1024;

/// Bytes of the length before the JSON header.
pub(crate) const LENGTH_LEN: u64 = 8;

/// Reads the table from the beginning of a file of `file_len` bytes. `head` must hold at least the header.
///
/// # Errors
/// [`Error::Tensors`], naming the rule. Time and memory are bounded by the size of the header.
pub fn parse_safetensors(head: &[u8], file_len: u64) -> Result<FileTable, Error> {
    let data_start = data_start(head, file_len)?;
    let json = usize::try_from(data_start)
        .ok()
        .and_then(|end| head.get(..end)?.split_first_chunk::<8>())
        .map(|(_, json)| json)
        .ok_or(TensorRule::HeaderCut)?;
    if json.first() != Some(&b'{') {
        return Err(TensorRule::NoBrace.into());
    }
    let Header(tensors) = serde_json::from_slice(json).map_err(|_| TensorRule::NotTable)?;
    Ok(FileTable::checked(Container::Safetensors, data_start, tensors, file_len)?)
}

/// Where the tensors of a file begin, by the length in its first 8 bytes.
pub(crate) fn data_start(head: &[u8], file_len: u64) -> Result<u64, TensorRule> {
    let length = head.first_chunk::<8>().ok_or(TensorRule::HeaderCut)?;
    let header_len = u64::from_le_bytes(*length);
    if header_len > MAX_SAFETENSORS_HEADER_LEN {
        return Err(TensorRule::HeaderTooLong);
    }
    if file_len < LENGTH_LEN + header_len {
        return Err(TensorRule::HeaderBeyondFile);
    }
    Ok(LENGTH_LEN + header_len)
}

/// The JSON header: stops at the first tensor too many.
struct Header(Vec<Tensor>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: Dtype,
    shape: Bounded<u64, { MAX_RANK + 1 }>,
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
                    let Object(entry) = map.next_value::<Object<Entry>>()?;
                    let Entry { dtype, shape, data_offsets: (begin, end) } = entry;
                    tensors.push(Tensor { name, dtype, shape: shape.0, begin, end });
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
#[path = "safetensors_tests.rs"]
mod tests;

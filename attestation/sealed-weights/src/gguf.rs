//! The header of a GGUF file, read strictly and without copying.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 2 and 3, little-endian: magic, version,
//! two counts, the metadata, the table of tensors, padding, the tensors' bytes. Every count and length is held against a
//! limit and against the bytes that are there before anything is done that grows with it.

use std::collections::HashSet;

use crate::dtype::{Container, Dtype};
use crate::error::Error;
use crate::json::is_code_key;
use crate::rules::{GgufRule, TensorRule};
use crate::tensors::{FileTable, MAX_NAME_LEN, MAX_TENSORS, Tensor};

/// The most bytes before the tensors of a GGUF file.
pub const MAX_GGUF_HEADER_LEN: u64 = 64 << 20;
/// The most metadata keys.
pub const MAX_GGUF_KEYS: usize = 4096;
/// The longest metadata key, in bytes.
pub const MAX_GGUF_KEY_LEN: usize = 128;
/// The longest text in the metadata, in bytes.
pub const MAX_GGUF_TEXT_LEN: usize = 1 << 20;
/// The most elements of an array in the metadata.
pub const MAX_GGUF_ARRAY_LEN: usize = 1 << 21;
/// The most dimensions of a tensor, `GGML_MAX_DIMS`.
pub const MAX_GGUF_RANK: usize = 4;

const MAGIC: [u8; 4] = *b"GGUF";
const DEFAULT_ALIGNMENT: u64 = 32;
const MAX_ALIGNMENT: u64 = 65_536;

/// A metadata value. Texts and arrays lie in the bytes that were parsed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum GgufValue<'a> {
    /// Any of the unsigned integer types.
    Unsigned(u64),
    /// Any of the signed integer types.
    Signed(i64),
    /// Either of the floating point types.
    Float(f64),
    /// A boolean.
    Bool(bool),
    /// A text.
    Text(&'a str),
    /// An array: the number of its elements' type, their count, and their bytes, whose lengths, texts and booleans were
    /// checked.
    Array {
        /// The type of the elements, as GGUF numbers value types.
        element_type: u32,
        /// How many there are.
        count: usize,
        /// The encoded elements.
        bytes: &'a [u8],
    },
}

/// The header of a GGUF file.
#[derive(Debug, Clone, PartialEq)]
pub struct Gguf<'a> {
    metadata: Vec<(&'a str, GgufValue<'a>)>,
    table: FileTable,
}

impl<'a> Gguf<'a> {
    /// Reads the header from the beginning of a file of `file_len` bytes. `head` must hold at least the header.
    ///
    /// # Errors
    /// [`Error::Gguf`] or [`Error::Tensors`], naming the rule. Time and memory are bounded by the bytes of the header.
    pub fn parse(head: &'a [u8], file_len: u64) -> Result<Self, Error> {
        let limit = usize::try_from(MAX_GGUF_HEADER_LEN.min(file_len)).unwrap_or(usize::MAX);
        let mut at = Cursor { rest: head.get(..limit).unwrap_or(head), taken: 0 };
        if at.array().ok() != Some(MAGIC) {
            return Err(GgufRule::Magic.into());
        }
        if !matches!(at.u32()?, 2 | 3) {
            return Err(GgufRule::Version.into());
        }
        let (tensor_count, key_count) = (at.u64()?, at.u64()?);
        if tensor_count > MAX_TENSORS as u64 {
            return Err(TensorRule::Count.into());
        }
        if key_count > MAX_GGUF_KEYS as u64 {
            return Err(GgufRule::KeyCount.into());
        }
        let metadata = read_metadata(&mut at, key_count)?;
        let alignment = alignment(&metadata)?;
        let mut tensors = Vec::new();
        let mut data_end = 0_u64;
        for _ in 0..tensor_count {
            let tensor = read_tensor(&mut at, next_multiple(data_end, alignment)?)?;
            data_end = tensor.end;
            tensors.push(tensor);
        }
        let data_start = next_multiple(at.taken, alignment)?;
        if data_start > MAX_GGUF_HEADER_LEN {
            return Err(GgufRule::Cut.into());
        }
        let table = FileTable::checked(Container::Gguf, data_start, tensors, file_len)?;
        let data_len = file_len.saturating_sub(data_start);
        if data_len != data_end && data_len != next_multiple(data_end, alignment)? {
            return Err(TensorRule::End.into());
        }
        Ok(Self { metadata, table })
    }

    /// The value of a metadata key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<GgufValue<'a>> {
        self.metadata.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
    }

    /// The metadata, in the order of the file.
    #[must_use]
    pub fn metadata(&self) -> &[(&'a str, GgufValue<'a>)] {
        &self.metadata
    }

    /// The tensors.
    #[must_use]
    pub const fn table(&self) -> &FileTable {
        &self.table
    }

    /// Everything but the tensors' table goes.
    pub(crate) fn into_table(self) -> FileTable {
        self.table
    }

    /// Holds what the file says about being one of several against the file's place among `count` files, which together have
    /// `tensors` tensors.
    pub(crate) fn check_split(
        &self,
        (number, count): (usize, usize),
        tensors: usize,
    ) -> Result<(), GgufRule> {
        let says = |key: &str, wanted: usize, absent: bool| match self.get(key) {
            Some(GgufValue::Unsigned(found)) => found == wanted as u64,
            Some(GgufValue::Signed(found)) => i64::try_from(wanted) == Ok(found),
            Some(_) => false,
            None => absent,
        };
        let alone = count == 1;
        let fits = says("split.count", count, alone) || (alone && says("split.count", 0, alone));
        if fits && says("split.no", number, alone) && says("split.tensors.count", tensors, alone) {
            Ok(())
        } else {
            Err(GgufRule::Split)
        }
    }
}

/// The part of a file's beginning that is not read yet.
struct Cursor<'a> {
    rest: &'a [u8],
    taken: u64,
}

impl<'a> Cursor<'a> {
    fn bytes(&mut self, len: usize) -> Result<&'a [u8], GgufRule> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(GgufRule::Cut)?;
        self.rest = rest;
        self.taken += len as u64;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], GgufRule> {
        self.bytes(N)?.first_chunk().copied().ok_or(GgufRule::Cut)
    }

    fn u32(&mut self) -> Result<u32, GgufRule> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, GgufRule> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A length and as many bytes, at most `limit`.
    fn prefixed(&mut self, limit: usize, rule: GgufRule) -> Result<&'a [u8], GgufRule> {
        let len = usize::try_from(self.u64()?).ok().filter(|len| *len <= limit).ok_or(rule)?;
        self.bytes(len)
    }

    fn text(&mut self) -> Result<&'a str, GgufRule> {
        let bytes = self.prefixed(MAX_GGUF_TEXT_LEN, GgufRule::StringLength)?;
        std::str::from_utf8(bytes).map_err(|_| GgufRule::Utf8)
    }

    fn bool(&mut self) -> Result<bool, GgufRule> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(GgufRule::Bool),
        }
    }

    /// A value of the type with this number.
    fn value(&mut self, kind: u32) -> Result<GgufValue<'a>, GgufRule> {
        Ok(match kind {
            0 => GgufValue::Unsigned(u8::from_le_bytes(self.array()?).into()),
            1 => GgufValue::Signed(i8::from_le_bytes(self.array()?).into()),
            2 => GgufValue::Unsigned(u16::from_le_bytes(self.array()?).into()),
            3 => GgufValue::Signed(i16::from_le_bytes(self.array()?).into()),
            4 => GgufValue::Unsigned(self.u32()?.into()),
            5 => GgufValue::Signed(i32::from_le_bytes(self.array()?).into()),
            6 => GgufValue::Float(f32::from_le_bytes(self.array()?).into()),
            7 => GgufValue::Bool(self.bool()?),
            8 => GgufValue::Text(self.text()?),
            9 => self.elements()?,
            10 => GgufValue::Unsigned(self.u64()?),
            11 => GgufValue::Signed(i64::from_le_bytes(self.array()?)),
            12 => GgufValue::Float(f64::from_le_bytes(self.array()?)),
            _ => return Err(GgufRule::ValueType),
        })
    }

    /// An array. Elements of a fixed size are skipped at once, the others read one by one.
    fn elements(&mut self) -> Result<GgufValue<'a>, GgufRule> {
        let element_type = self.u32()?;
        let count = usize::try_from(self.u64()?).ok().filter(|count| *count <= MAX_GGUF_ARRAY_LEN);
        let count = count.ok_or(GgufRule::ArrayLength)?;
        let size = match element_type {
            0 | 1 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            7 | 8 => 0,
            9 => return Err(GgufRule::NestedArray),
            _ => return Err(GgufRule::ValueType),
        };
        let start = self.rest;
        if size > 0 {
            self.bytes(count.checked_mul(size).ok_or(GgufRule::Cut)?)?;
        } else {
            for _ in 0..count {
                self.value(element_type)?;
            }
        }
        let bytes = start.get(..start.len() - self.rest.len()).unwrap_or_default();
        Ok(GgufValue::Array { element_type, count, bytes })
    }
}

fn read_metadata<'a>(at: &mut Cursor<'a>, count: u64) -> Result<Vec<(&'a str, GgufValue<'a>)>, GgufRule> {
    let mut metadata = Vec::new();
    let mut seen = HashSet::new();
    for _ in 0..count {
        let key = at.prefixed(MAX_GGUF_KEY_LEN, GgufRule::Key)?;
        let key = std::str::from_utf8(key).ok().filter(|key| is_key(key)).ok_or(GgufRule::Key)?;
        if key.split('.').any(is_code_key) {
            return Err(GgufRule::CodeKey);
        }
        if !seen.insert(key) {
            return Err(GgufRule::DuplicateKey);
        }
        let kind = at.u32()?;
        metadata.push((key, at.value(kind)?));
    }
    Ok(metadata)
}

/// Whether a key is made of lower-case parts between dots. Published models also use digits and `-` in parts.
fn is_key(key: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
    key.split('.').all(|part| !part.is_empty() && part.bytes().all(plain))
}

fn alignment(metadata: &[(&str, GgufValue<'_>)]) -> Result<u64, GgufRule> {
    match metadata.iter().find(|(key, _)| *key == "general.alignment") {
        None => Ok(DEFAULT_ALIGNMENT),
        Some((_, GgufValue::Unsigned(alignment)))
            if alignment.is_power_of_two() && (8..=MAX_ALIGNMENT).contains(alignment) =>
        {
            Ok(*alignment)
        }
        Some(_) => Err(GgufRule::Alignment),
    }
}

/// One row of the table, whose tensor must begin at `begin`.
fn read_tensor(at: &mut Cursor<'_>, begin: u64) -> Result<Tensor, Error> {
    let name = at.prefixed(MAX_NAME_LEN, GgufRule::StringLength).map_err(|rule| match rule {
        GgufRule::StringLength => Error::Tensors(TensorRule::Name),
        other => other.into(),
    })?;
    let name = std::str::from_utf8(name).map_err(|_| GgufRule::Utf8)?.to_owned();
    let rank = usize::try_from(at.u32()?).ok().filter(|rank| (1..=MAX_GGUF_RANK).contains(rank));
    let mut shape = Vec::with_capacity(MAX_GGUF_RANK);
    for _ in 0..rank.ok_or(GgufRule::Rank)? {
        shape.push(at.u64()?);
    }
    let dtype = Dtype::from_ggml(at.u32()?).ok_or(GgufRule::TensorType)?;
    if !shape.first().is_some_and(|row| row.is_multiple_of(dtype.block().0)) {
        return Err(GgufRule::Block.into());
    }
    if at.u64()? != begin {
        return Err(GgufRule::Offset.into());
    }
    let elements = shape.iter().try_fold(1_u64, |product, side| product.checked_mul(*side));
    let bytes = elements.and_then(|elements| dtype.bytes_of(elements)).ok_or(TensorRule::Size)?;
    let end = begin.checked_add(bytes).ok_or(TensorRule::Size)?;
    // GGUF lists the innermost dimension first.
    shape.reverse();
    Ok(Tensor { name, dtype, shape, begin, end })
}

fn next_multiple(at: u64, alignment: u64) -> Result<u64, TensorRule> {
    at.checked_next_multiple_of(alignment).ok_or(TensorRule::Size)
}

#[cfg(test)]
#[path = "gguf_tests.rs"]
mod tests;

//! One column of a row group: its values while they gather, and its pages.

use super::thrift::{Kind, Struct, binary, varint, zigzag};
use super::{length, long};
use std::collections::HashMap;
use std::io;

/// The most different values that a dictionary holds; a column with more is written plain.
const MAX_DICTIONARY: usize = 4096;
/// Encodings, as the specification numbers them.
const PLAIN: i32 = 0;
const RLE: i32 = 3;
const RLE_DICTIONARY: i32 = 8;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Physical {
    Boolean,
    Integer,
    /// Nanoseconds since 1970, UTC.
    Time,
    Text,
}

impl Physical {
    const fn number(self) -> i32 {
        match self {
            Self::Boolean => 0,
            Self::Integer | Self::Time => 2,
            Self::Text => 6,
        }
    }
}

/// A column under construction.
#[derive(Debug)]
pub(super) struct Column {
    name: &'static str,
    physical: Physical,
    /// Whether each row has a value.
    present: Vec<bool>,
    integers: Vec<i64>,
    texts: Vec<String>,
}

impl Column {
    pub(super) fn new(name: &'static str, physical: Physical) -> Self {
        Self { name, physical, present: Vec::new(), integers: Vec::new(), texts: Vec::new() }
    }

    pub(super) const fn physical(&self) -> Physical {
        self.physical
    }

    /// Adds what the cell of a spreadsheet would hold. A number beyond 63 bits, which no clock or counter reaches, is left out.
    pub(super) fn push(&mut self, cell: Option<String>) {
        match self.physical {
            Physical::Text => {
                self.present.push(cell.is_some());
                self.texts.extend(cell);
            }
            Physical::Boolean => self.push_integer(cell.map(|cell| i64::from(cell == "true"))),
            Physical::Integer | Physical::Time => self.push_integer(cell.and_then(|cell| cell.parse().ok())),
        }
    }

    pub(super) fn push_integer(&mut self, value: Option<i64>) {
        self.present.push(value.is_some());
        self.integers.extend(value);
    }

    /// `SchemaElement`.
    pub(super) fn schema(&self) -> Vec<u8> {
        let mut element = Struct::new();
        element.i32(1, self.physical.number());
        element.i32(3, 1);
        element.text(4, self.name);
        let mut logical = Struct::new();
        match self.physical {
            Physical::Text => {
                element.i32(6, 0);
                logical.inner(1, Struct::new());
                element.inner(10, logical);
            }
            Physical::Time => {
                let mut unit = Struct::new();
                unit.inner(3, Struct::new());
                let mut timestamp = Struct::new();
                timestamp.yes(1);
                timestamp.inner(2, unit);
                logical.inner(8, timestamp);
                element.inner(10, logical);
            }
            Physical::Boolean | Physical::Integer => {}
        }
        element.finish()
    }

    /// The pages of what gathered, which begin at byte `at` of the file; the column is empty afterwards.
    ///
    /// # Errors
    /// A page that is longer than the format can say, which the number of rows and the length of entries exclude.
    pub(super) fn take(&mut self, at: u64) -> io::Result<(Vec<u8>, Chunk)> {
        let present = std::mem::take(&mut self.present);
        let (integers, texts) = (std::mem::take(&mut self.integers), std::mem::take(&mut self.texts));
        let mut levels = Vec::new();
        runs(&mut levels, &present);
        let mut page = u32::try_from(levels.len()).map_err(too_long)?.to_le_bytes().to_vec();
        page.extend(levels);
        let mut bytes = Vec::new();
        let mut dictionary_at = None;
        let mut encoding = PLAIN;
        match self.physical {
            Physical::Boolean => bits(&mut page, &integers, 1),
            Physical::Integer | Physical::Time => {
                integers.iter().for_each(|value| page.extend_from_slice(&value.to_le_bytes()));
            }
            Physical::Text => match dictionary(&texts) {
                Some((words, places)) => {
                    let mut content = Vec::new();
                    words.iter().try_for_each(|word| plain(&mut content, word))?;
                    dictionary_at = Some(at);
                    bytes.extend(dictionary_page(words.len(), &content)?);
                    bytes.extend(content);
                    encoding = RLE_DICTIONARY;
                    indexes(&mut page, &places, words.len());
                }
                None => texts.iter().try_for_each(|text| plain(&mut page, text))?,
            },
        }
        let data_at = at + bytes.len() as u64;
        bytes.extend(data_page(present.len(), encoding, &page)?);
        bytes.extend(page);
        let chunk = Chunk { at, dictionary_at, data_at, values: present.len(), bytes: bytes.len() };
        Ok((bytes, chunk))
    }
}

fn too_long<E>(_: E) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, "a page of a column is too long")
}

fn plain(out: &mut Vec<u8>, text: &str) -> io::Result<()> {
    out.extend_from_slice(&u32::try_from(text.len()).map_err(too_long)?.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

/// The different texts in the order of their first places, and for each text its number; `None` when there are too many, or hardly any
/// comes twice.
fn dictionary(texts: &[String]) -> Option<(Vec<&str>, Vec<i64>)> {
    let mut numbers: HashMap<&str, i64> = HashMap::new();
    let mut words = Vec::new();
    let mut places = Vec::with_capacity(texts.len());
    for text in texts {
        let next = long(words.len());
        let number = *numbers.entry(text.as_str()).or_insert_with(|| {
            words.push(text.as_str());
            next
        });
        if words.len() > MAX_DICTIONARY {
            return None;
        }
        places.push(number);
    }
    (words.len() * 2 <= texts.len()).then_some((words, places))
}

/// Numbers below `count`, with the width of a number in front.
fn indexes(out: &mut Vec<u8>, places: &[i64], count: usize) {
    let width = (usize::BITS - count.saturating_sub(1).leading_zeros()).max(1);
    // At most 12 bits, by the limit on dictionaries.
    out.push(width.to_le_bytes()[0]);
    varint(out, (places.len().div_ceil(8) as u64) << 1 | 1);
    bits(out, places, width);
}

/// Packs the lowest `width` bits of each number, the first in the lowest bits, and pads to eight numbers where numbers are wider than one
/// bit stands for a boolean.
fn bits(out: &mut Vec<u8>, numbers: &[i64], width: u32) {
    let start = out.len();
    let (mut pending, mut held) = (0_u64, 0);
    for number in numbers {
        pending |= number.cast_unsigned() << held;
        held += width;
        while held >= 8 {
            out.push(pending.to_le_bytes()[0]);
            (pending, held) = (pending >> 8, held - 8);
        }
    }
    if held > 0 {
        out.push(pending.to_le_bytes()[0]);
    }
    // Eight numbers take `width` bytes. One bit each fills whole bytes already.
    let whole = numbers.len().div_ceil(8) * width as usize;
    out.resize(start + whole, 0);
}

/// Definition levels, in runs of equal ones.
fn runs(out: &mut Vec<u8>, present: &[bool]) {
    for run in present.chunk_by(|a, b| a == b) {
        varint(out, (run.len() as u64) << 1);
        out.push(u8::from(run.first() == Some(&true)));
    }
}

fn page_header(kind: i32, content: &[u8]) -> io::Result<Struct> {
    let size = i32::try_from(content.len()).map_err(too_long)?;
    let mut header = Struct::new();
    header.i32(1, kind);
    header.i32(2, size);
    header.i32(3, size);
    Ok(header)
}

fn data_page(values: usize, encoding: i32, content: &[u8]) -> io::Result<Vec<u8>> {
    let mut header = page_header(0, content)?;
    let mut data = Struct::new();
    data.i32(1, length(values));
    data.i32(2, encoding);
    data.i32(3, RLE);
    data.i32(4, RLE);
    header.inner(5, data);
    Ok(header.finish())
}

fn dictionary_page(values: usize, content: &[u8]) -> io::Result<Vec<u8>> {
    let mut header = page_header(2, content)?;
    let mut dictionary = Struct::new();
    dictionary.i32(1, length(values));
    dictionary.i32(2, PLAIN);
    header.inner(7, dictionary);
    Ok(header.finish())
}

/// A column of a row group that was written.
#[derive(Debug)]
pub(super) struct Chunk {
    at: u64,
    dictionary_at: Option<u64>,
    data_at: u64,
    values: usize,
    bytes: usize,
}

impl Chunk {
    pub(super) fn bytes(&self) -> i64 {
        long(self.bytes)
    }

    /// `ColumnChunk`.
    pub(super) fn metadata(&self, column: &Column) -> Vec<u8> {
        let offset = |at: u64| i64::try_from(at).unwrap_or(i64::MAX);
        let mut metadata = Struct::new();
        metadata.i32(1, column.physical.number());
        let encodings = [PLAIN, RLE, RLE_DICTIONARY];
        let encodings = if self.dictionary_at.is_some() { &encodings[..] } else { &encodings[..2] };
        metadata.list(2, Kind::I32, encodings.len(), |items| {
            encodings.iter().for_each(|encoding| zigzag(items, i64::from(*encoding)));
        });
        metadata.list(3, Kind::Binary, 1, |items| binary(items, column.name));
        metadata.i32(4, 0);
        metadata.i64(5, long(self.values));
        metadata.i64(6, self.bytes());
        metadata.i64(7, self.bytes());
        metadata.i64(9, offset(self.data_at));
        if let Some(at) = self.dictionary_at {
            metadata.i64(11, offset(at));
        }
        let mut chunk = Struct::new();
        chunk.i64(2, offset(self.at));
        chunk.inner(3, metadata);
        chunk.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of `width` bits each, lowest first, as the specification packs them.
    fn unpacked(bytes: &[u8], width: u32, count: usize) -> Vec<i64> {
        let bit = |at: usize| i64::from(bytes[at / 8] >> (at % 8) & 1);
        let width = width as usize;
        (0..count).map(|number| (0..width).map(|at| bit(number * width + at) << at).sum()).collect()
    }

    #[test]
    fn numbers_are_packed_at_every_width() {
        for width in 1..=12 {
            for count in 0..40_usize {
                let numbers: Vec<i64> = (0..count).map(|at| long(at * 2731 + 1) % (1 << width)).collect();
                let mut out = vec![0xee];
                bits(&mut out, &numbers, width);
                assert_eq!(out.len(), 1 + count.div_ceil(8) * width as usize, "{count} of {width} bits");
                assert_eq!(unpacked(&out[1..], width, count), numbers, "{width} bits");
            }
        }
    }

    #[test]
    fn a_dictionary_gives_its_texts_back_and_is_made_only_where_it_saves() {
        let texts = |count: usize, words: usize| -> Vec<String> {
            (0..count).map(|at| (at % words).to_string()).collect()
        };
        for (count, words) in [(2, 1), (8, 2), (9, 3), (600, 257), (8192, MAX_DICTIONARY)] {
            let texts = texts(count, words);
            let (listed, places) = dictionary(&texts).unwrap();
            assert_eq!(listed.len(), words);
            let back: Vec<&str> = places.iter().map(|at| listed[usize::try_from(*at).unwrap()]).collect();
            assert_eq!(back, texts);
            let mut out = Vec::new();
            indexes(&mut out, &places, words);
            let width = u32::from(out[0]);
            assert!(1 << width >= words && (width == 1 || 1 << (width - 1) < words), "{width} for {words}");
            // One run of groups of eight, its number in as few bytes as it needs.
            let groups = count.div_ceil(8) as u64;
            let mut header = vec![out[0]];
            varint(&mut header, groups * 2 + 1);
            assert!(out.starts_with(&header));
            assert_eq!(unpacked(&out[header.len()..], width, count), places);
        }
        assert!(dictionary(&texts(7, 4)).is_none(), "more words than half of the texts");
        assert!(dictionary(&texts(20_000, MAX_DICTIONARY + 1)).is_none());
    }

    #[test]
    fn runs_tell_which_values_are_there() {
        let present = [vec![true; 3], vec![false; 200], vec![true]].concat();
        let mut out = Vec::new();
        runs(&mut out, &present);
        // Lengths are doubled: the lowest bit would mean packed bits.
        assert_eq!(out, [6, 1, 0x90, 3, 0, 2, 1]);
    }
}

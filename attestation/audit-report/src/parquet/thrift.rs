//! As much of Thrift's compact protocol as Parquet's metadata needs, for writing.

/// The type of a field or element, as the protocol numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    True = 1,
    I32 = 5,
    I64 = 6,
    Binary = 8,
    List = 9,
    Struct = 12,
}

/// A struct under construction; its fields come in the order of their numbers.
#[derive(Debug, Default)]
pub(super) struct Struct {
    bytes: Vec<u8>,
    last: u8,
}

impl Struct {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// The header of the next field, whose number is at most 15 above the one before.
    fn field(&mut self, number: u8, kind: Kind) {
        self.bytes.push((number - self.last) << 4 | kind as u8);
        self.last = number;
    }

    pub(super) fn yes(&mut self, number: u8) {
        self.field(number, Kind::True);
    }

    pub(super) fn i32(&mut self, number: u8, value: i32) {
        self.field(number, Kind::I32);
        zigzag(&mut self.bytes, i64::from(value));
    }

    pub(super) fn i64(&mut self, number: u8, value: i64) {
        self.field(number, Kind::I64);
        zigzag(&mut self.bytes, value);
    }

    pub(super) fn text(&mut self, number: u8, text: &str) {
        self.field(number, Kind::Binary);
        binary(&mut self.bytes, text);
    }

    pub(super) fn inner(&mut self, number: u8, inner: Self) {
        self.field(number, Kind::Struct);
        self.bytes.extend(inner.finish());
    }

    /// A list of `count` elements, which `write` appends.
    pub(super) fn list(&mut self, number: u8, kind: Kind, count: usize, write: impl FnOnce(&mut Vec<u8>)) {
        self.field(number, Kind::List);
        match u8::try_from(count) {
            Ok(few) if few < 15 => self.bytes.push(few << 4 | kind as u8),
            _ => {
                self.bytes.push(0xf0 | kind as u8);
                varint(&mut self.bytes, count as u64);
            }
        }
        write(&mut self.bytes);
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.push(0);
        self.bytes
    }
}

pub(super) fn binary(out: &mut Vec<u8>, text: &str) {
    varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

pub(super) fn zigzag(out: &mut Vec<u8>, value: i64) {
    varint(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// Seven bits to a byte, the lowest first.
pub(super) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_specification() {
        let written = |value| {
            let mut out = Vec::new();
            zigzag(&mut out, value);
            out
        };
        assert_eq!(
            (written(0), written(-1), written(1), written(63)),
            (vec![0], vec![1], vec![2], vec![126])
        );
        assert_eq!((written(64), written(i64::MIN)), (vec![0x80, 1], [[0xff; 9].as_slice(), &[1]].concat()));
    }
}

//! Little-endian fields out of bytes that may be hostile.

use crate::Error;

/// A reader of the structure `what`, from its first byte on.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) const fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, rest: bytes }
    }

    /// The structure that begins at `offset` of `file`.
    pub(crate) fn at(what: &'static str, file: &'a [u8], offset: usize) -> Result<Self, Error> {
        file.get(offset..).map(|rest| Self { what, rest }).ok_or(Error::Truncated { what })
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(Error::Truncated { what: self.what })?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(Error::Truncated { what: self.what })?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_le_bytes)
    }

    /// A 32-bit length or offset.
    pub(crate) fn size(&mut self) -> Result<usize, Error> {
        let what = self.what;
        self.u32().and_then(|size| usize::try_from(size).map_err(|_| Error::Truncated { what }))
    }
}

/// A GUID as firmware stores it, from the number that its usual text is without hyphens
/// (`dc886566-984a-4798-a75e-5585a7bf67cc`): its first three fields are little-endian.
pub(crate) const fn guid(number: u128) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = number.to_be_bytes();
    [d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_begins_with_three_little_endian_numbers() {
        let expected =
            [0x66, 0x65, 0x88, 0xdc, 0x4a, 0x98, 0x98, 0x47, 0xa7, 0x5e, 0x55, 0x85, 0xa7, 0xbf, 0x67, 0xcc];
        assert_eq!(guid(0xdc886566_984a_4798_a75e_5585a7bf67cc), expected);
    }

    #[test]
    fn fields_end_with_the_bytes() {
        let mut fields = Fields::new("it", &[1, 0, 2, 0, 0, 0, 3]);
        assert_eq!((fields.u16(), fields.u32()), (Ok(1), Ok(2)));
        assert_eq!(fields.u16(), Err(Error::Truncated { what: "it" }));
        assert_eq!(fields.bytes(1), Ok(&[3][..]));
        assert_eq!(fields.bytes(1), Err(Error::Truncated { what: "it" }));
        assert!(Fields::at("it", &[1], 2).is_err());
    }
}

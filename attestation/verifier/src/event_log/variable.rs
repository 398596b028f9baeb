//! UEFI variables inside events (TCG PC Client Platform Firmware Profile, "UEFI_VARIABLE_DATA").

/// EFI_GLOBAL_VARIABLE, 8be4df61-93ca-11d2-aa0d-00e098032b8c, in the byte order of UEFI.
pub const GLOBAL_VARIABLE: [u8; 16] =
    [0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c];

/// A UEFI variable as it was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable<'a> {
    /// The GUID of its namespace, in the byte order of UEFI.
    pub vendor: [u8; 16],
    /// Its name in UTF-16, little-endian, without a terminator.
    pub name: &'a [u8],
    /// Its value.
    pub data: &'a [u8],
}

impl<'a> Variable<'a> {
    /// Reads GUID, both lengths (8 bytes each, the name's in characters), name and value; `None` when anything is
    /// missing or left over.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (vendor, rest) = bytes.split_first_chunk::<16>()?;
        let (name_chars, rest) = rest.split_first_chunk::<8>()?;
        let (data_bytes, rest) = rest.split_first_chunk::<8>()?;
        let name_bytes = usize::try_from(u64::from_le_bytes(*name_chars)).ok()?.checked_mul(2)?;
        let data_bytes = usize::try_from(u64::from_le_bytes(*data_bytes)).ok()?;
        let (name, data) = rest.split_at_checked(name_bytes)?;
        (data.len() == data_bytes).then_some(Self { vendor: *vendor, name, data })
    }

    /// Whether it is the variable of this namespace and name.
    #[must_use]
    pub fn is(&self, vendor: &[u8; 16], name: &str) -> bool {
        self.vendor == *vendor && name.encode_utf16().flat_map(u16::to_le_bytes).eq(self.name.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(name_chars: u64, data_bytes: u64, rest: &[u8]) -> Vec<u8> {
        [&GLOBAL_VARIABLE[..], &name_chars.to_le_bytes(), &data_bytes.to_le_bytes(), rest].concat()
    }

    #[test]
    fn a_variable_is_read_whole_or_not_at_all() {
        let good = bytes(2, 1, b"P\0K\0\x01");
        let variable = Variable::parse(&good).unwrap();
        assert!(variable.is(&GLOBAL_VARIABLE, "PK"));
        assert!(!variable.is(&GLOBAL_VARIABLE, "P"));
        assert!(!variable.is(&[0; 16], "PK"));
        assert_eq!(variable.data, [1]);
        for length in 0..good.len() {
            assert_eq!(Variable::parse(&good[..length]), None, "{length}");
        }
        assert_eq!(Variable::parse(&[&good[..], &[0]].concat()), None);
        for lengths in [(u64::MAX, 1), (2, u64::MAX), (u64::MAX / 2 + 1, 5), (3, 1), (2, 0)] {
            assert_eq!(Variable::parse(&bytes(lengths.0, lengths.1, b"P\0K\0\x01")), None, "{lengths:?}");
        }
    }
}

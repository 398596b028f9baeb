//! The certificates that a host hands out with an extended report: the table of SNP_GET_EXT_REPORT, which configfs-tsm
//! gives as `auxblob`.
//!
//! Source: *SEV-ES Guest-Hypervisor Communication Block Standardization* (AMD 56421, version 2.0), section 4.1.8.1: entries
//! of a GUID, an offset and a length (little-endian), ended by an entry of zeros, and then the contents. GUIDs stand as in
//! RFC 4122, most significant byte first, which is what go-sev-guest and the `sev` crate write.

use crate::Der;
use std::fmt;

/// The most entries that are read.
const MAX_ENTRIES: usize = 16;
/// The most bytes that are read, table and contents together.
const MAX_TABLE_BYTES: usize = 128 * 1024;
const ENTRY_LEN: usize = 24;

const VCEK: [u8; 16] = *b"\x63\xda\x75\x8d\xe6\x64\x45\x64\xad\xc5\xf4\xb9\x3b\xe8\xac\xcd";
const VLEK: [u8; 16] = *b"\xa8\x07\x4b\xc2\xa2\x5a\x48\x3e\xaa\xe6\x39\xc0\x45\xa0\xb8\xa1";
const ASK: [u8; 16] = *b"\x4a\xb7\xb3\x79\xbb\xac\x4f\xe4\xa0\x2f\x05\xae\xf3\x27\xc7\x82";
const ARK: [u8; 16] = *b"\xc0\xb4\x06\xa4\xa8\x03\x49\x52\x97\x43\x3f\xb6\x01\x4c\xd0\xae";
const CRL: [u8; 16] = *b"\x92\xf8\x1b\xc3\x58\x11\x4d\x3d\x97\xff\xd1\x9f\x88\xdc\x67\xea";

/// Why bytes are not a certificate table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableError {
    /// Longer than the limit.
    TooLong {
        /// The length that came.
        observed_bytes: usize,
    },
    /// The bytes end before an entry of zeros.
    Unterminated,
    /// More entries than the limit.
    Entries,
    /// The contents of an entry lie outside the bytes or inside the entries.
    Bounds {
        /// The entry, from 0.
        entry: usize,
    },
    /// An entry has no contents.
    Empty {
        /// The entry, from 0.
        entry: usize,
    },
    /// The contents of two entries share bytes.
    Overlap {
        /// The later of the two, from 0.
        entry: usize,
    },
    /// Two entries have one GUID.
    Duplicate {
        /// The later of the two, from 0.
        entry: usize,
    },
    /// Both a VCEK and a VLEK, though one key signed the report.
    TwoLeaves,
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { observed_bytes } => {
                write!(f, "certificate table is {observed_bytes} bytes, the limit is {MAX_TABLE_BYTES}")
            }
            Self::Unterminated => f.write_str("certificate table does not end in an entry of zeros"),
            Self::Entries => write!(f, "certificate table has more than {MAX_ENTRIES} entries"),
            Self::Bounds { entry } => write!(f, "entry {entry} points outside the contents"),
            Self::Empty { entry } => write!(f, "entry {entry} has no contents"),
            Self::Overlap { entry } => write!(f, "entry {entry} shares bytes with an earlier one"),
            Self::Duplicate { entry } => write!(f, "entry {entry} repeats the GUID of an earlier one"),
            Self::TwoLeaves => f.write_str("certificate table has both a VCEK and a VLEK"),
        }
    }
}

impl std::error::Error for TableError {}

/// What a certificate table holds, read and not authenticated: it comes from the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CertificateTable<'a> {
    /// The certificate of the chip's key, DER.
    pub vcek: Option<&'a [u8]>,
    /// The certificate of the provider's key, DER.
    pub vlek: Option<&'a [u8]>,
    /// The certificate of the issuer of either, DER: an ASK or an ASVK.
    pub ask: Option<&'a [u8]>,
    /// A root, DER. It is trusted nowhere for being here.
    pub ark: Option<&'a [u8]>,
    /// A revocation list, DER.
    pub crl: Option<&'a [u8]>,
}

impl<'a> CertificateTable<'a> {
    /// Reads a table. Bytes between and after the contents are not looked at, since hosts pad to whole pages; entries
    /// with other GUIDs are held to the same rules and then left out.
    ///
    /// # Errors
    /// [`TableError`] for anything that is not one table within the limits.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, TableError> {
        if bytes.len() > MAX_TABLE_BYTES {
            return Err(TableError::TooLong { observed_bytes: bytes.len() });
        }
        let entries = read_entries(bytes)?;
        let contents_at = (entries.len() + 1) * ENTRY_LEN;
        let mut table = Self::default();
        for (index, entry) in entries.iter().enumerate() {
            let contents = entry.contents(bytes, contents_at, index)?;
            let earlier = entries.get(..index).unwrap_or_default();
            if earlier.iter().any(|other| other.guid == entry.guid) {
                return Err(TableError::Duplicate { entry: index });
            }
            if earlier.iter().any(|other| other.start < entry.end && entry.start < other.end) {
                return Err(TableError::Overlap { entry: index });
            }
            if let Some(place) = table.place(entry.guid) {
                *place = Some(contents);
            }
        }
        if table.vcek.is_some() && table.vlek.is_some() {
            return Err(TableError::TwoLeaves);
        }
        Ok(table)
    }

    /// The certificates for [`Evidence`](crate::Evidence), leaf first and without the root. Empty when the
    /// host gave no leaf, for then nothing can be chained.
    #[must_use]
    pub fn certificates(&self) -> Vec<Der> {
        let Some(leaf) = self.vcek.or(self.vlek) else { return Vec::new() };
        std::iter::once(leaf).chain(self.ask).map(|der| Der(der.to_vec())).collect()
    }

    fn place(&mut self, guid: [u8; 16]) -> Option<&mut Option<&'a [u8]>> {
        match guid {
            VCEK => Some(&mut self.vcek),
            VLEK => Some(&mut self.vlek),
            ASK => Some(&mut self.ask),
            ARK => Some(&mut self.ark),
            CRL => Some(&mut self.crl),
            _ => None,
        }
    }
}

struct Entry {
    guid: [u8; 16],
    start: usize,
    end: usize,
}

impl Entry {
    fn contents<'a>(&self, bytes: &'a [u8], from: usize, index: usize) -> Result<&'a [u8], TableError> {
        match bytes.get(self.start..self.end) {
            None => Err(TableError::Bounds { entry: index }),
            Some([]) => Err(TableError::Empty { entry: index }),
            Some(_) if self.start < from => Err(TableError::Bounds { entry: index }),
            Some(contents) => Ok(contents),
        }
    }
}

/// The entries up to the one of zeros.
fn read_entries(bytes: &[u8]) -> Result<Vec<Entry>, TableError> {
    let mut entries = Vec::new();
    let mut rest = bytes;
    while let Some((entry, after)) = rest.split_first_chunk::<ENTRY_LEN>() {
        rest = after;
        if *entry == [0; ENTRY_LEN] {
            return Ok(entries);
        }
        if entries.len() == MAX_ENTRIES {
            return Err(TableError::Entries);
        }
        let (guid, numbers) = entry.split_first_chunk::<16>().ok_or(TableError::Unterminated)?;
        let (offset, numbers) = numbers.split_first_chunk::<4>().ok_or(TableError::Unterminated)?;
        let (length, _) = numbers.split_first_chunk::<4>().ok_or(TableError::Unterminated)?;
        let bounds = TableError::Bounds { entry: entries.len() };
        let number = |bytes: &[u8; 4]| usize::try_from(u32::from_le_bytes(*bytes)).map_err(|_| bounds);
        let start = number(offset)?;
        let end = start.checked_add(number(length)?).ok_or(bounds)?;
        entries.push(Entry { guid: *guid, start, end });
    }
    Err(TableError::Unterminated)
}

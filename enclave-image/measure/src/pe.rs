//! PE images: the Authenticode digest that firmware measures, and the sections by name.
//!
//! Specification: Microsoft PE/COFF 8.3 and "Windows Authenticode Portable Executable Signature Format", 2008, as edk2
//! computes it (`SecurityPkg/Library/DxeTpm2MeasureBootLib`, `MeasurePeImageAndExtend`): that code does not pad the file to
//! eight bytes, signing tools do before they sign.

use crate::Error;
use crate::bytes::Fields;
use crate::digest::Digests;

/// The most sections of an image; a unified kernel image has a dozen.
pub const MAX_PE_SECTIONS: usize = 96;
const WHAT: &str = "PE image";
const DOS_HEADER_BYTES: usize = 64;
const FILE_HEADER_BYTES: usize = 20;
/// Offsets in the optional header of PE32+.
const HEADERS_SIZE_AT: usize = 60;
const CHECKSUM_AT: usize = 64;
const DIRECTORY_COUNT_AT: usize = 108;
const DIRECTORIES_AT: usize = 112;
/// The directory of certificates: its index, and what one entry takes.
const CERTIFICATES: usize = 4;
const DIRECTORY_BYTES: usize = 8;

/// A PE32+ image, whose section table was read.
#[derive(Debug, Clone)]
pub(crate) struct Image<'a> {
    file: &'a [u8],
    /// Where the checksum and, if there is one, the entry of the certificates lie: neither is measured.
    checksum_at: usize,
    certificates_at: Option<usize>,
    certificates_bytes: usize,
    headers_bytes: usize,
    sections: Vec<Section<'a>>,
}

/// A section.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Section<'a> {
    pub(crate) name: [u8; 8],
    /// How much of memory it takes.
    pub(crate) memory_bytes: usize,
    /// What the file holds, which may be padded beyond `memory_bytes`.
    pub(crate) content: &'a [u8],
    offset: usize,
}

impl<'a> Image<'a> {
    pub(crate) fn parse(file: &'a [u8]) -> Result<Self, Error> {
        let mut dos = Fields::new(WHAT, file);
        if dos.array()? != *b"MZ" {
            return Err(Error::Missing { what: WHAT });
        }
        dos.bytes(DOS_HEADER_BYTES - 6)?;
        let start = dos.size()?;
        let mut header = Fields::at(WHAT, file, start)?;
        if header.array()? != *b"PE\0\0" {
            return Err(Error::Missing { what: WHAT });
        }
        let _machine = header.u16()?;
        let section_count = usize::from(header.u16()?);
        header.bytes(12)?;
        let optional_bytes = usize::from(header.u16()?);
        let _characteristics = header.u16()?;
        if section_count > MAX_PE_SECTIONS {
            return Err(Error::TooLong {
                what: "PE sections",
                limit: MAX_PE_SECTIONS,
                observed: section_count,
            });
        }
        // Neither sum can overflow: `start` has 32 bits, and the header was read.
        let optional_at = start + 4 + FILE_HEADER_BYTES;
        let optional = header.bytes(optional_bytes)?;
        let at = |offset| Fields::at(WHAT, optional, offset);
        let magic = at(0)?.u16()?;
        if magic != 0x20b {
            return Err(Error::Field {
                field: "magic of a PE image",
                wanted: "0x20b (PE32+)",
                observed: magic.into(),
            });
        }
        let headers_bytes = at(HEADERS_SIZE_AT)?.size()?;
        let table_end = optional_at + optional_bytes + section_count * Section::HEADER_BYTES;
        if headers_bytes < table_end || headers_bytes > file.len() {
            return Err(Error::Field {
                field: "size of the headers of a PE image",
                wanted: "at least the section table and at most the file",
                observed: headers_bytes as u64,
            });
        }
        let (mut certificates_at, mut certificates_bytes) = (None, 0);
        if at(DIRECTORY_COUNT_AT)?.size()? > CERTIFICATES {
            let offset = DIRECTORIES_AT + CERTIFICATES * DIRECTORY_BYTES;
            let mut entry = at(offset)?;
            let _place = entry.u32()?;
            certificates_bytes = entry.size()?;
            certificates_at = Some(optional_at + offset);
        }
        let sections = (0..section_count).map(|_| Section::read(&mut header, file));
        let sections = sections.collect::<Result<_, _>>()?;
        let checksum_at = optional_at + CHECKSUM_AT;
        Ok(Self { file, checksum_at, certificates_at, certificates_bytes, headers_bytes, sections })
    }

    pub(crate) fn sections(&self) -> &[Section<'a>] {
        &self.sections
    }

    /// The Authenticode digest: the file without its checksum, its certificates and their place.
    ///
    /// # Errors
    /// [`Error`] when the sections and certificates take more than the file has.
    pub(crate) fn authenticode(&self) -> Result<Digests, Error> {
        let part = |from, to| self.file.get(from..to).ok_or(Error::Truncated { what: WHAT });
        let behind_checksum = self.checksum_at + 4;
        let mut parts = vec![part(0, self.checksum_at)?];
        match self.certificates_at {
            Some(at) => {
                parts.push(part(behind_checksum, at)?);
                parts.push(part(at + DIRECTORY_BYTES, self.headers_bytes)?);
            }
            None => parts.push(part(behind_checksum, self.headers_bytes)?),
        }
        let mut sections: Vec<&Section<'_>> =
            self.sections.iter().filter(|section| !section.content.is_empty()).collect();
        sections.sort_by_key(|section| section.offset);
        // As many bytes as were measured lie before what follows the sections, if they lie close together.
        let mut measured = self.headers_bytes;
        for section in sections {
            parts.push(section.content);
            measured = measured.saturating_add(section.content.len());
        }
        let end = self.file.len().checked_sub(self.certificates_bytes);
        let end = end.filter(|end| measured <= *end).ok_or(Error::Truncated { what: WHAT })?;
        parts.push(part(measured, end)?);
        Ok(Digests::of(&parts))
    }
}

impl<'a> Section<'a> {
    const HEADER_BYTES: usize = 40;

    fn read(header: &mut Fields<'_>, file: &'a [u8]) -> Result<Self, Error> {
        let name = header.array()?;
        let memory_bytes = header.size()?;
        let _address = header.u32()?;
        let (len, offset) = (header.size()?, header.size()?);
        header.bytes(Self::HEADER_BYTES - 24)?;
        // A section without content may point anywhere.
        let content = if len == 0 { &[] } else { Fields::at(WHAT, file, offset)?.bytes(len)? };
        Ok(Self { name, memory_bytes, content, offset })
    }
}

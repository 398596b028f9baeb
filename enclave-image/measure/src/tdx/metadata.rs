//! What the firmware asks the hypervisor to add (TDX Virtual Firmware Design Guide, section 11; edk2's
//! `OvmfPkg/ResetVector/X64/IntelTdxMetadata.asm`).

use crate::Error;
use crate::bytes::{Fields, guid};
use crate::firmware::Firmware;

const METADATA: [u8; 16] = guid(0xe47a6535_984a_4798_865e_4685a7bf8ec2);
const WHAT: &str = "TDX metadata of the firmware";
pub(super) const PAGE_BYTES: usize = 4096;
/// The most sections that are read; edk2 has seven.
const MAX_SECTIONS: usize = 64;
/// The most memory that all sections together ask for, in bytes; edk2's ask for 4.5 MiB.
const MAX_SECTION_BYTES: u64 = 64 << 20;
/// Guest-physical addresses have at most 52 bits.
const ADDRESS_END: u64 = 1 << 52;
const EXTEND: u32 = 1;
const AUGMENT: u32 = 2;

/// What a section is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The firmware volume with the code.
    Code,
    /// The firmware volume with the variables as built, which the firmware measures.
    Variables,
    /// Where the hypervisor puts its list of memory.
    HandOff,
    /// Memory that firmware uses before it can accept any itself.
    Memory,
    /// Memory that the guest accepts itself, or a payload.
    Other,
}

/// Pages at an address, and the bytes of the file that go there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Section<'a> {
    pub(super) kind: Kind,
    pub(super) address: u64,
    pub(super) bytes: u64,
    /// At most as long as the section; zeroes follow.
    pub(super) content: &'a [u8],
    /// Whether the content is measured into MRTD.
    pub(super) extended: bool,
    /// Whether the guest accepts the pages when it runs, so that none is added before.
    pub(super) augmented: bool,
}

impl Section<'_> {
    /// Whether MRTD has a record of any of its pages. Of memory that the guest accepts itself it has none, however much there is.
    pub(super) const fn is_recorded(&self) -> bool {
        self.extended || !self.augmented
    }
}

/// The sections, in the order in which the hypervisor adds them.
///
/// # Errors
/// [`Error`] when there are none, or one is not of whole pages or points outside the file.
pub(super) fn sections<'a>(firmware: &Firmware<'a>) -> Result<Vec<Section<'a>>, Error> {
    let mut header = firmware.structure(&METADATA, WHAT)?;
    if header.array()? != *b"TDVF" {
        return Err(Error::Missing { what: WHAT });
    }
    let _bytes = header.u32()?;
    let version = header.u32()?;
    if version != 1 {
        return Err(Error::Field {
            field: "version of the TDX metadata",
            wanted: "1",
            observed: version.into(),
        });
    }
    let count = header.size()?;
    if count > MAX_SECTIONS {
        return Err(Error::TooLong { what: "TDX metadata sections", limit: MAX_SECTIONS, observed: count });
    }
    let mut sections = Vec::with_capacity(count);
    let mut total: u64 = 0;
    for _ in 0..count {
        let section = section(&mut header, firmware.file())?;
        if section.is_recorded() {
            total = total.saturating_add(section.bytes);
        }
        if total > MAX_SECTION_BYTES {
            return Err(Error::Field {
                field: "bytes of the TDX metadata sections that are measured",
                wanted: "at most 64 MiB",
                observed: total,
            });
        }
        sections.push(section);
    }
    Ok(sections)
}

fn section<'a>(header: &mut Fields<'_>, file: &'a [u8]) -> Result<Section<'a>, Error> {
    let (offset, len) = (header.size()?, header.size()?);
    let (address, bytes) = (header.u64()?, header.u64()?);
    let kind = match header.u32()? {
        0 => Kind::Code,
        1 => Kind::Variables,
        2 => Kind::HandOff,
        3 => Kind::Memory,
        _ => Kind::Other,
    };
    let attributes = header.u32()?;
    if attributes & !(EXTEND | AUGMENT) != 0 {
        return Err(Error::Field {
            field: "attributes of a TDX metadata section",
            wanted: "bits 0 and 1 only",
            observed: attributes.into(),
        });
    }
    let content =
        Fields::at(WHAT, file, offset).and_then(|mut content| content.bytes(len)).map_err(|_| {
            Error::Field {
                field: "length of the content of a TDX metadata section",
                wanted: "to end inside the file",
                observed: len as u64,
            }
        })?;
    if !bytes.is_multiple_of(PAGE_BYTES as u64) || bytes < len as u64 {
        return Err(Error::Field {
            field: "length of a TDX metadata section",
            wanted: "whole pages, and no less than its content",
            observed: bytes,
        });
    }
    let inside = address.checked_add(bytes).is_some_and(|end| end <= ADDRESS_END);
    if !address.is_multiple_of(PAGE_BYTES as u64) || !inside {
        return Err(Error::Field {
            field: "address of a TDX metadata section",
            wanted: "the start of a page, and an end below 2^52",
            observed: address,
        });
    }
    Ok(Section {
        kind,
        address,
        bytes,
        content,
        extended: attributes & EXTEND != 0,
        augmented: attributes & AUGMENT != 0,
    })
}

//! What the firmware asks the hypervisor to add (edk2's `OvmfPkg/ResetVector/X64/OvmfSevMetadata.asm`).

use super::page;
use crate::Error;
use crate::bytes::guid;
use crate::firmware::Firmware;

const METADATA: [u8; 16] = guid(0xdc886566_984a_4798_a75e_5585a7bf67cc);
const RESET_BLOCK: [u8; 16] = guid(0x00f771de_1a7e_4fcb_890e_68c77e2fb44e);
const HASH_TABLE: [u8; 16] = guid(0x7255371f_3a3b_4b04_927b_1da6efa8d454);
const WHAT: &str = "SEV metadata of the firmware";
/// The most sections that are read; edk2 has seven.
const MAX_SECTIONS: usize = 64;
/// The most memory that all sections together ask for, in bytes; edk2's ask for less than one MiB.
const MAX_SECTION_BYTES: usize = 64 << 20;

/// What a section is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Memory that firmware uses before it can accept any itself.
    Memory,
    /// The page of keys for talking to the SNP firmware.
    Secrets,
    /// The page of CPUID values.
    Cpuid,
    /// The calling area of a service module: zeroes where there is none.
    ServiceModuleArea,
    /// The page with the hashes of kernel, initrd and command line.
    KernelHashes,
}

/// Pages at an address.
pub(super) struct Section {
    pub(super) kind: Kind,
    pub(super) address: u64,
    pub(super) bytes: usize,
}

/// The sections, in the order in which the hypervisor adds them.
///
/// # Errors
/// [`Error`] when there are none, or one is not of whole pages or of a kind that no hypervisor knows.
pub(super) fn sections(firmware: &Firmware<'_>) -> Result<Vec<Section>, Error> {
    let mut header = firmware.structure(&METADATA, WHAT)?;
    if header.array()? != *b"ASEV" {
        return Err(Error::Missing { what: WHAT });
    }
    let _bytes = header.u32()?;
    let version = header.u32()?;
    if version != 1 {
        return Err(Error::Field {
            field: "version of the SEV metadata",
            wanted: "1",
            observed: version.into(),
        });
    }
    let count = header.size()?;
    if count > MAX_SECTIONS {
        return Err(Error::TooLong { what: "SEV metadata sections", limit: MAX_SECTIONS, observed: count });
    }
    let mut sections = Vec::with_capacity(count);
    let mut total: usize = 0;
    for _ in 0..count {
        let (address, bytes) = (header.u32()?, header.size()?);
        let section = Section { kind: kind(header.u32()?)?, address: address.into(), bytes };
        require_pages(&section)?;
        total = total.saturating_add(bytes);
        if total > MAX_SECTION_BYTES {
            return Err(Error::TooLong {
                what: "bytes of SEV metadata sections",
                limit: MAX_SECTION_BYTES,
                observed: total,
            });
        }
        sections.push(section);
    }
    Ok(sections)
}

fn kind(number: u32) -> Result<Kind, Error> {
    match number {
        1 => Ok(Kind::Memory),
        2 => Ok(Kind::Secrets),
        3 => Ok(Kind::Cpuid),
        4 => Ok(Kind::ServiceModuleArea),
        0x10 => Ok(Kind::KernelHashes),
        _ => Err(Error::Field {
            field: "kind of an SEV metadata section",
            wanted: "1 to 4 or 0x10",
            observed: number.into(),
        }),
    }
}

fn require_pages(section: &Section) -> Result<(), Error> {
    let one_page = matches!(section.kind, Kind::Secrets | Kind::Cpuid | Kind::KernelHashes);
    if section.bytes == 0
        || !section.bytes.is_multiple_of(page::BYTES)
        || one_page && section.bytes != page::BYTES
    {
        return Err(Error::Field {
            field: "length of an SEV metadata section",
            wanted: "whole pages, and one page for secrets, CPUID and hashes",
            observed: section.bytes as u64,
        });
    }
    if !section.address.is_multiple_of(page::BYTES as u64) {
        return Err(Error::Field {
            field: "address of an SEV metadata section",
            wanted: "the start of a page",
            observed: section.address,
        });
    }
    Ok(())
}

/// Where processors but the first start.
pub(super) fn reset_address(firmware: &Firmware<'_>) -> Result<u32, Error> {
    firmware.number(&RESET_BLOCK, "SEV-ES reset block in the firmware")
}

/// Where the table of hashes goes.
pub(super) fn hash_table_address(firmware: &Firmware<'_>) -> Result<u64, Error> {
    firmware.number(&HASH_TABLE, "SEV hash table in the firmware").map(u64::from)
}

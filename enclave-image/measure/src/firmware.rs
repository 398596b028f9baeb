//! A firmware file of the OVMF kind: the table of GUIDs at its end, through which a hypervisor finds what it needs.
//!
//! Specification: the comments of edk2's `OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm`. The table ends 32 bytes before the
//! end of the file, with an entry of its own GUID that states the length of the whole; entries are read backwards, each
//! ending with its length (2 bytes) and its GUID.

use crate::Error;
use crate::bytes::{Fields, guid};

/// The largest firmware file that is read, in bytes. QEMU takes 8 MiB unless it is told otherwise.
pub const MAX_FIRMWARE_BYTES: usize = 16 << 20;
/// The smallest that is read: one page with the reset vector.
const PAGE_BYTES: usize = 4096;
/// Where the firmware's last byte is followed by nothing: just below 4 GiB.
const END: u64 = 1 << 32;
/// What lies behind the table: the reset vector.
const BEHIND_TABLE_BYTES: usize = 32;
/// The length and the GUID with which every entry ends.
const ENTRY_TAIL_BYTES: usize = 18;
const TABLE: [u8; 16] = guid(0x96b582de_1fb2_45f7_baea_a366c55a082d);
const WHAT: &str = "firmware's table of GUIDs";

/// A firmware file whose table was found.
#[derive(Clone, Copy)]
pub(crate) struct Firmware<'a> {
    file: &'a [u8],
    table: &'a [u8],
}

impl<'a> Firmware<'a> {
    pub(crate) fn parse(file: &'a [u8]) -> Result<Self, Error> {
        if file.len() > MAX_FIRMWARE_BYTES {
            return Err(Error::TooLong {
                what: "bytes of firmware",
                limit: MAX_FIRMWARE_BYTES,
                observed: file.len(),
            });
        }
        if file.is_empty() || !file.len().is_multiple_of(PAGE_BYTES) {
            return Err(Error::Field {
                field: "length of the firmware",
                wanted: "whole pages of 4096 bytes",
                observed: file.len() as u64,
            });
        }
        let before = file.len() - BEHIND_TABLE_BYTES;
        let (entries, id, entry_size) = split_last_entry(file.get(..before).unwrap_or_default())?;
        if id != TABLE {
            return Err(Error::Missing { what: WHAT });
        }
        let len = entry_size.checked_sub(ENTRY_TAIL_BYTES).ok_or(Error::Truncated { what: WHAT })?;
        let start = entries.len().checked_sub(len).ok_or(Error::Truncated { what: WHAT })?;
        Ok(Self { file, table: entries.get(start..).unwrap_or_default() })
    }

    pub(crate) const fn file(&self) -> &'a [u8] {
        self.file
    }

    /// The guest-physical address of the first byte.
    pub(crate) const fn address(&self) -> u64 {
        END - self.file.len() as u64
    }

    /// The data of the entry `id`.
    pub(crate) fn entry(&self, id: &[u8; 16]) -> Result<Option<&'a [u8]>, Error> {
        let mut rest = self.table;
        // Each turn takes 18 bytes at least, of a table of at most 65,535.
        while !rest.is_empty() {
            let (before, entry_id, size) = split_last_entry(rest)?;
            let len = size.checked_sub(ENTRY_TAIL_BYTES).ok_or(Error::Truncated { what: WHAT })?;
            let start = before.len().checked_sub(len).ok_or(Error::Truncated { what: WHAT })?;
            let (next, data) = before.split_at_checked(start).ok_or(Error::Truncated { what: WHAT })?;
            if entry_id == *id {
                return Ok(Some(data));
            }
            rest = next;
        }
        Ok(None)
    }

    /// The 32-bit number at the start of the entry `id`, which `what` names in errors.
    pub(crate) fn number(&self, id: &[u8; 16], what: &'static str) -> Result<u32, Error> {
        let data = self.entry(id)?.ok_or(Error::Missing { what })?;
        Fields::new(what, data).u32()
    }

    /// The structure whose distance from the end of the file stands in the entry `id`.
    pub(crate) fn structure(&self, id: &[u8; 16], what: &'static str) -> Result<Fields<'a>, Error> {
        let distance = usize::try_from(self.number(id, what)?).map_err(|_| Error::Truncated { what })?;
        let offset = self.file.len().checked_sub(distance).ok_or(Error::Truncated { what })?;
        Fields::at(what, self.file, offset)
    }
}

/// What precedes the length and GUID at the end of `bytes`, the GUID and the length.
fn split_last_entry(bytes: &[u8]) -> Result<(&[u8], [u8; 16], usize), Error> {
    let start = bytes.len().checked_sub(ENTRY_TAIL_BYTES).ok_or(Error::Truncated { what: WHAT })?;
    let (before, tail) = bytes.split_at_checked(start).ok_or(Error::Truncated { what: WHAT })?;
    let mut tail = Fields::new(WHAT, tail);
    let size = usize::from(tail.u16()?);
    Ok((before, tail.array()?, size))
}

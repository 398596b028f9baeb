//! What firmware measures of its own start into RTMR0: the list of memory that the hypervisor hands over, and the volume of
//! variables that the file holds.
//!
//! The list is built as QEMU builds it (`hw/i386/tdvf-hob.c`): one resource descriptor for each range of memory, those that
//! the metadata names as added before the start, all others as not accepted. edk2 measures it without the entry that ends it
//! (`OvmfPkg/IntelTdx/TdxHelperLib/SecTdxHelper.c`).

use super::metadata::{self, Kind, PAGE_BYTES, Section};
use crate::Error;
use crate::digest::sha384;
use crate::firmware::Firmware;

/// The most memory of a guest, in bytes: 64 TiB.
pub const MAX_MEMORY_BYTES: u64 = 64 << 40;
/// QEMU's q35 machine puts all memory below 4 GiB while it is less than this,
const LOW_MEMORY_LIMIT: u64 = 0xb000_0000;
/// and this much of it otherwise.
const LOW_MEMORY: u64 = 0x8000_0000;
const FOUR_GIB: u64 = 1 << 32;
/// `EFI_RESOURCE_SYSTEM_MEMORY` and `EFI_RESOURCE_MEMORY_UNACCEPTED`.
const SYSTEM_MEMORY: u32 = 0;
const UNACCEPTED_MEMORY: u32 = 7;
/// Present, initialized and tested.
const ATTRIBUTES: u32 = 7;
const HAND_OFF_BYTES: u16 = 56;
const RESOURCE_BYTES: u16 = 48;
/// What the end of the list takes, which is not measured.
const END_BYTES: u64 = 8;

/// SHA-384 of the list of memory, the first event of RTMR0, for a guest of QEMU's q35 machine with `memory_bytes`.
///
/// # Errors
/// [`Error`] when the file is no firmware for TDX, or the guest has too little memory for it or an amount that no machine
/// has.
pub fn memory_list_digest(firmware: &[u8], memory_bytes: u64) -> Result<[u8; 48], Error> {
    if !memory_bytes.is_multiple_of(PAGE_BYTES as u64) || !(1..=MAX_MEMORY_BYTES).contains(&memory_bytes) {
        return Err(Error::Field {
            field: "memory of the guest in bytes",
            wanted: "whole pages, 64 TiB at most",
            observed: memory_bytes,
        });
    }
    let firmware = Firmware::parse(firmware)?;
    let sections = metadata::sections(&firmware)?;
    let mut lists = sections.iter().filter(|section| section.kind == Kind::HandOff);
    let what = "section for the list of memory in the TDX metadata";
    let list = lists.next().ok_or(Error::Missing { what })?;
    if lists.next().is_some() {
        return Err(Error::Repeated { what });
    }

    let mut resources = Vec::new();
    let ranges = ranges(&sections, memory_bytes)?;
    for range in &ranges {
        resources.extend(3u16.to_le_bytes());
        resources.extend(RESOURCE_BYTES.to_le_bytes());
        resources.extend([0; 4 + 16]); // Reserved, owner.
        resources.extend(if range.added { SYSTEM_MEMORY } else { UNACCEPTED_MEMORY }.to_le_bytes());
        resources.extend(ATTRIBUTES.to_le_bytes());
        resources.extend(range.start.to_le_bytes());
        resources.extend((range.end - range.start).to_le_bytes());
    }
    let end = list.address + u64::from(HAND_OFF_BYTES) + resources.len() as u64 + END_BYTES;
    let mut head = Vec::with_capacity(usize::from(HAND_OFF_BYTES));
    head.extend(1u16.to_le_bytes());
    head.extend(HAND_OFF_BYTES.to_le_bytes());
    head.extend([0; 4]);
    head.extend(9u32.to_le_bytes()); // Version.
    head.extend([0; 4 + 32]); // Boot mode, and four addresses that QEMU leaves empty.
    head.extend(end.to_le_bytes());
    Ok(sha384(&[&head, &resources]))
}

/// SHA-384 of the variables that the firmware file holds, the second event of RTMR0.
///
/// # Errors
/// [`Error`] when the file is no firmware for TDX or has no such volume, or two.
pub fn variables_digest(firmware: &[u8]) -> Result<[u8; 48], Error> {
    variables(firmware).map(|volume| sha384(&[volume]))
}

/// The volume with variables.
pub(super) fn variables(firmware: &[u8]) -> Result<&[u8], Error> {
    let firmware = Firmware::parse(firmware)?;
    let sections = metadata::sections(&firmware)?;
    let mut volumes = sections.iter().filter(|section| section.kind == Kind::Variables);
    let what = "section with variables in the TDX metadata";
    let volume = volumes.next().ok_or(Error::Missing { what })?;
    if volumes.next().is_some() { Err(Error::Repeated { what }) } else { Ok(volume.content) }
}

/// A range of memory of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    start: u64,
    end: u64,
    /// Whether the hypervisor added it before the start.
    added: bool,
}

/// All memory in ascending order, cut where a section that was added begins or ends.
///
/// # Errors
/// [`Error`] when such a section lies outside the memory or over another one.
fn ranges(sections: &[Section<'_>], memory_bytes: u64) -> Result<Vec<Range>, Error> {
    let low = if memory_bytes >= LOW_MEMORY_LIMIT { LOW_MEMORY } else { memory_bytes };
    let mut ranges = vec![Range { start: 0, end: low, added: false }];
    if memory_bytes > low {
        ranges.push(Range { start: FOUR_GIB, end: FOUR_GIB + memory_bytes - low, added: false });
    }
    for section in sections.iter().filter(|section| matches!(section.kind, Kind::HandOff | Kind::Memory)) {
        let (start, end) = (section.address, section.address + section.bytes);
        let holds = |range: &Range| !range.added && range.start <= start && end <= range.end && start < end;
        let at = ranges.iter().position(holds).ok_or(Error::Field {
            field: "address of a TDX metadata section",
            wanted: "inside the guest's memory and outside other sections",
            observed: start,
        })?;
        let around = ranges.remove(at);
        let parts = [
            Range { end: start, ..around },
            Range { start, end, added: true },
            Range { start: end, ..around },
        ];
        ranges.splice(at..at, parts.into_iter().filter(|part| part.start < part.end));
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(kind: Kind, address: u64, bytes: u64) -> Section<'static> {
        Section { kind, address, bytes, content: &[], extended: false, augmented: false }
    }

    #[test]
    fn memory_is_cut_where_sections_begin_and_end() {
        let sections = [section(Kind::Memory, 0x3000, 0x2000), section(Kind::HandOff, 0x5000, 0x1000)];
        let range = |start, end, added| Range { start, end, added };
        let low = [range(0, 0x3000, false), range(0x3000, 0x5000, true), range(0x5000, 0x6000, true)];
        let all = |rest: &[Range]| [&low[..], rest].concat();
        assert_eq!(ranges(&sections, 0x6000).unwrap(), low);
        assert_eq!(ranges(&sections, 0xafff_f000).unwrap(), all(&[range(0x6000, 0xafff_f000, false)]));
        let split = all(&[range(0x6000, LOW_MEMORY, false), range(FOUR_GIB, 0x1_3000_0000, false)]);
        assert_eq!(ranges(&sections, LOW_MEMORY_LIMIT).unwrap(), split);
        for memory in [0x1000, 0x5000] {
            assert!(ranges(&sections, memory).is_err());
        }
        let over = [section(Kind::Memory, 0x3000, 0x2000), section(Kind::Memory, 0x4000, 0x2000)];
        assert!(ranges(&over, 1 << 20).is_err());
    }
}

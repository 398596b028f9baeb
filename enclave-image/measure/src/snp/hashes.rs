//! The page with the hashes of kernel, initrd and command line, as QEMU writes it (`target/i386/sev.c`,
//! `build_kernel_loader_hashes`) and edk2's `BlobVerifierLibSevHashes` reads it.

use super::metadata::Section;
use super::page;
use crate::bytes::guid;
use crate::digest::sha256;
use crate::{DirectBoot, Error};

const TABLE: [u8; 16] = guid(0x9438d606_4f22_4cc9_b479_a793d411fd21);
const KERNEL: [u8; 16] = guid(0x4de79437_abd2_427f_b835_d5b172d2045b);
const INITRD: [u8; 16] = guid(0x44baf731_3a2f_4bd7_9af1_41e29169781d);
const COMMAND_LINE: [u8; 16] = guid(0x97d02dd8_bd20_4c94_aa78_e7714d36ab2a);
/// A GUID, a length and a SHA-256 digest.
const ENTRY_BYTES: u16 = 16 + 2 + 32;
/// A GUID, a length and three entries, without the zeroes up to a multiple of 16.
const TABLE_BYTES: u16 = 16 + 2 + 3 * ENTRY_BYTES;

/// The page, zero but for the table at its place in it.
///
/// # Errors
/// [`Error::Field`] when the table's address is not in the section, or the table does not fit behind it.
pub(super) fn page(
    boot: &DirectBoot<'_>,
    section: &Section,
    table_address: u64,
) -> Result<[u8; page::BYTES], Error> {
    let table = table(boot);
    let mut page = [0; page::BYTES];
    let place = table_address
        .checked_sub(section.address)
        .and_then(|offset| usize::try_from(offset).ok())
        .and_then(|offset| page.get_mut(offset..offset.checked_add(table.len())?))
        .ok_or(Error::Field {
            field: "address of the SEV hash table",
            wanted: "inside the page for kernel hashes",
            observed: table_address,
        })?;
    place.copy_from_slice(&table);
    Ok(page)
}

fn table(boot: &DirectBoot<'_>) -> Vec<u8> {
    let mut table = Vec::with_capacity(usize::from(TABLE_BYTES));
    table.extend(TABLE);
    table.extend(TABLE_BYTES.to_le_bytes());
    // The kernel is measured as the file is, before the hypervisor fills in its header.
    let hashes = [
        (COMMAND_LINE, sha256(&[boot.command_line.as_bytes(), b"\0"])),
        (INITRD, sha256(&[boot.initrd])),
        (KERNEL, sha256(&[boot.kernel])),
    ];
    for (id, hash) in hashes {
        table.extend(id);
        table.extend(ENTRY_BYTES.to_le_bytes());
        table.extend(hash);
    }
    table.resize(table.len().next_multiple_of(16), 0);
    table
}

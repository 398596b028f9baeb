//! dm-verity through the device mapper's control node (`linux/dm-ioctl.h`, interface 4). The one module with `unsafe`.
//!
//! A request is `struct dm_ioctl` (312 bytes) followed, for a table, by `struct dm_target_spec` (40 bytes) and the target's parameters
//! as text. It is put together as bytes; the kernel writes its answer over them.
#![expect(unsafe_code, reason = "an ioctl is a system call whose argument only the caller knows")]

use crate::cmdline::Root;
use anyhow::{Context as _, ensure};
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use std::fs::{File, OpenOptions};

/// The node that the device mapper makes; the first of the guest.
pub(crate) const DEVICE: &str = "/dev/dm-0";
const CONTROL: &str = "/dev/mapper/control";
/// The disk that the host gives for the root. Whatever it holds, only what hashes to the measured root is read.
pub(crate) const DISK: &str = "/dev/vda";
const NAME: &[u8] = b"root";

const TYPE: u8 = 0xfd;
/// All of a request: what the kernel may read and write.
const BUFFER_LEN: usize = 4096;
const HEADER_LEN: usize = 312;
const SPEC_LEN: usize = 40;
const READONLY: u32 = 1;
/// The device's table instead of its status; the flag of `DM_TABLE_STATUS` is not set here.
const CREATE: Opcode = opcode::read_write::<[u8; HEADER_LEN]>(TYPE, 3);
const SUSPEND: Opcode = opcode::read_write::<[u8; HEADER_LEN]>(TYPE, 6);
const LOAD: Opcode = opcode::read_write::<[u8; HEADER_LEN]>(TYPE, 9);
const STATUS: Opcode = opcode::read_write::<[u8; HEADER_LEN]>(TYPE, 12);

/// A request's bytes, aligned as the kernel's structure.
#[repr(C, align(8))]
struct Request([u8; BUFFER_LEN]);

impl Request {
    /// A request about our device, with `targets` targets after the header.
    fn new(flags: u32, targets: u32) -> Self {
        let mut request = Self([0; BUFFER_LEN]);
        // version, data_size, data_start, target_count, open_count, flags
        for (at, value) in [
            (0, 4),
            (4, 0),
            (8, 0),
            (12, u32::try_from(BUFFER_LEN).unwrap_or(0)),
            (16, u32::try_from(HEADER_LEN).unwrap_or(0)),
            (20, targets),
            (28, flags),
        ] {
            request.put(at, &value.to_ne_bytes());
        }
        request.put(48, NAME);
        request
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(room) = self.0.get_mut(at..at + bytes.len()) {
            room.copy_from_slice(bytes);
        }
    }

    fn number(&self, at: usize) -> u32 {
        self.0.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes)
    }

    fn send<const OPCODE: Opcode>(&mut self, control: &File) -> rustix::io::Result<()> {
        // SAFETY: every opcode of this module takes a pointer to `struct dm_ioctl` and reads and writes no more than the `data_size`
        // bytes that the structure names, which is the length of this buffer; it is aligned as the structure is.
        unsafe { ioctl(control, Updater::<OPCODE, Self>::new(self)) }
    }
}

/// The parameters of the verity target: version 1, data and hash tree on one disk, blocks of 4,096 bytes, SHA-256. A block that does
/// not belong to the root, or cannot be read, stops the guest.
fn parameters(root: &Root, disk: &str) -> String {
    let Root { blocks, salt, hash } = root;
    format!(
        "1 {disk} {disk} 4096 4096 {blocks} {blocks} sha256 {hash} {salt} 2 panic_on_corruption panic_on_error"
    )
}

/// Makes the verified device.
///
/// # Errors
/// The disk is not there, or the device mapper refuses the table.
pub(crate) fn create(root: &Root) -> anyhow::Result<()> {
    let control = OpenOptions::new().read(true).write(true).open(CONTROL).context(CONTROL)?;
    Request::new(READONLY, 0).send::<CREATE>(&control).context("making the root's device")?;
    let parameters = parameters(root, DISK);
    ensure!(HEADER_LEN + SPEC_LEN + parameters.len() < BUFFER_LEN, "the root's table is too long");
    let mut load = Request::new(READONLY, 1);
    // sector_start 0, length in sectors, status 0, next 0, target_type
    load.put(HEADER_LEN + 8, &(root.blocks * 8).to_ne_bytes());
    load.put(HEADER_LEN + 24, b"verity");
    load.put(HEADER_LEN + SPEC_LEN, parameters.as_bytes());
    load.send::<LOAD>(&control).context("loading the root's table")?;
    Request::new(READONLY, 0).send::<SUSPEND>(&control).context("starting the root's device")
}

/// Whether the device is a read-only verity device that has met no corruption.
pub(crate) fn is_intact() -> anyhow::Result<bool> {
    let control = OpenOptions::new().read(true).write(true).open(CONTROL).context(CONTROL)?;
    let mut request = Request::new(0, 0);
    request.send::<STATUS>(&control).context("asking for the root's status")?;
    Ok(says_intact(&request))
}

fn says_intact(request: &Request) -> bool {
    let start = usize::try_from(request.number(16)).unwrap_or(BUFFER_LEN);
    let bytes = |at: usize, len: usize| request.0.get(at..at + len).unwrap_or_default();
    let is_readonly = request.number(28) & READONLY != 0;
    let one_target = request.number(20) == 1;
    // A fixed field of 16 bytes, and the status as text that ends with a zero.
    let is_verity = bytes(start + 24, 7) == b"verity\0";
    is_readonly && one_target && is_verity && bytes(start + SPEC_LEN, 2) == b"V\0"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opcodes_are_those_of_the_header() {
        // _IOWR(0xfd, n, struct dm_ioctl)
        assert_eq!([CREATE, SUSPEND, LOAD, STATUS], [0xc138_fd03, 0xc138_fd06, 0xc138_fd09, 0xc138_fd0c]);
    }

    #[test]
    fn a_table_stops_the_guest_at_the_first_wrong_block() {
        let root = Root { blocks: 9, salt: "00".repeat(32), hash: "11".repeat(32) };
        let text = parameters(&root, "/dev/x");
        let (salt, hash) = ("00".repeat(32), "11".repeat(32));
        let wanted = format!(
            "1 /dev/x /dev/x 4096 4096 9 9 sha256 {hash} {salt} 2 panic_on_corruption panic_on_error"
        );
        assert_eq!(text, wanted);
    }

    #[test]
    fn only_a_read_only_verity_device_without_corruption_is_intact() {
        let answer = |flags: u32, target: &[u8], status: &[u8]| {
            let mut request = Request::new(flags, 1);
            request.put(HEADER_LEN + 24, target);
            request.put(HEADER_LEN + SPEC_LEN, status);
            request
        };
        assert!(says_intact(&answer(READONLY, b"verity", b"V\0")));
        assert!(!says_intact(&answer(READONLY, b"verity", b"C\0")));
        assert!(!says_intact(&answer(READONLY, b"linear", b"V\0")));
        assert!(!says_intact(&answer(0, b"verity", b"V\0")));
        let mut two = answer(READONLY, b"verity", b"V\0");
        two.put(20, &2_u32.to_ne_bytes());
        assert!(!says_intact(&two));
        let mut beyond = answer(READONLY, b"verity", b"V\0");
        beyond.put(16, &u32::MAX.to_ne_bytes());
        assert!(!says_intact(&beyond));
    }
}

//! Archives for the kernel's initramfs (kernel documentation, early-userspace/buffer-format: `newc`). Owner, times and numbers are
//! fixed, so the same files give the same bytes.

use std::fmt::Write as _;

const MAGIC: &str = "070701";
const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const NODE: u32 = 0o020_000;
const ALIGN: usize = 4;

/// An archive in the making.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

/// What cannot be in an archive.
#[derive(Debug)]
pub struct TooLong;

impl std::fmt::Display for TooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a file of an initrd is longer than 4 GiB")
    }
}

impl std::error::Error for TooLong {}

impl Archive {
    /// Adds a folder; those above it must be there.
    pub fn folder(&mut self, path: &str, mode: u32) -> Result<(), TooLong> {
        self.entry(path, FOLDER | mode, (0, 0), &[])
    }

    /// Adds a plain file.
    pub fn file(&mut self, path: &str, mode: u32, bytes: &[u8]) -> Result<(), TooLong> {
        self.entry(path, FILE | mode, (0, 0), bytes)
    }

    /// Adds a character device.
    pub fn node(&mut self, path: &str, mode: u32, number: (u32, u32)) -> Result<(), TooLong> {
        self.entry(path, NODE | mode, number, &[])
    }

    /// Ends it.
    pub fn finish(mut self) -> Result<Vec<u8>, TooLong> {
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        // The kernel looks for the next archive at a multiple of four; whole blocks are what cpio writes.
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        Ok(self.bytes)
    }

    fn entry(
        &mut self,
        path: &str,
        mode: u32,
        (major, minor): (u32, u32),
        bytes: &[u8],
    ) -> Result<(), TooLong> {
        self.entries += 1;
        let length = u32::try_from(bytes.len()).map_err(|_| TooLong)?;
        let name_length = u32::try_from(path.len() + 1).map_err(|_| TooLong)?;
        let links = if mode & FOLDER != 0 && mode & FILE == 0 { 2 } else { 1 };
        let mut head = MAGIC.to_owned();
        // inode, mode, uid, gid, links, mtime, size, device, device of a node, length of the name, checksum
        for field in [self.entries, mode, 0, 0, links, 0, length, 0, 0, major, minor, name_length, 0] {
            // Writing to a string cannot fail.
            let _ = write!(head, "{field:08x}");
        }
        self.bytes.extend(head.as_bytes());
        self.bytes.extend(path.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend(bytes);
        self.align();
        Ok(())
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGN), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    #[test]
    fn has_the_layout_that_the_kernel_reads() {
        let mut archive = Archive::default();
        archive.folder("dev", 0o755).unwrap();
        archive.node("dev/console", 0o600, (5, 1)).unwrap();
        archive.file("init", 0o555, b"hello").unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % 512, 0);
        assert_eq!(&bytes[..6], b"070701");
        let at = bytes.windows(5).position(|window| window == b"hello").unwrap();
        assert_eq!(at % 4, 0);
        // Another implementation lists it, where the machine has one.
        let Ok(mut cpio) = Command::new("cpio")
            .arg("-itv")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
        else {
            return;
        };
        cpio.stdin.take().unwrap().write_all(&bytes).unwrap();
        let listed = String::from_utf8(cpio.wait_with_output().unwrap().stdout).unwrap();
        let lines: Vec<_> = listed.lines().collect();
        assert_eq!(lines.len(), 3, "{listed}");
        assert!(
            lines[0].starts_with("drwxr-xr-x")
                && lines[1].starts_with("crw-------")
                && lines[2].starts_with("-r-xr-xr-x")
        );
    }
}

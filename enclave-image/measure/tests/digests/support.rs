//! The vector, and changes to its firmware.

use anchorhold_measure::DirectBoot;
use serde_json::Value;
use std::path::Path;

pub(crate) struct Vector {
    pub(crate) firmware: Vec<u8>,
    /// A unified kernel image, and the kernel in it.
    pub(crate) unified: Vec<u8>,
    pub(crate) kernel: Vec<u8>,
    pub(crate) said: Value,
}

impl Vector {
    pub(crate) fn read() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/measure");
        let said = std::fs::read(folder.join("digests.json")).unwrap();
        Self {
            firmware: std::fs::read(folder.join("firmware.fd")).unwrap(),
            unified: std::fs::read(folder.join("unified.efi")).unwrap(),
            kernel: std::fs::read(folder.join("kernel.efi")).unwrap(),
            said: serde_json::from_slice(&said).unwrap(),
        }
    }

    pub(crate) fn boot(&self) -> DirectBoot<'_> {
        DirectBoot {
            kernel: self.said["kernel"].as_str().unwrap().as_bytes(),
            initrd: self.said["initrd"].as_str().unwrap().as_bytes(),
            command_line: self.said["command_line"].as_str().unwrap(),
        }
    }

    /// The firmware with other bytes at an offset.
    pub(crate) fn changed(&self, offset: usize, bytes: &[u8]) -> Vec<u8> {
        changed(&self.firmware, offset, bytes)
    }
}

/// A file with other bytes at an offset.
pub(crate) fn changed(file: &[u8], offset: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = file.to_vec();
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
    file
}

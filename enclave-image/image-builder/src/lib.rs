//! Builds the guest's image out of pinned Debian packages, this project's programs and two tables: what is in the root
//! (`rootfs.toml`) and which packages that is taken from (`image.lock`). Nothing gets in that no table names.
//!
//! Call [`build::build`] for an image, [`settings::append`] to put a deployment's settings into its initrd, and [`qemu::arguments`] for
//! the command line that boots it. [`acpi::read`] has the tables that firmware measures on that machine. The same inputs give the same bytes, whatever the folder, the day and the number of jobs.
//!
//! This crate computes no launch digest, and an image does not say that a machine runs it.
#![expect(
    clippy::missing_errors_doc,
    reason = "every error here is anyhow's: what was tried and what the system or a tool said"
)]

pub mod acpi;
pub mod build;
pub mod cpio;
pub mod fw_cfg;
pub mod lock;
pub mod qemu;
pub mod settings;
pub mod table;
pub mod tar;
pub mod uki;
pub mod verity;

use std::fmt::Write as _;

/// Bytes as lowercase hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// SHA-256 of these bytes, hex.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref())
}

//! What hardware will say of a guest, computed from the files that start it, before any machine has booted them.
//!
//! [`snp::launch_digest`] is MEASUREMENT of an SEV-SNP report, [`tdx::mrtd`] and [`tdx::rtmrs`] are the registers of a TDX quote,
//! [`tpm`] has the PCRs of a measured boot, which [`boot::events`] lists. Every function takes bytes and gives digests: nothing is
//! opened, asked or remembered, so whoever has the files gets the same answer, on any machine.
//!
//! Promised: for the hypervisors that a function names, the digest is the one that the hardware signs, or an [`Error`] says
//! why none is given. Files may be hostile: every length in them is checked, and every loop has a limit.
//!
//! This crate is *not* a verifier. A digest says which guest is meant; that a guest is that one, only authentic evidence says.

pub mod boot;
mod bytes;
mod digest;
mod error;
mod firmware;
mod pe;
pub mod snp;
pub mod tdx;
pub mod tpm;
mod unified;

pub use digest::Digests;
pub use error::Error;
pub use firmware::MAX_FIRMWARE_BYTES;
pub use pe::MAX_PE_SECTIONS;
pub use unified::UnifiedKernel;

/// The longest command line, in bytes: Linux on x86 keeps `COMMAND_LINE_SIZE` (2048) with the final zero, and drops the rest,
/// so a longer one would be measured and not obeyed.
pub const MAX_COMMAND_LINE_BYTES: usize = 2047;

/// What the hypervisor loads beside the firmware, where it boots Linux without a boot loader (QEMU's `-kernel`, `-initrd`
/// and `-append`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectBoot<'a> {
    /// The kernel or unified kernel image, whole.
    pub kernel: &'a [u8],
    /// The initial file system, whole; empty where there is none.
    pub initrd: &'a [u8],
    /// The command line, without a final zero.
    pub command_line: &'a str,
}

impl DirectBoot<'_> {
    /// Establishes that the command line is one that the kernel obeys whole.
    fn require_command_line(&self) -> Result<(), Error> {
        if self.command_line.len() > MAX_COMMAND_LINE_BYTES {
            return Err(Error::TooLong {
                what: "bytes of command line",
                limit: MAX_COMMAND_LINE_BYTES,
                observed: self.command_line.len(),
            });
        }
        if self.command_line.contains('\0') { Err(Error::CommandLineZero) } else { Ok(()) }
    }
}

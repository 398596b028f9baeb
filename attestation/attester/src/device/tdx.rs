//! A TD's own view of itself: its registers through sysfs (from 6.16) or `/dev/tdx_guest`, and its event log.
//!
//! Sources: the kernel's `Documentation/ABI/testing/sysfs-devices-virtual-misc-tdx_guest` and
//! `include/uapi/linux/tdx-guest.h`; TDREPORT_STRUCT of *Intel TDX Module ABI Specification*. The crate `tdx-guest` has the same
//! structures, and the instruction TDCALL to fill them, which only a kernel may execute; it is of no use here.

use super::files::{read_all, write_once};
use super::{Access, Error, Files, System};
use anchorhold_rats::ReportData;
use std::path::{Path, PathBuf};

/// Where the kernel has the registers.
pub const MEASUREMENTS: &str = "/sys/devices/virtual/misc/tdx_guest/measurements";
/// The driver that gives the TD's local report.
pub const TDX_GUEST: &str = "/dev/tdx_guest";
/// The area in which the firmware wrote its event log.
pub const CCEL: &str = "/sys/firmware/acpi/tables/data/CCEL";
/// The longest event log that is read, in bytes: what evidence may carry.
const MAX_EVENT_LOG_BYTES: usize = 256 * 1024;
const REGISTER_BYTES: usize = 48;
const TD_REPORT_BYTES: usize = 1024;
/// RTMR0 in a TDREPORT: TDINFO_STRUCT at 512, and there ATTRIBUTES, XFAM and four registers of 48 bytes before it.
const RTMR0_AT: usize = 512 + 8 + 8 + 4 * REGISTER_BYTES;

/// A run-time register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Register {
    /// RTMR0: firmware configuration.
    Rtmr0,
    /// RTMR1: boot loader and kernel.
    Rtmr1,
    /// RTMR2: command line and initial file system.
    Rtmr2,
    /// RTMR3: the running system.
    Rtmr3,
}

impl Register {
    const fn file(self) -> &'static str {
        match self {
            Self::Rtmr0 => "rtmr0:sha384",
            Self::Rtmr1 => "rtmr1:sha384",
            Self::Rtmr2 => "rtmr2:sha384",
            Self::Rtmr3 => "rtmr3:sha384",
        }
    }
}

/// The registers in sysfs.
#[derive(Debug, Clone)]
pub struct Registers<F = System> {
    files: F,
    folder: PathBuf,
}

impl Default for Registers {
    fn default() -> Self {
        Self::new(System, MEASUREMENTS)
    }
}

impl<F: Files> Registers<F> {
    /// The registers in this folder.
    pub fn new(files: F, folder: impl Into<PathBuf>) -> Self {
        Self { files, folder: folder.into() }
    }

    /// The value of a register; `None` where the kernel does not show it.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Malformed`] where it is not 48 bytes.
    pub fn read(&self, register: Register) -> Result<Option<[u8; REGISTER_BYTES]>, Error> {
        let path = self.folder.join(register.file());
        match read_all(&self.files, &path, REGISTER_BYTES) {
            Ok(bytes) => bytes.try_into().map(Some).map_err(|_| Error::malformed(&path, "48 bytes")),
            Err(error) if error.is_absence() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Extends a register with a SHA-384 digest, in the one write that the kernel asks for.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::PartialWrite`], after which the register is in doubt.
    pub fn extend(&self, register: Register, digest: &[u8; REGISTER_BYTES]) -> Result<(), Error> {
        write_once(&self.files, &self.folder.join(register.file()), digest)
    }
}

/// The event log as the firmware left it, padding and all; `None` where there is none.
///
/// # Errors
/// [`Error::TooLong`] over 256 KiB, and [`Error::Io`].
pub fn event_log<F: Files>(files: &F, path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match read_all(files, path, MAX_EVENT_LOG_BYTES) {
        Ok(log) => Ok(Some(log)),
        Err(error) if error.is_absence() => Ok(None),
        Err(error) => Err(error),
    }
}

/// `struct tdx_report_req`.
#[repr(C)]
#[derive(Clone, Copy)]
struct ReportRequest {
    report_data: [u8; ReportData::LEN],
    td_report: [u8; TD_REPORT_BYTES],
}

/// The TD's local report (TDX_CMD_GET_REPORT0); `None` where there is no such device. Its MAC is for this machine's CPU alone: a
/// remote verifier needs the quote, so this is no evidence.
///
/// # Errors
/// [`Error::Io`].
pub fn td_report(report_data: &ReportData) -> Result<Option<[u8; TD_REPORT_BYTES]>, Error> {
    let path = Path::new(TDX_GUEST);
    let device = match System.open(path, Access::Exchange) {
        Ok(device) => device,
        Err(error) => {
            let error = Error::io("opening", path, error);
            return if error.is_absence() { Ok(None) } else { Err(error) };
        }
    };
    let mut request = ReportRequest { report_data: *report_data.as_bytes(), td_report: [0; TD_REPORT_BYTES] };
    ask(&device, &mut request).map_err(|error| Error::io("asking", path, error.into()))?;
    Ok(Some(request.td_report))
}

#[expect(unsafe_code, reason = "a request to the driver is a system call on an address")]
fn ask(device: &std::fs::File, request: &mut ReportRequest) -> rustix::io::Result<()> {
    const GET_REPORT0: rustix::ioctl::Opcode = rustix::ioctl::opcode::read_write::<ReportRequest>(b'T', 1);
    // SAFETY: the number is TDX_CMD_GET_REPORT0, whose argument is a ReportRequest; it is borrowed for writing until the
    // call returns, and the driver writes to nothing else.
    unsafe { rustix::ioctl::ioctl(device, rustix::ioctl::Updater::<GET_REPORT0, _>::new(request)) }
}

/// RTMR0 to RTMR3 of a local report.
#[must_use]
pub fn registers_of(td_report: &[u8; TD_REPORT_BYTES]) -> Option<[[u8; REGISTER_BYTES]; 4]> {
    let (registers, _) = td_report.get(RTMR0_AT..)?.as_chunks::<REGISTER_BYTES>();
    registers.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_has_the_layout_and_number_of_the_header() {
        assert_eq!(size_of::<ReportRequest>(), 1088);
        assert_eq!(rustix::ioctl::opcode::read_write::<ReportRequest>(b'T', 1), 0xc440_5401);
    }
}

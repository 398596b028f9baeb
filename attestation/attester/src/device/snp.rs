//! `/dev/sev-guest`, for kernels before 6.7, which have no reports in configfs.
//!
//! Source: the kernel's `include/uapi/linux/sev-guest.h` and `Documentation/virt/coco/sev-guest.rst`; MSG_REPORT_REQ and
//! MSG_REPORT_RSP of *SEV Secure Nested Paging Firmware ABI Specification* (AMD 56860), section 7.3.

use super::tsm::{Provider, TsmReport};
use super::{Access, Error, Files as _, System};
use anchorhold_rats::ReportData;
use std::fs::File;
use std::io;
use std::path::Path;

/// Where the kernel has it.
pub const SEV_GUEST: &str = "/dev/sev-guest";
/// The most that the kernel hands on of the host's certificates, in bytes: SEV_FW_BLOB_MAX_SIZE, whole pages.
const MAX_CERTIFICATE_BYTES: usize = 0x4000;
/// MSG_REPORT_RSP: status, report size and reserved bytes before the report.
const RESPONSE_HEADER_BYTES: usize = 32;
const RESPONSE_BYTES: usize = 4000;
const REPORT_BYTES: usize = 1184;
/// SNP_GUEST_VMM_ERR_INVALID_LEN in the upper word: the host has more certificates than there is room for.
const NO_ROOM: u64 = 1 << 32;

/// MSG_REPORT_REQ.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct ReportRequest {
    user_data: [u8; ReportData::LEN],
    vmpl: u32,
    reserved: [u8; 28],
}

/// `struct snp_ext_report_req`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct ExtendedRequest {
    data: ReportRequest,
    certificates: u64,
    certificates_len: u32,
}

/// `struct snp_guest_request_ioctl`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct GuestRequest {
    message_version: u8,
    request: u64,
    response: u64,
    exit_info: u64,
}

/// Why the driver did not answer.
#[derive(Debug)]
pub struct Refused {
    /// The system's answer.
    pub error: io::Error,
    /// What the firmware (lower word) or the host (upper word) said; 0xff where neither was asked.
    pub exit_info: u64,
}

/// What the driver does, so that tests can stand in for it: [`SevGuest`] is the real one.
pub trait SnpDevice {
    /// SNP_GET_EXT_REPORT for this report data and privilege level; `certificates` is whole pages, or empty for none.
    ///
    /// # Errors
    /// [`Refused`].
    fn extended_report(
        &self,
        report_data: &ReportData,
        vmpl: u32,
        response: &mut [u8; RESPONSE_BYTES],
        certificates: &mut [u8],
    ) -> Result<(), Refused>;
}

/// The driver of this machine.
#[derive(Debug)]
pub struct SevGuest(File);

impl SevGuest {
    /// Opens the device; `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Io`] when it is there and cannot be opened.
    pub fn open() -> Result<Option<Self>, Error> {
        let path = Path::new(SEV_GUEST);
        match System.open(path, Access::Exchange) {
            Ok(file) => Ok(Some(Self(file))),
            Err(error) => match Error::io("opening", path, error) {
                error if error.is_absence() => Ok(None),
                error => Err(error),
            },
        }
    }
}

impl SnpDevice for SevGuest {
    #[expect(unsafe_code, reason = "a request to the driver is a system call on addresses")]
    fn extended_report(
        &self,
        report_data: &ReportData,
        vmpl: u32,
        response: &mut [u8; RESPONSE_BYTES],
        certificates: &mut [u8],
    ) -> Result<(), Refused> {
        let before = |error: io::Error| Refused { error, exit_info: 0xff };
        let length = u32::try_from(certificates.len())
            .map_err(|_| before(io::Error::from(io::ErrorKind::InvalidInput)))?;
        let mut extended = ExtendedRequest {
            data: ReportRequest { user_data: *report_data.as_bytes(), vmpl, reserved: [0; 28] },
            certificates: address(certificates.as_mut_ptr()),
            certificates_len: length,
        };
        let mut request = GuestRequest {
            message_version: 1,
            request: address(&raw mut extended),
            response: address(response.as_mut_ptr()),
            exit_info: 0xff,
        };
        const GET_EXT_REPORT: rustix::ioctl::Opcode =
            rustix::ioctl::opcode::read_write::<GuestRequest>(b'S', 2);
        // SAFETY: the number is SNP_GET_EXT_REPORT, whose argument is a GuestRequest. It points to an ExtendedRequest, to 4000
        // bytes for the response and to `certificates_len` bytes for certificates; all are borrowed for writing until
        // the call returns, and the driver writes to nothing else.
        let outcome = unsafe {
            let call = rustix::ioctl::Updater::<GET_EXT_REPORT, _>::new(&mut request);
            rustix::ioctl::ioctl(&self.0, call)
        };
        outcome.map_err(|error| Refused { error: error.into(), exit_info: request.exit_info })
    }
}

fn address<T>(pointer: *mut T) -> u64 {
    pointer.expose_provenance() as u64
}

/// A report from the device, with the certificates that the host has for it.
///
/// A host that has more certificates than the driver hands on is asked for none: they can be had elsewhere.
///
/// # Errors
/// [`Error::Firmware`] when firmware or host refused, [`Error::Io`] when the driver did, and
/// [`Error::OtherReportData`].
pub fn report<D: SnpDevice>(device: &D, report_data: &ReportData) -> Result<TsmReport, Error> {
    let mut response = [0; RESPONSE_BYTES];
    let mut certificates = vec![0; MAX_CERTIFICATE_BYTES];
    match device.extended_report(report_data, 0, &mut response, &mut certificates) {
        Ok(()) => {}
        Err(Refused { exit_info: NO_ROOM, .. }) => {
            certificates.clear();
            device.extended_report(report_data, 0, &mut response, &mut certificates).map_err(refusal)?;
        }
        Err(refused) => return Err(refusal(refused)),
    }
    let report = report_in(&response)?.to_vec();
    if report.get(0x50..0x90) != Some(&report_data.as_bytes()[..]) {
        return Err(Error::OtherReportData);
    }
    Ok(TsmReport { provider: Provider::Snp, report, auxiliary: certificates })
}

fn refusal(Refused { error, exit_info }: Refused) -> Error {
    match exit_info {
        0 | 0xff => Error::io("asking", Path::new(SEV_GUEST), error),
        code => Error::Firmware { code },
    }
}

/// The report in MSG_REPORT_RSP: status 0 and the documented length.
fn report_in(response: &[u8; RESPONSE_BYTES]) -> Result<&[u8], Error> {
    let wanted = || Error::malformed(Path::new(SEV_GUEST), "a report of 1184 bytes");
    let (status, rest) = response.split_first_chunk::<4>().ok_or_else(wanted)?;
    match u32::from_le_bytes(*status) {
        0 => {}
        status => return Err(Error::Firmware { code: status.into() }),
    }
    let (length, _) = rest.split_first_chunk::<4>().ok_or_else(wanted)?;
    if u32::from_le_bytes(*length) != u32::try_from(REPORT_BYTES).unwrap_or(u32::MAX) {
        return Err(wanted());
    }
    response.get(RESPONSE_HEADER_BYTES..).and_then(|rest| rest.get(..REPORT_BYTES)).ok_or_else(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_layout_and_number_of_the_header() {
        assert_eq!(size_of::<ReportRequest>(), 96);
        assert_eq!(std::mem::offset_of!(ExtendedRequest, certificates), 96);
        assert_eq!(std::mem::offset_of!(ExtendedRequest, certificates_len), 104);
        assert_eq!(size_of::<GuestRequest>(), 32);
        assert_eq!(std::mem::offset_of!(GuestRequest, request), 8);
        assert_eq!(std::mem::offset_of!(GuestRequest, exit_info), 24);
        assert_eq!(rustix::ioctl::opcode::read_write::<GuestRequest>(b'S', 2), 0xc020_5302);
    }
}

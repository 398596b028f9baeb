//! The calls of NVML, which is loaded when the program runs. The only unsafe code of the crate.
//!
//! Source of signatures, sizes and numbers: `nvml.h` of NVIDIA's driver, section "Confidential Computing".
#![expect(unsafe_code, reason = "a C library is called")]

use anchorhold_ipc::{GpuReport, MAX_GPU_REPORTS};
use libloading::Library;
use std::ffi::{c_int, c_uint, c_void};
use std::ptr::null_mut;

/// Where the system's loader finds it.
const LIBRARY: &str = "libnvidia-ml.so.1";
/// `NVML_GPU_CERT_CHAIN_SIZE`.
const CERTIFICATES_LEN: usize = 0x1000;
/// `NVML_GPU_ATTESTATION_CERT_CHAIN_SIZE`.
const ATTESTATION_CERTIFICATES_LEN: usize = 0x1400;
/// `NVML_CC_GPU_ATTESTATION_REPORT_SIZE`.
const REPORT_LEN: usize = 0x2000;
/// `NVML_CC_GPU_CEC_ATTESTATION_REPORT_SIZE`.
const CEC_REPORT_LEN: usize = 0x1000;
/// `NVML_CC_SYSTEM_FEATURE_ENABLED`.
const ENABLED: c_uint = 1;
/// `NVML_CC_ACCEPTING_CLIENT_REQUESTS_TRUE`.
const ACCEPTING: c_uint = 1;

type Device = *mut c_void;

/// `nvmlConfComputeGpuCertificate_t`.
#[repr(C)]
struct Certificates {
    key_exchange_len: c_uint,
    attestation_len: c_uint,
    key_exchange: [u8; CERTIFICATES_LEN],
    attestation: [u8; ATTESTATION_CERTIFICATES_LEN],
}

/// `nvmlConfComputeGpuAttestationReport_t`.
#[repr(C)]
struct Report {
    has_cec_report: c_uint,
    report_len: c_uint,
    cec_report_len: c_uint,
    nonce: [u8; 32],
    report: [u8; REPORT_LEN],
    cec_report: [u8; CEC_REPORT_LEN],
}

macro_rules! library {
    ($($name:ident = $function:literal($($argument:ty),*);)*) => {
        /// The library, open and started. Whoever drops it leaves it loaded: its threads run on.
        pub(crate) struct Nvml {
            $($name: unsafe extern "C" fn($($argument),*) -> c_int,)*
        }

        impl Nvml {
            fn load() -> Result<Self, NvmlError> {
                // SAFETY: the library is NVIDIA's, found where the system's loader looks for libraries of its own; what it does when
                // it is loaded is as trusted as the driver.
                let library = unsafe { Library::new(LIBRARY) }.map_err(|error| NvmlError::Library(error.to_string()))?;
                $(
                    // SAFETY: the type is that of the function in `nvml.h`.
                    let $name = *unsafe {
                        library.get::<unsafe extern "C" fn($($argument),*) -> c_int>($function.as_bytes())
                    }
                    .map_err(|_| NvmlError::Function($function))?;
                )*
                // The functions above stay where they are.
                std::mem::forget(library);
                Ok(Self { $($name,)* })
            }
        }
    };
}

library! {
    init = "nvmlInit_v2"();
    state = "nvmlSystemGetConfComputeState"(*mut [c_uint; 3]);
    count = "nvmlDeviceGetCount_v2"(*mut c_uint);
    device = "nvmlDeviceGetHandleByIndex_v2"(c_uint, *mut Device);
    certificates = "nvmlDeviceGetConfComputeGpuCertificate"(Device, *mut Certificates);
    report = "nvmlDeviceGetConfComputeGpuAttestationReport"(Device, *mut Report);
    set_ready = "nvmlSystemSetConfComputeGpusReadyState"(c_uint);
}

/// Calls a function of the library; any answer but zero is an error.
macro_rules! call {
    ($nvml:expr, $name:ident($($argument:expr),*)) => {{
        // SAFETY: each caller in this module passes pointers to values of the types that the function writes, which live until it
        // returns, and handles that the library gave.
        let code = unsafe { ($nvml.$name)($($argument),*) };
        if code == 0 { Ok(()) } else { Err(NvmlError::Call { function: stringify!($name), code }) }
    }};
}

/// Why the GPUs were not asked.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NvmlError {
    /// It is not there, or does not load.
    #[error("{LIBRARY}: {0}")]
    Library(String),
    /// It is too old.
    #[error("{LIBRARY} has no {0}")]
    Function(&'static str),
    /// It answered with an error (`nvmlReturn_t`).
    #[error("NVML: {function} answered {code}")]
    Call {
        /// What was called.
        function: &'static str,
        /// The number.
        code: c_int,
    },
    /// There are none, or more than evidence may have.
    #[error("{0} GPUs, wanted 1 to {MAX_GPU_REPORTS}")]
    Count(c_uint),
    /// The confidential mode is off: these GPUs make no reports.
    #[error("the GPUs are not in confidential mode")]
    NotConfidential,
    /// A length that does not fit what it is the length of.
    #[error("NVML said that {what} has {observed} bytes")]
    Length {
        /// Of what.
        what: &'static str,
        /// What it said.
        observed: c_uint,
    },
    /// The report is for another nonce than was asked for.
    #[error("the report was made for another nonce")]
    Nonce,
}

impl Nvml {
    /// Loads and starts the library.
    pub(crate) fn open() -> Result<Self, NvmlError> {
        let nvml = Self::load()?;
        call!(nvml, init())?;
        let mut state = [0; 3];
        call!(nvml, state(&raw mut state))?;
        let [_, feature, _] = state;
        if feature == ENABLED { Ok(nvml) } else { Err(NvmlError::NotConfidential) }
    }

    /// The report of each GPU for this nonce, with the certificates of the key that signed it.
    pub(crate) fn reports(&self, nonce: &[u8; 32]) -> Result<Vec<GpuReport>, NvmlError> {
        let mut count = 0;
        call!(self, count(&raw mut count))?;
        let is_few = usize::try_from(count).is_ok_and(|count| (1..=MAX_GPU_REPORTS).contains(&count));
        if !is_few {
            return Err(NvmlError::Count(count));
        }
        (0..count).map(|index| self.report_of(index, nonce)).collect()
    }

    fn report_of(&self, index: c_uint, nonce: &[u8; 32]) -> Result<GpuReport, NvmlError> {
        let mut device = null_mut();
        call!(self, device(index, &raw mut device))?;
        let mut chain = Box::new(Certificates {
            key_exchange_len: 0,
            attestation_len: 0,
            key_exchange: [0; CERTIFICATES_LEN],
            attestation: [0; ATTESTATION_CERTIFICATES_LEN],
        });
        call!(self, certificates(device, &raw mut *chain))?;
        let mut made = Box::new(Report {
            has_cec_report: 0,
            report_len: 0,
            cec_report_len: 0,
            nonce: *nonce,
            report: [0; REPORT_LEN],
            cec_report: [0; CEC_REPORT_LEN],
        });
        call!(self, report(device, &raw mut *made))?;
        if made.nonce != *nonce {
            return Err(NvmlError::Nonce);
        }
        Ok(GpuReport {
            report: part("the report", &made.report, made.report_len)?,
            certificates_pem: part("the certificates", &chain.attestation, chain.attestation_len)?,
        })
    }

    /// Lets the GPUs take work. In confidential mode they take none before.
    pub(crate) fn accept_work(&self) -> Result<(), NvmlError> {
        call!(self, set_ready(ACCEPTING))
    }
}

/// The first `len` bytes: the library says how long, and is not believed beyond its own buffer.
fn part(what: &'static str, bytes: &[u8], len: c_uint) -> Result<Vec<u8>, NvmlError> {
    let used = usize::try_from(len).ok().filter(|len| *len > 0).and_then(|len| bytes.get(..len));
    used.map(<[u8]>::to_vec).ok_or(NvmlError::Length { what, observed: len })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_are_as_large_as_those_of_the_header() {
        assert_eq!(size_of::<Certificates>(), 8 + 0x1000 + 0x1400);
        assert_eq!(size_of::<Report>(), 12 + 32 + 0x2000 + 0x1000);
        assert_eq!(std::mem::offset_of!(Report, report), 44);
    }

    #[test]
    fn a_length_beyond_the_buffer_is_refused() {
        assert_eq!(part("it", &[1, 2, 3], 2), Ok(vec![1, 2]));
        for observed in [0, 4, c_uint::MAX] {
            assert_eq!(part("it", &[1, 2, 3], observed), Err(NvmlError::Length { what: "it", observed }));
        }
    }
}

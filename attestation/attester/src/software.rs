//! A guest without hardware: real formats under a published root.

pub mod certificate;
mod ecdsa;
mod fixtures;
pub mod gpu;
mod guest;
mod launch;
mod measure;
pub mod paravisor;
mod pem;
pub mod report;
pub mod revocation;
pub mod tdx;
pub mod tpm;

pub use ecdsa::{Curve, SigningKey};
pub use fixtures::{Authority, simulated_ark_der};
pub use guest::SoftwareGuest;
pub use launch::{Debug, LaunchConfig, MigrationAgent, Product, ReportVersion, Signer, TcbBytes};
pub use measure::measure_components;
pub use paravisor::SoftwareParavisor;
pub use pem::certificates_pem;
pub use tpm::SoftwareTpm;

use std::fmt;

/// Why the software guest could not do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The system's random generator gave nothing.
    Random,
    /// A key of the fixtures or of this launch was not read; the text says which.
    Key(&'static str),
    /// A signature was not made; the text says what should be signed.
    Signature(&'static str),
    /// A text to be signed was not written; the text says which.
    Encoding(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random => f.write_str("the system's random generator gave nothing"),
            Self::Key(which) => write!(f, "the {which} key is not readable"),
            Self::Signature(what) => write!(f, "the {what} was not signed"),
            Self::Encoding(what) => write!(f, "the {what} was not written"),
        }
    }
}

impl std::error::Error for Error {}

/// All simulated roots as one PEM file: of SEV-SNP, TDX, NVIDIA's devices and NVIDIA's manifests.
#[must_use]
pub fn simulated_roots_pem() -> String {
    certificates_pem([
        simulated_ark_der(),
        tdx::simulated_intel_root_der(),
        gpu::simulated_nvidia_device_root_der(),
        gpu::simulated_nvidia_rim_root_der(),
    ])
}

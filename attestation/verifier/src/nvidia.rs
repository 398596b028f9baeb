//! NVIDIA GPUs and NVSwitches: the SPDM measurement report, the device's chain, reference manifests, and the appraisal policy.
//!
//! Sources: *Security Protocol and Data Model* 1.1 (DMTF DSP0274) for request and response; TCG *DICE Attestation
//! Architecture* for the firmware identity; NVIDIA's own verifiers (`nvtrust`, `attestation-sdk`) for the opaque data,
//! which has no public specification; RFC 6960 for OCSP.

mod appraise;
mod authenticate;
mod chain;
pub mod codes;
mod device;
mod fwid;
mod ocsp;
mod opaque;
mod policy;
mod reference;
mod report;
pub mod rim;
mod serialized;
mod topology;
mod verified;

pub use appraise::appraise;
pub(crate) use appraise::judge_policy;
pub(crate) use authenticate::judge;
pub use authenticate::{AuthenticDevice, Input, Stated, authenticate};
pub use chain::{CHAIN_LEN, unverified_identity};
pub use device::{Architecture, DriverVersion, Kind, Mode, ParseVersionError, Pdi, VbiosVersion};
pub use ocsp::{Answer, DEFAULT_LIFETIME_SECONDS, MAX_ANSWERS, Standing, Subject};
pub use opaque::{
    FWID_LEN, GPU_LINKS, GpuFields, MAX_FIELDS, OpaqueFields, SWITCH_GPUS, SWITCH_PORTS, SwitchFields,
};
pub use policy::{BoardSize, OcspRules, Policy};
pub use report::{MEASUREMENT_LEN, REQUEST_LEN, Report, SIGNATURE_LEN};
pub use serialized::{MAX_DEVICES, MAX_SERIALIZED_BYTES, SerializedError, read_serialized};
pub use topology::links_are_whole;

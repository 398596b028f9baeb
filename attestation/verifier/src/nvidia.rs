//! NVIDIA GPUs and NVSwitches: the SPDM measurement report, the device's chain, reference manifests, and the appraisal policy.

pub mod codes;
pub mod rim;

//! Makes evidence.
//!
//! [`device::Device`] is the machine that this runs on: SEV-SNP and TDX through the kernel's interfaces.
//!
//! [`software::SoftwareGuest`] is a guest without hardware: it makes SEV-SNP reports in the real format and signs them
//! under a root of its own, so that verifier, key release and serving run their real code everywhere.
//! [`software::tdx::TdxGuest`] does the same for Intel TDX: quotes, collateral and event logs.
//! [`software::gpu::GpuDevice`] and [`software::gpu::Board`] do it for NVIDIA: device reports, manifests and OCSP responses.
//!
//! What is simulated is who vouches: the roots, and what firmware and hardware measure and hold. What is real
//! is every byte layout and every signature; tests read real samples into the same types and write them again.
//! The roots' keys are published with the source. Evidence from here protects nothing, and no verifier accepts it
//! unless its caller names the simulated root.
//!
//! This crate judges nothing. It is *not* a way to a quote for kernels that have none for user space.

mod der;
pub mod device;
pub mod software;

//! Makes evidence.
//!
//! [`software::SoftwareGuest`] is a guest without hardware: it makes SEV-SNP reports in the real format and signs them
//! under a root of its own, so that verifier, key release and serving run their real code everywhere.
//! Its keys are published with the source. Evidence from it protects nothing, and no verifier accepts it
//! unless its caller names the simulated root.
//!
//! This crate is *not* a driver for `/dev/sev-guest`, and it judges nothing.

mod der;
pub mod software;

//! A TDX guest without hardware: quotes, certificates, collateral and event logs in Intel's formats under a published root.
//!
//! Everything that Intel and the platform would decide is simulated: the SGX root CA, the PCK platform CA and the TCB
//! signer (fixtures), the PCK key and the attestation key (made at launch), the quoting enclave's identity and
//! the TDX module's measurement. MRTD is what the caller names; RTMRs are what the event log replays to.
//!
//! [`TdxGuest::quote`] is the short way. For bad evidence, change a stage: [`QuoteFields`] (what the guest and its module
//! state), [`EnclaveReport`] (the quoting enclave), [`SignatureData`] (what follows the signed part), [`SgxExtension`] and
//! the PCK [`Template`](super::certificate::Template), and [`CollateralTemplate`] (TCB info, QE identity, revocation lists).

mod authority;
mod collateral;
mod config;
mod enclave;
mod event_log;
mod guest;
mod platform;
mod quote;

pub use authority::{TdxAuthority, intel_name, simulated_intel_root_der};
pub use collateral::{
    CollateralTemplate, Component, ComponentTcb, Level, ModuleIdentity, QeIdentity, SvnTcb, TcbInfo,
    TdxModule, sign_collateral_text,
};
pub use config::{QuoteVersion, Registers, TdConfig};
pub use enclave::EnclaveReport;
pub use event_log::{Boot, Event, EventDigest, EventLog, SHA384_DIGEST_ID, replay};
pub use guest::TdxGuest;
pub use platform::{PlatformConfig, PlatformFlags, SgxExtension};
pub use quote::{INTEL_QE_VENDOR, QuoteFields, QuoteHeader, SignatureData, Td15, Td15Ex, TdBody, assemble};

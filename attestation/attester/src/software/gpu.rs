//! NVIDIA GPUs and NVSwitches without hardware: device certificates, SPDM reports, reference integrity manifests and OCSP
//! responses in NVIDIA's formats under published roots.
//!
//! Everything that NVIDIA and the device would decide is simulated: both roots (fixtures), the certificates below
//! them (made with each [`GpuHierarchy`], [`GpuDevice`] and [`RimSigner`]), and the measurements, which are digests of
//! texts. Common names are those of the real roles, as readers tell the certificates apart by them; the organization says
//! SIMULATED.
//!
//! [`GpuDevice::evidence`] and [`Board::make`] are the short ways. For bad evidence, change a stage: [`GpuConfig`] and
//! [`SpdmReport`] before signing, [`DeviceTemplates`] for the certificates, [`RimTemplate`] and [`RimSignature`] for
//! manifests, [`OcspTemplate`] for responses.

mod authority;
mod board;
mod certificates;
mod config;
mod device;
mod extensions;
mod ocsp;
mod opaque;
mod rim;
mod rim_signature;
mod spdm;

pub use authority::{
    NvidiaRoot, nvidia_name, simulated_nvidia_device_root_der, simulated_nvidia_rim_root_der,
};
pub use board::Board;
pub use certificates::{DeviceTemplates, GpuHierarchy};
pub use config::{Chip, GpuConfig, SwitchLinks};
pub use device::GpuDevice;
pub use extensions::{composite_device_id, device_name, dice_tcb_info, ocsp_access, ocsp_signing};
pub use ocsp::{CertificateStatus, OcspEntry, OcspHash, OcspTemplate, Responder, responder_template};
pub use opaque::OpaqueField;
pub use rim::{Edition, RimResource, RimTemplate};
pub use rim_signature::{RimSignature, RimSigner, RimTemplates};
pub use spdm::{Block, SpdmReport};

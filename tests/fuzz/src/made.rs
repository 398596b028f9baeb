//! Good evidence of each family under the simulated roots, made once for a run.

use crate::now;
use anchorhold_attester::software::gpu::{
    Chip, Edition, GpuConfig, GpuDevice, RimSigner, RimTemplate, simulated_nvidia_device_root_der,
    simulated_nvidia_rim_root_der,
};
use anchorhold_attester::software::tdx::{TdConfig, TdxGuest, simulated_intel_root_der};
use anchorhold_attester::software::{LaunchConfig, SoftwareGuest, SoftwareParavisor, simulated_ark_der};
use anchorhold_rats::{Der, Measurement, Nonce, ReportData};
use anchorhold_verifier::TrustAnchors;
use anchorhold_verifier::dangerous::{SimulatedRoots, simulated_anchors};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::sync::LazyLock;

pub const MEASUREMENT: Measurement = Measurement::new([7; 48]);
pub const REPORT_DATA: ReportData = ReportData::new([9; 64]);
pub const NONCE: Nonce = Nonce::new([5; 32]);

/// Every simulated root.
pub static ANCHORS: LazyLock<TrustAnchors> = LazyLock::new(|| {
    let roots = SimulatedRoots {
        amd: Some(simulated_ark_der()),
        intel: Some(simulated_intel_root_der()),
        nvidia_device: Some(simulated_nvidia_device_root_der()),
        nvidia_rim: Some(simulated_nvidia_rim_root_der()),
        ..SimulatedRoots::default()
    };
    simulated_anchors(&roots).expect("simulated roots are roots")
});

pub fn snp_guest() -> SoftwareGuest {
    SoftwareGuest::launch(LaunchConfig::new(MEASUREMENT), now()).expect("a guest")
}

pub fn tdx_guest() -> TdxGuest {
    TdxGuest::launch(TdConfig::new(MEASUREMENT), now()).expect("a TD")
}

pub fn gpu() -> GpuDevice {
    GpuDevice::make(GpuConfig::new(Chip::Gh100, [7; 8])).expect("a GPU")
}

pub fn rim_signer() -> RimSigner {
    RimSigner::make(Chip::Gh100, now()).expect("a signer of manifests")
}

/// The text of a manifest that [`gpu`] matches, unsigned.
pub fn rim_document(edition: Edition) -> String {
    RimTemplate::of(gpu().config(), edition).document()
}

/// The manifests that [`gpu`] matches.
pub fn rims(signer: &RimSigner) -> Vec<Der> {
    [Edition::Driver, Edition::Vbios]
        .map(|edition| Der(signer.sign(&rim_document(edition)).expect("a manifest")))
        .to_vec()
}

pub fn paravisor() -> SoftwareParavisor {
    SoftwareParavisor::new().expect("a paravisor")
}

/// A certificate as PEM.
pub fn pem(der: &[u8]) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der))
}

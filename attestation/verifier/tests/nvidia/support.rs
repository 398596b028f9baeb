//! One way to make evidence, one to judge it, and the folder of real samples.

use crate::stops::assert_stops;
use anchorhold_rats::{Der, GpuEvidence, Timestamp};
use anchorhold_verifier::nvidia::{AuthenticDevice, Input, authenticate, read_serialized};
use anchorhold_verifier::{Authentic, Refusal, TrustAnchors, pem};
use std::path::PathBuf;

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Judges devices alone, without manifests and OCSP responses.
pub(crate) fn judge(
    devices: &[GpuEvidence],
    anchors: &TrustAnchors,
    at: Timestamp,
) -> Result<Authentic<Vec<AuthenticDevice>>, Refusal> {
    authenticate(&Input { devices, rims: &[], ocsp: &[] }, anchors, at)
}

/// The codes of all rules that failed, in order.
pub(crate) fn failed<T>(result: Result<T, Refusal>) -> Vec<String> {
    match result {
        Ok(_) => Vec::new(),
        Err(refusal) => {
            assert_stops(
                &refusal,
                &["nvidia_chain_length", "nvidia_report_signature", "nvidia_fwid_certified"],
            );
            refusal.checks().failed().map(|check| check.code.to_string()).collect()
        }
    }
}

/// The folder of real samples, or `None` where a developer does not have it. CI must have it.
pub(crate) fn samples() -> Option<PathBuf> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/evidence"));
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing", folder.display());
    eprintln!("skipped: no real samples at {}", folder.display());
    None
}

/// Certificates out of PEM text.
pub(crate) fn chain(pem: &[u8]) -> Vec<Der> {
    pem::read(std::str::from_utf8(pem).unwrap(), 8).unwrap().into_iter().map(Der).collect()
}

/// The one device of a folder with `report.bin` and `chain.pem`.
pub(crate) fn device(folder: &str) -> Option<GpuEvidence> {
    let folder = samples()?.join("nvidia").join(folder);
    let read = |file: &str| std::fs::read(folder.join(file)).unwrap();
    Some(GpuEvidence { report: read("report.bin"), certificates: chain(&read("chain.pem")) })
}

/// The devices of a file of NVIDIA's tools.
pub(crate) fn board(file: &str) -> Option<Vec<GpuEvidence>> {
    let json = std::fs::read(samples()?.join("nvidia/serialized").join(file)).unwrap();
    Some(read_serialized(&json).unwrap().into_iter().map(|(device, _)| device).collect())
}

/// The manifest of the real samples.
pub(crate) fn manifest() -> Option<Vec<serde_json::Value>> {
    let text = std::fs::read(samples()?.join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&text).unwrap();
    Some(manifest["samples"].as_array().unwrap().clone())
}

//! `attester/src/nvidia`: reports and chains of GPUs and switches, in the text of `additional_evidence`.

use super::{ReadEvidenceError, parse};
use anchorhold_rats::{Der, GpuEvidence, MAX_CERTIFICATES};
use anchorhold_verifier::pem;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

const WANTED: &str = "the nvidia attester, and no other of devices,";

/// Evidence by the kind of device. Kinds of which nothing is known here are refused, not left out.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Additional {
    nvidia: DeviceEvidence,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceEvidence {
    device_evidence_list: Vec<Device>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Device {
    /// Says nothing that the signed report does not say.
    arch: String,
    /// Base64 of PEM certificates, leaf first.
    certificate: String,
    /// The report in base64, or in hexadecimal from older attesters.
    evidence: String,
    /// Likewise.
    #[serde(default)]
    uuid: String,
}

pub(super) fn read(text: &str) -> Result<Vec<GpuEvidence>, ReadEvidenceError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let read: Additional = parse(text, WANTED)?;
    let device = |device: Device| {
        let report = unhex(&device.evidence).or_else(|| STANDARD.decode(&device.evidence).ok())?;
        let chain = String::from_utf8(STANDARD.decode(&device.certificate).ok()?).ok()?;
        let certificates = pem::read(&chain, MAX_CERTIFICATES).ok()?.into_iter().map(Der).collect();
        Some(GpuEvidence { report, certificates })
    };
    let devices: Option<Vec<_>> = read.nvidia.device_evidence_list.into_iter().map(device).collect();
    // Evidence of devices that has none is not what a guest without devices writes.
    devices.filter(|devices| !devices.is_empty()).ok_or(ReadEvidenceError::Malformed { wanted: WANTED })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => u8::try_from(digit(high)? << 4 | digit(low)?).ok(),
            _ => None,
        })
        .collect()
}

pub(super) fn write(devices: &[GpuEvidence]) -> String {
    if devices.is_empty() {
        return String::new();
    }
    let pem = |der: &Der| {
        let lines: Vec<String> = STANDARD
            .encode(&der.0)
            .as_bytes()
            .chunks(64)
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect();
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
    };
    let device = |device: &GpuEvidence| Device {
        arch: "HOPPER".to_owned(),
        certificate: STANDARD.encode(device.certificates.iter().map(pem).collect::<String>()),
        evidence: STANDARD.encode(&device.report),
        uuid: "unknown".to_owned(),
    };
    let devices = DeviceEvidence { device_evidence_list: devices.iter().map(device).collect() };
    serde_json::to_string(&Additional { nvidia: devices }).expect("texts are JSON")
}

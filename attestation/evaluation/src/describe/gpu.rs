//! A GPU's or switch's report.

use super::{Builder, Part, hex};
use anchorhold_rats::GpuEvidence;
use anchorhold_verifier::nvidia::Report;
use anchorhold_verifier::x509::Certificate;

/// serialNumber, 2.5.4.5.
const SERIAL_NUMBER: &[u8] = &[0x55, 0x04, 0x05];
/// The certificate of a chain that names the chip, behind the leaf.
const BROM: usize = 1;
/// Names of the fields in the opaque data by NVIDIA's verifiers (`nvtrust`, `opaque_data`).
const FIELDS: &[(u16, &str)] = &[
    (1, "CERT_ISSUER_NAME"),
    (2, "CERT_AUTHORITY_KEY_IDENTIFIER"),
    (3, "DRIVER_VERSION"),
    (4, "GPU_INFO"),
    (5, "SKU"),
    (6, "VBIOS_VERSION"),
    (7, "MANUFACTURER_ID"),
    (8, "TAMPER_DETECTION"),
    (9, "SMC"),
    (10, "VPR"),
    (11, "NVDEC0_STATUS"),
    (12, "MSRSCNT"),
    (13, "CPRINFO"),
    (14, "BOARD_ID"),
    (15, "CHIP_SKU"),
    (16, "CHIP_SKU_MOD"),
    (17, "PROJECT"),
    (18, "PROJECT_SKU"),
    (19, "PROJECT_SKU_MOD"),
    (20, "FWID"),
    (21, "PROTECTED_PCIE_STATUS"),
    (22, "SWITCH_PDI"),
    (23, "DISABLED_PORTS"),
    (24, "POSITION"),
    (25, "LOCK_STATUS"),
    (26, "GPU_PDIS"),
    (33, "SYSTEM_ENABLE_STATUS"),
    (34, "VERSION"),
    (35, "CHIP"),
    (36, "FEATURE_FLAG"),
];

/// One device: what its chain names it, the nonces, how many measurements, and the fields of its opaque data.
pub(super) fn device(index: usize, device: &GpuEvidence) -> Part {
    let mut part = Builder::new(format!("GPU or switch {index}"));
    for (place, certificate) in device.certificates.iter().enumerate() {
        part.certificate(&format!("certificate {place}"), &certificate.0);
    }
    part.optional("PDI", pdi(device));
    match Report::parse(&device.report) {
        Ok(report) => {
            part.field("nonce", report.nonce);
            part.bytes("responder nonce", &report.responder_nonce);
            part.field("measurements", report.measurements.len());
            add_opaque(&mut part, &report.opaque);
        }
        Err(refusal) => part.unreadable(refusal),
    }
    part.0
}

/// The last 16 digits of the serial number in the certificate that names the chip.
fn pdi(device: &GpuEvidence) -> Option<String> {
    let brom = Certificate::parse(&device.certificates.get(BROM)?.0).ok()?;
    let serial = brom.subject_attribute(SERIAL_NUMBER)?;
    serial.get(2..).map(str::to_ascii_lowercase)
}

/// Each field: type and length of 2 bytes each, little-endian, and the value.
fn add_opaque(part: &mut Builder, opaque: &[u8]) {
    let mut rest = opaque;
    while let [kind_low, kind_high, low, high, after @ ..] = rest {
        let length = usize::from(u16::from_le_bytes([*low, *high]));
        let Some((value, next)) = after.split_at_checked(length) else { break };
        let kind = u16::from_le_bytes([*kind_low, *kind_high]);
        let name = FIELDS.iter().find(|(number, _)| *number == kind);
        match name {
            Some((_, name)) => part.text_or_bytes(name, value),
            None => part.text_or_bytes(&format!("field {kind}"), value),
        }
        rest = next;
    }
    if !rest.is_empty() {
        part.field("not readable", format!("{} bytes after the last whole field: {}", rest.len(), hex(rest)));
    }
}

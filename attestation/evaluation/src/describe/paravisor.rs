//! The HCL report, and the quotes of TPMs.

use super::{Builder, Part};
use anchorhold_rats::{Der, Paravisor, TpmEvidence};
use anchorhold_verifier::azure::HclReport;
use anchorhold_verifier::tpm::{Attest, KeyName};

/// HCL report, quote, and the values of the quoted PCRs.
pub(super) fn parts(paravisor: &Paravisor) -> Vec<Part> {
    let Paravisor { hcl_report: report, quote: bytes, signature, pcrs } = paravisor;
    vec![hcl_report(report), quote("TPM quote", bytes, signature, pcrs)]
}

/// Key, quote, the values of the quoted PCRs, and how long the event log is.
pub(super) fn tpm(tpm: &TpmEvidence) -> Vec<Part> {
    let mut key = Builder::new("TPM key");
    key.field("name", KeyName::of(&tpm.key));
    key.bytes("TPMT_PUBLIC", &tpm.key);
    if let Some(log) = &tpm.event_log {
        key.field("event log", format!("{} bytes", log.0.len()));
    }
    vec![key.0, quote("own TPM quote", &tpm.quote, &tpm.signature, &tpm.pcrs)]
}

fn hcl_report(bytes: &[u8]) -> Part {
    let mut part = Builder::new("HCL report");
    match HclReport::parse(bytes) {
        Ok(report) => {
            part.field("version", report.version);
            part.field("hardware report", format!("{}, {} bytes", report.tee, report.hardware_report.len()));
            part.text_or_bytes("claims", report.claims);
        }
        Err(refusal) => part.unreadable(refusal),
    }
    part.0
}

fn quote(name: &'static str, bytes: &[u8], signature: &[u8], pcrs: &[Der]) -> Part {
    let mut part = Builder::new(name);
    let selection = match Attest::parse(bytes) {
        Ok(attest) => {
            part.bytes("EXTRA_DATA", &attest.nonce);
            let clock = attest.clock;
            part.field("clock", format!("{} ms", clock.clock_ms));
            part.field("RESET_COUNT", clock.reset_count);
            part.field("RESTART_COUNT", clock.restart_count);
            part.field("SAFE", clock.safe);
            part.field("FIRMWARE_VERSION", format!("{:#x}", attest.firmware_version));
            part.bytes("PCR_DIGEST", &attest.pcr_digest);
            attest.selection
        }
        Err(refusal) => {
            part.unreadable(refusal);
            Vec::new()
        }
    };
    part.field("signature", format!("{} bytes", signature.len()));
    for (index, value) in pcrs.iter().enumerate() {
        // The values stand in the order of the selection; of more than it names, nothing says which they are.
        let name = selection.get(index).map_or_else(|| format!("value {index}"), |pcr| format!("PCR {pcr}"));
        part.bytes(&name, &value.0);
    }
    part.0
}

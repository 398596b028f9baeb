//! The HCL report and the quote of a virtual TPM.

use super::{Builder, Part};
use anchorhold_rats::Paravisor;
use anchorhold_verifier::azure::{Attest, HclReport};

/// HCL report, quote, and the values of the quoted PCRs.
pub(super) fn parts(paravisor: &Paravisor) -> Vec<Part> {
    vec![hcl_report(&paravisor.hcl_report), quote(paravisor)]
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

fn quote(paravisor: &Paravisor) -> Part {
    let mut part = Builder::new("TPM quote");
    let selection = match Attest::parse(&paravisor.quote) {
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
    part.field("signature", format!("{} bytes", paravisor.signature.len()));
    for (index, value) in paravisor.pcrs.iter().enumerate() {
        // The values stand in the order of the selection; of more than it names, nothing says which they are.
        let name = selection.get(index).map_or_else(|| format!("value {index}"), |pcr| format!("PCR {pcr}"));
        part.bytes(&name, &value.0);
    }
    part.0
}

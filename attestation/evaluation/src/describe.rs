//! What evidence says, field by field, without judging it.

use anchorhold_rats::{EvidenceBundle, Tee};
use anchorhold_verifier::{Refusal, snp};
use serde::Serialize;

/// A part of the evidence with its fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Which part, such as `SNP report`.
    pub name: String,
    /// Its fields in order.
    pub fields: Vec<Field>,
}

/// A field by the name that its specification gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Field {
    /// The name.
    pub name: String,
    /// The value, bytes in hexadecimal.
    pub value: String,
}

/// A part that is being described.
struct Builder(Part);

impl Builder {
    fn new(name: impl Into<String>) -> Self {
        Self(Part { name: name.into(), fields: Vec::new() })
    }

    fn field(&mut self, name: &str, value: impl ToString) {
        self.0.fields.push(Field { name: name.to_owned(), value: value.to_string() });
    }

    fn bytes(&mut self, name: &str, value: &[u8]) {
        self.field(name, hex(value));
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What every part of a bundle says. Nothing of it is judged.
///
/// # Errors
/// [`Refusal`] when a part does not have the documented shape.
pub fn describe(bundle: &EvidenceBundle) -> Result<Vec<Part>, Refusal> {
    let evidence = &bundle.evidence;
    let mut parts = Vec::new();
    match evidence.tee {
        Tee::Snp => parts.push(snp_report(&snp::Report::parse(&evidence.report)?)),
        Tee::Tdx => {}
    }
    Ok(parts)
}

fn snp_report(report: &snp::Report) -> Part {
    let mut part = Builder::new("SNP report");
    part.field("VERSION", report.version);
    part.field("GUEST_SVN", report.guest_svn);
    part.field("POLICY", format!("{:#x}", report.policy.0));
    part.bytes("FAMILY_ID", &report.family_id);
    part.bytes("IMAGE_ID", &report.image_id);
    part.field("VMPL", report.vmpl);
    part.bytes("CURRENT_TCB", &report.current_tcb.0);
    part.field("PLATFORM_INFO", format!("{:#x}", report.platform_info.0));
    part.field("AUTHOR_KEY_EN", report.author_key_enabled);
    part.field("MASK_CHIP_KEY", report.chip_key_masked);
    part.field("SIGNING_KEY", format!("{:?}", report.signing_key));
    part.field("REPORT_DATA", report.report_data);
    part.field("MEASUREMENT", report.measurement);
    part.bytes("HOST_DATA", &report.host_data);
    part.bytes("ID_KEY_DIGEST", &report.id_key_digest);
    part.bytes("AUTHOR_KEY_DIGEST", &report.author_key_digest);
    part.bytes("REPORT_ID", &report.report_id);
    part.bytes("REPORT_ID_MA", &report.report_id_ma);
    part.bytes("REPORTED_TCB", &report.reported_tcb.0);
    if let Some(cpuid) = report.cpuid {
        part.field("CPUID", cpuid);
    }
    part.field("CHIP_ID", report.chip_id);
    part.bytes("COMMITTED_TCB", &report.committed_tcb.0);
    part.field("CURRENT_VERSION", report.current_version);
    part.field("COMMITTED_VERSION", report.committed_version);
    part.bytes("LAUNCH_TCB", &report.launch_tcb.0);
    if let Some(vectors) = report.mitigations {
        part.field("LAUNCH_MIT_VECTOR", format!("{:#x}", vectors.launch));
        part.field("CURRENT_MIT_VECTOR", format!("{:#x}", vectors.current));
    }
    part.0
}

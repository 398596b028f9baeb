//! AMD's report.

use super::{Builder, Part};
use anchorhold_verifier::snp::Report;

/// An SNP report by the names of the SEV-SNP ABI (table 23).
pub(super) fn report(report: &Report) -> Part {
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

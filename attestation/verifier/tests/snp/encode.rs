//! Reader and writer of the report agree on real bytes, so a mistake in one cannot hide in the other.

use crate::support::*;
use anchorhold_attester::software::report::{ReportFields, append_signature};
use anchorhold_verifier::snp::{Cpuid, FirmwareVersion, MitigationVectors, Report, Signer, SigningKey};

fn write(report: &Report) -> Vec<u8> {
    let version = |v: FirmwareVersion| [v.build, v.minor, v.major];
    let signing_key = match report.signing_key {
        SigningKey::Signed(Signer::Vcek) => 0,
        SigningKey::Signed(Signer::Vlek) => 1,
        SigningKey::None => 7,
    };
    let Cpuid { family, model, stepping } =
        report.cpuid.unwrap_or(Cpuid { family: 0, model: 0, stepping: 0 });
    let MitigationVectors { launch, current } =
        report.mitigations.unwrap_or(MitigationVectors { launch: 0, current: 0 });
    let fields = ReportFields {
        version: report.version,
        guest_svn: report.guest_svn,
        policy: report.policy.0,
        family_id: report.family_id,
        image_id: report.image_id,
        vmpl: report.vmpl,
        current_tcb: report.current_tcb.0,
        platform_info: report.platform_info.0,
        flags: u32::from(report.author_key_enabled)
            | u32::from(report.chip_key_masked) << 1
            | signing_key << 2,
        report_data: *report.report_data.as_bytes(),
        measurement: *report.measurement.as_bytes(),
        host_data: report.host_data,
        id_key_digest: report.id_key_digest,
        author_key_digest: report.author_key_digest,
        report_id: report.report_id,
        report_id_ma: report.report_id_ma,
        reported_tcb: report.reported_tcb.0,
        cpuid: [family, model, stepping],
        chip_id: report.chip_id.0,
        committed_tcb: report.committed_tcb.0,
        current_version: version(report.current_version),
        committed_version: version(report.committed_version),
        launch_tcb: report.launch_tcb.0,
        launch_mitigations: launch,
        current_mitigations: current,
    };
    append_signature(&fields.encode(), &report.signature)
}

#[test]
fn writing_what_was_read_from_a_real_report_gives_its_bytes() {
    for sample in read_samples() {
        let report = Report::parse(&sample.evidence.report).unwrap();
        assert_eq!(write(&report), sample.evidence.report, "{}", sample.id);
    }
}

#[test]
fn writing_what_was_read_from_a_simulated_report_gives_its_bytes() {
    for version in 2..=5 {
        let evidence = report_with(|fields| {
            fields.version = version;
            fields.flags = 3;
            fields.host_data = [3; 32];
        });
        assert_eq!(write(&Report::parse(&evidence.report).unwrap()), evidence.report, "version {version}");
    }
}

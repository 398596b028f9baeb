//! The HCL report, and what it holds.

use super::{Made, NONCE, at};
use crate::cases::bytes::{flip, put};
use crate::writer::Suite;
use anchorhold_attester::software::paravisor::{CLAIMS_AT, HARDWARE_REPORT_AT, td_report};
use anchorhold_attester::software::tdx::{TdConfig, TdxGuest};
use anchorhold_attester::software::{LaunchConfig, SoftwareGuest, SoftwareParavisor};
use anchorhold_rats::{Measurement, Tee};

const PARSE: &str = "parse";
/// Where the header of the runtime data is.
const RUNTIME_AT: usize = CLAIMS_AT - 20;

pub(super) fn write(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    lengths(suite, made)?;
    header(suite, made)?;
    td_reports(suite, made)?;
    reports(suite, made)
}

fn lengths(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    for length in [0, 1235, 4097] {
        let sent = made.snp()?.with(|parts| parts.hcl_report.resize(length, 0));
        let case = sent.refused(PARSE, "azure_hcl_length")?;
        suite.add(format!("azure-hcl-length-{length}"), case, format!("{length} bytes"))?;
    }
    for (id, offset) in [("report", 8), ("runtime-data", RUNTIME_AT), ("claims", RUNTIME_AT + 16)] {
        let sent = made.snp()?.with(|parts| flip(&mut parts.hcl_report, offset));
        let case = sent.refused(PARSE, "azure_hcl_sizes")?;
        suite.add(format!("azure-hcl-size-{id}"), case, "a length that disagrees with the others")?;
    }
    let end = CLAIMS_AT + made.paravisor.claims.len();
    let sent = made.snp()?.with(|parts| parts.hcl_report.truncate(end - 1));
    suite.add("azure-hcl-cut", sent.refused(PARSE, "azure_hcl_sizes")?, "the claims lack their last byte")?;
    let sent = made.snp()?.with(|parts| put(&mut parts.hcl_report, end, 1));
    suite.add("azure-hcl-padding", sent.refused(PARSE, "azure_hcl_padding")?, "a byte follows the claims")
}

fn header(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    for (id, offset, value) in [
        ("signature", 0, b'h'),
        ("version", 4, 3),
        ("request-type", 12, 1),
        ("status", 16, 1),
        ("reserved", 20, 1),
        ("runtime-version", RUNTIME_AT + 4, 2),
    ] {
        let sent = made.snp()?.with(|parts| put(&mut parts.hcl_report, offset, value));
        let case = sent.refused(PARSE, "azure_hcl_header")?;
        suite.add(format!("azure-hcl-{id}"), case, "another header")?;
    }
    for kind in [0, 3] {
        let sent = made.snp()?.with(|parts| put(&mut parts.hcl_report, RUNTIME_AT + 8, kind));
        let case = sent.refused(PARSE, "azure_hcl_report_type")?;
        suite.add(format!("azure-hcl-report-type-{kind}"), case, "a hardware report of no known TEE")?;
    }
    let sent = made.snp()?.with(|parts| put(&mut parts.hcl_report, RUNTIME_AT + 12, 2));
    suite.add("azure-hcl-hash-type", sent.refused(PARSE, "azure_hcl_hash_type")?, "the digest is not SHA-256")
}

fn td_reports(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    for (id, offset, value, why) in [
        ("type", 0, 0, "the report of an SGX enclave"),
        ("subtype", 1, 1, "an unknown subtype"),
        ("version", 2, 2, "an unknown version"),
        ("reserved", 4, 1, "a reserved byte is set"),
        ("tail", 1024, 1, "a byte follows the TDREPORT"),
    ] {
        let at = HARDWARE_REPORT_AT + offset;
        let sent = made.tdx()?.with(|parts| put(&mut parts.hcl_report, at, value));
        suite.add(format!("azure-td-report-{id}"), sent.refused(PARSE, "azure_td_report")?, why)?;
    }
    Ok(())
}

/// The ties between the HCL report, the TEE's report and the claims.
fn reports(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let identity = "identity";
    let mut sent = made.tdx()?;
    sent.paravisor = made.snp()?.paravisor;
    let case = sent.refused(identity, "azure_tee_kind")?;
    suite.add("azure-tee-kind-snp", case, "the HCL report of an SNP guest beside a TD's quote")?;
    let mut sent = made.tdx()?;
    let other = TdxGuest::launch(TdConfig::new(Measurement::new([8; 48])), at()?)?;
    let quote = other.quote(&made.paravisor.report_data())?;
    sent.paravisor = made.paravisor.attest(Tee::Tdx, &quote, &NONCE)?;
    let case = sent.refused(identity, "azure_tee_report")?;
    suite.add("azure-tee-report-other", case, "the TDREPORT of another TD")?;
    let mut sent = made.tdx()?;
    let mut report = td_report(&made.tdx.quote(&made.paravisor.report_data())?);
    flip(&mut report, 128);
    sent.paravisor = made.paravisor.attest_hardware(Tee::Tdx, &report, &NONCE)?;
    let case = sent.refused(identity, "azure_tee_report")?;
    suite.add("azure-tee-report-data", case, "a TDREPORT with other report data than the quote")?;

    let sent = made.snp()?.with(|parts| flip(&mut parts.hcl_report, HARDWARE_REPORT_AT + 0x90));
    let case = sent.refused("signature", "snp_report_signature")?;
    suite.add("azure-snp-report-changed", case, "the SNP report was changed after signing")?;
    let other = SoftwareGuest::launch(LaunchConfig::new(super::MEASUREMENT), at()?)?;
    let report = other.attest(&made.paravisor.report_data())?.report;
    let mut sent = made.snp()?;
    sent.paravisor = made.paravisor.attest(Tee::Snp, &report, &NONCE)?;
    let case = sent.refused("signature", "snp_report_signature")?;
    suite.add("azure-snp-report-other", case, "the SNP report of another chip than the VCEK's")?;

    let mut later = SoftwareParavisor::new()?;
    later.claims = later.claims.replace("\"tpm-persisted\":false", "\"tpm-persisted\":true");
    let sent = made.snp_for(&later, &made.paravisor.report_data())?;
    let case = sent.refused("binding", "azure_claims_digest")?;
    suite.add("azure-claims-changed", case, "the claims were changed after the report was made")?;
    let mut data = *made.paravisor.report_data().as_bytes();
    put(&mut data, 63, 1);
    for (id, sent) in
        [("snp", made.snp_for(&made.paravisor, &data.into())?), ("tdx", made.tdx_for(&data.into())?)]
    {
        let case = sent.refused("binding", "azure_claims_digest")?;
        suite.add(
            format!("azure-claims-upper-half-{id}"),
            case,
            "more than the digest in the report data",
        )?;
    }
    Ok(())
}

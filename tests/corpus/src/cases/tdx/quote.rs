//! The quote's shape and its signatures.

use super::{Made, REPORT_DATA, TdConfig};
use crate::cases::bytes::{flip, put};
use crate::writer::Suite;
use anchorhold_attester::software::tdx::QuoteVersion;

pub(super) fn write(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    controls(suite, made)?;
    header(suite, made)?;
    layout(suite, made)?;
    signatures(suite, made)
}

/// Good evidence: a verifier that refuses everything is of no use.
fn controls(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    suite.add("tdx-good-v4", made.case(), "unchanged, version 4")?;
    for (id, version) in [
        ("td10", QuoteVersion::V5Td10),
        ("td15", QuoteVersion::V5Td15),
        ("td15-extended", QuoteVersion::V5Td15Ex),
    ] {
        let other = Made::new(TdConfig { version, ..made.config.clone() })?;
        suite.add(format!("tdx-good-v5-{id}"), other.case(), "version 5")?;
    }
    let padded = made.raw(|quote| quote.resize(8000, 0));
    suite.add("tdx-good-padded", padded, "zero bytes follow, as the kernel's interface returns it")
}

fn header(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    for version in [0, 3, 6] {
        let case = made.fields(|fields| fields.header.version = version)?;
        suite.add(
            format!("tdx-version-{version}"),
            case.refused("parse", "tdx_quote_version"),
            "an unknown version, signed",
        )?;
    }
    let case = made.fields(|fields| fields.header.attestation_key_type = 3)?;
    suite.add("tdx-key-type", case.refused("parse", "tdx_attestation_key_type"), "not ECDSA P-256")?;
    let case = made.fields(|fields| fields.header.tee_type = 0)?;
    suite.add("tdx-tee-type-sgx", case.refused("parse", "tdx_tee_type"), "an SGX quote's TEE type")?;
    let case = made.fields(|fields| put(&mut fields.header.reserved, 1, 1))?;
    suite.add(
        "tdx-header-reserved",
        case.refused("parse", "tdx_header_reserved"),
        "reserved bytes are set",
    )?;
    let case = made.fields(|fields| flip(&mut fields.header.qe_vendor, 0))?;
    suite.add("tdx-qe-vendor", case.refused("parse", "tdx_qe_vendor"), "the QE is not Intel's")?;
    let v5 = Made::new(TdConfig { version: QuoteVersion::V5Td15, ..made.config.clone() })?;
    for body_type in [1, 5] {
        let case = v5.fields(|fields| fields.body_type = Some(body_type))?;
        suite.add(
            format!("tdx-body-type-{body_type}"),
            case.refused("parse", "tdx_body_type"),
            "no body of a TD",
        )?;
    }
    let case = v5.raw(|quote| flip(quote, 50)).refused("parse", "tdx_body_size");
    suite.add("tdx-body-size", case, "the size is not that of the type")
}

fn layout(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    for length in [0, 47, 48, 631, 640, 1000] {
        let case = made.raw(|quote| quote.truncate(length)).refused("parse", "tdx_quote_truncated");
        suite.add(format!("tdx-length-{length}"), case, format!("{length} bytes"))?;
    }
    let case = made.raw(|quote| quote.push(1)).refused("parse", "tdx_trailing_bytes");
    suite.add("tdx-trailing", case, "a byte that is not zero follows the quote")?;
    let case = made.raw(|quote| {
        quote.resize(quote.len() + 70, 0);
        quote.push(1);
    });
    suite.add(
        "tdx-trailing-later",
        case.refused("parse", "tdx_trailing_bytes"),
        "a byte among the padding",
    )?;
    let case = made.data(|data| data.certification_type = 5)?;
    suite.add(
        "tdx-certification-5",
        case.refused("parse", "tdx_certification_type"),
        "the outer type is not 6",
    )?;
    let case = made.data(|data| data.pck_type = 4)?;
    suite.add(
        "tdx-certification-4",
        case.refused("parse", "tdx_certification_type"),
        "the inner type is not 5",
    )?;
    let case = made.data(|data| data.auth_data.push(0))?;
    suite.add(
        "tdx-auth-data-33",
        case.refused("parse", "tdx_signature_layout"),
        "authentication data of another length",
    )?;
    let case = made.raw(|quote| flip(quote, 632)).refused("parse", "tdx_signature_layout");
    suite.add("tdx-signature-length", case, "the length of the signature data is not that of its parts")
}

fn signatures(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    for (id, offset) in [
        ("user-data", 28),
        ("tee-tcb-svn", 48),
        ("mrtd", 48 + 136),
        ("rtmr3", 48 + 472),
        ("report-data", 48 + 520),
        ("report-data-last", 631),
    ] {
        let case = made.raw(|quote| flip(quote, offset)).refused("signature", "tdx_quote_signature");
        suite.add(format!("tdx-changed-{id}"), case, "changed after signing")?;
    }
    let case = made.data(|data| flip(&mut data.signature, 0))?.refused("signature", "tdx_quote_signature");
    suite.add("tdx-signature", case, "another signature")?;
    let case = made.data(|data| data.signature = vec![0; 64])?.refused("signature", "tdx_quote_signature");
    suite.add("tdx-signature-zero", case, "r and s are zero")?;
    let case = made.data(|data| flip(&mut data.qe_report, 64))?;
    suite.add(
        "tdx-qe-changed",
        case.refused("signature", "tdx_qe_report_signature"),
        "the QE report was changed",
    )?;
    let case = made.data(|data| flip(&mut data.qe_report_signature, 5))?;
    suite.add(
        "tdx-qe-signature",
        case.refused("signature", "tdx_qe_report_signature"),
        "another signature on the QE report",
    )?;
    let other = Made::new(made.config.clone())?;
    let signed = made.guest.fields(&REPORT_DATA).encode();
    let foreign = other.guest.signature_data(&signed, &other.guest.enclave_report())?;
    let case = made.data(|data| {
        data.signature = foreign.signature;
        data.attestation_key = foreign.attestation_key;
    })?;
    suite.add(
        "tdx-attestation-key",
        case.refused("signature", "tdx_qe_report_data"),
        "a key of which the QE knows nothing signed the quote",
    )?;
    let case = made.enclave(|report| put(&mut report.report_data, 32, 1))?;
    suite.add(
        "tdx-qe-report-data-tail",
        case.refused("signature", "tdx_qe_report_data_tail"),
        "the upper half of the QE's report data is not zero",
    )
}

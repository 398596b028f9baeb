//! The forms in which evidence comes in a file.

use crate::exit::Failure;
use crate::files;
use anchorhold_channel::document::Document;
use anchorhold_rats::{
    Der, Endorsements, Evidence, EvidenceBundle, MAX_BUNDLE_JSON_BYTES, MAX_CERTIFICATES, ReportData, Tee,
};
use anchorhold_verifier::{pem, snp};
use std::path::{Path, PathBuf};

const MAX_CERTIFICATE_FILE_BYTES: usize = 64 * 1024;
const HINT: &str = "\
wanted an evidence bundle, an evidence object or an attestation document (JSON), an SNP report (1184 bytes) or a TDX quote";
/// The report data of a TDX quote of version 4: at 520 in the body, which begins after the header of 48 bytes.
const TDX_V4_REPORT_DATA: usize = 48 + 520;
/// A quote of version 5 has 6 bytes more before the body.
const TDX_V5_REPORT_DATA: usize = 54 + 520;

/// Reads a file of any of the forms, and adds certificates from other files.
pub(super) fn read(path: &Path, certificates: &[PathBuf]) -> Result<EvidenceBundle, Failure> {
    let bytes = files::read(path, MAX_BUNDLE_JSON_BYTES)?;
    let mut bundle =
        of_bytes(&bytes).map_err(|text| Failure::other(format!("{}: {text}", path.display())).hint(HINT))?;
    for path in certificates {
        bundle.evidence.certificates.extend(read_certificates(path)?);
    }
    Ok(bundle)
}

fn of_bytes(bytes: &[u8]) -> Result<EvidenceBundle, String> {
    let bare = |evidence| Ok(EvidenceBundle::new(evidence, Endorsements::default()));
    if bytes.len() == snp::REPORT_LEN {
        return bare(Evidence::snp(bytes.to_vec(), Vec::new()));
    }
    // Version 4 or 5, attestation key type 2, TEE type 0x81.
    if let [4 | 5, 0, 2, 0, 0x81, 0, 0, 0, ..] = bytes {
        return bare(Evidence::tdx(bytes.to_vec()));
    }
    if let Ok(evidence) = Evidence::from_json(bytes) {
        return bare(evidence);
    }
    if let Ok(document) = Document::from_json(bytes) {
        return bare(document.evidence().clone());
    }
    EvidenceBundle::from_json(bytes).map_err(|error| error.to_string())
}

fn read_certificates(path: &Path) -> Result<Vec<Der>, Failure> {
    let bytes = files::read(path, MAX_CERTIFICATE_FILE_BYTES)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) if text.starts_with("-----") => {
            let read = pem::read(text, MAX_CERTIFICATES);
            let read = read.map_err(|e| Failure::other(format!("{}: {e}", path.display())))?;
            Ok(read.into_iter().map(Der).collect())
        }
        _ => Ok(vec![Der(bytes)]),
    }
}

/// The report data that the evidence has, for those who expect none.
pub(super) fn stated_report_data(evidence: &Evidence) -> Result<ReportData, Failure> {
    let offset = match (evidence.tee, evidence.report.first()) {
        (Tee::Snp, _) => 0x50,
        (Tee::Tdx, Some(5)) => TDX_V5_REPORT_DATA,
        (Tee::Tdx, _) => TDX_V4_REPORT_DATA,
    };
    let field = evidence.report.get(offset..offset + ReportData::LEN);
    let field = field.ok_or_else(|| Failure::other("the report ends before its report data"))?;
    ReportData::try_from(field).map_err(Failure::other)
}

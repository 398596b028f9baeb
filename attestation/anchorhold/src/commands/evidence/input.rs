//! The forms in which evidence comes in files.

use crate::exit::Failure;
use crate::files;
use anchorhold_channel::document::Document;
use anchorhold_rats::{
    Der, Endorsements, Evidence, EvidenceBundle, Expected, MAX_BUNDLE_JSON_BYTES, MAX_CERTIFICATES,
    MAX_FOREIGN_JSON_BYTES, ReportData, TdxCollateral, Tee,
};
use anchorhold_verifier::azure::{Attest, MAX_NONCE_BYTES};
use anchorhold_verifier::nvidia::{MAX_SERIALIZED_BYTES, read_serialized};
use anchorhold_verifier::{pem, snp};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// For certificates, revocation lists, event logs, manifests and OCSP responses.
const MAX_PART_BYTES: usize = 512 * 1024;
const HINT: &str = "\
wanted an evidence bundle, an evidence object, an attestation document or Trustee's Azure evidence (JSON), an SNP report
      (1184 bytes) or a TDX quote";
/// The report data of a TDX quote of version 4: at 520 in the body, which begins after the header of 48 bytes.
const TDX_V4_REPORT_DATA: usize = 48 + 520;
/// A quote of version 5 has 6 bytes more before the body.
const TDX_V5_REPORT_DATA: usize = 54 + 520;

/// Evidence in a file, and what lies beside it in others.
#[derive(clap::Args)]
pub(crate) struct InputArgs {
    /// The file
    file: PathBuf,
    /// Take the certificates of the report's signer from this file (DER or PEM, leaf first); may be repeated
    #[arg(long, value_name = "FILE")]
    certificates: Vec<PathBuf>,
    /// Take the evidence of GPUs and switches from this file (JSON of NVIDIA's nvattest)
    #[arg(long, value_name = "FILE")]
    gpus: Option<PathBuf>,
    /// Take the event log (CCEL) from this file
    #[arg(long, value_name = "FILE")]
    event_log: Option<PathBuf>,
    /// Take Intel's collateral from this file (QuoteCollateralV3 of dcap-qvl, JSON)
    #[arg(long, value_name = "FILE")]
    collateral: Option<PathBuf>,
    /// Take a reference manifest of NVIDIA from this file (XML); may be repeated
    #[arg(long, value_name = "FILE")]
    rim: Vec<PathBuf>,
    /// Take a revocation list of AMD from this file (DER); may be repeated
    #[arg(long, value_name = "FILE")]
    crl: Vec<PathBuf>,
    /// Take an OCSP response about a certificate of NVIDIA from this file (DER); may be repeated
    #[arg(long, value_name = "FILE")]
    ocsp: Vec<PathBuf>,
}

/// Reads evidence, in any of the forms.
pub(crate) fn read_bundle(path: &Path) -> Result<EvidenceBundle, Failure> {
    let bytes = files::read(path, MAX_BUNDLE_JSON_BYTES)?;
    of_bytes(&bytes).map_err(|error| about(path, error).hint(HINT))
}

impl InputArgs {
    /// Reads the file, in any of the forms, and adds what lies in the others.
    pub(crate) fn read(&self) -> Result<EvidenceBundle, Failure> {
        let mut bundle = read_bundle(&self.file)?;
        let EvidenceBundle { evidence, endorsements, .. } = &mut bundle;
        for path in &self.certificates {
            evidence.certificates.extend(read_certificates(path)?);
        }
        if let Some(path) = &self.gpus {
            let read = read_serialized(&files::read(path, MAX_SERIALIZED_BYTES)?);
            let devices = read.map_err(|error| about(path, error))?;
            evidence.gpus.extend(devices.into_iter().map(|(device, _)| device));
        }
        if let Some(path) = &self.event_log {
            evidence.event_log = Some(read_part(path)?);
        }
        if let Some(path) = &self.collateral {
            let read = TdxCollateral::from_dcap_json(&files::read(path, MAX_FOREIGN_JSON_BYTES)?);
            endorsements.tdx = Some(read.map_err(|error| about(path, error))?);
        }
        for (paths, list) in [
            (&self.rim, &mut endorsements.rims),
            (&self.crl, &mut endorsements.snp_crls),
            (&self.ocsp, &mut endorsements.ocsp),
        ] {
            for path in paths {
                list.push(read_part(path)?);
            }
        }
        let within = evidence.check_limits().and_then(|()| endorsements.check_limits());
        within.map_err(|error| about(&self.file, error))?;
        Ok(bundle)
    }
}

fn about(path: &Path, error: impl Display) -> Failure {
    Failure::other(format!("{}: {error}", path.display()))
}

fn read_part(path: &Path) -> Result<Der, Failure> {
    files::read(path, MAX_PART_BYTES).map(Der)
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
    if let Ok(evidence) = Evidence::from_trustee_azure_json(bytes) {
        return bare(evidence);
    }
    EvidenceBundle::from_json(bytes).map_err(|error| error.to_string())
}

fn read_certificates(path: &Path) -> Result<Vec<Der>, Failure> {
    let bytes = files::read(path, MAX_PART_BYTES)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) if text.starts_with("-----") => {
            let read = pem::read(text, MAX_CERTIFICATES);
            let read = read.map_err(|error| about(path, error))?;
            Ok(read.into_iter().map(Der).collect())
        }
        _ => Ok(vec![Der(bytes)]),
    }
}

/// The nonce in the quote of a virtual TPM: 1 to 64 bytes, in hex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TpmNonce(Vec<u8>);

impl TpmNonce {
    /// What evidence must show whose quote was made for this nonce. The TEE's report is then for the paravisor's claims.
    pub(crate) fn expected(&self) -> Expected {
        let mut bytes = [0; ReportData::LEN];
        for (byte, own) in bytes.iter_mut().zip(&self.0) {
            *byte = *own;
        }
        Expected { quote_nonce_bytes: self.0.len(), ..ReportData::new(bytes).into() }
    }
}

impl FromStr for TpmNonce {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("wanted 1 to {MAX_NONCE_BYTES} bytes in hex");
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let digit = |digit: u8| char::from(digit).to_digit(16);
        let byte = |[high, low]: &[u8; 2]| u8::try_from(digit(*high)? << 4 | digit(*low)?).ok();
        let bytes = pairs.iter().map(byte).collect::<Option<Vec<u8>>>().ok_or_else(wrong)?;
        let whole = rest.is_empty() && (1..=MAX_NONCE_BYTES).contains(&bytes.len());
        if whole { Ok(Self(bytes)) } else { Err(wrong()) }
    }
}

/// What evidence shows of whom it was made for, for those who expect nothing: the nonce in the quote of a virtual TPM where
/// there is one, else the report data.
pub(crate) fn stated(evidence: &Evidence) -> Result<Expected, Failure> {
    let quote = evidence.paravisor.as_ref().and_then(|paravisor| Attest::parse(&paravisor.quote).ok());
    match quote {
        Some(quote) => Ok(TpmNonce(quote.nonce).expected()),
        None => stated_report_data(evidence).map(Expected::from),
    }
}

fn stated_report_data(evidence: &Evidence) -> Result<ReportData, Failure> {
    let offset = match (evidence.tee, evidence.report.first()) {
        (Tee::Snp, _) => 0x50,
        (Tee::Tdx, Some(5)) => TDX_V5_REPORT_DATA,
        (Tee::Tdx, _) => TDX_V4_REPORT_DATA,
    };
    let field = evidence.report.get(offset..offset + ReportData::LEN);
    let field = field.ok_or_else(|| Failure::other("the report ends before its report data"))?;
    ReportData::try_from(field).map_err(Failure::other)
}

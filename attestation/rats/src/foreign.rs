//! Evidence and collateral in the JSON of other programs, as this crate's types. Nothing is judged.

use crate::{Der, Evidence, EvidenceError, Paravisor, TdxCollateral, Tee};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The longest JSON of another program that is read, in bytes: collateral in hexadecimal has some 100 000.
pub const MAX_FOREIGN_JSON_BYTES: usize = 2 * 1024 * 1024;
const COLLATERAL: &str = "dcap-qvl's QuoteCollateralV3 (JSON)";
const AZURE: &str = "the JSON of Trustee's vTPM attesters";
/// Where an HCL report holds the hardware's report.
const HARDWARE_REPORT: std::ops::Range<usize> = 32..1216;

/// `QuoteCollateralV3` of dcap-qvl: lists and signatures in hexadecimal.
#[derive(Deserialize)]
struct QuoteCollateral {
    pck_crl_issuer_chain: String,
    root_ca_crl: String,
    pck_crl: String,
    tcb_info_issuer_chain: String,
    tcb_info: String,
    tcb_info_signature: String,
    qe_identity_issuer_chain: String,
    qe_identity: String,
    qe_identity_signature: String,
}

impl TdxCollateral {
    /// Reads collateral as dcap-qvl writes it (`QuoteCollateralV3`). Other keys, such as the PCK chain, are left out: a
    /// quote carries its own.
    ///
    /// # Errors
    /// [`EvidenceError::Format`] when it is something else, [`EvidenceError::Limit`] when it is too long.
    pub fn from_dcap_json(json: &[u8]) -> Result<Self, EvidenceError> {
        let read: QuoteCollateral = parse(json, COLLATERAL)?;
        let bytes = |text: &str| unhex(text, COLLATERAL).map(Der);
        Ok(Self {
            tcb_info_signature: bytes(&read.tcb_info_signature)?,
            qe_identity_signature: bytes(&read.qe_identity_signature)?,
            pck_crl: bytes(&read.pck_crl)?,
            root_ca_crl: bytes(&read.root_ca_crl)?,
            tcb_info: read.tcb_info,
            tcb_info_issuer_chain: read.tcb_info_issuer_chain,
            qe_identity: read.qe_identity,
            qe_identity_issuer_chain: read.qe_identity_issuer_chain,
            pck_crl_issuer_chain: read.pck_crl_issuer_chain,
        })
    }
}

/// What `az-snp-vtpm` and `az-tdx-vtpm` of Trustee's attesters write.
#[derive(Deserialize)]
struct AzureEvidence {
    tpm_quote: TpmQuote,
    hcl_report: String,
    vcek: Option<String>,
    td_quote: Option<String>,
}

#[derive(Deserialize)]
struct TpmQuote {
    message: String,
    signature: String,
    pcrs: Vec<String>,
}

impl Evidence {
    /// Reads evidence of a guest below Azure's paravisor as Trustee's attesters write it (`az-snp-vtpm`, `az-tdx-vtpm`).
    ///
    /// The SNP report is taken from the HCL report, which holds it. Of one that is cut short it is empty, which is for
    /// a verifier to refuse.
    ///
    /// # Errors
    /// [`EvidenceError::Format`] when it is something else or too long. The lists and items in it are held to their limits by
    /// [`check_limits`](Self::check_limits), which every judgement begins with.
    pub fn from_trustee_azure_json(json: &[u8]) -> Result<Self, EvidenceError> {
        let read: AzureEvidence = parse(json, AZURE)?;
        let base64 =
            |text: &str| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| format_error(AZURE));
        let hcl_report = base64(&read.hcl_report)?;
        let certificates = read.vcek.as_deref().map(base64).transpose()?.map(Der).into_iter().collect();
        let (tee, report) = match &read.td_quote {
            Some(quote) => (Tee::Tdx, base64(quote)?),
            None => (Tee::Snp, hcl_report.get(HARDWARE_REPORT).unwrap_or_default().to_vec()),
        };
        let quote = &read.tpm_quote;
        let paravisor = Paravisor {
            hcl_report,
            quote: unhex(&quote.message, AZURE)?,
            signature: unhex(&quote.signature, AZURE)?,
            pcrs: quote.pcrs.iter().map(|pcr| unhex(pcr, AZURE).map(Der)).collect::<Result<_, _>>()?,
        };
        // Limits of lists and items are for whoever judges; the whole text was held to its own above.
        let evidence = Self::snp(report, certificates);
        Ok(Self { tee, paravisor: Some(paravisor), ..evidence })
    }
}

fn parse<T: DeserializeOwned>(json: &[u8], wanted: &'static str) -> Result<T, EvidenceError> {
    if json.len() > MAX_FOREIGN_JSON_BYTES {
        return Err(EvidenceError::Limit { what: "JSON bytes", limit: MAX_FOREIGN_JSON_BYTES });
    }
    serde_json::from_slice(json).map_err(|_| format_error(wanted))
}

/// Hexadecimal of either case.
fn unhex(text: &str, wanted: &'static str) -> Result<Vec<u8>, EvidenceError> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).ok_or_else(|| format_error(wanted));
    text.as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => u8::try_from(digit(high)? << 4 | digit(low)?).map_err(|_| format_error(wanted)),
            _ => Err(format_error(wanted)),
        })
        .collect()
}

const fn format_error(wanted: &'static str) -> EvidenceError {
    EvidenceError::Format { wanted }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DCAP: &str = r#"{"pck_crl_issuer_chain":"a","root_ca_crl":"0a","pck_crl":"0B","tcb_info_issuer_chain":"b",
        "tcb_info":"{}","tcb_info_signature":"0c","qe_identity_issuer_chain":"c","qe_identity":"[]",
        "qe_identity_signature":"0d","pck_certificate_chain":"left out"}"#;

    #[test]
    fn reads_collateral_of_dcap_qvl_and_nothing_else() {
        let read = TdxCollateral::from_dcap_json(DCAP.as_bytes()).unwrap();
        assert_eq!((read.tcb_info.as_str(), read.qe_identity.as_str()), ("{}", "[]"));
        assert_eq!((read.root_ca_crl.0, read.pck_crl.0), (vec![10], vec![11]));
        assert_eq!((read.tcb_info_signature.0, read.qe_identity_signature.0), (vec![12], vec![13]));
        for bad in ["", "{}", &DCAP.replace("\"0a\"", "\"0\""), &DCAP.replace("\"0a\"", "\"zz\"")] {
            assert_eq!(
                TdxCollateral::from_dcap_json(bad.as_bytes()),
                Err(EvidenceError::Format { wanted: COLLATERAL }),
                "{bad}"
            );
        }
        let long = vec![b' '; MAX_FOREIGN_JSON_BYTES + 1];
        assert!(matches!(TdxCollateral::from_dcap_json(&long), Err(EvidenceError::Limit { .. })));
    }

    #[test]
    fn reads_what_trustee_s_azure_attesters_write_and_nothing_else() {
        let hcl = URL_SAFE_NO_PAD.encode([vec![1; 32], vec![2; 1184], vec![3; 9]].concat());
        let snp = format!(
            r#"{{"tpm_quote":{{"message":"01","signature":"02","pcrs":["03","04"]}},"hcl_report":"{hcl}","vcek":"AQI"}}"#
        );
        let read = Evidence::from_trustee_azure_json(snp.as_bytes()).unwrap();
        assert_eq!((read.tee, read.report), (Tee::Snp, vec![2; 1184]));
        assert_eq!(read.certificates, vec![Der(vec![1, 2])]);
        assert_eq!(read.paravisor.unwrap().pcrs, vec![Der(vec![3]), Der(vec![4])]);
        let tdx = snp.replace(r#""vcek":"AQI""#, r#""td_quote":"AQID""#);
        let read = Evidence::from_trustee_azure_json(tdx.as_bytes()).unwrap();
        assert_eq!((read.tee, read.report), (Tee::Tdx, vec![1, 2, 3]));
        for bad in ["", "{}", &snp.replace("AQI", "A QI"), &snp.replace("\"01\"", "\"1\"")] {
            assert_eq!(
                Evidence::from_trustee_azure_json(bad.as_bytes()),
                Err(EvidenceError::Format { wanted: AZURE }),
                "{bad}"
            );
        }
        let many = snp.replace(r#""03","04""#, &[r#""03""#; 25].join(","));
        let many = Evidence::from_trustee_azure_json(many.as_bytes()).unwrap();
        assert!(matches!(many.check_limits(), Err(EvidenceError::Limit { what: "pcrs", .. })));
    }
}

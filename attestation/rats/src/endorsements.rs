//! Signed statements of vendors about their parts, as they travel beside evidence.

use crate::{Der, EvidenceError};
use serde::{Deserialize, Serialize};

const MAX_CRLS: usize = 8;
const MAX_CRL_BYTES: usize = 256 * 1024;
const MAX_RIMS: usize = 32;
const MAX_RIM_BYTES: usize = 256 * 1024;
const MAX_OCSP: usize = 64;
const MAX_OCSP_BYTES: usize = 16 * 1024;
const MAX_TEXT_BYTES: usize = 64 * 1024;

/// What vendors say about the parts in the evidence. Untrusted until a verifier has checked the signatures, so it does
/// not matter who brought it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Endorsements {
    /// AMD's revocation lists, DER.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub snp_crls: Vec<Der>,
    /// Intel's collateral for the platform of a TDX quote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tdx: Option<TdxCollateral>,
    /// NVIDIA's reference integrity manifests, XML.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rims: Vec<Der>,
    /// OCSP responses about NVIDIA's certificates, DER.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ocsp: Vec<Der>,
}

/// Intel's answers for one platform (PCS API version 4), with the signed texts byte for byte as signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TdxCollateral {
    /// The `tcbInfo` object, exactly as signed.
    pub tcb_info: String,
    /// ECDSA P-256 signature over it, r and s, 64 bytes.
    pub tcb_info_signature: Der,
    /// PEM certificates of its signer, leaf first.
    pub tcb_info_issuer_chain: String,
    /// The `enclaveIdentity` object of the quoting enclave, exactly as signed.
    pub qe_identity: String,
    /// ECDSA P-256 signature over it, r and s, 64 bytes.
    pub qe_identity_signature: Der,
    /// PEM certificates of its signer, leaf first.
    pub qe_identity_issuer_chain: String,
    /// The revocation list of the CA that issued the PCK certificate, DER.
    pub pck_crl: Der,
    /// PEM certificates of its signer, leaf first.
    pub pck_crl_issuer_chain: String,
    /// The revocation list of Intel's root, DER.
    pub root_ca_crl: Der,
}

impl Endorsements {
    /// These, and `others` of each kind of which there are none here.
    #[must_use]
    pub fn or(self, others: &Self) -> Self {
        let list = |own: Vec<Der>, others: &Vec<Der>| if own.is_empty() { others.clone() } else { own };
        Self {
            snp_crls: list(self.snp_crls, &others.snp_crls),
            tdx: self.tdx.or_else(|| others.tdx.clone()),
            rims: list(self.rims, &others.rims),
            ocsp: list(self.ocsp, &others.ocsp),
        }
    }

    /// Holds the lists and items to their limits.
    ///
    /// # Errors
    /// [`EvidenceError::Limit`] naming the list or item.
    pub fn check_limits(&self) -> Result<(), EvidenceError> {
        let over = |items: &[Der], limit: usize| items.iter().any(|item| item.0.len() > limit);
        let mut rules = vec![
            (self.snp_crls.len() > MAX_CRLS, "revocation lists", MAX_CRLS),
            (over(&self.snp_crls, MAX_CRL_BYTES), "revocation list bytes", MAX_CRL_BYTES),
            (self.rims.len() > MAX_RIMS, "reference manifests", MAX_RIMS),
            (over(&self.rims, MAX_RIM_BYTES), "reference manifest bytes", MAX_RIM_BYTES),
            (self.ocsp.len() > MAX_OCSP, "ocsp responses", MAX_OCSP),
            (over(&self.ocsp, MAX_OCSP_BYTES), "ocsp response bytes", MAX_OCSP_BYTES),
        ];
        if let Some(tdx) = &self.tdx {
            let texts = [
                &tdx.tcb_info,
                &tdx.tcb_info_issuer_chain,
                &tdx.qe_identity,
                &tdx.qe_identity_issuer_chain,
                &tdx.pck_crl_issuer_chain,
            ];
            let longest_text = texts.map(String::len).into_iter().max();
            let longest_crl = tdx.pck_crl.0.len().max(tdx.root_ca_crl.0.len());
            rules.push((longest_text > Some(MAX_TEXT_BYTES), "collateral text bytes", MAX_TEXT_BYTES));
            rules.push((longest_crl > MAX_CRL_BYTES, "revocation list bytes", MAX_CRL_BYTES));
        }
        match rules.into_iter().find(|(broken, ..)| *broken) {
            Some((_, what, limit)) => Err(EvidenceError::Limit { what, limit }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_count_only_for_a_kind_of_which_there_are_none() {
        let one = |byte| vec![Der(vec![byte])];
        let own = Endorsements { rims: one(1), ..Endorsements::default() };
        let others = Endorsements { rims: one(2), ocsp: one(3), snp_crls: one(4), tdx: None };
        let both = own.or(&others);
        assert_eq!((both.rims, both.ocsp, both.snp_crls, both.tdx), (one(1), one(3), one(4), None));
    }

    #[test]
    fn case_09_refuses_excess() {
        let many = Endorsements { rims: vec![Der(vec![]); MAX_RIMS + 1], ..Endorsements::default() };
        assert_eq!(
            many.check_limits(),
            Err(EvidenceError::Limit { what: "reference manifests", limit: MAX_RIMS })
        );
        let long = Endorsements { ocsp: vec![Der(vec![0; MAX_OCSP_BYTES + 1])], ..Endorsements::default() };
        assert!(matches!(long.check_limits(), Err(EvidenceError::Limit { what: "ocsp response bytes", .. })));
        assert_eq!(Endorsements::default().check_limits(), Ok(()));
    }

    #[test]
    fn nothing_is_an_empty_object() {
        assert_eq!(serde_json::to_string(&Endorsements::default()).unwrap(), "{}");
        assert_eq!(serde_json::from_str::<Endorsements>("{}").unwrap(), Endorsements::default());
        assert!(serde_json::from_str::<Endorsements>(r#"{"crls":[]}"#).is_err());
    }
}

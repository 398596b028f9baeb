//! The folder of real samples, and one way to judge what is in it.

use crate::stops::assert_stops;
use anchorhold_rats::{Measurement, ReportData, TdxCollateral, Timestamp};
use anchorhold_verifier::tdx::{AuthenticQuote, Input, Policy, Quote, appraise, authenticate};
use anchorhold_verifier::{Accepted, Authentic, Refusal, TrustAnchors};
use std::path::PathBuf;

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The folder of real samples, or `None` where a developer does not have it. CI must have it.
pub(crate) fn samples() -> Option<PathBuf> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/evidence"));
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing", folder.display());
    eprintln!("skipped: no real samples at {}", folder.display());
    None
}

pub(crate) fn collateral_from_json(json: &[u8]) -> TdxCollateral {
    TdxCollateral::from_dcap_json(json).unwrap()
}

#[derive(Clone)]
pub(crate) struct Sample {
    pub(crate) id: String,
    pub(crate) expected: Vec<(Timestamp, String)>,
    pub(crate) fields: serde_json::Value,
    pub(crate) quote: Vec<u8>,
    pub(crate) collateral: Option<TdxCollateral>,
}

impl Sample {
    pub(crate) fn with_collateral_of(&self, other: &Self) -> Self {
        Self { collateral: other.collateral.clone(), ..self.clone() }
    }

    pub(crate) fn with_quote(&self, edit: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut quote = self.quote.clone();
        edit(&mut quote);
        Self { quote, ..self.clone() }
    }

    pub(crate) fn with_collateral(&self, edit: impl FnOnce(&mut TdxCollateral)) -> Self {
        let mut collateral = self.collateral.clone().unwrap();
        edit(&mut collateral);
        Self { collateral: Some(collateral), ..self.clone() }
    }

    pub(crate) fn authenticate(&self, at: Timestamp) -> Result<Authentic<AuthenticQuote>, Refusal> {
        let input = Input { quote: &self.quote, collateral: self.collateral.as_ref() };
        authenticate(&input, &TrustAnchors::production(), at)
    }

    /// The codes of all rules that authentication at the first stated time finds broken.
    pub(crate) fn refused(&self) -> Vec<String> {
        match self.authenticate(self.expected[0].0) {
            Ok(_) => Vec::new(),
            Err(refusal) => codes_of(&refusal),
        }
    }

    pub(crate) fn verify(
        &self,
        at: Timestamp,
        edit: impl FnOnce(&mut Policy),
    ) -> Result<Accepted<AuthenticQuote>, Refusal> {
        let authentic = self.authenticate(at)?;
        let mut policy = Policy::strict(vec![authentic.claims().body().mrtd]);
        edit(&mut policy);
        let report_data = authentic.claims().body().report_data;
        appraise(authentic, &policy, &report_data)
    }

    pub(crate) fn parsed(&self) -> Quote {
        Quote::parse(&self.quote).unwrap()
    }
}

/// The first rules of chain, signatures, collateral and levels.
const GATES: &[&str] =
    &["tdx_ca_signature", "tdx_qe_report_signature", "tdx_collateral_missing", "tdx_qe_mrsigner"];

pub(crate) fn codes_of(refusal: &Refusal) -> Vec<String> {
    assert_stops(refusal, GATES);
    if refusal.code().starts_with("tdx_signer_") {
        assert_stops(refusal, &["tdx_tcb_info_signature", "tdx_qe_identity_signature"]);
    }
    refusal.checks().failed().map(|check| check.code.to_string()).collect()
}

/// Every TDX sample with a quote, as its manifest describes it.
pub(crate) fn read_samples() -> Vec<Sample> {
    let Some(folder) = samples() else { return Vec::new() };
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    let read = |path: String| std::fs::read(folder.join(path)).ok();
    manifest["samples"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|sample| sample["platform"] == "tdx" && sample["fields"].is_object())
        .map(|sample| {
            let id = sample["id"].as_str().unwrap().to_string();
            let expected = sample["expected"].as_array().unwrap().iter();
            Sample {
                expected: expected
                    .map(|e| (at(e["at"].as_str().unwrap()), e["verdict"].as_str().unwrap().to_string()))
                    .collect(),
                fields: sample["fields"].clone(),
                quote: read(format!("{id}/quote.bin")).unwrap(),
                collateral: read(format!("{id}/collateral.json")).map(|json| collateral_from_json(&json)),
                id,
            }
        })
        .collect()
}

/// The collateral in this file below the folder of samples.
pub(crate) fn read_collateral(path: &str) -> Option<TdxCollateral> {
    samples().map(|folder| collateral_from_json(&std::fs::read(folder.join(path)).unwrap()))
}

pub(crate) fn sample(id: &str) -> Option<Sample> {
    read_samples().into_iter().find(|sample| sample.id == id)
}

/// The TD quote of Azure's sample of a TD below a paravisor, with its collateral.
pub(crate) fn azure() -> Option<Sample> {
    let folder = samples()?;
    Some(Sample {
        id: "azure/tdx-vtpm".to_string(),
        expected: vec![(at("2025-07-15T00:00:00Z"), "reject: policy".to_string())],
        fields: serde_json::Value::Null,
        quote: std::fs::read(folder.join("azure/tdx-vtpm/td-quote.bin")).unwrap(),
        collateral: read_collateral("azure/tdx-vtpm/collateral.json"),
    })
}

pub(crate) const OTHER_MRTD: Measurement = Measurement::new([7; 48]);
pub(crate) const OTHER_REPORT_DATA: ReportData = ReportData::new([0x5a; 64]);

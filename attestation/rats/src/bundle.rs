//! Evidence as a file: everything that is needed to judge it later and elsewhere.

use crate::{Endorsements, Evidence, EvidenceError, ReportData, Timestamp};
use serde::{Deserialize, Serialize};

/// The value of `format`. Keys are only ever added under one format.
pub const BUNDLE_FORMAT: &str = "urn:anchorhold:evidence:v1";
/// The longest bundle that is read, in bytes.
pub const MAX_BUNDLE_JSON_BYTES: usize = 16 * 1024 * 1024;

/// Evidence with its endorsements, so that it can be judged offline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceBundle {
    /// [`BUNDLE_FORMAT`].
    pub format: String,
    /// The evidence.
    pub evidence: Evidence,
    /// What vendors say about its parts.
    #[serde(default)]
    pub endorsements: Endorsements,
    /// The report data that the relying party expected, when it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report_data: Option<ReportData>,
    /// When the evidence was taken, by the clock of whoever wrote the file. A hint, not a proof.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<Timestamp>,
}

impl EvidenceBundle {
    /// Evidence and its endorsements.
    #[must_use]
    pub fn new(evidence: Evidence, endorsements: Endorsements) -> Self {
        Self { format: BUNDLE_FORMAT.to_owned(), evidence, endorsements, report_data: None, taken: None }
    }

    /// Reads a bundle and holds it to the limits of evidence and endorsements.
    ///
    /// # Errors
    /// [`EvidenceError`]; no error quotes the input.
    pub fn from_json(json: &[u8]) -> Result<Self, EvidenceError> {
        if json.len() > MAX_BUNDLE_JSON_BYTES {
            return Err(EvidenceError::Limit { what: "bundle bytes", limit: MAX_BUNDLE_JSON_BYTES });
        }
        let bundle: Self = serde_json::from_slice(json)
            .map_err(|e| EvidenceError::Malformed { line: e.line(), column: e.column() })?;
        if bundle.format != BUNDLE_FORMAT {
            return Err(EvidenceError::Format { wanted: BUNDLE_FORMAT });
        }
        bundle.evidence.check_limits()?;
        bundle.endorsements.check_limits()?;
        Ok(bundle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Der;

    #[test]
    fn reads_what_it_writes_and_refuses_other_formats() {
        let evidence = Evidence::snp(vec![1], vec![Der(vec![2])]);
        let mut bundle = EvidenceBundle::new(evidence, Endorsements::default());
        bundle.report_data = Some(ReportData::new([3; 64]));
        let json = serde_json::to_vec(&bundle).unwrap();
        assert_eq!(EvidenceBundle::from_json(&json), Ok(bundle.clone()));
        bundle.format = "urn:anchorhold:evidence:v2".into();
        let json = serde_json::to_vec(&bundle).unwrap();
        assert_eq!(EvidenceBundle::from_json(&json), Err(EvidenceError::Format { wanted: BUNDLE_FORMAT }));
    }
}

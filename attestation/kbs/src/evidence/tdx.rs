//! `attester/src/tdx`: a quote and an event log.

use super::{ReadEvidence, ReadEvidenceError, parse};
use anchorhold_rats::{Der, Endorsements, Evidence};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::Value;

const WANTED: &str = "the tdx attester";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TdxEvidence {
    /// The CCEL table's data, and behind its events those of the attestation agent.
    cc_eventlog: Option<String>,
    quote: String,
}

pub(super) fn read(json: &str) -> Result<ReadEvidence, ReadEvidenceError> {
    let read: TdxEvidence = parse(json, WANTED)?;
    let base64 =
        |text: &str| STANDARD.decode(text).map_err(|_| ReadEvidenceError::Malformed { wanted: WANTED });
    let mut evidence = Evidence::tdx(base64(&read.quote)?);
    // A guest without a log writes nothing or an empty text.
    let log = read.cc_eventlog.filter(|log| !log.is_empty());
    evidence.event_log = log.as_deref().map(base64).transpose()?.map(Der);
    Ok(ReadEvidence { evidence, endorsements: Endorsements::default(), binds_user_data: false })
}

pub(super) fn write(evidence: &Evidence) -> Value {
    let cc_eventlog = evidence.event_log.as_ref().map(|log| STANDARD.encode(&log.0));
    let written = TdxEvidence { cc_eventlog, quote: STANDARD.encode(&evidence.report) };
    serde_json::to_value(written).expect("texts are JSON")
}

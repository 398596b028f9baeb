//! Evidence, documents and receipts.

use anchorhold_rats::{Ed25519PublicKey, Nonce, ReportData, Secret, Sha256Digest, Timestamp};
use anchorhold_relying_party::{
    Accepted, Exchange, Trust, endorsements, judge_document, judge_evidence, judge_note, judge_receipt,
};
use pyo3::exceptions::PyValueError;
use pyo3::{PyErr, PyResult, Python, pyfunction};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Display;

pub(crate) fn value_error(error: impl Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}

pub(crate) fn json(value: &impl Serialize) -> PyResult<String> {
    serde_json::to_string(value).map_err(value_error)
}

pub(crate) fn trust(accepted: &str, at: &str) -> PyResult<Trust> {
    let at: Timestamp = at.parse().map_err(value_error)?;
    Accepted::from_json(accepted).and_then(|accepted| accepted.trust(at)).map_err(value_error)
}

/// Judges an evidence bundle, JSON, for 64 bytes of report data.
#[pyfunction]
pub(crate) fn verify_evidence(
    py: Python<'_>,
    bundle: &[u8],
    report_data: &[u8],
    accepted: &str,
    at: &str,
) -> PyResult<String> {
    let report_data = ReportData::try_from(report_data).map_err(value_error)?;
    let trust = trust(accepted, at)?;
    json(&py.detach(|| judge_evidence(bundle, &report_data, &trust)).map_err(value_error)?)
}

/// Judges an attestation document for its nonce and, where it is known, the key of the connection.
#[pyfunction]
#[pyo3(signature = (target, document, nonce, tls_key, bundle, accepted, at))]
#[expect(clippy::too_many_arguments, reason = "Python's own function in __init__.py takes names")]
pub(crate) fn verify_document(
    py: Python<'_>,
    target: &str,
    document: &[u8],
    nonce: &[u8],
    tls_key: Option<&[u8]>,
    bundle: Option<&[u8]>,
    accepted: &str,
    at: &str,
) -> PyResult<String> {
    let nonce = Nonce::try_from(nonce).map_err(value_error)?;
    let tls_key = tls_key.map(Sha256Digest::try_from).transpose().map_err(value_error)?;
    let endorsements = endorsements(bundle).map_err(value_error)?;
    let trust = trust(accepted, at)?;
    let judge = || judge_document((target, document), nonce, tls_key, &endorsements, &trust).document;
    json(&py.detach(judge))
}

/// Judges a receipt for the audit key of a guest and, where all three are given, for the bodies of the request.
#[pyfunction]
#[pyo3(signature = (receipt, audit_key, request=None, response=None, receipt_key=None))]
pub(crate) fn verify_receipt(
    receipt: &str,
    audit_key: &[u8],
    request: Option<&[u8]>,
    response: Option<&[u8]>,
    receipt_key: Option<&[u8]>,
) -> PyResult<String> {
    let audit_key = Ed25519PublicKey::try_from(audit_key).map_err(value_error)?;
    let unread = || value_error("the receipt key is not 32 bytes");
    let receipt_key = receipt_key.map(|bytes| Secret::copy_from(bytes).ok_or_else(unread)).transpose()?;
    let exchange = match (request, response, &receipt_key) {
        (Some(request), Some(response), Some(key)) => Some(Exchange { request, response, key }),
        (None, None, None) => None,
        _ => return Err(value_error("request, response and receipt key go together")),
    };
    json(&judge_receipt(receipt, &audit_key, exchange.as_ref()))
}

/// Judges a signed note for a log's key, and its text as a checkpoint.
#[pyfunction]
pub(crate) fn verify_note(note: &[u8], key: &str) -> PyResult<String> {
    json(&judge_note(note, key).map_err(value_error)?)
}

/// Judges one case of a folder of cases: every rule that was looked at.
#[pyfunction]
pub(crate) fn judge_case(py: Python<'_>, case: &str, files: BTreeMap<String, Vec<u8>>) -> PyResult<String> {
    json(&py.detach(|| anchorhold_vectors::judge_case(case, files)).map_err(value_error)?)
}

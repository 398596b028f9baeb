//! Evidence, documents and receipts.

use crate::thrown;
use anchorhold_rats::{Ed25519PublicKey, Nonce, ReportData, Secret, Sha256Digest, Timestamp};
use anchorhold_relying_party::{
    Accepted, Exchange, Trust, endorsements, judge_document, judge_evidence, judge_note, judge_receipt,
};
use serde::Serialize;
use std::collections::BTreeMap;
use wasm_bindgen::JsError;
use wasm_bindgen::prelude::wasm_bindgen;

/// The most files of one case, and the most bytes of all of them.
const MAX_CASE_FILES: usize = 64;
const MAX_CASE_BYTES: usize = 64 * 1024 * 1024;

fn trust(accepted: &str, at: &str) -> Result<Trust, JsError> {
    let at: Timestamp = at.parse().map_err(thrown)?;
    Accepted::from_json(accepted).and_then(|accepted| accepted.trust(at)).map_err(thrown)
}

fn json(value: &impl Serialize) -> Result<String, JsError> {
    serde_json::to_string(value).map_err(thrown)
}

/// Judges an evidence bundle, JSON, for the 64 bytes of report data that the caller asked for. The outcome is JSON.
///
/// # Errors
/// When the bundle, `accepted` or `at` cannot be read.
#[wasm_bindgen(js_name = verifyEvidence)]
pub fn verify_evidence(
    bundle: &[u8],
    report_data: &[u8],
    accepted: &str,
    at: &str,
) -> Result<String, JsError> {
    let report_data = ReportData::try_from(report_data).map_err(thrown)?;
    json(&judge_evidence(bundle, &report_data, &trust(accepted, at)?).map_err(thrown)?)
}

/// Judges an attestation document for the nonce that it was asked for with, and for the key of the connection where the caller knows it,
/// as a browser does not. `bundle` holds endorsements. The outcome is JSON.
///
/// # Errors
/// When nonce, key, bundle, `accepted` or `at` cannot be read.
#[wasm_bindgen(js_name = verifyDocument)]
#[expect(
    clippy::too_many_arguments,
    reason = "JavaScript has no tuples; people call index.js, which takes names"
)]
pub fn verify_document(
    target: &str,
    document: &[u8],
    nonce: &[u8],
    tls_key: Option<Vec<u8>>,
    bundle: Option<Vec<u8>>,
    accepted: &str,
    at: &str,
) -> Result<String, JsError> {
    let nonce = Nonce::try_from(nonce).map_err(thrown)?;
    let tls_key = tls_key.as_deref().map(Sha256Digest::try_from).transpose().map_err(thrown)?;
    let endorsements = endorsements(bundle.as_deref()).map_err(thrown)?;
    json(&judge_document((target, document), nonce, tls_key, &endorsements, &trust(accepted, at)?).document)
}

/// Judges a receipt for the audit key of an attested guest and, where all three are given, for the bodies of the request under the
/// request's receipt key. The outcome is JSON.
///
/// # Errors
/// When a key cannot be read, or only some of the three are given.
#[wasm_bindgen(js_name = verifyReceipt)]
pub fn verify_receipt(
    receipt: &str,
    audit_key: &[u8],
    request: Option<Vec<u8>>,
    response: Option<Vec<u8>>,
    receipt_key: Option<Vec<u8>>,
) -> Result<String, JsError> {
    let audit_key = Ed25519PublicKey::try_from(audit_key).map_err(thrown)?;
    let receipt_key = receipt_key.map(|bytes| {
        Secret::copy_from(&bytes).ok_or_else(|| JsError::new("the receipt key is not 32 bytes"))
    });
    let receipt_key = receipt_key.transpose()?;
    let exchange = match (&request, &response, &receipt_key) {
        (Some(request), Some(response), Some(key)) => Some(Exchange { request, response, key }),
        (None, None, None) => None,
        _ => return Err(JsError::new("request, response and receipt key go together")),
    };
    json(&judge_receipt(receipt, &audit_key, exchange.as_ref()))
}

/// Judges a signed note for a log's key, and its text as a checkpoint. The outcome is JSON.
///
/// # Errors
/// When the key cannot be read.
#[wasm_bindgen(js_name = verifyNote)]
pub fn verify_note(note: &[u8], key: &str) -> Result<String, JsError> {
    json(&judge_note(note, key).map_err(thrown)?)
}

/// One case of a folder of cases (`attestation/vectors/MANIFEST.md`), so that anyone can hold this very module to them.
#[wasm_bindgen]
#[derive(Debug)]
pub struct VectorCase {
    case: String,
    files: BTreeMap<String, Vec<u8>>,
}

#[wasm_bindgen]
impl VectorCase {
    /// The case's entry in the manifest, JSON.
    #[wasm_bindgen(constructor)]
    pub fn new(case: String) -> Self {
        Self { case, files: BTreeMap::new() }
    }

    /// The bytes of the file of a role.
    ///
    /// # Errors
    /// When there are too many.
    pub fn file(&mut self, role: String, bytes: Vec<u8>) -> Result<(), JsError> {
        let total: usize = self.files.values().map(Vec::len).sum();
        if self.files.len() >= MAX_CASE_FILES || total.saturating_add(bytes.len()) > MAX_CASE_BYTES {
            return Err(JsError::new("more files than a case has"));
        }
        self.files.insert(role, bytes);
        Ok(())
    }

    /// Every rule that was looked at, JSON.
    ///
    /// # Errors
    /// When the case cannot be read.
    pub fn judge(self) -> Result<String, JsError> {
        json(&anchorhold_vectors::judge_case(&self.case, self.files).map_err(thrown)?)
    }
}

//! The verification document: what a verification looked at and how it ended, for scripts and archives.

use crate::AttestedServer;
use crate::document::{DocumentKeys, DocumentState};
use anchorhold_evaluation::Verdict;
use anchorhold_rats::{Checks, Measurement, Sha256Digest, Timestamp};
use serde::Serialize;

/// The value of `format`. Keys are only ever added under one format.
pub const VERIFICATION_FORMAT: &str = "urn:anchorhold:verification:v1";

/// What a verification looked at and how it ended. A report and not a pass: reading one back proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerificationDocument {
    /// [`VERIFICATION_FORMAT`].
    pub format: &'static str,
    /// The server or file.
    pub target: String,
    /// The time for which it was judged.
    pub at: Timestamp,
    /// How it ended.
    pub verdict: Verdict,
    /// Whether the trust anchors are not AMD's. Then nothing is protected, whatever the verdict.
    pub simulated: bool,
    /// SHA-256 of the attestation document.
    pub document_digest: Sha256Digest,
    /// The launch digest; only of an accepted server.
    pub measurement: Option<Measurement>,
    /// The product line; only of an accepted server.
    pub product: Option<String>,
    /// The reported TCB; only of an accepted server.
    pub tcb: Option<String>,
    /// The guest's public keys; only of an accepted server.
    pub keys: Option<DocumentKeys>,
    /// What it serves; only of an accepted server.
    pub state: Option<DocumentState>,
    /// From when on new evidence is needed; only of an accepted server.
    pub expires: Option<Timestamp>,
    /// Every rule in order.
    pub checks: Checks,
}

/// What a verification was about, for the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The server or file.
    pub target: String,
    /// The time for which it was judged.
    pub at: Timestamp,
    /// Whether the trust anchors are not AMD's.
    pub simulated: bool,
    /// SHA-256 of the attestation document.
    pub document_digest: Sha256Digest,
}

impl VerificationDocument {
    /// For a server that was accepted.
    #[must_use]
    pub fn accepted(subject: Subject, server: &AttestedServer) -> Self {
        let result = server.result();
        Self {
            measurement: Some(result.measurement()),
            product: Some(result.claims().tee.product()),
            tcb: Some(result.claims().tee.tcb()),
            keys: Some(*server.keys()),
            state: Some(server.state().clone()),
            expires: Some(server.expires()),
            ..Self::refused(subject, server.checks())
        }
    }

    /// For checks without an accepted server.
    #[must_use]
    pub fn refused(subject: Subject, checks: &Checks) -> Self {
        Self {
            format: VERIFICATION_FORMAT,
            target: subject.target,
            at: subject.at,
            verdict: Verdict::of(checks),
            simulated: subject.simulated,
            document_digest: subject.document_digest,
            measurement: None,
            product: None,
            tcb: None,
            keys: None,
            state: None,
            expires: None,
            checks: checks.clone(),
        }
    }
}

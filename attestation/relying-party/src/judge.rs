//! One judgement of evidence or of a document.

use crate::accepted::{Error, Trust};
use anchorhold_document::document::Presented;
use anchorhold_document::{
    AttestedServer, Subject, VerificationDocument, verify_document, verify_relayed_document,
};
use anchorhold_evaluation::Evaluation;
use anchorhold_rats::{Endorsements, EvidenceBundle, Expected, Nonce, ReportData, Sha256Digest};
use anchorhold_verifier::{appraise, authenticate};

/// Judges a bundle, JSON, for the report data that the caller asked for. What the bundle itself says of report data is what whoever
/// wrote it says, and does not count.
///
/// # Errors
/// [`Error::Bundle`] when it cannot be read; evidence that is refused is an [`Evaluation`].
pub fn judge_evidence(bundle: &[u8], report_data: &ReportData, trust: &Trust) -> Result<Evaluation, Error> {
    let EvidenceBundle { evidence, endorsements, .. } = EvidenceBundle::from_json(bundle)?;
    let outcome = authenticate(&evidence, &endorsements, &trust.anchors, trust.at)
        .and_then(|authentic| appraise(authentic, &trust.policy, &Expected::from(*report_data)));
    let evaluation = Evaluation::of(evidence.tee, &outcome, trust.at, trust.anchors.are_simulated());
    Ok(evaluation.by(trust.profile.clone()))
}

/// The endorsements of a bundle, JSON; none where there is no bundle.
///
/// # Errors
/// [`Error::Bundle`].
pub fn endorsements(bundle: Option<&[u8]>) -> Result<Endorsements, Error> {
    let read = |json| Ok(EvidenceBundle::from_json(json)?.endorsements);
    bundle.map_or_else(|| Ok(Endorsements::default()), read)
}

/// A document's judgement.
#[derive(Debug)]
pub struct Judged {
    /// The outcome as text.
    pub document: VerificationDocument,
    /// The server; only of an accepted document.
    pub server: Option<AttestedServer>,
}

/// Judges the bytes of a document that was asked for with `nonce`. `tls_key` is the key that the peer has shown on the connection;
/// where another party ends TLS, or the caller cannot see the key, as in a browser, there is none, and only the keys that the document names
/// may be relied on. `target` names the server in the outcome.
#[must_use]
pub fn judge_document(
    (target, document): (&str, &[u8]),
    nonce: Nonce,
    tls_key: Option<Sha256Digest>,
    endorsements: &Endorsements,
    trust: &Trust,
) -> Judged {
    let Trust { anchors, policy, at, .. } = trust;
    let subject = Subject {
        target: target.to_owned(),
        at: *at,
        simulated: anchors.are_simulated(),
        document_digest: Sha256Digest::of(document),
    };
    let judged = match tls_key {
        Some(tls_key) => {
            verify_document(&Presented { document, nonce, tls_key }, endorsements, anchors, policy, *at)
        }
        None => verify_relayed_document((document, nonce), endorsements, anchors, policy, *at),
    };
    match judged {
        Ok(server) => {
            Judged { document: VerificationDocument::accepted(subject, &server), server: Some(server) }
        }
        Err(refusal) => {
            Judged { document: VerificationDocument::refused(subject, refusal.checks()), server: None }
        }
    }
}

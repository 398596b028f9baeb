//! The judgement of an attestation document, and the value that stands for having passed it.

use crate::document::{self, Document, DocumentKeys, DocumentState, Presented, Refusal};
use anchorhold_rats::{Checks, Endorsements, Nonce, Sha256Digest, Stage, Timestamp};
use anchorhold_verifier::{AppraisalPolicy, AttestationResult, TrustAnchors, appraise, authenticate};

/// The key of the connection is the one in the document.
const TLS_KEY_BOUND: (Stage, &str) = (Stage::Binding, "tls_key_bound");

/// A server whose document passed every check. Made by [`verify_document`] and [`verify_relayed_document`] and nothing else.
#[derive(Debug)]
pub struct AttestedServer {
    result: AttestationResult,
    keys: DocumentKeys,
    state: DocumentState,
    document_digest: Sha256Digest,
    checks: Checks,
}

impl AttestedServer {
    /// What the verifier found.
    #[must_use]
    pub const fn result(&self) -> &AttestationResult {
        &self.result
    }

    /// The guest's public keys, among them its TLS key.
    #[must_use]
    pub const fn keys(&self) -> &DocumentKeys {
        &self.keys
    }

    /// What the guest says it does; it says so under the measurement of [`result`](Self::result).
    #[must_use]
    pub const fn state(&self) -> &DocumentState {
        &self.state
    }

    /// SHA-256 of the document.
    #[must_use]
    pub const fn document_digest(&self) -> Sha256Digest {
        self.document_digest
    }

    /// Every rule that was looked at, of the document and of the evidence.
    #[must_use]
    pub const fn checks(&self) -> &Checks {
        &self.checks
    }

    /// The earliest end of the evidence's certificates.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.result.expires()
    }
}

/// Judges a document for the connection it came over, with what vendors say about the parts in its evidence: nothing for
/// SEV-SNP unless the policy asks for revocation lists, collateral for TDX, manifests and OCSP responses for GPUs. Of a kind of
/// which there is nothing in `endorsements`, the document's own count.
///
/// *Establishes*: whoever holds `presented.tls_key` runs in a guest that `policy` accepts, made this document after
/// it saw `presented.nonce`, and holds the other keys in it. *Presumes*: the nonce was random and used once; the peer has
/// shown possession of `presented.tls_key` in a TLS 1.3 handshake; `at` is the present.
///
/// # Errors
/// [`Refusal`] with every rule that was looked at, boxed because it is large.
pub fn verify_document(
    presented: &Presented<'_>,
    endorsements: &Endorsements,
    anchors: &TrustAnchors,
    policy: &AppraisalPolicy,
    at: Timestamp,
) -> Result<AttestedServer, Box<Refusal>> {
    let Presented { document, nonce, tls_key } = *presented;
    judge((document, nonce, Some(tls_key)), endorsements, anchors, policy, at)
}

/// Judges a document of whose connection nothing is known, because somebody else ends TLS on the way, or because the caller cannot see
/// the key, as in a browser. The rule `tls_key_bound` is skipped.
///
/// *Establishes*: a guest that `policy` accepts made this document after it saw `nonce` and holds the keys in it, the TLS key among them.
/// It does *not* establish that anything which came over the caller's connection is the guest's: encrypt to the body keys, or
/// connect to the TLS key. *Presumes*: the nonce was random and used once; `at` is the present.
///
/// # Errors
/// [`Refusal`] with every rule that was looked at, boxed because it is large.
pub fn verify_relayed_document(
    (document, nonce): (&[u8], Nonce),
    endorsements: &Endorsements,
    anchors: &TrustAnchors,
    policy: &AppraisalPolicy,
    at: Timestamp,
) -> Result<AttestedServer, Box<Refusal>> {
    judge((document, nonce, None), endorsements, anchors, policy, at)
}

/// The judgement, with the key of the connection where it is known.
fn judge(
    (bytes, nonce, connection): (&[u8], Nonce, Option<Sha256Digest>),
    endorsements: &Endorsements,
    anchors: &TrustAnchors,
    policy: &AppraisalPolicy,
    at: Timestamp,
) -> Result<AttestedServer, Box<Refusal>> {
    let mut checks = Checks::new();
    let (document, state) = read(bytes, &mut checks)?;
    checks.record(
        (Stage::Binding, "document_nonce"),
        document.nonce() == nonce,
        nonce.to_string(),
        document.nonce().to_string(),
    );
    let named = document.keys().tls_key;
    match connection {
        Some(tls_key) => {
            checks.record(
                TLS_KEY_BOUND,
                named == tls_key,
                format!("{tls_key} (key of this connection)"),
                format!("{named} (key in the document)"),
            );
        }
        None => checks.skip(
            TLS_KEY_BOUND,
            "the key of the connection",
            "not known: only keys in the document count",
        ),
    }
    // What is known first hand goes into the binding, so that the signed report decides, not the text around it.
    let keys = DocumentKeys { tls_key: connection.unwrap_or(named), ..*document.keys() };
    let binding = document::binding(nonce, &keys, document.state_json(), document.evidence().gpu_digest());
    // What the relying party has comes first; the document's own fills in for kinds that it has nothing of.
    let endorsements = match document.endorsements() {
        Some(brought) => &endorsements.clone().or(brought),
        None => endorsements,
    };
    let judged = authenticate(document.evidence(), endorsements, anchors, at)
        .and_then(|evidence| appraise(evidence, policy, &binding.expected()));
    match judged {
        Ok(result) if checks.none_failed() => {
            checks.append(result.checks().clone());
            let document_digest = Sha256Digest::of(bytes);
            Ok(AttestedServer { result, keys, state, document_digest, checks })
        }
        Ok(result) => {
            checks.append(result.checks().clone());
            Err(Box::new(Refusal::new(checks)))
        }
        Err(refusal) => {
            checks.append(refusal.checks().clone());
            Err(Box::new(Refusal::new(checks)))
        }
    }
}

/// Reads document and state; each is one check.
fn read(bytes: &[u8], checks: &mut Checks) -> Result<(Document, DocumentState), Box<Refusal>> {
    let mut step = |code: &'static str, wanted: &str, error: Option<String>| {
        checks.record(
            (Stage::Parse, code),
            error.is_none(),
            wanted,
            error.unwrap_or_else(|| wanted.to_owned()),
        );
    };
    let document = Document::from_json(bytes);
    step("document_format", document::FORMAT, document.as_ref().err().map(ToString::to_string));
    let state = document.as_ref().ok().map(Document::state);
    if let Some(state) = &state {
        step("document_state", "state within its limits", state.as_ref().err().map(ToString::to_string));
    }
    match (document, state) {
        (Ok(document), Some(Ok(state))) => Ok((document, state)),
        _ => Err(Box::new(Refusal::new(std::mem::take(checks)))),
    }
}

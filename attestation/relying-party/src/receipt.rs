//! Receipts: who signed one, and what it is about.

use anchorhold_audit_log::{Hash, PublicKey, RECEIPT_KEY_BYTES, ReceiptError, SignedReceipt, split_stream};
use anchorhold_document::AttestedServer;
use anchorhold_evaluation::Verdict;
use anchorhold_rats::{Checks, Ed25519PublicKey, Secret, Sha256Digest, Stage};
use serde::Serialize;

/// The value of `format`. Keys are only ever added under one format.
pub const RECEIPT_FORMAT: &str = "urn:anchorhold:receipt-verification:v1";

/// What the caller has of the request that a receipt is about.
#[derive(Debug, Clone, Copy)]
pub struct Exchange<'a> {
    /// The body that was sent, byte for byte; empty for a request without one.
    pub request: &'a [u8],
    /// The body that came back, byte for byte; a stream with its comments.
    pub response: &'a [u8],
    /// The key of this one request.
    pub key: &'a Secret<RECEIPT_KEY_BYTES>,
}

/// What the caller wants a receipt to say of the guest, without a document or beside it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted {
    /// SHA-256 of the SELinux policy that the guest's kernel enforced.
    pub selinux_policy: Option<Sha256Digest>,
    /// SHA-256 of the release policy under which the model's key was granted.
    pub release_policy: Option<Sha256Digest>,
}

impl Wanted {
    /// Records whether the receipt says so. What it does not say, it does not say as wanted.
    pub fn of(&self, receipt: &SignedReceipt, checks: &mut Checks) {
        let release_policy = receipt.model.as_ref().and_then(|model| model.policy_digest);
        for (code, wanted, said) in [
            ("receipt_selinux_policy", self.selinux_policy, receipt.selinux_policy),
            ("receipt_release_policy", self.release_policy, release_policy),
        ] {
            let Some(wanted) = wanted else { continue };
            let (wanted, said) = (wanted.to_string(), text(said));
            checks.record((Stage::Policy, code), wanted == said, wanted.clone(), said);
        }
    }
}

fn text(digest: Option<Hash>) -> String {
    digest.map_or_else(|| "none".to_owned(), |digest| digest.to_string())
}

/// The outcome, for scripts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReceiptVerification {
    /// [`RECEIPT_FORMAT`].
    pub format: &'static str,
    /// How it ended.
    pub verdict: Verdict,
    /// What the receipt says; only of an accepted one.
    pub receipt: Option<SignedReceipt>,
    /// Every rule in order.
    pub checks: Checks,
}

impl ReceiptVerification {
    /// The outcome of these checks.
    #[must_use]
    pub fn of(receipt: Option<SignedReceipt>, checks: Checks) -> Self {
        let verdict = Verdict::of(&checks);
        let receipt = receipt.filter(|_| verdict == Verdict::Accepted);
        Self { format: RECEIPT_FORMAT, verdict, receipt, checks }
    }
}

/// Judges the text of a receipt for the audit key of a guest.
///
/// *Establishes*: the holder of `audit_key` said this, of this exchange where there is one. *Presumes*: an attestation document
/// vouches for `audit_key`.
#[must_use]
pub fn judge_receipt(
    text: &str,
    audit_key: &Ed25519PublicKey,
    exchange: Option<&Exchange<'_>>,
) -> ReceiptVerification {
    let mut checks = Checks::new();
    let receipt = verify_receipt(text, (audit_key, None), exchange, &mut checks);
    ReceiptVerification::of(receipt, checks)
}

/// The receipt, when its signature was found good; what else is wrong shows in `checks`. Where the guest of the key is attested, the
/// receipt has to be about that guest.
pub fn verify_receipt(
    text: &str,
    (audit_key, server): (&Ed25519PublicKey, Option<&AttestedServer>),
    exchange: Option<&Exchange<'_>>,
    checks: &mut Checks,
) -> Option<SignedReceipt> {
    let read = SignedReceipt::verify(text.trim(), &PublicKey::new(*audit_key.as_bytes()));
    let signed = "signed by the audit key";
    let observed = read.as_ref().map_or_else(ReceiptError::to_string, |_| signed.to_owned());
    checks.record((Stage::Signature, "receipt_signature"), read.is_ok(), signed, observed);
    let receipt = read.ok()?;
    if let Some(server) = server {
        about_guest(checks, &receipt, server);
    }
    if let Some(Exchange { request, response, key }) = exchange {
        let split = split_stream(response);
        let committed = split.as_ref().map_or(*response, |(_, rest)| rest);
        let opens = receipt.commitments.opens(key.expose(), request, committed);
        let wanted = "commitments to these bodies under this key";
        let observed = if opens { wanted } else { "commitments to other bodies, or under another key" };
        checks.record((Stage::Binding, "receipt_commitments"), opens, wanted, observed);
    }
    Some(receipt)
}

fn about_guest(checks: &mut Checks, receipt: &SignedReceipt, server: &AttestedServer) {
    let (measured, log) = (server.result().measurement().to_string(), &server.state().audit.origin);
    let (says, named) = (receipt.measurement.to_string(), receipt.origin.as_str());
    checks.record((Stage::Binding, "receipt_measurement"), measured == says, measured.clone(), says.clone());
    checks.record((Stage::Binding, "receipt_log"), log == named, log.clone(), named);
    // One process of the guest says both, once and for all, when it starts.
    let runtime = server.state().runtime.as_ref().and_then(|claims| claims.selinux_policy);
    let (claimed, said) = (
        runtime.map_or_else(|| "none".to_owned(), |digest| digest.to_string()),
        text(receipt.selinux_policy),
    );
    checks.record((Stage::Binding, "receipt_selinux_policy"), claimed == said, claimed.clone(), said);
    let judged = server.result().claims().gpus.iter().map(|gpu| gpu.pdi().to_string());
    let named = receipt.gpus.iter().map(ToString::to_string);
    let (judged, named) = (listed(judged), listed(named));
    checks.record((Stage::Binding, "receipt_gpus"), judged == named, judged.clone(), named);
}

fn listed(names: impl Iterator<Item = String>) -> String {
    let all = names.collect::<Vec<_>>().join(", ");
    if all.is_empty() { "none".to_owned() } else { all }
}

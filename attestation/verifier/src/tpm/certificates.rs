//! The certificates of a TPM's key, up to a root that only a policy can name.
//!
//! Who certifies a quoting key has seen that it is a key of a TPM that he knows, by credential activation or on his own bench; nothing
//! here repeats that. Source: *TCG EK Credential Profile* 2.5 and *TPM 2.0 Keys for Device Identity and Attestation* 1.0, section
//! 8 (attestation keys, extended key usage 2.23.133.8.3).

use super::codes;
use crate::der::{self, Reader};
use crate::x509::{Certificate, PublicKey};
use anchorhold_rats::{Checks, Der, Sha256Digest, Timestamp};

const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
/// 2.23.133.8.3, tcg-kp-AIKCertificate.
const ATTESTATION_KEY: &[u8] = &[0x67, 0x81, 0x05, 0x08, 0x03];

/// The SHA-256 digest of the root's certificate, if these certify the key with this point, leaf first and root last, at the time `at`;
/// `None` when a rule failed.
pub(super) fn judge(
    presented: &[Der],
    point: &[u8],
    at: Timestamp,
    checks: &mut Checks,
) -> Option<Sha256Digest> {
    let read: Result<Vec<Certificate<'_>>, _> =
        presented.iter().map(|der| Certificate::parse(&der.0)).collect();
    let observed =
        read.as_ref().map_or_else(ToString::to_string, |all| format!("{} certificates", all.len()));
    let wanted = "X.509 certificates, the key's first and its root last";
    let is_chain = read.as_ref().is_ok_and(|all| all.len() >= 2);
    if !checks.record(codes::CERTIFICATES, is_chain, wanted, observed) {
        return None;
    }
    let all = read.ok()?;
    let leaf = all.first()?;
    let is_key = leaf.public_key == PublicKey::P256(point);
    let observed = if is_key { "of the key" } else { "of another key" };
    let mut sound =
        checks.record(codes::CERTIFIED_KEY, is_key, "a certificate of the key that quotes", observed);
    let is_use =
        leaf.authority.may_sign_data() && leaf.extension(EXTENDED_KEY_USAGE).is_some_and(is_for_attestation);
    let observed = if is_use { "stated" } else { "not stated, or a certificate authority" };
    sound &= checks.record(codes::CERTIFIED_USE, is_use, "extended key usage 2.23.133.8.3", observed);
    let fault = all.iter().enumerate().find_map(|(index, certificate)| {
        // The last one is its own issuer.
        let issuer = all.get(index + 1).unwrap_or(certificate);
        fault(certificate, issuer, index, at).map(|what| format!("certificate {index} {what}"))
    });
    let observed = fault.clone().unwrap_or_else(|| "sound".to_owned());
    sound &= checks.record(
        codes::CHAIN,
        fault.is_none(),
        "each valid, and issued by the next, the last by itself",
        observed,
    );
    sound.then(|| presented.last().map(|root| Sha256Digest::of(&root.0))).flatten()
}

/// What is wrong with a certificate, which `below` others stand before, and its issuer.
fn fault(
    certificate: &Certificate<'_>,
    issuer: &Certificate<'_>,
    below: usize,
    at: Timestamp,
) -> Option<&'static str> {
    if !certificate.is_valid_at(at) {
        return Some("is not valid now");
    }
    if certificate.issuer != issuer.subject {
        return Some("names another issuer");
    }
    // Below the issuer of certificate N stand N certificate authorities: all before it but the key's own. The root is its own issuer.
    if !issuer.authority.may_issue(below.saturating_sub(usize::from(certificate == issuer))) {
        return Some("is issued by what may not issue it");
    }
    (!certificate.verify_signature(&issuer.public_key)).then_some("is not signed by its issuer")
}

/// Whether an extended key usage has the use of attestation keys.
fn is_for_attestation(value: &[u8]) -> bool {
    let mut outer = Reader::new(value);
    let Ok(list) = outer.read(der::SEQUENCE) else { return false };
    let mut uses = Reader::new(list);
    let mut found = false;
    while !uses.is_empty() {
        let Ok(id) = uses.read(der::OBJECT_IDENTIFIER) else { return false };
        found |= id == ATTESTATION_KEY;
    }
    found && outer.finish().is_ok()
}

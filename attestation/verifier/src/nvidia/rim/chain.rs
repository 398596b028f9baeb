//! From the certificate of a manifest's signer up to the pinned root.

use super::codes;
use crate::TrustAnchors;
use crate::nvidia::verified::Verified;
use crate::x509::{Certificate, PublicKey};
use anchorhold_rats::{Checks, Timestamp};

/// The most that are presented: signer, two intermediates and root, as in every manifest seen.
const MAX_CERTIFICATES: usize = 4;

/// A chain in which every rule held.
pub(super) struct Chain {
    /// Uncompressed P-384 point of the signer.
    pub(super) key: Vec<u8>,
    /// DER, signer first, with the pinned root at the end.
    pub(super) certificates: Vec<Vec<u8>>,
    /// The end of the earliest validity.
    pub(super) expires: Timestamp,
}

/// Judges the chain of `presented` certificates, signer first, at `at`.
///
/// Establishes that the holder of the pinned root's key certified the signer's key for digital signatures. Presumes that
/// `anchors` are the caller's choice.
pub(super) fn judge(
    presented: &[Vec<u8>],
    anchors: &TrustAnchors,
    at: Timestamp,
    verified: &Verified,
    checks: &mut Checks,
) -> Option<Chain> {
    let anchor = anchors.nvidia_rim();
    let observed = if anchor.is_some() { "one" } else { "none" };
    checks.record(
        codes::NO_TRUST_ANCHOR,
        anchor.is_some(),
        "a root for manifests among the anchors",
        observed,
    );
    let anchor = anchor?;
    let below = match presented {
        [below @ .., last] if last == anchor => below,
        all => all,
    };
    let bounded = !below.is_empty() && presented.len() <= MAX_CERTIFICATES;
    let what = format!("a signer, at most {MAX_CERTIFICATES} certificates with the root");
    checks.record(codes::CERTIFICATE_COUNT, bounded, what, presented.len().to_string()).then_some(())?;
    let mut chain = Vec::with_capacity(MAX_CERTIFICATES + 1);
    for der in below.iter().map(Vec::as_slice).chain([anchor]) {
        chain.push(parse(der, checks)?);
    }
    let (root, below_root) = chain.split_last()?;
    let signer = chain.first()?;

    let pinned = below_root.iter().all(|certificate| certificate.issuer != certificate.subject);
    let observed = if pinned { "no other" } else { "another" };
    let mut sound = checks.record(codes::CERTIFICATE_ROOT, pinned, "no root but the pinned one", observed);
    sound &= record_links(&chain, verified, anchors.are_foreign(), checks);
    sound &= record_signer(signer, anchors.are_foreign(), checks);
    sound &= record_validity(&chain, at, checks);
    let PublicKey::P384(key) = signer.public_key else { return None };
    let expires = below_root.iter().map(|certificate| certificate.not_after).fold(root.not_after, Ord::min);
    sound.then(|| Chain {
        key: key.to_vec(),
        certificates: below.iter().cloned().chain([anchor.to_vec()]).collect(),
        expires,
    })
}

fn parse<'a>(der: &'a [u8], checks: &mut Checks) -> Option<Certificate<'a>> {
    let parsed = Certificate::parse(der);
    let observed = parsed.as_ref().err().map_or_else(|| "one".to_string(), ToString::to_string);
    checks.record(codes::CERTIFICATE_MALFORMED, parsed.is_ok(), "a strict X.509 certificate", observed);
    parsed.ok()
}

/// Names, signatures and authority of each certificate and its issuer.
fn record_links(chain: &[Certificate<'_>], verified: &Verified, foreign: bool, checks: &mut Checks) -> bool {
    let mut sound = true;
    for (below, pair) in chain.windows(2).enumerate() {
        let [subject, issuer] = pair else { continue };
        let named = subject.issuer == issuer.subject;
        let observed = if named { "it" } else { "another" };
        let wanted = format!("certificate {} as issuer of certificate {below}", below + 1);
        sound &= checks.record(codes::CERTIFICATE_ISSUER, named, wanted, observed);
        let on_curve = matches!(issuer.public_key, PublicKey::P384(_));
        let valid = on_curve && verified.is_signed_by(subject, issuer);
        let observed = if valid { "valid" } else { "not valid" };
        let wanted = format!("certificate {below} signed by the next one with ECDSA, P-384, SHA-384");
        sound &= checks.record(codes::CERTIFICATE_SIGNATURE, valid, wanted, observed);
        let authority = issuer.authority;
        // `below` CAs stand between this issuer and the signer.
        let allowed = authority.path_length.is_none_or(|limit| usize::from(limit) >= below);
        sound &= checks.record(
            codes::CERTIFICATE_AUTHORITY,
            if foreign {
                authority.may_issue(below)
            } else {
                authority.is_ca && authority.signs_certificates && allowed
            },
            format!("a CA that signs certificates, with room for {below} CAs below it"),
            format!("{authority:?}"),
        );
    }
    sound
}

fn record_signer(signer: &Certificate<'_>, foreign: bool, checks: &mut Checks) -> bool {
    let on_curve = matches!(signer.public_key, PublicKey::P384(_));
    let authority = signer.authority;
    let is_ca = authority.is_ca || authority.signs_certificates || authority.signs_crls;
    let signs = if foreign { authority.may_sign_data() } else { authority.signs_data };
    let observed = format!(
        "{}, {}, {}",
        if on_curve { "P-384" } else { "another key" },
        if signs { "for signatures" } else { "not for signatures" },
        if is_ca { "a CA" } else { "not a CA" },
    );
    checks.record(codes::SIGNER, on_curve && signs && !is_ca, "P-384, for signatures, not a CA", observed)
}

fn record_validity(chain: &[Certificate<'_>], at: Timestamp, checks: &mut Checks) -> bool {
    let mut valid = true;
    for (index, certificate) in chain.iter().enumerate() {
        let wanted = format!("certificate {index} valid at {at}");
        let observed = format!("{} to {}", certificate.not_before, certificate.not_after);
        valid &= checks.record(codes::CERTIFICATE_VALIDITY, certificate.is_valid_at(at), wanted, observed);
    }
    valid
}

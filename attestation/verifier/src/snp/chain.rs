//! From the certificate of the key that signed a report up to a pinned ARK (AMD 57230, chapter 3).

use super::codes;
use super::extensions::Extensions;
use super::{Signer, intermediate};
use crate::TrustAnchors;
use crate::anchors::Anchor;
use crate::chain_cache::{ChainCache, Signatures};
use crate::x509::{Certificate, PublicKey};
use anchorhold_rats::{Checks, Code, Der, Timestamp};

/// Leaf, intermediate and root.
const MAX_CHAIN: usize = 3;

/// A chain in which every rule held.
pub(crate) struct Chain<'a> {
    pub(crate) extensions: Extensions,
    /// Uncompressed P-384 point of the key that signed the report.
    pub(crate) key: &'a [u8],
    pub(crate) ark: Certificate<'a>,
    pub(crate) intermediate: Certificate<'a>,
    pub(crate) leaf_serial: &'a [u8],
    /// The end of the earliest validity in the chain.
    pub(crate) expires: Timestamp,
}

/// A certificate with the bytes that it was read from.
struct Member<'a> {
    der: &'a [u8],
    certificate: Certificate<'a>,
}

/// Judges the chain of `certificates` (leaf first) for a report signed by `signer`, at `at`. Chains that `cache` remembers
/// are spared their two signatures.
///
/// Establishes that AMD, or whoever holds the key of the pinned root, certified the leaf's key for the chip
/// and TCB in its extensions. Presumes that `anchors` are the caller's choice. A root among the
/// certificates is not looked at.
pub(crate) fn judge<'a>(
    certificates: &'a [Der],
    anchors: &'a TrustAnchors,
    signer: Signer,
    at: Timestamp,
    cache: Option<&ChainCache>,
    checks: &mut Checks,
) -> Option<Chain<'a>> {
    let count = certificates.len();
    if !checks.record(
        codes::CERTIFICATE_COUNT,
        count <= MAX_CHAIN,
        format!("at most {MAX_CHAIN}"),
        count.to_string(),
    ) {
        return None;
    }
    let Some(leaf) = certificates.first() else {
        checks.record(codes::LEAF_MISSING, false, "the certificate of the signing key", "none");
        return None;
    };
    let leaf = parse(&leaf.0, "leaf", checks)?;
    let extensions = Extensions::read(&leaf.certificate);
    let observed = extensions.as_ref().map_or_else(ToString::to_string, |e| e.product.to_string());
    checks.record(codes::LEAF_EXTENSIONS, extensions.is_ok(), "AMD's extensions, complete", observed);
    let extensions = extensions.ok()?;
    let anchor = anchors.amd(extensions.product);
    if anchor.is_none() {
        checks.record(codes::NO_TRUST_ANCHOR, false, "a root for SEV-SNP among the trust anchors", "none");
    }
    let anchor = anchor?;
    let issuer = find_intermediate(certificates, anchor, signer, checks)?;
    let ark = parse(&anchor.ark, "trust anchor", checks)?;
    let agreed = record_presented_root(certificates, &issuer, anchor, checks);

    let members = [&ark, &issuer, &leaf].map(|member| &member.certificate);
    let mut sound = agreed & intermediate::record(members, signer, anchors.are_foreign(), checks);
    sound &= intermediate::record_product(members, (signer, extensions.product), anchors, checks);
    sound &= record_leaf(members, signer, (&extensions, anchors.are_foreign()), checks);
    sound &= record_signatures([&ark, &issuer, &leaf], cache, checks);
    sound &= record_validity(members, at, checks);
    let [ark, intermediate, leaf] = [ark, issuer, leaf].map(|member| member.certificate);
    let PublicKey::P384(key) = leaf.public_key else { return None };
    sound.then(|| Chain {
        extensions,
        key,
        leaf_serial: leaf.serial,
        expires: leaf.not_after.min(intermediate.not_after).min(ark.not_after),
        ark,
        intermediate,
    })
}

fn parse<'a>(der: &'a [u8], which: &str, checks: &mut Checks) -> Option<Member<'a>> {
    let parsed = Certificate::parse(der);
    let observed = parsed.as_ref().err().map_or_else(|| "one".to_string(), ToString::to_string);
    checks.record(
        codes::CERTIFICATE_MALFORMED,
        parsed.is_ok(),
        format!("a strict X.509 certificate as {which}"),
        observed,
    );
    parsed.ok().map(|certificate| Member { der, certificate })
}

/// The second certificate of the evidence, unless it is missing or a root: then the one that is built in.
fn find_intermediate<'a>(
    certificates: &'a [Der],
    anchor: &'a Anchor,
    signer: Signer,
    checks: &mut Checks,
) -> Option<Member<'a>> {
    if let Some(presented) = certificates.get(1) {
        let presented = parse(&presented.0, "intermediate", checks)?;
        if presented.certificate.issuer != presented.certificate.subject {
            return Some(presented);
        }
    }
    let built_in = match signer {
        Signer::Vcek => anchor.ask,
        Signer::Vlek => anchor.asvk,
    };
    if built_in.is_none() {
        checks.record(codes::INTERMEDIATE_MISSING, false, "the certificate of the leaf's issuer", "none");
    }
    parse(built_in?, "built-in intermediate", checks)
}

/// Whoever presents a chain to another root presents a chain that is not the one that is judged.
fn record_presented_root(
    certificates: &[Der],
    intermediate: &Member<'_>,
    anchor: &Anchor,
    checks: &mut Checks,
) -> bool {
    let mut roots = certificates.iter().skip(1).filter(|presented| presented.0 != intermediate.der);
    let Some(presented) = roots.next() else {
        checks.skip(codes::PRESENTED_ROOT, "the pinned ARK", "none came");
        return true;
    };
    let is_pinned = presented.0 == *anchor.ark;
    let observed = if is_pinned { "it" } else { "another certificate" };
    checks.record(codes::PRESENTED_ROOT, is_pinned, "the pinned ARK", observed)
}

/// Root, intermediate and leaf.
pub(super) type Members<'c, 'a> = [&'c Certificate<'a>; 3];

/// Judges the two signatures of the chain, unless `cache` remembers exactly these bytes.
fn record_signatures(
    [ark, intermediate, leaf]: [&Member<'_>; 3],
    cache: Option<&ChainCache>,
    checks: &mut Checks,
) -> bool {
    let pairs =
        [(intermediate, ark, codes::INTERMEDIATE_SIGNATURE), (leaf, intermediate, codes::LEAF_SIGNATURE)];
    let signatures = Signatures::of(cache, &[b"snp chain", ark.der, intermediate.der, leaf.der]);
    if signatures.are_known() {
        for (.., code) in pairs {
            checks.record(code, true, PSS, "valid, as verified before");
        }
        return true;
    }
    let mut sound = true;
    for (subject, issuer, code) in pairs {
        sound &= record_signature(&subject.certificate, &issuer.certificate.public_key, code, checks);
    }
    if sound {
        signatures.keep();
    }
    sound
}

fn record_leaf(
    [_, intermediate, leaf]: Members<'_, '_>,
    signer: Signer,
    (extensions, foreign): (&Extensions, bool),
    checks: &mut Checks,
) -> bool {
    let named = leaf.issuer == intermediate.subject;
    let observed = if named { "it" } else { "another" };
    let sound = checks.record(codes::LEAF_ISSUER, named, "the intermediate as issuer", observed);
    let (name, marks) = match signer {
        Signer::Vcek => ("SEV-VCEK", (true, false)),
        Signer::Vlek => ("SEV-VLEK", (false, true)),
    };
    let observed_kind = match leaf.common_name() {
        Some("SEV-VCEK") => "SEV-VCEK",
        Some("SEV-VLEK") => "SEV-VLEK",
        _ => "another name",
    };
    let observed_marks = (extensions.hwid.is_some(), extensions.provider.is_some());
    // CSP_ID tells VLEKs from VCEKs as HWID does; a name that AMD does not use says nothing below foreign roots.
    let says_nothing = foreign && !leaf.common_name().is_some_and(|name| name.starts_with("SEV-"));
    let is_named = observed_kind == name || says_nothing;
    let is_kind = is_named && (observed_marks == marks || foreign && observed_marks.0 == marks.0);
    let text = |marks| match marks {
        (true, false) => "with HWID",
        (false, true) => "with CSP_ID",
        (true, true) => "with HWID and CSP_ID",
        (false, false) => "without HWID and CSP_ID",
    };
    let sound = sound
        & checks.record(
            codes::LEAF_KIND,
            is_kind,
            format!("{name} {}", text(marks)),
            format!("{observed_kind} {}", text(observed_marks)),
        );
    let on_curve = matches!(leaf.public_key, PublicKey::P384(_));
    let authority = leaf.authority;
    let curve = if on_curve { "P-384" } else { "another key" };
    let role = if authority.is_ca { "CA" } else { "not a CA" };
    sound
        & checks.record(
            codes::LEAF_KEY,
            on_curve && !authority.is_ca,
            "P-384, not a CA",
            format!("{curve}, {role}"),
        )
}

const PSS: &str = "RSASSA-PSS, SHA-384, salt 48, RSA-4096";

fn record_signature(
    certificate: &Certificate<'_>,
    issuer: &PublicKey<'_>,
    code: Code,
    checks: &mut Checks,
) -> bool {
    let signed = certificate.is_pss_sha384() && certificate.verify_signature(issuer);
    let observed = match (signed, certificate.is_pss_sha384(), issuer) {
        (true, ..) => "valid",
        (_, false, _) => "another algorithm or other parameters",
        (.., PublicKey::Rsa4096(_)) => "not valid",
        _ => "an issuer's key that is not RSA-4096",
    };
    checks.record(code, signed, PSS, observed)
}

fn record_validity(chain: Members<'_, '_>, at: Timestamp, checks: &mut Checks) -> bool {
    let mut valid = true;
    for (which, certificate) in ["root", "intermediate", "leaf"].into_iter().zip(chain) {
        let wanted = format!("{which} valid at {at}");
        let observed = format!("{} to {}", certificate.not_before, certificate.not_after);
        valid &= checks.record(codes::CERTIFICATE_VALIDITY, certificate.is_valid_at(at), wanted, observed);
    }
    valid
}

//! The chain of the PCK certificate, as the quote brings it.

use super::codes;
use super::pck::Pck;
use crate::chain_cache::{ChainCache, Signatures};
use crate::x509::{Certificate, PublicKey};
use crate::{TrustAnchors, pem};
use anchorhold_rats::{Checks, Timestamp};

/// The most certificates that are read from one PEM text.
const MAX_CERTIFICATES: usize = 4;
const PCK_CERTIFICATES: usize = 3;
/// How every common name of Intel's begins.
const INTEL_PREFIX: &str = "Intel SGX ";
const LEAF_NAME: &str = "Intel SGX PCK Certificate";
const CA_NAMES: [&str; 2] = ["Intel SGX PCK Platform CA", "Intel SGX PCK Processor CA"];

/// A PCK certificate, its CA and the pinned root, verified.
#[derive(Debug)]
pub(super) struct Chain<'a> {
    pub(super) leaf: Certificate<'a>,
    pub(super) ca: Certificate<'a>,
    pub(super) root: Certificate<'a>,
    /// The PCK CA, DER.
    pub(super) ca_der: &'a [u8],
    /// The root, DER.
    pub(super) root_der: &'a [u8],
    pub(super) pck: Pck,
    /// The end of the earliest validity among the three.
    pub(super) expires: Timestamp,
    /// Whether the names are not Intel's habit; see [`crate::dangerous::SimulatedRoots::foreign`].
    pub(super) foreign: bool,
}

impl Chain<'_> {
    /// The key of the leaf: an uncompressed point on P-256.
    pub(super) const fn pck_key(&self) -> &[u8] {
        match self.leaf.public_key {
            PublicKey::P256(point) => point,
            _ => &[],
        }
    }
}

/// The DER of each certificate in a PEM text, of which there must be `count`.
pub(super) fn read_pem(text: &str, count: usize, name: &str, checks: &mut Checks) -> Option<Vec<Vec<u8>>> {
    let read = pem::read(text, MAX_CERTIFICATES);
    let observed = read.as_ref().err().map_or_else(|| "they are".to_string(), ToString::to_string);
    let wanted = format!("{name}: PEM certificates");
    checks.record(codes::CERTIFICATE_MALFORMED, read.is_ok(), wanted, observed);
    let certificates = read.ok()?;
    let observed = format!("{} certificates", certificates.len());
    let wanted = format!("{name}: {count} certificates");
    checks
        .record(codes::CERTIFICATE_COUNT, certificates.len() == count, wanted, observed)
        .then_some(certificates)
}

/// The DER of each certificate of the quote's chain.
pub(super) fn read_quote_chain(bytes: &[u8], checks: &mut Checks) -> Option<Vec<Vec<u8>>> {
    // Bytes that are not text become replacement characters, which no PEM has.
    read_pem(&String::from_utf8_lossy(bytes), PCK_CERTIFICATES, "PCK chain", checks)
}

/// A certificate in strict DER.
pub(super) fn read_certificate<'a>(
    der: &'a [u8],
    name: &str,
    checks: &mut Checks,
) -> Option<Certificate<'a>> {
    let parsed = Certificate::parse(der);
    let observed = parsed.as_ref().err().map_or_else(|| "one".to_string(), ToString::to_string);
    checks.record(
        codes::CERTIFICATE_MALFORMED,
        parsed.is_ok(),
        format!("{name}: an X.509 certificate"),
        observed,
    );
    parsed.ok()
}

/// Whether `last` of the chain `name` is `root`, byte for byte.
pub(super) fn record_anchor(last: &[u8], root: &[u8], name: &str, checks: &mut Checks) -> bool {
    let same = last == root;
    let observed = if same { "it does" } else { "it ends in another certificate" };
    checks.record(codes::NO_TRUST_ANCHOR, same, format!("{name}: ends in the pinned root"), observed)
}

/// Whether `issuer` issued and signed `certificate`; the signature is one of `signatures`.
pub(super) fn is_issued_by(
    certificate: &Certificate<'_>,
    issuer: &Certificate<'_>,
    signatures: &Signatures<'_>,
) -> bool {
    certificate.issuer == issuer.subject
        && signatures.is_valid(|| certificate.verify_signature(&issuer.public_key))
}

/// Whether a certificate is no CA and its key, on P-256, may sign data; below foreign roots key usage may be left out.
pub(super) fn signs_data(certificate: &Certificate<'_>, foreign: bool) -> bool {
    let authority = certificate.authority;
    let data = authority.may_sign_data() && (foreign || authority.signs_data) && !authority.signs_crls;
    data && matches!(certificate.public_key, PublicKey::P256(_))
}

/// The verified chain; `None` when a rule failed.
pub(super) fn judge<'a>(
    certificates: &'a [Vec<u8>],
    anchors: &'a TrustAnchors,
    at: Timestamp,
    cache: Option<&ChainCache>,
    checks: &mut Checks,
) -> Option<Chain<'a>> {
    let [leaf, ca, last] = certificates else { return None };
    let Some(root_der) = anchors.intel() else {
        checks.record(codes::NO_TRUST_ANCHOR, false, "a root for TDX", "the trust anchors name none");
        return None;
    };
    if !record_anchor(last, root_der, "PCK chain", checks) {
        return None;
    }
    let signatures = Signatures::of(cache, &[b"pck chain", root_der, ca, leaf]);
    let ca_der: &[u8] = ca;
    let root = read_certificate(root_der, "root", checks)?;
    let ca = read_certificate(ca, "PCK CA", checks)?;
    let leaf = read_certificate(leaf, "PCK certificate", checks)?;
    let foreign = anchors.are_foreign();
    let mut sound = record_ca(&ca, &root, (foreign, &signatures), checks);
    sound &= record_leaf(&leaf, &ca, (foreign, &signatures), checks);
    for (name, certificate) in [("root", &root), ("PCK CA", &ca), ("PCK certificate", &leaf)] {
        let observed = format!("{} to {}", certificate.not_before, certificate.not_after);
        let wanted = format!("{name}: valid at {at}");
        sound &= checks.record(codes::CERTIFICATE_VALIDITY, certificate.is_valid_at(at), wanted, observed);
    }
    let pck = Pck::read(&leaf);
    let observed = pck.as_ref().err().map_or_else(|| "one".to_string(), ToString::to_string);
    sound &= checks.record(codes::LEAF_EXTENSION, pck.is_ok(), "a complete SGX extension", observed);
    let expires = leaf.not_after.min(ca.not_after).min(root.not_after);
    let pck = pck.ok().filter(|_| sound)?;
    signatures.keep();
    Some(Chain { leaf, ca, root, ca_der, root_der, pck, expires, foreign })
}

/// The name for people of a common name that is one of ours; another is outside text and is not repeated.
fn known_name(name: Option<&str>, wanted: &[&'static str]) -> &'static str {
    wanted.iter().find(|known| name == Some(known)).unwrap_or(&"another name")
}

/// Records that a certificate has one of these common names.
pub(super) fn record_name(
    code: anchorhold_rats::Code,
    certificate: &Certificate<'_>,
    wanted: &[&'static str],
    foreign: bool,
    checks: &mut Checks,
) -> bool {
    let name = certificate.common_name();
    let known = name.is_some_and(|name| wanted.contains(&name));
    let says_nothing = foreign && !name.is_some_and(|name| name.starts_with(INTEL_PREFIX));
    checks.record(code, known || says_nothing, wanted.join(" or "), known_name(name, wanted))
}

fn record_ca(
    ca: &Certificate<'_>,
    root: &Certificate<'_>,
    (foreign, signatures): (bool, &Signatures<'_>),
    checks: &mut Checks,
) -> bool {
    let issued = is_issued_by(ca, root, signatures);
    let observed = signatures.observed(issued);
    let mut sound =
        checks.record(codes::CA_SIGNATURE, issued, "the PCK CA signed by the pinned root", observed);
    sound &= record_name(codes::CA_NAME, ca, &CA_NAMES, foreign, checks);
    let authority = ca.authority;
    let may = if foreign {
        authority.may_issue(0) && (authority.signs_crls || !authority.states_usage)
    } else {
        authority.is_ca
            && authority.signs_certificates
            && authority.signs_crls
            && authority.path_length == Some(0)
    };
    let observed = format!(
        "CA {}, signs certificates {}, signs revocation lists {}, path length {}",
        authority.is_ca,
        authority.signs_certificates,
        authority.signs_crls,
        authority.path_length.map_or_else(|| "without limit".to_string(), |length| length.to_string()),
    );
    let wanted = "a CA that signs certificates and revocation lists, with path length 0";
    sound &= checks.record(codes::CA_AUTHORITY, may, wanted, observed);
    sound
}

fn record_leaf(
    leaf: &Certificate<'_>,
    ca: &Certificate<'_>,
    (foreign, signatures): (bool, &Signatures<'_>),
    checks: &mut Checks,
) -> bool {
    let issued = is_issued_by(leaf, ca, signatures);
    let observed = signatures.observed(issued);
    let mut sound =
        checks.record(codes::LEAF_SIGNATURE, issued, "the PCK certificate signed by the PCK CA", observed);
    sound &= record_name(codes::LEAF_NAME, leaf, &[LEAF_NAME], foreign, checks);
    let may = signs_data(leaf, foreign);
    let observed = if may { "one" } else { "another" };
    sound &= checks.record(codes::LEAF_AUTHORITY, may, "a P-256 key for data, of no CA", observed);
    sound
}

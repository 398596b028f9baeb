//! From the certificate of the key that signed a report up to a pinned ARK (AMD 57230, chapter 3).

use super::codes;
use super::{ChipId, Product, RawTcb, Signer};
use crate::TrustAnchors;
use crate::anchors::Anchor;
use crate::der::{self, Reader};
use crate::x509::{Certificate, PublicKey};
use anchorhold_rats::{Checks, Code, Der, Timestamp};

/// Leaf, intermediate and root.
const MAX_CHAIN: usize = 3;

/// The arcs under 1.3.6.1.4.1.3704.1 of the TCB components, in the order of the 8 bytes of a TCB version.
const OLD_COMPONENTS: [(u8, Presence); 8] = [
    (1, Presence::Required),
    (2, Presence::Required),
    (4, Presence::Optional),
    (5, Presence::Optional),
    (6, Presence::Optional),
    (7, Presence::Optional),
    (3, Presence::Required),
    (8, Presence::Required),
];
const TURIN_COMPONENTS: [(u8, Presence); 8] = [
    (9, Presence::Required),
    (1, Presence::Required),
    (2, Presence::Required),
    (3, Presence::Required),
    (5, Presence::Optional),
    (6, Presence::Optional),
    (7, Presence::Optional),
    (8, Presence::Required),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    Required,
    Optional,
}

/// AMD's extensions of a VCEK or VLEK.
#[derive(Debug)]
pub(crate) struct Extensions {
    pub(crate) product: Product,
    /// The TCB for which AMD certified the key, in the layout of the product.
    pub(crate) tcb: RawTcb,
    /// The chip; of a VCEK only.
    pub(crate) hwid: Option<ChipId>,
}

/// A chain in which every rule held.
pub(crate) struct Chain<'a> {
    pub(crate) extensions: Extensions,
    /// Uncompressed P-384 point of the key that signed the report.
    pub(crate) key: &'a [u8],
    pub(crate) ark: Certificate<'a>,
    pub(crate) intermediate_serial: &'a [u8],
    /// The end of the earliest validity in the chain.
    pub(crate) expires: Timestamp,
}

/// Judges the chain of `certificates` (leaf first) for a report signed by `signer`, at `at`.
///
/// Establishes that AMD, or whoever holds the key of the pinned root, certified the leaf's key for the chip
/// and TCB in its extensions. Presumes that `anchors` are the caller's choice. A root among the
/// certificates is not looked at.
pub(crate) fn judge<'a>(
    certificates: &'a [Der],
    anchors: &'a TrustAnchors,
    signer: Signer,
    at: Timestamp,
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
    let extensions = read_extensions(&leaf);
    let observed = extensions.as_ref().map_or_else(ToString::to_string, |e| e.product.to_string());
    checks.record(codes::LEAF_EXTENSIONS, extensions.is_ok(), "AMD's extensions, complete", observed);
    let extensions = extensions.ok()?;
    let anchor = anchors.amd(extensions.product);
    if anchor.is_none() {
        checks.record(codes::NO_TRUST_ANCHOR, false, "a root for SEV-SNP among the trust anchors", "none");
    }
    let anchor = anchor?;
    let intermediate = find_intermediate(certificates, anchor, signer, checks)?;
    let ark = parse(&anchor.ark, "trust anchor", checks)?;

    let mut sound = record_intermediate(&intermediate, &ark, signer, checks);
    sound &= record_leaf(&leaf, &intermediate, signer, &extensions, checks);
    let chain = [("leaf", &leaf), ("intermediate", &intermediate), ("root", &ark)];
    sound &= record_validity(&chain, at, checks);
    let PublicKey::P384(key) = leaf.public_key else { return None };
    sound.then(|| Chain {
        extensions,
        key,
        intermediate_serial: intermediate.serial,
        expires: leaf.not_after.min(intermediate.not_after).min(ark.not_after),
        ark,
    })
}

fn parse<'a>(bytes: &'a [u8], which: &str, checks: &mut Checks) -> Option<Certificate<'a>> {
    let parsed = Certificate::parse(bytes);
    let observed = parsed.as_ref().err().map_or_else(|| "one".to_string(), ToString::to_string);
    checks.record(
        codes::CERTIFICATE_MALFORMED,
        parsed.is_ok(),
        format!("a strict X.509 certificate as {which}"),
        observed,
    );
    parsed.ok()
}

/// The second certificate of the evidence, unless it is missing or a root: then the one that is built in.
fn find_intermediate<'a>(
    certificates: &'a [Der],
    anchor: &'a Anchor,
    signer: Signer,
    checks: &mut Checks,
) -> Option<Certificate<'a>> {
    if let Some(presented) = certificates.get(1) {
        let presented = parse(&presented.0, "intermediate", checks)?;
        if presented.issuer != presented.subject {
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

fn record_intermediate(
    intermediate: &Certificate<'_>,
    ark: &Certificate<'_>,
    signer: Signer,
    checks: &mut Checks,
) -> bool {
    let named = intermediate.issuer == ark.subject;
    let observed = if named { "it" } else { "another" };
    let mut sound = checks.record(codes::NO_TRUST_ANCHOR, named, "the pinned ARK as issuer", observed);
    sound &= record_signature(intermediate, &ark.public_key, codes::INTERMEDIATE_SIGNATURE, checks);
    let authority = intermediate.authority;
    sound &= checks.record(
        codes::INTERMEDIATE_AUTHORITY,
        authority.is_ca && authority.signs_certificates && authority.path_length == Some(0),
        "a CA with path length 0 that signs certificates",
        format!("{authority:?}"),
    );
    let kind = intermediate
        .common_name()
        .map(|name| if name.starts_with("SEV-VLEK") { Signer::Vlek } else { Signer::Vcek });
    let issuer_of = |kind| match kind {
        Some(Signer::Vcek) => "ASK",
        Some(Signer::Vlek) => "ASVK",
        None => "an unnamed one",
    };
    sound
        & checks.record(
            codes::INTERMEDIATE_KIND,
            kind == Some(signer),
            issuer_of(Some(signer)),
            issuer_of(kind),
        )
}

fn record_leaf(
    leaf: &Certificate<'_>,
    intermediate: &Certificate<'_>,
    signer: Signer,
    extensions: &Extensions,
    checks: &mut Checks,
) -> bool {
    let named = leaf.issuer == intermediate.subject;
    let observed = if named { "it" } else { "another" };
    let mut sound = checks.record(codes::LEAF_ISSUER, named, "the intermediate as issuer", observed);
    sound &= record_signature(leaf, &intermediate.public_key, codes::LEAF_SIGNATURE, checks);
    let (name, has_hwid) = match signer {
        Signer::Vcek => ("SEV-VCEK", true),
        Signer::Vlek => ("SEV-VLEK", false),
    };
    let observed_kind = match leaf.common_name() {
        Some("SEV-VCEK") => "SEV-VCEK",
        Some("SEV-VLEK") => "SEV-VLEK",
        _ => "another name",
    };
    let is_kind = observed_kind == name && extensions.hwid.is_some() == has_hwid;
    let hwid = |present| if present { "with HWID" } else { "without HWID" };
    sound &= checks.record(
        codes::LEAF_KIND,
        is_kind,
        format!("{name} {}", hwid(has_hwid)),
        format!("{observed_kind} {}", hwid(extensions.hwid.is_some())),
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
    checks.record(code, signed, "RSASSA-PSS, SHA-384, salt 48, RSA-4096", observed)
}

fn record_validity(chain: &[(&str, &Certificate<'_>)], at: Timestamp, checks: &mut Checks) -> bool {
    let mut valid = true;
    for (which, certificate) in chain {
        let wanted = format!("{which} valid at {at}");
        let observed = format!("{} to {}", certificate.not_before, certificate.not_after);
        valid &= checks.record(codes::CERTIFICATE_VALIDITY, certificate.is_valid_at(at), wanted, observed);
    }
    valid
}

/// Reads AMD's extensions (AMD 57230, table "VCEK Certificate X.509v3 Extensions").
fn read_extensions(leaf: &Certificate<'_>) -> Result<Extensions, der::Error> {
    let missing = der::Error::Value("missing extension");
    if leaf.amd_extension(&[1]).map(whole_byte).ok_or(missing)?? > 1 {
        return Err(der::Error::Value("structVersion"));
    }
    let mut name = Reader::new(leaf.amd_extension(&[2]).ok_or(missing)?);
    let text = std::str::from_utf8(name.read(der::IA5_STRING)?).unwrap_or_default();
    name.finish()?;
    let product = Product::from_name(text).ok_or(der::Error::Value("productName"))?;
    let components = if product == Product::Turin { TURIN_COMPONENTS } else { OLD_COMPONENTS };
    let mut tcb = [0; 8];
    for ((arc, presence), byte) in components.into_iter().zip(&mut tcb) {
        match leaf.amd_extension(&[3, arc]) {
            Some(value) => *byte = whole_byte(value)?,
            None if presence == Presence::Required => return Err(missing),
            None => {}
        }
    }
    if product != Product::Turin && leaf.amd_extension(&[3, 9]).is_some() {
        return Err(der::Error::Value("FMC extension"));
    }
    let hwid = leaf.amd_extension(&[4]).map(|value| read_hwid(product, value)).transpose()?;
    Ok(Extensions { product, tcb: RawTcb(tcb), hwid })
}

fn whole_byte(value: &[u8]) -> Result<u8, der::Error> {
    let mut reader = Reader::new(value);
    let byte = reader.byte_integer()?;
    reader.finish()?;
    Ok(byte)
}

/// HWID is 64 bytes, 8 on Turin; bare in real certificates, a DER OCTET STRING in the specification.
fn read_hwid(product: Product, value: &[u8]) -> Result<ChipId, der::Error> {
    let wanted = if product == Product::Turin { 8 } else { 64 };
    let bytes = if value.len() == wanted {
        value
    } else {
        let mut reader = Reader::new(value);
        let inner = reader.read(der::OCTET_STRING)?;
        reader.finish()?;
        inner
    };
    let mut id = [0; 64];
    let (used, _) = id.split_at_mut(wanted);
    if bytes.len() != wanted {
        return Err(der::Error::Value("HWID"));
    }
    used.copy_from_slice(bytes);
    Ok(ChipId(id))
}

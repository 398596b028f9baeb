//! The enveloped XML signature (<https://www.w3.org/TR/xmldsig-core1/>) in the one form that NVIDIA uses.

use super::{SIGNATURE_NAMESPACE, codes, record};
use crate::xml::{Document, Element};
use anchorhold_rats::{Checks, Code};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::digest::{SHA384, SHA384_OUTPUT_LEN, digest};
use ring::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};

const CANONICAL_XML: &str = "http://www.w3.org/2006/12/xml-c14n11";
const ECDSA_SHA384: &str = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384";
const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";
const SHA384_DIGEST: &str = "http://www.w3.org/2001/04/xmldsig-more#sha384";
/// r and s of ECDSA on P-384.
const SIGNATURE_LEN: usize = 96;

/// A signature of the right shape, not verified.
pub(super) struct Signature<'d> {
    element: Element<'d>,
    signed_info: Element<'d>,
    digest: Vec<u8>,
    value: Vec<u8>,
    /// DER, as presented.
    pub(super) certificates: Vec<Vec<u8>>,
}

/// Finds the one signature of the document and reads it.
pub(super) fn read<'d>(document: &'d Document<'d>, checks: &mut Checks) -> Option<Signature<'d>> {
    let mut all = document.elements().filter(|element| element.is(SIGNATURE_NAMESPACE, "Signature"));
    let (first, more) = (all.next(), all.count());
    let count = usize::from(first.is_some()) + more;
    if !checks.record(codes::SIGNATURE_COUNT, count == 1, "one Signature", count.to_string()) {
        return None;
    }
    let element = first?;
    let placed = element.is_child_of(document.root());
    record(checks, codes::SIGNATURE_PLACE, placed, "the Signature a child of the root").then_some(())?;
    let parts = bare(element).and_then(|()| named(element, ["SignedInfo", "SignatureValue", "KeyInfo"]));
    let [signed_info, value, key_info] =
        wanted(checks, codes::SIGNATURE_SHAPE, parts, "SignedInfo, SignatureValue and KeyInfo, and no more")?;
    let parts = bare(signed_info).and_then(|()| signed_info.children()).and_then(|children| {
        let (method, children) = children.split_first()?;
        let (signature, references) = children.split_first()?;
        Some((*method, *signature, references.to_vec()))
    });
    let what = "CanonicalizationMethod, SignatureMethod and Reference in SignedInfo, and no more";
    let (canonicalization, method, references) = wanted(checks, codes::SIGNATURE_SHAPE, parts, what)?;
    let [reference] = references[..] else {
        let observed = references.len().to_string();
        checks.record(codes::REFERENCE, false, "one Reference", observed);
        return None;
    };
    let (transforms, digest_method, digest_value) = read_reference(reference, checks)?;
    let known = names_algorithm(canonicalization, "CanonicalizationMethod", CANONICAL_XML)
        && names_algorithm(method, "SignatureMethod", ECDSA_SHA384)
        && names_algorithm(digest_method, "DigestMethod", SHA384_DIGEST);
    record(checks, codes::ALGORITHMS, known, "Canonical XML 1.1, ECDSA with SHA-384, SHA-384")
        .then_some(())?;
    let transformed = bare(transforms)
        .and_then(|()| named(transforms, ["Transform", "Transform"]))
        .is_some_and(|[first, second]| {
            names_algorithm(first, "Transform", ENVELOPED)
                && names_algorithm(second, "Transform", CANONICAL_XML)
        });
    let what = "the transforms enveloped-signature and Canonical XML 1.1, in this order";
    record(checks, codes::TRANSFORMS, transformed, what).then_some(())?;
    let digest = bytes(digest_value).filter(|digest| digest.len() == SHA384_OUTPUT_LEN);
    let value = bytes(value).filter(|value| value.len() == SIGNATURE_LEN);
    let what = "a DigestValue of 48 and a SignatureValue of 96 bytes in base64";
    let (digest, value) = wanted(checks, codes::SIGNATURE_SHAPE, digest.zip(value), what)?;
    let certificates = read_key_info(key_info);
    let what = "KeyInfo with one X509Data of X509Certificates in base64, and no more";
    let certificates = wanted(checks, codes::KEY_INFO, certificates, what)?;
    Some(Signature { element, signed_info, digest, value, certificates })
}

impl Signature<'_> {
    /// Whether DigestValue is that of the document without the signature.
    pub(super) fn record_digest(&self, document: &Document<'_>, checks: &mut Checks) -> bool {
        let observed = digest(&SHA384, &document.canonical_without(self.element));
        record(
            checks,
            codes::DIGEST,
            observed.as_ref() == self.digest,
            "DigestValue the SHA-384 of the document",
        )
    }

    /// Whether the holder of `key`, an uncompressed point of P-384, signed SignedInfo.
    pub(super) fn record_signature(&self, document: &Document<'_>, key: &[u8], checks: &mut Checks) -> bool {
        let message = document.canonical_subtree(self.signed_info);
        let valid =
            UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, key).verify(&message, &self.value).is_ok();
        let observed = if valid { "valid" } else { "not valid" };
        checks.record(codes::SIGNATURE, valid, "a signature by the signer's key over SignedInfo", observed)
    }
}

/// Transforms, DigestMethod and DigestValue of the Reference, if it is to the whole document.
fn read_reference<'d>(
    reference: Element<'d>,
    checks: &mut Checks,
) -> Option<(Element<'d>, Element<'d>, Element<'d>)> {
    let whole =
        reference.is(SIGNATURE_NAMESPACE, "Reference") && reference.attributes().eq([("", "URI", "")]);
    record(checks, codes::REFERENCE, whole, "a Reference with URI \"\" and no other attribute")
        .then_some(())?;
    let parts = named(reference, ["Transforms", "DigestMethod", "DigestValue"])
        .filter(|[_, _, digest_value]| bare(*digest_value).is_some());
    let what = "Transforms, DigestMethod and DigestValue in the Reference, and no more";
    let [transforms, method, value] = wanted(checks, codes::REFERENCE, parts, what)?;
    Some((transforms, method, value))
}

fn read_key_info(key_info: Element<'_>) -> Option<Vec<Vec<u8>>> {
    bare(key_info)?;
    let [data] = named(key_info, ["X509Data"])?;
    bare(data)?;
    let is_certificate = |element: &Element<'_>| element.is(SIGNATURE_NAMESPACE, "X509Certificate");
    data.children()?.into_iter().map(|child| Some(child).filter(is_certificate).and_then(bytes)).collect()
}

/// The child elements, if they are these of XML Signature, in this order, with only white space between them.
fn named<'d, const N: usize>(parent: Element<'d>, names: [&str; N]) -> Option<[Element<'d>; N]> {
    let children: [Element<'d>; N] = parent.children()?.try_into().ok()?;
    let all = children.iter().zip(names).all(|(child, name)| child.is(SIGNATURE_NAMESPACE, name));
    all.then_some(children)
}

/// Whether the element has no attribute.
fn bare(element: Element<'_>) -> Option<()> {
    element.attributes().next().is_none().then_some(())
}

/// Whether the element has this name and only the attribute Algorithm, with this value, and is empty.
fn names_algorithm(element: Element<'_>, name: &str, algorithm: &str) -> bool {
    element.is(SIGNATURE_NAMESPACE, name)
        && element.attributes().eq([("", "Algorithm", algorithm)])
        && element.children().is_some_and(|children| children.is_empty())
}

/// The bytes of an element that holds base64 (XML Signature, section 4.1), with white space as XML Schema allows it.
fn bytes(element: Element<'_>) -> Option<Vec<u8>> {
    bare(element)?;
    let mut text = element.text()?.to_string();
    text.retain(|character| !matches!(character, ' ' | '\t' | '\r' | '\n'));
    STANDARD.decode(text).ok()
}

/// Records whether there is a value.
fn wanted<T>(checks: &mut Checks, code: Code, value: Option<T>, what: &str) -> Option<T> {
    record(checks, code, value.is_some(), what);
    value
}

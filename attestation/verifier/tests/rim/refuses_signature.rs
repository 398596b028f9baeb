//! Signatures that are not of the one form, or do not hold.

use crate::support::*;

/// The refusal of a manifest whose SignedInfo was changed before signing.
fn info_with(from: &str, to: &str) -> Vec<String> {
    let chain = Chain::new();
    refusal(&sign_info(|info| edited(info, from, to), &chain), &chain)
}

/// The refusal of a manifest that was changed after signing.
fn signed_with(from: &str, to: &str) -> Vec<String> {
    let chain = Chain::new();
    refusal(&edited(&sign(&body(), &chain), from, to), &chain)
}

const ENVELOPED: &str =
    "<ds:Transform Algorithm=\"http://www.w3.org/2000/09/xmldsig#enveloped-signature\"></ds:Transform>";
const CANONICAL: &str = "<ds:Transform Algorithm=\"http://www.w3.org/2006/12/xml-c14n11\"></ds:Transform>";

#[test]
fn refuses_an_unsigned_manifest() {
    let chain = Chain::new();
    assert_eq!(refusal(&body().replace("@SIGNATURE@", ""), &chain), ["rim_signature_count"]);
}

#[test]
fn refuses_other_parts_of_a_signature() {
    for (from, to) in [
        ("<ds:KeyInfo>", "<ds:Object></ds:Object><ds:KeyInfo>"),
        ("</ds:KeyInfo>", "</ds:KeyInfo><ds:Object></ds:Object>"),
        ("</ds:KeyInfo>", "</ds:KeyInfo>text"),
        ("<ds:Signature ", "<ds:Signature Id=\"a\" "),
        ("<ds:SignatureValue>", "<ds:SignatureValue Id=\"a\">"),
        ("<ds:SignatureValue>", "<ds:SignatureValue>AAAA"),
        ("<ds:SignatureValue>", "<ds:SignatureValue>="),
        ("<ds:SignatureValue>", "<ds:SignatureValue><ds:a></ds:a>"),
        ("<ds:SignedInfo ", "<ds:SignedInfo Id=\"a\" "),
    ] {
        assert_eq!(signed_with(from, to), ["rim_signature_shape"], "{to}");
    }
    assert_eq!(info_with("<ds:DigestValue>", "<ds:DigestValue>AAAA"), ["rim_signature_shape"]);
    let chain = Chain::new();
    let without = edited(&sign(&body(), &chain), &key_info(&chain), "");
    assert_eq!(refusal(&without, &chain), ["rim_signature_shape"]);
}

#[test]
fn refuses_other_algorithms() {
    for (from, to) in [
        (
            "CanonicalizationMethod Algorithm=\"http://www.w3.org/2006/12/xml-c14n11\"",
            "CanonicalizationMethod Algorithm=\"http://www.w3.org/TR/2001/REC-xml-c14n-20010315\"",
        ),
        (
            "CanonicalizationMethod Algorithm=\"http://www.w3.org/2006/12/xml-c14n11\"",
            "CanonicalizationMethod Algorithm=\"http://www.w3.org/2006/12/xml-c14n11#WithComments\"",
        ),
        ("#ecdsa-sha384", "#ecdsa-sha256"),
        ("#ecdsa-sha384", "#hmac-sha384"),
        ("xmldsig-more#sha384", "xmlenc#sha256"),
        ("</ds:SignatureMethod>", "<ds:HMACOutputLength>0</ds:HMACOutputLength></ds:SignatureMethod>"),
        ("<ds:SignatureMethod ", "<ds:SignatureMethod A=\"\" "),
    ] {
        assert_eq!(info_with(from, to), ["rim_algorithms"], "{to}");
    }
}

#[test]
fn refuses_another_reference() {
    for (from, to) in [
        ("URI=\"\"", "URI=\"#a1b2\""),
        ("URI=\"\"", "URI=\"#xpointer(/)\""),
        ("URI=\"\"", "URI=\"http://a/\""),
        (" URI=\"\"", ""),
        ("URI=\"\"", "Id=\"a\" URI=\"\""),
        ("URI=\"\"", "Type=\"http://www.w3.org/2000/09/xmldsig#Manifest\" URI=\"\""),
        ("<ds:DigestMethod", "<ds:DigestValue></ds:DigestValue><ds:DigestMethod"),
        ("<ds:DigestValue>", "<ds:DigestValue Id=\"a\">"),
        ("</ds:Reference>", "</ds:Reference><ds:Reference URI=\"\"></ds:Reference>"),
        ("<ds:Reference URI=\"\">", "<ds:Reference URI=\"\"></ds:Reference><ds:Reference URI=\"\">"),
    ] {
        assert_eq!(info_with(from, to), ["rim_reference"], "{to}");
    }
    let drop = |info: &str| {
        let (before, rest) = info.split_once("<ds:Reference").unwrap();
        format!("{before}{}", rest.split_once("</ds:Reference>").unwrap().1)
    };
    let chain = Chain::new();
    assert_eq!(refusal(&sign_info(drop, &chain), &chain), ["rim_reference"]);
}

#[test]
fn refuses_other_transforms() {
    let xpath = "<ds:Transform Algorithm=\"http://www.w3.org/TR/1999/REC-xpath-19991116\"></ds:Transform>";
    for (from, to) in [
        (ENVELOPED, ""),
        (CANONICAL, ""),
        (CANONICAL, ENVELOPED),
        (ENVELOPED, xpath),
        (CANONICAL, &format!("{xpath}{CANONICAL}")),
        (&format!("{ENVELOPED}{CANONICAL}"), &format!("{CANONICAL}{ENVELOPED}")),
        (&format!("{ENVELOPED}{CANONICAL}"), ""),
        ("<ds:Transforms>", "<ds:Transforms Id=\"a\">"),
    ] {
        assert_eq!(info_with(from, to), ["rim_transforms"], "{to}");
    }
}

#[test]
fn refuses_another_key_info() {
    for (from, to) in [
        ("<ds:X509Data>", "<ds:KeyName>a</ds:KeyName><ds:X509Data>"),
        ("<ds:X509Data>", "<ds:X509Data></ds:X509Data><ds:X509Data>"),
        ("<ds:X509Data>", "<ds:X509Data><ds:X509SubjectName>a</ds:X509SubjectName>"),
        ("<ds:X509Certificate>", "<ds:X509Certificate>*"),
        ("<ds:X509Certificate>", "<ds:X509Certificate Id=\"a\">"),
        ("<ds:KeyInfo>", "<ds:KeyInfo Id=\"a\">"),
    ] {
        assert_eq!(signed_with(from, to), ["rim_key_info"], "{to}");
    }
}

#[test]
fn refuses_content_that_changed_after_signing() {
    for (from, to) in [
        ("colloquialVersion=\"550.144.03\"", "colloquialVersion=\"550.144.04\""),
        ("ns2:Hash0=\"01", "ns2:Hash0=\"02"),
        ("active=\"False\"", "active=\"True\""),
        ("<ns0:Payload>", "<ns0:Payload> "),
        ("xmlns:ns2=", "xmlns:ns3=\"a:b\" xmlns:ns2="),
    ] {
        assert_eq!(signed_with(from, to)[0], "rim_digest", "{to}");
    }
    // What Canonical XML holds equal is equal.
    assert!(signed_with("corpus=\"false\" name=\"GH100\"", "name='GH1&#48;0'\n corpus=\"false\"").is_empty());
}

#[test]
fn refuses_a_signature_by_another_key() {
    let (chain, other) = (Chain::new(), Chain::new());
    let forged = sign(&body(), &other).replace(&key_info(&other), &key_info(&chain));
    assert_eq!(refusal(&forged, &chain), ["rim_signature"]);
}

#[test]
fn refuses_a_digest_that_was_not_signed() {
    let chain = Chain::new();
    let changed = edited(&body(), "550.144.03", "550.144.04");
    let forged = edited(&sign(&body(), &chain), &signed_info(&body()), &signed_info(&changed));
    assert_eq!(refusal(&edited(&forged, "550.144.03", "550.144.04"), &chain), ["rim_signature"]);
}

#[test]
fn accepts_base64_in_lines() {
    let chain = Chain::new();
    let signed = sign(&body(), &chain);
    let certificate = signed.split_once("<ds:X509Certificate>").unwrap().1.split_at(64).0;
    let lines = edited(&signed, certificate, &format!("\r\n{certificate}\n\t "));
    assert!(refusal(&lines, &chain).is_empty());
}

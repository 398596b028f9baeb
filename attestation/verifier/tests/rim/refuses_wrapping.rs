//! Documents that hold a good signature and ask to be read as something that it does not cover.

use crate::support::*;

/// A good manifest, its signature, and the Payload that an attacker would like.
struct Case {
    chain: Chain,
    signed: String,
    signature: String,
    evil: String,
}

fn case() -> Case {
    let chain = Chain::new();
    let signature = signature(&signed_info(&body()), &chain);
    let signed = body().replace("@SIGNATURE@", &signature);
    assert!(refusal(&signed, &chain).is_empty());
    let evil = format!("<ns0:Payload>{}</ns0:Payload>", resource(0, true, &[0xee]));
    Case { chain, signed, signature, evil }
}

#[test]
fn refuses_two_signatures() {
    let Case { chain, signed, signature, .. } = case();
    let twice = edited(&signed, &signature, &signature.repeat(2));
    assert_eq!(refusal(&twice, &chain), ["rim_signature_count"]);
}

#[test]
fn refuses_a_signature_inside_the_signature() {
    let Case { chain, signed, signature, .. } = case();
    let nested =
        edited(&signed, "</ds:Signature>", &format!("<ds:Object>{signature}</ds:Object></ds:Signature>"));
    assert_eq!(refusal(&nested, &chain), ["rim_signature_count"]);
}

#[test]
fn refuses_a_signature_with_another_prefix_beside_the_real_one() {
    let Case { chain, signed, .. } = case();
    let second = format!("<x:Signature xmlns:x=\"{DS}\"/></SoftwareIdentity>");
    assert_eq!(refusal(&edited(&signed, "</SoftwareIdentity>", &second), &chain), ["rim_signature_count"]);
}

#[test]
fn refuses_a_signature_that_is_no_child_of_the_root() {
    let Case { chain, signed, signature, .. } = case();
    let moved =
        edited(&edited(&signed, &signature, ""), "</ns0:Payload>", &format!("{signature}</ns0:Payload>"));
    assert_eq!(refusal(&moved, &chain), ["rim_signature_place"]);
}

#[test]
fn refuses_the_signed_manifest_inside_another() {
    let Case { chain, signed, evil, .. } = case();
    let open = signed.split_once('>').unwrap().0;
    let wrapped = format!("{open}>{evil}{signed}</SoftwareIdentity>");
    assert_eq!(refusal(&wrapped, &chain), ["rim_signature_place"]);
    let wrapped = format!("<w xmlns=\"a:b\">{signed}</w>");
    assert_eq!(refusal(&wrapped, &chain), ["rim_root"]);
}

#[test]
fn refuses_the_signed_content_inside_the_signature() {
    // The enveloped-signature transform takes the Signature away, so that what it holds is never digested.
    let Case { chain, signed, signature, evil } = case();
    let payload = signed.split_once("<ns0:Payload>").unwrap().1.split_once("</ns0:Payload>").unwrap().0;
    let payload = format!("<ns0:Payload>{payload}</ns0:Payload>");
    let object = format!("<ds:Object>{payload}</ds:Object></ds:Signature>");
    let moved = edited(&edited(&signed, &payload, &evil), "</ds:Signature>", &object);
    assert_eq!(refusal(&moved, &chain), ["rim_signature_shape"]);
    // A second Payload where readers look first.
    let hidden = edited(&signed, "</ds:Signature>", &format!("{evil}</ds:Signature>"));
    assert_eq!(refusal(&hidden, &chain), ["rim_signature_shape"]);
    let hidden = edited(&signed, "</ds:X509Data>", &format!("{evil}</ds:X509Data>"));
    assert_eq!(refusal(&hidden, &chain), ["rim_key_info"]);
    assert!(signed.contains(&signature));
}

#[test]
fn refuses_a_second_payload_before_or_after_the_signed_one() {
    let Case { chain, signed, evil, .. } = case();
    for (from, to) in [
        ("<ns0:Payload>", format!("{evil}<ns0:Payload>")),
        ("</SoftwareIdentity>", format!("{evil}</SoftwareIdentity>")),
    ] {
        assert_eq!(refusal(&edited(&signed, from, &to), &chain), ["rim_digest"], "{from}");
    }
}

#[test]
fn refuses_a_reference_by_id() {
    let chain = Chain::new();
    let by_id = sign_info(|info| edited(info, "URI=\"\"", "URI=\"#a\""), &chain);
    let wrapped = edited(&by_id, "<ns0:Payload>", "<ns0:Payload Id=\"a\">");
    assert_eq!(refusal(&wrapped, &chain), ["rim_reference"]);
}

#[test]
fn refuses_another_default_namespace() {
    let Case { chain, signed, .. } = case();
    assert_eq!(refusal(&edited(&signed, SWID, "a:b"), &chain), ["rim_root"]);
    assert_eq!(refusal(&edited(&signed, SWID, ""), &chain), ["rim_root"]);
    // Below the root a change of namespace is a change of content.
    let below = edited(&signed, "<ns0:Payload>", "<ns0:Payload xmlns=\"a:b\">");
    assert_eq!(refusal(&below, &chain), ["rim_digest"]);
    let prefix = edited(&signed, "<ns0:Payload>", "<ns0:Payload xmlns:ns2=\"a:b\">");
    assert_eq!(refusal(&prefix, &chain), ["rim_digest"]);
}

#[test]
fn refuses_a_signature_of_another_namespace() {
    let chain = Chain::new();
    assert_eq!(refusal(&sign(&body(), &chain).replace(DS, "a:b"), &chain), ["rim_signature_count"]);
    let default =
        sign(&body(), &chain).replace("ds:Signature>", "Signature>").replace("<ds:Signature ", "<Signature ");
    assert_eq!(refusal(&default, &chain), ["rim_signature_count"]);
}

#[test]
fn refuses_the_signature_of_another_manifest() {
    let Case { chain, signature, .. } = case();
    let other = edited(&body(), "550.144.03", "550.144.04").replace("@SIGNATURE@", &signature);
    assert_eq!(refusal(&other, &chain), ["rim_digest"]);
}

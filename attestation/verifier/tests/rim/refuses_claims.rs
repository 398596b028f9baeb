//! Well-signed manifests whose claims are not of the one form.

use crate::support::*;
use anchorhold_verifier::nvidia::rim::Kind;

fn with(from: &str, to: &str) -> Vec<String> {
    refusal_of_body(&edited(&body(), from, to))
}

#[test]
fn refuses_tags_that_are_not_primary_or_not_complete() {
    for (from, to) in [
        ("patch=\"false\"", "patch=\"true\""),
        ("corpus=\"false\"", "corpus=\"true\""),
        ("supplemental=\"false\"", "supplemental=\"1\""),
        (" tagId=\"a1b2\"", ""),
        ("tagId=\"a1b2\"", "tagId=\"\""),
        ("tagId=\"a1b2\"", "tagId=\"a b\""),
        ("<ns0:Payload>", "<ns0:Payload></ns0:Payload><ns0:Payload>"),
        ("<ns0:Meta ", "<ns0:Meta></ns0:Meta><ns0:Meta "),
        ("<ns0:Entity ", "<ns0:Link></ns0:Link><ns0:Entity "),
        ("<ns0:Payload>", "text<ns0:Payload>"),
    ] {
        assert_eq!(with(from, to), ["rim_tag"], "{to}");
    }
    let long = format!("tagId=\"{}\"", "a".repeat(129));
    assert_eq!(with("tagId=\"a1b2\"", &long), ["rim_tag"]);
    let renamed = |name: &str| {
        let text = body().replace(&format!("<ns0:{name}"), "<ns0:Entity");
        refusal_of_body(&text.replace(&format!("</ns0:{name}>"), "</ns0:Entity>"))
    };
    assert_eq!(renamed("Payload"), ["rim_tag"]);
    assert_eq!(renamed("Meta"), ["rim_tag"]);
}

#[test]
fn refuses_meta_that_is_not_complete() {
    for (from, to) in [
        (" colloquialVersion=\"550.144.03\"", ""),
        (" product=\"GH100\"", ""),
        (" edition=\"GPU\"", ""),
        ("product=\"GH100\"", "product=\"\""),
        ("product=\"GH100\"", "product=\"GH 100\""),
        ("PayloadType=\"direct\"", "PayloadType=\"indirect\""),
        ("PayloadType=\"direct\" ", ""),
        ("</ns0:Meta>", "<ns0:Meta></ns0:Meta></ns0:Meta>"),
    ] {
        assert_eq!(with(from, to), ["rim_meta"], "{to}");
    }
}

#[test]
fn tells_kinds_apart_and_refuses_others() {
    let kind = |edition: &str, version: &str| {
        let chain = Chain::new();
        let text = edited(&body(), "edition=\"GPU\"", &format!("edition=\"{edition}\""));
        let signed = sign(&edited(&text, "550.144.03", version), &chain);
        judge(&signed, &chain).map(|rim| rim.claims().kind()).map_err(|refusal| refusal.code().to_string())
    };
    assert_eq!(kind("GPU", "550.144.03"), Ok(Kind::Driver));
    assert_eq!(kind("GPU", "545.00"), Ok(Kind::Driver));
    assert_eq!(kind("GPU", "96.00.5E.00.01"), Ok(Kind::Vbios));
    assert_eq!(kind("SWITCH", "96.10.55.00.01"), Ok(Kind::SwitchBios));
    for (edition, version) in [
        ("SWITCH", "550.144.03"),
        ("gpu", "550.144.03"),
        ("CPU", "550.144.03"),
        ("GPU", "550"),
        ("GPU", "550.144.03.1"),
        ("GPU", "550..03"),
        ("GPU", "550.144.0a"),
        ("GPU", "96.00.5G.00.01"),
        ("GPU", "96.00.5.00.01"),
        ("GPU", "96.00.5E.00.01.02"),
    ] {
        assert_eq!(kind(edition, version), Err("rim_kind".to_string()), "{edition} {version}");
    }
}

#[test]
fn refuses_resources_of_another_form() {
    let good = resource(0, true, &[1]);
    let hash = format!("ns2:Hash0=\"{}\"", hex(1));
    for (from, to) in [
        ("type=\"Measurement\"", "type=\"OpaqueData\""),
        (" type=\"Measurement\"", ""),
        ("active=\"True\"", "active=\"true\""),
        ("active=\"True\"", "active=\"1\""),
        ("active=\"True\" ", ""),
        ("index=\"0\"", "index=\"00\""),
        ("index=\"0\"", "index=\"+0\""),
        ("index=\"0\"", "index=\"-1\""),
        ("index=\"0\"", "index=\"254\""),
        ("index=\"0\"", "index=\"256\""),
        ("index=\"0\" ", ""),
        ("size=\"48\"", "size=\"32\""),
        ("size=\"48\" ", ""),
        (" name=\"Measurement_0\"", ""),
        ("alternatives=\"1\"", "alternatives=\"0\""),
        ("alternatives=\"1\"", "alternatives=\"2\""),
        ("alternatives=\"1\" ", ""),
        ("name=", "mask=\"\" name="),
        (&format!(" {hash}"), ""),
        (&hash, &format!("ns2:Hash1=\"{}\"", hex(1))),
        (&hash, &format!("{hash} ns2:Hash1=\"{}\"", hex(1))),
        (&hash, "ns2:Hash0=\"\""),
        (&hash, &format!("ns2:Hash0=\"{}00\"", hex(1))),
        (&hash, &format!("ns2:Hash0=\"{}\"", hex(1).replacen("01", "0g", 1))),
        (&hash, &format!("ns2:Hash0=\"{}\"", hex(1).replacen("01", "+1", 1))),
        ("</ns0:Resource>", "text</ns0:Resource>"),
        ("</ns0:Resource>", "<ns0:Resource></ns0:Resource></ns0:Resource>"),
    ] {
        assert_eq!(refusal_of_body(&body_with(&edited(&good, from, to))), ["rim_resource"], "{to}");
    }
    let bare = format!("<ns0:Resource Hash0=\"{}\"", hex(1));
    let bare = edited(&edited(&good, &format!(" {hash}"), ""), "<ns0:Resource", &bare);
    assert_eq!(refusal_of_body(&body_with(&bare)), ["rim_resource"]);
    let renamed = good.replace("ns0:Resource", "ns0:File");
    assert_eq!(refusal_of_body(&body_with(&renamed)), ["rim_resource"]);
    assert_eq!(refusal_of_body(&body_with(&format!("text{good}"))), ["rim_resource"]);
    assert_eq!(with("<ns0:Payload>", "<ns0:Payload a=\"\">"), ["rim_resource"]);
}

#[test]
fn holds_the_values_of_one_resource_to_a_limit() {
    assert_eq!(refusal_of_body(&body_with(&resource(0, true, &[1; 32]))), [""; 0]);
    assert_eq!(refusal_of_body(&body_with(&resource(0, true, &[1; 33]))), ["rim_resource"]);
}

#[test]
fn refuses_an_index_twice() {
    let twice = [resource(3, true, &[1]), resource(4, false, &[1]), resource(3, false, &[2])].concat();
    assert_eq!(refusal_of_body(&body_with(&twice)), ["rim_resource_duplicate"]);
}

#[test]
fn refuses_a_manifest_that_asks_for_nothing() {
    assert_eq!(refusal_of_body(&body_with(&resource(0, false, &[1]))), ["rim_no_values"]);
    assert_eq!(refusal_of_body(&body_with("")), ["rim_no_values"]);
}

#[test]
fn reads_resources_in_any_order() {
    let chain = Chain::new();
    let mixed =
        body_with(&[resource(9, true, &[9]), resource(253, true, &[1]), resource(0, true, &[0xab])].concat());
    let rim = judge(&sign(&mixed, &chain), &chain).unwrap();
    let indices: Vec<u8> = rim.claims().reference_values().iter().map(|(index, _)| index).collect();
    assert_eq!(indices, [0, 9, 253]);
    let upper = edited(&mixed, &hex(0xab), &hex(0xab).to_uppercase());
    assert_eq!(
        judge(&sign(&upper, &chain), &chain).unwrap().claims().resources()[0].alternatives,
        [[0xab; 48]]
    );
}

use crate::samples::{children, folder};
use anchorhold_attester::software::gpu::{RimResource, RimSignature, RimTemplate};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA384, digest};
use ring::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    text.split_once(start).unwrap().1.split_once(end).unwrap().0
}

fn attribute(element: &str, name: &str) -> String {
    between(element, &format!(" {name}=\""), "\"").to_owned()
}

fn read(text: &str) -> RimTemplate {
    let meta = between(text, "<ns0:Meta", "/>");
    let resources = text
        .split("<ns0:Resource")
        .skip(1)
        .map(|rest| {
            let element = rest.split_once("/>").unwrap().0;
            let count: usize = attribute(element, "alternatives").parse().unwrap();
            RimResource {
                kind: attribute(element, "type"),
                index: attribute(element, "index"),
                active: attribute(element, "active"),
                alternatives: attribute(element, "alternatives"),
                name: attribute(element, "name"),
                size: attribute(element, "size"),
                hashes: (0..count).map(|number| attribute(element, &format!("ns2:Hash{number}"))).collect(),
            }
        })
        .collect();
    RimTemplate {
        product: attribute(meta, "product"),
        edition: attribute(meta, "edition"),
        version: attribute(meta, "colloquialVersion"),
        tag_id: attribute(text, "tagId"),
        maker: attribute(between(text, "<ns0:Entity", "/>"), "name"),
        resources,
    }
}

/// The element SignedInfo with start and end tags, as canonical form has them.
fn signed_info(text: &str) -> String {
    let inner = between(text, "<ds:SignedInfo>", "</ds:SignedInfo>");
    let expanded: Vec<String> = inner
        .split("/>")
        .map(|part| match part.rsplit_once('<') {
            Some((_, element)) if !element.contains('>') => {
                format!("{part}></{}>", element.split(' ').next().unwrap())
            }
            _ => part.to_owned(),
        })
        .collect();
    format!("<ds:SignedInfo>{}</ds:SignedInfo>", expanded.concat())
}

fn certificates(text: &str) -> Vec<Vec<u8>> {
    let decode = |rest: &str| {
        let body: String = rest.split('<').next().unwrap().split_whitespace().collect();
        STANDARD.decode(body).unwrap()
    };
    text.split("<ds:X509Certificate>").skip(1).map(decode).collect()
}

/// The point of a P-384 certificate: the last 97 bytes of its SubjectPublicKeyInfo.
fn point(certificate: &[u8]) -> Vec<u8> {
    let signed = children(children(children(certificate)[0].1)[0].1);
    children(signed[6].1)[1].1[1..].to_vec()
}

/// What NVIDIA digested and signed is what the writer writes for the same contents.
#[test]
fn real_manifests_are_written_again_as_what_was_signed() {
    let Some(folder) = folder() else { return };
    for name in [
        "hopper-545-full/driver-rim.xml",
        "hopper-545-full/vbios-rim.xml",
        "hopper-535/vbios-rim.xml",
        "switch-ls10/bios-rim.xml",
        "rim/driver-rim-good.xml",
    ] {
        let text = std::fs::read_to_string(folder.join("nvidia").join(name)).unwrap();
        let document = read(&text).document();
        let stated = between(&text, "<ds:DigestValue>", "<");
        assert_eq!(STANDARD.encode(digest(&SHA384, document.as_bytes())), stated, "{name}");

        let signature = RimSignature {
            signed_info: signed_info(&text),
            value: between(&text, "<ds:SignatureValue>", "<").to_owned(),
            certificates: certificates(&text),
        };
        let value = STANDARD.decode(&signature.value).unwrap();
        UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point(&signature.certificates[0]))
            .verify(signature.canonical_signed_info().as_bytes(), &value)
            .unwrap_or_else(|_| panic!("{name}"));
        // KeyInfo and SignatureValue as they stand there; SignedInfo stands there with short empty elements.
        let element = signature.element();
        let (_, after) = element.split_once("</ds:SignedInfo>").unwrap();
        assert!(text.contains(after), "{name}");
    }
}

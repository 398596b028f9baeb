//! One way to make a manifest, one to judge it, and the folder of real samples.
//!
//! The texts here are written in canonical form, so that what is signed is the text itself and not the output of the
//! code under test.

use crate::certificates::{SIGNS_DATA, Template};
use crate::stops::assert_stops;
use anchorhold_attester::software::{Curve, SigningKey};
use anchorhold_rats::Timestamp;
use anchorhold_verifier::dangerous::{SimulatedRoots, simulated_anchors};
use anchorhold_verifier::nvidia::rim::{AuthenticRim, authenticate};
use anchorhold_verifier::{Authentic, Refusal, TrustAnchors};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::digest::{SHA384, digest};
use std::collections::BTreeMap;
use std::path::PathBuf;

pub(crate) const SWID: &str = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd";
pub(crate) const HASHES: &str = "http://www.w3.org/2001/04/xmlenc#sha384";
pub(crate) const DS: &str = "http://www.w3.org/2000/09/xmldsig#";
/// Where the signature goes.
const MARK: &str = "@SIGNATURE@";

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn now() -> Timestamp {
    at("2026-07-25T00:00:00Z")
}

/// A chain of root, CA, issuer and signer, of which any certificate can be changed before it is signed.
pub(crate) struct Chain {
    pub(crate) signer_key: SigningKey,
    /// Signer first, root last.
    pub(crate) certificates: Vec<Vec<u8>>,
}

impl Chain {
    pub(crate) fn new() -> Self {
        Self::with(|_, _| {})
    }

    /// `edit` gets each template with its number: 0 is the signer, 3 the root.
    pub(crate) fn with(edit: impl Fn(usize, &mut Template)) -> Self {
        Self::on([Curve::P384; 4], edit)
    }

    /// The same with keys on these curves, each of which signs in its own way.
    pub(crate) fn on(curves: [Curve; 4], edit: impl Fn(usize, &mut Template)) -> Self {
        let keys = curves.map(|curve| SigningKey::generate(curve).unwrap());
        let mut certificates = Vec::new();
        for (number, key) in keys.iter().enumerate() {
            let issuer = (number + 1).min(3);
            let mut template = Template::new(&format!("name {number}"), &format!("name {issuer}"), key);
            match number {
                0 => (template.is_ca, template.usage) = (false, Some(SIGNS_DATA)),
                1 => template.path_length = Some(0),
                _ => {}
            }
            edit(number, &mut template);
            certificates.push(template.sign(&keys[issuer]));
        }
        let signer_key = keys.into_iter().next().unwrap();
        Self { signer_key, certificates }
    }

    pub(crate) fn root(&self) -> &[u8] {
        self.certificates.last().unwrap()
    }

    pub(crate) fn anchors(&self) -> TrustAnchors {
        simulated_anchors(&SimulatedRoots { nvidia_rim: Some(self.root()), ..SimulatedRoots::default() })
            .unwrap()
    }
}

pub(crate) fn resource(index: u8, active: bool, values: &[u8]) -> String {
    let active = if active { "True" } else { "False" };
    // Canonical XML sorts names as text.
    let by_name: BTreeMap<String, u8> =
        values.iter().enumerate().map(|(number, byte)| (format!("Hash{number}"), *byte)).collect();
    let hashes: String =
        by_name.iter().map(|(name, byte)| format!(" ns2:{name}=\"{}\"", hex(*byte))).collect();
    let alternatives = values.len();
    format!(
        r#"<ns0:Resource active="{active}" alternatives="{alternatives}" index="{index}" name="Measurement_{index}" size="48" type="Measurement"{hashes}></ns0:Resource>"#
    )
}

/// The value that repeats one byte.
pub(crate) fn hex(byte: u8) -> String {
    format!("{byte:02x}").repeat(48)
}

/// A manifest of three Resources before it is signed, with a mark where the signature goes.
pub(crate) fn body() -> String {
    body_with(&[resource(0, true, &[1]), resource(1, true, &[2, 3]), resource(2, false, &[0])].concat())
}

pub(crate) fn body_with(resources: &str) -> String {
    let meta = r#"<ns0:Meta PayloadType="direct" colloquialVersion="550.144.03" edition="GPU" product="GH100"></ns0:Meta>"#;
    format!(
        "<SoftwareIdentity xmlns=\"{SWID}\" xmlns:ns0=\"{SWID}\" xmlns:ns2=\"{HASHES}\" corpus=\"false\" name=\"GH100\" \
         patch=\"false\" supplemental=\"false\" tagId=\"a1b2\" tagVersion=\"0\" version=\"1.0\">\n    \
         <ns0:Entity name=\"NVIDIA Corporation\" role=\"tagCreator\"></ns0:Entity>\n    {meta}\n    \
         <ns0:Payload>{resources}</ns0:Payload>\n{MARK}</SoftwareIdentity>"
    )
}

/// The canonical SignedInfo over a document with this digest, with the namespaces that the root hands down.
pub(crate) fn signed_info(body: &str) -> String {
    let document = body.replace(MARK, "");
    let digest = STANDARD.encode(digest(&SHA384, document.as_bytes()));
    format!(
        "<ds:SignedInfo xmlns=\"{SWID}\" xmlns:ds=\"{DS}\" xmlns:ns0=\"{SWID}\" xmlns:ns2=\"{HASHES}\">\
         <ds:CanonicalizationMethod Algorithm=\"http://www.w3.org/2006/12/xml-c14n11\"></ds:CanonicalizationMethod>\
         <ds:SignatureMethod Algorithm=\"http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384\"></ds:SignatureMethod>\
         <ds:Reference URI=\"\"><ds:Transforms>\
         <ds:Transform Algorithm=\"http://www.w3.org/2000/09/xmldsig#enveloped-signature\"></ds:Transform>\
         <ds:Transform Algorithm=\"http://www.w3.org/2006/12/xml-c14n11\"></ds:Transform></ds:Transforms>\
         <ds:DigestMethod Algorithm=\"http://www.w3.org/2001/04/xmldsig-more#sha384\"></ds:DigestMethod>\
         <ds:DigestValue>{digest}</ds:DigestValue></ds:Reference></ds:SignedInfo>"
    )
}

pub(crate) fn key_info(chain: &Chain) -> String {
    let certificates: String = chain
        .certificates
        .iter()
        .map(|der| format!("<ds:X509Certificate>{}</ds:X509Certificate>", STANDARD.encode(der)))
        .collect();
    format!("<ds:KeyInfo><ds:X509Data>{certificates}</ds:X509Data></ds:KeyInfo>")
}

/// The Signature element around this SignedInfo, which is signed as it stands.
pub(crate) fn signature(signed_info: &str, chain: &Chain) -> String {
    let mut value = chain.signer_key.sign_fixed(signed_info.as_bytes(), "manifest").unwrap();
    // That of a smaller curve is made as long, so that its length is not what it is refused for.
    value.resize(96, 0);
    let value = STANDARD.encode(value);
    let key_info = key_info(chain);
    format!(
        "<ds:Signature xmlns:ds=\"{DS}\">{signed_info}<ds:SignatureValue>{value}</ds:SignatureValue>{key_info}</ds:Signature>"
    )
}

/// A signed manifest.
pub(crate) fn sign(body: &str, chain: &Chain) -> String {
    body.replace(MARK, &signature(&signed_info(body), chain))
}

/// A manifest whose SignedInfo was changed before signing.
pub(crate) fn sign_info(edit: impl Fn(&str) -> String, chain: &Chain) -> String {
    let body = body();
    let info = edit(&signed_info(&body));
    assert_ne!(info, signed_info(&body));
    body.replace(MARK, &signature(&info, chain))
}

/// The text with `from`, which must be there, replaced.
pub(crate) fn edited(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1)
}

pub(crate) fn judge(xml: &str, chain: &Chain) -> Result<Authentic<AuthenticRim>, Refusal> {
    authenticate(xml.as_bytes(), &chain.anchors(), now())
}

/// The codes of all rules that failed, in order.
pub(crate) fn failed(result: Result<Authentic<AuthenticRim>, Refusal>) -> Vec<String> {
    match result {
        Ok(_) => Vec::new(),
        Err(refusal) => {
            assert_stops(&refusal, &["rim_tag"]);
            if refusal.code() != "rim_digest" {
                assert_stops(&refusal, &["rim_signature"]);
            }
            refusal.checks().failed().map(|check| check.code.to_string()).collect()
        }
    }
}

/// The codes with which a manifest is refused.
pub(crate) fn refusal(xml: &str, chain: &Chain) -> Vec<String> {
    failed(judge(xml, chain))
}

/// The codes with which a well-signed manifest of this text is refused.
pub(crate) fn refusal_of_body(body: &str) -> Vec<String> {
    let chain = Chain::new();
    refusal(&sign(body, &chain), &chain)
}

/// The folder of real samples, or `None` where a developer does not have it. CI must have it.
pub(crate) fn samples() -> Option<PathBuf> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/evidence/nvidia"));
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing", folder.display());
    eprintln!("skipped: no real samples at {}", folder.display());
    None
}

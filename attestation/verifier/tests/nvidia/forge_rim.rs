//! Manifests under the root of these tests. Their text is written in canonical form, so what is signed is the text itself
//! and not the output of the code under test.

use crate::forge::*;
use anchorhold_rats::Der;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::digest::{SHA384, digest};
use ring::rand::SystemRandom;

const SWID: &str = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd";
const DS: &str = "http://www.w3.org/2000/09/xmldsig#";

/// A manifest before it is signed.
pub(crate) struct Rim {
    pub(crate) edition: &'static str,
    pub(crate) product: &'static str,
    pub(crate) version: &'static str,
    /// Index, from 0, and the byte that its value repeats.
    pub(crate) values: Vec<(u8, u8)>,
}

impl Rim {
    /// Of the driver of [`Device::gpu`].
    pub(crate) fn driver() -> Self {
        let values = (7..20).map(|index| (index, index + 1)).collect();
        Self { edition: "GPU", product: "GH100", version: "590.12", values }
    }

    /// Of its VBIOS.
    pub(crate) fn vbios() -> Self {
        let values = (0..7).map(|index| (index, index + 1)).collect();
        Self { edition: "GPU", product: "GH100", version: "96.00.A5.00.01", values }
    }

    /// Of the BIOS of [`Device::switch`].
    pub(crate) fn switch() -> Self {
        let values = (0..31).map(|index| (index, index + 1)).collect();
        Self { edition: "SWITCH", product: "LS10", version: "96.10.55.00.01", values }
    }

    pub(crate) fn sign(&self) -> Der {
        let resources: String = self.values.iter().map(|(index, byte)| resource(*index, *byte)).collect();
        let Self { edition, product, version, .. } = self;
        let open = format!(
            "<SoftwareIdentity xmlns=\"{SWID}\" xmlns:ns2=\"http://www.w3.org/2001/04/xmlenc#sha384\" corpus=\"false\" \
             name=\"{product}\" patch=\"false\" supplemental=\"false\" tagId=\"a1b2\" tagVersion=\"0\" version=\"1.0\">\
             <Entity name=\"Anchorhold\" role=\"tagCreator\"></Entity><Meta PayloadType=\"direct\" \
             colloquialVersion=\"{version}\" edition=\"{edition}\" product=\"{product}\"></Meta>\
             <Payload>{resources}</Payload>"
        );
        let close = "</SoftwareIdentity>";
        let value = STANDARD.encode(digest(&SHA384, format!("{open}{close}").as_bytes()));
        let info = signed_info(&value);
        let authority = &AUTHORITY;
        let signature = authority.rim_signer.fixed.sign(&SystemRandom::new(), info.as_bytes()).unwrap();
        let signature = STANDARD.encode(signature.as_ref());
        let certificates: String = [rim_signer().sign(&authority.rim_root), authority.rim_root_der.clone()]
            .iter()
            .map(|der| format!("<ds:X509Certificate>{}</ds:X509Certificate>", STANDARD.encode(der)))
            .collect();
        let xml = format!(
            "{open}<ds:Signature xmlns:ds=\"{DS}\">{info}<ds:SignatureValue>{signature}</ds:SignatureValue>\
             <ds:KeyInfo><ds:X509Data>{certificates}</ds:X509Data></ds:KeyInfo></ds:Signature>{close}"
        );
        Der(xml.into_bytes())
    }
}

/// The certificate of the manifests' signer.
pub(crate) fn rim_signer() -> Template {
    let subject = name(None, "Simulated RIM signer");
    Template::new(subject, &AUTHORITY.rim_signer.asn1, rim_root_name(), vec![signs_data()])
}

fn resource(index: u8, byte: u8) -> String {
    let value = format!("{byte:02x}").repeat(48);
    format!(
        "<Resource active=\"True\" alternatives=\"1\" index=\"{index}\" name=\"Measurement_{index}\" size=\"48\" \
         type=\"Measurement\" ns2:Hash0=\"{value}\"></Resource>"
    )
}

fn signed_info(digest: &str) -> String {
    format!(
        "<ds:SignedInfo xmlns=\"{SWID}\" xmlns:ds=\"{DS}\" xmlns:ns2=\"http://www.w3.org/2001/04/xmlenc#sha384\">\
         <ds:CanonicalizationMethod Algorithm=\"http://www.w3.org/2006/12/xml-c14n11\"></ds:CanonicalizationMethod>\
         <ds:SignatureMethod Algorithm=\"http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384\"></ds:SignatureMethod>\
         <ds:Reference URI=\"\"><ds:Transforms>\
         <ds:Transform Algorithm=\"http://www.w3.org/2000/09/xmldsig#enveloped-signature\"></ds:Transform>\
         <ds:Transform Algorithm=\"http://www.w3.org/2006/12/xml-c14n11\"></ds:Transform></ds:Transforms>\
         <ds:DigestMethod Algorithm=\"http://www.w3.org/2001/04/xmldsig-more#sha384\"></ds:DigestMethod>\
         <ds:DigestValue>{digest}</ds:DigestValue></ds:Reference></ds:SignedInfo>"
    )
}

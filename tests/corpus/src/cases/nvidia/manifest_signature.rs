//! Reference manifests: their XML, their signature, and the certificates of their signer.

use super::manifest::Manifests;
use super::{Edit, Made, at};
use crate::writer::{Case, Suite};
use anchorhold_attester::software::certificate::Extension;
use anchorhold_attester::software::gpu::{
    RimSignature, RimSigner, RimTemplates, nvidia_name, simulated_nvidia_device_root_der,
    simulated_nvidia_rim_root_der,
};
use anchorhold_attester::software::{Curve, SigningKey};

const STAGE: &str = "rim";
const YEAR: i64 = 365 * 86_400;
const END: &str = "</SoftwareIdentity>";

/// With another manifest for the driver.
fn with(made: &Made, manifests: &Manifests, xml: impl Into<Vec<u8>>) -> Case {
    manifests.case(made).file("driver-rim", xml)
}

pub(super) fn write(suite: &mut Suite, made: &Made, manifests: &Manifests) -> anyhow::Result<()> {
    xml(suite, made, manifests)?;
    shape(suite, made, manifests)?;
    signed_info(suite, made, manifests)?;
    signature(suite, made, manifests)?;
    presented(suite, made, manifests)?;
    certificates(suite, made, manifests)
}

/// Changes of the text around what is signed; canonical XML leaves comments and document types out.
fn xml(suite: &mut Suite, made: &Made, manifests: &Manifests) -> anyhow::Result<()> {
    let good = std::str::from_utf8(&manifests.driver)?;
    let deep = format!("{}{}{END}", "<a>".repeat(20), "</a>".repeat(20));
    let attributes: String = (0..70).map(|number| format!(" a{number}=\"\"")).collect();
    for (id, code, from, to) in [
        ("comment", "rim_xml_feature", "<ns0:Meta ", "<!-- x --><ns0:Meta "),
        ("doctype", "rim_xml_feature", "<SoftwareIdentity ", "<!DOCTYPE x><SoftwareIdentity "),
        (
            "entity",
            "rim_xml_feature",
            "<SoftwareIdentity ",
            "<!DOCTYPE x [<!ENTITY a \"b\">]><SoftwareIdentity ",
        ),
        ("instruction", "rim_xml_feature", "<ns0:Meta ", "<?x y?><ns0:Meta "),
        ("cdata", "rim_xml_feature", "</SoftwareIdentity>", "<![CDATA[x]]></SoftwareIdentity>"),
        ("not-closed", "rim_xml_malformed", END, ""),
        ("attribute-twice", "rim_xml_malformed", "<ns0:Meta ", "<ns0:Meta edition=\"GPU\" "),
        ("prefix", "rim_xml_malformed", "<ns0:Meta ", "<ns9:Meta "),
        ("deep", "rim_xml_limit", END, deep.as_str()),
        ("attributes", "rim_xml_limit", " corpus=", &format!("{attributes} corpus=")),
        ("namespace", "rim_root", "/-2/2015/schema.xsd\"", "/-2/2009/schema.xsd\""),
    ] {
        let case = with(made, manifests, good.replacen(from, to, 1)).refused(STAGE, code);
        suite.add(format!("nvidia-rim-xml-{id}"), case, "another text")?;
    }
    let case = with(made, manifests, "").refused(STAGE, "rim_xml_malformed");
    suite.add("nvidia-rim-xml-empty", case, "no text")?;
    let renamed = good.replace("SoftwareIdentity", "SoftwareIdentities");
    suite.add(
        "nvidia-rim-xml-root",
        with(made, manifests, renamed).refused(STAGE, "rim_root"),
        "another root element",
    )
}

/// Signatures that lenient readers take, since the digest and the signature itself still hold.
fn shape(suite: &mut Suite, made: &Made, manifests: &Manifests) -> anyhow::Result<()> {
    let document = manifests.template.document();
    let element = manifests.signer.signature(&document)?.element();
    let good = std::str::from_utf8(&manifests.driver)?;
    let inside = document.replacen("</ns0:Entity>", &format!("{element}</ns0:Entity>"), 1);
    for (id, code, text, why) in [
        ("none", "rim_signature_count", document.clone(), "no Signature"),
        (
            "twice",
            "rim_signature_count",
            document.replacen(END, &format!("{element}{element}{END}"), 1),
            "two Signatures",
        ),
        ("inside", "rim_signature_place", inside, "the Signature stands in the Entity"),
        (
            "object",
            "rim_signature_shape",
            good.replacen("</ds:KeyInfo>", "</ds:KeyInfo><ds:Object></ds:Object>", 1),
            "an Object in the Signature",
        ),
        (
            "id",
            "rim_signature_shape",
            good.replacen("<ds:Signature ", "<ds:Signature Id=\"a\" ", 1),
            "the Signature has a name",
        ),
        (
            "key-value",
            "rim_key_info",
            good.replacen("<ds:KeyInfo>", "<ds:KeyInfo><ds:KeyName>a</ds:KeyName>", 1),
            "a KeyName in KeyInfo",
        ),
        (
            "key-subject",
            "rim_key_info",
            good.replacen("<ds:X509Data>", "<ds:X509Data><ds:X509SubjectName>a</ds:X509SubjectName>", 1),
            "a name beside the certificates",
        ),
    ] {
        let case = with(made, manifests, text).refused(STAGE, code);
        suite.add(format!("nvidia-rim-signature-{id}"), case, why)?;
    }
    Ok(())
}

/// What SignedInfo asks for, signed again.
fn signed_info(suite: &mut Suite, made: &Made, manifests: &Manifests) -> anyhow::Result<()> {
    const CANONICAL: &str = "http://www.w3.org/2006/12/xml-c14n11";
    const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";
    let document = manifests.template.document();
    let good = manifests.signer.signature(&document)?;
    let transform = |algorithm: &str| format!("<ds:Transform Algorithm=\"{algorithm}\"></ds:Transform>");
    let (enveloped, canonical) = (transform(ENVELOPED), transform(CANONICAL));
    let [start, end] = ["<ds:Reference", "</ds:Reference>"].map(|mark| good.signed_info.find(mark));
    let reference =
        start.zip(end).and_then(|(start, end)| good.signed_info.get(start..end)).unwrap_or_default();
    let twice = format!("{reference}</ds:Reference>{reference}");
    for (id, code, from, to) in [
        (
            "exclusive",
            "rim_algorithms",
            "CanonicalizationMethod Algorithm=\"http://www.w3.org/2006/12/xml-c14n11\"",
            "CanonicalizationMethod Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"".to_owned(),
        ),
        ("sha256", "rim_algorithms", "#ecdsa-sha384", "#ecdsa-sha256".to_owned()),
        ("hmac", "rim_algorithms", "xmldsig-more#ecdsa-sha384", "xmldsig-more#hmac-sha384".to_owned()),
        ("digest-method", "rim_algorithms", "xmldsig-more#sha384", "xmldsig-more#sha224".to_owned()),
        ("part", "rim_reference", "URI=\"\"", "URI=\"#a\"".to_owned()),
        ("two-references", "rim_reference", reference, twice),
        ("no-canonical", "rim_transforms", &canonical, String::new()),
        ("no-enveloped", "rim_transforms", &enveloped, String::new()),
        ("xpath", "rim_transforms", &enveloped, transform("http://www.w3.org/TR/1999/REC-xpath-19991116")),
    ] {
        let mut signature = good.clone();
        signature.signed_info = signature.signed_info.replacen(from, &to, 1);
        manifests.signer.renew(&mut signature)?;
        let case = with(made, manifests, signature.insert_into(&document)).refused(STAGE, code);
        suite.add(format!("nvidia-rim-info-{id}"), case, "SignedInfo asks for something else")?;
    }
    Ok(())
}

fn signature(suite: &mut Suite, made: &Made, manifests: &Manifests) -> anyhow::Result<()> {
    let document = manifests.template.document();
    let good = manifests.signer.signature(&document)?;
    let changed = document.replacen("revision=\"r1\"", "revision=\"r2\"", 1);
    let case = with(made, manifests, good.insert_into(&changed)).refused(STAGE, "rim_digest");
    suite.add("nvidia-rim-changed", case, "changed after signing")?;
    let value = manifests.signer.signature(&changed)?.value;
    let other = RimSignature { value, ..good.clone() };
    let case = with(made, manifests, other.insert_into(&document)).refused(STAGE, "rim_signature");
    suite.add("nvidia-rim-other-value", case, "the signature over another manifest")?;
    let stranger = RimSigner::make(made.device.config().chip, at()?)?;
    let other = RimSignature { certificates: good.certificates.clone(), ..stranger.signature(&document)? };
    let case = with(made, manifests, other.insert_into(&document)).refused(STAGE, "rim_signature");
    suite.add("nvidia-rim-other-key", case, "another signer with these certificates")?;
    let other = RimSignature { value: "AAAA".to_owned(), ..good };
    let case = with(made, manifests, other.insert_into(&document)).refused(STAGE, "rim_signature_shape");
    suite.add("nvidia-rim-short-value", case, "a signature of three bytes")
}

/// Other lists of certificates.
fn presented(suite: &mut Suite, made: &Made, manifests: &Manifests) -> anyhow::Result<()> {
    let document = manifests.template.document();
    let good = manifests.signer.signature(&document)?;
    let templates = manifests.signer.templates();
    let stranger = SigningKey::generate(Curve::P384)?;
    let forged = [templates.signer.sign_ecdsa(&stranger)?, templates.second.sign_ecdsa(&stranger)?];
    let [root, device_root] =
        [simulated_nvidia_rim_root_der().to_vec(), simulated_nvidia_device_root_der().to_vec()];
    let [signer, third, second] =
        [0, 1, 2].map(|place| good.certificates.get(place).cloned().unwrap_or_default());
    let cut = signer.split_last().map(|(_, rest)| rest.to_vec()).unwrap_or_default();
    let [forged_signer, forged_second] = forged;
    let [signer, third, second, root] = [&signer, &third, &second, &root];
    for (id, code, chain) in [
        ("none", "rim_certificate_count", vec![]),
        ("root-only", "rim_certificate_count", vec![root]),
        ("five", "rim_certificate_count", vec![signer, third, second, second, root]),
        ("cut", "rim_certificate_malformed", vec![&cut, third, second, root]),
        ("other-root", "rim_certificate_root", vec![signer, third, second, &device_root]),
        ("swapped", "rim_certificate_issuer", vec![signer, second, third, root]),
        ("gap", "rim_certificate_issuer", vec![signer, second, root]),
        ("signer-forged", "rim_certificate_signature", vec![&forged_signer, third, second, root]),
        ("second-forged", "rim_certificate_signature", vec![signer, third, &forged_second, root]),
    ] {
        let certificates = chain.into_iter().cloned().collect();
        let other = RimSignature { certificates, ..good.clone() };
        let case = with(made, manifests, other.insert_into(&document)).refused(STAGE, code);
        suite.add(format!("nvidia-rim-chain-{id}"), case, "another list of certificates")?;
    }
    let certificates = vec![signer.clone(), third.clone(), second.clone()];
    let case = with(made, manifests, RimSignature { certificates, ..good }.insert_into(&document));
    suite.add("nvidia-rim-good-no-root", case, "the root is not sent along")
}

/// What the certificates say, certified again.
fn certificates(suite: &mut Suite, made: &Made, manifests: &Manifests) -> anyhow::Result<()> {
    let edits: [(&str, Edit<RimTemplates>, &str, &str); 8] = [
        (
            "issuer",
            |t| t.signer.issuer = nvidia_name("NVIDIA Reference Value L3 GH100 002"),
            "rim_certificate_issuer",
            "the signer names another issuer",
        ),
        (
            "third-no-ca",
            |t| replace(&mut t.third.extensions, Extension::end_entity()),
            "rim_certificate_authority",
            "the signer's issuer is no CA",
        ),
        (
            "second-path",
            |t| replace(&mut t.second.extensions, Extension::authority(Some(0))),
            "rim_certificate_authority",
            "the CA of the chip allows no CA below it",
        ),
        (
            "third-usage",
            |t| replace(&mut t.third.extensions, Extension::key_usage(0x02)),
            "rim_certificate_authority",
            "the signer's issuer may sign revocation lists only",
        ),
        (
            "signer-ca",
            |t| replace(&mut t.signer.extensions, Extension::authority(None)),
            "rim_signer",
            "the signer is a CA",
        ),
        (
            "signer-usage",
            |t| replace(&mut t.signer.extensions, Extension::key_usage(0x40)),
            "rim_signer",
            "the signer may not sign data",
        ),
        (
            "expired",
            |t| t.signer.not_after = t.signer.not_before.plus_seconds(YEAR - 1),
            "rim_certificate_validity",
            "the signer was valid until a second before",
        ),
        (
            "early",
            |t| t.second.not_before = t.second.not_before.plus_seconds(YEAR + 1),
            "rim_certificate_validity",
            "the CA of the chip is valid from a second after",
        ),
    ];
    let document = manifests.template.document();
    for (id, edit, code, why) in edits {
        let mut signer = RimSigner::make(made.device.config().chip, at()?)?;
        let mut templates = signer.templates().clone();
        edit(&mut templates);
        signer.certify(templates)?;
        let case = with(made, manifests, signer.sign(&document)?).refused(STAGE, code);
        suite.add(format!("nvidia-rim-certificate-{id}"), case, why)?;
    }
    Ok(())
}

/// Puts an extension into the place of the one of its kind.
fn replace(extensions: &mut [Extension], extension: Extension) {
    if let Some(known) = extensions.iter_mut().find(|known| known.id == extension.id) {
        *known = extension;
    }
}

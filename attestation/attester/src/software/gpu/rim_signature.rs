//! The signature of a manifest: enveloped XML-DSig with Canonical XML 1.1, ECDSA P-384 and SHA-384, and the certificates
//! of its signer.

use super::certificates::{OCSP_URI, serial};
use super::device::{answer, delegated};
use super::extensions::ocsp_access;
use super::rim::NAMESPACES;
use super::{Chip, NvidiaRoot, OcspTemplate, nvidia_name};
use crate::software::certificate::{Extension, Template};
use crate::software::{Curve, Error, SigningKey, pem};
use anchorhold_rats::{Der, Timestamp};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA384, digest};

const SIGNATURE_NAMESPACE: &str = "http://www.w3.org/2000/09/xmldsig#";
const CANONICAL: &str = "http://www.w3.org/2006/12/xml-c14n11";
const END: &str = "</SoftwareIdentity>";
const YEAR_SECONDS: i64 = 365 * 86_400;

/// What the certificates of a manifest's signer say, below the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RimTemplates {
    /// Of the signer.
    pub signer: Template,
    /// Of the CA above it.
    pub third: Template,
    /// Of the CA of the chip.
    pub second: Template,
}

/// A signer of manifests, certified below the simulated root.
#[derive(Debug)]
pub struct RimSigner {
    keys: [SigningKey; 3],
    templates: RimTemplates,
    chain: Vec<Vec<u8>>,
}

/// A signature before it is put into a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RimSignature {
    /// The element SignedInfo in canonical form, but for the namespaces that it inherits.
    pub signed_info: String,
    /// SignatureValue: base64 of r and s.
    pub value: String,
    /// The certificates of KeyInfo, DER.
    pub certificates: Vec<Vec<u8>>,
}

impl RimSigner {
    /// A signer for manifests of this chip, certified for two years around `at`.
    ///
    /// # Errors
    /// [`Error`] when there is no randomness or a fixture is damaged.
    pub fn make(chip: Chip, at: Timestamp) -> Result<Self, Error> {
        let key = || SigningKey::generate(Curve::P384);
        let keys = [key()?, key()?, key()?];
        let templates = templates(chip, &keys, at)?;
        let mut signer = Self { keys, templates: templates.clone(), chain: Vec::new() };
        signer.certify(templates)?;
        Ok(signer)
    }

    /// The signed manifest.
    ///
    /// # Errors
    /// [`Error::Signature`] when ring does not sign.
    pub fn sign(&self, document: &str) -> Result<Vec<u8>, Error> {
        Ok(self.signature(document)?.insert_into(document))
    }

    /// The signature over a document in canonical form.
    ///
    /// # Errors
    /// [`Error::Signature`] when ring does not sign.
    pub fn signature(&self, document: &str) -> Result<RimSignature, Error> {
        let document_digest = STANDARD.encode(digest(&SHA384, document.as_bytes()));
        let mut signature = RimSignature {
            signed_info: signed_info(&document_digest),
            value: String::new(),
            certificates: self.chain.clone(),
        };
        self.renew(&mut signature)?;
        Ok(signature)
    }

    /// Signs again what `signed_info` says now.
    ///
    /// # Errors
    /// [`Error::Signature`] when ring does not sign.
    pub fn renew(&self, signature: &mut RimSignature) -> Result<(), Error> {
        let [signer, ..] = &self.keys;
        let value = signer.sign_fixed(signature.canonical_signed_info().as_bytes(), "manifest")?;
        signature.value = STANDARD.encode(value);
        Ok(())
    }

    /// What the certificates below the root say.
    #[must_use]
    pub const fn templates(&self) -> &RimTemplates {
        &self.templates
    }

    /// Certifies the keys again, with what `templates` say.
    ///
    /// # Errors
    /// [`Error`] when ring does not sign or a fixture is damaged.
    pub fn certify(&mut self, templates: RimTemplates) -> Result<(), Error> {
        let [_, third, second] = &self.keys;
        self.chain = vec![
            templates.signer.sign_ecdsa(third)?,
            templates.third.sign_ecdsa(second)?,
            templates.second.sign_ecdsa(&NvidiaRoot::Rim.key()?)?,
            NvidiaRoot::Rim.certificate_der().to_vec(),
        ];
        self.templates = templates;
        Ok(())
    }

    /// OCSP answers that are good at the time `at`, about the three certificates, each with its issuer's key to sign it.
    ///
    /// # Errors
    /// [`Error::Key`] when a fixture is damaged.
    pub fn ocsp_templates(&self, at: Timestamp) -> Result<[(OcspTemplate, SigningKey); 3], Error> {
        let [_, third, second] = &self.keys;
        let templates = &self.templates;
        Ok([
            answer(&templates.signer, third, at)?,
            answer(&templates.third, second, at)?,
            answer(&templates.second, &NvidiaRoot::Rim.key()?, at)?,
        ])
    }

    /// Responses with the same answers, DER, by responders to whom the issuers delegate.
    ///
    /// # Errors
    /// [`Error`] when ring does not sign or a fixture is damaged.
    pub fn ocsp(&self, at: Timestamp) -> Result<Vec<Der>, Error> {
        self.ocsp_templates(at)?.into_iter().map(|(answer, key)| delegated(answer, &key)).collect()
    }
}

impl RimSignature {
    /// The document with this signature before its end tag, and a line feed after it.
    #[must_use]
    pub fn insert_into(&self, document: &str) -> Vec<u8> {
        let (before, after) = document
            .rsplit_once(END)
            .map_or((document, String::new()), |(before, after)| (before, format!("{END}{after}")));
        format!("{before}{}{after}\n", self.element()).into_bytes()
    }

    /// The element Signature.
    #[must_use]
    pub fn element(&self) -> String {
        let certificates: String = self
            .certificates
            .iter()
            .map(|certificate| format!("<ds:X509Certificate>{}</ds:X509Certificate>", pem::body(certificate)))
            .collect();
        format!(
            "<ds:Signature xmlns:ds=\"{SIGNATURE_NAMESPACE}\">{}<ds:SignatureValue>{}</ds:SignatureValue>\
             <ds:KeyInfo><ds:X509Data>{certificates}</ds:X509Data></ds:KeyInfo></ds:Signature>",
            self.signed_info, self.value
        )
    }

    /// SignedInfo as it is signed: with the namespaces that are in scope where it stands.
    #[must_use]
    pub fn canonical_signed_info(&self) -> String {
        let [(name, default), rest @ ..] = NAMESPACES;
        let others: String = rest.iter().map(|(name, uri)| format!(" {name}=\"{uri}\"")).collect();
        let start = format!("<ds:SignedInfo {name}=\"{default}\" xmlns:ds=\"{SIGNATURE_NAMESPACE}\"{others}");
        self.signed_info.replacen("<ds:SignedInfo", &start, 1)
    }
}

fn signed_info(document_digest: &str) -> String {
    let empty = |name: &str, algorithm: &str| format!("<ds:{name} Algorithm=\"{algorithm}\"></ds:{name}>");
    [
        "<ds:SignedInfo>".to_owned(),
        empty("CanonicalizationMethod", CANONICAL),
        empty("SignatureMethod", "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"),
        "<ds:Reference URI=\"\"><ds:Transforms>".to_owned(),
        empty("Transform", "http://www.w3.org/2000/09/xmldsig#enveloped-signature"),
        empty("Transform", CANONICAL),
        "</ds:Transforms>".to_owned(),
        empty("DigestMethod", "http://www.w3.org/2001/04/xmldsig-more#sha384"),
        format!("<ds:DigestValue>{document_digest}</ds:DigestValue></ds:Reference></ds:SignedInfo>"),
    ]
    .concat()
}

/// Two years for the signer and ten for the CAs, all begun a year before `at`.
fn templates(chip: Chip, keys: &[SigningKey; 3], at: Timestamp) -> Result<RimTemplates, Error> {
    let [signer, third, second] = keys;
    let chip = chip.name();
    let names = [
        nvidia_name(&format!("NVIDIA Reference Value L4 {chip}")),
        nvidia_name(&format!("NVIDIA Reference Value L3 {chip} 001")),
        nvidia_name(&format!("NVIDIA Reference Value {chip} CA")),
        NvidiaRoot::Rim.name(),
    ];
    let [signer_name, third_name, second_name, root_name] = &names;
    let template =
        |key: &SigningKey, subject: &[u8], issuer: &[u8], issuer_key: &SigningKey, years: i64| Template {
            serial: serial(key),
            algorithm: Curve::P384.signature_algorithm(),
            issuer: issuer.to_vec(),
            subject: subject.to_vec(),
            not_before: at.plus_seconds(-YEAR_SECONDS),
            not_after: at.plus_seconds((years - 1) * YEAR_SECONDS),
            public_key_info: key.key_info(),
            extensions: vec![
                ocsp_access(OCSP_URI),
                Extension::subject_key(&key.key_identifier()),
                Extension::authority_key(&issuer_key.key_identifier()),
            ],
        };
    let mut templates = RimTemplates {
        signer: template(signer, signer_name, third_name, third, 2),
        third: template(third, third_name, second_name, second, 10),
        second: template(second, second_name, root_name, &NvidiaRoot::Rim.key()?, 10),
    };
    let roles = [
        (&mut templates.signer, Extension::end_entity(), 0x80),
        (&mut templates.third, Extension::authority(Some(0)), 0x06),
        (&mut templates.second, Extension::authority(None), 0x06),
    ];
    for (template, constraints, usage) in roles {
        template.extensions.insert(0, Extension::key_usage(usage));
        template.extensions.insert(0, constraints);
    }
    Ok(templates)
}

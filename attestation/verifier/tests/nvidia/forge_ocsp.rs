//! OCSP responses under the roots of these tests.

use crate::forge::*;
use crate::forge_rim::rim_signer;
use anchorhold_rats::{Der, Timestamp};
use ring::digest::{self, Algorithm};
use ring::rand::SystemRandom;
use ring::signature::{EcdsaKeyPair, KeyPair};

/// A certificate that is asked about, with its issuer.
#[derive(Clone, Copy)]
pub(crate) struct About<'a> {
    pub(crate) certificate: &'a Template,
    pub(crate) issuer: &'a Template,
    pub(crate) issuer_key: &'a EcdsaKeyPair,
}

/// A response with one answer, before it is signed. All of it may be changed.
pub(crate) struct Answer<'a> {
    pub(crate) about: About<'a>,
    pub(crate) hash: (&'static Algorithm, &'static [u8]),
    /// DER of the choice.
    pub(crate) status: Vec<u8>,
    pub(crate) produced: Timestamp,
    pub(crate) this_update: Timestamp,
    pub(crate) next_update: Option<Timestamp>,
    /// DER of the choice; `None` is the issuer by its name.
    pub(crate) responder: Option<Vec<u8>>,
    pub(crate) signer: Option<&'a EcdsaKeyPair>,
    pub(crate) certificates: Vec<Vec<u8>>,
    /// DER of the extensions of the answer.
    pub(crate) extensions: Vec<u8>,
}

pub(crate) const SHA1: &[u8] = b"\x06\x05\x2b\x0e\x03\x02\x1a";
pub(crate) const SHA256: &[u8] = b"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01";
pub(crate) const SHA384: &[u8] = b"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02";

pub(crate) fn good() -> Vec<u8> {
    vec![0x80, 0]
}

pub(crate) fn unknown() -> Vec<u8> {
    vec![0x82, 0]
}

/// Revoked for a reason (RFC 5280, section 5.3.1), or for none that is stated.
pub(crate) fn revoked(reason: Option<u8>) -> Vec<u8> {
    let reason = reason.map(|reason| tlv(0xa0, &[0x0a, 1, reason])).unwrap_or_default();
    tlv(0xa1, &[time(now().plus_seconds(-100)), reason].concat())
}

pub(crate) fn by_name(name: &[u8]) -> Vec<u8> {
    tlv(0xa1, name)
}

pub(crate) fn by_key(key: &EcdsaKeyPair) -> Vec<u8> {
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, key.public_key().as_ref());
    tlv(0xa2, &tlv(4, hash.as_ref()))
}

impl<'a> Answer<'a> {
    pub(crate) fn good(about: About<'a>) -> Self {
        Self {
            about,
            hash: (&digest::SHA384, SHA384),
            status: good(),
            produced: now().plus_seconds(-60),
            this_update: now().plus_seconds(-3600),
            next_update: Some(now().plus_seconds(3600)),
            responder: None,
            signer: None,
            certificates: vec![],
            extensions: vec![],
        }
    }

    fn single(&self) -> Vec<u8> {
        let (algorithm, id) = self.hash;
        let hash = |bytes: &[u8]| tlv(4, digest::digest(algorithm, bytes).as_ref());
        let about = &self.about;
        let certificate = sequence(&[
            &sequence(&[id]),
            &hash(&about.issuer.subject),
            &hash(about.issuer_key.public_key().as_ref()),
            &tlv(2, &about.certificate.serial),
        ]);
        let next = self.next_update.map(|at| tlv(0xa0, &time(at))).unwrap_or_default();
        sequence(&[&certificate, &self.status, &time(self.this_update), &next, &self.extensions])
    }

    /// What is signed, with this answer as often as asked.
    pub(crate) fn signed(&self, times: usize) -> Vec<u8> {
        let responder = self.responder.clone().unwrap_or_else(|| by_name(&self.about.issuer.subject));
        sequence(&[&responder, &time(self.produced), &sequence(&[&self.single().repeat(times)])])
    }

    pub(crate) fn sign(&self) -> Der {
        self.sign_bytes(&self.signed(1))
    }

    pub(crate) fn sign_bytes(&self, signed: &[u8]) -> Der {
        let signer = self.signer.unwrap_or(self.about.issuer_key);
        let signature = signer.sign(&SystemRandom::new(), signed).unwrap();
        let certificates = match self.certificates.as_slice() {
            [] => vec![],
            all => tlv(0xa0, &sequence(&[&all.concat()])),
        };
        let signature = tlv(3, &[&[0], signature.as_ref()].concat());
        wrap(&sequence(&[signed, ECDSA_SHA384, &signature, &certificates]), 0)
    }
}

/// The outer layers of a response.
pub(crate) fn wrap(basic: &[u8], status: u8) -> Der {
    const BASIC: &[u8] = b"\x06\x09\x2b\x06\x01\x05\x05\x07\x30\x01\x01";
    Der(sequence(&[&[0x0a, 1, status], &tlv(0xa0, &sequence(&[BASIC, &tlv(4, basic)]))]))
}

/// The three intermediates of a device.
pub(crate) fn intermediates(device: &Device) -> [About<'_>; 3] {
    let authority = &AUTHORITY;
    let [_, brom, provisioner, identity] = &device.chain;
    [
        About { certificate: brom, issuer: provisioner, issuer_key: &authority.provisioner },
        About { certificate: provisioner, issuer: identity, issuer_key: &authority.identity },
        About { certificate: identity, issuer: &authority.root_template, issuer_key: &authority.root },
    ]
}

/// Good answers about the intermediates of a device.
pub(crate) fn answers(device: &Device) -> Vec<Der> {
    intermediates(device).into_iter().map(|about| Answer::good(about).sign()).collect()
}

/// An answer about the signer of the manifests.
pub(crate) fn about_rim_signer(status: Vec<u8>) -> Der {
    let (certificate, issuer) = (rim_signer(), AUTHORITY.rim_root_template.clone());
    let about = About { certificate: &certificate, issuer: &issuer, issuer_key: &AUTHORITY.rim_root };
    Answer { status, ..Answer::good(about) }.sign()
}

//! Certificates of a made-up chain, open enough to make bad ones.

use anchorhold_attester::software::SigningKey;
use anchorhold_attester::software::certificate::{Extension, Template as Certificate, name};
use anchorhold_rats::Timestamp;

pub(crate) const SIGNS_DATA: u8 = 0x80;
pub(crate) const SIGNS_CERTIFICATES: u8 = 0x06;

/// What one certificate says.
#[derive(Clone)]
pub(crate) struct Template {
    pub(crate) subject: String,
    pub(crate) issuer: String,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    pub(crate) key_info: Vec<u8>,
    pub(crate) is_ca: bool,
    pub(crate) path_length: Option<u8>,
    /// The first byte of key usage, if there is one.
    pub(crate) usage: Option<u8>,
}

impl Template {
    pub(crate) fn new(subject: &str, issuer: &str, key: &SigningKey) -> Self {
        Self {
            subject: subject.to_string(),
            issuer: issuer.to_string(),
            not_before: "2024-01-01T00:00:00Z".parse().unwrap(),
            not_after: "2034-01-01T00:00:00Z".parse().unwrap(),
            key_info: key.key_info(),
            is_ca: true,
            path_length: None,
            usage: Some(SIGNS_CERTIFICATES),
        }
    }

    pub(crate) fn sign(&self, key: &SigningKey) -> Vec<u8> {
        let constraints =
            if self.is_ca { Extension::authority(self.path_length) } else { Extension::end_entity() };
        let certificate = Certificate {
            serial: vec![7],
            algorithm: key.curve().signature_algorithm(),
            issuer: name(&self.issuer),
            subject: name(&self.subject),
            not_before: self.not_before,
            not_after: self.not_after,
            public_key_info: self.key_info.clone(),
            extensions: [constraints].into_iter().chain(self.usage.map(Extension::key_usage)).collect(),
        };
        certificate.sign_ecdsa(key).unwrap()
    }
}

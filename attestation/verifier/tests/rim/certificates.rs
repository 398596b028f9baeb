//! P-384 certificates of a made-up chain, open enough to make bad ones.

use anchorhold_rats::Timestamp;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    EcdsaKeyPair, KeyPair as _,
};

const ECDSA_SHA384: &[u8] = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03";
const EC_P384: &[u8] = b"\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22";
const EC_P256: &[u8] =
    b"\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
pub(crate) const SIGNS_DATA: u8 = 0x80;
pub(crate) const SIGNS_CERTIFICATES: u8 = 0x06;

pub(crate) struct Key {
    pub(crate) pkcs8: Vec<u8>,
}

impl Key {
    pub(crate) fn generate() -> Self {
        let made =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, &SystemRandom::new()).unwrap();
        Self { pkcs8: made.as_ref().to_vec() }
    }

    fn info(&self) -> Vec<u8> {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, &self.pkcs8, &random).unwrap();
        sequence(&[EC_P384, &bit_string(key.public_key().as_ref())])
    }

    /// r and s, 96 bytes.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &self.pkcs8, &random).unwrap();
        key.sign(&random, message).unwrap().as_ref().to_vec()
    }
}

/// SubjectPublicKeyInfo of a new P-256 key.
pub(crate) fn p256_info() -> Vec<u8> {
    let random = SystemRandom::new();
    let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, made.as_ref(), &random).unwrap();
    sequence(&[EC_P256, &bit_string(key.public_key().as_ref())])
}

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
    pub(crate) fn new(subject: &str, issuer: &str, key: &Key) -> Self {
        Self {
            subject: subject.to_string(),
            issuer: issuer.to_string(),
            not_before: "2024-01-01T00:00:00Z".parse().unwrap(),
            not_after: "2034-01-01T00:00:00Z".parse().unwrap(),
            key_info: key.info(),
            is_ca: true,
            path_length: None,
            usage: Some(SIGNS_CERTIFICATES),
        }
    }

    pub(crate) fn sign(&self, key: &Key) -> Vec<u8> {
        let path_length = self.path_length.map(|length| value(0x02, &[length])).unwrap_or_default();
        let is_ca = if self.is_ca { value(0x01, &[0xff]) } else { vec![] };
        let usage = self.usage.map(|bits| {
            let unused = u8::try_from(bits.trailing_zeros().min(7)).unwrap();
            extension(&[0x55, 0x1d, 0x0f], &value(0x03, &[unused, bits]))
        });
        let constraints = extension(&[0x55, 0x1d, 0x13], &sequence(&[&is_ca, &path_length]));
        let extensions = sequence(&[&constraints, &usage.unwrap_or_default()]);
        let signed = sequence(&[
            &value(0xa0, &value(0x02, &[2])),
            &value(0x02, &[7]),
            ECDSA_SHA384,
            &name(&self.issuer),
            &sequence(&[&time(self.not_before), &time(self.not_after)]),
            &name(&self.subject),
            &self.key_info,
            &value(0xa3, &extensions),
        ]);
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, &key.pkcs8, &random).unwrap();
        let signature = pair.sign(&random, &signed).unwrap();
        sequence(&[&signed, ECDSA_SHA384, &bit_string(signature.as_ref())])
    }
}

fn extension(id: &[u8], contents: &[u8]) -> Vec<u8> {
    sequence(&[&value(0x06, id), &value(0x01, &[0xff]), &value(0x04, contents)])
}

fn name(common_name: &str) -> Vec<u8> {
    let id = value(0x06, &[0x55, 0x04, 0x03]);
    sequence(&[&value(0x31, &sequence(&[&id, &value(0x0c, common_name.as_bytes())]))])
}

fn time(at: Timestamp) -> Vec<u8> {
    let digits: String = at.to_string().chars().filter(|c| c.is_ascii_digit()).collect();
    value(0x18, format!("{digits}Z").as_bytes())
}

fn bit_string(bytes: &[u8]) -> Vec<u8> {
    value(0x03, &[&[0], bytes].concat())
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    value(0x30, &parts.concat())
}

fn value(tag: u8, contents: &[u8]) -> Vec<u8> {
    let [.., high, low] = contents.len().to_be_bytes();
    let head = match (high, low) {
        (0, 0..=0x7f) => vec![tag, low],
        (0, _) => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [head, contents.to_vec()].concat()
}

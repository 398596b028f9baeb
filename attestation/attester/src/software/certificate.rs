//! X.509 certificates of the simulated hierarchies, open enough to make bad ones for tests.

use super::{Error, SigningKey};
use crate::der;
use anchorhold_rats::Timestamp;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PSS_SHA384, RsaKeyPair};

/// AlgorithmIdentifier of RSASSA-PSS with SHA-384, MGF1-SHA-384 and this salt length (RFC 4055).
#[must_use]
pub fn pss_sha384(salt_bytes: u8) -> Vec<u8> {
    const PSS: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a";
    const MGF1: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08";
    const SHA384: &[u8] = b"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00";
    let hash = der::sequence(&[SHA384]);
    let parameters = der::sequence(&[
        &der::value(0xa0, &hash),
        &der::value(0xa1, &der::sequence(&[MGF1, &hash])),
        &der::value(0xa2, &der::unsigned_integer(&[salt_bytes])),
    ]);
    der::sequence(&[PSS, &parameters])
}

/// A name of the simulated hierarchy with this common name, DER.
#[must_use]
pub fn name(common_name: &str) -> Vec<u8> {
    name_of(&[
        (ORGANIZATIONAL_UNIT, "Simulation"),
        (COUNTRY, "XX"),
        (LOCALITY, "Nowhere"),
        (STATE, "XX"),
        (ORGANIZATION, "Anchorhold"),
        (COMMON_NAME, common_name),
    ])
}

/// Last arc of the attribute type 2.5.4.3.
pub const COMMON_NAME: u8 = 0x03;
/// Last arc of the attribute type 2.5.4.5.
pub const SERIAL_NUMBER: u8 = 0x05;
/// Last arc of the attribute type 2.5.4.6, a PrintableString.
pub const COUNTRY: u8 = 0x06;
/// Last arc of the attribute type 2.5.4.7.
pub const LOCALITY: u8 = 0x07;
/// Last arc of the attribute type 2.5.4.8.
pub const STATE: u8 = 0x08;
/// Last arc of the attribute type 2.5.4.10.
pub const ORGANIZATION: u8 = 0x0a;
/// Last arc of the attribute type 2.5.4.11.
pub const ORGANIZATIONAL_UNIT: u8 = 0x0b;

/// A name with these attributes (last arcs below 2.5.4 and texts) in order, DER.
#[must_use]
pub fn name_of(attributes: &[(u8, &str)]) -> Vec<u8> {
    let parts: Vec<Vec<u8>> = attributes
        .iter()
        .map(|(attribute, text)| {
            let id = der::object_identifier(&[0x55, 0x04, *attribute]);
            let tag = match *attribute {
                COUNTRY | SERIAL_NUMBER => der::PRINTABLE_STRING,
                _ => der::UTF8_STRING,
            };
            der::set(&der::sequence(&[&id, &der::value(tag, text.as_bytes())]))
        })
        .collect();
    der::sequence(&[&parts.concat()])
}

/// SubjectPublicKeyInfo of an uncompressed P-384 point.
#[must_use]
pub fn p384_key_info(point: &[u8]) -> Vec<u8> {
    const EC_P384: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22";
    der::sequence(&[&der::sequence(&[EC_P384]), &der::bit_string(point)])
}

/// SubjectPublicKeyInfo of an RSA key.
#[must_use]
pub fn rsa_key_info(key: &RsaKeyPair) -> Vec<u8> {
    const RSA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
    der::sequence(&[&der::sequence(&[RSA]), &der::bit_string(key.public().as_ref())])
}

/// One extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// Contents of the OBJECT IDENTIFIER.
    pub id: Vec<u8>,
    /// Whether readers that do not know it must refuse.
    pub critical: bool,
    /// Contents of the OCTET STRING.
    pub value: Vec<u8>,
}

impl Extension {
    /// An extension of AMD: 1.3.6.1.4.1.3704.1 and `arc`.
    #[must_use]
    pub fn amd(arc: &[u8], value: Vec<u8>) -> Self {
        const AMD: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x9c, 0x78, 0x01];
        Self { id: [AMD, arc].concat(), critical: false, value }
    }

    /// An extension of AMD that holds an INTEGER.
    #[must_use]
    pub fn amd_byte(arc: &[u8], byte: u8) -> Self {
        Self::amd(arc, der::unsigned_integer(&[byte]))
    }

    /// An extension of AMD that holds an IA5String.
    #[must_use]
    pub fn amd_text(arc: &[u8], text: &str) -> Self {
        Self::amd(arc, der::value(der::IA5_STRING, text.as_bytes()))
    }

    /// Basic constraints of a CA below which no other CA may stand, and key usage for certificates.
    #[must_use]
    pub fn intermediate() -> Vec<Self> {
        let constraints = b"\x30\x06\x01\x01\xff\x02\x01\x00".to_vec();
        let usage = b"\x03\x02\x02\x04".to_vec();
        vec![
            Self { id: vec![0x55, 0x1d, 0x13], critical: true, value: constraints },
            Self { id: vec![0x55, 0x1d, 0x0f], critical: true, value: usage },
        ]
    }

    /// An extension below 2.5.29.
    #[must_use]
    pub fn standard(arc: u8, critical: bool, value: Vec<u8>) -> Self {
        Self { id: vec![0x55, 0x1d, arc], critical, value }
    }

    /// Basic constraints of a CA, with a path length or without.
    #[must_use]
    pub fn authority(path_length: Option<u8>) -> Self {
        let path_length = path_length.map(|length| der::unsigned_integer(&[length])).unwrap_or_default();
        Self::standard(0x13, true, der::sequence(&[&der::boolean(true), &path_length]))
    }

    /// Basic constraints of what is no CA.
    #[must_use]
    pub fn end_entity() -> Self {
        Self::standard(0x13, true, der::sequence(&[]))
    }

    /// Key usage from the bits of its first byte: 0x80 digitalSignature, 0x40 nonRepudiation, 0x04 keyCertSign, 0x02 cRLSign.
    #[must_use]
    pub fn key_usage(bits: u8) -> Self {
        let unused = bits.trailing_zeros().min(7).to_le_bytes()[0];
        Self::standard(0x0f, true, der::value(der::BIT_STRING, &[unused, bits]))
    }

    /// Subject key identifier.
    #[must_use]
    pub fn subject_key(identifier: &[u8]) -> Self {
        Self::standard(0x0e, false, der::octet_string(identifier))
    }

    /// Authority key identifier, of certificates and revocation lists.
    #[must_use]
    pub fn authority_key(identifier: &[u8]) -> Self {
        Self::standard(0x23, false, der::sequence(&[&der::value(0x80, identifier)]))
    }

    /// CRL distribution point with this URI.
    #[must_use]
    pub fn crl_distribution_point(uri: &str) -> Self {
        let full_name = der::value(0xa0, &der::value(0x86, uri.as_bytes()));
        let point = der::sequence(&[&der::value(0xa0, &full_name)]);
        Self::standard(0x1f, false, der::sequence(&[&point]))
    }

    /// Number of a revocation list, unsigned big-endian.
    #[must_use]
    pub fn crl_number(number: &[u8]) -> Self {
        Self::standard(0x14, false, der::unsigned_integer(number))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let critical = if self.critical { der::value(der::BOOLEAN, &[0xff]) } else { Vec::new() };
        let id = der::value(der::OBJECT_IDENTIFIER, &self.id);
        der::sequence(&[&id, &critical, &der::value(der::OCTET_STRING, &self.value)])
    }
}

/// What is signed in a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// The serial number, unsigned big-endian; empty is 0, which every VCEK has.
    pub serial: Vec<u8>,
    /// DER of the AlgorithmIdentifier that the certificate claims, whatever it is signed with.
    pub algorithm: Vec<u8>,
    /// DER of the issuer's name.
    pub issuer: Vec<u8>,
    /// DER of the subject's name.
    pub subject: Vec<u8>,
    /// The first moment of validity.
    pub not_before: Timestamp,
    /// The last moment of validity.
    pub not_after: Timestamp,
    /// DER of the SubjectPublicKeyInfo.
    pub public_key_info: Vec<u8>,
    /// The extensions in order.
    pub extensions: Vec<Extension>,
}

impl Template {
    /// The certificate, DER, signed by `key` with RSASSA-PSS, SHA-384 and salt 48.
    ///
    /// # Errors
    /// [`Error::Signature`] when ring does not sign.
    pub fn sign(&self, key: &RsaKeyPair) -> Result<Vec<u8>, Error> {
        let signed = self.encode();
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(&RSA_PSS_SHA384, &SystemRandom::new(), &signed, &mut signature)
            .map_err(|_| Error::Signature("certificate"))?;
        Ok(der::sequence(&[&signed, &self.algorithm, &der::bit_string(&signature)]))
    }

    /// The certificate, DER, signed by `key` with ECDSA and the hash of its curve.
    ///
    /// # Errors
    /// [`Error::Signature`] when ring does not sign.
    pub fn sign_ecdsa(&self, key: &SigningKey) -> Result<Vec<u8>, Error> {
        let signed = self.encode();
        let signature = key.sign_der(&signed, "certificate")?;
        Ok(der::sequence(&[&signed, &self.algorithm, &der::bit_string(&signature)]))
    }

    /// The signed part, DER.
    fn encode(&self) -> Vec<u8> {
        let extensions: Vec<u8> = self.extensions.iter().flat_map(Extension::encode).collect();
        der::sequence(&[
            &der::value(0xa0, &der::unsigned_integer(&[2])),
            &der::unsigned_integer(&self.serial),
            &self.algorithm,
            &self.issuer,
            &der::sequence(&[&der::time(self.not_before), &der::time(self.not_after)]),
            &self.subject,
            &self.public_key_info,
            &der::value(0xa3, &der::sequence(&[&extensions])),
        ])
    }
}

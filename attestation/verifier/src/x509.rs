//! A strict reader of X.509 certificates (RFC 5280) of the kinds that AMD, Intel and NVIDIA issue.
//!
//! A serial number of 0 is accepted, since every VCEK has it (RFC 5280 asks for a positive one). Three kinds of
//! signatures are verified, each with one kind of key: RSASSA-PSS with SHA-384, MGF1 with SHA-384 and a salt of 48 bytes
//! by RSA-4096, its parameters compared byte for byte; ECDSA with SHA-256 on P-256; and ECDSA with SHA-384 on P-384. Parsing
//! establishes nothing about who issued a certificate: see [`Certificate::verify_signature`] and the
//! chain rules of each family.

use crate::der::{self, Reader};
use anchorhold_rats::Timestamp;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, RSA_PSS_2048_8192_SHA384, UnparsedPublicKey,
    VerificationAlgorithm,
};

mod crl;
pub use crl::{MAX_REVOKED, RevocationList};

/// The most extensions that are read from one certificate.
pub const MAX_EXTENSIONS: usize = 32;
/// The modulus length of AMD's ARK, ASK and ASVK, in bytes.
const RSA_4096_BYTES: usize = 512;

/// AlgorithmIdentifier of RSASSA-PSS with SHA-384, MGF1-SHA-384 and salt 48, trailer field left out (RFC 4055).
const PSS_SHA384: &[u8] = b"\x30\x41\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a\x30\x34\
\xa0\x0f\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\
\xa1\x1c\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\
\xa2\x03\x02\x01\x30";
/// The same with the default trailer field written out, as in ARK, ASK and ASVK.
const PSS_SHA384_TRAILER: &[u8] = b"\x30\x46\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a\x30\x39\
\xa0\x0f\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\
\xa1\x1c\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\
\xa2\x03\x02\x01\x30\xa3\x03\x02\x01\x01";
/// AlgorithmIdentifier contents of rsaEncryption with NULL parameters.
const RSA_ENCRYPTION: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
/// AlgorithmIdentifier contents of id-ecPublicKey on secp384r1.
const EC_P384: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22";

/// AlgorithmIdentifier contents of id-ecPublicKey on prime256v1.
const EC_P256: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
/// AlgorithmIdentifier of ecdsa-with-SHA256 (RFC 5758, section 3.2: no parameters).
const ECDSA_SHA256: &[u8] = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
/// AlgorithmIdentifier of ecdsa-with-SHA384.
const ECDSA_SHA384: &[u8] = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03";

const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const SUBJECT_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 0x0e];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
/// CRL distribution points (RFC 5280, section 4.2.1.13).
pub(crate) const CRL_DISTRIBUTION_POINTS: &[u8] = &[0x55, 0x1d, 0x1f];
const AUTHORITY_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 0x23];
const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
/// 1.3.6.1.4.1.3704.1, the arc of AMD's extensions.
const AMD_ARC: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x9c, 0x78, 0x01];
/// 1.2.840.113741.1.13.1, Intel's extension of PCK certificates.
pub const SGX_EXTENSION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01];
/// 2.23.133.5.4, the arc of the TCG's DICE extensions.
pub const DICE_ARC: &[u8] = &[0x67, 0x81, 0x05, 0x05, 0x04];

/// A subject public key of a kind that is used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicKey<'a> {
    /// RSA with a modulus of 4096 bits: the DER of RSAPublicKey (RFC 8017).
    Rsa4096(&'a [u8]),
    /// NIST P-256: the uncompressed point, 65 bytes.
    P256(&'a [u8]),
    /// NIST P-384: the uncompressed point, 97 bytes.
    P384(&'a [u8]),
    /// Anything else; nothing is verified with it.
    Other,
}

/// The basic constraints and key usage of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Authority {
    /// Basic constraints say that it is a CA.
    pub is_ca: bool,
    /// The most CA certificates that may follow; `None` is without limit.
    pub path_length: Option<u8>,
    /// Key usage allows signing certificates.
    pub signs_certificates: bool,
    /// Key usage allows signing revocation lists.
    pub signs_crls: bool,
    /// Key usage allows signing data (digitalSignature).
    pub signs_data: bool,
    /// There is a key usage. Without one RFC 5280 allows every use.
    pub states_usage: bool,
}

impl Authority {
    /// Whether RFC 5280 lets the holder issue certificates, with `below` further CAs between it and the last one.
    pub(crate) fn may_issue(self, below: usize) -> bool {
        let room = self.path_length.is_none_or(|most| usize::from(most) >= below);
        self.is_ca && room && (self.signs_certificates || !self.states_usage)
    }

    /// Whether RFC 5280 lets the holder sign data, as one that is no CA.
    pub(crate) const fn may_sign_data(self) -> bool {
        !self.is_ca && !self.signs_certificates && (self.signs_data || !self.states_usage)
    }
}

/// An X.509 certificate, read but not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate<'a> {
    signed: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
    /// Contents of the serial number: big-endian, minimal, not negative.
    pub serial: &'a [u8],
    /// DER of the issuer's name.
    pub issuer: &'a [u8],
    /// DER of the subject's name.
    pub subject: &'a [u8],
    /// The first moment of validity.
    pub not_before: Timestamp,
    /// The last moment of validity.
    pub not_after: Timestamp,
    /// The subject's key.
    pub public_key: PublicKey<'a>,
    /// DER of the SubjectPublicKeyInfo.
    pub public_key_info: &'a [u8],
    /// What the certificate may sign.
    pub authority: Authority,
    extensions: Extensions<'a>,
}

impl<'a> Certificate<'a> {
    /// Reads one certificate.
    ///
    /// # Errors
    /// [`der::Error`] for anything that is not one certificate of version 3 in strict DER, with an unknown
    /// critical extension, a repeated extension or over [`MAX_EXTENSIONS`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, der::Error> {
        let mut outer = Reader::new(bytes);
        let mut certificate = Reader::new(outer.read(der::SEQUENCE)?);
        outer.finish()?;
        let signed = certificate.read_whole(der::SEQUENCE)?;
        let algorithm = certificate.read_whole(der::SEQUENCE)?;
        let signature = certificate.bit_string()?;
        certificate.finish()?;

        let mut fields = Reader::new(Reader::new(signed).read(der::SEQUENCE)?);
        let mut version = Reader::new(fields.read(0xa0)?);
        if version.byte_integer()? != 2 {
            return Err(der::Error::Value("certificate version"));
        }
        version.finish()?;
        let serial = fields.unsigned_integer()?;
        if fields.read_whole(der::SEQUENCE)? != algorithm {
            return Err(der::Error::Value("pair of signature algorithms"));
        }
        let issuer = fields.read_whole(der::SEQUENCE)?;
        let mut validity = Reader::new(fields.read(der::SEQUENCE)?);
        let (not_before, not_after) = (validity.time()?, validity.time()?);
        validity.finish()?;
        let subject = fields.read_whole(der::SEQUENCE)?;
        let public_key_info = fields.read_whole(der::SEQUENCE)?;
        let public_key = read_public_key(public_key_info)?;
        let (authority, extensions) = read_extensions(fields.read(0xa3)?)?;
        fields.finish()?;
        Ok(Self {
            signed,
            algorithm,
            signature,
            serial,
            issuer,
            subject,
            not_before,
            not_after,
            public_key,
            public_key_info,
            authority,
            extensions,
        })
    }

    /// Whether the signature is RSASSA-PSS with SHA-384, MGF1-SHA-384 and salt 48, exactly.
    #[must_use]
    pub fn is_pss_sha384(&self) -> bool {
        is_pss_sha384(self.algorithm)
    }

    /// Whether `issuer` signed this certificate, with one of the algorithms of this module and the kind of key that
    /// belongs to it.
    ///
    /// Establishes that the holder of that key issued these bytes. Presumes that the caller has judged
    /// names, validity and authority of both.
    #[must_use]
    pub fn verify_signature(&self, issuer: &PublicKey<'_>) -> bool {
        verify(issuer, self.algorithm, self.signed, self.signature)
    }

    /// What [`verify_signature`](Self::verify_signature) verifies: algorithm, signed bytes and signature.
    pub(crate) const fn signature_parts(&self) -> (&'a [u8], &'a [u8], &'a [u8]) {
        (self.algorithm, self.signed, self.signature)
    }

    /// Whether `at` lies within the validity, both ends included.
    #[must_use]
    pub fn is_valid_at(&self, at: Timestamp) -> bool {
        self.not_before <= at && at <= self.not_after
    }

    /// The subject's common name, when there is exactly one and it is text.
    #[must_use]
    pub fn common_name(&self) -> Option<&'a str> {
        self.subject_attribute(COMMON_NAME)
    }

    /// The value of the subject's attribute with this OID, which is given as the contents of its DER, when there is
    /// exactly one and it is text.
    #[must_use]
    pub fn subject_attribute(&self, id: &[u8]) -> Option<&'a str> {
        name_attribute(self.subject, id).ok().flatten()
    }

    /// The value of the extension with the OID 1.3.6.1.4.1.3704.1 followed by `arc`.
    #[must_use]
    pub fn amd_extension(&self, arc: &[u8]) -> Option<&'a [u8]> {
        self.extensions.iter().find(|(id, _)| id.strip_prefix(AMD_ARC) == Some(arc)).map(|(_, value)| *value)
    }

    /// The value of the extension with this OID, which is given as the contents of its DER.
    #[must_use]
    pub fn extension(&self, id: &[u8]) -> Option<&'a [u8]> {
        self.extensions.iter().find(|(known, _)| *known == id).map(|(_, value)| *value)
    }
}

fn is_pss_sha384(algorithm: &[u8]) -> bool {
    algorithm == PSS_SHA384 || algorithm == PSS_SHA384_TRAILER
}

/// Whether `issuer` made `signature` over `signed`, where `algorithm` is the DER of the AlgorithmIdentifier.
pub(crate) fn verify(issuer: &PublicKey<'_>, algorithm: &[u8], signed: &[u8], signature: &[u8]) -> bool {
    let (with, key): (&'static dyn VerificationAlgorithm, _) = match issuer {
        PublicKey::Rsa4096(key) if is_pss_sha384(algorithm) => (&RSA_PSS_2048_8192_SHA384, key),
        PublicKey::P256(key) if algorithm == ECDSA_SHA256 => (&ECDSA_P256_SHA256_ASN1, key),
        PublicKey::P384(key) if algorithm == ECDSA_SHA384 => (&ECDSA_P384_SHA384_ASN1, key),
        _ => return false,
    };
    UnparsedPublicKey::new(with, key).verify(signed, signature).is_ok()
}

fn read_public_key(info: &[u8]) -> Result<PublicKey<'_>, der::Error> {
    let mut fields = Reader::new(Reader::new(info).read(der::SEQUENCE)?);
    let algorithm = fields.read(der::SEQUENCE)?;
    let key = fields.bit_string()?;
    fields.finish()?;
    Ok(match (algorithm, key) {
        (RSA_ENCRYPTION, key) => {
            let mut outer = Reader::new(key);
            let mut numbers = Reader::new(outer.read(der::SEQUENCE)?);
            outer.finish()?;
            let modulus = numbers.unsigned_integer()?;
            numbers.unsigned_integer()?;
            numbers.finish()?;
            // A modulus of exactly 4096 bits has its top bit set, so DER puts a zero byte before it.
            if modulus.len() == RSA_4096_BYTES + 1 { PublicKey::Rsa4096(key) } else { PublicKey::Other }
        }
        (EC_P256, [0x04, point @ ..]) if point.len() == 64 => PublicKey::P256(key),
        (EC_P384, [0x04, point @ ..]) if point.len() == 96 => PublicKey::P384(key),
        _ => PublicKey::Other,
    })
}

/// OIDs and values, in order.
type Extensions<'a> = Vec<(&'a [u8], &'a [u8])>;

/// Whether an extension may be critical: either its meaning is judged by a chain rule, or it forbids nothing.
fn is_known(id: &[u8]) -> bool {
    const KNOWN: &[&[u8]] = &[
        SUBJECT_KEY_IDENTIFIER,
        AUTHORITY_KEY_IDENTIFIER,
        CRL_DISTRIBUTION_POINTS,
        SUBJECT_ALTERNATIVE_NAME,
        EXTENDED_KEY_USAGE,
        SGX_EXTENSION,
    ];
    KNOWN.contains(&id) || id.starts_with(AMD_ARC) || id.starts_with(DICE_ARC)
}

fn read_extensions(bytes: &[u8]) -> Result<(Authority, Extensions<'_>), der::Error> {
    let mut outer = Reader::new(bytes);
    let mut list = Reader::new(outer.read(der::SEQUENCE)?);
    outer.finish()?;
    let mut authority = Authority::default();
    let mut all: Extensions<'_> = Vec::new();
    while !list.is_empty() {
        let mut extension = Reader::new(list.read(der::SEQUENCE)?);
        let id = extension.read(der::OBJECT_IDENTIFIER)?;
        let critical = extension.default_false()?;
        let value = extension.read(der::OCTET_STRING)?;
        extension.finish()?;
        if all.iter().any(|(seen, _)| *seen == id) || all.len() == MAX_EXTENSIONS {
            return Err(der::Error::Value("list of extensions"));
        }
        match id {
            BASIC_CONSTRAINTS => (authority.is_ca, authority.path_length) = read_basic_constraints(value)?,
            KEY_USAGE => read_key_usage(value, &mut authority)?,
            _ if critical && !is_known(id) => return Err(der::Error::Value("critical extension")),
            _ => {}
        }
        all.push((id, value));
    }
    Ok((authority, all))
}

fn read_basic_constraints(value: &[u8]) -> Result<(bool, Option<u8>), der::Error> {
    let mut outer = Reader::new(value);
    let mut fields = Reader::new(outer.read(der::SEQUENCE)?);
    outer.finish()?;
    let is_ca = fields.default_false()?;
    let path_length = if fields.is_empty() { None } else { Some(fields.byte_integer()?) };
    fields.finish()?;
    Ok((is_ca, path_length))
}

/// digitalSignature is bit 0, keyCertSign bit 5, cRLSign bit 6, counted from the top of the first byte (RFC 5280, section
/// 4.2.1.3).
fn read_key_usage(value: &[u8], authority: &mut Authority) -> Result<(), der::Error> {
    let mut outer = Reader::new(value);
    let bits = outer.read(der::BIT_STRING)?;
    outer.finish()?;
    let [0..=7, first, ..] = bits else { return Err(der::Error::Value("key usage")) };
    authority.signs_data = first & 0x80 != 0;
    authority.signs_certificates = first & 0x04 != 0;
    authority.signs_crls = first & 0x02 != 0;
    authority.states_usage = true;
    Ok(())
}

fn name_attribute<'a>(name: &'a [u8], wanted: &[u8]) -> Result<Option<&'a str>, der::Error> {
    let mut found = None;
    let mut parts = Reader::new(Reader::new(name).read(der::SEQUENCE)?);
    while !parts.is_empty() {
        let mut attributes = Reader::new(parts.read(der::SET)?);
        while !attributes.is_empty() {
            let mut attribute = Reader::new(attributes.read(der::SEQUENCE)?);
            let id = attribute.read(der::OBJECT_IDENTIFIER)?;
            let (tag, value) = attribute.any()?;
            attribute.finish()?;
            if id != wanted {
                continue;
            }
            if found.is_some() || !matches!(tag, der::UTF8_STRING | der::PRINTABLE_STRING) {
                return Err(der::Error::Value("attribute of a name"));
            }
            found = Some(std::str::from_utf8(value).map_err(|_| der::Error::Value("attribute of a name"))?);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_issue_and_who_may_sign_data() {
        let ca = Authority { is_ca: true, ..Authority::default() };
        assert!(ca.may_issue(9), "without key usage and path length all is allowed");
        let stated = Authority { states_usage: true, ..ca };
        assert!(!stated.may_issue(0) && Authority { signs_certificates: true, ..stated }.may_issue(0));
        let short = Authority { path_length: Some(1), ..ca };
        assert!(short.may_issue(1) && !short.may_issue(2));
        assert!(!Authority { signs_certificates: true, ..Authority::default() }.may_issue(0), "no CA");

        let leaf = Authority::default();
        assert!(leaf.may_sign_data(), "without key usage all is allowed");
        let stated = Authority { states_usage: true, ..leaf };
        assert!(!stated.may_sign_data() && Authority { signs_data: true, ..stated }.may_sign_data());
        assert!(!Authority { is_ca: true, ..leaf }.may_sign_data());
        assert!(
            !Authority { signs_certificates: true, signs_data: true, states_usage: true, ..leaf }
                .may_sign_data()
        );
    }

    /// A name of these attributes: last arc below 2.5.4, tag and text.
    fn name(attributes: &[(u8, u8, &str)]) -> Vec<u8> {
        let value =
            |tag: u8, contents: &[u8]| [&[tag, u8::try_from(contents.len()).unwrap()], contents].concat();
        let attribute = |(arc, tag, text): &(u8, u8, &str)| {
            let pair =
                [value(der::OBJECT_IDENTIFIER, &[0x55, 0x04, *arc]), value(*tag, text.as_bytes())].concat();
            value(der::SET, &value(der::SEQUENCE, &pair))
        };
        value(der::SEQUENCE, &attributes.iter().flat_map(attribute).collect::<Vec<_>>())
    }

    #[test]
    fn a_name_has_an_attribute_once_and_as_text() {
        let common = |attributes: &[(u8, u8, &str)]| {
            name_attribute(&name(attributes), COMMON_NAME).map(|found| found.map(str::to_owned)).ok()
        };
        assert_eq!(common(&[(3, der::UTF8_STRING, "a")]), Some(Some("a".to_owned())));
        assert_eq!(
            common(&[(5, der::PRINTABLE_STRING, "s"), (3, der::PRINTABLE_STRING, "a")]),
            Some(Some("a".to_owned()))
        );
        assert_eq!(common(&[(5, der::UTF8_STRING, "s")]), Some(None));
        assert_eq!(common(&[(3, der::UTF8_STRING, "a"), (3, der::UTF8_STRING, "a")]), None);
        assert_eq!(common(&[(3, der::OCTET_STRING, "a")]), None);
    }

    #[test]
    fn keys_of_another_length_are_of_no_kind() {
        let value =
            |tag: u8, contents: &[u8]| [&[tag, u8::try_from(contents.len()).unwrap()], contents].concat();
        let key = |algorithm: &[u8], point: usize| {
            let bits = [&[0, 4][..], &vec![1; point]].concat();
            let info = [value(der::SEQUENCE, algorithm), value(der::BIT_STRING, &bits)].concat();
            value(der::SEQUENCE, &info)
        };
        for (length, is_p256, is_p384) in
            [(63, false, false), (64, true, false), (65, false, false), (96, false, true)]
        {
            let of_256 = key(EC_P256, length);
            assert_eq!(matches!(read_public_key(&of_256), Ok(PublicKey::P256(_))), is_p256, "{length}");
            let of_384 = key(EC_P384, length);
            assert_eq!(matches!(read_public_key(&of_384), Ok(PublicKey::P384(_))), is_p384, "{length}");
        }
        assert_eq!(read_public_key(&key(EC_P384, 95)), Ok(PublicKey::Other));
    }

    #[test]
    fn a_signature_is_verified_by_its_own_algorithm_alone() {
        let is_pss = |algorithm: &[u8]| algorithm == PSS_SHA384 || algorithm == PSS_SHA384_TRAILER;
        for root in [
            include_bytes!("snp/roots/genoa-ark.der").as_slice(),
            include_bytes!("tdx/roots/intel-sgx-root-ca.der"),
            include_bytes!("nvidia/roots/device-identity-ca.der"),
        ] {
            let root = Certificate::parse(root).unwrap();
            let (own, signed, signature) = root.signature_parts();
            assert_eq!(root.is_pss_sha384(), is_pss(own));
            for algorithm in [PSS_SHA384, PSS_SHA384_TRAILER, ECDSA_SHA256, ECDSA_SHA384] {
                let wanted = algorithm == own || is_pss(algorithm) && is_pss(own);
                assert_eq!(verify(&root.public_key, algorithm, signed, signature), wanted);
            }
        }
    }
}

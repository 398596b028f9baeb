//! OCSP responses as bytes (RFC 6960, section 4.2.1).

use crate::der::{self, Reader};
use crate::x509::Certificate;
use anchorhold_rats::Timestamp;

/// The most answers that are read from one response.
const MAX_ANSWERS: usize = 16;
/// The most certificates that are read from one response.
const MAX_CERTIFICATES: usize = 4;
const MAX_EXTENSIONS: usize = 8;
/// 1.3.6.1.5.5.7.48.1.1, id-pkix-ocsp-basic.
const BASIC: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];
/// 1.3.6.1.5.5.7.48.1.2, id-pkix-ocsp-nonce. It says nothing here: whoever asked is not whoever verifies.
const NONCE: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x02];
const SHA1: &[u8] = &[0x2b, 0x0e, 0x03, 0x02, 0x1a];
const SHA256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
const SHA384: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];
const NULL: u8 = 0x05;
const ENUMERATED: u8 = 0x0a;
const SUCCESSFUL: &[u8] = &[0];
const CERTIFICATE_HOLD: &[u8] = &[6];

/// A basic response, read but not verified.
pub(super) struct Response<'a> {
    pub(super) signed: &'a [u8],
    pub(super) algorithm: &'a [u8],
    pub(super) signature: &'a [u8],
    pub(super) responder: Responder<'a>,
    /// When the response was signed.
    pub(super) produced: Timestamp,
    pub(super) singles: Vec<Single<'a>>,
    /// Certificates that the responder sent along.
    pub(super) certificates: Vec<Certificate<'a>>,
}

/// Who says that it signed.
pub(super) enum Responder<'a> {
    /// DER of its name.
    Name(&'a [u8]),
    /// SHA-1 of its key.
    KeyHash(&'a [u8]),
}

/// The answer about one certificate.
pub(super) struct Single<'a> {
    pub(super) id: CertificateId<'a>,
    pub(super) status: Status,
    pub(super) this_update: Timestamp,
    pub(super) next_update: Option<Timestamp>,
}

/// Which certificate is meant.
pub(super) struct CertificateId<'a> {
    pub(super) hash: Hash,
    pub(super) issuer_name_hash: &'a [u8],
    pub(super) issuer_key_hash: &'a [u8],
    pub(super) serial: &'a [u8],
}

#[derive(Clone, Copy)]
pub(super) enum Hash {
    Sha1,
    Sha256,
    Sha384,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Good,
    OnHold,
    Revoked,
    Unknown,
}

impl<'a> Response<'a> {
    /// Reads one response.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, der::Error> {
        let mut outer = sequence(bytes)?;
        if outer.read(ENUMERATED)? != SUCCESSFUL {
            return Err(der::Error::Value("status of the response"));
        }
        let mut typed = sequence(outer.read(0xa0)?)?;
        outer.finish()?;
        if typed.read(der::OBJECT_IDENTIFIER)? != BASIC {
            return Err(der::Error::Value("type of the response"));
        }
        let mut basic = sequence(typed.read(der::OCTET_STRING)?)?;
        typed.finish()?;
        let signed = basic.read_whole(der::SEQUENCE)?;
        let algorithm = basic.read_whole(der::SEQUENCE)?;
        let signature = basic.bit_string()?;
        let certificates = basic.read_optional(0xa0)?.map(read_certificates).transpose()?.unwrap_or_default();
        basic.finish()?;

        let mut fields = sequence(signed)?;
        // The version is left out when it is 1, the only one there is.
        let responder = match fields.any()? {
            (0xa1, name) => {
                let mut reader = Reader::new(name);
                let name = reader.read_whole(der::SEQUENCE)?;
                reader.finish()?;
                Responder::Name(name)
            }
            (0xa2, hash) => {
                let mut reader = Reader::new(hash);
                let hash = reader.read(der::OCTET_STRING)?;
                reader.finish()?;
                Responder::KeyHash(hash)
            }
            _ => return Err(der::Error::Value("responder or version")),
        };
        let produced = time(&mut fields)?;
        let mut list = Reader::new(fields.read(der::SEQUENCE)?);
        let mut singles = Vec::new();
        while !list.is_empty() {
            if singles.len() == MAX_ANSWERS {
                return Err(der::Error::Value("number of answers"));
            }
            singles.push(read_single(list.read(der::SEQUENCE)?)?);
        }
        read_extensions(fields.read_optional(0xa1)?, &[NONCE])?;
        fields.finish()?;
        Ok(Self { signed, algorithm, signature, responder, produced, singles, certificates })
    }
}

fn read_single(bytes: &[u8]) -> Result<Single<'_>, der::Error> {
    let mut fields = Reader::new(bytes);
    let id = read_id(fields.read(der::SEQUENCE)?)?;
    let status = match fields.any()? {
        (0x80, []) => Status::Good,
        (0xa1, info) => read_revocation(info)?,
        (0x82, []) => Status::Unknown,
        _ => return Err(der::Error::Value("status of a certificate")),
    };
    let this_update = time(&mut fields)?;
    let next_update = match fields.read_optional(0xa0)? {
        Some(value) => {
            let mut reader = Reader::new(value);
            let at = time(&mut reader)?;
            reader.finish()?;
            Some(at)
        }
        None => None,
    };
    read_extensions(fields.read_optional(0xa1)?, &[])?;
    fields.finish()?;
    Ok(Single { id, status, this_update, next_update })
}

fn read_id(bytes: &[u8]) -> Result<CertificateId<'_>, der::Error> {
    let mut fields = Reader::new(bytes);
    let mut algorithm = Reader::new(fields.read(der::SEQUENCE)?);
    let hash = match algorithm.read(der::OBJECT_IDENTIFIER)? {
        SHA1 => Hash::Sha1,
        SHA256 => Hash::Sha256,
        SHA384 => Hash::Sha384,
        _ => return Err(der::Error::Value("hash algorithm")),
    };
    if !algorithm.read_optional(NULL)?.unwrap_or_default().is_empty() {
        return Err(der::Error::Value("hash algorithm"));
    }
    algorithm.finish()?;
    let issuer_name_hash = fields.read(der::OCTET_STRING)?;
    let issuer_key_hash = fields.read(der::OCTET_STRING)?;
    let serial = fields.unsigned_integer()?;
    fields.finish()?;
    Ok(CertificateId { hash, issuer_name_hash, issuer_key_hash, serial })
}

fn read_revocation(bytes: &[u8]) -> Result<Status, der::Error> {
    let mut fields = Reader::new(bytes);
    time(&mut fields)?;
    let reason = match fields.read_optional(0xa0)? {
        Some(value) => {
            let mut reader = Reader::new(value);
            let reason = reader.read(ENUMERATED)?;
            reader.finish()?;
            Some(reason)
        }
        None => None,
    };
    fields.finish()?;
    Ok(if reason == Some(CERTIFICATE_HOLD) { Status::OnHold } else { Status::Revoked })
}

fn read_certificates(bytes: &[u8]) -> Result<Vec<Certificate<'_>>, der::Error> {
    let mut list = sequence(bytes)?;
    let mut certificates = Vec::new();
    while !list.is_empty() {
        if certificates.len() == MAX_CERTIFICATES {
            return Err(der::Error::Value("number of certificates"));
        }
        certificates.push(Certificate::parse(list.read_whole(der::SEQUENCE)?)?);
    }
    Ok(certificates)
}

/// Refuses critical extensions outside `known`.
fn read_extensions(value: Option<&[u8]>, known: &[&[u8]]) -> Result<(), der::Error> {
    let Some(value) = value else { return Ok(()) };
    let mut list = sequence(value)?;
    for _ in 0..MAX_EXTENSIONS {
        if list.is_empty() {
            break;
        }
        let mut extension = Reader::new(list.read(der::SEQUENCE)?);
        let id = extension.read(der::OBJECT_IDENTIFIER)?;
        let critical = extension.default_false()?;
        extension.read(der::OCTET_STRING)?;
        extension.finish()?;
        if critical && !known.contains(&id) {
            return Err(der::Error::Value("critical extension"));
        }
    }
    list.finish()
}

/// The contents of the one SEQUENCE in `bytes`.
fn sequence(bytes: &[u8]) -> Result<Reader<'_>, der::Error> {
    let mut outer = Reader::new(bytes);
    let contents = outer.read(der::SEQUENCE)?;
    outer.finish()?;
    Ok(Reader::new(contents))
}

/// Times in OCSP have one form only.
fn time(from: &mut Reader<'_>) -> Result<Timestamp, der::Error> {
    if from.peek() != Some(der::GENERALIZED_TIME) {
        return Err(der::Error::Value("form of a time"));
    }
    from.time()
}

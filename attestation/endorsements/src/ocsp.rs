//! OCSP (RFC 6960): requests without a nonce, and as much of a response as tells what it is about and until when.
//!
//! A nonce would prove to the one who asked that the response is new, and to nobody else; these responses are kept and
//! judged later by their own dates, so none is sent.

use crate::item::CertId;
use anchorhold_rats::Timestamp;
use anchorhold_verifier::der::{self, Reader};
use anchorhold_verifier::x509::Certificate;
use ring::digest::{SHA384, digest};

/// AlgorithmIdentifier of SHA-384, tag and length included. RFC 5754, section 2, would rather have its parameters absent than
/// NULL and wants both understood; NULL is what OpenSSL sends, and with it NVIDIA's own clients.
const SHA384_ID: &[u8] = b"\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00";
/// id-pkix-ocsp-basic.
const BASIC: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];
const ENUMERATED: u8 = 0x0a;
/// Context-specific, constructed, number 0.
const EXPLICIT_0: u8 = 0xa0;
/// The most single responses that are looked through.
const MAX_SINGLE_RESPONSES: usize = 16;

impl CertId {
    /// How OCSP names `certificate`; `None` when the key of `issuer` is no whole bytes.
    #[must_use]
    pub fn of(certificate: &Certificate<'_>, issuer: &Certificate<'_>) -> Option<Self> {
        let mut info = Reader::new(Reader::new(issuer.public_key_info).read(der::SEQUENCE).ok()?);
        info.read(der::SEQUENCE).ok()?;
        let key = info.bit_string().ok()?;
        Some(Self {
            issuer_name_hash: sha384(issuer.subject),
            issuer_key_hash: sha384(key),
            serial: certificate.serial.to_vec(),
        })
    }
}

fn sha384(bytes: &[u8]) -> [u8; 48] {
    let mut out = [0; 48];
    out.copy_from_slice(digest(&SHA384, bytes).as_ref());
    out
}

/// DER of a value: tag, length, contents one after another.
fn encode(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let contents = parts.concat();
    let length = contents.len().to_be_bytes();
    let digits = length.iter().copied().skip_while(|byte| *byte == 0);
    let mut out = vec![tag];
    match u8::try_from(contents.len()) {
        Ok(short @ 0..=0x7f) => out.push(short),
        _ => {
            let digits: Vec<u8> = digits.collect();
            // A length has at most 8 digits.
            out.push(0x80 | u8::try_from(digits.len()).unwrap_or(8));
            out.extend(digits);
        }
    }
    out.extend(contents);
    out
}

/// The OCSPRequest for one certificate.
#[must_use]
pub(crate) fn encode_request(id: &CertId) -> Vec<u8> {
    let cert_id = encode(
        der::SEQUENCE,
        &[
            SHA384_ID,
            &encode(der::OCTET_STRING, &[&id.issuer_name_hash]),
            &encode(der::OCTET_STRING, &[&id.issuer_key_hash]),
            &encode(der::INTEGER, &[&id.serial]),
        ],
    );
    // OCSPRequest { TBSRequest { requestList { Request { CertID } } } }
    (0..4).fold(cert_id, |inner, _| encode(der::SEQUENCE, &[&inner]))
}

/// What the envelope of a response says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// There is a response; it is the newest until this moment, where the responder says so.
    Good(Option<Timestamp>),
    /// The responder asks to come back.
    TryLater,
}

/// Reads the envelope of a response about `id`. The signature is for the verifier.
pub(crate) fn read_response(bytes: &[u8], id: &CertId) -> Result<Status, der::Error> {
    let mut outer = Reader::new(bytes);
    let mut response = Reader::new(outer.read(der::SEQUENCE)?);
    outer.finish()?;
    match response.read(ENUMERATED)? {
        [0] => {}
        // internalError and tryLater: both pass.
        [2 | 3] => return Ok(Status::TryLater),
        _ => return Err(der::Error::Value("response status")),
    }
    let mut bytes = Reader::new(response.read(EXPLICIT_0)?);
    response.finish()?;
    let mut bytes = Reader::new(bytes.read(der::SEQUENCE)?);
    if bytes.read(der::OBJECT_IDENTIFIER)? != BASIC {
        return Err(der::Error::Value("response type"));
    }
    let mut basic = Reader::new(Reader::new(bytes.read(der::OCTET_STRING)?).read(der::SEQUENCE)?);
    let mut data = Reader::new(basic.read(der::SEQUENCE)?);
    data.read_optional(EXPLICIT_0)?;
    // responderID, by name or by key.
    data.any()?;
    data.read(der::GENERALIZED_TIME)?;
    let mut list = Reader::new(data.read(der::SEQUENCE)?);
    for _ in 0..MAX_SINGLE_RESPONSES {
        if list.is_empty() {
            break;
        }
        let mut single = Reader::new(list.read(der::SEQUENCE)?);
        let same = is_about(single.read(der::SEQUENCE)?, id)?;
        // certStatus; what it says is for the verifier.
        single.any()?;
        single.read(der::GENERALIZED_TIME)?;
        if same {
            let next_update = single.read_optional(EXPLICIT_0)?;
            return next_update.map(|time| Reader::new(time).time()).transpose().map(Status::Good);
        }
    }
    Err(der::Error::Value("certificate that the response is about"))
}

/// Whether the contents of a CertID name `id`. Parameters of the hash algorithm may be absent or NULL.
fn is_about(cert_id: &[u8], id: &CertId) -> Result<bool, der::Error> {
    let mut fields = Reader::new(cert_id);
    fields.read(der::SEQUENCE)?;
    let name = fields.read(der::OCTET_STRING)?;
    let key = fields.read(der::OCTET_STRING)?;
    let serial = fields.unsigned_integer()?;
    Ok(name == id.issuer_name_hash && key == id.issuer_key_hash && serial == id.serial)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn id() -> CertId {
        CertId { issuer_name_hash: [1; 48], issuer_key_hash: [2; 48], serial: vec![0x6a, 0xfe] }
    }

    #[test]
    fn encodes_the_request_of_rfc_6960() {
        let bytes = encode_request(&id());
        let mut level = Reader::new(&bytes);
        for _ in 0..4 {
            let inner = level.read(der::SEQUENCE).unwrap();
            level.finish().unwrap();
            level = Reader::new(inner);
        }
        let cert_id = level.read(der::SEQUENCE).unwrap();
        level.finish().unwrap();
        assert!(cert_id.starts_with(SHA384_ID));
        assert!(is_about(cert_id, &id()).unwrap());
        assert_eq!(bytes[..2], [0x30, 127]);
    }

    #[test]
    fn lengths_take_their_shortest_form() {
        assert_eq!(encode(4, &[&[0; 127]])[..2], [4, 127]);
        assert_eq!(encode(4, &[&[0; 128]])[..3], [4, 0x81, 128]);
        assert_eq!(encode(4, &[&[0; 200], &[0; 100]])[..4], [4, 0x82, 1, 44]);
    }

    /// A response without signature: `next_update` as GeneralizedTime text.
    pub(crate) fn response(id: &CertId, status: u8, next_update: Option<&str>) -> Vec<u8> {
        let outer_status = encode(ENUMERATED, &[&[status]]);
        if status != 0 {
            return encode(der::SEQUENCE, &[&outer_status]);
        }
        let request = encode_request(id);
        let cert_id = request.get(request.len() - cert_id_len(id)..).unwrap();
        let time = |text: &str| encode(der::GENERALIZED_TIME, &[text.as_bytes()]);
        let next = next_update.map(|text| encode(EXPLICIT_0, &[&time(text)])).unwrap_or_default();
        let single = encode(der::SEQUENCE, &[cert_id, &encode(0x80, &[]), &time("20250101000000Z"), &next]);
        let list = encode(der::SEQUENCE, &[&single]);
        let responder = encode(0xa2, &[&encode(der::OCTET_STRING, &[&[7; 20]])]);
        let data = encode(der::SEQUENCE, &[&responder, &time("20250101000000Z"), &list]);
        let basic = encode(der::SEQUENCE, &[&data, SHA384_ID, &encode(der::BIT_STRING, &[&[0, 1]])]);
        let typed = encode(
            der::SEQUENCE,
            &[&encode(der::OBJECT_IDENTIFIER, &[BASIC]), &encode(der::OCTET_STRING, &[&basic])],
        );
        encode(der::SEQUENCE, &[&outer_status, &encode(EXPLICIT_0, &[&typed])])
    }

    fn cert_id_len(id: &CertId) -> usize {
        // Tag and one-byte length, algorithm, two hashes of 48, serial.
        let contents = SHA384_ID.len() + 2 * 50 + 2 + id.serial.len();
        contents + if contents > 127 { 3 } else { 2 }
    }

    #[test]
    fn reads_until_when_a_response_is_the_newest() {
        let until = Timestamp::from_civil((2025, 1, 8), (0, 0, 0));
        let with = response(&id(), 0, Some("20250108000000Z"));
        assert_eq!(read_response(&with, &id()), Ok(Status::Good(until)));
        assert_eq!(read_response(&response(&id(), 0, None), &id()), Ok(Status::Good(None)));
        assert_eq!(read_response(&response(&id(), 3, None), &id()), Ok(Status::TryLater));
    }

    #[test]
    fn refuses_a_response_about_another_certificate() {
        let other = CertId { serial: vec![9], ..id() };
        assert!(read_response(&response(&other, 0, None), &id()).is_err());
        let other = CertId { issuer_key_hash: [3; 48], ..id() };
        assert!(read_response(&response(&other, 0, None), &id()).is_err());
    }

    #[test]
    fn refuses_what_is_no_response() {
        let good = response(&id(), 0, Some("20250108000000Z"));
        assert!(read_response(&response(&id(), 6, None), &id()).is_err());
        for cut in 0..good.len() {
            assert!(read_response(&good[..cut], &id()).is_err(), "{cut}");
        }
        assert!(read_response(b"<html>", &id()).is_err());
    }
}

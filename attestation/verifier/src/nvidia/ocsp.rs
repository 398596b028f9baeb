//! Whether the vendor says that a certificate still holds: OCSP responses (RFC 6960) that came with the evidence.
//!
//! Nobody is asked over a network. A response is the issuer's statement about one of its certificates, so it does not
//! matter who brought it; how old it is does.

use super::codes;
use super::device::DeviceChecks;
use super::verified::Verified;
use crate::der::{self, Reader};
use crate::show::hex;
use crate::x509::{Certificate, PublicKey};
use anchorhold_rats::{Checks, Der, Timestamp};
use ring::digest::{self, Algorithm};

mod response;

use response::{CertificateId, Hash, Responder, Response, Single, Status};

/// How long an answer without a next update counts as current (RFC 6960, section 2.4, leaves it to the client).
pub const DEFAULT_LIFETIME_SECONDS: i64 = 24 * 60 * 60;

/// The most answers about one certificate that are judged.
pub const MAX_ANSWERS: usize = 4;

const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
/// 1.3.6.1.5.5.7.3.9, id-kp-OCSPSigning.
const OCSP_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x09];

/// Whose certificate was asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// One of the device's intermediates.
    Device,
    /// A certificate of a manifest's signer.
    Rim,
}

/// What is known of one certificate's revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whose certificate.
    pub subject: Subject,
    /// Which of its certificates, for people.
    pub certificate: String,
    /// What the responder said; `None` when no response is about it.
    pub standing: Option<Standing>,
}

/// What a responder said of a certificate that is not revoked for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The certificate is revoked for the time being (reason certificateHold).
    pub on_hold: bool,
    /// How old the answer was when it was judged.
    pub age_seconds: i64,
}

/// The responses of the evidence, read.
pub(super) struct Responses<'a> {
    all: Vec<Response<'a>>,
    verified: &'a Verified,
}

impl<'a> Responses<'a> {
    /// Reads all of them; `None` when one is malformed.
    pub(super) fn read(all: &'a [Der], verified: &'a Verified, checks: &mut Checks) -> Option<Self> {
        let mut read = Vec::with_capacity(all.len());
        for (number, response) in all.iter().enumerate() {
            let parsed = Response::parse(&response.0);
            let observed = parsed.as_ref().err().map_or_else(|| "one".to_owned(), ToString::to_string);
            let wanted = format!("ocsp response {number}: a successful basic response in strict DER");
            checks.record(codes::OCSP_MALFORMED, parsed.is_ok(), wanted, observed);
            read.extend(parsed.ok());
        }
        (read.len() == all.len()).then_some(Self { all: read, verified })
    }

    /// Judges every answer about `certificate`, which `issuer` issued and which `which` names for people.
    ///
    /// Establishes that the issuer, or whom it delegated, said of this certificate that it is good or on hold, in an
    /// answer that is current at `at`. Presumes that the caller has judged the chain of `issuer`. Of several answers the
    /// worst counts. Gives the end of the earliest answer too.
    pub(super) fn judge(
        &self,
        which: &str,
        certificate: &Certificate<'_>,
        issuer: &Certificate<'_>,
        at: Timestamp,
        checks: &mut DeviceChecks<'_>,
    ) -> (Option<Standing>, Timestamp) {
        let mut standing: Option<Standing> = None;
        let mut expires = Timestamp::from_unix_seconds(i64::MAX);
        let pairs = self
            .all
            .iter()
            .flat_map(|response| response.singles.iter().map(move |single| (response, single)));
        let about: Vec<_> = pairs.filter(|(_, single)| is_about(&single.id, certificate, issuer)).collect();
        let count = about.len();
        let wanted = format!("at most {MAX_ANSWERS} answers about {which}");
        checks.record(codes::OCSP_COUNT, count <= MAX_ANSWERS, wanted, count.to_string());
        for (response, single) in about.into_iter().take(MAX_ANSWERS) {
            if record_signature(response, which, issuer, (at, self.verified), checks) {
                let (found, end) = record_answer(response, single, which, at, checks);
                expires = expires.min(end);
                standing = Some(standing.map_or(found, |known| Standing {
                    on_hold: known.on_hold || found.on_hold,
                    age_seconds: known.age_seconds.max(found.age_seconds),
                }));
            }
        }
        (standing, expires)
    }
}

const fn algorithm(hash: Hash) -> &'static Algorithm {
    match hash {
        Hash::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        Hash::Sha256 => &digest::SHA256,
        Hash::Sha384 => &digest::SHA384,
    }
}

/// The bits of the subject's key, over which OCSP hashes.
fn key_bits<'a>(certificate: &Certificate<'a>) -> Result<&'a [u8], der::Error> {
    let mut outer = Reader::new(certificate.public_key_info);
    let mut fields = Reader::new(outer.read(der::SEQUENCE)?);
    fields.read(der::SEQUENCE)?;
    fields.bit_string()
}

fn is_about(id: &CertificateId<'_>, certificate: &Certificate<'_>, issuer: &Certificate<'_>) -> bool {
    let with = algorithm(id.hash);
    let Ok(key) = key_bits(issuer) else { return false };
    id.serial == certificate.serial
        && id.issuer_name_hash == digest::digest(with, issuer.subject).as_ref()
        && id.issuer_key_hash == digest::digest(with, key).as_ref()
}

/// Whether the issuer signed the response, or a responder that the issuer delegated (RFC 6960, section 4.2.2.2).
fn record_signature(
    response: &Response<'_>,
    which: &str,
    issuer: &Certificate<'_>,
    (at, verified): (Timestamp, &Verified),
    checks: &mut DeviceChecks<'_>,
) -> bool {
    let delegated = response.certificates.iter().find(|candidate| is_named(&response.responder, candidate));
    let (key, observed) = if is_named(&response.responder, issuer) {
        (Some(issuer.public_key), "the issuer".to_owned())
    } else {
        match delegated.map(|responder| (responder, delegation_fault(responder, issuer, at, verified))) {
            Some((responder, None)) => (Some(responder.public_key), "a delegate of the issuer".to_owned()),
            Some((_, Some(fault))) => (None, fault.to_owned()),
            None => (None, "another, whose certificate did not come".to_owned()),
        }
    };
    let wanted = format!("the issuer of {which} or its delegate as responder");
    checks.record(codes::OCSP_RESPONDER, key.is_some(), wanted, observed);
    let Some(key) = key else { return false };
    let valid = matches!(key, PublicKey::P384(_) | PublicKey::P256(_))
        && verified.verify(&key, response.algorithm, response.signed, response.signature);
    let wanted = format!("ECDSA by the responder over the answer about {which}");
    checks.record(codes::OCSP_SIGNATURE, valid, wanted, if valid { "valid" } else { "not valid" })
}

fn is_named(responder: &Responder<'_>, certificate: &Certificate<'_>) -> bool {
    match *responder {
        Responder::Name(name) => certificate.subject == name,
        Responder::KeyHash(hash) => {
            key_bits(certificate).is_ok_and(|key| digest::digest(algorithm(Hash::Sha1), key).as_ref() == hash)
        }
    }
}

/// Why `responder` does not speak for `issuer`, if it does not.
fn delegation_fault(
    responder: &Certificate<'_>,
    issuer: &Certificate<'_>,
    at: Timestamp,
    verified: &Verified,
) -> Option<&'static str> {
    let rules = [
        (responder.issuer == issuer.subject, "a delegate of another issuer"),
        (verified.is_signed_by(responder, issuer), "a delegate that the issuer did not sign"),
        (responder.is_valid_at(at), "a delegate whose certificate is not valid at this time"),
        (responder.authority.signs_data && !responder.authority.is_ca, "a delegate that may not sign data"),
        (may_sign_answers(responder) == Ok(true), "a delegate without the purpose of signing answers"),
    ];
    rules.into_iter().find(|(holds, _)| !holds).map(|(_, fault)| fault)
}

fn may_sign_answers(responder: &Certificate<'_>) -> Result<bool, der::Error> {
    let Some(value) = responder.extension(EXTENDED_KEY_USAGE) else { return Ok(false) };
    let mut outer = Reader::new(value);
    let mut purposes = Reader::new(outer.read(der::SEQUENCE)?);
    outer.finish()?;
    let mut found = false;
    while !purposes.is_empty() {
        found |= purposes.read(der::OBJECT_IDENTIFIER)? == OCSP_SIGNING;
    }
    Ok(found)
}

/// The standing and the end of the answer; records whether it is current and does not refuse the certificate.
fn record_answer(
    response: &Response<'_>,
    single: &Single<'_>,
    which: &str,
    at: Timestamp,
    checks: &mut DeviceChecks<'_>,
) -> (Standing, Timestamp) {
    let end = single.next_update.unwrap_or_else(|| single.this_update.plus_seconds(DEFAULT_LIFETIME_SECONDS));
    let fresh = single.this_update <= at && response.produced <= at && at <= end;
    let window = format!("{} to {end}, made {}", single.this_update, response.produced);
    let wanted = format!("an answer about {which} that is current at {at}");
    checks.record(codes::OCSP_FRESHNESS, fresh, wanted, window);
    let known = single.status != Status::Unknown;
    let observed = if known { "known" } else { "unknown" };
    checks.record(codes::OCSP_UNKNOWN, known, format!("{which} known to its responder"), observed);
    let on_hold = single.status == Status::OnHold;
    let revoked = single.status == Status::Revoked;
    let observed = match single.status {
        Status::Revoked => "revoked",
        Status::OnHold => "on hold",
        Status::Good | Status::Unknown => "not revoked",
    };
    let serial = hex(certificate_serial(single));
    checks.record(codes::OCSP_REVOKED, !revoked, format!("{which} ({serial}) not revoked"), observed);
    let age_seconds = at.unix_seconds() - single.this_update.unix_seconds();
    (Standing { on_hold, age_seconds }, end)
}

/// The serial number, cut to what a certificate may have (RFC 5280, section 4.1.2.2), for people.
fn certificate_serial<'a>(single: &Single<'a>) -> &'a [u8] {
    single.id.serial.get(..21).unwrap_or(single.id.serial)
}

//! The attestation document inside a certificate, for those who look for evidence there (RA-TLS).
//!
//! The extension has the TCG's identifier for conceptual message wrappers (DICE Attestation Architecture 1.1, section 6.1.8), and its value
//! is a wrapper's CBOR record (draft-ietf-rats-msg-wrap, section 3.1), put there directly, as Gramine and librats put theirs.
//!
//! *Not* proof of a connection: who stole the key, or relays the handshake to who holds it, shows the same certificate
//! (CVE-2026-33697). That is what authenticators are for. Nor is it fresh: the document was made when the server started, for a nonce that
//! everybody knows, and says what was so then. It is as old as the key, which lives no longer than the boot.

use crate::document::{MAX_DOCUMENT_BYTES, Presented, Refusal};
use crate::{AttestedServer, verify_document};
use anchorhold_rats::{Endorsements, Nonce, Sha256Digest, Timestamp};
use anchorhold_verifier::x509::Certificate;
use anchorhold_verifier::{AppraisalPolicy, TrustAnchors};

/// 2.23.133.5.4.9, `tcg-dice-conceptual-message-wrapper`.
pub const EXTENSION: [u64; 6] = [2, 23, 133, 5, 4, 9];
/// The same, as the contents of an OBJECT IDENTIFIER.
const EXTENSION_DER: &[u8] = &[0x67, 0x81, 0x05, 0x05, 0x04, 0x09];
/// What is wrapped.
pub const MEDIA_TYPE: &str = "application/vnd.anchorhold.attestation+json";
/// The bit for evidence among the kinds of conceptual messages (section 3.1.1).
const EVIDENCE: u64 = 1 << 2;

/// CBOR's major types (RFC 8949, section 3.1).
const UNSIGNED: u8 = 0;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;

/// Why bytes are not a wrapped document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WrapperError {
    /// No CBOR record of two or three members in its shortest form, or something follows it.
    #[error("not a wrapper's CBOR record in its shortest form")]
    Form,
    /// Something else is wrapped.
    #[error("the wrapped media type is not {MEDIA_TYPE}")]
    MediaType,
    /// It says that it wraps other messages than evidence.
    #[error("the wrapper does not say that it holds evidence")]
    Kind,
    /// Over the limit of documents.
    #[error("{observed_bytes} bytes are wrapped, the limit is {MAX_DOCUMENT_BYTES}")]
    TooLong {
        /// The length that came.
        observed_bytes: u64,
    },
}

/// The nonce of documents in certificates: everybody knows it, so it shows that a document was made for a certificate and not when.
#[must_use]
pub fn certificate_nonce() -> Nonce {
    Nonce::new(*Sha256Digest::of(b"anchorhold: evidence in a certificate").as_bytes())
}

/// The extension's value for a document.
#[must_use]
pub fn wrap(document: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(document.len().saturating_add(64));
    head(&mut out, ARRAY, 3);
    head(&mut out, TEXT, MEDIA_TYPE.len() as u64);
    out.extend_from_slice(MEDIA_TYPE.as_bytes());
    head(&mut out, BYTES, document.len() as u64);
    out.extend_from_slice(document);
    head(&mut out, UNSIGNED, EVIDENCE);
    out
}

/// The document in an extension's value.
///
/// # Errors
/// [`WrapperError`]; none quotes the input.
pub fn unwrap(value: &[u8]) -> Result<&[u8], WrapperError> {
    let (major, members, rest) = split(value)?;
    if major != ARRAY || !(2..=3).contains(&members) {
        return Err(WrapperError::Form);
    }
    let (kind, rest) = match split(rest)? {
        (TEXT, length, rest) => take(rest, length)?,
        // A number of a CoAP content format; ours has none.
        (UNSIGNED, ..) => return Err(WrapperError::MediaType),
        _ => return Err(WrapperError::Form),
    };
    if kind != MEDIA_TYPE.as_bytes() {
        return Err(WrapperError::MediaType);
    }
    let (BYTES, length, rest) = split(rest)? else { return Err(WrapperError::Form) };
    if length > MAX_DOCUMENT_BYTES as u64 {
        return Err(WrapperError::TooLong { observed_bytes: length });
    }
    let (document, rest) = take(rest, length)?;
    let rest = if members == 3 {
        let (UNSIGNED, kinds, rest) = split(rest)? else { return Err(WrapperError::Form) };
        if kinds & EVIDENCE == 0 || kinds > u32::MAX.into() {
            return Err(WrapperError::Kind);
        }
        rest
    } else {
        rest
    };
    if rest.is_empty() { Ok(document) } else { Err(WrapperError::Form) }
}

/// Judges the evidence in a certificate; `None` where it has none, or is not of the form that is read here.
///
/// *Establishes*: a guest that `policy` accepts made this certificate's key. *Presumes*: `at` is the present. It does *not* establish
/// that whoever shows the certificate is that guest, nor when the evidence was made.
///
/// # Errors
/// What is wrong with the wrapper or with the evidence in it.
pub fn verify_certificate(
    certificate: &[u8],
    endorsements: &Endorsements,
    anchors: &TrustAnchors,
    policy: &AppraisalPolicy,
    at: Timestamp,
) -> Option<Result<AttestedServer, CertificateRefusal>> {
    let certificate = Certificate::parse(certificate).ok()?;
    let value = certificate.extension(EXTENSION_DER)?;
    let tls_key = Sha256Digest::of(certificate.public_key_info);
    let judged = unwrap(value).map_err(CertificateRefusal::Wrapper).and_then(|document| {
        let presented = Presented { document, nonce: certificate_nonce(), tls_key };
        Ok(verify_document(&presented, endorsements, anchors, policy, at)?)
    });
    Some(judged)
}

/// Why the evidence in a certificate is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum CertificateRefusal {
    /// There is no document in it.
    #[error(transparent)]
    Wrapper(#[from] WrapperError),
    /// There is one, and it was refused.
    #[error(transparent)]
    Refused(#[from] Box<Refusal>),
}

/// Writes the head of a CBOR item in its shortest form.
fn head(out: &mut Vec<u8>, major: u8, argument: u64) {
    let major = major << 5;
    let bytes = argument.to_be_bytes();
    let [.., low] = bytes;
    match argument {
        0..=23 => out.push(major | low),
        24..=0xff => out.extend_from_slice(&[major | 24, low]),
        0x100..=0xffff => {
            out.push(major | 25);
            out.extend_from_slice(&bytes[6..]);
        }
        0x1_0000..=0xffff_ffff => {
            out.push(major | 26);
            out.extend_from_slice(&bytes[4..]);
        }
        _ => {
            out.push(major | 27);
            out.extend_from_slice(&bytes);
        }
    }
}

/// The major type and the argument of the next item, and what follows its head.
fn split(bytes: &[u8]) -> Result<(u8, u64, &[u8]), WrapperError> {
    let (first, rest) = bytes.split_first().ok_or(WrapperError::Form)?;
    let (major, info) = (first >> 5, first & 0x1f);
    let (width, least) = match info {
        0..=23 => return Ok((major, info.into(), rest)),
        24 => (1, 24),
        25 => (2, 0x100),
        26 => (4, 0x1_0000),
        27 => (8, 0x1_0000_0000),
        _ => return Err(WrapperError::Form),
    };
    let (argument, rest) = rest.split_at_checked(width).ok_or(WrapperError::Form)?;
    let argument = argument.iter().fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
    if argument < least { Err(WrapperError::Form) } else { Ok((major, argument, rest)) }
}

fn take(bytes: &[u8], length: u64) -> Result<(&[u8], &[u8]), WrapperError> {
    usize::try_from(length).ok().and_then(|length| bytes.split_at_checked(length)).ok_or(WrapperError::Form)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_at_every_width_of_a_length() {
        for length in [0, 23, 24, 255, 256, 65_535, 65_536, MAX_DOCUMENT_BYTES] {
            let document = vec![b'd'; length];
            assert_eq!(unwrap(&wrap(&document)), Ok(document.as_slice()), "{length}");
        }
        // The record of the draft's section 3.1 without its third member.
        let mut two = wrap(b"{}");
        two[0] = 0x82;
        two.pop();
        assert_eq!(unwrap(&two), Ok(b"{}".as_slice()));
        assert_eq!(wrap(b"{}")[..3], [0x83, 0x78, 43]);
    }

    #[test]
    fn case_09_refuses_every_other_form() {
        let good = wrap(b"{}");
        for end in 0..good.len() {
            assert_eq!(unwrap(&good[..end]), Err(WrapperError::Form), "{end}");
        }
        let mut long = good.clone();
        long.push(0);
        assert_eq!(unwrap(&long), Err(WrapperError::Form), "something follows");
        let changed = |at: usize, byte: u8| {
            let mut changed = good.clone();
            changed[at] = byte;
            changed
        };
        let last = good.len() - 1;
        for (bytes, wanted) in [
            (changed(0, 0x84), WrapperError::Form),
            (changed(0, 0x9f), WrapperError::Form),
            (changed(0, 0x5b), WrapperError::Form),
            (changed(1, 0x58), WrapperError::Form),
            (changed(5, b'x'), WrapperError::MediaType),
            (changed(last, 0x01), WrapperError::Kind),
            (changed(last, 0x40), WrapperError::Form),
            // A text that is shorter than its head says, and a content format.
            (vec![0x82, 0x79, 0x00, 0x01, b'a', 0x40], WrapperError::Form),
            (vec![0x82, 0x19, 0x75, 0x31, 0x40], WrapperError::MediaType),
        ] {
            assert_eq!(unwrap(&bytes), Err(wanted), "{bytes:02x?}");
        }
        let mut endless = good[..2 + 1 + MEDIA_TYPE.len()].to_vec();
        endless.extend([0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        assert!(matches!(unwrap(&endless), Err(WrapperError::TooLong { .. })));
    }
}

//! Signed receipts: what a caller keeps of one request.
//!
//! The text is `payload.signature`, each part in base64url without padding (RFC 4648, section 5). The payload is the JSON of
//! [`SignedReceipt`]; the signature is Ed25519 by the log's key over the pre-authentication encoding of DSSE 1.0 with the type
//! [`RECEIPT_TYPE`], so it is no signature over a checkpoint or anything else.
//!
//! A receipt says that the entry `index` of this log is about this request. The commitments in it are the entry's; an export of the
//! log proves that the entry is there, and the caller's key that it is about these bytes.

use super::Receipt;
use crate::{DeviceId, Hash, Measurement, ModelId, Origin, PublicKey, RequestId, Signer};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The payload type that the signature covers.
pub const RECEIPT_TYPE: &str = "application/vnd.anchorhold.receipt.v1+json";
/// The longest receipt, in bytes of text.
pub const MAX_RECEIPT_BYTES: usize = 4096;

/// What stands in front of the receipt in a response of server-sent events: a comment line (WHATWG HTML, section 9.2).
pub const STREAM_RECEIPT_PREFIX: &str = ": x-anchorhold-receipt ";

/// The receipt within a response of server-sent events, and what its commitment covers: the response without comments, which
/// carry receipts and padding. `None` where there is no receipt.
///
/// Only whole lines count, and JSON has no line feeds, so no text of a model can be taken for a receipt.
#[must_use]
pub fn split_stream(response: &[u8]) -> Option<(&str, Vec<u8>)> {
    let receipt =
        lines(response).filter_map(|line| line.strip_prefix(STREAM_RECEIPT_PREFIX.as_bytes())).last()?;
    let receipt = std::str::from_utf8(receipt.strip_suffix(b"\n")?).ok()?;
    Some((receipt, without_comments(response)))
}

/// A response of server-sent events without its comment lines, and without the empty lines that end no event.
#[must_use]
pub fn without_comments(response: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(response.len());
    // At the beginning, and after an empty line, another one ends nothing.
    let mut ended = true;
    for line in lines(response).filter(|line| !line.starts_with(b":")) {
        let is_empty = line == b"\n";
        if !(is_empty && ended) {
            kept.extend_from_slice(line);
        }
        ended = is_empty;
    }
    kept
}

/// Lines, each with its line feed.
fn lines(response: &[u8]) -> impl Iterator<Item = &[u8]> {
    response.split_inclusive(|byte| *byte == b'\n')
}

/// What the guest says about one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedReceipt {
    /// The log that holds the entry.
    pub origin: Origin,
    /// The entry's index in it, from 0.
    pub index: u64,
    /// The server's id of the request.
    pub rid: RequestId,
    /// When the entry was made, by the guest's clock, in nanoseconds since 1970-01-01 UTC.
    pub at_ns: i64,
    /// The HTTP status.
    pub status: u16,
    /// The model that answered; `null` where none did.
    pub model: Option<ReceiptModel>,
    /// The guest's launch measurement.
    pub measurement: Measurement,
    /// SHA-256 of the SELinux policy that the guest's kernel enforced when the guest started; left out where it enforced none, so that
    /// receipts without one are what they were before there was this key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selinux_policy: Option<Hash>,
    /// The GPUs and switches whose reports are in the guest's evidence, in their order there, as [`selinux_policy`](Self::selinux_policy)
    /// left out where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<DeviceId>,
    /// Tokens of the prompt.
    pub tokens_in: u64,
    /// Tokens of the answer.
    pub tokens_out: u64,
    /// The commitments to request and response; of a response in events without its comments.
    pub commitments: Receipt,
}

/// Which weights answered, and under which release policy their key was granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptModel {
    /// The id in the API.
    pub id: ModelId,
    /// The manifest's version.
    pub version: u64,
    /// SHA-256 of the signed manifest, which names the root of the weights.
    pub manifest_digest: Hash,
    /// SHA-256 of the release policy; `null` where the grant names none.
    pub policy_digest: Option<Hash>,
}

/// Why a receipt is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiptError {
    /// Not two parts of base64url within the limit, or the payload is no receipt.
    Malformed,
    /// The key did not sign it.
    Signature,
}

impl fmt::Display for ReceiptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "not a receipt: expected payload.signature in base64url",
            Self::Signature => "the receipt is not signed by this log's key",
        })
    }
}

impl std::error::Error for ReceiptError {}

impl SignedReceipt {
    /// The text for the caller, signed by the key of the log that holds the entry.
    #[must_use]
    pub fn sign(&self, signer: &Signer) -> Option<String> {
        let payload = serde_json::to_vec(self).ok()?;
        let signature = signer.sign_bytes(&encoding(&payload));
        let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(&payload), URL_SAFE_NO_PAD.encode(signature));
        (text.len() <= MAX_RECEIPT_BYTES).then_some(text)
    }

    /// Reads a receipt that `key` signed.
    ///
    /// *Establishes*: the holder of `key` said this. *Presumes*: `key` is the audit key of an attested guest.
    ///
    /// # Errors
    /// [`ReceiptError`]; neither quotes the text.
    pub fn verify(text: &str, key: &PublicKey) -> Result<Self, ReceiptError> {
        if text.len() > MAX_RECEIPT_BYTES {
            return Err(ReceiptError::Malformed);
        }
        let (payload, signature) = text.split_once('.').ok_or(ReceiptError::Malformed)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| ReceiptError::Malformed);
        let (payload, signature) = (decode(payload)?, decode(signature)?);
        UnparsedPublicKey::new(&ED25519, key.as_bytes())
            .verify(&encoding(&payload), &signature)
            .map_err(|_| ReceiptError::Signature)?;
        serde_json::from_slice(&payload).map_err(|_| ReceiptError::Malformed)
    }
}

/// DSSE 1.0, "PAE".
fn encoding(payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {RECEIPT_TYPE} {} ", RECEIPT_TYPE.len(), payload.len()).into_bytes();
    bytes.extend(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit;

    fn receipt() -> SignedReceipt {
        SignedReceipt {
            origin: Origin::new("acme/1").unwrap(),
            index: 12,
            rid: RequestId::new("01J0000000000000000000000A").unwrap(),
            at_ns: 1_700_000_000_000_000_000,
            status: 200,
            model: Some(ReceiptModel {
                id: ModelId::new("acme/chat").unwrap(),
                version: 3,
                manifest_digest: Hash::new([8; 32]),
                policy_digest: None,
            }),
            measurement: Measurement::new([5; 48]),
            selinux_policy: None,
            gpus: Vec::new(),
            tokens_in: 7,
            tokens_out: 9,
            commitments: Receipt::new(commit(&[1; 32], b"question"), commit(&[1; 32], b"answer")),
        }
    }

    fn signer(seed: u8) -> Signer {
        Signer::from_seed(Origin::new("acme/1").unwrap(), &[seed; 32]).unwrap()
    }

    #[test]
    fn a_receipt_is_read_with_the_key_that_signed_it_and_opens_for_its_bytes() {
        let text = receipt().sign(&signer(1)).unwrap();
        let read = SignedReceipt::verify(&text, &signer(1).key().public_key()).unwrap();
        assert_eq!(read, receipt());
        assert!(read.commitments.opens(&[1; 32], b"question", b"answer"));
        assert!(text.is_ascii() && !text.contains('\n'));
    }

    #[test]
    fn the_policy_of_the_guest_is_signed_and_left_out_where_there_is_none() {
        let payload = |receipt: &SignedReceipt| serde_json::to_value(receipt).unwrap();
        assert_eq!(payload(&receipt()).get("selinux_policy"), None);
        let confined = SignedReceipt { selinux_policy: Some(Hash::new([4; 32])), ..receipt() };
        assert_eq!(payload(&confined)["selinux_policy"], "04".repeat(32));
        let key = signer(1).key().public_key();
        assert_eq!(SignedReceipt::verify(&confined.sign(&signer(1)).unwrap(), &key), Ok(confined));
    }

    #[test]
    fn the_gpus_of_the_guest_are_signed_and_the_most_there_can_be_fit() {
        let payload = |receipt: &SignedReceipt| serde_json::to_value(receipt).unwrap();
        assert_eq!(payload(&receipt()).get("gpus"), None);
        let gpus: Vec<_> = (0..16).map(|number| DeviceId::new([number; 8])).collect();
        let on_gpus = SignedReceipt { gpus, selinux_policy: Some(Hash::new([4; 32])), ..receipt() };
        assert_eq!(payload(&on_gpus)["gpus"][15], "0f".repeat(8));
        let key = signer(1).key().public_key();
        assert_eq!(SignedReceipt::verify(&on_gpus.sign(&signer(1)).unwrap(), &key), Ok(on_gpus));
    }

    #[test]
    fn refuses_another_key_and_every_changed_character() {
        let text = receipt().sign(&signer(1)).unwrap();
        let key = signer(1).key().public_key();
        let other = signer(2).key().public_key();
        assert_eq!(SignedReceipt::verify(&text, &other), Err(ReceiptError::Signature));
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert!(SignedReceipt::verify(&String::from_utf8(bytes).unwrap(), &key).is_err(), "{at}");
        }
        for bad in ["", ".", "a.b.c", "####.####", &"A".repeat(MAX_RECEIPT_BYTES + 1)] {
            assert!(SignedReceipt::verify(bad, &key).is_err());
        }
    }

    #[test]
    fn a_receipt_is_taken_from_a_comment_line_and_comments_are_not_committed_to() {
        let event = "data: {\"a\":\": x-anchorhold-receipt no\"}\n\n";
        let done = "data: [DONE]\n\n";
        for stream in [
            format!("{event}: x-anchorhold-receipt p.s\n{done}"),
            format!("{event}: x-anchorhold-receipt p.s\n\n{done}"),
            format!("\n:xxx\n{event}\n:xx\n: x-anchorhold-receipt p.s\n{done}:\n\n"),
        ] {
            let (receipt, rest) = split_stream(stream.as_bytes()).unwrap();
            assert_eq!((receipt, rest), ("p.s", format!("{event}{done}").into_bytes()), "{stream:?}");
        }
        for none in ["", "data: : x-anchorhold-receipt p.s\n\n", ": x-anchorhold-receipt p.s"] {
            assert_eq!(split_stream(none.as_bytes()), None);
        }
    }

    #[test]
    fn a_signature_over_the_payload_alone_is_none_over_a_receipt() {
        let payload = serde_json::to_vec(&receipt()).unwrap();
        let signature = signer(1).sign_bytes(&payload);
        let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(&payload), URL_SAFE_NO_PAD.encode(signature));
        let key = signer(1).key().public_key();
        assert_eq!(SignedReceipt::verify(&text, &key), Err(ReceiptError::Signature));
    }
}

//! The DSSE envelope around the manifest's statement: one Ed25519 signature over the pre-authentication encoding.
//!
//! Specification: <https://github.com/secure-systems-lab/dsse>, version 1.0.2. Stricter than it: the envelope must be
//! the one byte string this module would write, so that nothing outside the signature can be changed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::key::OwnerKey;
use crate::{hex, merkle};

/// The only payload type accepted.
pub(crate) const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    #[serde(rename = "payloadType")]
    payload_type: String,
    payload: String,
    signatures: Vec<Signature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    keyid: String,
    sig: String,
}

/// The envelope's bytes, signed by `owner`.
pub(crate) fn sign(payload: &[u8], owner: &OwnerKey) -> Result<Vec<u8>, Error> {
    let sig = owner.sign(&pre_authentication_encoding(payload));
    let envelope = Envelope {
        payload_type: PAYLOAD_TYPE.to_owned(),
        payload: STANDARD.encode(payload),
        signatures: vec![Signature { keyid: key_id(&owner.public_key()), sig: STANDARD.encode(sig) }],
    };
    serde_json::to_vec(&envelope).map_err(|_| Error::Manifest("envelope cannot be written"))
}

/// The payload of an envelope. Establishes that the holder of `owner_key`'s private half signed it under this payload
/// type.
pub(crate) fn verify(bytes: &[u8], owner_key: &[u8; 32]) -> Result<Vec<u8>, Error> {
    let envelope: Envelope =
        serde_json::from_slice(bytes).map_err(|_| Error::Manifest("not a DSSE envelope"))?;
    let canonical = serde_json::to_vec(&envelope).map_err(|_| Error::Manifest("not a DSSE envelope"))?;
    if canonical != bytes {
        return Err(Error::Manifest("envelope is not in its canonical form"));
    }
    if envelope.payload_type != PAYLOAD_TYPE {
        return Err(Error::Manifest("payload type is not application/vnd.in-toto+json"));
    }
    let [signature] = envelope.signatures.as_slice() else {
        return Err(Error::Signature("envelope must have exactly one signature"));
    };
    if signature.keyid != key_id(owner_key) {
        return Err(Error::Signature("envelope names another key than the owner's"));
    }
    let payload =
        STANDARD.decode(&envelope.payload).map_err(|_| Error::Manifest("payload is not canonical base64"))?;
    let sig =
        STANDARD.decode(&signature.sig).map_err(|_| Error::Signature("signature is not canonical base64"))?;
    UnparsedPublicKey::new(&ED25519, owner_key)
        .verify(&pre_authentication_encoding(&payload), &sig)
        .map_err(|_| Error::Signature("signature does not verify under the owner's key"))?;
    Ok(payload)
}

/// The key id: SHA-256 of the raw public key, in hexadecimal.
pub(crate) fn key_id(public_key: &[u8; 32]) -> String {
    hex::encode(&merkle::sha256(public_key))
}

fn pre_authentication_encoding(payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> OwnerKey {
        OwnerKey::from_seed(&[7; 32]).unwrap()
    }

    fn refusal(bytes: &[u8]) -> Error {
        verify(bytes, &owner().public_key()).unwrap_err()
    }

    #[test]
    fn returns_the_signed_payload() {
        let bytes = sign(b"statement", &owner()).unwrap();
        assert_eq!(verify(&bytes, &owner().public_key()).unwrap(), b"statement");
    }

    #[test]
    fn encodes_as_the_specification_does() {
        assert_eq!(pre_authentication_encoding(b"hi"), b"DSSEv1 28 application/vnd.in-toto+json 2 hi");
    }

    #[test]
    fn refuses_another_owner() {
        let bytes = sign(b"statement", &OwnerKey::from_seed(&[8; 32]).unwrap()).unwrap();
        assert_eq!(refusal(&bytes), Error::Signature("envelope names another key than the owner's"));
    }

    #[test]
    fn refuses_a_signature_over_the_bare_payload() {
        let text = String::from_utf8(sign(b"statement", &owner()).unwrap()).unwrap();
        let genuine = STANDARD.encode(owner().sign(&pre_authentication_encoding(b"statement")));
        let bare = STANDARD.encode(owner().sign(b"statement"));
        let refused = refusal(text.replace(&genuine, &bare).as_bytes());
        assert_eq!(refused, Error::Signature("signature does not verify under the owner's key"));
    }

    #[test]
    fn refuses_every_other_spelling_of_a_genuine_envelope() {
        let text = String::from_utf8(sign(b"statement", &owner()).unwrap()).unwrap();
        let spaced = text.replacen(':', ": ", 1);
        assert_eq!(refusal(spaced.as_bytes()), Error::Manifest("envelope is not in its canonical form"));
        let escaped = text.replacen("application/vnd", "application\\/vnd", 1);
        assert_eq!(refusal(escaped.as_bytes()), Error::Manifest("envelope is not in its canonical form"));
        let unknown = text.replacen('{', "{\"x\":1,", 1);
        assert_eq!(refusal(unknown.as_bytes()), Error::Manifest("not a DSSE envelope"));
        let twice = text.replacen('{', "{\"payload\":\"\",", 1);
        assert_eq!(refusal(twice.as_bytes()), Error::Manifest("not a DSSE envelope"));
        let trailing = format!("{text}{{}}");
        assert_eq!(refusal(trailing.as_bytes()), Error::Manifest("not a DSSE envelope"));
    }

    #[test]
    fn refuses_another_payload_type() {
        let text = String::from_utf8(sign(b"statement", &owner()).unwrap()).unwrap();
        let other = text.replace("in-toto+json", "in-toto+jsoN");
        let refused = refusal(other.as_bytes());
        assert_eq!(refused, Error::Manifest("payload type is not application/vnd.in-toto+json"));
    }

    #[test]
    fn refuses_no_signature_and_two() {
        let text = String::from_utf8(sign(b"statement", &owner()).unwrap()).unwrap();
        let (head, tail) = text.split_once("[").unwrap();
        let one = tail.strip_suffix("]}").unwrap();
        for signatures in [String::new(), format!("{one},{one}")] {
            let refused = refusal(format!("{head}[{signatures}]}}").as_bytes());
            assert_eq!(refused, Error::Signature("envelope must have exactly one signature"));
        }
    }
}

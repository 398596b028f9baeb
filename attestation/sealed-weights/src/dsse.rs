//! The envelope around the manifest's statement: `anchorhold-dsse` with one signer, the owner.

use anchorhold_dsse::TrustedSigners;

use crate::error::Error;
use crate::key::OwnerKey;
use crate::rules::{ManifestRule, SignatureRule};

/// The only payload type accepted.
pub(crate) const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// The envelope's bytes, signed by `owner`.
pub(crate) fn sign(payload: &[u8], owner: &OwnerKey) -> Result<Vec<u8>, Error> {
    anchorhold_dsse::sign(PAYLOAD_TYPE, payload, &[owner.signing_key()]).map_err(refused)
}

/// The payload of an envelope. Establishes that the holder of `owner_key`'s private half signed it under this payload
/// type.
pub(crate) fn verify(bytes: &[u8], owner_key: &[u8; 32]) -> Result<Vec<u8>, Error> {
    let verified = anchorhold_dsse::verify(bytes, PAYLOAD_TYPE, &TrustedSigners::one(owner_key));
    Ok(verified.map_err(refused)?.into_payload())
}

fn refused(error: anchorhold_dsse::Error) -> Error {
    use anchorhold_dsse::Error as Dsse;
    match error {
        Dsse::TooLong { .. } => Error::Manifest(ManifestRule::TooLong),
        Dsse::Malformed => Error::Manifest(ManifestRule::NotEnvelope),
        Dsse::NotCanonical => Error::Manifest(ManifestRule::NotCanonical),
        Dsse::PayloadType { .. } => Error::Manifest(ManifestRule::PayloadType),
        Dsse::Payload => Error::Manifest(ManifestRule::PayloadBase64),
        Dsse::SignatureCount { .. }
        | Dsse::Threshold { .. }
        | Dsse::DuplicateSigner { .. }
        | Dsse::Order { .. }
        | Dsse::NoKey => Error::Signature(SignatureRule::Count),
        Dsse::UnknownSigner { .. } => Error::Signature(SignatureRule::OtherOwner),
        Dsse::SignatureEncoding { .. } => Error::Signature(SignatureRule::Encoding),
        Dsse::Signature { .. } => Error::Signature(SignatureRule::Invalid),
    }
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

    fn signed() -> String {
        String::from_utf8(sign(b"statement", &owner()).unwrap()).unwrap()
    }

    #[test]
    fn returns_the_signed_payload() {
        assert_eq!(verify(signed().as_bytes(), &owner().public_key()).unwrap(), b"statement");
    }

    #[test]
    fn refuses_another_owner() {
        let bytes = sign(b"statement", &OwnerKey::from_seed(&[8; 32]).unwrap()).unwrap();
        assert_eq!(refusal(&bytes), Error::Signature(SignatureRule::OtherOwner));
    }

    #[test]
    fn refuses_another_payload_under_a_genuine_signature() {
        let changed = signed().replace("c3RhdGVtZW50", "c3RhdGVtZW5U");
        let refused = refusal(changed.as_bytes());
        assert_eq!(refused, Error::Signature(SignatureRule::Invalid));
        let cut = signed().replace("c3RhdGVtZW50", "c3RhdGVtZW5");
        assert_eq!(refusal(cut.as_bytes()), Error::Manifest(ManifestRule::PayloadBase64));
        let cut = signed().replace("==\"}", "=\"}");
        assert_eq!(refusal(cut.as_bytes()), Error::Signature(SignatureRule::Encoding));
    }

    #[test]
    fn refuses_every_other_spelling_of_a_genuine_envelope() {
        let spaced = signed().replacen(':', ": ", 1);
        assert_eq!(refusal(spaced.as_bytes()), Error::Manifest(ManifestRule::NotCanonical));
        let trailing = format!("{}{{}}", signed());
        assert_eq!(refusal(trailing.as_bytes()), Error::Manifest(ManifestRule::NotEnvelope));
    }

    #[test]
    fn refuses_another_payload_type() {
        let other = signed().replace("in-toto+json", "in-toto+jsoN");
        let refused = refusal(other.as_bytes());
        assert_eq!(refused, Error::Manifest(ManifestRule::PayloadType));
    }

    #[test]
    fn refuses_no_signature_and_two() {
        let text = signed();
        let (head, tail) = text.split_once("[").unwrap();
        let one = tail.strip_suffix("]}").unwrap();
        for signatures in [String::new(), format!("{one},{one}")] {
            let refused = refusal(format!("{head}[{signatures}]}}").as_bytes());
            assert_eq!(refused, Error::Signature(SignatureRule::Count));
        }
    }
}

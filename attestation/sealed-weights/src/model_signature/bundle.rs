//! The Sigstore bundle: <https://github.com/sigstore/protobuf-specs>, `sigstore_bundle.proto`, version 0.3 in JSON, with a
//! DSSE envelope.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::signer::SignerKey;
use crate::dsse::PAYLOAD_TYPE;
use crate::rules::ModelSignatureRule;
use crate::strict::{Bounded, Object};

const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Bundle {
    media_type: String,
    verification_material: Object<Material>,
    dsse_envelope: Object<Envelope>,
}

/// What says to whom a key belongs. Only the hint is looked at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    #[serde(default)]
    public_key: Option<Object<PublicKey>>,
}

#[derive(Deserialize)]
struct PublicKey {
    #[serde(default)]
    hint: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Bounded<Object<Signature>, 2>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    sig: String,
    #[serde(rename = "keyid", default)]
    _keyid: Option<String>,
}

/// The payload of a bundle's envelope. Establishes that the holder of `signer` signed it as an in-toto statement.
pub(super) fn verify(bytes: &[u8], signer: &SignerKey) -> Result<Vec<u8>, ModelSignatureRule> {
    let Object(bundle): Object<Bundle> =
        serde_json::from_slice(bytes).map_err(|_| ModelSignatureRule::NotBundle)?;
    if bundle.media_type != MEDIA_TYPE {
        return Err(ModelSignatureRule::MediaType);
    }
    let Object(envelope) = bundle.dsse_envelope;
    if envelope.payload_type != PAYLOAD_TYPE {
        return Err(ModelSignatureRule::PayloadType);
    }
    let [Object(signature)] = envelope.signatures.0.as_slice() else { return Err(ModelSignatureRule::Count) };
    let hint = bundle.verification_material.0.public_key.and_then(|key| key.0.hint);
    if hint.is_some_and(|hint| hint != signer.hint()) {
        return Err(ModelSignatureRule::Hint);
    }
    let decode = |text: &str| STANDARD.decode(text).map_err(|_| ModelSignatureRule::Base64);
    let (payload, signature) = (decode(&envelope.payload)?, decode(&signature.sig)?);
    // The pre-authentication encoding of DSSE 1.0.2, section "Protocol".
    let mut message = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len()).into_bytes();
    message.extend_from_slice(&payload);
    if !signer.verifies(&message, &signature) {
        return Err(ModelSignatureRule::Invalid);
    }
    Ok(payload)
}

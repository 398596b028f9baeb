//! OpenSSF model signatures: bundles from anywhere, and statements that the signer signed.
#![no_main]

use anchorhold_sealed_weights::{MAX_RESOURCES, ModelSignature, SignerKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

const SEED: [u8; 32] = [9; 32];
const KIND: &str = "application/vnd.in-toto+json";
/// A `SubjectPublicKeyInfo` of Ed25519 up to the key.
const PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

fuzz_target!(|data: &[u8]| {
    let pair = Ed25519KeyPair::from_seed_unchecked(&SEED).expect("a seed makes a key");
    let der = [&PREFIX[..], pair.public_key().as_ref()].concat();
    let signer = SignerKey::from_der(&der).expect("a key");
    let _ = SignerKey::from_der(data);
    let _ = std::str::from_utf8(data).map(SignerKey::from_pem);
    assert!(ModelSignature::verify(data, &signer).is_err(), "nobody else can sign");
    let mut message = format!("DSSEv1 {} {KIND} {} ", KIND.len(), data.len()).into_bytes();
    message.extend_from_slice(data);
    let (payload, signature) = (STANDARD.encode(data), STANDARD.encode(pair.sign(&message).as_ref()));
    let bundle = format!(
        r#"{{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{{}},"dsseEnvelope":{{"payload":"{payload}","payloadType":"{KIND}","signatures":[{{"sig":"{signature}"}}]}}}}"#
    );
    if let Ok(signed) = ModelSignature::verify(bundle.as_bytes(), &signer) {
        assert!((1..=MAX_RESOURCES).contains(&signed.resource_count()));
        assert_eq!((signed.bundle(), signed.signer()), (bundle.as_bytes(), &signer));
    }
});

//! Sealed package manifests: as bytes from a store, and as a payload that the owner signed.
#![no_main]

use anchorhold_sealed_weights::{Manifest, OwnerKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use ring::digest::{SHA256, digest};
use ring::signature::Ed25519KeyPair;

/// Not the seed of `tests/vectors/sealed-weights`, whose manifest is one of the inputs that the run begins with.
const SEED: [u8; 32] = [9; 32];
const KIND: &str = "application/vnd.in-toto+json";

fuzz_target!(|data: &[u8]| {
    let public = OwnerKey::from_seed(&SEED).expect("a seed makes a key").public_key();
    assert!(Manifest::verify(data, &public).is_err(), "nobody else can sign");
    let Ok(manifest) = Manifest::verify(&signed(data, &public), &public) else { return };
    for object in manifest.objects() {
        assert!(object.plaintext_len() < object.ciphertext_len() && object.segment_count() > 0);
    }
    assert!(manifest.created_s() < manifest.not_after_s() && manifest.version() > 0);
});

/// The envelope that the owner would sign around `payload`.
fn signed(payload: &[u8], public: &[u8; 32]) -> Vec<u8> {
    let mut encoding = format!("DSSEv1 {} {KIND} {} ", KIND.len(), payload.len()).into_bytes();
    encoding.extend_from_slice(payload);
    let signature = Ed25519KeyPair::from_seed_unchecked(&SEED).expect("a seed makes a key").sign(&encoding);
    let key_id: String = digest(&SHA256, public).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let (payload, signature) = (STANDARD.encode(payload), STANDARD.encode(signature.as_ref()));
    format!(
        r#"{{"payloadType":"{KIND}","payload":"{payload}","signatures":[{{"keyid":"{key_id}","sig":"{signature}"}}]}}"#
    )
    .into_bytes()
}

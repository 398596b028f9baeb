//! Those who sign policies, by the seeds of their keys.

use anchorhold_dsse::SigningKey;
use anchorhold_key_release::RELEASE_POLICY_TYPE;
use anchorhold_rats::Ed25519PublicKey;

pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32]).unwrap()
}

pub(crate) fn public(seed: u8) -> Ed25519PublicKey {
    Ed25519PublicKey::new(key(seed).public_key())
}

/// The TOML of a signer set.
pub(crate) fn set(version: u64, threshold: usize, seeds: &[u8]) -> String {
    let signer = |seed: &u8| format!("[[signer]]\nname = \"s{seed}\"\nkey = \"{}\"\n", public(*seed));
    let signers: String = seeds.iter().map(signer).collect();
    format!("signers = \"acme\"\nversion = {version}\nthreshold = {threshold}\n{signers}")
}

pub(crate) fn signed_as(payload_type: &'static str, text: &str, seeds: &[u8]) -> Vec<u8> {
    let keys: Vec<SigningKey> = seeds.iter().map(|seed| key(*seed)).collect();
    anchorhold_dsse::sign(payload_type, text.as_bytes(), &keys.iter().collect::<Vec<_>>()).unwrap()
}

pub(crate) fn signed(text: &str, seeds: &[u8]) -> Vec<u8> {
    signed_as(RELEASE_POLICY_TYPE, text, seeds)
}

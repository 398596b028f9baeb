//! A second writer of FLOE objects, for packages that the packer would not make: given IV and nonces, any length.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use ring::hmac;

/// Plaintext bytes of a segment of the vectors.
pub(crate) const PAYLOAD: usize = 1 << 20;
pub(crate) const SEGMENT: usize = PAYLOAD + 32;
/// The same as the header says it.
const SEGMENT_LEN: u32 = (1 << 20) + 32;
pub(crate) const HEADER: usize = 74;

/// What an object is encrypted under.
pub(crate) struct Under<'a> {
    pub(crate) key: &'a [u8; 32],
    pub(crate) aad: &'a [u8],
    pub(crate) iv: [u8; 32],
}

fn derive(under: &Under<'_>, key: &[u8], purpose: &[u8]) -> Vec<u8> {
    let parameters = [&[0, 0][..], &SEGMENT_LEN.to_be_bytes(), &32_u32.to_be_bytes()].concat();
    let message = [&parameters[..], &under.iv, purpose, under.aad, &[1]].concat();
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA384, key), &message).as_ref().to_vec()
}

/// The ciphertext of `plain`, with nonces that count.
pub(crate) fn encrypt(under: &Under<'_>, plain: &[u8]) -> Vec<u8> {
    let mut out = [&[0, 0][..], &SEGMENT_LEN.to_be_bytes(), &32_u32.to_be_bytes(), &under.iv].concat();
    out.extend(&derive(under, under.key, b"HEADER_TAG:")[..32]);
    let message_key = derive(under, under.key, b"MESSAGE_KEY:");
    let segment_key = derive(under, &message_key, b"DEK:\0\0\0\0\0\0\0\0");
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &segment_key[..32]).unwrap());
    let parts: Vec<&[u8]> = plain.chunks(PAYLOAD).collect();
    for (index, part) in parts.iter().enumerate() {
        let last = index + 1 == parts.len();
        let word = if last { u32::try_from(part.len()).unwrap() + 32 } else { u32::MAX };
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&index.to_be_bytes());
        let aad = [&(index as u64).to_be_bytes()[..], &[u8::from(last)]].concat();
        let mut payload = part.to_vec();
        let tag = key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut payload)
            .unwrap();
        out.extend(word.to_be_bytes());
        out.extend(nonce);
        out.extend(payload);
        out.extend(tag.as_ref());
    }
    out
}

/// The plaintext of an object of the vectors, under the right key.
pub(crate) fn decrypt(key: &[u8; 32], aad: &[u8], sealed: &[u8]) -> Vec<u8> {
    fast_floe::decrypt(&fast_floe::Key::from_bytes(*key), aad, sealed).unwrap()
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().unwrap()
}

/// The leaf hashes of an object's segments, in the suite of SHA-256.
pub(crate) fn leaves(sealed: &[u8]) -> Vec<[u8; 32]> {
    sealed[HEADER..].chunks(SEGMENT).map(|segment| sha256(&[&[0], segment].concat())).collect()
}

pub(crate) fn root(leaves: &[[u8; 32]]) -> [u8; 32] {
    match leaves {
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            sha256(&[&[1], &root(left)[..], &root(right)[..]].concat())
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
}

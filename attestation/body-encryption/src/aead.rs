//! AES-256-GCM for frames in a row, and the key schedule of responses (RFC 9458, section 4.4).

use crate::{Error, MAX_FRAMES};
use anchorhold_rats::Secret;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use std::fmt;

pub(crate) const KEY_BYTES: usize = 32;
/// A key and a base nonce.
pub(crate) const MATERIAL_BYTES: usize = KEY_BYTES + NONCE_LEN;
pub(crate) const TAG_BYTES: usize = 16;

/// One key for one body in one direction. Every call uses the next nonce, base nonce XOR counter, so that none is used twice.
pub(crate) struct FrameKey {
    key: LessSafeKey,
    base_nonce: [u8; NONCE_LEN],
    sequence: u64,
}

impl FrameKey {
    pub(crate) fn new(key: &[u8; KEY_BYTES], base_nonce: [u8; NONCE_LEN]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, key).expect("AES-256-GCM takes 32 bytes");
        Self { key: LessSafeKey::new(key), base_nonce, sequence: 0 }
    }

    /// The key and the base nonce that follow each other in `material`.
    pub(crate) fn from_material(material: &Secret<MATERIAL_BYTES>) -> Self {
        let (key, rest) = material.expose().split_first_chunk().expect("the material begins with a key");
        let base_nonce = rest.first_chunk().expect("the material ends with a nonce");
        Self::new(key, *base_nonce)
    }

    fn nonce(&self) -> Result<Nonce, Error> {
        // Number 0 is the header's, so that frames are numbered from 1 where there is a header.
        if self.sequence > MAX_FRAMES {
            return Err(Error::TooLong);
        }
        let mut nonce = self.base_nonce;
        for (byte, count) in nonce.iter_mut().rev().zip(self.sequence.to_be_bytes().iter().rev()) {
            *byte ^= count;
        }
        Ok(Nonce::assume_unique_for_key(nonce))
    }

    /// Encrypts what stands in `out` from `start` on and appends the tag.
    pub(crate) fn seal(&mut self, aad: &[u8], out: &mut Vec<u8>, start: usize) -> Result<(), Error> {
        let nonce = self.nonce()?;
        let bytes = out.get_mut(start..).unwrap_or_default();
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(aad), bytes);
        self.sequence += 1;
        out.extend_from_slice(tag.map_err(|_| Error::TooLong)?.as_ref());
        Ok(())
    }

    /// Appends the plaintext of `sealed` to `out`, or nothing. A refused frame does not advance the counter, but callers stop at it.
    pub(crate) fn open(&mut self, aad: &[u8], sealed: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let nonce = self.nonce()?;
        let start = out.len();
        out.extend_from_slice(sealed);
        let bytes = out.get_mut(start..).unwrap_or_default();
        let opened = self.key.open_in_place(nonce, Aad::from(aad), bytes).map(|plain| plain.len());
        out.truncate(start + opened.unwrap_or(0));
        self.sequence += u64::from(opened.is_ok());
        opened.map(|_| ()).map_err(|_| Error::Frame)
    }
}

impl fmt::Debug for FrameKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FrameKey")
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// `Extract(enc || nonce, secret)`.
pub(crate) fn extract(secret: &Secret<32>, enc: &[u8], nonce: &[u8]) -> Prk {
    Salt::new(HKDF_SHA256, &[enc, nonce].concat()).extract(secret.expose())
}

/// `Expand(prk, info, N)`.
pub(crate) fn expand<const N: usize>(prk: &Prk, info: &[u8]) -> Secret<N> {
    let mut out = [0; N];
    prk.expand(&[info], Length(N)).and_then(|okm| okm.fill(&mut out)).expect("HKDF gives up to 8,160 bytes");
    Secret::take(&mut out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> FrameKey {
        FrameKey::new(&[7; KEY_BYTES], [0; NONCE_LEN])
    }

    #[test]
    fn no_nonce_is_used_twice_and_the_last_is_refused() {
        let (mut sealing, mut tags) = (key(), Vec::new());
        for _ in 0..3 {
            let start = tags.len();
            sealing.seal(b"", &mut tags, start).unwrap();
        }
        assert!(tags[..16] != tags[16..32] && tags[16..32] != tags[32..] && tags[..16] != tags[32..]);
        let (mut key, mut last) = (key(), Vec::new());
        key.sequence = MAX_FRAMES;
        key.seal(b"", &mut last, 0).unwrap();
        assert_eq!(key.seal(b"", &mut Vec::new(), 0), Err(Error::TooLong));
        assert_eq!(key.open(b"", &last, &mut Vec::new()), Err(Error::TooLong));
    }

    #[test]
    fn nothing_comes_out_of_what_does_not_open() {
        let mut sealed = b"text".to_vec();
        key().seal(b"", &mut sealed, 0).unwrap();
        let (mut opening, mut out) = (key(), b"before".to_vec());
        assert_eq!(opening.open(b"other", &sealed, &mut out), Err(Error::Frame));
        assert_eq!(opening.open(b"", &sealed[..10], &mut out), Err(Error::Frame));
        assert_eq!(out, b"before");
        opening.open(b"", &sealed, &mut out).unwrap();
        assert_eq!(out, b"beforetext");
    }

    #[test]
    fn the_counter_changes_the_end_of_the_nonce() {
        let mut key = FrameKey::new(&[7; KEY_BYTES], [0xff; NONCE_LEN]);
        key.sequence = 0x0102;
        let nonce = key.nonce().unwrap();
        assert_eq!(nonce.as_ref()[..10], [0xff; 10]);
        assert_eq!(nonce.as_ref()[10..], [0xfe, 0xfd]);
        assert_eq!(format!("{key:?}"), "FrameKey");
    }
}

//! FLOE, the random-access authenticated encryption of one object, over ring's AES-256-GCM and HMAC-SHA-384.
//!
//! Specification: <https://c2sp.org/FLOE>, parameters AES-GCM-256, HKDF-EXPAND-SHA-384, 32-byte IV. HKDF-Expand never
//! gives more than one block here, so it is one HMAC over the info and the byte 1 (RFC 5869 section 2.3).

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, Tag, UnboundKey};
use ring::hmac;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::memory::wipe;

/// Bytes of a FLOE header: parameters, IV, header tag.
pub(crate) const HEADER_LEN: usize = PARAMETERS_LEN + IV_LEN + HEADER_TAG_LEN;
/// Bytes of the message IV.
pub(crate) const IV_LEN: usize = 32;
/// Bytes by which an encrypted segment exceeds its plaintext: length word, nonce and tag.
pub(crate) const SEGMENT_OVERHEAD: usize = PREFIX_LEN + TAG_LEN;
/// Bytes of a segment before its payload: length word and nonce.
const PREFIX_LEN: usize = LENGTH_LEN + NONCE_LEN;

const PARAMETERS_LEN: usize = 10;
const HEADER_TAG_LEN: usize = 32;
const MESSAGE_KEY_LEN: usize = 48;
const SEGMENT_KEY_LEN: usize = 32;
const LENGTH_LEN: usize = 4;
const TAG_LEN: usize = 16;
/// The length word of every segment but the last.
const NOT_LAST: u32 = u32::MAX;
/// Segments under one AES key: two to this power.
const ROTATION_BITS: u32 = 20;

/// The bytes of a FLOE header.
pub(crate) type Header = [u8; HEADER_LEN];

/// One message's keys, ready to encrypt or decrypt any of its segments.
pub(crate) struct Message {
    header: Header,
    segment_len: u32,
    segment_count: u64,
    /// The AES key of segments `n * 2^20` to `(n + 1) * 2^20 - 1`, for each `n` the message needs. ring does not wipe
    /// these key schedules when they are dropped.
    keys: Vec<LessSafeKey>,
}

/// What a message is derived from.
pub(crate) struct Start<'a> {
    pub(crate) key: &'a [u8; 32],
    pub(crate) associated_data: &'a [u8],
    /// Encrypted bytes of every segment but the last.
    pub(crate) segment_len: u32,
    pub(crate) segment_count: u64,
}

/// What stands around a segment's payload. Apart from it, so that a payload can be read into the memory where its
/// plaintext is to lie.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Length word and nonce.
    pub(crate) prefix: [u8; PREFIX_LEN],
    /// Authentication tag.
    pub(crate) tag: [u8; TAG_LEN],
}

/// Why a header is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderRefusal {
    /// Other algorithms or another segment length than expected.
    Parameters,
    /// The header tag was not made with this key and associated data.
    Tag,
}

/// Why a segment is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SegmentRefusal {
    /// The length word or the length itself is not what the position demands.
    Framing,
    /// The authentication tag does not verify.
    Tag,
}

impl Message {
    /// A new message under `iv`, which must never be used twice with one key.
    pub(crate) fn create(start: &Start<'_>, iv: &[u8; IV_LEN]) -> Self {
        let kdf = Kdf { start, iv, parameters: parameters(start.segment_len) };
        let mut header = [0; HEADER_LEN];
        let tag = kdf.derive::<HEADER_TAG_LEN>(start.key, b"HEADER_TAG:");
        let fields = kdf.parameters.iter().chain(iv).chain(tag.iter());
        header.iter_mut().zip(fields).for_each(|(out, byte)| *out = *byte);
        Self::derive(&kdf, header)
    }

    /// The message that begins with `header`. Establishes that its maker held the key and meant this associated data.
    pub(crate) fn open(start: &Start<'_>, header: &Header) -> Result<Self, HeaderRefusal> {
        let refused = HeaderRefusal::Parameters;
        let (found, rest) = header.split_first_chunk::<PARAMETERS_LEN>().ok_or(refused)?;
        let (iv, tag) = rest.split_first_chunk::<IV_LEN>().ok_or(HeaderRefusal::Parameters)?;
        let kdf = Kdf { start, iv, parameters: parameters(start.segment_len) };
        if *found != kdf.parameters {
            return Err(HeaderRefusal::Parameters);
        }
        let expected = kdf.derive::<HEADER_TAG_LEN>(start.key, b"HEADER_TAG:");
        if !bool::from(expected.as_slice().ct_eq(tag)) {
            return Err(HeaderRefusal::Tag);
        }
        Ok(Self::derive(&kdf, *header))
    }

    fn derive(kdf: &Kdf<'_>, header: Header) -> Self {
        let message_key = kdf.derive::<MESSAGE_KEY_LEN>(kdf.start.key, b"MESSAGE_KEY:");
        let epochs = ((kdf.start.segment_count.max(1) - 1) >> ROTATION_BITS) + 1;
        let keys = (0..epochs).map(|epoch| {
            let mut purpose = *b"DEK:\0\0\0\0\0\0\0\0";
            if let Some(position) = purpose.last_chunk_mut::<8>() {
                *position = (epoch << ROTATION_BITS).to_be_bytes();
            }
            let key = kdf.derive::<SEGMENT_KEY_LEN>(message_key.as_slice(), &purpose);
            let key = UnboundKey::new(&AES_256_GCM, key.as_slice());
            LessSafeKey::new(key.expect("a 32-byte key is an AES-256 key"))
        });
        let Start { segment_len, segment_count, .. } = *kdf.start;
        Self { header, segment_len, segment_count, keys: keys.collect() }
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    pub(crate) fn segment_count(&self) -> u64 {
        self.segment_count
    }

    /// Encrypts a segment's payload in place and returns what stands around it. `nonce` must be fresh.
    pub(crate) fn encrypt(
        &self,
        index: u64,
        last: bool,
        nonce: [u8; NONCE_LEN],
        payload: &mut [u8],
    ) -> Option<Frame> {
        let mut frame = Frame::default();
        let (word, iv) = frame.prefix.split_first_chunk_mut::<LENGTH_LEN>()?;
        *word = self.length_word(last, payload.len())?.to_be_bytes();
        iv.copy_from_slice(&nonce);
        let (nonce, aad) = (Nonce::assume_unique_for_key(nonce), Aad::from(segment_data(index, last)));
        let tag = self.key(index)?.seal_in_place_separate_tag(nonce, aad, payload).ok()?;
        frame.tag.copy_from_slice(tag.as_ref());
        Some(frame)
    }

    /// Decrypts a segment's payload in place. A refused segment leaves zeros behind.
    pub(crate) fn decrypt(
        &self,
        index: u64,
        last: bool,
        frame: &Frame,
        payload: &mut [u8],
    ) -> Result<(), SegmentRefusal> {
        let opened = self.open_payload(index, last, frame, payload);
        if opened.is_err() {
            wipe(payload);
        }
        opened
    }

    fn open_payload(
        &self,
        index: u64,
        last: bool,
        frame: &Frame,
        payload: &mut [u8],
    ) -> Result<(), SegmentRefusal> {
        let length = self.length_word(last, payload.len()).ok_or(SegmentRefusal::Framing)?;
        let key = self.key(index).ok_or(SegmentRefusal::Framing)?;
        let (word, iv) = frame.prefix.split_first_chunk::<LENGTH_LEN>().ok_or(SegmentRefusal::Framing)?;
        if *word != length.to_be_bytes() {
            return Err(SegmentRefusal::Framing);
        }
        let nonce = Nonce::try_assume_unique_for_key(iv).map_err(|_| SegmentRefusal::Framing)?;
        let (aad, tag) = (Aad::from(segment_data(index, last)), Tag::from(frame.tag));
        key.open_in_place_separate_tag(nonce, aad, tag, payload, 0..)
            .map(drop)
            .map_err(|_| SegmentRefusal::Tag)
    }

    /// The length word a segment with this payload must carry, or `None` when no such segment may stand there.
    fn length_word(&self, last: bool, payload_len: usize) -> Option<u32> {
        let len = u32::try_from(payload_len.checked_add(SEGMENT_OVERHEAD)?).ok()?;
        match last {
            true => (len <= self.segment_len).then_some(len),
            false => (len == self.segment_len).then_some(NOT_LAST),
        }
    }

    fn key(&self, index: u64) -> Option<&LessSafeKey> {
        self.keys.get(usize::try_from(index >> ROTATION_BITS).ok()?)
    }
}

/// The fixed part of every derivation of one message.
struct Kdf<'a> {
    start: &'a Start<'a>,
    iv: &'a [u8; IV_LEN],
    parameters: [u8; PARAMETERS_LEN],
}

impl Kdf<'_> {
    /// `FLOE_KDF(key, iv, aad, purpose, N)` of the specification; `N` is at most the 48 bytes of one block.
    fn derive<const N: usize>(&self, key: &[u8], purpose: &[u8]) -> Zeroizing<[u8; N]> {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA384, key));
        for part in [&self.parameters[..], self.iv, purpose, self.start.associated_data, &[1]] {
            context.update(part);
        }
        let block = context.sign();
        let mut out = Zeroizing::new([0; N]);
        out.iter_mut().zip(block.as_ref()).for_each(|(out, byte)| *out = *byte);
        out
    }
}

/// `PARAM_ENCODE`: AEAD 0, KDF 0, the segment length and the IV length.
pub(crate) fn parameters(segment_len: u32) -> [u8; PARAMETERS_LEN] {
    let [a, b, c, d] = segment_len.to_be_bytes();
    [0, 0, a, b, c, d, 0, 0, 0, 32]
}

fn segment_data(index: u64, last: bool) -> [u8; 9] {
    let [a, b, c, d, e, f, g, h] = index.to_be_bytes();
    [a, b, c, d, e, f, g, h, u8::from(last)]
}

#[cfg(test)]
#[path = "floe_tests.rs"]
mod tests;

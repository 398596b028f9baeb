//! Receipts: what lets a caller, and only the caller, show which request and response an entry is about.
//!
//! A plain hash of a short prompt can be guessed. A receipt is keyed: HMAC-SHA-256 under a random key of
//! this one request, which the server gives to the caller and forgets.

mod signed;

pub use signed::{
    MAX_RECEIPT_BYTES, RECEIPT_TYPE, ReceiptError, ReceiptModel, STREAM_RECEIPT_PREFIX, SignedReceipt,
    split_stream, without_comments,
};

use crate::{Hash, Hex};
use ring::hmac;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The length of a receipt key in bytes.
pub const RECEIPT_KEY_BYTES: usize = 32;

/// The commitment to `bytes` under the key of one request: HMAC-SHA-256 (RFC 2104).
#[must_use]
pub fn commit(key: &[u8; RECEIPT_KEY_BYTES], bytes: &[u8]) -> Hash {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), bytes);
    let mut out = [0; 32];
    out.copy_from_slice(tag.as_ref());
    Hash::new(out)
}

/// The commitments to a request and to its response; in an entry, the two one after the other in hex.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Receipt(Hex<64>);

impl Receipt {
    /// The receipt with these commitments, each made by [`commit`] under the same key.
    #[must_use]
    pub fn new(request: Hash, response: Hash) -> Self {
        let mut both = [0; 64];
        let (first, second) = both.split_at_mut(32);
        first.copy_from_slice(request.as_bytes());
        second.copy_from_slice(response.as_bytes());
        Self(Hex::new(both))
    }

    /// Whether this receipt was made under `key` over exactly these bytes. Takes the same time wherever
    /// the first difference is.
    #[must_use]
    pub fn opens(&self, key: &[u8; RECEIPT_KEY_BYTES], request: &[u8], response: &[u8]) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        let (first, second) = self.0.as_bytes().split_at(32);
        let request_opens = hmac::verify(&key, request, first).is_ok();
        let response_opens = hmac::verify(&key, response, second).is_ok();
        request_opens && response_opens
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receipt({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commitment_is_hmac_sha256() {
        // RFC 4231, test case 1 with its 20-byte key padded by zeros, which HMAC does itself.
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        assert_eq!(
            commit(&key, b"Hi There").to_string(),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
    }

    #[test]
    fn a_receipt_opens_for_its_own_key_request_and_response_only() {
        let key = [7; 32];
        let receipt = Receipt::new(commit(&key, b"question"), commit(&key, b"answer"));
        assert!(receipt.opens(&key, b"question", b"answer"));
        assert!(!receipt.opens(&[8; 32], b"question", b"answer"));
        assert!(!receipt.opens(&key, b"Question", b"answer"));
        assert!(!receipt.opens(&key, b"question", b"answe"));
        assert!(!receipt.opens(&key, b"answer", b"question"));
    }
}

//! What a server says about each exchange, held against the bytes that went through.
//!
//! An answer with an audit entry carries a receipt, in `x-anchorhold-receipt` or, at the end of a stream, in a comment, and the key of
//! its commitments in `x-anchorhold-receipt-key`. A good one is signed by the attested audit key, names the attested guest and
//! its log, and its commitments open for the request as it was sent and the response as it came.

use crate::upstream::AttestedGuest;
use anchorhold_audit_log::{MAX_RECEIPT_BYTES, PublicKey, RECEIPT_KEY_BYTES, SignedReceipt, split_stream};
use anchorhold_rats::Secret;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Serialize;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The header with the receipt of a whole answer.
pub const RECEIPT_HEADER: &str = "x-anchorhold-receipt";
/// The header with the key of the commitments, 64 hex digits.
pub const RECEIPT_KEY_HEADER: &str = "x-anchorhold-receipt-key";
/// The longest response that is held back for its receipt, in bytes. A longer one goes through and is not checked.
pub const MAX_CHECKED_BYTES: usize = 16 * 1024 * 1024;
/// Headers of answers whose bodies are encrypted to the program behind the proxy, by `anchorhold-body/1` and by EHBP: the commitments are to what
/// only that program sees, and the first hides their key too.
const ENCRYPTED: [&str; 2] = ["anchorhold-body", "ehbp-response-nonce"];
/// The most receipts that one [`Receipts`] keeps; more are counted as not kept.
pub const MAX_KEPT: u64 = 100_000;

/// How one exchange stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReceiptVerdict {
    /// Signed by the attested guest, and about these bytes.
    Good(Box<SignedReceipt>),
    /// Not signed by the attested guest, or about something else; with what is wrong.
    Bad(&'static str),
    /// There had to be one.
    Missing,
    /// Nothing said that there would be one: an answer without an audit entry, such as a health check.
    None,
    /// The response was too long, ended before its end, or is encrypted to somebody else.
    Unchecked,
}

/// What is known of an exchange when the head of its response has come.
#[derive(Debug)]
pub struct Exchange {
    guest: std::sync::Arc<AttestedGuest>,
    request: Bytes,
    receipt: Option<HeaderValue>,
    key: Option<HeaderValue>,
    is_due: bool,
    is_encrypted: bool,
}

impl Exchange {
    /// An exchange with `guest`, of which the request's body is known and the head of the response.
    #[must_use]
    pub fn new(
        guest: std::sync::Arc<AttestedGuest>,
        method: &Method,
        request: Bytes,
        (status, headers): (StatusCode, &HeaderMap),
    ) -> Self {
        let header = |name| headers.get(name).cloned();
        let is_due = *method == Method::POST && status == StatusCode::OK;
        let is_encrypted = ENCRYPTED.iter().any(|name| headers.contains_key(*name));
        let (receipt, key) = (header(RECEIPT_HEADER), header(RECEIPT_KEY_HEADER));
        Self { guest, request, receipt, key, is_due, is_encrypted }
    }

    /// Judges the receipt for the body of the response, all of it.
    #[must_use]
    pub fn judge(&self, response: &[u8]) -> ReceiptVerdict {
        if self.is_encrypted {
            return ReceiptVerdict::Unchecked;
        }
        let split = if self.receipt.is_none() { split_stream(response) } else { None };
        let text = match (&self.receipt, &split) {
            (Some(value), _) => value.to_str().ok(),
            (None, Some((text, _))) => Some(*text),
            (None, None) if self.is_due || self.key.is_some() => return ReceiptVerdict::Missing,
            (None, None) => return ReceiptVerdict::None,
        };
        let Some(text) = text.filter(|text| text.len() <= MAX_RECEIPT_BYTES) else {
            return ReceiptVerdict::Bad("receipt is not text");
        };
        let response = split.as_ref().map_or(response, |(_, rest)| rest);
        self.opens(text, response)
            .map_or_else(ReceiptVerdict::Bad, |receipt| ReceiptVerdict::Good(Box::new(receipt)))
    }

    fn opens(&self, text: &str, response: &[u8]) -> Result<SignedReceipt, &'static str> {
        let AttestedGuest { audit_key, measurement, origin } = &*self.guest;
        let signed = SignedReceipt::verify(text, &PublicKey::new(*audit_key.as_bytes()));
        let receipt = signed.map_err(|_| "not signed by the attested audit key")?;
        if receipt.measurement.as_bytes() != measurement.as_bytes() {
            return Err("about another measurement");
        }
        if receipt.origin.as_str() != origin {
            return Err("about another log");
        }
        let key = self.key.as_ref().and_then(|key| key.to_str().ok()).and_then(receipt_key);
        let key = key.ok_or("without the key of its commitments")?;
        if receipt.commitments.opens(key.expose(), &self.request, response) {
            Ok(receipt)
        } else {
            Err("about other bytes")
        }
    }

    /// The receipt as text and its key, for keeping; only of a good one.
    fn parts(&self, response: &[u8]) -> Option<(String, String)> {
        let text = match &self.receipt {
            Some(value) => value.to_str().ok()?.to_owned(),
            None => split_stream(response)?.0.to_owned(),
        };
        Some((text, self.key.as_ref()?.to_str().ok()?.to_owned()))
    }
}

/// A key of commitments as its header has it: 64 lower-case hex digits.
#[must_use]
pub fn receipt_key(text: &str) -> Option<Secret<RECEIPT_KEY_BYTES>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let mut bytes = [0; RECEIPT_KEY_BYTES];
    if pairs.len() != RECEIPT_KEY_BYTES || !rest.is_empty() {
        return None;
    }
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(Secret::take(&mut bytes))
}

/// How many exchanges ended how, for the status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ReceiptCounts {
    /// Receipts that were good.
    pub good: u64,
    /// Receipts that were not.
    pub bad: u64,
    /// Exchanges without the receipt that was due.
    pub missing: u64,
    /// Responses that were too long, ended before their end, or are encrypted to the program itself.
    pub unchecked: u64,
    /// Good receipts that could not be written to the folder.
    pub not_kept: u64,
}

/// Counts exchanges, and keeps the good receipts where a folder was named.
#[derive(Debug, Default)]
pub struct Receipts {
    folder: Option<PathBuf>,
    good: AtomicU64,
    bad: AtomicU64,
    missing: AtomicU64,
    unchecked: AtomicU64,
    not_kept: AtomicU64,
}

impl Receipts {
    /// Counts alone.
    #[must_use]
    pub fn counting() -> Self {
        Self::default()
    }

    /// Counts, and keeps each good receipt in this folder: `RID.receipt`, and its key in `RID.key`, as `anchorhold receipt verify`
    /// reads them. Whoever has a key can tell whether a text that he guesses is the one, so only the owner may read the folder.
    ///
    /// # Errors
    /// What the system says; a folder that others may read is refused.
    pub fn keeping(folder: &Path) -> std::io::Result<Self> {
        if !folder.exists() {
            std::fs::DirBuilder::new().mode(0o700).create(folder)?;
        }
        let metadata = std::fs::metadata(folder)?;
        if !metadata.is_dir() || metadata.mode() & 0o077 != 0 {
            let text = format!("mode {:03o}, wanted a folder of mode 700", metadata.mode() & 0o777);
            return Err(std::io::Error::other(text));
        }
        Ok(Self { folder: Some(folder.to_owned()), ..Self::default() })
    }

    /// Judges an exchange that has ended and counts it.
    pub fn take(&self, exchange: &Exchange, response: &[u8]) -> ReceiptVerdict {
        let verdict = exchange.judge(response);
        let count = match &verdict {
            ReceiptVerdict::Good(receipt) => {
                let place = self.good.load(Ordering::Relaxed);
                if self.folder.is_some() && !self.keep(receipt.rid.as_str(), exchange.parts(response), place)
                {
                    self.not_kept.fetch_add(1, Ordering::Relaxed);
                }
                &self.good
            }
            ReceiptVerdict::Bad(_) => &self.bad,
            ReceiptVerdict::Missing => &self.missing,
            ReceiptVerdict::Unchecked => &self.unchecked,
            ReceiptVerdict::None => return verdict,
        };
        count.fetch_add(1, Ordering::Relaxed);
        verdict
    }

    /// Counts an exchange of which not everything was seen.
    pub fn pass_over(&self) {
        self.unchecked.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts so far.
    #[must_use]
    pub fn counts(&self) -> ReceiptCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        ReceiptCounts {
            good: read(&self.good),
            bad: read(&self.bad),
            missing: read(&self.missing),
            unchecked: read(&self.unchecked),
            not_kept: read(&self.not_kept),
        }
    }

    fn keep(&self, rid: &str, parts: Option<(String, String)>, place: u64) -> bool {
        let (Some(folder), Some((receipt, key))) = (&self.folder, parts) else { return false };
        // The id is the server's word, and no path.
        let is_name = !rid.is_empty() && rid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !is_name || place >= MAX_KEPT {
            return false;
        }
        let write = |suffix: &str, text: &str| {
            let path = folder.join(format!("{rid}.{suffix}"));
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            file.and_then(|mut file| file.write_all(text.as_bytes()))
        };
        write("receipt", &receipt).and_then(|()| write("key", &key)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anchorhold_audit_log::{Hash, ModelId, Origin, Receipt, ReceiptModel, RequestId, Signer, commit};
    use anchorhold_rats::{Ed25519PublicKey, Measurement};
    use std::sync::Arc;

    const KEY: [u8; 32] = [7; 32];
    const ANSWER: &[u8] = b"data: {}\n\ndata: [DONE]\n\n";

    fn signer(seed: u8) -> Signer {
        Signer::from_seed(Origin::new("acme/1").unwrap(), &[seed; 32]).unwrap()
    }

    fn receipt(seed: u8) -> String {
        let receipt = SignedReceipt {
            origin: Origin::new("acme/1").unwrap(),
            index: 12,
            rid: RequestId::new("01J0000000000000000000000A").unwrap(),
            at_ns: 1,
            status: 200,
            model: Some(ReceiptModel {
                id: ModelId::new("acme/chat").unwrap(),
                version: 3,
                manifest_digest: Hash::new([8; 32]),
                policy_digest: None,
            }),
            measurement: anchorhold_audit_log::Measurement::new([5; 48]),
            selinux_policy: None,
            gpus: Vec::new(),
            tokens_in: 1,
            tokens_out: 1,
            commitments: Receipt::new(commit(&KEY, b"question"), commit(&KEY, ANSWER)),
        };
        receipt.sign(&signer(seed)).unwrap()
    }

    fn guest() -> AttestedGuest {
        AttestedGuest {
            audit_key: Ed25519PublicKey::new(*signer(1).key().public_key().as_bytes()),
            measurement: Measurement::new([5; 48]),
            origin: "acme/1".to_owned(),
        }
    }

    fn exchange(
        guest: AttestedGuest,
        request: &'static [u8],
        headers: &[(&'static str, String)],
    ) -> Exchange {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        let head = (StatusCode::OK, &map);
        Exchange::new(Arc::new(guest), &Method::POST, Bytes::from_static(request), head)
    }

    fn key() -> (&'static str, String) {
        (RECEIPT_KEY_HEADER, "07".repeat(32))
    }

    #[test]
    fn a_receipt_in_a_header_and_one_in_a_stream_are_good_for_these_bytes() {
        let whole = exchange(guest(), b"question", &[(RECEIPT_HEADER, receipt(1)), key()]);
        assert!(matches!(whole.judge(ANSWER), ReceiptVerdict::Good(_)));
        let stream = format!("data: {{}}\n\n: x-anchorhold-receipt {}\n\ndata: [DONE]\n\n", receipt(1));
        let streamed = exchange(guest(), b"question", &[key()]);
        assert!(matches!(streamed.judge(stream.as_bytes()), ReceiptVerdict::Good(_)));
    }

    #[test]
    fn refuses_other_bytes_other_keys_other_guests_and_other_logs() {
        let both = || [(RECEIPT_HEADER, receipt(1)), key()];
        let bad = |exchange: Exchange, response: &[u8]| match exchange.judge(response) {
            ReceiptVerdict::Bad(why) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(bad(exchange(guest(), b"question", &both()), b"other"), "about other bytes");
        assert_eq!(bad(exchange(guest(), b"questions", &both()), ANSWER), "about other bytes");
        let other = [(RECEIPT_HEADER, receipt(2)), key()];
        assert_eq!(
            bad(exchange(guest(), b"question", &other), ANSWER),
            "not signed by the attested audit key"
        );
        let image = AttestedGuest { measurement: Measurement::new([6; 48]), ..guest() };
        assert_eq!(bad(exchange(image, b"question", &both()), ANSWER), "about another measurement");
        let log = AttestedGuest { origin: "acme/2".to_owned(), ..guest() };
        assert_eq!(bad(exchange(log, b"question", &both()), ANSWER), "about another log");
        let keyless = [(RECEIPT_HEADER, receipt(1))];
        assert_eq!(
            bad(exchange(guest(), b"question", &keyless), ANSWER),
            "without the key of its commitments"
        );
    }

    #[test]
    fn counts_what_is_missing_and_what_is_not_due() {
        let receipts = Receipts::counting();
        assert_eq!(receipts.take(&exchange(guest(), b"", &[]), ANSWER), ReceiptVerdict::Missing);
        let got =
            Exchange::new(Arc::new(guest()), &Method::GET, Bytes::new(), (StatusCode::OK, &HeaderMap::new()));
        assert_eq!(receipts.take(&got, b"ok"), ReceiptVerdict::None);
        assert_eq!(receipts.counts(), ReceiptCounts { missing: 1, ..ReceiptCounts::default() });
    }

    #[test]
    fn an_answer_encrypted_to_the_program_is_its_own_to_check() {
        let receipts = Receipts::counting();
        for name in ENCRYPTED {
            let own = exchange(guest(), b"sealed", &[(RECEIPT_HEADER, receipt(1)), (name, "x".to_owned())]);
            assert_eq!(receipts.take(&own, ANSWER), ReceiptVerdict::Unchecked);
        }
        assert_eq!(receipts.counts(), ReceiptCounts { unchecked: 2, ..ReceiptCounts::default() });
    }

    #[test]
    fn keeps_good_receipts_where_only_the_owner_reads_them() {
        let place = tempfile::TempDir::new().unwrap();
        let folder = place.path().join("receipts");
        let receipts = Receipts::keeping(&folder).unwrap();
        let good = exchange(guest(), b"question", &[(RECEIPT_HEADER, receipt(1)), key()]);
        receipts.take(&good, ANSWER);
        receipts.take(&good, ANSWER);
        let counts = receipts.counts();
        assert_eq!((counts.good, counts.not_kept), (2, 1), "the same receipt twice is kept once");
        let kept = std::fs::read_to_string(folder.join("01J0000000000000000000000A.receipt")).unwrap();
        assert_eq!(kept, receipt(1));
        let mode = std::fs::metadata(folder.join("01J0000000000000000000000A.key")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(Receipts::keeping(&folder).is_err());
    }

    #[test]
    fn a_key_is_64_lower_case_hex_digits() {
        assert_eq!(receipt_key(&"0a".repeat(32)).unwrap().expose(), &[10; 32]);
        for text in [&"0A".repeat(32), &"0a".repeat(31), &"0a".repeat(33), "", &"+a".repeat(32)] {
            assert!(receipt_key(text).is_none(), "{text}");
        }
    }
}

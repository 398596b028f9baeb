//! The header of a log: "Spec ID Event03" (TCG PC Client Platform Firmware Profile, section 10.4.5.1).

use super::EventKind;
use super::codes;
use super::log::{Cursor, Fault};

/// What the data of a header begins with.
pub(super) const SIGNATURE: &[u8; 16] = b"Spec ID Event03\0";
/// What the data of a header of any version begins with.
pub(super) const ANY_VERSION: &[u8] = b"Spec ID Event";
/// The longest digest of any algorithm in the TCG registry, in bytes.
const MAX_DIGEST_BYTES: u16 = 64;
/// More algorithms than the TCG registry has digests.
const MAX_ALGORITHMS: u32 = 16;

/// The digests of a log that count, those of one algorithm.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bank {
    /// The TPM's number of the algorithm.
    algorithm: u16,
    bytes: u16,
    name: &'static str,
    with_length: &'static str,
    one_digest: &'static str,
    /// What is wanted of each record's digests.
    pub(super) each: &'static str,
}

impl Bank {
    /// TPM_ALG_SHA384, of the registers of a TD.
    pub(crate) const SHA384: Self = Self {
        algorithm: 0x000c,
        bytes: 48,
        name: "SHA-384",
        with_length: "SHA-384 with 48 bytes",
        one_digest: "one SHA-384 digest, and others of the header's list once",
        each: "a SHA-384 digest in each record",
    };
    /// TPM_ALG_SHA256, of the PCRs of a TPM.
    pub(crate) const SHA256: Self = Self {
        algorithm: 0x000b,
        bytes: 32,
        name: "SHA-256",
        with_length: "SHA-256 with 32 bytes",
        one_digest: "one SHA-256 digest, and others of the header's list once",
        each: "a SHA-256 digest in each record",
    };

    pub(super) const fn wanted(&self) -> &'static str {
        self.with_length
    }
}

/// The digests that a record may hold.
#[derive(Debug)]
pub(super) struct Algorithms {
    bank: Bank,
    list: Vec<(u16, u16)>,
}

impl Algorithms {
    /// Reads the first record: register, type, 20 bytes of digest that are zero, length, and the header.
    pub(super) fn read(cursor: &mut Cursor<'_>, bank: Bank) -> Result<Self, Fault> {
        let broken = |what: &str| {
            Fault::new(codes::HEADER.at("event log", 0, 32), "a Spec ID Event03 record", what.to_string())
        };
        let short = || broken("less than a record");
        let register = cursor.u32().ok_or_else(short)?;
        let kind = EventKind::from_code(cursor.u32().ok_or_else(short)?);
        let digest: [u8; 20] = cursor.array().ok_or_else(short)?;
        let length = usize::try_from(cursor.u32().ok_or_else(short)?).unwrap_or(usize::MAX);
        if register > 1 || kind != EventKind::NoAction {
            return Err(broken("a record of another register or type"));
        }
        if digest != [0; 20] {
            return Err(broken("a digest that is not zero"));
        }
        let mut header = Cursor::new(cursor.take(length).ok_or_else(short)?);
        let form: [u8; 24] = header.array().ok_or_else(|| broken("less than a header"))?;
        let count = header.u32().ok_or_else(|| broken("less than a header"))?;
        // Platform class, minor and major version; errata may be any; pointers of 4 or 8 bytes.
        let is_version_2 = matches!(form, [.., 0 | 1, 0, 0, 0, 0, 2, _, 1 | 2]);
        if !form.starts_with(SIGNATURE) || !is_version_2 {
            return Err(broken("another signature or version"));
        }
        let algorithms = Self::list(&mut header, count, bank)?;
        let vendor_bytes = header.array().map(|[length]: [u8; 1]| usize::from(length));
        if vendor_bytes != Some(header.rest().len()) {
            return Err(broken("vendor information of another length"));
        }
        Ok(algorithms)
    }

    fn list(header: &mut Cursor<'_>, count: u32, bank: Bank) -> Result<Self, Fault> {
        let wrong =
            |what: String| Fault::new(codes::ALGORITHMS.at("event log", 56, 4), bank.with_length, what);
        if count > MAX_ALGORITHMS {
            return Err(wrong(format!("{count} algorithms, over the limit of {MAX_ALGORITHMS}")));
        }
        let mut list: Vec<(u16, u16)> = Vec::new();
        for _ in 0..count {
            let pair = header.u16().zip(header.u16());
            let (algorithm, bytes) = pair.ok_or_else(|| wrong("a list that is cut short".into()))?;
            if list.iter().any(|(known, _)| *known == algorithm) {
                return Err(wrong(format!("algorithm {algorithm:#06x} twice")));
            }
            if bytes == 0 || bytes > MAX_DIGEST_BYTES {
                return Err(wrong(format!("algorithm {algorithm:#06x} with {bytes} bytes")));
            }
            list.push((algorithm, bytes));
        }
        match list.iter().find(|(algorithm, _)| *algorithm == bank.algorithm) {
            Some((_, bytes)) if *bytes == bank.bytes => Ok(Self { bank, list }),
            Some((_, bytes)) => Err(wrong(format!("{} with {bytes} bytes", bank.name))),
            None => Err(wrong(format!("no {}", bank.name))),
        }
    }

    /// Reads the digests of one record, which starts at `start`, and gives that of the bank.
    pub(super) fn digest<'a>(&self, cursor: &mut Cursor<'a>, start: usize) -> Result<&'a [u8], Fault> {
        let wrong = |what: String| {
            let code = codes::DIGESTS.at("event log", start.saturating_add(8), 4);
            Fault::new(code, self.bank.one_digest, what)
        };
        let count = cursor.u32().ok_or_else(|| Fault::truncated(start))?;
        if usize::try_from(count).map_or(true, |count| count > self.list.len()) {
            return Err(wrong(format!("{count} digests for {} algorithms", self.list.len())));
        }
        let (mut seen, mut counted) = (Vec::new(), None);
        for _ in 0..count {
            let algorithm = cursor.u16().ok_or_else(|| Fault::truncated(start))?;
            let known = self.list.iter().find(|(known, _)| *known == algorithm);
            let (_, bytes) =
                known.ok_or_else(|| wrong(format!("algorithm {algorithm:#06x} outside the list")))?;
            if seen.contains(&algorithm) {
                return Err(wrong(format!("algorithm {algorithm:#06x} twice")));
            }
            seen.push(algorithm);
            let digest = cursor.take(usize::from(*bytes)).ok_or_else(|| Fault::truncated(start))?;
            if algorithm == self.bank.algorithm {
                counted = Some(digest);
            }
        }
        counted.ok_or_else(|| wrong(format!("no {} digest", self.bank.name)))
    }
}

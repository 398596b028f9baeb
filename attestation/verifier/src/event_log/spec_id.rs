//! The header of a log: "Spec ID Event03" (TCG PC Client Platform Firmware Profile, section 10.4.5.1).

use super::EventKind;
use super::codes;
use super::log::{Cursor, Fault};

/// What the data of a header begins with.
pub(super) const SIGNATURE: &[u8; 16] = b"Spec ID Event03\0";
/// What the data of a header of any version begins with.
pub(super) const ANY_VERSION: &[u8] = b"Spec ID Event";
/// TPM_ALG_SHA384.
const SHA384: u16 = 0x000c;
const SHA384_BYTES: u16 = 48;
/// The longest digest of any algorithm in the TCG registry, in bytes.
const MAX_DIGEST_BYTES: u16 = 64;
/// More algorithms than the TCG registry has digests.
const MAX_ALGORITHMS: u32 = 16;

/// The digests that a record may hold.
#[derive(Debug)]
pub(super) struct Algorithms(Vec<(u16, u16)>);

impl Algorithms {
    /// Reads the first record: register, type, 20 bytes of digest that are zero, length, and the header.
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Self, Fault> {
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
        let algorithms = Self::list(&mut header, count)?;
        let vendor_bytes = header.array().map(|[length]: [u8; 1]| usize::from(length));
        if vendor_bytes != Some(header.rest().len()) {
            return Err(broken("vendor information of another length"));
        }
        Ok(algorithms)
    }

    fn list(header: &mut Cursor<'_>, count: u32) -> Result<Self, Fault> {
        let wrong = |what: String| {
            Fault::new(codes::ALGORITHMS.at("event log", 56, 4), "SHA-384 with 48 bytes", what)
        };
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
        match list.iter().find(|(algorithm, _)| *algorithm == SHA384) {
            Some((_, SHA384_BYTES)) => Ok(Self(list)),
            Some((_, bytes)) => Err(wrong(format!("SHA-384 with {bytes} bytes"))),
            None => Err(wrong("no SHA-384".into())),
        }
    }

    /// Reads the digests of one record, which starts at `start`, and gives its SHA-384 digest.
    pub(super) fn digest(&self, cursor: &mut Cursor<'_>, start: usize) -> Result<[u8; 48], Fault> {
        let wrong = |what: String| {
            let wanted = "one SHA-384 digest, and others of the header's list once";
            Fault::new(codes::DIGESTS.at("event log", start.saturating_add(8), 4), wanted, what)
        };
        let count = cursor.u32().ok_or_else(|| Fault::truncated(start))?;
        if usize::try_from(count).map_or(true, |count| count > self.0.len()) {
            return Err(wrong(format!("{count} digests for {} algorithms", self.0.len())));
        }
        let (mut seen, mut sha384) = (Vec::new(), None);
        for _ in 0..count {
            let algorithm = cursor.u16().ok_or_else(|| Fault::truncated(start))?;
            let known = self.0.iter().find(|(known, _)| *known == algorithm);
            let (_, bytes) =
                known.ok_or_else(|| wrong(format!("algorithm {algorithm:#06x} outside the list")))?;
            if seen.contains(&algorithm) {
                return Err(wrong(format!("algorithm {algorithm:#06x} twice")));
            }
            seen.push(algorithm);
            let digest = cursor.take(usize::from(*bytes)).ok_or_else(|| Fault::truncated(start))?;
            if algorithm == SHA384 {
                sha384 = digest.try_into().ok();
            }
        }
        sha384.ok_or_else(|| wrong("no SHA-384 digest".into()))
    }
}

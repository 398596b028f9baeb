//! The quote of a TPM: TPMS_ATTEST (TPM 2.0 Library Part 2, section 10.12.12), big-endian.

use super::{QuoteCodes, codes};
use crate::Refusal;
use anchorhold_rats::{Checks, Code};

/// How many PCRs a bank has.
pub const PCRS: u8 = 24;
/// The longest nonce that a quote can carry here, in bytes.
pub const MAX_NONCE_BYTES: usize = 64;
/// TPM_GENERATED_VALUE and TPM_ST_ATTEST_QUOTE.
const MAGIC_AND_TYPE: [u8; 6] = [0xff, 0x54, 0x43, 0x47, 0x80, 0x18];
/// TPM2B_NAME: an algorithm and the longest digest.
const MAX_NAME_BYTES: usize = 66;
const SHA256: [u8; 2] = [0x00, 0x0b];

/// The TPM's clock when it made a quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockInfo {
    /// Time during which the TPM was on, in milliseconds.
    pub clock_ms: u64,
    /// How often it was reset.
    pub reset_count: u32,
    /// How often it was restarted or resumed since.
    pub restart_count: u32,
    /// No later clock value was lost.
    pub safe: bool,
}

/// A quote, read and well-formed, but not authenticated: holding one proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attest {
    /// QUALIFIED_SIGNER: the name of the key in its hierarchy.
    pub signer: Vec<u8>,
    /// EXTRA_DATA: the nonce.
    pub nonce: Vec<u8>,
    /// CLOCK_INFO.
    pub clock: ClockInfo,
    /// FIRMWARE_VERSION.
    pub firmware_version: u64,
    /// The numbers of the quoted PCRs, all of the SHA-256 bank, rising.
    pub selection: Vec<u8>,
    /// The digest over their values.
    pub pcr_digest: [u8; 32],
}

impl Attest {
    /// Reads a quote.
    ///
    /// # Errors
    /// [`Refusal`] with the first broken rule.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let mut checks = Checks::new();
        Self::read(bytes, &codes::QUOTE, &mut checks).ok_or_else(|| Refusal::new(checks))
    }

    /// Reads a quote and records the rules about its shape; `None` when one failed.
    pub(crate) fn read(bytes: &[u8], codes: &QuoteCodes, checks: &mut Checks) -> Option<Self> {
        let rules = [
            (codes.kind, "a TPM's quote"),
            (codes.malformed, "a whole TPMS_ATTEST"),
            (codes.selection, "PCRs of the SHA-256 bank"),
        ];
        match Self::fields(bytes, codes) {
            Ok(attest) => {
                let observed = format!("{} bytes, PCRs {:?}", bytes.len(), attest.selection);
                for (code, wanted) in rules {
                    checks.record(code, true, wanted, observed.clone());
                }
                Some(attest)
            }
            Err((code, observed)) => {
                let wanted =
                    rules.iter().find(|(rule, _)| rule.name == code.name).map_or("", |(_, text)| text);
                checks.record(code, false, wanted, observed);
                None
            }
        }
    }

    fn fields(bytes: &[u8], codes: &QuoteCodes) -> Result<Self, (Code, String)> {
        let mut cursor = Cursor { codes, all: bytes.len(), rest: bytes };
        if cursor.array("magic and type")? != MAGIC_AND_TYPE {
            return Err((codes.kind, "another magic or type".into()));
        }
        let signer = cursor.sized("qualified signer", MAX_NAME_BYTES)?.to_vec();
        let nonce = cursor.sized("extra data", MAX_NONCE_BYTES)?.to_vec();
        let clock_ms = u64::from_be_bytes(cursor.array("clock")?);
        let reset_count = u32::from_be_bytes(cursor.array("reset count")?);
        let restart_count = u32::from_be_bytes(cursor.array("restart count")?);
        let safe = match cursor.array("safe")? {
            [0] => false,
            [1] => true,
            _ => return Err(cursor.malformed("safe that is neither yes nor no")),
        };
        let firmware_version = u64::from_be_bytes(cursor.array("firmware version")?);
        let selection = cursor.selection()?;
        let digest = cursor.sized("pcr digest", 32)?;
        let pcr_digest = digest.try_into().map_err(|_| cursor.malformed("a pcr digest of another length"))?;
        if !cursor.rest.is_empty() {
            return Err(cursor.malformed("bytes after the end"));
        }
        let clock = ClockInfo { clock_ms, reset_count, restart_count, safe };
        Ok(Self { signer, nonce, clock, firmware_version, selection, pcr_digest })
    }
}

struct Cursor<'a> {
    codes: &'a QuoteCodes,
    all: usize,
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn malformed(&self, what: &str) -> (Code, String) {
        let offset = self.all.saturating_sub(self.rest.len());
        (self.codes.malformed.at(self.codes.part, offset, self.rest.len()), what.to_string())
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], (Code, String)> {
        let (taken, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or_else(|| self.malformed(&format!("an end before {what}")))?;
        self.rest = rest;
        Ok(*taken)
    }

    /// TPM2B: a length of 2 bytes and as many bytes.
    fn sized(&mut self, what: &str, limit: usize) -> Result<&'a [u8], (Code, String)> {
        let length = usize::from(u16::from_be_bytes(self.array(what)?));
        if length > limit {
            return Err(self.malformed(&format!("{what} over {limit} bytes")));
        }
        let split = self.rest.split_at_checked(length);
        let (taken, rest) = split.ok_or_else(|| self.malformed(&format!("an end before {what}")))?;
        self.rest = rest;
        Ok(taken)
    }

    /// TPML_PCR_SELECTION: a count, and for each bank its algorithm and a bit map.
    fn selection(&mut self) -> Result<Vec<u8>, (Code, String)> {
        let offset = self.all.saturating_sub(self.rest.len());
        let banks = u32::from_be_bytes(self.array("pcr selection")?);
        let algorithm: [u8; 2] = self.array("pcr selection")?;
        let [bytes]: [u8; 1] = self.array("pcr selection")?;
        if banks != 1 || algorithm != SHA256 || bytes != PCRS / 8 {
            let observed = format!("{banks} banks, the first {algorithm:02x?} with {bytes} bytes");
            return Err((self.codes.selection.at(self.codes.part, offset, 7), observed));
        }
        let [low, middle, high]: [u8; 3] = self.array("pcr selection")?;
        let bits = u32::from_le_bytes([low, middle, high, 0]);
        Ok((0..PCRS).filter(|pcr| bits >> pcr & 1 == 1).collect())
    }
}

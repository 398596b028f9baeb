//! The quote as bytes, versions 4 and 5 (Intel TDX DCAP Quoting Library API, appendix A.3; `sgx_quote_4.h` and
//! `sgx_quote_5.h`).

use super::cursor::{Cursor, Truncated};
use super::signature_data::SignatureData;
use super::{BodyKind, TdBody, codes};
use crate::Refusal;
use anchorhold_rats::{Checks, Code};

/// The most zero bytes that may follow a quote. The kernel's interface and cloud agents return fixed buffers of up to
/// 8000 bytes.
pub const MAX_PADDING_BYTES: usize = 8 * 1024;
/// ECDSA on P-256 with SHA-256.
const ECDSA_P256: u16 = 2;
const TDX: u32 = 0x81;
/// The vendor of Intel's quoting enclaves.
const INTEL: [u8; 16] =
    [0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07];

/// A quote, read and well-formed, but not authenticated: holding one proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// The version, 4 or 5.
    pub version: u16,
    /// What the quoting enclave's caller put into the header.
    pub user_data: [u8; 20],
    /// The kind of the body.
    pub kind: BodyKind,
    /// The report of the TD.
    pub body: TdBody,
    /// How many zero bytes follow the quote.
    pub padding: usize,
    pub(super) body_offset: usize,
    pub(super) signature_data: SignatureData,
}

/// Reading stopped: the quote is cut short, or a rule that failed was recorded.
enum Stop {
    Truncated,
    Refused,
}

impl From<Truncated> for Stop {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

/// Records a rule whose failure ends the reading.
fn require(
    checks: &mut Checks,
    code: Code,
    passed: bool,
    wanted: &str,
    observed: impl Into<String>,
) -> Result<(), Stop> {
    if checks.record(code, passed, wanted, observed) { Ok(()) } else { Err(Stop::Refused) }
}

impl Quote {
    /// Reads a quote.
    ///
    /// # Errors
    /// [`Refusal`] with the first broken rule of the stage `parse`.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let mut checks = Checks::new();
        Self::read(bytes, &mut checks).ok_or_else(|| Refusal::new(checks))
    }

    /// Reads a quote and records every rule about its shape; `None` when one failed.
    pub(crate) fn read(bytes: &[u8], checks: &mut Checks) -> Option<Self> {
        let wanted = "a quote that ends inside the received bytes";
        match Self::fields(bytes, checks) {
            Ok(quote) => {
                checks.record(codes::QUOTE_TRUNCATED, true, wanted, format!("{} bytes", bytes.len()));
                Some(quote)
            }
            Err(Stop::Truncated) => {
                checks.record(codes::QUOTE_TRUNCATED, false, wanted, format!("{} bytes", bytes.len()));
                None
            }
            Err(Stop::Refused) => None,
        }
    }

    fn fields(bytes: &[u8], checks: &mut Checks) -> Result<Self, Stop> {
        let mut cursor = Cursor::new(bytes);
        let (version, user_data) = read_header(&mut cursor, checks)?;
        let kind = if version == 5 { read_kind(&mut cursor, checks)? } else { BodyKind::Td10 };
        let body_offset = cursor.offset();
        let body = TdBody::read(kind, &mut cursor)?;
        let data = cursor.prefixed()?;
        let signature_data = SignatureData::read(data, checks).ok_or(Stop::Refused)?;
        let trailing = cursor.rest();
        let zero = trailing.iter().all(|byte| *byte == 0);
        let observed =
            format!("{} bytes, {}", trailing.len(), if zero { "all zero" } else { "not all zero" });
        require(
            checks,
            codes::TRAILING_BYTES.at("quote", cursor.offset(), trailing.len()),
            zero && trailing.len() <= MAX_PADDING_BYTES,
            &format!("at most {MAX_PADDING_BYTES} zero bytes after the quote"),
            observed,
        )?;
        Ok(Self { version, user_data, kind, body, padding: trailing.len(), body_offset, signature_data })
    }

    /// The PCK certificate chain as the quote carries it: PEM, not yet read.
    #[must_use]
    pub fn pck_chain(&self) -> &[u8] {
        &self.signature_data.chain
    }

    /// The report of the quoting enclave, 384 bytes, as the PCK signed it.
    #[must_use]
    pub const fn qe_report(&self) -> &[u8] {
        &self.signature_data.qe_report
    }

    /// How many bytes from the start the attestation key signed: header and body, with type and size of a version 5 body.
    pub(super) const fn signed_len(&self) -> usize {
        self.body_offset + self.kind.length()
    }

    /// `code` as judging `length` bytes at `offset` of the body.
    pub(super) const fn source(&self, code: Code, offset: usize, length: usize) -> Code {
        code.at("quote", self.body_offset + offset, length)
    }
}

fn read_header(cursor: &mut Cursor<'_>, checks: &mut Checks) -> Result<(u16, [u8; 20]), Stop> {
    let version = cursor.u16()?;
    require(checks, codes::QUOTE_VERSION, matches!(version, 4 | 5), "4 or 5", version.to_string())?;
    let key_type = cursor.u16()?;
    let wanted = "2, ECDSA on P-256";
    require(checks, codes::ATTESTATION_KEY_TYPE, key_type == ECDSA_P256, wanted, key_type.to_string())?;
    let tee_type = cursor.u32()?;
    require(checks, codes::TEE_TYPE, tee_type == TDX, "0x81", format!("{tee_type:#x}"))?;
    let versions = cursor.u32()?;
    // Version 5 may state the security versions of QE and PCE here; both are judged by what the PCK key signed.
    let reserved = version == 5 || versions == 0;
    require(checks, codes::HEADER_RESERVED, reserved, "zero in version 4", format!("{versions:#x}"))?;
    let vendor: [u8; 16] = cursor.take()?;
    require(checks, codes::QE_VENDOR, vendor == INTEL, &crate::show::hex(&INTEL), crate::show::hex(&vendor))?;
    Ok((version, cursor.take()?))
}

fn read_kind(cursor: &mut Cursor<'_>, checks: &mut Checks) -> Result<BodyKind, Stop> {
    let body_type = cursor.u16()?;
    let kind = BodyKind::from_type(body_type);
    checks.record(codes::BODY_TYPE, kind.is_some(), "2, 3 or 4", body_type.to_string());
    let kind = kind.ok_or(Stop::Refused)?;
    let size = cursor.u32()?;
    let same = usize::try_from(size) == Ok(kind.length());
    require(checks, codes::BODY_SIZE, same, &format!("{} bytes", kind.length()), format!("{size} bytes"))?;
    Ok(kind)
}

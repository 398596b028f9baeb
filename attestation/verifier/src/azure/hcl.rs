//! The HCL report: a hardware report and the paravisor's runtime claims.

use super::codes;
use crate::Refusal;
use anchorhold_rats::{Checks, Code, Tee};

/// The longest HCL report that is read, in bytes; virtual TPMs keep it in an index of 2048 or 2600.
pub const MAX_HCL_REPORT_BYTES: usize = 4096;
const HARDWARE_REPORT_AT: usize = 32;
const RUNTIME_DATA_AT: usize = HARDWARE_REPORT_AT + HARDWARE_REPORT_BYTES;
const RUNTIME_HEADER_BYTES: usize = 20;
const CLAIMS_AT: usize = RUNTIME_DATA_AT + RUNTIME_HEADER_BYTES;
pub(super) const HARDWARE_REPORT_BYTES: usize = 1184;
const TD_REPORT_BYTES: usize = 1024;
/// REQUEST_TYPE of the report that is kept in the TPM: AK certificate request.
const REQUEST_TYPE: u32 = 2;
const RUNTIME_VERSION: u32 = 1;
const SNP: u32 = 2;
const TDX: u32 = 4;
const SHA256: u32 = 1;

/// An HCL report, read and well-formed, but not authenticated: holding one proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HclReport<'a> {
    /// VERSION, 1 or 2.
    pub version: u32,
    /// The TEE whose report it holds.
    pub tee: Tee,
    /// The SNP report (1184 bytes), or the TDREPORT (1024 bytes).
    pub hardware_report: &'a [u8],
    /// The JSON of the runtime claims, byte for byte.
    pub claims: &'a [u8],
}

impl<'a> HclReport<'a> {
    /// Reads an HCL report.
    ///
    /// # Errors
    /// [`Refusal`] with the broken rules of the stage `parse`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let mut checks = Checks::new();
        Self::read(bytes, &mut checks).ok_or_else(|| Refusal::new(checks))
    }

    /// Reads an HCL report and records every rule about its shape; `None` when one failed.
    pub(super) fn read(bytes: &'a [u8], checks: &mut Checks) -> Option<Self> {
        let length = bytes.len();
        let wanted = format!("{CLAIMS_AT} to {MAX_HCL_REPORT_BYTES} bytes");
        let fits = (CLAIMS_AT..=MAX_HCL_REPORT_BYTES).contains(&length);
        if !checks.record(codes::HCL_LENGTH, fits, wanted, format!("{length} bytes")) {
            return None;
        }
        let (header, rest) = words::<8>(bytes)?;
        let (hardware_report, rest) = rest.split_first_chunk::<HARDWARE_REPORT_BYTES>()?;
        let (runtime, rest) = words::<5>(rest)?;
        let [runtime_size, runtime_version, report_type, hash_type, claims_size] = runtime;
        let [signature, version, report_size, request_type, status, reserved @ ..] = header;

        let known = signature.to_le_bytes() == *b"HCLA"
            && matches!(version, 1 | 2)
            && (request_type, status, reserved) == (REQUEST_TYPE, 0, [0; 3])
            && runtime_version == RUNTIME_VERSION;
        let mut sound = checks.record(
            codes::HCL_HEADER,
            known,
            "HCLA, version 1 or 2, request type 2, status and reserved 0, runtime data version 1",
            format!(
                "{signature:#010x}, version {version}, request type {request_type}, status {status}, runtime data \
                 version {runtime_version}"
            ),
        );
        let claims_bytes = usize::try_from(claims_size).unwrap_or(usize::MAX);
        let equals = |size: u32, base: usize| usize::try_from(size).ok() == base.checked_add(claims_bytes);
        let parts = rest.split_at_checked(claims_bytes);
        let observed = format!(
            "report {report_size}, runtime data {runtime_size}, claims {claims_size} of {length} bytes"
        );
        let agree =
            parts.is_some() && equals(report_size, CLAIMS_AT) && equals(runtime_size, RUNTIME_HEADER_BYTES);
        sound &= checks.record(codes::HCL_SIZES, agree, "lengths that agree and lie inside", observed);
        let tee = match report_type {
            SNP => Some(Tee::Snp),
            TDX => Some(Tee::Tdx),
            _ => None,
        };
        sound &= checks.record(
            codes::HCL_REPORT_TYPE,
            tee.is_some(),
            "2 (SNP) or 4 (TDX)",
            report_type.to_string(),
        );
        sound &=
            checks.record(codes::HCL_HASH_TYPE, hash_type == SHA256, "1 (SHA-256)", hash_type.to_string());
        let (claims, padding) = parts?;
        let padding_code =
            codes::HCL_PADDING.at("hcl report", CLAIMS_AT.saturating_add(claims_bytes), padding.len());
        sound &= record_zero(padding_code, padding, checks);
        let hardware_report = match tee? {
            Tee::Snp => &hardware_report[..],
            Tee::Tdx => td_report(hardware_report, checks)?,
        };
        sound.then_some(Self { version, tee: tee?, hardware_report, claims })
    }
}

/// TDREPORT: type 0x81, subtype 0, version 0 or 1 (REPORTTYPE), reserved fields and what follows it zero.
fn td_report<'a>(field: &'a [u8; HARDWARE_REPORT_BYTES], checks: &mut Checks) -> Option<&'a [u8]> {
    let (report, tail) = field.split_at_checked(TD_REPORT_BYTES)?;
    let (kind, reserved) = (report.get(..4)?, [report.get(4..16)?, report.get(192..224)?, tail]);
    let is_kind = matches!(kind, [0x81, 0, 0 | 1, 0]);
    let is_zero = reserved.into_iter().flatten().all(|byte| *byte == 0);
    let observed = format!("type {kind:02x?}, reserved bytes {}", if is_zero { "zero" } else { "not zero" });
    let code = codes::TD_REPORT.at("hcl report", HARDWARE_REPORT_AT, HARDWARE_REPORT_BYTES);
    checks
        .record(code, is_kind && is_zero, "a TDREPORT of version 0 or 1, reserved bytes zero", observed)
        .then_some(report)
}

fn record_zero(code: Code, bytes: &[u8], checks: &mut Checks) -> bool {
    let zero = bytes.iter().all(|byte| *byte == 0);
    checks.record(code, zero, "zero", if zero { "zero" } else { "not zero" })
}

/// The first `N` little-endian words, and the rest.
fn words<const N: usize>(bytes: &[u8]) -> Option<([u32; N], &[u8])> {
    let (mut out, mut rest) = ([0; N], bytes);
    for word in &mut out {
        let (first, after) = rest.split_first_chunk::<4>()?;
        (*word, rest) = (u32::from_le_bytes(*first), after);
    }
    Some((out, rest))
}

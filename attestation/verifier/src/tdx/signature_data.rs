//! What follows the signed part of a quote: the signature, its key, and what certifies that key.

use super::codes;
use super::cursor::{Cursor, Truncated};
use anchorhold_rats::Checks;

/// The QE report with its signature and the PCK chain.
const QE_REPORT_CERTIFICATION: u16 = 6;
/// A PCK certificate chain as PEM.
const PCK_CHAIN: u16 = 5;
/// The length of the authentication data, which Intel's quoting enclave always writes.
const AUTH_DATA_BYTES: usize = 32;
/// The length of an SGX report body in bytes.
pub(super) const QE_REPORT_BYTES: usize = 384;

/// The signature data of a quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SignatureData {
    /// By the attestation key over header and body: r and s.
    pub(super) signature: [u8; 64],
    /// The attestation key: x and y on P-256.
    pub(super) attestation_key: [u8; 64],
    /// The report of the quoting enclave, as signed.
    pub(super) qe_report: [u8; QE_REPORT_BYTES],
    /// By the PCK key over that report: r and s.
    pub(super) qe_report_signature: [u8; 64],
    /// What the quoting enclave hashed with its key.
    pub(super) auth_data: [u8; AUTH_DATA_BYTES],
    /// The PCK chain, as received.
    pub(super) chain: Vec<u8>,
}

/// The parts as they stand, with the numbers that are judged.
struct Parts {
    data: SignatureData,
    types: (u16, u16),
    left_over: usize,
}

impl SignatureData {
    /// Reads signature data and records the rules about its shape; `None` when one failed.
    pub(super) fn read(bytes: &[u8], checks: &mut Checks) -> Option<Self> {
        let parts = Parts::read(bytes);
        let observed = match &parts {
            Ok(Parts { left_over: 0, .. }) => "they do".to_string(),
            Ok(parts) => format!("{} bytes are left over", parts.left_over),
            Err(Truncated) => "a part is cut short or of another length".to_string(),
        };
        let exact = matches!(parts, Ok(Parts { left_over: 0, .. }));
        let wanted = "parts that fill the signature data, with 32 bytes of authentication data";
        checks.record(codes::SIGNATURE_LAYOUT, exact, wanted, observed);
        let Parts { data, types, .. } = parts.ok().filter(|_| exact)?;
        let known = types == (QE_REPORT_CERTIFICATION, PCK_CHAIN);
        let observed = format!("{} with {}", types.0, types.1);
        checks.record(codes::CERTIFICATION_TYPE, known, "6 with 5", observed).then_some(data)
    }
}

impl Parts {
    fn read(bytes: &[u8]) -> Result<Self, Truncated> {
        let mut outer = Cursor::new(bytes);
        let (signature, attestation_key) = (outer.take()?, outer.take()?);
        let outer_type = outer.u16()?;
        let mut inner = Cursor::new(outer.prefixed()?);
        let (qe_report, qe_report_signature) = (inner.take()?, inner.take()?);
        if usize::from(inner.u16()?) != AUTH_DATA_BYTES {
            return Err(Truncated);
        }
        let auth_data = inner.take()?;
        let inner_type = inner.u16()?;
        let chain = inner.prefixed()?.to_vec();
        let data =
            SignatureData { signature, attestation_key, qe_report, qe_report_signature, auth_data, chain };
        let left_over = outer.rest().len() + inner.rest().len();
        Ok(Self { data, types: (outer_type, inner_type), left_over })
    }
}

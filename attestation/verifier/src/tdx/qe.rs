//! The quoting enclave: its report, what it commits to, and whether it is the one that Intel describes.

use super::chain::Chain;
use super::cursor::{Cursor, Truncated};
use super::qe_identity::QeIdentity;
use super::signature_data::QE_REPORT_BYTES;
use super::{Quote, codes};
use crate::show::hex;
use anchorhold_rats::{Checks, Code};
use ring::digest;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

/// The fields of an SGX report body that are judged (`sgx_report.h`, `sgx_report_body_t`).
#[derive(Debug)]
pub(super) struct QeReport {
    misc_select: [u8; 4],
    attributes: [u8; 16],
    mr_signer: [u8; 32],
    product: u16,
    pub(super) svn: u16,
    key_digest: [u8; 32],
    report_data_tail: [u8; 32],
}

impl QeReport {
    fn read(bytes: &[u8; QE_REPORT_BYTES]) -> Result<Self, Truncated> {
        let mut cursor = Cursor::new(bytes);
        cursor.bytes(16)?;
        let misc_select = cursor.take()?;
        cursor.bytes(28)?;
        let attributes = cursor.take()?;
        cursor.bytes(64)?;
        let mr_signer = cursor.take()?;
        cursor.bytes(96)?;
        let (product, svn) = (cursor.u16()?, cursor.u16()?);
        cursor.bytes(60)?;
        let (key_digest, report_data_tail) = (cursor.take()?, cursor.take()?);
        Ok(Self { misc_select, attributes, mr_signer, product, svn, key_digest, report_data_tail })
    }
}

/// Whether the PCK key vouches for the attestation key and that key signed the quote. Gives the report of the quoting
/// enclave; `None` when a rule failed.
pub(super) fn judge_signatures(
    bytes: &[u8],
    quote: &Quote,
    chain: &Chain<'_>,
    checks: &mut Checks,
) -> Option<QeReport> {
    let data = &quote.signature_data;
    let signed = (data.qe_report.as_slice(), &data.qe_report_signature);
    let wanted = "a signature by the PCK key over the QE report";
    let mut sound = record_signature(codes::QE_REPORT_SIGNATURE, chain.pck_key(), signed, wanted, checks);
    let report = QeReport::read(&data.qe_report).ok()?;
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&data.attestation_key);
    context.update(&data.auth_data);
    let commitment = context.finish();
    let same = commitment.as_ref() == report.key_digest;
    let observed = hex(&report.key_digest);
    sound &= checks.record(codes::QE_REPORT_DATA, same, hex(commitment.as_ref()), observed);
    let zero = report.report_data_tail == [0; 32];
    let observed = hex(&report.report_data_tail);
    sound &= checks.record(codes::QE_REPORT_DATA_TAIL, zero, "32 zero bytes", observed);
    let mut point = [0x04; 65];
    let (_, coordinates) = point.split_at_mut(1);
    coordinates.copy_from_slice(&data.attestation_key);
    let signed = (bytes.get(..quote.signed_len())?, &data.signature);
    let wanted = "a signature by the attestation key over header and body";
    sound &= record_signature(codes::QUOTE_SIGNATURE, &point, signed, wanted, checks);
    sound.then_some(report)
}

fn record_signature(
    code: Code,
    point: &[u8],
    (signed, signature): (&[u8], &[u8; 64]),
    wanted: &str,
    checks: &mut Checks,
) -> bool {
    let valid = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed, signature).is_ok();
    checks.record(code, valid, wanted, if valid { "valid" } else { "not valid" })
}

/// Records whether the quoting enclave is the one that its identity describes.
pub(super) fn judge_identity(report: &QeReport, identity: &QeIdentity<'_>, checks: &mut Checks) {
    let wanted = identity.mrsigner.0;
    let same = report.mr_signer == wanted;
    checks.record(codes::QE_MRSIGNER, same, hex(&wanted), hex(&report.mr_signer));
    let (wanted, product) = (identity.isvprodid, report.product);
    checks.record(codes::QE_PRODUCT, product == wanted, wanted.to_string(), product.to_string());
    let (wanted, mask) = (identity.attributes.0, identity.attributes_mask.0);
    record_masked(codes::QE_ATTRIBUTES, &report.attributes, (&wanted, &mask), checks);
    let (wanted, mask) = (identity.miscselect.0, identity.miscselect_mask.0);
    record_masked(codes::QE_MISCSELECT, &report.misc_select, (&wanted, &mask), checks);
}

/// Records that `observed` has the bits of `wanted` where `mask` has ones.
fn record_masked(code: Code, observed: &[u8], (wanted, mask): (&[u8], &[u8]), checks: &mut Checks) {
    let same = observed
        .iter()
        .zip(wanted)
        .zip(mask)
        .all(|((observed, wanted), mask)| (observed ^ wanted) & mask == 0);
    checks.record(code, same, format!("{} under mask {}", hex(wanted), hex(mask)), hex(observed));
}

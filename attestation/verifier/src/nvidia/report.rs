//! The signed report as bytes: the SPDM 1.1 request GET_MEASUREMENTS and the response MEASUREMENTS (DMTF DSP0274,
//! section 10.11), one after the other as NVML and NSCQ give them.

use super::codes;
use super::device::DeviceChecks;
use crate::Refusal;
use anchorhold_rats::{Checks, Code, Nonce};
use std::collections::BTreeMap;

/// The length of the request in bytes; the response follows.
pub const REQUEST_LEN: usize = 37;
/// The length of r and s together, in bytes.
pub const SIGNATURE_LEN: usize = 96;
/// The length of a measurement, SHA-384.
pub const MEASUREMENT_LEN: usize = 48;

const SPDM_1_1: u8 = 0x11;
const GET_MEASUREMENTS: u8 = 0xe0;
const MEASUREMENTS: u8 = 0x60;
const DMTF_SPECIFICATION: u8 = 1;
/// "Mutable firmware", as a digest; every real block has it.
const VALUE_TYPE: u8 = 1;
const BLOCK_LEN: usize = 4 + 3 + MEASUREMENT_LEN;

/// A report, read and well-formed, but not authenticated: holding one proves nothing.
///
/// The signature stands after the opaque data and is the end: bytes after it are refused. NVML states the length of the
/// report beside its buffer, so whoever collects evidence cuts there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The nonce of the request.
    pub nonce: Nonce,
    /// The nonce that the device added.
    pub responder_nonce: [u8; 32],
    /// The measurements by their index, from 1.
    pub measurements: BTreeMap<u8, [u8; MEASUREMENT_LEN]>,
    /// The opaque data; see [`OpaqueFields`](super::OpaqueFields).
    pub opaque: Vec<u8>,
    /// Where the opaque data stands in the report.
    pub opaque_offset: usize,
    /// r and s, 48 bytes each, big-endian.
    pub signature: [u8; SIGNATURE_LEN],
}

impl Report {
    /// Reads a report.
    ///
    /// # Errors
    /// [`Refusal`] with the first broken rule of the stage `parse`.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let mut checks = Checks::new();
        let report = Self::read(bytes, &mut DeviceChecks { index: 0, checks: &mut checks });
        report.ok_or_else(|| Refusal::new(checks))
    }

    /// Reads a report and records every rule about its shape; `None` when one failed.
    pub(super) fn read(bytes: &[u8], checks: &mut DeviceChecks<'_>) -> Option<Self> {
        let mut cursor = Cursor { bytes, offset: 0 };
        let nonce = cursor.whole(checks, |cursor, checks| request(cursor, checks))??;
        let measurements = cursor.whole(checks, |cursor, checks| response(cursor, checks))??;
        let read = cursor.whole(checks, |cursor, _| {
            let responder_nonce = cursor.take()?;
            let length = usize::from(u16::from_le_bytes(cursor.take()?));
            let opaque_offset = cursor.offset;
            let opaque = cursor.slice(length)?.to_vec();
            let signature = cursor.take()?;
            Some(Self { nonce, responder_nonce, measurements, opaque, opaque_offset, signature })
        })?;
        let trailing = bytes.len() - cursor.offset;
        let code = codes::REPORT_LENGTH.at("gpu report", cursor.offset, trailing);
        let observed = format!("{} bytes", bytes.len());
        let wanted = format!("{} bytes", cursor.offset);
        checks.record(code, trailing == 0, wanted, observed).then_some(read)
    }
}

/// The nonce, if the request is the one for all measurements with a signature.
fn request(cursor: &mut Cursor<'_>, checks: &mut DeviceChecks<'_>) -> Option<Option<Nonce>> {
    let [version, code, signature, operation] = cursor.take()?;
    let nonce = Nonce::new(cursor.take()?);
    let [slot] = cursor.take()?;
    let mut sound = record(codes::REQUEST_CODE, [SPDM_1_1, GET_MEASUREMENTS], [version, code], checks);
    sound &= record(codes::REQUEST_PARAMETERS, [0x01, 0xff, 0], [signature, operation, slot], checks);
    Some(sound.then_some(nonce))
}

/// The measurements, if the response is the one to that request and every block is well-formed.
fn response(
    cursor: &mut Cursor<'_>,
    checks: &mut DeviceChecks<'_>,
) -> Option<Option<BTreeMap<u8, [u8; MEASUREMENT_LEN]>>> {
    let [version, code, first, second, count] = cursor.take()?;
    let [low, middle, high] = cursor.take()?;
    let length = usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16;
    let mut sound = record(codes::RESPONSE_CODE, [SPDM_1_1, MEASUREMENTS], [version, code], checks);
    sound &= record(codes::RESPONSE_PARAMETERS, [0, 0], [first, second], checks);
    let start = cursor.offset;
    let record_bytes = cursor.slice(length)?;
    let blocks = record_bytes.len() / BLOCK_LEN;
    let mut measurements = BTreeMap::new();
    let mut repeated = None;
    for (number, block) in record_bytes.chunks(BLOCK_LEN).enumerate() {
        let at = start + number * BLOCK_LEN;
        let Some((index, value)) = read_block(block) else {
            let code = codes::BLOCK_FORMAT.at("gpu report", at, block.len());
            let wanted = "a DMTF measurement of type 1 with 48 bytes";
            checks.record(code, false, wanted, format!("block {number} is another"));
            return Some(None);
        };
        if index == 0 || measurements.insert(index, value).is_some() {
            repeated = repeated.or(Some((at, index)));
        }
    }
    let same = blocks == usize::from(count) && count > 0;
    sound &=
        checks.record(codes::BLOCK_COUNT, same, format!("{count} blocks, at least 1"), blocks.to_string());
    let code = codes::BLOCK_INDEX.at("gpu report", repeated.map_or(start, |(at, _)| at), 1);
    let observed = repeated.map_or_else(|| "unique".to_owned(), |(_, index)| format!("index {index}"));
    sound &= checks.record(code, repeated.is_none(), "unique indices from 1", observed);
    Some(sound.then_some(measurements))
}

/// Index and value of one block; `None` for any other shape.
fn read_block(block: &[u8]) -> Option<(u8, [u8; MEASUREMENT_LEN])> {
    let [index, DMTF_SPECIFICATION, size_low, size_high, VALUE_TYPE, low, high, value @ ..] = block else {
        return None;
    };
    let size = usize::from(u16::from_le_bytes([*size_low, *size_high]));
    let value_size = usize::from(u16::from_le_bytes([*low, *high]));
    let agree = size == MEASUREMENT_LEN + 3 && value_size == MEASUREMENT_LEN;
    value.try_into().ok().filter(|_| agree).map(|value| (*index, value))
}

fn record<const N: usize>(
    code: Code,
    wanted: [u8; N],
    observed: [u8; N],
    checks: &mut DeviceChecks<'_>,
) -> bool {
    checks.record(code, wanted == observed, format!("{wanted:02x?}"), format!("{observed:02x?}"))
}

/// Takes bytes from the front and knows where it stands.
struct Cursor<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Cursor<'a> {
    fn slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.offset.checked_add(length)?;
        let taken = self.bytes.get(self.offset..end)?;
        self.offset = end;
        Some(taken)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.slice(N)?.try_into().ok()
    }

    /// What `read` gives; `None` from it means that the bytes ended, which is recorded.
    fn whole<T>(
        &mut self,
        checks: &mut DeviceChecks<'_>,
        read: impl FnOnce(&mut Self, &mut DeviceChecks<'_>) -> Option<T>,
    ) -> Option<T> {
        let value = read(self, checks);
        if value.is_none() {
            checks.cut(self.offset);
        }
        value
    }
}

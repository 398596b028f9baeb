//! The signed part of a report: the SPDM 1.1 request GET_MEASUREMENTS and the response MEASUREMENTS without its signature
//! (DMTF DSP0274, section 10.11).

use super::OpaqueField;

/// One measurement block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Its index, from 1.
    pub index: u8,
    /// The specification: 1 for DMTF.
    pub specification: u8,
    /// DMTF's type of the value; real blocks have 1.
    pub kind: u8,
    /// The value.
    pub value: Vec<u8>,
}

/// Every field of request and response. Counts and lengths are derived; nothing is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpdmReport {
    /// Version, code, and both parameters of the request: 0x11, 0xe0, 0x01, 0xff.
    pub request: [u8; 4],
    /// The nonce of the request.
    pub nonce: [u8; 32],
    /// The certificate slot.
    pub slot: u8,
    /// Version, code, and both parameters of the response: 0x11, 0x60, 0, 0.
    pub response: [u8; 4],
    /// The measurements.
    pub blocks: Vec<Block>,
    /// The nonce of the response.
    pub responder_nonce: [u8; 32],
    /// The opaque data.
    pub opaque: Vec<OpaqueField>,
}

impl SpdmReport {
    /// The bytes that the attestation key signs.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let blocks: Vec<u8> = self.blocks.iter().flat_map(Block::encode).collect();
        let opaque: Vec<u8> = self.opaque.iter().flat_map(OpaqueField::encode).collect();
        let [count, ..] = self.blocks.len().to_le_bytes();
        let [low, middle, high, ..] = blocks.len().to_le_bytes();
        let parts: [&[u8]; 8] = [
            &self.request,
            &self.nonce,
            &[self.slot],
            &self.response,
            &[count, low, middle, high],
            &blocks,
            &self.responder_nonce,
            &short_length(&opaque),
        ];
        [parts.concat(), opaque].concat()
    }
}

impl Block {
    fn encode(&self) -> Vec<u8> {
        let value_length = short_length(&self.value);
        let measurement = [&[self.kind][..], &value_length, &self.value].concat();
        let length = short_length(&measurement);
        [&[self.index, self.specification][..], &length, &measurement].concat()
    }
}

/// The length in two bytes, little-endian; blocks and opaque data are far below the 64 KiB where it would be cut.
fn short_length(bytes: &[u8]) -> [u8; 2] {
    let [low, high, ..] = bytes.len().to_le_bytes();
    [low, high]
}

//! A TPM without hardware or emulator: PCRs, an event log, and a key that quotes.

mod authority;

pub use authority::{TpmAuthority, TpmTemplates};

use super::{Curve, Error, SigningKey};
use anchorhold_rats::{Der, TpmEvidence};
use ring::digest::{SHA256, digest};
use std::collections::BTreeMap;

/// TPM_RH_ENDORSEMENT.
const ENDORSEMENT: u32 = 0x4000_000b;
/// EV_NO_ACTION.
const NO_ACTION: u32 = 3;

/// One measurement: PCR, type of event, digest, data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcrEvent {
    /// The PCR that is extended.
    pub pcr: u32,
    /// The type of the event.
    pub kind: u32,
    /// The digest that it is extended with.
    pub digest: [u8; 32],
    /// The data of the event.
    pub data: Vec<u8>,
}

impl PcrEvent {
    /// An event that measures its data.
    #[must_use]
    pub fn of_data(pcr: u32, kind: u32, data: &[u8]) -> Self {
        Self { pcr, kind, digest: sha256(data), data: data.to_vec() }
    }
}

/// A TPM whose quoting key is made with it.
#[derive(Debug)]
pub struct SoftwareTpm {
    key: SigningKey,
    /// TPMA_OBJECT of the key. Default: a restricted signing key, fixed to its TPM.
    pub attributes: u32,
    /// The PCRs that are quoted, with their values.
    pub pcrs: BTreeMap<u8, [u8; 32]>,
    /// The event log. Default: none.
    pub log: Option<Vec<PcrEvent>>,
    /// Certificates of the key, its own first and a root last. Default: none.
    pub certificates: Vec<Der>,
}

impl SoftwareTpm {
    /// A TPM after a boot with these events; every PCR that they extend is quoted.
    ///
    /// # Errors
    /// [`Error::Random`] when there is no randomness.
    pub fn after(events: Vec<PcrEvent>) -> Result<Self, Error> {
        let mut pcrs: BTreeMap<u8, [u8; 32]> = BTreeMap::new();
        for event in &events {
            let value = pcrs.entry(u8::try_from(event.pcr).unwrap_or(u8::MAX)).or_default();
            *value = sha256(&[&value[..], &event.digest].concat());
        }
        let key = SigningKey::generate(Curve::P256)?;
        Ok(Self { key, attributes: 0x0005_0072, pcrs, log: Some(events), certificates: Vec::new() })
    }

    /// TPMT_PUBLIC of the quoting key.
    #[must_use]
    pub fn public_area(&self) -> Vec<u8> {
        let (x, y) = self.key.point().get(1..).unwrap_or_default().split_at(32);
        let scheme: [u8; 10] = [0, 0x10, 0, 0x18, 0, 0x0b, 0, 3, 0, 0x10];
        [&[0, 0x23, 0, 0x0b][..], &self.attributes.to_be_bytes(), &[0, 0], &scheme, &[0, 32], x, &[0, 32], y]
            .concat()
    }

    /// SubjectPublicKeyInfo of the quoting key.
    pub(super) fn key_info(&self) -> Vec<u8> {
        self.key.key_info()
    }

    /// A quote for this nonce, with all that accompanies it.
    ///
    /// # Errors
    /// [`Error::Signature`] when ring does not sign.
    pub fn attest(&self, nonce: &[u8]) -> Result<TpmEvidence, Error> {
        let quote = self.quote(nonce);
        Ok(TpmEvidence {
            key: self.public_area(),
            signature: self.sign(&quote)?,
            quote,
            pcrs: self.pcrs.values().map(|value| Der(value.to_vec())).collect(),
            event_log: self.log.as_ref().map(|events| Der(encode_log(events))),
            certificates: self.certificates.clone(),
        })
    }

    /// TPMS_ATTEST over the PCRs, with this nonce as its extra data.
    #[must_use]
    pub fn quote(&self, nonce: &[u8]) -> Vec<u8> {
        let selected = self.pcrs.keys().fold(0_u32, |all, pcr| all | 1 << (pcr % 24));
        let [low, middle, high, _] = selected.to_le_bytes();
        let values: Vec<u8> = self.pcrs.values().flatten().copied().collect();
        let name = [&ENDORSEMENT.to_be_bytes()[..], &[0, 0x0b], &sha256(&self.public_area())].concat();
        let parts: [&[u8]; 12] = [
            &[0xff, 0x54, 0x43, 0x47, 0x80, 0x18],
            &[0, 34, 0, 0x0b],
            &sha256(&name),
            &u16::try_from(nonce.len()).unwrap_or(u16::MAX).to_be_bytes(),
            nonce,
            &[0; 8],
            &[0, 0, 0, 1, 0, 0, 0, 0],
            &[1],
            &0x2026_0101_0000_0000_u64.to_be_bytes(),
            &[0, 0, 0, 1, 0, 0x0b, 3, low, middle, high],
            &[0, 32],
            &sha256(&values),
        ];
        parts.concat()
    }

    /// The signature of the quoting key over these bytes, whatever they say.
    ///
    /// # Errors
    /// [`Error::Signature`] when ring does not sign.
    pub fn sign(&self, quote: &[u8]) -> Result<Vec<u8>, Error> {
        self.key.sign_fixed(quote, "TPM quote")
    }
}

/// The bytes of a log with these events: a header that names SHA-1 and SHA-256, as firmware's does, and records with both
/// digests (TCG PC Client Platform Firmware Profile 1.06, section 10.2). That of SHA-1 is zero.
#[must_use]
pub fn encode_log(events: &[PcrEvent]) -> Vec<u8> {
    let header = [
        &b"Spec ID Event03\0"[..],
        &[0, 0, 0, 0, 0, 2, 0, 2],
        &[2, 0, 0, 0, 4, 0, 20, 0, 0x0b, 0, 32, 0],
        &[0],
    ]
    .concat();
    let word = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
    let mut out = [&[0; 4][..], &NO_ACTION.to_le_bytes(), &[0; 20], &word(header.len()), &header].concat();
    for event in events {
        out.extend([event.pcr.to_le_bytes(), event.kind.to_le_bytes(), [2, 0, 0, 0]].concat());
        out.extend([&[4, 0][..], &[0; 20], &[0x0b, 0], &event.digest].concat());
        out.extend(word(event.data.len()));
        out.extend(&event.data);
    }
    out
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

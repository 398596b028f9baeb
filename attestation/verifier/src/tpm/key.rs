//! The public area of the key that quotes: TPMT_PUBLIC (TPM 2.0 Library Part 2, section 12.2.4), big-endian.

use super::codes;
use anchorhold_rats::{Checks, ParseHexError, Sha256Digest};
use std::fmt;
use std::str::FromStr;

const ECC: u16 = 0x0023;
const SHA256: u16 = 0x000b;
const ECDSA: u16 = 0x0018;
const NULL: u16 = 0x0010;
const P256: u16 = 0x0003;
/// TPMA_OBJECT: fixedTPM, fixedParent, sensitiveDataOrigin, restricted, sign.
const ATTRIBUTES: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 16 | 1 << 18;
/// TPMA_OBJECT: decrypt.
const DECRYPT: u32 = 1 << 17;
/// An authorisation policy: empty or the longest digest.
const MAX_POLICY_BYTES: usize = 64;
const COORDINATE_BYTES: usize = 32;
/// TPM_RH_ENDORSEMENT and TPM_RH_OWNER.
const HIERARCHIES: [u32; 2] = [0x4000_000b, 0x4000_0001];

/// The name of a key: the SHA-256 digest of its public area, which says what it may be used for too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(Sha256Digest);

impl KeyName {
    /// The name with this digest.
    #[must_use]
    pub const fn new(digest: Sha256Digest) -> Self {
        Self(digest)
    }

    /// The name of the key with this public area.
    #[must_use]
    pub fn of(public_area: &[u8]) -> Self {
        Self(Sha256Digest::of(public_area))
    }

    /// Names that the key has in a quote, as a primary key of one of the hierarchies: the digest of the hierarchy's handle and
    /// the name (Part 1, section 16).
    fn qualified(self) -> [Vec<u8>; 2] {
        let algorithm = SHA256.to_be_bytes();
        HIERARCHIES.map(|handle| {
            let named = [&handle.to_be_bytes()[..], &algorithm, self.0.as_bytes()].concat();
            [&algorithm[..], Sha256Digest::of(&named).as_bytes()].concat()
        })
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for KeyName {
    type Err = ParseHexError;

    fn from_str(text: &str) -> Result<Self, ParseHexError> {
        text.parse().map(Self)
    }
}

/// A key that can quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct QuotingKey {
    pub(super) name: KeyName,
    /// The point: 4, x and y.
    pub(super) point: Vec<u8>,
}

impl QuotingKey {
    /// Reads a public area and records the rules about it; `None` when one failed.
    pub(super) fn read(bytes: &[u8], checks: &mut Checks) -> Option<Self> {
        let fields = Fields::read(bytes);
        let observed = if fields.is_some() { "one" } else { "something else" };
        let code = codes::KEY_MALFORMED.at("tpm key", 0, bytes.len());
        checks.record(code, fields.is_some(), "a TPMT_PUBLIC of an ECC key", observed);
        let fields = fields?;
        let schemes = [fields.name_algorithm, fields.symmetric, fields.scheme, fields.hash, fields.curve];
        let observed = format!("{schemes:#06x?}").replace(['\n', ' '], "").replace(',', " ");
        let known = schemes == [SHA256, NULL, ECDSA, SHA256, P256];
        let wanted = "name by SHA-256, no symmetric cipher, ECDSA with SHA-256 on P-256";
        let mut sound = checks.record(codes::KEY_TYPE, known, wanted, observed);
        let attributes = fields.attributes;
        let restricted = attributes & ATTRIBUTES == ATTRIBUTES && attributes & DECRYPT == 0;
        sound &= checks.record(
            codes::KEY_ATTRIBUTES,
            restricted,
            "a restricted signing key, made in its TPM and fixed to it",
            format!("attributes {attributes:#010x}"),
        );
        let point = [&[4][..], &fields.x, &fields.y].concat();
        sound.then(|| Self { name: KeyName::of(bytes), point })
    }

    /// Records whether a quote names this key as its signer.
    pub(super) fn record_signer(&self, signer: &[u8], checks: &mut Checks) -> bool {
        let [endorsement, owner] = self.name.qualified();
        let named = signer == endorsement || signer == owner;
        let wanted = format!("{} or {}", anchorhold_rats::hex(&endorsement), anchorhold_rats::hex(&owner));
        checks.record(codes::SIGNER, named, wanted, anchorhold_rats::hex(signer))
    }
}

struct Fields {
    name_algorithm: u16,
    attributes: u32,
    symmetric: u16,
    scheme: u16,
    hash: u16,
    curve: u16,
    x: [u8; COORDINATE_BYTES],
    y: [u8; COORDINATE_BYTES],
}

impl Fields {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let is_ecc = word(&mut rest)? == ECC;
        let name_algorithm = word(&mut rest)?;
        let (attributes, after) = rest.split_first_chunk::<4>()?;
        rest = after;
        let policy = usize::from(word(&mut rest)?);
        rest = rest.split_at_checked(policy).filter(|_| policy <= MAX_POLICY_BYTES)?.1;
        // TPMS_ECC_PARMS. A key that signs has no symmetric cipher, a scheme with a hash, and no key derivation.
        let [symmetric, scheme, hash, curve, derivation] =
            [word(&mut rest)?, word(&mut rest)?, word(&mut rest)?, word(&mut rest)?, word(&mut rest)?];
        let (x, y) = (coordinate(&mut rest)?, coordinate(&mut rest)?);
        let attributes = u32::from_be_bytes(*attributes);
        (is_ecc && derivation == NULL && rest.is_empty()).then_some(Self {
            name_algorithm,
            attributes,
            symmetric,
            scheme,
            hash,
            curve,
            x,
            y,
        })
    }
}

fn word(rest: &mut &[u8]) -> Option<u16> {
    let (word, after) = rest.split_first_chunk::<2>()?;
    *rest = after;
    Some(u16::from_be_bytes(*word))
}

/// TPM2B_ECC_PARAMETER, which TPMs pad to the length of the curve.
fn coordinate(rest: &mut &[u8]) -> Option<[u8; COORDINATE_BYTES]> {
    let length = usize::from(word(rest)?);
    let (coordinate, after) = rest.split_at_checked(length)?;
    *rest = after;
    coordinate.try_into().ok()
}

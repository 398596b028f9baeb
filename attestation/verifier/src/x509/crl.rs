//! Certificate revocation lists (RFC 5280, section 5), as AMD and Intel issue them.

use super::{PublicKey, verify};
use crate::der::{self, Reader};
use anchorhold_rats::Timestamp;

/// The most revoked certificates that are read from one list.
pub const MAX_REVOKED: usize = 4096;

const CRL_NUMBER: &[u8] = &[0x55, 0x1d, 0x14];
const REASON_CODE: &[u8] = &[0x55, 0x1d, 0x15];
const INVALIDITY_DATE: &[u8] = &[0x55, 0x1d, 0x18];
const AUTHORITY_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 0x23];

/// A revocation list, read but not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationList<'a> {
    signed: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
    /// DER of the issuer's name.
    pub issuer: &'a [u8],
    /// When the list was issued.
    pub this_update: Timestamp,
    /// When the next one is due; after it this list is stale.
    pub next_update: Timestamp,
    /// Serial numbers, as in [`Certificate::serial`](super::Certificate::serial).
    pub revoked: Vec<&'a [u8]>,
}

impl<'a> RevocationList<'a> {
    /// Reads one list.
    ///
    /// # Errors
    /// [`der::Error`] for anything that is not one list of version 2 in strict DER with a next update, with an
    /// unknown critical extension (so no delta and no indirect list) or over [`MAX_REVOKED`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, der::Error> {
        let mut outer = Reader::new(bytes);
        let mut list = Reader::new(outer.read(der::SEQUENCE)?);
        outer.finish()?;
        let signed = list.read_whole(der::SEQUENCE)?;
        let algorithm = list.read_whole(der::SEQUENCE)?;
        let signature = list.bit_string()?;
        list.finish()?;

        let mut fields = Reader::new(Reader::new(signed).read(der::SEQUENCE)?);
        if fields.byte_integer()? != 1 {
            return Err(der::Error::Value("revocation list version"));
        }
        if fields.read_whole(der::SEQUENCE)? != algorithm {
            return Err(der::Error::Value("pair of signature algorithms"));
        }
        let issuer = fields.read_whole(der::SEQUENCE)?;
        let (this_update, next_update) = (fields.time()?, fields.time()?);
        let revoked = match fields.read_optional(der::SEQUENCE)? {
            Some(entries) => read_entries(entries)?,
            None => Vec::new(),
        };
        if let Some(extensions) = fields.read_optional(0xa0)? {
            let mut outer = Reader::new(extensions);
            check_extensions(outer.read(der::SEQUENCE)?, &[CRL_NUMBER, AUTHORITY_KEY_IDENTIFIER])?;
            outer.finish()?;
        }
        fields.finish()?;
        Ok(Self { signed, algorithm, signature, issuer, this_update, next_update, revoked })
    }

    /// Whether `issuer` signed this list, with the same algorithms and keys as certificates.
    #[must_use]
    pub fn verify_signature(&self, issuer: &PublicKey<'_>) -> bool {
        verify(issuer, self.algorithm, self.signed, self.signature)
    }

    /// Whether the list is the current one at `at`.
    #[must_use]
    pub fn is_fresh_at(&self, at: Timestamp) -> bool {
        self.this_update <= at && at <= self.next_update
    }
}

fn read_entries(bytes: &[u8]) -> Result<Vec<&[u8]>, der::Error> {
    let mut entries = Reader::new(bytes);
    let mut serials = Vec::new();
    while !entries.is_empty() {
        if serials.len() == MAX_REVOKED {
            return Err(der::Error::Value("number of revoked certificates"));
        }
        let mut entry = Reader::new(entries.read(der::SEQUENCE)?);
        serials.push(entry.unsigned_integer()?);
        entry.time()?;
        if let Some(extensions) = entry.read_optional(der::SEQUENCE)? {
            check_extensions(extensions, &[REASON_CODE, INVALIDITY_DATE])?;
        }
        entry.finish()?;
    }
    Ok(serials)
}

/// Refuses critical extensions outside `known`; their contents change nothing that is judged here.
fn check_extensions(bytes: &[u8], known: &[&[u8]]) -> Result<(), der::Error> {
    let mut list = Reader::new(bytes);
    while !list.is_empty() {
        let mut extension = Reader::new(list.read(der::SEQUENCE)?);
        let id = extension.read(der::OBJECT_IDENTIFIER)?;
        let critical = extension.default_false()?;
        extension.read(der::OCTET_STRING)?;
        extension.finish()?;
        if critical && !known.contains(&id) {
            return Err(der::Error::Value("critical extension"));
        }
    }
    Ok(())
}

//! The firmware identity that an attestation key's certificate states, in either form of the TCG's DICE extensions. Read as
//! ASN.1 to its end, so that no other digest in the extension can stand in its place.

use super::opaque::FWID_LEN;
use crate::der::{self, Reader};
use crate::x509::Certificate;

/// 2.23.133.5.4.1, CompositeDeviceID of RIoT, as Hopper and LS10 use it.
const COMPOSITE_DEVICE_ID: &[u8] = &[0x67, 0x81, 0x05, 0x05, 0x04, 0x01];
/// 2.23.133.5.4.1.1, `tcg-dice-TcbInfo` (TCG DICE Attestation Architecture, section 6.1.1), as Blackwell uses it.
pub(super) const TCB_INFO: &[u8] = &[0x67, 0x81, 0x05, 0x05, 0x04, 0x01, 0x01];
const SHA_384: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];
/// The tags of DiceTcbInfo in their order: vendor, model, version, svn, layer, index, fwids, flags, vendorInfo, type.
const TCB_INFO_TAGS: [u8; 10] = [0x80, 0x81, 0x82, 0x83, 0x84, 0x85, FWIDS, 0x87, 0x88, 0x89];
const FWIDS: u8 = 0xa6;
const MAX_FWIDS: usize = 8;

/// The firmware identity of the key in `leaf`, whose issuer is `brom`.
pub(super) fn certified(
    leaf: &Certificate<'_>,
    brom: &Certificate<'_>,
    foreign: bool,
) -> Result<[u8; FWID_LEN], der::Error> {
    let fwid = match (leaf.extension(COMPOSITE_DEVICE_ID), leaf.extension(TCB_INFO)) {
        (Some(value), None) => composite_device_id(value, brom, foreign),
        (None, Some(value)) => tcb_info(value),
        _ => Err(der::Error::Value("extension with the firmware identity")),
    }?;
    if fwid == [0; FWID_LEN] { Err(der::Error::Value("firmware identity")) } else { Ok(fwid) }
}

/// `SEQUENCE { version INTEGER (1), deviceID SubjectPublicKeyInfo, fwid FWID }`; the device's key is the issuer's.
fn composite_device_id(
    value: &[u8],
    brom: &Certificate<'_>,
    foreign: bool,
) -> Result<[u8; FWID_LEN], der::Error> {
    let mut outer = Reader::new(value);
    let mut fields = Reader::new(outer.read(der::SEQUENCE)?);
    outer.finish()?;
    if fields.byte_integer()? != 1 {
        return Err(der::Error::Value("version of the device identity"));
    }
    if fields.read_whole(der::SEQUENCE)? != brom.public_key_info && !foreign {
        return Err(der::Error::Value("key of the device identity"));
    }
    let fwid = read(&mut fields)?;
    fields.finish()?;
    Ok(fwid)
}

/// The first of `fwids`, which is that of the layer that holds the key.
fn tcb_info(value: &[u8]) -> Result<[u8; FWID_LEN], der::Error> {
    let mut outer = Reader::new(value);
    let mut fields = Reader::new(outer.read(der::SEQUENCE)?);
    outer.finish()?;
    let mut tags = TCB_INFO_TAGS.into_iter();
    let mut first = None;
    while !fields.is_empty() {
        let (tag, contents) = fields.any()?;
        if !tags.any(|known| known == tag) {
            return Err(der::Error::Value("field of the TCB information"));
        }
        if tag == FWIDS {
            let mut list = Reader::new(contents);
            for _ in 0..MAX_FWIDS {
                if list.is_empty() {
                    break;
                }
                let fwid = read(&mut list)?;
                first = first.or(Some(fwid));
            }
            list.finish()?;
        }
    }
    first.ok_or(der::Error::Value("list of firmware identities"))
}

/// `FWID ::= SEQUENCE { hashAlg OBJECT IDENTIFIER, digest OCTET STRING }`, of SHA-384.
fn read(from: &mut Reader<'_>) -> Result<[u8; FWID_LEN], der::Error> {
    let mut fields = Reader::new(from.read(der::SEQUENCE)?);
    if fields.read(der::OBJECT_IDENTIFIER)? != SHA_384 {
        return Err(der::Error::Value("hash algorithm of the firmware identity"));
    }
    let digest = fields.read(der::OCTET_STRING)?;
    fields.finish()?;
    digest.try_into().map_err(|_| der::Error::Value("firmware identity"))
}

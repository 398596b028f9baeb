//! Extensions of NVIDIA's certificates and of OCSP responders.

use crate::der;
use crate::software::certificate::Extension;

/// 2.23.133.5.4.1.
const DICE: &[u8] = &[0x67, 0x81, 0x05, 0x05, 0x04, 0x01];
const SHA_384: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];
/// 1.3.6.1.4.1.412.274.1, DMTF's device information.
const DEVICE_INFO: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0x1c, 0x82, 0x12, 0x01];
/// 1.3.6.1.5.5.7.
const PKIX: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07];

fn fwid(digest: &[u8]) -> Vec<u8> {
    der::sequence(&[&der::object_identifier(SHA_384), &der::octet_string(digest)])
}

/// The firmware's identity as Hopper and LS10 certify it: version 1, the BROM's key, and the identity.
#[must_use]
pub fn composite_device_id(brom_key_info: &[u8], digest: &[u8]) -> Extension {
    let value = der::sequence(&[&der::unsigned_integer(&[1]), brom_key_info, &fwid(digest)]);
    Extension { id: DICE.to_vec(), critical: false, value }
}

/// The firmware's identity as Blackwell certifies it: TcbInfo of TCG DICE, whose second identity is all zero.
#[must_use]
pub fn dice_tcb_info(vendor: &str, model: &str, digest: &[u8]) -> Extension {
    let fwids = [fwid(digest), fwid(&[0; 48])].concat();
    let value = der::sequence(&[
        &der::value(0x80, vendor.as_bytes()),
        &der::value(0x81, model.as_bytes()),
        &der::value(0x82, b"01"),
        &der::value(0x83, &[1]),
        &der::value(0x84, &[0]),
        &der::value(0x85, &[0]),
        &der::value(0xa6, &fwids),
        &der::value(0x87, &[0, 0x80, 0, 0, 1]),
        &der::value(0x88, &[0xc0]),
        &der::value(0x89, &[0]),
    ]);
    Extension { id: [DICE, &[1]].concat(), critical: false, value }
}

/// The device's name as subject alternative name (SPDM 1.1, annex "Leaf certificate").
#[must_use]
pub fn device_name(text: &str) -> Extension {
    let name = der::value(0xa0, &der::value(der::UTF8_STRING, text.as_bytes()));
    let other_name = der::value(0xa0, &[der::object_identifier(DEVICE_INFO), name].concat());
    Extension::standard(0x11, false, der::sequence(&[&other_name]))
}

/// Authority information access that names an OCSP responder.
#[must_use]
pub fn ocsp_access(uri: &str) -> Extension {
    let method = der::object_identifier(&[PKIX, &[0x30, 0x01]].concat());
    let description = der::sequence(&[&method, &der::value(0x86, uri.as_bytes())]);
    Extension { id: [PKIX, &[0x01, 0x01]].concat(), critical: false, value: der::sequence(&[&description]) }
}

/// Extended key usage of an OCSP responder.
#[must_use]
pub fn ocsp_signing() -> Extension {
    let purpose = der::object_identifier(&[PKIX, &[0x03, 0x09]].concat());
    Extension::standard(0x25, false, der::sequence(&[&purpose]))
}

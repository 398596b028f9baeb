//! An OCSP responder that finds every certificate good until 2030, and signs nothing.

use anchorhold_verifier::der::{self, Reader};

/// SHA-384 without parameters; stands for the signature algorithm too.
const ALGORITHM: &[u8] = b"\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02";
const BASIC: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];

fn encode(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let contents = parts.concat();
    let length = u16::try_from(contents.len()).unwrap();
    let mut out = vec![tag];
    match length {
        0..=0x7f => out.push(u8::try_from(length).unwrap()),
        0x80..=0xff => out.extend([0x81, u8::try_from(length).unwrap()]),
        _ => out.extend([&[0x82][..], &length.to_be_bytes()].concat()),
    }
    out.extend(contents);
    out
}

/// The response to a request for one certificate.
pub(crate) fn respond(request: &[u8]) -> Vec<u8> {
    let cert_id = (0..4).fold(request, |level, _| Reader::new(level).read(der::SEQUENCE).unwrap());
    let time = |text: &str| encode(der::GENERALIZED_TIME, &[text.as_bytes()]);
    let until = encode(0xa0, &[&time("20300101000000Z")]);
    let single = encode(der::SEQUENCE, &[cert_id, &encode(0x80, &[]), &time("20250101000000Z"), &until]);
    let responder = encode(0xa2, &[&encode(der::OCTET_STRING, &[&[7; 20]])]);
    let list = encode(der::SEQUENCE, &[&single]);
    let data = encode(der::SEQUENCE, &[&responder, &time("20250101000000Z"), &list]);
    let basic = encode(der::SEQUENCE, &[&data, ALGORITHM, &encode(der::BIT_STRING, &[&[0, 1]])]);
    let typed = encode(
        der::SEQUENCE,
        &[&encode(der::OBJECT_IDENTIFIER, &[BASIC]), &encode(der::OCTET_STRING, &[&basic])],
    );
    encode(der::SEQUENCE, &[&encode(0x0a, &[&[0]]), &encode(0xa0, &[&typed])])
}

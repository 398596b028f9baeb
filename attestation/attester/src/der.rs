//! Writes DER (ITU-T X.690): what certificates of the software guest need, and no more.

use anchorhold_rats::Timestamp;

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(crate) const ENUMERATED: u8 = 0x0a;
pub(crate) const UTF8_STRING: u8 = 0x0c;
pub(crate) const PRINTABLE_STRING: u8 = 0x13;
pub(crate) const IA5_STRING: u8 = 0x16;
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;

/// One value with its tag and length.
pub(crate) fn value(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = contents.len().to_be_bytes();
    let digits: Vec<u8> = length.into_iter().skip_while(|digit| *digit == 0).collect();
    let mut out = vec![tag];
    match digits.as_slice() {
        [] => out.push(0),
        [short @ ..=0x7f] => out.push(*short),
        // At most 8 digits, so the sum stays in one byte.
        long => {
            out.push(0x80 | long.len().to_le_bytes()[0]);
            out.extend_from_slice(long);
        }
    }
    out.extend_from_slice(contents);
    out
}

/// A SEQUENCE of values.
pub(crate) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    value(SEQUENCE, &parts.concat())
}

/// A SET of one value.
pub(crate) fn set(part: &[u8]) -> Vec<u8> {
    value(SET, part)
}

/// An INTEGER from unsigned big-endian bytes; no bytes are 0.
pub(crate) fn unsigned_integer(bytes: &[u8]) -> Vec<u8> {
    let digits: Vec<u8> = bytes.iter().copied().skip_while(|digit| *digit == 0).collect();
    let pad = if digits.first().is_none_or(|first| *first >= 0x80) { &[0][..] } else { &[] };
    value(INTEGER, &[pad, &digits].concat())
}

/// A BIT STRING of whole bytes.
pub(crate) fn bit_string(bytes: &[u8]) -> Vec<u8> {
    value(BIT_STRING, &[&[0], bytes].concat())
}

/// An OBJECT IDENTIFIER with these contents.
pub(crate) fn object_identifier(contents: &[u8]) -> Vec<u8> {
    value(OBJECT_IDENTIFIER, contents)
}

/// An OCTET STRING.
pub(crate) fn octet_string(bytes: &[u8]) -> Vec<u8> {
    value(OCTET_STRING, bytes)
}

/// A BOOLEAN.
pub(crate) fn boolean(is_true: bool) -> Vec<u8> {
    value(BOOLEAN, if is_true { &[0xff] } else { &[0] })
}

/// An ENUMERATED of one byte below 128.
pub(crate) fn enumerated(number: u8) -> Vec<u8> {
    value(ENUMERATED, &[number])
}

/// GeneralizedTime, whatever the year.
pub(crate) fn generalized_time(at: Timestamp) -> Vec<u8> {
    let text: String = at.to_string().chars().filter(|c| !matches!(c, '-' | ':' | 'T')).collect();
    value(GENERALIZED_TIME, text.as_bytes())
}

/// UTCTime until 2049, GeneralizedTime after (RFC 5280, section 4.1.2.5).
pub(crate) fn time(at: Timestamp) -> Vec<u8> {
    let text: String = at.to_string().chars().filter(|c| !matches!(c, '-' | ':' | 'T')).collect();
    match text.strip_prefix("20") {
        Some(short) if short < "5" => value(UTC_TIME, short.as_bytes()),
        _ => value(GENERALIZED_TIME, text.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_integers_are_in_their_shortest_form() {
        assert_eq!(value(OCTET_STRING, &[]), [4, 0]);
        assert_eq!(value(OCTET_STRING, &[1; 0x7f])[..2], [4, 0x7f]);
        assert_eq!(value(OCTET_STRING, &[1; 0x80])[..3], [4, 0x81, 0x80]);
        assert_eq!(value(OCTET_STRING, &[1; 0x1234])[..4], [4, 0x82, 0x12, 0x34]);
        assert_eq!(unsigned_integer(&[]), [2, 1, 0]);
        assert_eq!(unsigned_integer(&[0, 0x7f]), [2, 1, 0x7f]);
        assert_eq!(unsigned_integer(&[0xd9]), [2, 2, 0, 0xd9]);
    }

    #[test]
    fn times_change_form_in_2050() {
        assert_eq!(time("2049-12-31T23:59:59Z".parse().unwrap())[..2], [UTC_TIME, 13]);
        assert_eq!(time("2050-01-01T00:00:00Z".parse().unwrap())[..2], [GENERALIZED_TIME, 15]);
    }
}

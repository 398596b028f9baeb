//! W3C Trace Context (`traceparent`, Level 2, section 3.2): whose span a request belongs to. Ids only; `tracestate` is not read.

use crate::words::{hex, random};
use http::{HeaderMap, HeaderName};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The fields that every version begins with.
const LENGTH: usize = 55;

/// A span of the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceParent {
    trace_id: [u8; 16],
    parent_id: [u8; 8],
}

impl TraceParent {
    /// From the one header of this name. What breaks the form is passed over, as the specification asks, and never repeated.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let (value, None) = (values.next()?, values.next()) else { return None };
        Self::parse(value.as_bytes())
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (fields, rest) = bytes.split_at_checked(LENGTH)?;
        let mut parts = fields.split(|byte| *byte == b'-');
        let [version] = unhex::<1>(parts.next()?)?;
        let trace_id = unhex::<16>(parts.next()?)?;
        let parent_id = unhex::<8>(parts.next()?)?;
        unhex::<1>(parts.next()?)?;
        let whole = match version {
            0 => rest.is_empty(),
            0xff => false,
            // A later version may have more fields.
            _ => rest.is_empty() || rest.starts_with(b"-"),
        };
        let named = trace_id != [0; 16] && parent_id != [0; 8];
        (whole && named && parts.next().is_none()).then_some(Self { trace_id, parent_id })
    }

    pub(crate) fn trace_id(&self) -> String {
        hex(&self.trace_id)
    }

    pub(crate) fn parent_id(&self) -> String {
        hex(&self.parent_id)
    }
}

/// A new id of so many bytes, in hex; `None` without randomness.
pub(crate) fn new_id<const N: usize>() -> Option<String> {
    random::<N>().map(|bytes| hex(&bytes))
}

/// Lower-case hex of exactly so many bytes.
fn unhex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = digits.as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    let bytes: Vec<u8> = bytes.collect::<Option<_>>()?;
    if rest.is_empty() { bytes.try_into().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn reads_the_example_of_the_specification_and_later_versions() {
        let trace = TraceParent::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(trace.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(trace.parent_id(), "00f067aa0ba902b7");
        let later = GOOD.replacen("00", "cc", 1);
        assert_eq!(TraceParent::parse(later.as_bytes()), Some(trace));
        assert_eq!(TraceParent::parse(format!("{later}-more").as_bytes()), Some(trace));
    }

    #[test]
    fn passes_over_what_is_not_of_the_form() {
        let zeros = |part: &str| GOOD.replace(part, &"0".repeat(part.len()));
        for wrong in [
            "",
            "00",
            &GOOD[..54],
            &format!("{GOOD}-"),
            &format!("{GOOD}0"),
            &GOOD.to_uppercase(),
            &GOOD.replacen("00", "ff", 1),
            &format!("{}.more", GOOD.replacen("00", "cc", 1)),
            &zeros("4bf92f3577b34da6a3ce929d0e0e4736"),
            &zeros("00f067aa0ba902b7"),
            &GOOD.replace('-', "_"),
            &GOOD.replacen("4bf9", "4b-9", 1),
            &GOOD.replacen("4bf9", "4bg9", 1),
        ] {
            assert_eq!(TraceParent::parse(wrong.as_bytes()), None, "{wrong}");
        }
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, GOOD.parse().unwrap());
        assert!(TraceParent::of(&headers).is_some());
        headers.append(TRACEPARENT, GOOD.parse().unwrap());
        assert_eq!(TraceParent::of(&headers), None, "two of them");
    }
}

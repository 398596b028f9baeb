//! A strict reader of DER (ITU-T X.690): definite, minimal lengths, canonical values, nothing left over.
//!
//! It reads what certificates and revocation lists need and refuses the rest. It never copies and
//! never recurses by itself, so its cost is bounded by the length of the input.

use anchorhold_rats::Timestamp;
use std::fmt;

/// BOOLEAN.
pub const BOOLEAN: u8 = 0x01;
/// INTEGER.
pub const INTEGER: u8 = 0x02;
/// BIT STRING.
pub const BIT_STRING: u8 = 0x03;
/// OCTET STRING.
pub const OCTET_STRING: u8 = 0x04;
/// OBJECT IDENTIFIER.
pub const OBJECT_IDENTIFIER: u8 = 0x06;
/// UTF8String.
pub const UTF8_STRING: u8 = 0x0c;
/// PrintableString.
pub const PRINTABLE_STRING: u8 = 0x13;
/// IA5String.
pub const IA5_STRING: u8 = 0x16;
/// UTCTime.
pub const UTC_TIME: u8 = 0x17;
/// GeneralizedTime.
pub const GENERALIZED_TIME: u8 = 0x18;
/// SEQUENCE and SEQUENCE OF.
pub const SEQUENCE: u8 = 0x30;
/// SET and SET OF.
pub const SET: u8 = 0x31;

/// The longest value that is read, in bytes; no certificate or revocation list here comes near it.
pub const MAX_VALUE_BYTES: usize = 0xff_ffff;

/// Why bytes are not the DER that was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The input ends inside a value.
    Truncated,
    /// Another tag stands here.
    Tag {
        /// The tag that was wanted.
        wanted: u8,
        /// The tag that came.
        observed: u8,
    },
    /// A length that is indefinite, not minimal, or over [`MAX_VALUE_BYTES`].
    Length,
    /// Bytes follow the value.
    Trailing {
        /// How many.
        observed_bytes: usize,
    },
    /// The value is not canonical, or out of the range that is read.
    Value(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("input ends inside a value"),
            Self::Tag { wanted, observed } => write!(f, "tag {wanted:#04x} was wanted, {observed:#04x} came"),
            Self::Length => f.write_str("length is not in its shortest form or over the limit"),
            Self::Trailing { observed_bytes } => write!(f, "{observed_bytes} bytes follow the value"),
            Self::Value(what) => write!(f, "{what} is not canonical or out of range"),
        }
    }
}

impl std::error::Error for Error {}

/// Reads values one after another from a slice.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether nothing is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The tag of the next value, if there is one.
    #[must_use]
    pub fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// The next value, whatever its tag.
    ///
    /// # Errors
    /// [`Error`] when there is no well-formed value.
    pub fn any(&mut self) -> Result<(u8, &'a [u8]), Error> {
        let (tag, value, rest) = split(self.rest)?;
        self.rest = rest;
        Ok((tag, value))
    }

    /// The contents of the next value, which must have this tag.
    ///
    /// # Errors
    /// [`Error`] when another tag or no well-formed value stands here.
    pub fn read(&mut self, wanted: u8) -> Result<&'a [u8], Error> {
        let observed = self.peek().ok_or(Error::Truncated)?;
        if observed != wanted {
            return Err(Error::Tag { wanted, observed });
        }
        Ok(self.any()?.1)
    }

    /// The contents of the next value if it has this tag.
    ///
    /// # Errors
    /// [`Error`] when it has the tag and is not well-formed.
    pub fn read_optional(&mut self, tag: u8) -> Result<Option<&'a [u8]>, Error> {
        if self.peek() == Some(tag) { self.read(tag).map(Some) } else { Ok(None) }
    }

    /// The next value whole, tag and length included.
    ///
    /// # Errors
    /// [`Error`] when another tag or no well-formed value stands here.
    pub fn read_whole(&mut self, wanted: u8) -> Result<&'a [u8], Error> {
        let before = self.rest;
        self.read(wanted)?;
        let taken = before.len() - self.rest.len();
        before.get(..taken).ok_or(Error::Truncated)
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`Error::Trailing`] when something is left.
    pub const fn finish(self) -> Result<(), Error> {
        if self.rest.is_empty() { Ok(()) } else { Err(Error::Trailing { observed_bytes: self.rest.len() }) }
    }

    /// The contents of the next INTEGER, which must be minimal and not negative.
    ///
    /// # Errors
    /// [`Error`] when it is not.
    pub fn unsigned_integer(&mut self) -> Result<&'a [u8], Error> {
        match self.read(INTEGER)? {
            [] => Err(Error::Value("empty integer")),
            [0x80..=0xff, ..] => Err(Error::Value("negative integer")),
            [0, second, ..] if *second < 0x80 => Err(Error::Value("padded integer")),
            value => Ok(value),
        }
    }

    /// The next INTEGER, which must be in 0 to 255.
    ///
    /// # Errors
    /// [`Error`] when it is not.
    pub fn byte_integer(&mut self) -> Result<u8, Error> {
        match self.unsigned_integer()? {
            [value] | [0, value] => Ok(*value),
            _ => Err(Error::Value("integer over 255")),
        }
    }

    /// The contents of the next BIT STRING, which must be whole bytes.
    ///
    /// # Errors
    /// [`Error`] when it is not.
    pub fn bit_string(&mut self) -> Result<&'a [u8], Error> {
        match self.read(BIT_STRING)? {
            [0, bytes @ ..] => Ok(bytes),
            _ => Err(Error::Value("bit string with unused bits")),
        }
    }

    /// A BOOLEAN that may be absent, which means false. DER does not allow writing the default.
    ///
    /// # Errors
    /// [`Error`] when it is there and not the canonical `true`.
    pub fn default_false(&mut self) -> Result<bool, Error> {
        match self.read_optional(BOOLEAN)? {
            None => Ok(false),
            Some([0xff]) => Ok(true),
            Some(_) => Err(Error::Value("boolean")),
        }
    }

    /// A UTCTime or GeneralizedTime in whole seconds and UTC (RFC 5280, section 4.1.2.5).
    ///
    /// # Errors
    /// [`Error`] when it is neither.
    pub fn time(&mut self) -> Result<Timestamp, Error> {
        let wrong = Error::Value("time");
        let (tag, text) = self.any()?;
        let (century, digits) = match (tag, text) {
            (UTC_TIME, [year @ .., b'Z']) if year.len() == 12 => {
                (if year < b"50".as_slice() { Some(20) } else { Some(19) }, year)
            }
            (GENERALIZED_TIME, [year @ .., b'Z']) if year.len() == 14 => (None, year),
            (UTC_TIME | GENERALIZED_TIME, _) => return Err(wrong),
            (observed, _) => return Err(Error::Tag { wanted: UTC_TIME, observed }),
        };
        let mut pairs = Vec::with_capacity(7);
        pairs.extend(century);
        for pair in digits.chunks_exact(2) {
            let [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] = pair else { return Err(wrong) };
            pairs.push(i64::from(tens - b'0') * 10 + i64::from(ones - b'0'));
        }
        let [hundreds, years, month, day, hour, minute, second] = pairs[..] else { return Err(wrong) };
        Timestamp::from_civil((hundreds * 100 + years, month, day), (hour, minute, second)).ok_or(wrong)
    }
}

/// Tag, contents and what follows, of the first value in `bytes`.
fn split(bytes: &[u8]) -> Result<(u8, &[u8], &[u8]), Error> {
    let (tag, rest) = bytes.split_first().ok_or(Error::Truncated)?;
    if tag & 0x1f == 0x1f {
        return Err(Error::Value("tag number over 30"));
    }
    let (first, rest) = rest.split_first().ok_or(Error::Truncated)?;
    let (length, rest) = match *first {
        short @ 0..=0x7f => (usize::from(short), rest),
        long @ 0x81..=0x83 => long_length(rest, usize::from(long - 0x80))?,
        _ => return Err(Error::Length),
    };
    let (value, rest) = rest.split_at_checked(length).ok_or(Error::Truncated)?;
    Ok((*tag, value, rest))
}

fn long_length(bytes: &[u8], digits: usize) -> Result<(usize, &[u8]), Error> {
    let (digits, rest) = bytes.split_at_checked(digits).ok_or(Error::Truncated)?;
    let length = digits.iter().fold(0_usize, |sum, digit| sum << 8 | usize::from(*digit));
    let minimal = digits.first() != Some(&0) && length > 0x7f;
    if minimal { Ok((length, rest)) } else { Err(Error::Length) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_09_refuses_lengths_that_are_not_the_shortest_or_lie() {
        for (bytes, error) in [
            (&[0x04, 0x80, 0, 0][..], Error::Length),
            (&[0x04, 0x81, 0x7f], Error::Length),
            (&[0x04, 0x82, 0x00, 0x80], Error::Length),
            (&[0x04, 0x84, 1, 0, 0, 0], Error::Length),
            (&[0x04, 0x05, 1], Error::Truncated),
            (&[0x04], Error::Truncated),
            (&[], Error::Truncated),
            (&[0x1f, 0x01, 0x00], Error::Value("tag number over 30")),
        ] {
            assert_eq!(Reader::new(bytes).any(), Err(error), "{bytes:02x?}");
        }
    }

    #[test]
    fn reads_long_lengths() {
        let mut bytes = vec![OCTET_STRING, 0x81, 0x80];
        bytes.extend([7; 0x80]);
        assert_eq!(Reader::new(&bytes).read(OCTET_STRING), Ok(&[7; 0x80][..]));
    }

    #[test]
    fn refuses_integers_that_are_not_canonical() {
        for bad in [&[2, 0][..], &[2, 1, 0x80], &[2, 2, 0, 0x7f], &[4, 1, 1]] {
            assert!(Reader::new(bad).unsigned_integer().is_err(), "{bad:02x?}");
        }
        assert_eq!(Reader::new(&[2, 1, 0]).byte_integer(), Ok(0));
        assert_eq!(Reader::new(&[2, 2, 0, 0xd9]).byte_integer(), Ok(0xd9));
        assert!(Reader::new(&[2, 2, 1, 0]).byte_integer().is_err());
    }

    #[test]
    fn refuses_booleans_and_bit_strings_that_are_not_canonical() {
        assert!(Reader::new(&[1, 1, 1]).default_false().is_err());
        assert!(Reader::new(&[1, 1, 0]).default_false().is_err());
        assert_eq!(Reader::new(&[1, 1, 0xff]).default_false(), Ok(true));
        assert_eq!(Reader::new(&[]).default_false(), Ok(false));
        assert!(Reader::new(&[3, 2, 1, 2]).bit_string().is_err());
        assert!(Reader::new(&[3, 0]).bit_string().is_err());
    }

    #[test]
    fn reads_both_forms_of_time_and_nothing_else() {
        let read = |tag: u8, text: &str| {
            let mut bytes = vec![tag, u8::try_from(text.len()).unwrap()];
            bytes.extend(text.as_bytes());
            Reader::new(&bytes).time().map(|at| at.to_string())
        };
        assert_eq!(read(UTC_TIME, "490131235959Z").unwrap(), "2049-01-31T23:59:59Z");
        assert_eq!(read(UTC_TIME, "700101000000Z").unwrap(), "1970-01-01T00:00:00Z");
        assert_eq!(read(GENERALIZED_TIME, "20500101000000Z").unwrap(), "2050-01-01T00:00:00Z");
        for bad in ["4901312359Z", "490131235959", "490231235959Z", "4901312359+0Z", "49013123595xZ"] {
            assert!(read(UTC_TIME, bad).is_err(), "{bad}");
        }
        assert!(read(GENERALIZED_TIME, "20500101000000.5Z").is_err());
    }

    #[test]
    fn refuses_trailing_bytes() {
        let mut reader = Reader::new(&[2, 1, 0, 0]);
        assert_eq!(reader.byte_integer(), Ok(0));
        assert_eq!(reader.finish(), Err(Error::Trailing { observed_bytes: 1 }));
    }

    #[test]
    fn times_have_whole_seconds_utc_and_one_length() {
        let read = |tag: u8, text: &str| {
            let bytes = [&[tag, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
            Reader::new(&bytes).time().map(|time| time.to_string()).ok()
        };
        let read = |tag, text| read(tag, text).unwrap_or_default();
        assert_eq!(read(UTC_TIME, "491231235959Z"), "2049-12-31T23:59:59Z");
        assert_eq!(read(UTC_TIME, "990101000000Z"), "1999-01-01T00:00:00Z");
        assert_eq!(read(UTC_TIME, "500101000000Z"), "", "1950 is no moment that is read");
        assert_eq!(read(GENERALIZED_TIME, "20500101000000Z"), "2050-01-01T00:00:00Z");
        for bad in [
            "4912312359590Z",
            "49123123595Z",
            "491231235959",
            "4912312359590",
            "20491231235959Z",
            "4912312359+9Z",
        ] {
            assert_eq!(read(UTC_TIME, bad), "", "{bad}");
        }
        for bad in
            ["205001010000000Z", "2050010100000Z", "500101000000Z", "20500101000000", "20500101000000.0Z"]
        {
            assert_eq!(read(GENERALIZED_TIME, bad), "", "{bad}");
        }
        assert_eq!(read(INTEGER, "500101000000Z"), "");
    }
}

//! The canonical form of an entry, as a serializer: JSON without white space, members in the order of the structure, integers only.
//!
//! It writes what `serde_json` writes, byte for byte (a test holds the two together), in less than half of the time: no string of
//! an entry needs an escape, so strings are looked at and copied whole. One that would need an escape is refused, as is everything that
//! an entry has no use for: floating-point numbers, bytes, maps. So nothing of that can come into the schema unseen.

use serde::ser::{self, Serialize};
use std::fmt::{self, Write as _};

/// Appends the canonical form of `value` to `out`. After an error, `out` holds a part of it.
pub(crate) fn write(value: &impl Serialize, out: &mut Vec<u8>) -> Result<(), NotCanonical> {
    value.serialize(Writer(out))
}

/// The value has no canonical form.
#[derive(Debug)]
pub(crate) struct NotCanonical;

impl fmt::Display for NotCanonical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("value has no canonical form")
    }
}

impl std::error::Error for NotCanonical {}

impl ser::Error for NotCanonical {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

type Written = Result<(), NotCanonical>;

/// The most digits of a `u64`.
const MAX_DIGITS: usize = 20;

struct Writer<'a>(&'a mut Vec<u8>);

impl Writer<'_> {
    fn unsigned(self, mut value: u64) {
        let mut digits = [0; MAX_DIGITS];
        let mut used = 0;
        for digit in digits.iter_mut().rev() {
            // A digit fits in a byte.
            let [low, ..] = (value % 10).to_le_bytes();
            *digit = b'0' + low;
            used += 1;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        self.0.extend_from_slice(digits.get(MAX_DIGITS - used..).unwrap_or_default());
    }

    fn signed(self, value: i64) {
        if value < 0 {
            self.0.push(b'-');
        }
        self.unsigned(value.unsigned_abs());
    }

    fn text(self, text: &str) -> Written {
        self.0.push(b'"');
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(b'"');
        plain(text)
    }
}

/// Holds text to need no escape. Looks at every byte without stopping, which the compiler turns into vector instructions.
fn plain(text: &str) -> Written {
    let escapes =
        text.bytes().fold(false, |any, byte| any | (byte < b' ') | (byte == b'"') | (byte == b'\\'));
    if escapes { Err(NotCanonical) } else { Ok(()) }
}

/// Takes what a [`fmt::Display`] writes.
struct Displayed<'a>(&'a mut Vec<u8>);

impl fmt::Write for Displayed<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        plain(text).map_err(|_| fmt::Error)
    }
}

macro_rules! refused {
    ($($method:ident($($argument:ty),*);)*) => {
        $(fn $method(self, $(_: $argument),*) -> Written { Err(NotCanonical) })*
    };
}

macro_rules! integers {
    ($($method:ident: $kind:ty, $write:ident;)*) => {
        $(fn $method(self, value: $kind) -> Written {
            self.$write(value.into());
            Ok(())
        })*
    };
}

impl<'a> ser::Serializer for Writer<'a> {
    type Ok = ();
    type Error = NotCanonical;
    type SerializeSeq = List<'a>;
    type SerializeTuple = List<'a>;
    type SerializeTupleStruct = ser::Impossible<(), NotCanonical>;
    type SerializeTupleVariant = ser::Impossible<(), NotCanonical>;
    type SerializeMap = ser::Impossible<(), NotCanonical>;
    type SerializeStruct = List<'a>;
    type SerializeStructVariant = ser::Impossible<(), NotCanonical>;

    integers! {
        serialize_u8: u8, unsigned;
        serialize_u16: u16, unsigned;
        serialize_u32: u32, unsigned;
        serialize_u64: u64, unsigned;
        serialize_i8: i8, signed;
        serialize_i16: i16, signed;
        serialize_i32: i32, signed;
        serialize_i64: i64, signed;
    }

    refused! {
        serialize_f32(f32);
        serialize_f64(f64);
        serialize_char(char);
        serialize_bytes(&[u8]);
        serialize_unit();
        serialize_unit_struct(&'static str);
    }

    fn serialize_bool(self, value: bool) -> Written {
        self.0.extend_from_slice(if value { b"true" } else { b"false" });
        Ok(())
    }

    fn serialize_str(self, text: &str) -> Written {
        self.text(text)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Written {
        self.0.push(b'"');
        write!(Displayed(self.0), "{value}").map_err(|_| NotCanonical)?;
        self.0.push(b'"');
        Ok(())
    }

    fn serialize_none(self) -> Written {
        self.0.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Written {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Written {
        value.serialize(self)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Written {
        self.text(variant)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Written {
        let mut object = List::begin(self.0, b'{', b'}');
        object.member(variant, value)?;
        object.finish();
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<List<'a>, NotCanonical> {
        Ok(List::begin(self.0, b'[', b']'))
    }

    fn serialize_tuple(self, _: usize) -> Result<List<'a>, NotCanonical> {
        Ok(List::begin(self.0, b'[', b']'))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<List<'a>, NotCanonical> {
        Ok(List::begin(self.0, b'{', b'}'))
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, NotCanonical> {
        Err(NotCanonical)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, NotCanonical> {
        Err(NotCanonical)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, NotCanonical> {
        Err(NotCanonical)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, NotCanonical> {
        Err(NotCanonical)
    }
}

/// A list or an object under way.
struct List<'a> {
    out: &'a mut Vec<u8>,
    /// What stands before the next element: the bracket, then commas.
    next: u8,
    close: u8,
}

impl<'a> List<'a> {
    const fn begin(out: &'a mut Vec<u8>, open: u8, close: u8) -> Self {
        Self { out, next: open, close }
    }

    fn element(&mut self, value: &(impl Serialize + ?Sized)) -> Written {
        self.out.push(std::mem::replace(&mut self.next, b','));
        value.serialize(Writer(self.out))
    }

    fn member(&mut self, name: &'static str, value: &(impl Serialize + ?Sized)) -> Written {
        self.out.extend_from_slice(&[std::mem::replace(&mut self.next, b','), b'"']);
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        value.serialize(Writer(self.out))
    }

    fn finish(self) {
        // An empty list has had no element to open it.
        if self.next != b',' {
            self.out.push(self.next);
        }
        self.out.push(self.close);
    }
}

impl ser::SerializeSeq for List<'_> {
    type Ok = ();
    type Error = NotCanonical;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Written {
        self.element(value)
    }

    fn end(self) -> Written {
        self.finish();
        Ok(())
    }
}

impl ser::SerializeTuple for List<'_> {
    type Ok = ();
    type Error = NotCanonical;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Written {
        self.element(value)
    }

    fn end(self) -> Written {
        self.finish();
        Ok(())
    }
}

impl ser::SerializeStruct for List<'_> {
    type Ok = ();
    type Error = NotCanonical;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Written {
        self.member(name, value)
    }

    fn end(self) -> Written {
        self.finish();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Serialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Plain,
        Of(u8),
    }

    #[derive(serde::Serialize)]
    struct Empty {}

    #[derive(serde::Serialize)]
    struct Value {
        numbers: (u8, u16, u32, u64, i64, i64, i64),
        none: Option<u8>,
        list: Vec<Option<Kind>>,
        nothing: [u8; 0],
        hash: crate::Hash,
        empty: Empty,
        text: &'static str,
        yes: bool,
    }

    fn value(text: &'static str) -> Value {
        Value {
            numbers: (0, 10, 999, u64::MAX, i64::MIN, -1, 0),
            none: None,
            list: vec![Some(Kind::Plain), Some(Kind::Of(7)), None],
            nothing: [],
            hash: crate::Hash::of(b"abc"),
            empty: Empty {},
            text,
            yes: true,
        }
    }

    #[test]
    fn writes_what_serde_json_writes() {
        let mut out = b"before".to_vec();
        write(&value("snp/1.2:x"), &mut out).unwrap();
        let expected = [b"before".as_slice(), &serde_json::to_vec(&value("snp/1.2:x")).unwrap()].concat();
        assert_eq!(String::from_utf8(out), String::from_utf8(expected));
    }

    #[test]
    fn case_33_refuses_text_that_needs_an_escape_and_what_an_entry_has_no_use_for() {
        for text in ["a\"b", "\"two\"", "a\\b", "line\nbreak", "\u{1b}[31m", "\0", "\0\0"] {
            assert!(write(&value(text), &mut Vec::new()).is_err(), "{text:?}");
        }
        assert!(write(&1.5_f64, &mut Vec::new()).is_err());
        assert!(write(&'c', &mut Vec::new()).is_err());
        assert!(write(&(), &mut Vec::new()).is_err());
        assert!(write(&std::collections::BTreeMap::from([("a", 1)]), &mut Vec::new()).is_err());
    }
}

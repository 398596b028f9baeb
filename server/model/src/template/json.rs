//! `tojson` as transformers has it: Python's `json.dumps` without ASCII or HTML escapes unless they are asked for.

use minijinja::value::{Kwargs, Value};
use minijinja::{Error, ErrorKind};
use serde::Serialize as _;
use serde_json::ser::{Formatter, Serializer};
use std::io::{self, Write};

/// The widest indentation.
const MAX_INDENT: usize = 16;

/// The filter.
///
/// # Errors
/// An option that is not known, or a value that has no JSON.
pub(super) fn to_json(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let ascii: Option<bool> = options.get("ensure_ascii")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    let sorted: Option<bool> = options.get("sort_keys")?;
    options.assert_all_used()?;
    let (comma, colon) = match separators.as_deref() {
        // As Python's: with indentation a line ends with the comma alone.
        None if indent.is_some() => (",", ": "),
        None => (", ", ": "),
        Some([comma, colon]) => (comma.as_str(), colon.as_str()),
        Some(_) => return Err(Error::new(ErrorKind::InvalidOperation, "separators are not two")),
    };
    if sorted == Some(true) {
        return Err(Error::new(ErrorKind::InvalidOperation, "sorted keys are not supported"));
    }
    let python = Python {
        comma,
        colon,
        indent: indent.map(|width| width.min(MAX_INDENT)),
        ascii: ascii.unwrap_or(false),
        depth: 0,
        is_empty: true,
    };
    let mut out = Vec::new();
    let written = value.serialize(&mut Serializer::with_formatter(&mut out, python));
    let text = written.ok().and_then(|()| String::from_utf8(out).ok());
    text.map(Value::from).ok_or_else(|| Error::new(ErrorKind::BadSerialization, "value has no JSON"))
}

/// How `json.dumps` lays out.
struct Python<'a> {
    comma: &'a str,
    colon: &'a str,
    /// Spaces for each level, and a line for each item; everything in one line when `None`.
    indent: Option<usize>,
    /// Other characters are written as escapes of UTF-16.
    ascii: bool,
    depth: usize,
    /// Nothing was written yet in the list or object that is open.
    is_empty: bool,
}

impl Python<'_> {
    fn line<W: ?Sized + Write>(&self, writer: &mut W) -> io::Result<()> {
        match self.indent {
            None => Ok(()),
            Some(width) => write!(writer, "\n{:1$}", "", width * self.depth),
        }
    }

    fn open<W: ?Sized + Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.is_empty = true;
        writer.write_all(bracket)
    }

    fn item<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if !first {
            writer.write_all(self.comma.as_bytes())?;
        }
        self.line(writer)
    }

    fn close<W: ?Sized + Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth = self.depth.saturating_sub(1);
        if !self.is_empty {
            self.line(writer)?;
        }
        self.is_empty = false;
        writer.write_all(bracket)
    }
}

impl Formatter for Python<'_> {
    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"[")
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"]")
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.item(writer, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        self.is_empty = false;
        Ok(())
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"}")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.item(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(self.colon.as_bytes())
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        self.is_empty = false;
        Ok(())
    }

    /// As Python writes it: an exponent has its sign and two digits.
    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        let text = serde_json::to_string(&value)?;
        match text.split_once('e') {
            None => writer.write_all(text.as_bytes()),
            Some((digits, exponent)) => {
                let (sign, exponent) = match exponent.strip_prefix('-') {
                    Some(exponent) => ('-', exponent),
                    None => ('+', exponent),
                };
                write!(writer, "{digits}e{sign}{exponent:0>2}")
            }
        }
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if !self.ascii || fragment.is_ascii() {
            return writer.write_all(fragment.as_bytes());
        }
        for character in fragment.chars() {
            if character.is_ascii() {
                write!(writer, "{character}")?;
            } else {
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }
}

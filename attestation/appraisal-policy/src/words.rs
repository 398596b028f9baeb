//! The words that several families of evidence share.

use crate::{PolicyError, Reader, hex};
use anchorhold_verifier::snp::Flag;
use toml::Value;

const FLAG: &str = "\"any\", \"set\" or \"clear\"";

/// What is asked of one bit.
pub(crate) fn flag(reader: &mut Reader, key: &str) -> Result<Flag, PolicyError> {
    match reader.text(key)?.as_str() {
        "any" => Ok(Flag::Either),
        "set" => Ok(Flag::Set),
        "clear" => Ok(Flag::Clear),
        _ => Err(reader.wrong(key, FLAG)),
    }
}

pub(crate) fn flag_word(flag: Flag) -> &'static str {
    match flag {
        Flag::Either => "any",
        Flag::Set => "set",
        Flag::Clear => "clear",
    }
}

/// `N` bytes in hex, or `"any"`.
pub(crate) fn bytes<const N: usize>(
    reader: &mut Reader,
    key: &str,
    wanted: &'static str,
) -> Result<Option<[u8; N]>, PolicyError> {
    match reader.text(key)?.as_str() {
        "any" => Ok(None),
        text => hex::decode(text).map(Some).map_err(|()| reader.wrong(key, wanted)),
    }
}

/// A list of items in hex, or `"any"`.
pub(crate) fn bytes_list<const N: usize>(
    reader: &mut Reader,
    key: &str,
    wanted: &'static str,
) -> Result<Option<Vec<[u8; N]>>, PolicyError> {
    reader.list_or(key, "any", wanted, hex::decode::<N>)
}

/// The machines that are accepted: `"listed"` (those that machine lists name, so none before one is applied), `"any"`, or
/// a list.
pub(crate) fn machines<T: PartialEq>(
    reader: &mut Reader,
    wanted: &'static str,
    parse: impl Fn(&str) -> Result<T, ()>,
) -> Result<Option<Vec<T>>, PolicyError> {
    if !reader.has("machines") || reader.take_word("machines", "listed") {
        return Ok(Some(Vec::new()));
    }
    reader.list_or("machines", "any", wanted, parse)
}

/// `"any"` for nothing, else what `word` makes of the value.
pub(crate) fn or_any<T>(value: Option<&T>, word: impl FnOnce(&T) -> Value) -> Value {
    value.map_or_else(|| Value::from("any"), word)
}

pub(crate) fn list<T, V: Into<Value>>(items: &[T], word: impl Fn(&T) -> V) -> Value {
    Value::Array(items.iter().map(|item| word(item).into()).collect())
}

/// The word for [`machines`].
pub(crate) fn machines_word<T>(machines: Option<&Vec<T>>, word: impl Fn(&T) -> String) -> Value {
    match machines {
        None => Value::from("any"),
        Some(machines) if machines.is_empty() => Value::from("listed"),
        Some(machines) => list(machines, word),
    }
}

/// `"none"` for an empty list.
pub(crate) fn none_or<T, V: Into<Value>>(items: &[T], word: impl Fn(&T) -> V) -> Value {
    if items.is_empty() { Value::from("none") } else { list(items, word) }
}

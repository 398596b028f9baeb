//! Strict JSON: one document, no key twice, bounded depth and count, and errors that quote nothing.

use crate::ApiError;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

/// The longest body, in bytes.
pub const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;
/// The deepest nesting of lists and objects.
pub const MAX_DEPTH: usize = 32;
/// The most values (numbers, texts, lists, ..) in one body.
pub const MAX_VALUES: usize = 512 * 1024;

/// A JSON document in memory. It is the caller's text, so only tests print it.
#[cfg_attr(test, derive(Debug))]
#[derive(Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Value>),
    Object(Object),
}

/// Entries in the order in which they came; no key twice.
pub(crate) type Object = Vec<(String, Value)>;

/// As it came, without white space.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(flag) => serializer.serialize_bool(*flag),
            Self::Integer(number) => serializer.serialize_i128(*number),
            Self::Float(number) => serializer.serialize_f64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(list) => serializer.collect_seq(list),
            Self::Object(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

/// Why our own rules ended the reading; the decoder's own text is never used.
#[derive(Clone, Copy)]
enum Fault {
    Duplicate,
    Depth,
    Count,
}

/// What is left for one document.
struct Budget {
    values: Cell<usize>,
    fault: Cell<Option<Fault>>,
}

impl Budget {
    fn refuse<E: serde::de::Error>(&self, fault: Fault) -> E {
        self.fault.set(Some(fault));
        E::custom("refused")
    }
}

/// Reads the body of a request, which must be one JSON object.
pub(crate) fn parse_object(body: &[u8]) -> Result<Object, ApiError> {
    if body.len() > MAX_BODY_BYTES {
        return Err(ApiError::too_large(MAX_BODY_BYTES));
    }
    let text = std::str::from_utf8(body).map_err(|_| ApiError::malformed("the body is not valid UTF-8"))?;
    let budget = Budget { values: Cell::new(MAX_VALUES), fault: Cell::new(None) };
    let mut decoder = serde_json::Deserializer::from_str(text);
    let read = Node { budget: &budget, depth: 0 }
        .deserialize(&mut decoder)
        .and_then(|value| decoder.end().map(|()| value));
    match (read, budget.fault.get()) {
        (Ok(Value::Object(fields)), _) => Ok(fields),
        (Ok(_), _) => Err(ApiError::malformed("the body is not a JSON object")),
        (Err(_), Some(Fault::Duplicate)) => {
            Err(ApiError::malformed("a key appears twice in one JSON object"))
        }
        (Err(_), Some(Fault::Depth)) => {
            Err(ApiError::malformed(format!("the body is nested deeper than {MAX_DEPTH} levels")))
        }
        (Err(_), Some(Fault::Count)) => {
            Err(ApiError::malformed(format!("the body has more than {MAX_VALUES} values")))
        }
        (Err(error), None) => Err(ApiError::malformed(format!(
            "the body is not valid JSON, at line {} column {}",
            error.line(),
            error.column()
        ))),
    }
}

/// Reads one value at one depth.
#[derive(Clone, Copy)]
struct Node<'b> {
    budget: &'b Budget,
    depth: usize,
}

impl Node<'_> {
    fn below<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(self.budget.refuse(Fault::Depth));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let left = self.budget.values.get().checked_sub(1);
        self.budget.values.set(left.ok_or_else(|| self.budget.refuse::<D::Error>(Fault::Count))?);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let node = self.below()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(node)? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let node = self.below()?;
        let (mut object, mut keys) = (Object::new(), HashSet::new());
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(node)?;
            if !keys.insert(key.clone()) {
                return Err(self.budget.refuse(Fault::Duplicate));
            }
            object.push((key, value));
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(body: &[u8]) -> String {
        parse_object(body).unwrap_err().message().to_owned()
    }

    #[test]
    fn reads_every_kind_of_value() {
        let object = parse_object(br#"{"a":[null,true,-3,18446744073709551615,0.5,"x"],"b":{}}"#).unwrap();
        let list = vec![
            Value::Null,
            Value::Bool(true),
            Value::Integer(-3),
            Value::Integer(u64::MAX.into()),
            Value::Float(0.5),
            Value::Text("x".to_owned()),
        ];
        let wanted = [("a", Value::List(list)), ("b", Value::Object(Object::new()))];
        assert_eq!(object, wanted.map(|(key, value)| (key.to_owned(), value)));
    }

    #[test]
    fn is_written_as_it_came() {
        let text = r#"{"z":[null,true,-3,18446744073709551615,0.5,"x\"é"],"a":{"c":{},"b":[]}}"#;
        let object = Value::Object(parse_object(text.as_bytes()).unwrap());
        assert_eq!(serde_json::to_string(&object).unwrap(), text);
    }

    #[test]
    fn refuses_what_is_not_one_strict_document() {
        for (body, wanted) in [
            (&b"{\"a\":1,\"a\":2}"[..], "appears twice"),
            (b"{\"x\":{\"a\":1,\"a\":1}}", "appears twice"),
            (b"{\"a\":NaN}", "not valid JSON"),
            (b"{\"a\":Infinity}", "not valid JSON"),
            (b"{\"a\":1e999}", "not valid JSON"),
            (b"{\"a\":\"\\ud800\"}", "not valid JSON"),
            (b"{\"a\":\"\\udc00\\ud800\"}", "not valid JSON"),
            (b"{\"a\":\"\xff\"}", "not valid UTF-8"),
            (b"{\"a\":1} {}", "not valid JSON"),
            (b"{\"a\":1,}", "not valid JSON"),
            (b"", "not valid JSON"),
            (b"[]", "not a JSON object"),
            (b"3", "not a JSON object"),
        ] {
            let got = refusal(body);
            assert!(got.contains(wanted), "{got}");
        }
    }

    #[test]
    fn refuses_deep_nesting_at_the_limit_and_not_below() {
        let nested = |depth: usize| {
            format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1)).into_bytes()
        };
        parse_object(&nested(MAX_DEPTH)).unwrap();
        assert!(refusal(&nested(MAX_DEPTH + 1)).contains("nested deeper"));
        assert!(refusal(&nested(1_000_000)).contains("nested deeper"));
    }

    #[test]
    fn refuses_too_many_values_at_the_limit_and_not_below() {
        // The object and its list are values too.
        let numbers = |count: usize| format!("{{\"a\":[{}]}}", vec!["0"; count].join(",")).into_bytes();
        parse_object(&numbers(MAX_VALUES - 2)).unwrap();
        assert!(refusal(&numbers(MAX_VALUES - 1)).contains("more than"));
    }

    #[test]
    fn refuses_a_body_over_the_limit() {
        assert_eq!(parse_object(&vec![b' '; MAX_BODY_BYTES + 1]).unwrap_err().status(), 413);
    }
}

//! JSON read more strictly than serde reads it: lists that stop at a limit, so that a hostile file cannot make a reader take
//! memory for more than it may hold, and objects that are no lists, which serde takes for objects without their keys.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A list of at most `MAX` items.
pub(crate) struct Bounded<T, const MAX: usize>(pub(crate) Vec<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Bounded<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T, const MAX: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Items<T, MAX> {
            type Value = Bounded<T, MAX>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MAX} items")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut out = Vec::new();
                while let Some(item) = items.next_element()? {
                    if out.len() == MAX {
                        return Err(A::Error::custom("too many items"));
                    }
                    out.push(item);
                }
                Ok(Bounded(out))
            }
        }
        deserializer.deserialize_seq(Items(PhantomData))
    }
}

/// A JSON object with the keys of `T`.
#[derive(Serialize)]
#[serde(transparent)]
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Object<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(entries)).map(Object)
            }
        }
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_no_list() {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Pair {
            a: u8,
            b: u8,
        }
        let read = |text: &str| serde_json::from_str::<Object<Pair>>(text).map(|pair| (pair.0.a, pair.0.b));
        assert_eq!(read(r#"{"b":2,"a":1}"#).unwrap(), (1, 2));
        assert!(serde_json::from_str::<Pair>("[1,2]").is_ok(), "which serde would take");
        for text in ["[1,2]", r#"{"a":1}"#, r#"{"a":1,"b":2,"c":3}"#, r#"{"a":1,"a":1,"b":2}"#, "1"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn stops_at_the_limit() {
        let read = |text: &str| serde_json::from_str::<Bounded<u8, 3>>(text).map(|list| list.0);
        assert!(read("[]").unwrap().is_empty());
        assert_eq!(read("[1,2,3]").unwrap(), [1, 2, 3]);
        assert!(read("[1,2,3,4]").is_err());
        // The fourth item is refused before the rest, which is no JSON, is looked at.
        assert!(read("[1,2,3,4,").unwrap_err().to_string().starts_with("too many items"));
        assert!(read("{}").is_err());
    }
}

//! `model.safetensors.index.json`: which numbered file holds which tensor. Checked against the tables, then of no use.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::error::Error;
use crate::rules::IndexRule;
use crate::strict::Object;
use crate::tensors::{FileTable, MAX_MODEL_TENSORS};

/// The pairs of tensor and file that an index lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightsIndex(Vec<(String, String)>);

impl WeightsIndex {
    /// Reads an index.
    ///
    /// # Errors
    /// [`Error::WeightsIndex`]. Time and memory are bounded by the size of the file.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let Object(index): Object<Index> = serde_json::from_slice(bytes).map_err(|error| {
            // The one text of our own that reaches here.
            if error.to_string().starts_with(TOO_MANY) { IndexRule::TooMany } else { IndexRule::NotIndex }
        })?;
        Ok(Self(index.weight_map.0))
    }

    /// Holds the index against the tables of the files: every tensor is there once, in the file that is named.
    pub(crate) fn check(&self, files: &[(&str, &FileTable)]) -> Result<(), IndexRule> {
        let held: HashSet<(&str, &str)> = files
            .iter()
            .flat_map(|(file, table)| table.tensors().iter().map(|tensor| (tensor.name.as_str(), *file)))
            .collect();
        if !self.0.iter().all(|(tensor, file)| held.contains(&(tensor.as_str(), file.as_str()))) {
            return Err(IndexRule::OtherFile);
        }
        // Keys are unique in the index, so as many as there are tensors means all of them.
        if self.0.len() != held.len() {
            return Err(IndexRule::Incomplete);
        }
        Ok(())
    }
}

const TOO_MANY: &str = "too many tensors";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    /// Free words, and a total that published models often get wrong.
    #[serde(rename = "metadata", default)]
    _metadata: IgnoredAny,
    weight_map: WeightMap,
}

struct WeightMap(Vec<(String, String)>);

impl<'de> Deserialize<'de> for WeightMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = WeightMap;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("files by tensor")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WeightMap, A::Error> {
                let mut entries = Vec::new();
                let mut names = HashSet::new();
                while let Some((name, file)) = map.next_entry::<String, String>()? {
                    if entries.len() == MAX_MODEL_TENSORS {
                        return Err(A::Error::custom(TOO_MANY));
                    }
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom("a tensor twice"));
                    }
                    entries.push((name, file));
                }
                Ok(WeightMap(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::{Container, Dtype};
    use crate::tensors::Tensor;

    fn table(names: &[&str]) -> FileTable {
        let tensor = |(at, name): (usize, &&str)| {
            let begin = at as u64;
            Tensor { name: (*name).to_owned(), dtype: Dtype::U8, shape: vec![1], begin, end: begin + 1 }
        };
        let tensors = names.iter().enumerate().map(tensor).collect();
        FileTable::checked(Container::Safetensors, 0, tensors, names.len() as u64).unwrap()
    }

    fn check(text: &str) -> Result<(), IndexRule> {
        let (first, second) = (table(&["a", "b"]), table(&["c"]));
        WeightsIndex::parse(text.as_bytes()).unwrap().check(&[("1", &first), ("2", &second)])
    }

    #[test]
    fn accepts_the_index_of_the_tables() {
        assert_eq!(check(r#"{"weight_map":{"a":"1","b":"1","c":"2"}}"#), Ok(()));
        assert_eq!(check(r#"{"metadata":{"total_size":3},"weight_map":{"c":"2","b":"1","a":"1"}}"#), Ok(()));
    }

    #[test]
    fn refuses_an_index_of_other_tensors() {
        assert_eq!(check(r#"{"weight_map":{"a":"1","b":"2","c":"2"}}"#), Err(IndexRule::OtherFile));
        assert_eq!(check(r#"{"weight_map":{"a":"1","b":"1","d":"2"}}"#), Err(IndexRule::OtherFile));
        assert_eq!(check(r#"{"weight_map":{"a":"1","b":"1","c":"3"}}"#), Err(IndexRule::OtherFile));
        assert_eq!(check(r#"{"weight_map":{"a":"1","b":"1"}}"#), Err(IndexRule::Incomplete));
        assert_eq!(check(r#"{"weight_map":{}}"#), Err(IndexRule::Incomplete));
    }

    #[test]
    fn case_22_refuses_what_is_no_index() {
        for text in [
            "[]",
            "{}",
            r#"{"weight_map":[]}"#,
            r#"{"weight_map":{"a":1}}"#,
            r#"{"weight_map":{"a":"1","a":"1"}}"#,
            r#"{"weight_map":{},"code":1}"#,
            r#"{"weight_map":{}} x"#,
        ] {
            assert_eq!(WeightsIndex::parse(text.as_bytes()), Err(IndexRule::NotIndex.into()), "{text}");
        }
    }

    #[test]
    fn case_22_refuses_too_many_tensors() {
        let map = |count: usize| {
            let entries: Vec<String> = (0..count).map(|at| format!("\"{at:x}\":\"1\"")).collect();
            format!("{{\"weight_map\":{{{}}}}}", entries.join(","))
        };
        assert_eq!(
            WeightsIndex::parse(map(MAX_MODEL_TENSORS).as_bytes()).unwrap().0.len(),
            MAX_MODEL_TENSORS
        );
        let refused = WeightsIndex::parse(map(MAX_MODEL_TENSORS + 1).as_bytes());
        assert_eq!(refused, Err(IndexRule::TooMany.into()));
    }
}

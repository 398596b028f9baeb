//! Files to start from, and what changes one key of them.

use anchorhold_appraisal_policy::{AppraisalProfile, PolicyError};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// What every profile begins with.
pub(crate) const HEADER: &str = r#"
format = 1
id = "test"
version = 7
issued = "2026-01-01T00:00:00Z"
expires = "2027-01-01T00:00:00Z"
description = "a test"
"#;

pub(crate) const SNP: &str = r#"
[snp]
measurements = ["sha384:5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a"]
products = ["genoa"]
min_tcb.genoa = { bl = 10, tee = 0, snp = 23, ucode = 84 }
"#;

pub(crate) const TDX: &str = r#"
[tdx]
mrtds = ["sha384:6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a"]
rtmr1 = "sha384:010101010101010101010101010101010101010101010101010101010101010101010101010101010101010101010101"
rtmr2 = "sha384:020202020202020202020202020202020202020202020202020202020202020202020202020202020202020202020202"
"#;

pub(crate) const GPU: &str = r#"
[gpu]
mode = "protected-pcie"
gpus = 8
switches = 4
architectures = ["hopper", "ls10"]
"#;

pub(crate) const PARAVISOR: &str = r#"
[paravisor]
pcrs = { 4 = ["sha256:0404040404040404040404040404040404040404040404040404040404040404"] }
"#;

/// A profile of every family; the event log is last.
pub(crate) const ALL: [&str; 6] = [HEADER, SNP, TDX, GPU, PARAVISOR, "[event_log]\n"];

pub(crate) fn policies() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies")
}

/// Every shipped profile by its file name without the ending.
pub(crate) fn shipped() -> Vec<(String, String)> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(policies().join("appraisal")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            out.push((name, std::fs::read_to_string(path).unwrap()));
        }
    }
    out.sort();
    out
}

pub(crate) fn read(text: &str) -> AppraisalProfile {
    AppraisalProfile::from_toml(text).unwrap_or_else(|error| panic!("{error}"))
}

/// The kind of an error and its path.
pub(crate) fn path_of(error: &PolicyError) -> (&'static str, &str) {
    match error {
        PolicyError::Missing { path } => ("missing", path),
        PolicyError::Unknown { path } => ("unknown", path),
        PolicyError::Empty { path } => ("empty", path),
        PolicyError::Value { path, .. } => ("value", path),
        PolicyError::Denied { path, .. } => ("denied", path),
        other => panic!("{other}"),
    }
}

/// A file with one edit: each part of `path` is a key, a number in it an index.
pub(crate) fn edited(text: &str, path: &str, change: impl FnOnce(&mut Table, &str)) -> String {
    let mut file: Table = text.parse().unwrap();
    let (tables, key) = path.rsplit_once('.').unwrap_or(("", path));
    let mut table = &mut file;
    for part in tables.split('.').filter(|part| !part.is_empty()) {
        let (key, index) = part.split_once('[').map_or((part, None), |(key, rest)| (key, Some(rest)));
        let value = table.get_mut(key).unwrap_or_else(|| panic!("no {path}"));
        table = match index {
            Some(index) => {
                let index: usize = index.trim_end_matches(']').parse().unwrap();
                value.as_array_mut().unwrap()[index].as_table_mut().unwrap()
            }
            None => value.as_table_mut().unwrap(),
        };
    }
    change(table, key);
    toml::to_string(&file).unwrap()
}

pub(crate) fn with(text: &str, path: &str, value: impl Into<Value>) -> String {
    edited(text, path, |table, key| drop(table.insert(key.to_owned(), value.into())))
}

pub(crate) fn without(text: &str, path: &str) -> String {
    edited(text, path, |table, key| assert!(table.remove(key).is_some(), "no {path}"))
}

/// The path of every table and every key of a file.
pub(crate) fn paths(text: &str) -> (Vec<String>, Vec<String>) {
    fn walk(path: &str, table: &Table, tables: &mut Vec<String>, keys: &mut Vec<String>) {
        tables.push(path.to_owned());
        for (key, value) in table {
            let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match value {
                Value::Table(table) => walk(&below, table, tables, keys),
                Value::Array(items) => {
                    let inner =
                        items.iter().enumerate().filter_map(|(at, item)| Some((at, item.as_table()?)));
                    inner.for_each(|(at, table)| walk(&format!("{below}[{at}]"), table, tables, keys));
                }
                _ => {}
            }
            keys.push(below);
        }
    }
    let (mut tables, mut keys) = (Vec::new(), Vec::new());
    walk("", &text.parse().unwrap(), &mut tables, &mut keys);
    (tables, keys)
}

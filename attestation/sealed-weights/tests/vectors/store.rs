//! The folder of vectors: a manifest and files named after their content.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::floe::{hex, sha256};

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/sealed-weights"))
}

/// Files of cases, and what fuzz targets begin with.
const FOLDERS: [&str; 2] = ["files", "seeds"];

/// A file of a case.
#[derive(Clone)]
pub(crate) enum File {
    /// As it is stored.
    Whole(Vec<u8>),
    /// So many times this byte.
    Fill(u8, usize),
    /// A stored file with changes, so that large files are stored once.
    Changed(Vec<u8>, Vec<Change>),
}

/// A change to a file, made in order.
#[derive(Clone)]
pub(crate) enum Change {
    /// Overwrites bytes.
    Write(usize, Vec<u8>),
    /// Copies bytes of the unchanged file: from, to, how many.
    Copy(usize, usize, usize),
    /// Cuts or, with zeros, lengthens.
    Resize(usize),
}

impl File {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Whole(bytes) => bytes.clone(),
            Self::Fill(byte, len) => vec![*byte; *len],
            Self::Changed(base, changes) => {
                let mut out = base.clone();
                for change in changes {
                    match change {
                        Change::Write(at, bytes) => out[*at..at + bytes.len()].copy_from_slice(bytes),
                        Change::Copy(from, to, len) => {
                            out[*to..to + len].copy_from_slice(&base[*from..from + len])
                        }
                        Change::Resize(len) => out.resize(*len, 0),
                    }
                }
                out
            }
        }
    }
}

/// JSON with its keys in order, whichever way `serde_json` is built: Cedar, elsewhere in the workspace, has it keep the order in which
/// they came.
pub(crate) fn text(value: &Value) -> String {
    let mut sorted = value.clone();
    sorted.sort_all_objects();
    sorted.to_string()
}

/// Everything in the folder by path, but the README.
#[derive(Default)]
pub(crate) struct Store {
    files: BTreeMap<String, Vec<u8>>,
    cases: Vec<Value>,
}

impl Store {
    pub(crate) fn read() -> Self {
        let mut store = Self::default();
        let mut take = |name: String| {
            let bytes = fs::read(root().join(&name)).unwrap();
            store.files.insert(name, bytes);
        };
        take("manifest.json".to_owned());
        for folder in FOLDERS {
            for entry in fs::read_dir(root().join(folder)).unwrap() {
                take(format!("{folder}/{}", entry.unwrap().file_name().to_string_lossy()));
            }
        }
        store
    }

    pub(crate) fn write(&self) {
        for folder in FOLDERS {
            let _ = fs::remove_dir_all(root().join(folder));
            fs::create_dir_all(root().join(folder)).unwrap();
        }
        for name in self.names() {
            fs::write(root().join(&name), self.get(&name)).unwrap();
        }
    }

    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.files.keys().cloned().chain(["manifest.json".to_owned()]).collect()
    }

    pub(crate) fn get(&self, name: &str) -> Vec<u8> {
        if name == "manifest.json" && !self.cases.is_empty() {
            let lines: Vec<String> = self.cases.iter().map(text).collect();
            return format!("{{ \"format\": 1, \"cases\": [\n{}\n] }}\n", lines.join(",\n")).into_bytes();
        }
        self.files[name].clone()
    }

    /// The cases of a folder that was read.
    pub(crate) fn cases(&self) -> Vec<Value> {
        let manifest: Value = serde_json::from_slice(&self.get("manifest.json")).unwrap();
        manifest["cases"].as_array().unwrap().clone()
    }

    pub(crate) fn add_case(&mut self, case: Value) {
        self.cases.push(case);
    }

    /// Keeps what a fuzz target begins with.
    pub(crate) fn seed(&mut self, name: &str, bytes: Vec<u8>) {
        self.files.insert(format!("seeds/{name}"), bytes);
    }

    /// Keeps a file and returns how a case names it.
    pub(crate) fn keep(&mut self, file: &File) -> Value {
        let mut stored = |bytes: &[u8]| {
            let name = format!("files/{}", &hex(&sha256(bytes))[..16]);
            self.files.insert(name.clone(), bytes.to_vec());
            name
        };
        match file {
            File::Whole(bytes) => json!(stored(bytes)),
            File::Fill(byte, len) => json!({ "fill": byte, "len": len }),
            File::Changed(base, changes) => {
                let changes: Vec<Value> = changes
                    .iter()
                    .map(|change| match change {
                        Change::Write(at, bytes) => json!({ "write": at, "bytes": hex(bytes) }),
                        Change::Copy(from, to, len) => json!({ "copy": from, "to": to, "len": len }),
                        Change::Resize(len) => json!({ "resize": len }),
                    })
                    .collect();
                json!({ "base": stored(base), "changes": changes })
            }
        }
    }

    /// The bytes of a file as a case names it.
    pub(crate) fn resolve(&self, name: &Value) -> Vec<u8> {
        let number = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
        if let Some(path) = name.as_str() {
            return self.files[path].clone();
        }
        if let Some(byte) = name.get("fill") {
            return vec![u8::try_from(byte.as_u64().unwrap()).unwrap(); number(&name["len"])];
        }
        let changes = name["changes"].as_array().unwrap().iter().map(|change| {
            if let Some(at) = change.get("write") {
                Change::Write(number(at), crate::floe::unhex(change["bytes"].as_str().unwrap()))
            } else if let Some(from) = change.get("copy") {
                Change::Copy(number(from), number(&change["to"]), number(&change["len"]))
            } else {
                Change::Resize(number(&change["resize"]))
            }
        });
        File::Changed(self.files[name["base"].as_str().unwrap()].clone(), changes.collect()).bytes()
    }
}

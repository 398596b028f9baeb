//! The folder to seal: which files it may hold, and what must be true of each before it is sealed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use serde::de::IgnoredAny;

use crate::error::Error;
use crate::package::{open_beneath, open_dir};
use crate::reader::read_full;
use crate::role::Role;
use crate::tensors::{MAX_HEADER_LEN, TensorIndex};

/// One file to be sealed, open, with the length it had when it was opened.
pub(crate) struct SourceFile {
    pub(crate) role: Role,
    pub(crate) file: File,
    pub(crate) len: u64,
}

/// A folder whose every entry is a known file, in the order of [`Role::FILES`].
pub(crate) struct Source {
    pub(crate) files: Vec<SourceFile>,
    pub(crate) index: TensorIndex,
}

impl Source {
    /// Opens a model folder. Anything in it that is not one of the known files is refused, not left out.
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        refuse_unknown(dir, "")?;
        let root = open_dir(dir)?;
        let mut files = Vec::new();
        let mut index = None;
        for role in Role::FILES {
            let name = role.file_name();
            if fs::symlink_metadata(dir.join(name)).is_err() {
                if Role::REQUIRED.contains(&role) {
                    return Err(refused(name, "required file is missing"));
                }
                continue;
            }
            let file = open_beneath(&root, name).map_err(|_| refused(name, "not a readable regular file"))?;
            let len = file.metadata().map_err(Error::io("sizing a file"))?.len();
            if len == 0 || len > role.max_len() {
                return Err(refused(name, "empty, or larger than files of its role may be"));
            }
            if role == Role::Weights {
                index = Some(read_index(&file, len)?);
            } else {
                check_text(name, &read_all(name, &file, len)?)?;
            }
            files.push(SourceFile { role, file, len });
        }
        let index = index.ok_or(refused(Role::Weights.file_name(), "required file is missing"))?;
        Ok(Self { files, index })
    }
}

/// Walks the folder and the one known folder inside it; names the first entry that does not belong.
fn refuse_unknown(root: &Path, inside: &str) -> Result<(), Error> {
    for entry in fs::read_dir(root.join(inside)).map_err(Error::io("listing a folder"))? {
        let entry = entry.map_err(Error::io("listing a folder"))?;
        let kind = entry.file_type().map_err(Error::io("listing a folder"))?;
        let name = format!("{inside}{}", entry.file_name().to_string_lossy());
        let known = Role::FILES.iter().any(|role| role.file_name() == name);
        let folder = Role::FILES.iter().any(|role| role.file_name().starts_with(&format!("{name}/")));
        if kind.is_symlink() {
            return Err(refused(&name, "links are not sealed"));
        } else if kind.is_dir() && folder {
            refuse_unknown(root, &format!("{name}/"))?;
        } else if !kind.is_file() || !known {
            return Err(refused(&name, unknown_rule(&name)));
        }
    }
    Ok(())
}

fn unknown_rule(name: &str) -> &'static str {
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
    match extension.unwrap_or_default() {
        "bin" | "pt" | "pth" | "ckpt" | "pkl" | "pickle" | "h5" | "msgpack" => {
            "serialised objects can run code when they are read; convert the weights to safetensors"
        }
        "py" | "so" | "sh" => "code is not sealed",
        _ => "not one of the files that a package may hold",
    }
}

/// Texts must be UTF-8; JSON must be well-formed and must not ask for code from elsewhere.
fn check_text(name: &str, bytes: &[u8]) -> Result<(), Error> {
    std::str::from_utf8(bytes).map_err(|_| refused(name, "not UTF-8"))?;
    if !name.ends_with(".json") {
        return Ok(());
    }
    if bytes.first() == Some(&b'[') {
        let list = serde_json::from_slice::<Vec<IgnoredAny>>(bytes);
        return list.map(drop).map_err(|_| refused(name, "not well-formed JSON"));
    }
    let object: BTreeMap<String, IgnoredAny> =
        serde_json::from_slice(bytes).map_err(|_| refused(name, "not well-formed JSON"))?;
    if object.contains_key("auto_map") {
        return Err(refused(name, "auto_map asks for code that is not in the package"));
    }
    Ok(())
}

fn read_index(file: &File, len: u64) -> Result<TensorIndex, Error> {
    let name = Role::Weights.file_name();
    let mut length = [0; 8];
    read_full(file, &mut length, 0).map_err(Error::io("reading a file"))?;
    let header_len = TensorIndex::header_len_of(&length, len)?.min(MAX_HEADER_LEN);
    let head = read_all(name, file, 8 + header_len)?;
    TensorIndex::parse(&head, len)
}

/// Reads `len` bytes, which the caller has bounded.
fn read_all(name: &str, file: &File, len: u64) -> Result<Vec<u8>, Error> {
    let changed = || refused(name, "changed while it was read");
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| changed())?];
    let read = read_full(file, &mut bytes, 0).map_err(Error::io("reading a file"))?;
    if read < bytes.len() {
        return Err(changed());
    }
    Ok(bytes)
}

pub(crate) fn refused(name: &str, rule: &'static str) -> Error {
    Error::Source { name: name.chars().take(128).collect(), rule }
}

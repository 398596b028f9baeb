//! Model folders of the vectors.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::store::File;

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors");

/// A folder by path.
pub(crate) type Folder = BTreeMap<String, File>;

pub(crate) fn published(path: &str) -> Vec<u8> {
    fs::read(Path::new(VECTORS).join(path)).unwrap()
}

pub(crate) fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    let mut header = header.to_owned();
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

fn folder(files: &[(&str, Vec<u8>)]) -> Folder {
    files.iter().map(|(name, bytes)| ((*name).to_owned(), File::Whole(bytes.clone()))).collect()
}

/// The folder that the reference implementation of model signing signed.
pub(crate) fn small() -> Folder {
    let read = |name: &str| published(&format!("model-signing/model/{name}"));
    let names = ["config.json", "tokenizer.json", "model.safetensors"];
    names.iter().map(|name| ((*name).to_owned(), File::Whole(read(name)))).collect()
}

/// Weights of three segments, the last one short.
pub(crate) fn segments() -> Folder {
    let count = 550_000;
    let mut state = 1_u32;
    let data: Vec<u8> = (0..4 * count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    let header = format!(r#"{{"w":{{"dtype":"F32","shape":[{count}],"data_offsets":[0,{}]}}}}"#, 4 * count);
    let mut folder = small();
    folder.insert("model.safetensors".to_owned(), File::Whole(safetensors(&header, &data)));
    folder
}

/// Two numbered files and an index.
pub(crate) fn sharded() -> Folder {
    let shard = |name: &str, byte: u8| {
        safetensors(&format!(r#"{{"{name}":{{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}}}"#), &[byte; 3])
    };
    let index = r#"{"metadata":{"total_size":6},"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}"#;
    let mut folder = small();
    folder.remove("model.safetensors");
    folder.insert("model-00001-of-00002.safetensors".to_owned(), File::Whole(shard("a", 1)));
    folder.insert("model-00002-of-00002.safetensors".to_owned(), File::Whole(shard("b", 2)));
    folder.insert("model.safetensors.index.json".to_owned(), File::Whole(index.into()));
    folder
}

pub(crate) fn gguf() -> Folder {
    folder(&[("tiny.gguf", published("gguf/tiny.gguf"))])
}

pub(crate) fn gguf_split() -> Folder {
    let names = (1..=3).map(|at| format!("tiny-split-{at:05}-of-00003.gguf"));
    names.map(|name| (name.clone(), File::Whole(published(&format!("gguf/{name}"))))).collect()
}

/// Writes a folder and everything in it.
pub(crate) fn write(folder: &BTreeMap<String, Vec<u8>>, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for (name, bytes) in folder {
        let path = to.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

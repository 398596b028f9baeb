//! The two models of the demonstration.

use anyhow::{Context as _, ensure};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The embedding model, as callers name it.
pub const EMBEDDING: &str = "all-minilm-l6-v2";
/// The chat model, as callers name it.
pub const CHAT: &str = "anchor-chat";
/// The reranker, as callers name it.
pub const RERANKER: &str = "tiny-reranker";

const WEIGHTS: &str = "model.safetensors";

/// The root of the project.
#[must_use]
pub fn project() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).unwrap_or(own).to_owned()
}

/// The chat model that the project made itself.
#[must_use]
pub fn chat() -> PathBuf {
    project().join("tests/models/anchor-chat")
}

/// A folder in `directory` with one of the project's tiny GGUF files alone.
pub fn gguf(directory: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let folder = directory.join(name);
    std::fs::create_dir(&folder)?;
    std::fs::copy(project().join(format!("tests/models/gguf/{name}.gguf")), folder.join("model.gguf"))?;
    Ok(folder)
}

/// A reranker of two layers with random weights.
#[must_use]
pub fn reranker() -> PathBuf {
    project().join("tests/models/tiny-xlm-reranker")
}

/// The chat model again, its weights in two files with an index beside them, as larger models are published.
pub fn chat_in_shards(directory: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir(directory)?;
    for entry in std::fs::read_dir(chat())? {
        let path = entry?.path();
        match path.file_name() {
            Some(name) if name != WEIGHTS => drop(std::fs::copy(&path, directory.join(name))?),
            _ => {}
        }
    }
    let weights = std::fs::read(chat().join(WEIGHTS))?;
    let (length, rest) = weights.split_first_chunk::<8>().context("a header")?;
    let (header, data) = rest.split_at(usize::try_from(u64::from_le_bytes(*length))?);
    let mut tensors: Map<String, Value> = serde_json::from_slice(header)?;
    tensors.remove("__metadata__");
    let (mut index, mut total_size) = (Map::new(), 0);
    let half = tensors.len() / 2;
    for number in 0..2 {
        let file = format!("model-{:05}-of-00002.safetensors", number + 1);
        let (mut named, mut body) = (Map::new(), Vec::new());
        for (name, tensor) in tensors.iter().skip(number * half).take(half + number * tensors.len()) {
            let [from, to]: [usize; 2] = serde_json::from_value(tensor["data_offsets"].clone())?;
            let begin = body.len();
            body.extend_from_slice(data.get(from..to).context("a tensor beyond the data")?);
            let mut tensor = tensor.clone();
            tensor["data_offsets"] = json!([begin, body.len()]);
            named.insert(name.clone(), tensor);
            index.insert(name.clone(), json!(file));
        }
        total_size += body.len();
        let header = serde_json::to_vec(&named)?;
        let length = u64::try_from(header.len())?.to_le_bytes();
        std::fs::write(directory.join(&file), [&length[..], &header, &body].concat())?;
    }
    let index = json!({ "metadata": { "total_size": total_size }, "weight_map": index });
    std::fs::write(directory.join("model.safetensors.index.json"), index.to_string())?;
    Ok(directory.to_owned())
}

/// The embedding model: fetched at a pinned version, checked, kept in `.demo/models`.
pub fn embedding() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("ANCHORHOLD_MINILM") {
        return Ok(path.into());
    }
    let directory = project().join(".demo/models/minilm");
    let script = project().join("tests/models/fetch_minilm.sh");
    let output =
        Command::new("sh").arg(&script).arg(&directory).output().context("running fetch_minilm.sh")?;
    ensure!(output.status.success(), "{}: {}", script.display(), String::from_utf8_lossy(&output.stderr));
    Ok(directory)
}

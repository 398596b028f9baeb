//! The two models of the demonstration.

use anyhow::{Context as _, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The embedding model, as callers name it.
pub const EMBEDDING: &str = "all-minilm-l6-v2";
/// The chat model, as callers name it.
pub const CHAT: &str = "anchor-chat";

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

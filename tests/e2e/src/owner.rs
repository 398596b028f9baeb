//! The owner of the models: seals them and hands their keys to the broker.

use crate::process::Programs;
use anyhow::Context as _;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// An owner with a key of its own.
#[derive(Debug)]
pub struct Owner {
    programs: Programs,
    directory: PathBuf,
    /// The public half of its key, hex.
    pub public_key: String,
}

/// A package that was sealed, and the file with its wrapped key.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// Under which name.
    pub model_id: String,
    /// Under which version.
    pub version: u64,
    /// The package.
    pub package: PathBuf,
    /// The wrapped key, for the broker.
    pub import: PathBuf,
    /// SHA-256 of the manifest, hex.
    pub manifest_digest: String,
    /// Bytes of plaintext in it.
    pub plaintext_bytes: u64,
}

#[derive(Deserialize)]
struct Summary {
    manifest_digest: String,
    plaintext_bytes: u64,
}

impl Owner {
    /// A new owner whose files lie in `directory`.
    pub fn new(programs: &Programs, directory: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let key = directory.join("owner.key");
        let public_key = programs.run("anchorhold", &[&"owner", &"new", &key])?.trim().to_owned();
        Ok(Self { programs: programs.clone(), directory: directory.to_owned(), public_key })
    }

    /// Seals a model folder for the broker with this import key.
    pub fn seal(&self, source: &Path, id: (&str, u64), broker_key: &str) -> anyhow::Result<Sealed> {
        let (model_id, version) = id;
        let name = format!("{}-v{version}", model_id.replace('/', "-"));
        let package = self.directory.join(&name);
        let import = self.directory.join(format!("{name}.import.json"));
        let arguments: [&dyn AsRef<std::ffi::OsStr>; 15] = [
            &"seal",
            &source,
            &"--out",
            &package,
            &"--model-id",
            &model_id,
            &"--version",
            &version.to_string(),
            &"--owner-key",
            &self.directory.join("owner.key"),
            &"--broker-key",
            &broker_key,
            &"--import-out",
            &import,
            &"--json",
        ];
        let summary = self.programs.run("anchorhold", &arguments)?;
        let Summary { manifest_digest, plaintext_bytes } =
            serde_json::from_str(&summary).with_context(|| summary.clone())?;
        Ok(Sealed {
            model_id: model_id.to_owned(),
            version,
            package,
            import,
            manifest_digest,
            plaintext_bytes,
        })
    }
}

//! The owner of the models: seals them and hands their keys to the broker.

use crate::client::now;
use crate::process::Programs;
use anchorhold_key_release::{WeightsKeyImport, WeightsKeyTerms};
use anchorhold_rats::{Ed25519PublicKey, Secret, Sha256Digest, WrappingKey};
use anchorhold_sealed_weights::{OwnerKey, SealOptions, SegmentSize, seal};
use anyhow::{Context as _, anyhow};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The time for which packages that are sealed in this process may be loaded, in seconds.
const DAY_S: u64 = 24 * 60 * 60;

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
    /// The key: wrapped for the broker, or a resource for a KBS.
    pub import: PathBuf,
    /// SHA-256 of the manifest, hex.
    pub manifest_digest: String,
    /// Bytes of plaintext in it.
    pub plaintext_bytes: u64,
}

/// What the command line does not let an owner choose.
#[derive(Debug, Clone, Copy)]
pub struct Chosen {
    /// The weights key, so that a test can look for it where it must not be.
    pub weights_key: [u8; 32],
    /// The segments, so that a small model has several.
    pub segment: SegmentSize,
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
        let import = self.key_file(id, "import");
        self.seal_into(source, id, import.clone(), &[&"--broker-key", &broker_key, &"--import-out", &import])
    }

    /// Seals a model folder for a KBS, whose guests ask again after a minute.
    pub fn seal_for_kbs(&self, source: &Path, id: (&str, u64)) -> anyhow::Result<Sealed> {
        let resource = self.key_file(id, "resource");
        let key: [&dyn AsRef<std::ffi::OsStr>; 4] =
            [&"--dangerous-kbs-resource", &resource, &"--kbs-lease", &"60"];
        self.seal_into(source, id, resource.clone(), &key)
    }

    fn key_file(&self, (model_id, version): (&str, u64), form: &str) -> PathBuf {
        self.directory.join(format!("{}-v{version}.{form}.json", model_id.replace('/', "-")))
    }

    fn seal_into(
        &self,
        source: &Path,
        id: (&str, u64),
        import: PathBuf,
        key: &[&dyn AsRef<std::ffi::OsStr>],
    ) -> anyhow::Result<Sealed> {
        let (model_id, version) = id;
        let package = self.directory.join(format!("{}-v{version}", model_id.replace('/', "-")));
        let (version_text, owner_key) = (version.to_string(), self.directory.join("owner.key"));
        let arguments: [&dyn AsRef<std::ffi::OsStr>; 11] = [
            &"seal",
            &source,
            &"--out",
            &package,
            &"--model-id",
            &model_id,
            &"--version",
            &version_text,
            &"--owner-key",
            &owner_key,
            &"--json",
        ];
        let summary = self.programs.run("anchorhold", &[&arguments, key].concat())?;
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

    /// The same as [`seal`](Self::seal) in this process, with a weights key and segments of the caller's choice.
    pub fn seal_with(
        &self,
        source: &Path,
        id: (&str, u64),
        broker_key: &str,
        chosen: &Chosen,
    ) -> anyhow::Result<Sealed> {
        let (model_id, version) = id;
        let name = format!("{}-v{version}-chosen", model_id.replace('/', "-"));
        let package = self.directory.join(&name);
        let import = self.directory.join(format!("{name}.import.json"));
        let key = OwnerKey::from_pkcs8(&std::fs::read(self.directory.join("owner.key"))?)?;
        let created_s = u64::try_from(now().unix_seconds())?;
        let options = SealOptions {
            model_id,
            version,
            created_s,
            not_after_s: created_s + DAY_S,
            previous: None,
            segment: chosen.segment,
        };
        let summary = seal(source, &package, &options, &key, &chosen.weights_key)?;
        let terms = WeightsKeyTerms {
            model_id: model_id.parse()?,
            version,
            kid: summary.kid.to_string(),
            manifest_digest: Sha256Digest::new(summary.manifest_digest),
            owner_key: Ed25519PublicKey::new(key.public_key()),
        };
        let broker_key: WrappingKey = broker_key.parse().map_err(|e| anyhow!("import key: {e}"))?;
        let weights_key = Secret::take(&mut { chosen.weights_key });
        std::fs::write(&import, WeightsKeyImport::wrap(&weights_key, terms, &broker_key)?.to_json())?;
        Ok(Sealed {
            model_id: model_id.to_owned(),
            version,
            package,
            import,
            manifest_digest: Sha256Digest::new(summary.manifest_digest).to_string(),
            plaintext_bytes: summary.plaintext_bytes,
        })
    }
}

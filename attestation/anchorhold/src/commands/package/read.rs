//! Packages, manifests and weights keys from files, and how their refusals end the program.

use crate::exit::{Exit, Failure};
use crate::files;
use anchorhold_rats::{Ed25519PublicKey, Timestamp};
use anchorhold_sealed_weights::{
    Error, MAX_MANIFEST_LEN, Manifest, PackageFiles, VerifiedManifest, WeightsKey, read_manifest,
};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// 64 digits and a line end.
const MAX_KEY_BYTES: usize = 66;

/// Where a package lies and whose it is.
#[derive(clap::Args)]
pub(crate) struct Package {
    /// The package
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// The owner's public key, in hex
    #[arg(long, value_name = "HEX")]
    pub(crate) owner_key: Ed25519PublicKey,
    /// The weights key, 64 hex digits in a file that nobody else may read; owners of a broker have no such file
    #[arg(long, value_name = "FILE")]
    pub(crate) weights_key: Option<PathBuf>,
}

impl Package {
    /// The verified manifest.
    pub(crate) fn manifest(&self) -> Result<VerifiedManifest, Failure> {
        let bytes = read_manifest(&self.dir).map_err(|error| {
            let failure = refused_in(&self.dir, &error);
            if self.dir.join(".fetch").is_dir() {
                failure.hint("a fetch into it has not ended; the same `package fetch` goes on where it was")
            } else {
                failure
            }
        })?;
        Manifest::verify(&bytes, self.owner_key.as_bytes()).map_err(|error| refused(&error))
    }

    /// The open files of the package.
    pub(crate) fn files(&self, manifest: &VerifiedManifest) -> Result<PackageFiles, Failure> {
        PackageFiles::open(&self.dir, manifest).map_err(|error| refused_in(&self.dir, &error))
    }

    /// The weights key of the manifest, if there is a file with one.
    pub(crate) fn key(&self, manifest: &VerifiedManifest) -> Result<Option<WeightsKey>, Failure> {
        let Some(path) = &self.weights_key else { return Ok(None) };
        let key = read_weights_key(path)?;
        WeightsKey::open(manifest, &key).map(Some).map_err(|error| refused(&error))
    }
}

/// Reads a weights key that nobody else may read.
pub(crate) fn read_weights_key(path: &Path) -> Result<Zeroizing<[u8; 32]>, Failure> {
    let bytes = files::read_private(path, MAX_KEY_BYTES)?;
    let digits = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let mut key = Zeroizing::new([0; 32]);
    let (pairs, rest) = digits.as_chunks::<2>();
    let read = pairs.iter().zip(key.iter_mut()).map(|(pair, byte)| {
        let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
        *byte = u8::try_from(high? << 4 | low?).ok()?;
        Some(())
    });
    let whole = read.fold(pairs.len() == 32 && rest.is_empty(), |whole, read| whole && read.is_some());
    if whole { Ok(key) } else { Err(Failure::other(format!("{} is not 64 hex digits", path.display()))) }
}

/// Reads and verifies the manifest of another package of the same owner: its folder, or the file alone.
pub(crate) fn read_previous(path: &Path, owner: &[u8; 32]) -> Result<VerifiedManifest, Failure> {
    let bytes = if path.is_dir() {
        read_manifest(path).map_err(|error| refused_in(path, &error))?
    } else {
        files::read(path, MAX_MANIFEST_LEN)?
    };
    Manifest::verify(&bytes, owner)
        .map_err(|error| Failure::new(exit(&error), format!("{}: {error}", path.display())))
}

/// A refusal of a package: not authentic, or authentic and not the one that is asked for.
pub(crate) fn refused(error: &Error) -> Failure {
    let text = match error {
        Error::Expired { not_after_s, at_s } => {
            format!("manifest is valid until {}, the time is {}", time(*not_after_s), time(*at_s))
        }
        error => error.to_string(),
    };
    Failure::new(exit(error), format!("{text} [{}]", error.code()))
}

/// The same of a package in this folder, which the system's errors do not name.
pub(crate) fn refused_in(dir: &Path, error: &Error) -> Failure {
    match error {
        Error::Io { .. } => {
            Failure::new(exit(error), format!("{}: {error} [{}]", dir.display(), error.code()))
        }
        error => refused(error),
    }
}

/// Seconds of the Unix epoch, for people.
pub(super) fn time(seconds: u64) -> Timestamp {
    Timestamp::from_unix_seconds(i64::try_from(seconds).unwrap_or(i64::MAX))
}

/// How a command ends that was refused a package so.
pub(super) fn exit(error: &Error) -> Exit {
    match error.stage() {
        "version" | "expired" => Exit::NotAcceptable,
        "mixed" if matches!(error.code(), "mixed_not_released" | "mixed_other_predecessor") => {
            Exit::NotAcceptable
        }
        "io" | "wrong_key" | "options" | "source" | "destination" | "key" => Exit::Other,
        _ => Exit::NotAuthentic,
    }
}

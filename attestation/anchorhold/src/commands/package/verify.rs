//! `anchorhold package verify`.

use super::read::{Package, read_previous, refused};
use crate::exit::{Exit, Failure};
use crate::output::{self, Format, Meter, line, remark};
use crate::trust;
use anchorhold_rats::{Sha256Digest, Timestamp};
use anchorhold_sealed_weights::{Effort, Error, SealedModel, VerifiedManifest};
use serde::Serialize;
use std::num::NonZeroUsize;
use std::path::PathBuf;

pub(crate) const EXAMPLE: &str = "\
Examples:
  anchorhold package verify ./sealed --owner-key $OWNER_KEY
  anchorhold package verify ./sealed --owner-key $OWNER_KEY --manifest $DIGEST --previous ./sealed-v6

Exit code 3 says that the package is not what its owner signed, 4 that it is and is not the one asked for.";

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    package: Package,
    /// The manifest digest that it must have
    #[arg(long, value_name = "HEX")]
    manifest: Option<Sha256Digest>,
    /// The least version that will do
    #[arg(long, value_name = "N", default_value_t = 1)]
    version_min: u64,
    /// The package or manifest that it must be the next one after
    #[arg(long, value_name = "PATH")]
    previous: Option<PathBuf>,
    /// The time at which it must be valid [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// Threads [default: one for each core]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    #[command(flatten)]
    format: Format,
}

#[derive(Serialize)]
struct Verified {
    model_id: String,
    version: u64,
    manifest_digest: Sha256Digest,
    /// What was looked at.
    checked: &'static str,
    objects: usize,
    bytes: u64,
    /// Whether files carry an OpenSSF signature; known only with the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    model_signature: Option<bool>,
}

pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let manifest = args.package.manifest()?;
    require(args, &manifest)?;
    let key = args.package.key(&manifest)?;
    let files = args.package.files(&manifest)?;
    let meter = Meter::new("verified");
    let progress = |progress| meter.show(progress);
    let effort = Effort { threads: output::threads(args.threads), progress: Some(&progress) };
    let mut signature = None;
    let checked = match key {
        None => files.verify_ciphertext(&manifest, &effort).map(|()| "ciphertext"),
        Some(key) => SealedModel::open(&key, files).and_then(|model| {
            signature = Some(model.card().model_signature().is_some());
            model.verify(&effort).map(|()| "everything")
        }),
    };
    meter.end();
    let checked = checked.map_err(|error| refused(&error))?;
    if checked == "ciphertext" {
        remark(
            "without the weights key: these are the bytes that the owner signed; what they hold was not looked at",
        );
    }
    let objects = manifest.objects();
    let verified = Verified {
        model_id: manifest.model_id().to_owned(),
        version: manifest.version(),
        manifest_digest: Sha256Digest::new(*manifest.digest()),
        checked,
        objects: objects.len(),
        bytes: objects.iter().map(|object| object.ciphertext_len()).sum(),
        model_signature: signature,
    };
    report(args, &verified)?;
    Ok(Exit::Ok)
}

/// What the manifest must be, beyond being the owner's.
fn require(args: &Args, manifest: &VerifiedManifest) -> Result<(), Failure> {
    let at = match args.at {
        Some(at) => at,
        None => trust::now()?,
    };
    let previous = args.previous.as_ref();
    let previous = previous.map(|path| read_previous(path, args.package.owner_key.as_bytes())).transpose()?;
    let check = || -> Result<(), Error> {
        match args.manifest {
            Some(digest) => manifest.require(digest.as_bytes(), args.version_min)?,
            None => manifest.require_version(args.version_min)?,
        }
        manifest.require_valid_at(u64::try_from(at.unix_seconds()).unwrap_or(0))?;
        previous.as_ref().map_or(Ok(()), |previous| manifest.require_successor_of(previous))
    };
    check().map_err(|error| refused(&error))
}

fn report(args: &Args, verified: &Verified) -> Result<(), Failure> {
    if args.format.json {
        return output::json(verified);
    }
    let mut out = String::new();
    line(&mut out, "model", &format!("{} version {}", verified.model_id, verified.version));
    line(&mut out, "manifest", &verified.manifest_digest.to_string());
    line(
        &mut out,
        "verified",
        &format!("{}, {} bytes of {} objects", verified.checked, verified.bytes, verified.objects),
    );
    if let Some(signature) = verified.model_signature {
        line(
            &mut out,
            "signature",
            if signature { "of the files, by their signer" } else { "none of the files" },
        );
    }
    output::text(&out)
}

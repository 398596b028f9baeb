//! `anchorhold seal`: a model folder becomes a sealed package, and its key a file that one broker can read.

use super::owner;
use crate::exit::{Exit, Failure};
use crate::output::{self, Format, line, remark};
use crate::{files, trust};
use anchorhold_key_release::{ModelId, WeightsKeyImport, WeightsKeyTerms};
use anchorhold_rats::{Ed25519PublicKey, Secret, Sha256Digest, Timestamp, WrappingKey};
use anchorhold_sealed_weights::{SealOptions, SealSummary, SegmentSize, seal};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;

pub(crate) const EXAMPLE: &str = "\
Example:
  anchorhold seal ./model --out ./sealed --model-id acme/chat --version 1 \\
      --owner-key owner.key --broker-key $BROKER_KEY --import-out weights-key.json";

const YEAR_S: i64 = 365 * 86_400;

/// Encrypt and sign a model folder, and wrap its key for a key broker
///
/// The key is made here, used once, and leaves only in the import file, which nobody but the broker can read. Without
/// that file the package cannot be opened again.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The model folder: config, tokenizer, safetensors
    dir: PathBuf,
    /// The package to make; must not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The model's name, such as acme/chat
    #[arg(long, value_name = "ID")]
    model_id: ModelId,
    /// Higher than that of every earlier package of this model
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    version: u64,
    /// The owner's key, from `anchorhold owner new`
    #[arg(long, value_name = "FILE")]
    owner_key: PathBuf,
    /// The broker's import key, as its `init` prints it
    #[arg(long, value_name = "HEX")]
    broker_key: WrappingKey,
    /// The wrapped key to write; must not exist
    #[arg(long, value_name = "FILE")]
    import_out: PathBuf,
    /// When the package may last be loaded [default: in 365 days]
    #[arg(long, value_name = "TIME")]
    not_after: Option<Timestamp>,
    /// The manifest digest of the version before this one
    #[arg(long, value_name = "HEX")]
    previous: Option<Sha256Digest>,
    #[command(flatten)]
    format: Format,
}

#[derive(Serialize)]
struct Sealed<'a> {
    model_id: &'a str,
    version: u64,
    manifest_digest: Sha256Digest,
    kid: String,
    owner_key: Ed25519PublicKey,
    objects: usize,
    plaintext_bytes: u64,
    ciphertext_bytes: u64,
}

pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let owner = owner::read(&args.owner_key)?;
    let weights_key = Secret::<32>::random().map_err(Failure::other)?;
    let created = trust::now()?;
    let not_after = args.not_after.unwrap_or_else(|| created.plus_seconds(YEAR_S));
    let options = SealOptions {
        model_id: args.model_id.as_str(),
        version: args.version,
        created_s: seconds(created),
        not_after_s: seconds(not_after),
        previous: args.previous.map(|digest| *digest.as_bytes()),
        segment: SegmentSize::default(),
    };
    // The file for the key is made first: a package whose key cannot be kept is of no use.
    let import_file = files::create_private(&args.import_out)?;
    let begun = Instant::now();
    remark(&format!("sealing {} as {} version {}", args.dir.display(), options.model_id, options.version));
    let made = seal(&args.dir, &args.out, &options, &owner, weights_key.expose()).map_err(Failure::other);
    let kept = made.and_then(|summary| {
        let terms = terms(args, &summary, &owner);
        let import = WeightsKeyImport::wrap(&weights_key, terms, &args.broker_key).map_err(Failure::other)?;
        files::write(&import_file, &args.import_out, &import.to_json())?;
        Ok(summary)
    });
    let summary = kept.inspect_err(|_| {
        // The empty file would stand in the way of the next try; if it stays, that try says so.
        let _ = std::fs::remove_file(&args.import_out);
    })?;
    remark(&format!("sealed {} bytes in {:.1} s", summary.plaintext_bytes, begun.elapsed().as_secs_f64()));
    report(args, &summary, Ed25519PublicKey::new(owner.public_key()))?;
    Ok(Exit::Ok)
}

fn terms(args: &Args, summary: &SealSummary, owner: &anchorhold_sealed_weights::OwnerKey) -> WeightsKeyTerms {
    WeightsKeyTerms {
        model_id: args.model_id.clone(),
        version: args.version,
        kid: summary.kid.to_string(),
        manifest_digest: Sha256Digest::new(summary.manifest_digest),
        owner_key: Ed25519PublicKey::new(owner.public_key()),
    }
}

fn seconds(at: Timestamp) -> u64 {
    u64::try_from(at.unix_seconds()).unwrap_or(0)
}

fn report(args: &Args, summary: &SealSummary, owner_key: Ed25519PublicKey) -> Result<(), Failure> {
    let sealed = Sealed {
        model_id: args.model_id.as_str(),
        version: args.version,
        manifest_digest: Sha256Digest::new(summary.manifest_digest),
        kid: summary.kid.to_string(),
        owner_key,
        objects: summary.objects,
        plaintext_bytes: summary.plaintext_bytes,
        ciphertext_bytes: summary.ciphertext_bytes,
    };
    if args.format.json {
        return output::json(&sealed);
    }
    let mut out = String::new();
    line(&mut out, "model", &format!("{} version {}", sealed.model_id, sealed.version));
    line(&mut out, "package", &args.out.display().to_string());
    line(&mut out, "manifest", &sealed.manifest_digest.to_string());
    line(&mut out, "key id", &sealed.kid);
    line(&mut out, "owner key", &sealed.owner_key.to_string());
    line(&mut out, "import file", &args.import_out.display().to_string());
    output::text(&out)
}

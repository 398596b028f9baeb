//! `anchorhold seal`: a model folder becomes a sealed package, and its key a file that one broker can read, or one for a KBS.

use super::owner;
use crate::exit::{Exit, Failure};
use crate::output::{self, Format, line, remark};
use crate::{files, trust};
use anchorhold_kbs::{WeightsKeyResource, WeightsKeyResourceTerms};
use anchorhold_key_release::{ModelId, WeightsKeyImport, WeightsKeyTerms};
use anchorhold_rats::{Ed25519PublicKey, Secret, Sha256Digest, Timestamp, WrappingKey};
use anchorhold_sealed_weights::{SealOptions, SealSummary, SegmentSize, seal};
use serde::Serialize;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

pub(crate) const EXAMPLE: &str = "\
Example:
  anchorhold seal ./model --out ./sealed --model-id acme/chat --version 1 \\
      --owner-key owner.key --broker-key $BROKER_KEY --import-out weights-key.json";

const YEAR_S: i64 = 365 * 86_400;
const HOUR_S: u32 = 3600;

/// Encrypt and sign a model folder, and wrap its key for a key broker
///
/// The key is made here, used once, and leaves only in the import file, which nobody but the broker can read. Without
/// that file the package cannot be opened again. A KBS of Confidential Containers takes keys in the clear alone: for one,
/// and only then, the key is written as it is.
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
    #[arg(
        long,
        value_name = "HEX",
        requires = "import_out",
        required_unless_present = "dangerous_kbs_resource"
    )]
    broker_key: Option<WrappingKey>,
    /// The wrapped key to write; must not exist
    #[arg(long, value_name = "FILE", requires = "broker_key")]
    import_out: Option<PathBuf>,
    /// A resource with the key in the clear to write, for a KBS; must not exist. Whoever reads it reads the weights
    #[arg(long, value_name = "FILE")]
    dangerous_kbs_resource: Option<PathBuf>,
    /// For how long a guest may use the key of the resource before it attests again
    #[arg(long, value_name = "SECONDS", default_value_t = HOUR_S, requires = "dangerous_kbs_resource",
          value_parser = clap::value_parser!(u32).range(60..=86_400))]
    kbs_lease: u32,
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
    // The files for the key are made first: a package whose key cannot be kept is of no use.
    let kept = Kept::create(args)?;
    let begun = Instant::now();
    remark(&format!("sealing {} as {} version {}", args.dir.display(), options.model_id, options.version));
    let made = seal(&args.dir, &args.out, &options, &owner, weights_key.expose()).map_err(Failure::other);
    let written = made.and_then(|summary| {
        kept.write(terms(args, &summary, &owner), weights_key, args)?;
        Ok(summary)
    });
    let summary = written.inspect_err(|_| kept.remove())?;
    remark(&format!("sealed {} bytes in {:.1} s", summary.plaintext_bytes, begun.elapsed().as_secs_f64()));
    report(args, &summary, Ed25519PublicKey::new(owner.public_key()))?;
    Ok(Exit::Ok)
}

/// The new files that the key goes to.
struct Kept<'a>(Vec<(Form<'a>, File, &'a Path)>);

/// How the key is in one of them.
enum Form<'a> {
    Wrapped(&'a WrappingKey),
    Clear,
}

impl<'a> Kept<'a> {
    fn create(args: &'a Args) -> Result<Self, Failure> {
        let wrapped = args.broker_key.as_ref().zip(args.import_out.as_deref());
        let wrapped = wrapped.map(|(key, path)| (Form::Wrapped(key), path));
        let clear = args.dangerous_kbs_resource.as_deref().map(|path| (Form::Clear, path));
        let mut kept = Self(Vec::new());
        for (form, path) in wrapped.into_iter().chain(clear) {
            let file = files::create_private(path).inspect_err(|_| kept.remove())?;
            kept.0.push((form, file, path));
        }
        Ok(kept)
    }

    fn write(&self, terms: WeightsKeyTerms, weights_key: Secret<32>, args: &Args) -> Result<(), Failure> {
        let resource = WeightsKeyResource {
            terms: WeightsKeyResourceTerms {
                model_id: terms.model_id.as_str().to_owned(),
                version: terms.version,
                kid: terms.kid.clone(),
                manifest_digest: terms.manifest_digest,
                owner_key: terms.owner_key,
                lease_s: args.kbs_lease,
            },
            weights_key,
        };
        for (form, file, path) in &self.0 {
            match form {
                Form::Wrapped(key) => {
                    let import = WeightsKeyImport::wrap(&resource.weights_key, terms.clone(), key);
                    files::write(file, path, &import.map_err(Failure::other)?.to_json())?;
                }
                Form::Clear => files::write(file, path, &resource.to_json())?,
            }
        }
        Ok(())
    }

    /// Empty files would stand in the way of the next try; if one stays, that try says so.
    fn remove(&self) {
        for (.., path) in &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
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
    for (name, path) in [("import file", &args.import_out), ("resource", &args.dangerous_kbs_resource)] {
        if let Some(path) = path {
            line(&mut out, name, &path.display().to_string());
        }
    }
    output::text(&out)
}

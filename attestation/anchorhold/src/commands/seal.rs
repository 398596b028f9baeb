//! `anchorhold seal`: a model folder becomes a sealed package, and its key a file that one broker can read, or one for a KBS.

use super::owner;
use super::package::{read_previous, read_weights_key};
use crate::exit::{Exit, Failure};
use crate::output::{self, Format, Meter, line, remark};
use crate::{files, trust};
use anchorhold_kbs::{WeightsKeyResource, WeightsKeyResourceTerms};
use anchorhold_key_release::{ModelId, WeightsKeyImport, WeightsKeyTerms};
use anchorhold_rats::{
    Ed25519PublicKey, ParseWrappingKeyError, Secret, Sha256Digest, Timestamp, WrappingKey,
};
use anchorhold_sealed_weights::{
    Effort, Error, MAX_MODEL_SIGNATURE_LEN, ModelSignature, OwnerKey, Padding, SealOptions, SealSummary,
    SegmentSize, SignerKey, Suite, seal,
};
use serde::Serialize;
use std::fs::File;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Instant;

pub(crate) const EXAMPLE: &str = "\
Example:
  anchorhold seal ./model --out ./sealed --model-id acme/chat --version 1 \\
      --owner-key owner.key --broker-key $BROKER_KEY --import-out weights-key.json

The same folder, options, weights key and owner's key give the same bytes. To make a package again, give --created and
--weights-key as they were.";

const YEAR_S: i64 = 365 * 86_400;
const HOUR_S: u32 = 3600;
const MAX_PEM_BYTES: usize = 4096;

/// Encrypt and sign a model folder, and wrap its key for a key broker
///
/// The key is made here, used once, and leaves only in the import file, which nobody but the broker can read. Without
/// that file the package cannot be opened again. A KBS of Confidential Containers takes keys in the clear alone: for one,
/// and only then, the key is written as it is.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The model folder: config, tokenizer and safetensors, or GGUF
    dir: PathBuf,
    /// The package to make; must not exist. What a killed run left beside it, `.NAME.*.partial`, is removed
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
    /// The broker's import key, as its `init` prints it, or @ and the file that it is in
    #[arg(
        long,
        value_name = "KEY|@FILE",
        requires = "import_out",
        required_unless_present = "dangerous_kbs_resource"
    )]
    broker_key: Option<BrokerKey>,
    /// The wrapped key to write; must not exist, or be the empty file that a killed run left
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
    /// The package or manifest of the version before this one; must be of the same owner and model
    #[arg(long, value_name = "PATH")]
    previous: Option<PathBuf>,
    /// The hash of the segments: sha256, or blake3, which loads faster
    #[arg(long, value_name = "HASH", default_value = "sha256", value_parser = suite)]
    suite: Suite,
    /// Hide the number, roles and sizes of the files: none, padme (at most 12 % more bytes) or power-of-two
    #[arg(long, value_name = "HOW", default_value = "none", value_parser = padding)]
    padding: Padding,
    /// An OpenSSF signature over the folder, which is checked, carried in the package, and checked at every load
    #[arg(long, value_name = "FILE", requires = "model_signer")]
    model_signature: Option<PathBuf>,
    /// The public key of that signature, in PEM: ECDSA P-256, P-384 or Ed25519. Certificates are not looked at
    #[arg(long, value_name = "FILE", requires = "model_signature")]
    model_signer: Option<PathBuf>,
    /// When the package says it was made [default: now]
    #[arg(long, value_name = "TIME")]
    created: Option<Timestamp>,
    /// Take this weights key, 64 hex digits in a file that nobody else may read, instead of a new one
    #[arg(long, value_name = "FILE")]
    weights_key: Option<PathBuf>,
    /// Threads [default: one for each core]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
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
    suite: &'static str,
    padding: &'static str,
    files: usize,
    objects: usize,
    plaintext_bytes: u64,
    ciphertext_bytes: u64,
}

/// Where the broker's import key is: one of X-Wing is long for a command line.
#[derive(Debug, Clone)]
pub(crate) enum BrokerKey {
    Stated(WrappingKey),
    InFile(PathBuf),
}

impl FromStr for BrokerKey {
    type Err = ParseWrappingKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix('@') {
            Some(path) => Ok(Self::InFile(path.into())),
            None => text.parse().map(Self::Stated),
        }
    }
}

impl BrokerKey {
    fn read(&self) -> Result<WrappingKey, Failure> {
        match self {
            Self::Stated(key) => Ok(key.clone()),
            Self::InFile(path) => {
                let text = files::read_text(path, MAX_PEM_BYTES)?;
                let read = text.trim_ascii_end().parse();
                read.map_err(|error| Failure::other(format!("{}: {error}", path.display())))
            }
        }
    }
}

fn suite(text: &str) -> Result<Suite, &'static str> {
    match text {
        "sha256" => Ok(Suite::Sha256),
        "blake3" => Ok(Suite::Blake3),
        _ => Err("wanted sha256 or blake3"),
    }
}

fn padding(text: &str) -> Result<Padding, &'static str> {
    let all = [Padding::None, Padding::Padme, Padding::PowerOfTwo];
    all.into_iter().find(|padding| padding.as_str() == text).ok_or("wanted none, padme or power-of-two")
}

pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let owner = owner::read(&args.owner_key)?;
    let weights_key = match &args.weights_key {
        Some(path) => Secret::take(&mut *read_weights_key(path)?),
        None => Secret::<32>::random().map_err(Failure::other)?,
    };
    let created = args.created.map_or_else(trust::now, Ok)?;
    let not_after = args.not_after.unwrap_or_else(|| created.plus_seconds(YEAR_S));
    let previous = args.previous.as_ref().map(|path| read_previous(path, &owner.public_key())).transpose()?;
    let model_signature = model_signature(args)?;
    let options = SealOptions {
        model_id: args.model_id.as_str(),
        version: args.version,
        created_s: seconds(created),
        not_after_s: seconds(not_after),
        previous: previous.as_ref(),
        segment: SegmentSize::default(),
        suite: args.suite,
        padding: args.padding,
        model_signature: model_signature.as_ref(),
    };
    // The files for the key are made first: a package whose key cannot be kept is of no use.
    let broker_key = args.broker_key.as_ref().map(BrokerKey::read).transpose()?;
    let kept = Kept::create(args, broker_key.as_ref())?;
    let begun = Instant::now();
    remark(&format!("sealing {} as {} version {}", args.dir.display(), options.model_id, options.version));
    let made = seal_shown(args, &options, &owner, &weights_key);
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
    fn create(args: &'a Args, broker_key: Option<&'a WrappingKey>) -> Result<Self, Failure> {
        let wrapped = broker_key.zip(args.import_out.as_deref());
        let wrapped = wrapped.map(|(key, path)| (Form::Wrapped(key), path));
        let clear = args.dangerous_kbs_resource.as_deref().map(|path| (Form::Clear, path));
        let mut kept = Self(Vec::new());
        for (form, path) in wrapped.into_iter().chain(clear) {
            let file = files::create_or_take_over_private(path).inspect_err(|_| kept.remove())?;
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

    /// An empty file that stays all the same is taken over by the next try.
    fn remove(&self) {
        for (.., path) in &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn seal_shown(
    args: &Args,
    options: &SealOptions<'_>,
    owner: &OwnerKey,
    weights_key: &Secret<32>,
) -> Result<SealSummary, Failure> {
    let meter = Meter::new("sealed");
    let progress = |progress| meter.show(progress);
    let effort = Effort { threads: output::threads(args.threads), progress: Some(&progress) };
    let made = seal(&args.dir, &args.out, options, owner, weights_key.expose(), &effort);
    meter.end();
    made.map_err(|error| match error {
        Error::Io { .. } => {
            Failure::other(format!("sealing {} into {}: {error}", args.dir.display(), args.out.display()))
        }
        error if error.code() == "options_output_exists" => {
            Failure::other(format!("{} exists already", args.out.display()))
                .hint("a package is never overwritten; name a new folder with --out")
        }
        error => Failure::other(error),
    })
}

/// The signature over the folder, verified under the key that the owner names.
fn model_signature(args: &Args) -> Result<Option<ModelSignature>, Failure> {
    let (Some(file), Some(signer)) = (&args.model_signature, &args.model_signer) else { return Ok(None) };
    let in_file =
        |path: &Path, error: &dyn std::fmt::Display| Failure::other(format!("{}: {error}", path.display()));
    let pem = files::read_text(signer, MAX_PEM_BYTES)?;
    let signer_key = SignerKey::from_pem(&pem).map_err(|error| in_file(signer, &error))?;
    let bytes = files::read(file, MAX_MODEL_SIGNATURE_LEN)?;
    ModelSignature::verify(&bytes, &signer_key).map(Some).map_err(|error| in_file(file, &error))
}

fn terms(args: &Args, summary: &SealSummary, owner: &OwnerKey) -> WeightsKeyTerms {
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
        suite: args.suite.as_str(),
        padding: args.padding.as_str(),
        files: summary.files,
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

//! `anchorhold package fetch`: a sealed package out of a store, verified on the way.

use super::read;
use crate::exit::{Exit, Failure};
use crate::files;
use crate::output::{self, Format, line, remark};
use anchorhold_channel::tls;
use anchorhold_rats::{Ed25519PublicKey, Sha256Digest};
use anchorhold_weights_store::{
    Addressing, Error, Fault, FetchedPackage, Folder, Identity, Limits, Order, Pin, PlainHttp, Progress,
    Recheck, S3Credentials, S3Options, Store, StoreOptions, StoreUrl, Target, Trust, fetch,
};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub(crate) const EXAMPLE: &str = "\
Examples:
  anchorhold package fetch s3://acme-models/chat/v7 --out ./chat-v7 --owner-key $OWNER --manifest-digest $DIGEST
  anchorhold package fetch https://models.example/chat/v7 --out ./chat-v7 --owner-key $OWNER

The access key of an S3 store is read from --credentials or from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and
AWS_SESSION_TOKEN. A fetch that ended early goes on where it was when it is started again.";

/// Certificates of authorities, and the file of an access key, are at most this long.
const MAX_FILE_BYTES: usize = 1024 * 1024;
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Fetch a sealed package from a store, every byte checked against the owner's signature
///
/// Needs no key of the model: what is fetched stays encrypted.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// s3://bucket/prefix, https://host/path, or file:///path
    url: StoreUrl,
    /// The folder to fill: a new or empty one, or one with an unfinished fetch or this very package
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The key with which the model's owner signs, in hex
    #[arg(long, value_name = "HEX")]
    owner_key: Ed25519PublicKey,
    /// The manifest's digest, in hex; without it the store chooses among all that the owner signed
    #[arg(long, value_name = "HEX")]
    manifest_digest: Option<Sha256Digest>,
    /// The lowest version that will do
    #[arg(long, value_name = "N", default_value_t = 1)]
    version_min: u64,
    /// Verify again what an earlier fetch left, and fetch what is not as signed
    #[arg(long)]
    recheck: bool,
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    format: Format,
}

/// How the store is spoken to.
#[derive(clap::Args)]
struct Access {
    /// The S3 access key, a file as the AWS tools write it, mode 600
    #[arg(long, value_name = "FILE", conflicts_with_all = ["machine_role", "anonymous"])]
    credentials: Option<PathBuf>,
    /// Use the role that the cloud gives this machine (IMDSv2)
    #[arg(long, conflicts_with = "anonymous")]
    machine_role: bool,
    /// Do not sign requests, whatever the environment holds
    #[arg(long)]
    anonymous: bool,
    /// The S3 region
    #[arg(long, value_name = "NAME", default_value = "us-east-1")]
    region: String,
    /// The S3 store's address when it is not Amazon's, such as https://s3.example:9000
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// The bucket's name stands in front of the store's host name
    #[arg(long)]
    virtual_host: bool,
    /// Trust these authorities instead of the public ones, PEM
    #[arg(long, value_name = "FILE")]
    authorities: Option<PathBuf>,
    /// Allow a store without TLS: others can then see what is fetched
    #[arg(long)]
    dangerous_plain_http: bool,
    /// Requests at one time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=16))]
    in_flight: u8,
    /// MiB of one request
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u64).range(16..=64))]
    range_mib: u64,
    /// Seconds for the whole fetch
    #[arg(long, value_name = "N", default_value_t = 4 * 3600, value_parser = clap::value_parser!(u64).range(1..))]
    total_s: u64,
}

#[derive(Serialize)]
struct Fetched<'a> {
    model_id: &'a str,
    version: u64,
    manifest_digest: Sha256Digest,
    bytes: u64,
    fetched_bytes: u64,
    reused_bytes: u64,
    requests: u64,
    seconds: f64,
}

pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let limits = Limits {
        in_flight: args.access.in_flight.into(),
        range_len: args.access.range_mib << 20,
        total: Duration::from_secs(args.access.total_s),
        ..Limits::default()
    };
    let min_version = args.version_min;
    let pin = match args.manifest_digest {
        Some(digest) => Pin::Release { digest: *digest.as_bytes(), min_version },
        None => Pin::AnyOfOwner { min_version },
    };
    let order = Order {
        owner_key: args.owner_key.as_bytes(),
        pin,
        recheck: if args.recheck { Recheck::Everything } else { Recheck::Nothing },
        limits: &limits,
    };
    let store = Store::open(&args.url, &args.access.options(&args.url)?, &limits)
        .map_err(|error| failed(&error, Came::Nothing))?;
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::other)?;
    let (begun, last, any) = (Instant::now(), Mutex::new(None), AtomicBool::new(false));
    let report_to = |progress: Progress| {
        any.fetch_or(progress.done > 0, Ordering::Relaxed);
        tell(progress, &last);
    };
    let fetching = fetch(&store, &order, Target::Folder(&args.out), &report_to);
    let ended = runtime.block_on(fetching);
    // A name that is still being looked up, or a disk that does not answer, is not waited for.
    runtime.shutdown_background();
    let came = if any.load(Ordering::Relaxed) { Came::Some } else { Came::Nothing };
    let package = ended.map_err(|error| failed(&error, came))?;
    // Without its notes the folder is the package and nothing else; a folder that keeps them is one all the same.
    let _ = Folder::open(&args.out).and_then(|folder| folder.remove_notes());
    report(args, &package, begun.elapsed().as_secs_f64())?;
    Ok(Exit::Ok)
}

impl Access {
    fn options(&self, url: &StoreUrl) -> Result<StoreOptions, Failure> {
        let trust = match &self.authorities {
            None => Trust::Public,
            Some(path) => {
                let pem = files::read(path, MAX_FILE_BYTES)?;
                let certificates = tls::certificates_from_pem(&pem);
                let about = |error| Failure::other(format!("{}: {error}", path.display()));
                Trust::Only(certificates.map_err(about)?)
            }
        };
        let plain = self.dangerous_plain_http;
        let addressing = if self.virtual_host { Addressing::VirtualHost } else { Addressing::Path };
        Ok(StoreOptions {
            trust,
            plain_http: if plain { PlainHttp::DangerouslyAllowed } else { PlainHttp::Refused },
            identity: self.identity(url)?,
            s3: S3Options { region: self.region.clone(), endpoint: self.endpoint.clone(), addressing },
        })
    }

    fn identity(&self, url: &StoreUrl) -> Result<Identity, Failure> {
        let refused = |error| Failure::other(format!("access key of the store: {error}"));
        if let Some(path) = &self.credentials {
            let bytes = files::read_private(path, MAX_FILE_BYTES)?;
            let text = std::str::from_utf8(&bytes)
                .map_err(|_| Failure::other(format!("{} is not UTF-8 text", path.display())))?;
            return Ok(Identity::Key(S3Credentials::parse(text).map_err(refused)?));
        }
        if self.machine_role {
            return Ok(Identity::Machine { endpoint: None });
        }
        let is_s3 = matches!(url.place(), anchorhold_weights_store::Place::S3 { .. });
        if self.anonymous || !is_s3 {
            return Ok(Identity::Anonymous);
        }
        match S3Credentials::from_variables(|name| std::env::var(name).ok()) {
            Some(key) => Ok(Identity::Key(key.map_err(refused)?)),
            None => Ok(Identity::Anonymous),
        }
    }
}

/// Progress on standard error, once a second.
fn tell(Progress { done, total }: Progress, last: &Mutex<Option<Instant>>) {
    let Ok(mut last) = last.lock() else { return };
    if done == total || last.is_none_or(|last| last.elapsed() >= TELL_EVERY) {
        *last = Some(Instant::now());
        let percent = done.saturating_mul(100).checked_div(total).unwrap_or(100);
        remark(&format!("{} of {} MiB, {percent} %", done >> 20, total >> 20));
    }
}

/// Whether anything of the package is in the folder.
#[derive(Clone, Copy)]
enum Came {
    Nothing,
    Some,
}

/// A fault of the package ends the command as it ends `package verify`.
fn failed(error: &Error, came: Came) -> Failure {
    let exit = match error {
        Error::Package(fault) | Error::Store { fault: Fault::Content(fault), .. } => read::exit(fault),
        _ => Exit::Other,
    };
    let failure = Failure::new(exit, format!("not fetched ({}): {error}", error.code()));
    match (error, came) {
        (Error::FolderForeign { .. } | Error::FolderHolds { .. }, _) => {
            failure.hint("nothing was changed there; name a new folder with --out")
        }
        (Error::Store { fault: Fault::Absent { .. }, .. }, Came::Nothing) => {
            failure.hint("the address is that of the folder with manifest.json")
        }
        (_, Came::Some) => failure.hint("what came is kept; the same command goes on where it was"),
        (_, Came::Nothing) => failure,
    }
}

fn report(args: &Args, package: &FetchedPackage, seconds: f64) -> Result<(), Failure> {
    let (manifest, summary) = (package.manifest(), package.summary());
    let fetched = Fetched {
        model_id: manifest.model_id(),
        version: manifest.version(),
        manifest_digest: Sha256Digest::new(*manifest.digest()),
        bytes: summary.total,
        fetched_bytes: summary.fetched,
        reused_bytes: summary.reused,
        requests: summary.requests,
        seconds,
    };
    if args.format.json {
        return output::json(&fetched);
    }
    let mut out = String::new();
    line(&mut out, "model", &format!("{} version {}", fetched.model_id, fetched.version));
    line(&mut out, "manifest", &fetched.manifest_digest.to_string());
    line(&mut out, "package", &args.out.display().to_string());
    line(&mut out, "fetched", &format!("{} bytes in {} requests", fetched.fetched_bytes, fetched.requests));
    line(&mut out, "reused", &format!("{} bytes", fetched.reused_bytes));
    output::text(&out)
}

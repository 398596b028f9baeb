//! `anchorhold audit dossier`: bundles, report, policies and checkpoints in one signed file; and its verification.

use super::report::{MadePage, PageArgs, make_page};
use super::{AuditKey, VerifyArgs};
use crate::commands::owner;
use crate::exit::{Exit, Failure};
use crate::files;
use crate::output::{self, Format, line, remark};
use anchorhold_audit_log::note::{MAX_NOTE_BYTES, Note};
use anchorhold_audit_log::tlog::policy::{MAX_POLICY_BYTES, Policy};
use anchorhold_audit_log::{Checkpoint, Hash, VerifierKey};
use anchorhold_audit_report::html::LogPart;
use anchorhold_dossier::{
    Contents, Expected, FIRST_MEMBER, MAX_SEEN, Manifest, Outcome, Report, Sampled, Trusted, make, verify,
    verify_bundles,
};
use anchorhold_dsse::TrustedSigners;
use anchorhold_rats::Ed25519PublicKey;
use anchorhold_sealed_weights::MAX_MANIFEST_LEN;
use serde::Serialize;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

const MAX_RELEASE_POLICY_BYTES: usize = 1024 * 1024;
const MAX_VERIFIER_BYTES: usize = 64 * 1024 * 1024;

/// Put bundles, the report, control tables, policies and checkpoints into one file that the exporter signs
///
/// The same bundles, flags and key give the same bytes. The signature says who put the dossier together; the logs prove themselves. It is
/// made also when a log is not proven, and the page in it says so; the command then does not end with 0.
#[derive(clap::Args)]
pub(crate) struct DossierArgs {
    #[command(flatten)]
    page: PageArgs,
    /// The exporter's key, as `owner new` makes it
    #[arg(long, value_name = "FILE")]
    sign: PathBuf,
    /// A release policy that was in force; may be repeated
    #[arg(long, value_name = "FILE")]
    decided_by: Vec<PathBuf>,
    /// The sealed manifest of a model (manifest.json of its package); may be repeated
    #[arg(long, value_name = "FILE")]
    model: Vec<PathBuf>,
    /// A checkpoint of one of the logs that was seen elsewhere; may be repeated
    #[arg(long, value_name = "FILE")]
    seen: Vec<PathBuf>,
    /// Which logs and witnesses the exporter relies on (c2sp.org/tlog-policy)
    #[arg(long, value_name = "FILE")]
    witnesses: Option<PathBuf>,
    /// The static verifier of this release, whose digest goes into the README
    #[arg(long, value_name = "FILE")]
    verifier: Option<PathBuf>,
    /// The dossier to make; must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    format: Format,
}

/// What is known beforehand of a dossier.
#[derive(clap::Args)]
pub(super) struct ExpectedArgs {
    /// A key that may have signed the dossier, in hex; may be repeated
    #[arg(long, value_name = "HEX")]
    exporter: Vec<Ed25519PublicKey>,
    /// The key of a log without evidence in the dossier, as a note key; may be repeated
    #[arg(long, value_name = "KEY")]
    log_key: Vec<AuditKey>,
    /// Which witnesses must have cosigned each log of the dossier (c2sp.org/tlog-policy)
    #[arg(long, value_name = "FILE")]
    witnesses: Option<PathBuf>,
}

impl ExpectedArgs {
    /// These flags are about dossiers only.
    pub(super) fn require_none(&self) -> Result<(), Failure> {
        if self.exporter.is_empty() && self.log_key.is_empty() && self.witnesses.is_none() {
            return Ok(());
        }
        Err(Failure::usage("--exporter, --log-key and --witnesses are for dossiers, and this is a bundle"))
    }
}

#[derive(Serialize)]
struct Made {
    verdict: &'static str,
    exporter: Ed25519PublicKey,
    members: usize,
    logs: usize,
}

pub(super) fn run(args: &DossierArgs) -> Result<Exit, Failure> {
    if args.page.choice.which.words().is_some() {
        let text = "a dossier holds whole logs; of flags that choose entries, it takes --sample and --word";
        return Err(Failure::usage(text));
    }
    let owner = owner::read(&args.sign)?;
    let page = make_page(&args.page)?;
    let read = |path: &PathBuf| files::read(path, MAX_RELEASE_POLICY_BYTES);
    let policies = args.decided_by.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let read = |path: &PathBuf| files::read(path, MAX_MANIFEST_LEN);
    let models = args.model.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let witnesses = args.witnesses.as_ref().map(|path| files::read(path, MAX_POLICY_BYTES)).transpose()?;
    if let Some(bytes) = &witnesses {
        Policy::parse(bytes).map_err(|e| Failure::usage(format!("--witnesses: {e}")))?;
    }
    let verifier = args.verifier.as_ref().map(|path| files::read(path, MAX_VERIFIER_BYTES)).transpose()?;
    let open = |path: &PathBuf| File::open(path).map_err(|e| files::failed("open", path, &e));
    let mut logs = args.page.files.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let seen = seen_by_log(&args.seen, &page.logs)?;
    let sample = sample(args, &page.logs);
    let out = files::create_private(&args.out)?;
    let mut contents = Contents {
        report_html: page.text.as_bytes(),
        controls_json: &page.controls_json,
        witnesses: witnesses.as_deref(),
        policies: &policies,
        models: &models,
        seen: &seen,
        logs: &mut logs,
        sample,
        verifier_sha256: verifier.as_deref().map(Hash::of),
    };
    let made = make(&out, &mut contents, owner.signing_key()).map_err(Failure::other);
    let made = made.and_then(|manifest| {
        out.sync_all().map_err(|e| files::failed("write", &args.out, &e)).map(|()| manifest)
    });
    let manifest = made.inspect_err(|_| {
        // A part of a dossier is none; if it stays, its verification says so.
        let _ = std::fs::remove_file(&args.out);
    })?;
    say(args, &page, &manifest, Ed25519PublicKey::new(owner.public_key()))?;
    Ok(page.worst)
}

fn say(
    args: &DossierArgs,
    page: &MadePage,
    manifest: &Manifest,
    exporter: Ed25519PublicKey,
) -> Result<(), Failure> {
    let verdict = super::verdict(page.worst);
    let made = Made { verdict, exporter, members: manifest.members.len() + 1, logs: page.logs.len() };
    if args.format.json {
        output::json(&made)?;
    } else {
        let mut out = String::new();
        line(&mut out, "logs", &made.logs.to_string());
        line(&mut out, "members", &made.members.to_string());
        line(&mut out, "exporter", &exporter.to_string());
        line(&mut out, "verdict", &verdict.replace('_', " "));
        output::text(&out)?;
    }
    if page.worst != Exit::Ok {
        remark("the page in it says of which log nothing is proven");
    }
    Ok(())
}

fn sample(args: &DossierArgs, logs: &[LogPart]) -> Option<Sampled> {
    let (word, wanted) = args.page.choice.draw()?;
    let drawn =
        logs.iter().map(|log| log.drawn.as_ref().map(|drawn| drawn.indexes.clone()).unwrap_or_default());
    Some(Sampled { drawn: drawn.collect(), wanted, word: word.to_owned() })
}

/// The notes, each with the log that it names.
fn seen_by_log(paths: &[PathBuf], logs: &[LogPart]) -> Result<Vec<Vec<Vec<u8>>>, Failure> {
    if paths.len() > MAX_SEEN {
        return Err(Failure::usage(format!("more than {MAX_SEEN} checkpoints")));
    }
    let mut seen: Vec<Vec<Vec<u8>>> = vec![Vec::new(); logs.len()];
    for path in paths {
        let bytes = files::read(path, MAX_NOTE_BYTES)?;
        let origin = Note::parse(&bytes)
            .ok()
            .and_then(|note| Checkpoint::from_text(note.unverified_text()).ok())
            .map(|checkpoint| checkpoint.origin);
        let origin = origin.ok_or_else(|| Failure::usage(format!("{}: not a checkpoint", path.display())))?;
        let of_log = logs.iter().zip(&mut seen).find(|(log, _)| log.origin == origin);
        let Some((_, notes)) = of_log else {
            return Err(Failure::usage(format!("{}: of none of the logs", path.display())));
        };
        notes.push(bytes);
    }
    Ok(seen)
}

/// Whether the file begins as dossiers do.
pub(super) fn is_dossier(path: &Path) -> Result<bool, Failure> {
    let mut start = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FIRST_MEMBER.len() as u64 + 1).read_to_end(&mut start))
        .map_err(|e| files::failed("open", path, &e))?;
    Ok(start.strip_prefix(FIRST_MEMBER.as_bytes()) == Some(b"\0"))
}

pub(super) fn run_verify(args: &VerifyArgs, path: &Path) -> Result<Exit, Failure> {
    let expected = expected(args, "a dossier")?;
    let open = || File::open(path);
    let report = verify(open, &expected).map_err(|e| files::failed("read", path, &e))?;
    tell(args, &report)
}

/// Several bundles: the questions about a dossier, as far as they arise without one.
pub(super) fn run_verify_bundles(args: &VerifyArgs) -> Result<Exit, Failure> {
    if !args.dossier.exporter.is_empty() {
        return Err(Failure::usage("--exporter is for dossiers, and these are bundles"));
    }
    for path in &args.files {
        if is_dossier(path)? {
            return Err(Failure::usage(format!("{}: a dossier is verified alone", path.display())));
        }
    }
    let expected = expected(args, "several bundles")?;
    let names: Vec<String> = args.files.iter().map(|path| path.display().to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let open = |at: usize| match args.files.get(at) {
        Some(path) => {
            File::open(path).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))
        }
        None => Err(io::ErrorKind::NotFound.into()),
    };
    let report = verify_bundles(&names, open, &expected).map_err(Failure::other)?;
    tell(args, &report)
}

fn expected(args: &VerifyArgs, what: &str) -> Result<Expected, Failure> {
    let of_bundles = args.log_only || args.audit_key.is_some() || args.origin.is_some();
    if of_bundles || !args.earlier.is_empty() || !args.witness.is_empty() {
        let text = format!(
            "--log-only, --audit-key, --origin, --earlier and --witness are for the bundle of one log, and this is {what}"
        );
        return Err(Failure::usage(text)
            .hint("--log-key names a broker's log, --witnesses a file; checkpoints are in a dossier"));
    }
    let trust = args.trust.read()?;
    Ok(Expected {
        exporters: exporters(&args.dossier.exporter)?,
        log_keys: args.dossier.log_key.iter().map(named).collect::<Result<_, _>>()?,
        trusted: Some(Trusted { anchors: trust.anchors, policies: trust.policies, at: trust.at }),
        witnesses: args.dossier.witnesses.as_deref().map(witnesses).transpose()?,
    })
}

fn tell(args: &VerifyArgs, report: &Report) -> Result<Exit, Failure> {
    if args.format.json {
        output::json(&report.to_json())?;
    } else {
        output::text(&report.to_text())?;
    }
    Ok(match report.outcome() {
        Outcome::Accepted => Exit::Ok,
        Outcome::NotAuthentic => Exit::NotAuthentic,
        Outcome::NotAcceptable => Exit::NotAcceptable,
        Outcome::EndorsementsUnavailable => Exit::EndorsementsUnavailable,
        Outcome::NotProven => Exit::NotProven,
    })
}

fn exporters(keys: &[Ed25519PublicKey]) -> Result<Option<TrustedSigners>, Failure> {
    let keys: Vec<[u8; 32]> = keys.iter().map(|key| *key.as_bytes()).collect();
    if keys.is_empty() { Ok(None) } else { TrustedSigners::of(&keys, 1).map(Some).map_err(Failure::usage) }
}

fn named(key: &AuditKey) -> Result<VerifierKey, Failure> {
    let origin = key.origin.as_ref();
    let origin =
        origin.ok_or_else(|| Failure::usage("--log-key: a note key is needed, which names the log"))?;
    VerifierKey::new(origin.as_str(), key.key).map_err(Failure::usage)
}

fn witnesses(path: &Path) -> Result<Policy, Failure> {
    Policy::parse(&files::read(path, MAX_POLICY_BYTES)?)
        .map_err(|e| Failure::usage(format!("{}: {e}", path.display())))
}

//! `anchorhold audit archive`: where exported logs lie for years.

use super::{AuditKey, witness_key};
use crate::exit::{Exit, Failure};
use crate::files;
use crate::output::{self, Format, line, remark};
use crate::trust;
use anchorhold_audit_archive::{Archive, Archivist, Error, LogRecord};
use anchorhold_audit_log::cosignature::WitnessKey;
use anchorhold_audit_log::note::Signer;
use anchorhold_audit_log::{ExportOptions, Hash, LogSource, Origin, export_from};
use anchorhold_audit_personal::Keyring;
use anchorhold_audit_report::utc;
use anchorhold_rats::Timestamp;
use serde::Serialize;
use std::path::{Path, PathBuf};

const MAX_KEY_BYTES: usize = 1024;
const NS_PER_S: i64 = 1_000_000_000;

/// What to do with an archive.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    #[command(after_help = "Example:\n  anchorhold owner new archivist.key\n  \
        anchorhold audit archive init archive --key archivist.key --origin archive.example/2026")]
    Init(InitArgs),
    #[command(
        after_help = "Example:\n  anchorhold audit archive add archive bundle.tar --key archivist.key \\\n      \
        --keyring /var/lib/anchorhold/audit/personal"
    )]
    Add(AddArgs),
    #[command(after_help = "Example:\n  anchorhold audit archive status archive --archive-key $ARCHIVE_KEY")]
    Status(StatusArgs),
    #[command(
        after_help = "Examples:\n  anchorhold audit archive export archive --origin acme/0707 --out log.tar\n  \
        anchorhold audit archive export archive --out acts.tar"
    )]
    Export(ExportArgs),
}

/// An archive that is to be changed.
#[derive(clap::Args)]
pub(super) struct Changed {
    /// The archive's folder
    archive: PathBuf,
    /// The archivist's key, as `owner new` makes it
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// As of this time, such as 2026-01-31T12:00:00Z [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
}

impl Changed {
    pub(super) fn open(&self) -> Result<Archivist, Failure> {
        let named = Archive::open(&self.archive).map_err(failure)?;
        let origin = Origin::new(named.key().name()).map_err(Failure::other)?;
        Archivist::open(&self.archive, signer(&self.key, origin)?).map_err(failure)
    }

    pub(super) fn at_ns(&self) -> Result<i64, Failure> {
        let at = self.at.map_or_else(trust::now, Ok)?;
        Ok(at.unix_seconds().saturating_mul(NS_PER_S))
    }
}

/// Begin an archive in a folder that is not there yet
///
/// It has a log of its own, which this key signs: every log that comes, every entry that goes, every hold and every erasure is an entry there. The
/// printed key names that log; give it to auditors.
#[derive(clap::Args)]
pub(crate) struct InitArgs {
    /// The folder to make
    archive: PathBuf,
    /// The archivist's key, as `owner new` makes it
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The name of the archive's own log
    #[arg(long, value_name = "ORIGIN")]
    origin: Origin,
    #[command(flatten)]
    format: Format,
}

/// Take the log in a bundle into the archive
///
/// The bundle must hold the whole log, and is verified first. Later exports of the same log replace earlier ones, when they go on from them.
#[derive(clap::Args)]
pub(crate) struct AddArgs {
    #[command(flatten)]
    changed: Changed,
    /// The bundle
    bundle: PathBuf,
    /// The key that must have signed the log: in hex, or as a note key
    #[arg(long, value_name = "KEY")]
    audit_key: Option<AuditKey>,
    /// A witness whose cosignature bounds the times that the log claims; may be repeated
    #[arg(long, value_name = "KEY", value_parser = witness_key)]
    witness: Vec<WitnessKey>,
    /// The keyring of the guest: the keys of the log's entries move from there into the archive
    #[arg(long, value_name = "DIR")]
    keyring: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

/// Show what an archive holds, what is gone by which act, and which holds stand; verify all of it
///
/// Every log is read from end to end: its checkpoint, the hashes of all entries, and each entry that is still there.
#[derive(clap::Args)]
pub(crate) struct StatusArgs {
    /// The archive's folder
    archive: PathBuf,
    /// The key that the archive's own log must have, as `archive init` printed it
    #[arg(long, value_name = "KEY")]
    archive_key: Option<AuditKey>,
    #[command(flatten)]
    format: Format,
}

/// Write a bundle of an archived log, or of the archive's own log
///
/// Of a pruned log, it holds the entries that are left, with the proof that they are the log's.
#[derive(clap::Args)]
pub(crate) struct ExportArgs {
    /// The archive's folder
    archive: PathBuf,
    /// The log [default: the archive's own]
    #[arg(long, value_name = "ORIGIN")]
    origin: Option<Origin>,
    /// The bundle to make; must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    format: Format,
}

/// Which failures mean that something is not proven.
pub(super) fn failure(error: Error) -> Failure {
    match error {
        Error::Acts(_) | Error::Checkpoint(_) | Error::Damaged { .. } | Error::NotProven { .. } => {
            Failure::new(Exit::NotProven, output::plain(&error.to_string()))
        }
        Error::UnderHold { .. } => {
            Failure::other(error).hint("nothing was destroyed; `anchorhold audit hold list` shows why")
        }
        other => Failure::other(other),
    }
}

fn signer(path: &Path, origin: Origin) -> Result<Signer, Failure> {
    let document = files::read_private(path, MAX_KEY_BYTES)?;
    Signer::from_pkcs8(origin, &document)
        .map_err(|_| Failure::other(format!("{} is not a key as `owner new` makes it", path.display())))
}

pub(super) fn run(command: &Command) -> Result<Exit, Failure> {
    match command {
        Command::Init(args) => init(args),
        Command::Add(args) => add(args),
        Command::Status(args) => status(args),
        Command::Export(args) => export(args),
    }
}

#[derive(Serialize)]
struct Begun {
    archive_key: String,
}

fn init(args: &InitArgs) -> Result<Exit, Failure> {
    let signer = signer(&args.key, args.origin.clone())?;
    let at_ns = trust::now()?.unix_seconds().saturating_mul(NS_PER_S);
    let archivist = Archivist::begin(&args.archive, signer, at_ns).map_err(failure)?;
    let begun = Begun { archive_key: archivist.archive().key().to_string() };
    if args.format.json {
        output::json(&begun)?;
    } else {
        output::text(&format!("{}\n", begun.archive_key))?;
    }
    Ok(Exit::Ok)
}

#[derive(Serialize)]
struct Added {
    origin: String,
    size: u64,
    keys: usize,
    act: u64,
}

fn add(args: &AddArgs) -> Result<Exit, Failure> {
    let keyring = args.keyring.as_deref().map(Keyring::open).transpose().map_err(Failure::other)?;
    let mut archivist = args.changed.open()?;
    let expected = args.audit_key.clone().map(AuditKey::expectations).unwrap_or_default();
    let trusted = (expected.audit_key, args.witness.as_slice());
    let added =
        archivist.add(&args.bundle, trusted, keyring.as_ref(), args.changed.at_ns()?).map_err(failure)?;
    let added =
        Added { origin: added.origin.to_string(), size: added.size, keys: added.keys, act: added.act };
    if args.format.json {
        output::json(&added)?;
        return Ok(Exit::Ok);
    }
    let mut out = String::new();
    line(&mut out, "log", &added.origin);
    line(&mut out, "entries", &added.size.to_string());
    line(&mut out, "keys moved", &added.keys.to_string());
    line(&mut out, "act", &added.act.to_string());
    output::text(&out)?;
    Ok(Exit::Ok)
}

#[derive(Serialize)]
struct Standing {
    archive_key: String,
    size: u64,
    root_hash: Hash,
    logs: Vec<LogStatus>,
    holds_standing: usize,
    keys: usize,
    erased: usize,
    verdict: &'static str,
}

#[derive(Serialize)]
struct LogStatus {
    origin: String,
    size: u64,
    /// The first entry that is there.
    first: u64,
    gone: Vec<GonePart>,
    verdict: String,
}

#[derive(Serialize)]
struct GonePart {
    first: u64,
    end: u64,
    act: u64,
    profiles: Vec<String>,
}

fn status(args: &StatusArgs) -> Result<Exit, Failure> {
    let archive = Archive::open(&args.archive).map_err(failure)?;
    if let Some(wanted) = args.archive_key.clone().map(AuditKey::expectations) {
        let other_key = wanted.audit_key != Some(archive.key().public_key());
        if other_key || wanted.origin.is_some_and(|origin| origin.as_str() != archive.key().name()) {
            return Err(Failure::new(Exit::NotProven, "the archive's log has another key or name"));
        }
    }
    let state = archive.state();
    let logs: Vec<LogStatus> = state.logs.values().map(|record| log_status(&archive, record)).collect();
    let head = archive.head();
    let all_sound = logs.iter().all(|log| log.verdict == "accepted");
    let standing = Standing {
        archive_key: archive.key().to_string(),
        size: head.size,
        root_hash: head.root,
        logs,
        holds_standing: state.standing().count(),
        keys: archive.keyring().and_then(|keyring| Ok(keyring.kids()?.len())).map_err(failure)?,
        erased: state.erased.len(),
        verdict: if all_sound { "accepted" } else { "not_proven" },
    };
    if args.format.json {
        output::json(&standing)?;
    } else {
        output::text(&text(&standing))?;
    }
    Ok(if all_sound { Exit::Ok } else { Exit::NotProven })
}

fn log_status(archive: &Archive, record: &LogRecord) -> LogStatus {
    let checked = archive.log(&record.origin).and_then(|log| log.check());
    let gone = record.gone.iter().map(|gone| GonePart {
        first: gone.first,
        end: gone.end,
        act: gone.act,
        profiles: gone.profiles.iter().map(ToString::to_string).collect(),
    });
    LogStatus {
        origin: record.origin.to_string(),
        size: record.size,
        first: record.minimum(),
        gone: gone.collect(),
        verdict: checked.map_or_else(|error| error.to_string(), |()| "accepted".to_owned()),
    }
}

fn text(standing: &Standing) -> String {
    let mut out = String::new();
    line(&mut out, "archive", &standing.archive_key);
    line(&mut out, "acts", &format!("{} {}", standing.size, standing.root_hash));
    line(&mut out, "holds", &format!("{} stand", standing.holds_standing));
    line(&mut out, "keys", &format!("{} kept, {} destroyed", standing.keys, standing.erased));
    for log in &standing.logs {
        out.push('\n');
        line(&mut out, "log", &log.origin);
        line(&mut out, "entries", &format!("{} to {} of {}", log.first, log.size, log.size));
        for gone in &log.gone {
            let by = gone.profiles.join(", ");
            line(&mut out, "gone", &format!("{} to {} by act {} ({by})", gone.first, gone.end, gone.act));
        }
        line(&mut out, "verdict", &output::plain(&log.verdict));
    }
    out
}

#[derive(Serialize)]
struct Exported {
    origin: String,
    first: u64,
    count: u64,
    size: u64,
    root_hash: Hash,
}

fn export(args: &ExportArgs) -> Result<Exit, Failure> {
    let archive = Archive::open(&args.archive).map_err(failure)?;
    let log = args.origin.as_ref().map(|origin| archive.log(origin)).transpose().map_err(failure)?;
    let source: &dyn LogSource = match &log {
        Some(log) => log,
        None => archive.own_log(),
    };
    let out = files::create_private(&args.out)?;
    let made = export_from(source, &out, &ExportOptions::default()).map_err(Failure::other);
    let made = made.and_then(|summary| {
        out.sync_all().map_err(|e| files::failed("write", &args.out, &e)).map(|()| summary)
    });
    let summary = made.inspect_err(|_| {
        // A part of a bundle is none; if it stays, its verification says so.
        let _ = std::fs::remove_file(&args.out);
    })?;
    let exported = Exported {
        origin: summary.manifest.origin.to_string(),
        first: summary.manifest.first,
        count: summary.manifest.count,
        size: summary.head.size,
        root_hash: summary.head.root,
    };
    if args.format.json {
        output::json(&exported)?;
    } else {
        let mut out = String::new();
        line(&mut out, "log", &exported.origin);
        line(
            &mut out,
            "entries",
            &format!("{} from {} of {}", exported.count, exported.first, exported.size),
        );
        line(&mut out, "root", &exported.root_hash.to_string());
        output::text(&out)?;
    }
    if exported.first > 0 {
        remark(&format!(
            "entries before {} are gone: `audit archive status` says by which act",
            exported.first
        ));
    }
    Ok(Exit::Ok)
}

/// A time in nanoseconds since 1970, in words.
pub(super) fn time(ns: i64) -> String {
    utc(ns)
}

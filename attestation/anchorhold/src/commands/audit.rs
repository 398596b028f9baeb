//! `anchorhold audit`: export bundles, and verify them with the evidence that vouches for the audit key.

mod archive;
mod dossier;
mod entries;
mod erase;
mod hold;
mod personal;
mod progress;
mod proof;
mod prune;
mod reader;
mod report;
mod stats;
mod tail;
mod tiles;

use crate::exit::{Exit, Failure};
use crate::output::{self, Format, line};
use crate::trust::TrustArgs;
use crate::{files, output::remark};
use anchorhold_audit_log::cosignature::{Quorum, WitnessKey};
use anchorhold_audit_log::{
    Expectations, ExportOptions, ExportSummary, Hash, MAX_EARLIER, Origin, PublicKey, Report, Status,
    VerifierKey, export_from, verify,
};
use anchorhold_channel::Verdict;
use anchorhold_dossier::attestation::{self, Attestation};
use anchorhold_dossier::{Link, MAX_LOGS};
use serde::Serialize;
use std::fs::File;
use std::path::PathBuf;
use std::str::FromStr;

const FORMAT: &str = "urn:anchorhold:audit-verification:v1";
const MAX_CHECKPOINT_BYTES: usize = 64 * 1024;

/// What to do with an audit log.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Write a bundle that anybody can verify without us
    #[command(
        after_help = "Example:\n  anchorhold audit export --log /var/lib/anchorhold/audit/acme-0f1e --reader-key reader.key --out bundle.tar"
    )]
    Export(ExportArgs),
    #[command(
        after_help = "Examples:\n  anchorhold audit entries bundle.tar --as ocsf --out events.jsonl\n  \
        anchorhold audit entries bundle.tar --as csv --tenant clinic --since 2026-01-01T00:00:00Z\n  \
        anchorhold audit entries bundle.tar --as csv --type key.release --sample 25 --word kestrel"
    )]
    Entries(Box<entries::EntriesArgs>),
    #[command(
        after_help = "Example:\n  anchorhold audit report guest.tar broker.tar --measurement $MEASUREMENT \
        --audit-key $BROKER_LOG_KEY --out report.html"
    )]
    Report(Box<report::ReportArgs>),
    #[command(
        after_help = "Example:\n  anchorhold audit dossier guest.tar broker.tar --measurement $MEASUREMENT \
        --audit-key $BROKER_LOG_KEY --sign exporter.p8 --decided-by release.toml --out dossier.tar"
    )]
    Dossier(Box<dossier::DossierArgs>),
    #[command(after_help = "Examples:\n  anchorhold audit verify bundle.tar --measurement $MEASUREMENT\n  \
        anchorhold audit verify broker.tar --log-only --audit-key $BROKER_AUDIT_KEY\n  \
        anchorhold audit verify first.tar second.tar --measurement $MEASUREMENT")]
    Verify(Box<VerifyArgs>),
    #[command(after_help = "Examples:\n  anchorhold audit stats bundle.tar\n  \
        anchorhold audit stats bundle.tar --tenant clinic --since 2026-01-01T00:00:00Z --json")]
    Stats(Box<stats::StatsArgs>),
    #[command(
        after_help = "Examples:\n  anchorhold audit tail --url https://models.example --key-file auditor.key \\\n      \
        --measurement $MEASUREMENT --state seen.note\n  \
        anchorhold audit tail --url https://models.example --key-file auditor.key --audit-key $LOG_KEY \\\n      \
        --tls-key $TLS_KEY --as ocsf --once"
    )]
    Tail(Box<tail::TailArgs>),
    #[command(subcommand)]
    Reader(reader::Command),
    #[command(after_help = "Examples:\n  anchorhold audit prove bundle.tar --index 4711 --out proof\n  \
        anchorhold audit prove bundle.tar --from 4700 --to 4800 --audit-key $LOG_KEY --out proofs")]
    Prove(Box<proof::ProveArgs>),
    #[command(
        after_help = "Examples:\n  anchorhold audit check-proof proof/4711.tlog-proof proof/4711.json --audit-key $LOG_KEY\n  \
        anchorhold audit check-proof 4711.tlog-proof 4711.json --log-policy witnesses.policy"
    )]
    CheckProof(Box<proof::CheckProofArgs>),
    #[command(after_help = "Example:\n  anchorhold audit tiles bundle.tar --out /var/www/log")]
    Tiles(Box<tiles::TilesArgs>),
    /// Keep exported logs for years, with a log of their own about what is done with them
    #[command(subcommand)]
    Archive(archive::Command),
    /// Keep entries from being pruned or erased
    #[command(subcommand)]
    Hold(hold::Command),
    #[command(
        after_help = "Examples:\n  anchorhold audit prune archive --key archivist.key --profile pci --profile aiact --dry-run\n  \
        anchorhold audit prune archive --key archivist.key --profile default"
    )]
    Prune(prune::PruneArgs),
    #[command(
        after_help = "Examples:\n  anchorhold audit erase archive --key archivist.key --kid $KID --reason gdpr_17_1_b\n  \
        anchorhold audit erase archive --key archivist.key --subject clinic/0123456789ab --recipient-key privacy.key \\\n      \
        --reason gdpr_17_1_b"
    )]
    Erase(erase::EraseArgs),
    #[command(after_help = "Example:\n  anchorhold audit recipient privacy.key")]
    Recipient(personal::RecipientArgs),
    #[command(
        after_help = "Examples:\n  anchorhold audit personal bundle.tar --keyring archive/keyring --recipient-key privacy.key\n  \
        anchorhold audit personal bundle.tar --keyring archive/keyring --recipient-key privacy.key \\\n      \
        --subject clinic/0123456789ab --json"
    )]
    Personal(Box<personal::PersonalArgs>),
}

#[derive(clap::Args)]
pub(crate) struct ExportArgs {
    /// The log's folder
    #[arg(long, value_name = "DIR")]
    log: PathBuf,
    /// The private key of a reader, which `audit reader new` made: opens the entries of a guest's log
    #[arg(long, value_name = "FILE")]
    reader_key: Option<PathBuf>,
    /// The bundle to make; must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The first entry to export
    #[arg(long, value_name = "INDEX", requires = "to")]
    from: Option<u64>,
    /// The entry before which to stop
    #[arg(long, value_name = "INDEX", requires = "from")]
    to: Option<u64>,
    #[command(flatten)]
    format: Format,
}

/// Verify a bundle or a dossier: the logs, and the evidence that their keys are guests'
///
/// An intact log shows that the holder of the audit key wrote these entries in this order. Whose key that is, only the
/// evidence in the bundle can say, so --measurement or --policy is needed. A key broker's log holds no evidence: say
/// --log-only and give its key. In a dossier, the exporter, the witnesses and the completeness of the boots are judged too, each with a
/// verdict of its own. Each boot's log names the one before it: several bundles are judged together, so that a log that was cut,
/// exchanged or left out shows; the keys of brokers' logs among them are then given with --log-key, and witnesses with --witnesses.
#[derive(clap::Args)]
pub(crate) struct VerifyArgs {
    /// The bundle, or the dossier; or the bundles of several boots, which are judged together
    #[arg(required = true, num_args = 1..=MAX_LOGS, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    dossier: dossier::ExpectedArgs,
    /// Judge the log alone, under a key that is known beforehand
    #[arg(long, requires = "audit_key", conflicts_with_all = ["measurement", "policy"])]
    log_only: bool,
    /// The key that must have signed the log: in hex, or as a note key, such as the `log_key` of a broker's `init`, which names
    /// the log too
    #[arg(long, value_name = "KEY")]
    audit_key: Option<AuditKey>,
    /// The name that the log must have [default: that of a note key]
    #[arg(long, value_name = "ORIGIN")]
    origin: Option<String>,
    /// A witness whose cosignature of the checkpoint counts, and whose times are believed, as its operator prints its key; may be repeated
    #[arg(long, value_name = "KEY", value_parser = witness_key)]
    witness: Vec<WitnessKey>,
    /// How many of them must have cosigned
    #[arg(long, value_name = "N", default_value_t = 1, requires = "witness")]
    witnesses_needed: usize,
    /// A checkpoint of this log that was seen earlier; may be repeated
    #[arg(long, value_name = "FILE")]
    earlier: Vec<PathBuf>,
    #[command(flatten)]
    format: Format,
}

/// The key of an audit log, and the log's name where the key says it.
#[derive(Debug, Clone)]
pub(crate) struct AuditKey {
    key: PublicKey,
    origin: Option<Origin>,
}

impl AuditKey {
    /// What a log must be that this key signed.
    pub(crate) fn expectations(self) -> Expectations {
        Expectations { audit_key: Some(self.key), origin: self.origin, ..Expectations::default() }
    }
}

impl FromStr for AuditKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.contains('+') {
            let key = text.parse::<PublicKey>().map_err(|e| e.to_string())?;
            return Ok(Self { key, origin: None });
        }
        let named = VerifierKey::parse(text).map_err(|e| e.to_string())?;
        let origin = Origin::new(named.name()).map_err(|e| e.to_string())?;
        Ok(Self { key: named.public_key(), origin: Some(origin) })
    }
}

pub(crate) fn run(command: &Command) -> Result<Exit, Failure> {
    match command {
        Command::Export(args) => run_export(args),
        Command::Entries(args) => entries::run(args),
        Command::Report(args) => report::run(args),
        Command::Dossier(args) => dossier::run(args),
        Command::Verify(args) => run_verify(args),
        Command::Stats(args) => stats::run(args),
        Command::Tail(args) => tail::run(args),
        Command::Reader(command) => reader::run(command),
        Command::Prove(args) => proof::prove(args),
        Command::CheckProof(args) => proof::check(args),
        Command::Tiles(args) => tiles::run(args),
        Command::Archive(command) => archive::run(command),
        Command::Hold(command) => hold::run(command),
        Command::Prune(args) => prune::run(args),
        Command::Erase(args) => erase::run(args),
        Command::Recipient(args) => personal::run_recipient(args),
        Command::Personal(args) => personal::run(args),
    }
}

#[derive(Serialize)]
struct Exported {
    origin: String,
    first: u64,
    count: u64,
    size: u64,
    root_hash: Hash,
    uncovered: u64,
}

fn run_export(args: &ExportArgs) -> Result<Exit, Failure> {
    let range = args.from.zip(args.to).map(|(from, to)| from..to);
    let shown = progress::Shown::new(reader::open(&args.log, args.reader_key.as_deref())?);
    let out = files::create_private(&args.out)?;
    let made = export_from(&shown, &out, &ExportOptions { range }).map_err(Failure::other);
    drop(shown);
    let made = made.and_then(|summary| {
        out.sync_all().map_err(|e| files::failed("write", &args.out, &e)).map(|()| summary)
    });
    let ExportSummary { manifest, head } = made.inspect_err(|_| {
        // A part of a bundle is none; if it stays, its verification says so.
        let _ = std::fs::remove_file(&args.out);
    })?;
    let exported = Exported {
        origin: manifest.origin.to_string(),
        first: manifest.first,
        count: manifest.count,
        size: head.size,
        root_hash: head.root,
        uncovered: manifest.uncovered,
    };
    if args.format.json {
        output::json(&exported)?;
        return Ok(Exit::Ok);
    }
    let mut out = String::new();
    line(&mut out, "log", &exported.origin);
    line(&mut out, "entries", &format!("{} from {} of {}", exported.count, exported.first, exported.size));
    line(&mut out, "root", &exported.root_hash.to_string());
    output::text(&out)?;
    if exported.uncovered > 0 {
        remark(&format!(
            "left out: {} entries after the last checkpoint, which nothing proves",
            exported.uncovered
        ));
    }
    Ok(Exit::Ok)
}

#[derive(Serialize)]
struct Verified<'a> {
    format: &'static str,
    bundle: String,
    verdict: &'static str,
    log: Vec<LogCheck>,
    #[serde(flatten)]
    subject: Option<LogSubject>,
    follows: Link,
    attestation: Option<&'a Attestation>,
}

#[derive(Serialize)]
struct LogCheck {
    check: &'static str,
    status: &'static str,
    finding: &'static str,
    detail: String,
}

#[derive(Serialize)]
struct LogSubject {
    origin: String,
    boot: String,
    audit_key: PublicKey,
    first: u64,
    count: u64,
    size: u64,
}

fn run_verify(args: &VerifyArgs) -> Result<Exit, Failure> {
    let [path] = args.files.as_slice() else { return dossier::run_verify_bundles(args) };
    if dossier::is_dossier(path)? {
        return dossier::run_verify(args, path);
    }
    args.dossier.require_none()?;
    let trust = if args.log_only { None } else { Some(args.trust.read()?) };
    let expectations = expectations(args)?;
    let file = File::open(path).map_err(|e| files::failed("open", path, &e))?;
    let report = verify(file, &expectations).map_err(|e| files::failed("read", path, &e))?;
    let attestation =
        trust.map(|trust| attestation::judge(&report, &trust.anchors, &trust.policies, trust.at));
    let exit = match &attestation {
        _ if !report.is_accepted() => Exit::NotProven,
        Some(attestation) => attestation.verdict.into(),
        None => Exit::Ok,
    };
    let verified = Verified {
        format: FORMAT,
        bundle: path.display().to_string(),
        verdict: verdict(exit),
        log: report.verdicts.iter().map(log_check).collect(),
        subject: subject(&report),
        follows: Link::of(&report),
        attestation: attestation.as_ref(),
    };
    if args.format.json {
        output::json(&verified)?;
    } else {
        output::text(&text(&verified))?;
    }
    Ok(exit)
}

fn witness_key(text: &str) -> Result<WitnessKey, String> {
    WitnessKey::parse(text).map_err(|e| e.to_string())
}

fn expectations(args: &VerifyArgs) -> Result<Expectations, Failure> {
    if args.earlier.len() > MAX_EARLIER {
        return Err(Failure::usage(format!("more than {MAX_EARLIER} earlier checkpoints")));
    }
    let origin = args.origin.as_deref().map(Origin::new).transpose();
    let read = |path: &PathBuf| files::read(path, MAX_CHECKPOINT_BYTES);
    let origin = origin.map_err(|e| Failure::usage(format!("--origin: {e}")))?;
    let of_key = args.audit_key.clone().map(AuditKey::expectations).unwrap_or_default();
    let witnesses = if args.witness.is_empty() {
        None
    } else {
        let quorum = Quorum::new(args.witness.clone(), args.witnesses_needed);
        Some(quorum.map_err(|e| Failure::usage(format!("--witness: {e}")))?)
    };
    Ok(Expectations {
        witnesses,
        origin: origin.or(of_key.origin),
        earlier: args.earlier.iter().map(read).collect::<Result<_, _>>()?,
        audit_key: of_key.audit_key,
        sizes: Vec::new(),
        clocks: args.witness.clone(),
    })
}

const fn verdict(exit: Exit) -> &'static str {
    match exit {
        Exit::Ok => "accepted",
        Exit::NotAuthentic => "not_authentic",
        Exit::NotAcceptable => "not_acceptable",
        Exit::EndorsementsUnavailable => "endorsements_unavailable",
        Exit::NotProven | Exit::Other | Exit::Usage | Exit::Widened | Exit::Otherwise => "not_proven",
    }
}

fn log_check(verdict: &anchorhold_audit_log::Verdict) -> LogCheck {
    let status = match verdict.status {
        Status::Passed => "passed",
        Status::Failed => "failed",
        Status::Noted => "noted",
        Status::NotApplicable => "not_applicable",
    };
    let (check, finding) = (verdict.check.name(), verdict.finding.code());
    LogCheck { check, status, finding, detail: verdict.finding.to_string() }
}

fn subject(report: &Report) -> Option<LogSubject> {
    report.manifest.as_ref().map(|manifest| LogSubject {
        origin: manifest.origin.to_string(),
        boot: manifest.boot.to_string(),
        audit_key: manifest.audit_key,
        first: manifest.first,
        count: manifest.count,
        size: manifest.size,
    })
}

fn text(verified: &Verified<'_>) -> String {
    let mut out = String::new();
    line(&mut out, "bundle", &verified.bundle);
    if let Some(subject) = &verified.subject {
        line(&mut out, "log", &subject.origin);
        line(&mut out, "boot", &subject.boot);
        line(&mut out, "audit key", &subject.audit_key.to_string());
        line(&mut out, "entries", &format!("{} from {} of {}", subject.count, subject.first, subject.size));
    }
    out.push('\n');
    for check in &verified.log {
        line(&mut out, check.check, &format!("{:15} {}", check.status, check.detail));
    }
    line(&mut out, "follows", &verified.follows.words());
    out.push('\n');
    match verified.attestation {
        None => line(&mut out, "evidence", "not judged (--log-only)"),
        Some(attestation) => {
            out.push_str(&output::table(&attestation.checks));
            out.push('\n');
            if let Some(measurement) = &attestation.measurement {
                line(&mut out, "measurement", &measurement.to_string());
            }
            if attestation.simulated {
                line(&mut out, "simulated", "true: the root is not AMD's, and nothing is protected");
            }
            let vouched = match attestation.verdict {
                Verdict::Accepted => "vouches for the audit key",
                _ => "does not vouch for the audit key",
            };
            let by = if attestation.is_witnessed { " (witnesses had seen it by then)" } else { "" };
            line(&mut out, "judged for", &format!("{}{by}", attestation.at));
            line(&mut out, "evidence", vouched);
        }
    }
    let simulated = verified.attestation.is_some_and(|attestation| attestation.simulated);
    let remark = if simulated { " (simulated)" } else { "" };
    line(&mut out, "verdict", &format!("{}{remark}", verified.verdict.replace('_', " ")));
    out
}

//! `anchorhold policy backtest`.

use super::about;
use crate::commands::audit::AuditKey;
use crate::exit::{Exit, Failure};
use crate::files;
use crate::output::{self, Format, plain, remark};
use anchorhold_audit_log::verify_each;
use anchorhold_key_release::{Backtest, Ending, Machines, ReleasePolicy};
use anchorhold_rats::Timestamp;
use serde::Serialize;
use std::fmt::Write as _;
use std::fs::File;
use std::path::PathBuf;

/// A new policy, and the logs that it is asked about.
#[derive(clap::Args)]
pub(crate) struct BacktestArgs {
    /// The new policy, TOML or signed
    file: PathBuf,
    /// A bundle of a key broker's log; may be repeated
    #[arg(long = "log", value_name = "BUNDLE", required = true)]
    logs: Vec<PathBuf>,
    /// The key that must have signed the logs: in hex, or as a note key, such as the `log_key` of a broker's `init`, which
    /// names the log too
    #[arg(long, value_name = "KEY")]
    audit_key: Option<AuditKey>,
    /// Only decisions from this time on, such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    #[command(flatten)]
    format: Format,
}

#[derive(Serialize)]
struct Outcome<'a> {
    policy: &'a str,
    version: u64,
    #[serde(flatten)]
    found: &'a Backtest,
}

pub(super) fn run(args: &BacktestArgs) -> Result<Exit, Failure> {
    let text = super::read_any(&args.file)?;
    let policy = ReleasePolicy::from_toml(&text).map_err(|e| about(&args.file, e))?;
    let mut found = Backtest::default();
    for path in &args.logs {
        read(path, args, &policy, &mut found)?;
    }
    if args.audit_key.is_none() {
        remark("anchorhold: warning: whose log it is was not judged; --audit-key names the broker's key");
    }
    if args.format.json {
        output::json(&Outcome { policy: policy.id(), version: policy.version(), found: &found })?;
    } else {
        output::text(&report(&found))?;
    }
    Ok(if found.is_unchanged() { Exit::Ok } else { Exit::Otherwise })
}

/// Asks about every decision of one log. What the log proves is known only at its end; nothing is told before.
fn read(
    path: &PathBuf,
    args: &BacktestArgs,
    policy: &ReleasePolicy,
    found: &mut Backtest,
) -> Result<(), Failure> {
    let file = File::open(path).map_err(|e| files::failed("open", path, &e))?;
    let expectations = args.audit_key.clone().map(AuditKey::expectations).unwrap_or_default();
    let since_ns = args.since.map_or(i64::MIN, |since| since.unix_seconds().saturating_mul(1_000_000_000));
    let report = verify_each(file, &expectations, |entry| {
        if entry.t >= since_ns {
            // The machines of a log stand under pseudonyms, whose key only the broker has.
            found.add(policy, entry, Machines::NotAsked);
        }
    });
    let report = report.map_err(|e| files::failed("read", path, &e))?;
    if report.is_accepted() {
        return Ok(());
    }
    let text = format!("{}: not proven to be a log", path.display());
    Err(Failure::new(Exit::NotProven, text).hint("`anchorhold audit verify --log-only` says why"))
}

fn word(ending: &Ending) -> String {
    match ending {
        Ending::Released { grant } => format!("released by grant {grant}"),
        Ending::Refused { code } => format!("refused ({code})"),
    }
}

fn report(found: &Backtest) -> String {
    let mut out = String::new();
    for changed in &found.changed {
        let model = changed.model.as_deref().unwrap_or("a model that the log does not tell");
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "entry {} of {}: {}, image {}\n  then {}\n  now  {}",
            changed.index,
            changed.at,
            plain(model),
            changed.measurement,
            plain(&word(&changed.then)),
            plain(&word(&changed.now))
        );
        for check in &changed.failed {
            let (code, wanted, observed) = (plain(&check.code), plain(&check.wanted), plain(&check.observed));
            let _ = writeln!(out, "       {code}: wanted {wanted}, observed {observed}");
        }
        let _ = writeln!(out, "       not asked: {}", changed.not_asked.join(", "));
    }
    let told = u64::try_from(found.changed.len()).unwrap_or(u64::MAX);
    let all = found.releases_refused + found.refusals_released;
    if all > told {
        let _ = writeln!(out, "and {} more", all - told);
    }
    let _ = writeln!(
        out,
        "{} of {} releases would have been refused\n{} of {} refusals would have been releases, as far as the log tells",
        found.releases_refused, found.releases, found.refusals_released, found.refusals
    );
    for (count, what) in [
        (found.of_resources, "decisions are about resources, of which no grant is asked"),
        (found.without_claims, "decisions have no claims to ask about"),
        (found.of_no_policy, "refusals were decided by no policy"),
        (found.unreadable, "decisions are of another version than this program reads"),
    ] {
        if count > 0 {
            let _ = writeln!(out, "{count} {what}");
        }
    }
    out
}

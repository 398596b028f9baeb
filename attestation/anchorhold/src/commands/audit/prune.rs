//! `anchorhold audit prune`: entries whose time has come go, and their proofs stay.

use super::archive::{Changed, failure, time};
use crate::exit::{Exit, Failure};
use crate::files;
use crate::output::{self, Format, line, remark};
use anchorhold_audit_archive::{MAX_RETENTION_BYTES, Plan, Retention, Selection, Why};
use serde::Serialize;
use std::path::PathBuf;

/// Remove the entries of an archive whose time has come; every proof still verifies
///
/// A log loses its first entries, up to the first one that a profile or a hold keeps. Hashes, checkpoints, cosignatures and evidence stay, and
/// the archive's log says which entries went, and why. The longest of the selected profiles decides for each kind of entry. The time of an
/// entry is what its guest said, which is its key broker's; where witnesses contradict that by more than a day, it is theirs.
#[derive(clap::Args)]
pub(crate) struct PruneArgs {
    #[command(flatten)]
    changed: Changed,
    /// A retention profile: default, pci, aiact or hipaa; may be repeated
    #[arg(long, value_name = "NAME", required = true)]
    profile: Vec<String>,
    /// Profiles instead of those that come with the program
    #[arg(long, value_name = "FILE")]
    profiles: Option<PathBuf>,
    /// Only say what would go
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    format: Format,
}

#[derive(Serialize)]
struct Told {
    dry_run: bool,
    profiles: Vec<ProfileTold>,
    logs: Vec<LogTold>,
}

#[derive(Serialize)]
struct ProfileTold {
    id: String,
    months: u32,
    online_months: u32,
    reason: String,
}

#[derive(Serialize)]
struct LogTold {
    origin: String,
    size: u64,
    gone: u64,
    first_kept: u64,
    keys_destroyed: usize,
    kept_by: Option<String>,
}

pub(super) fn run(args: &PruneArgs) -> Result<Exit, Failure> {
    let selection = selection(args)?;
    let now_ns = args.changed.at_ns()?;
    let mut archivist = args.changed.open()?;
    let plans = if args.dry_run {
        archivist.archive().plan(&selection, now_ns)
    } else {
        archivist.prune(&selection, now_ns)
    };
    let plans = plans.map_err(failure)?;
    let profiles = selection.profiles().iter().map(|profile| ProfileTold {
        id: profile.id.to_string(),
        months: profile.months,
        online_months: profile.online_months,
        reason: profile.reason.clone(),
    });
    let told =
        Told { dry_run: args.dry_run, profiles: profiles.collect(), logs: plans.iter().map(told).collect() };
    if args.format.json {
        output::json(&told)?;
    } else {
        output::text(&text(&told))?;
    }
    if args.dry_run {
        remark("nothing was removed");
    }
    Ok(Exit::Ok)
}

fn selection(args: &PruneArgs) -> Result<Selection, Failure> {
    let text = match &args.profiles {
        Some(path) => files::read_text(path, MAX_RETENTION_BYTES)?,
        None => Retention::BUILT_IN.to_owned(),
    };
    let retention = Retention::from_json(&text).map_err(|e| Failure::usage(format!("--profiles: {e}")))?;
    retention.select(&args.profile).map_err(|e| Failure::usage(format!("--profile: {e}")))
}

fn told(plan: &Plan) -> LogTold {
    LogTold {
        origin: plan.origin.to_string(),
        size: plan.size,
        gone: plan.end - plan.first,
        first_kept: plan.end,
        keys_destroyed: plan.kids.len(),
        kept_by: plan.kept.as_ref().map(|why| match why {
            Why::Young { until_ns } => format!("retention until {}", time(*until_ns)),
            Why::Held { hold } => format!("hold {hold}"),
        }),
    }
}

fn text(told: &Told) -> String {
    let mut out = String::new();
    for profile in &told.profiles {
        line(&mut out, "profile", &format!("{}: {} months", profile.id, profile.months));
    }
    for log in &told.logs {
        out.push('\n');
        line(&mut out, "log", &log.origin);
        line(&mut out, "gone", &format!("{} entries, {} keys", log.gone, log.keys_destroyed));
        let kept = log.kept_by.as_deref().unwrap_or("nothing");
        line(&mut out, "kept", &format!("{} to {} by {kept}", log.first_kept, log.size));
    }
    out
}

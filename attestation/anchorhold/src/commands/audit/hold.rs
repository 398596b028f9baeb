//! `anchorhold audit hold`: entries that must be kept, whatever their time.

use super::archive::{Changed, failure, time};
use crate::exit::{Exit, Failure};
use crate::output::{self, Format, line};
use anchorhold_audit_archive::{Archive, Hold, Scope};
use anchorhold_audit_log::{Code, HoldId, Origin, TenantId};
use anchorhold_rats::Timestamp;
use serde::Serialize;
use std::path::PathBuf;

/// What to do with holds.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    #[command(
        after_help = "Examples:\n  anchorhold audit hold place archive --key archivist.key --id case-2026-17 --reason litigation --tenant clinic\n  \
        anchorhold audit hold place archive --key archivist.key --id tax --reason gdpr_17_3_b --until 2027-01-01T00:00:00Z"
    )]
    Place(PlaceArgs),
    #[command(
        after_help = "Example:\n  anchorhold audit hold release archive --key archivist.key --id case-2026-17 --reason case_closed"
    )]
    Release(ReleaseArgs),
    #[command(after_help = "Example:\n  anchorhold audit hold list archive")]
    List(ListArgs),
}

/// Keep entries from being pruned, and their personal parts from being erased
///
/// What is not said restricts nothing: without --origin, --tenant, --since and --until a hold covers everything. A law that forbids an erasure
/// (GDPR, article 17(3)) is a hold with that reason. Placing and releasing are entries of the archive's log.
#[derive(clap::Args)]
pub(crate) struct PlaceArgs {
    #[command(flatten)]
    changed: Changed,
    /// The hold's name, used once
    #[arg(long, value_name = "ID")]
    id: HoldId,
    /// Why, as a code: lower-case letters, digits, `_` and `.`
    #[arg(long, value_name = "CODE")]
    reason: Code,
    /// Only entries of this log
    #[arg(long, value_name = "ORIGIN")]
    origin: Option<Origin>,
    /// Only entries about this tenant
    #[arg(long, value_name = "TENANT")]
    tenant: Option<TenantId>,
    /// Only entries from this time on
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Only entries before this time
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    #[command(flatten)]
    format: Format,
}

/// Release a hold; its name stays used
#[derive(clap::Args)]
pub(crate) struct ReleaseArgs {
    #[command(flatten)]
    changed: Changed,
    /// The hold's name
    #[arg(long, value_name = "ID")]
    id: HoldId,
    /// Why, as a code
    #[arg(long, value_name = "CODE")]
    reason: Code,
    #[command(flatten)]
    format: Format,
}

/// List every hold that was ever placed
#[derive(clap::Args)]
pub(crate) struct ListArgs {
    /// The archive's folder
    archive: PathBuf,
    #[command(flatten)]
    format: Format,
}

#[derive(Serialize)]
struct Act {
    hold: String,
    act: u64,
}

#[derive(Serialize)]
struct Listed {
    id: String,
    reason: String,
    stands: bool,
    placed_by: u64,
    released_by: Option<u64>,
    origin: Option<String>,
    tenant: Option<String>,
    since: Option<String>,
    until: Option<String>,
}

pub(super) fn run(command: &Command) -> Result<Exit, Failure> {
    match command {
        Command::Place(args) => place(args),
        Command::Release(args) => release(args),
        Command::List(args) => list(args),
    }
}

fn place(args: &PlaceArgs) -> Result<Exit, Failure> {
    let ns = |at: Timestamp| at.unix_seconds().saturating_mul(1_000_000_000);
    let scope = Scope {
        origin: args.origin.clone(),
        tenant: args.tenant.clone(),
        since_ns: args.since.map(ns),
        until_ns: args.until.map(ns),
    };
    let at_ns = args.changed.at_ns()?;
    let placed = args.changed.open()?.place_hold(args.id.clone(), scope, args.reason.clone(), at_ns);
    say(&args.id, placed.map_err(failure)?, args.format)
}

fn release(args: &ReleaseArgs) -> Result<Exit, Failure> {
    let at_ns = args.changed.at_ns()?;
    let released = args.changed.open()?.release_hold(args.id.clone(), args.reason.clone(), at_ns);
    say(&args.id, released.map_err(failure)?, args.format)
}

fn say(hold: &HoldId, act: u64, format: Format) -> Result<Exit, Failure> {
    let act = Act { hold: hold.to_string(), act };
    if format.json {
        output::json(&act)?;
    } else {
        let mut out = String::new();
        line(&mut out, "hold", &act.hold);
        line(&mut out, "act", &act.act.to_string());
        output::text(&out)?;
    }
    Ok(Exit::Ok)
}

fn list(args: &ListArgs) -> Result<Exit, Failure> {
    let archive = Archive::open(&args.archive).map_err(failure)?;
    let listed: Vec<Listed> = archive.state().holds.iter().map(|(id, hold)| listed(id, hold)).collect();
    if args.format.json {
        output::json(&listed)?;
        return Ok(Exit::Ok);
    }
    let mut out = String::new();
    for hold in &listed {
        line(&mut out, "hold", &hold.id);
        let stands = if hold.stands { "stands" } else { "released" };
        line(&mut out, "state", &format!("{stands}, {}", hold.reason));
        let parts =
            [("log", &hold.origin), ("tenant", &hold.tenant), ("since", &hold.since), ("until", &hold.until)];
        for (name, value) in parts {
            line(&mut out, name, value.as_deref().unwrap_or("any"));
        }
        out.push('\n');
    }
    if listed.is_empty() {
        out.push_str("no hold was ever placed\n");
    }
    output::text(&out)?;
    Ok(Exit::Ok)
}

fn listed(id: &HoldId, hold: &Hold) -> Listed {
    Listed {
        id: id.to_string(),
        reason: hold.reason.to_string(),
        stands: hold.released.is_none(),
        placed_by: hold.placed,
        released_by: hold.released,
        origin: hold.scope.origin.as_ref().map(ToString::to_string),
        tenant: hold.scope.tenant.as_ref().map(ToString::to_string),
        since: hold.scope.since_ns.map(time),
        until: hold.scope.until_ns.map(time),
    }
}

//! `anchorhold audit stats`: what a bundle tells, in numbers.

use super::AuditKey;
use super::entries::{Bundle, Which, not_proven};
use crate::exit::{Exit, Failure};
use crate::output::{self, Format, line};
use anchorhold_audit_report::{Stats, Tally, utc};
use serde::Serialize;
use std::fmt::Write as _;
use std::path::PathBuf;

const FORMAT: &str = "urn:anchorhold:audit-stats:v1";
const NS_PER_S: u64 = 1_000_000_000;
const NS_PER_MS: u64 = 1_000_000;

/// Count what the entries of a bundle tell: kinds, outcomes, refusals, tenants, models, tokens, silence
///
/// The log is verified first (order, leaves, root, signature), and nothing is said of one that is not proven. Whose key signed it,
/// `audit verify` says. Times and counts are what the guest said.
#[derive(clap::Args)]
pub(crate) struct StatsArgs {
    /// The bundle
    file: PathBuf,
    #[command(flatten)]
    which: Which,
    /// The key that must have signed the log: in hex, or as a note key
    #[arg(long, value_name = "KEY")]
    audit_key: Option<AuditKey>,
    #[command(flatten)]
    format: Format,
}

#[derive(Serialize)]
struct Counted {
    format: &'static str,
    origin: String,
    /// What was asked for, where not everything was.
    scope: Option<String>,
    #[serde(flatten)]
    stats: Stats,
}

pub(super) fn run(args: &StatsArgs) -> Result<Exit, Failure> {
    let filter = args.which.filter()?;
    let expectations = args.audit_key.clone().map(AuditKey::expectations).unwrap_or_default();
    let mut stats = Stats::default();
    let report = Bundle { path: &args.file, expectations: &expectations }.verify_each(|entry| {
        if filter.takes(entry) {
            stats.take(entry);
        }
    })?;
    let (Some(manifest), true) = (&report.manifest, report.is_accepted()) else {
        return Ok(not_proven(&report));
    };
    let (origin, scope) = (manifest.origin.to_string(), args.which.words());
    let counted = Counted { format: FORMAT, origin, scope, stats };
    if args.format.json {
        output::json(&counted)?;
    } else {
        output::text(&text(&counted))?;
    }
    Ok(Exit::Ok)
}

fn text(Counted { origin, scope, stats, .. }: &Counted) -> String {
    let mut out = String::new();
    line(&mut out, "log", origin);
    if let Some(scope) = scope {
        line(&mut out, "only", scope);
    }
    line(&mut out, "entries", &stats.entries.to_string());
    if let Some((first, last)) = stats.times_ns {
        line(&mut out, "first", &utc(first));
        line(&mut out, "last", &utc(last));
    }
    if let Some(silence) = stats.silence {
        let (seconds, ms) = (silence.ns / NS_PER_S, silence.ns % NS_PER_S / NS_PER_MS);
        let text = format!("{seconds}.{ms:03} s at most, before entry {}", silence.ended_by);
        line(&mut out, "silence", &text);
    }
    let tokens = format!("{} in, {} out", stats.prompt_tokens, stats.generated_tokens);
    line(&mut out, "tokens", &tokens);
    for (title, tally) in [
        ("kinds", &stats.kinds),
        ("outcomes", &stats.outcomes),
        ("reasons of what did not succeed", &stats.reasons),
        ("tenants", &stats.tenants),
        ("models", &stats.models),
    ] {
        table(&mut out, title, tally);
    }
    out
}

/// The names and how often they came, the most frequent first; nothing where there are none.
fn table(out: &mut String, title: &str, tally: &Tally) {
    if tally.named.is_empty() {
        return;
    }
    let mut rows: Vec<_> = tally.named.iter().map(|(name, count)| (*count, name.as_str())).collect();
    rows.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    if tally.others > 0 {
        rows.push((tally.others, "others"));
    }
    // Writing to a string cannot fail.
    let _ = writeln!(out, "\n{title}");
    for (count, name) in rows {
        let _ = writeln!(out, "{count:>12}  {}", output::plain(name));
    }
}

//! `anchorhold audit report`: the page for an auditor, from verified bundles.

use super::entries::{Bundle, Choice};
use super::{AuditKey, log_check, verdict};
use crate::exit::{Exit, Failure};
use crate::files;
use crate::output::{self, Format, remark};
use crate::trust::{Trust, TrustArgs};
use anchorhold_audit_log::cosignature::WitnessKey;
use anchorhold_audit_log::{Check, Expectations, Report};
use anchorhold_audit_report::Summary;
use anchorhold_audit_report::controls::{Controls, MAX_CONTROLS_BYTES};
use anchorhold_audit_report::html::{Drawn, Judged, LogPart, Report as Page, page};
use anchorhold_channel::Verdict;
use anchorhold_dossier::attestation::{self, Attestation};
use anchorhold_dossier::chain::{self, Boot};
use anchorhold_dossier::{Link, Status};
use anchorhold_rats::{Check as Rule, Outcome};
use serde::Serialize;
use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The most bundles of one report.
const MAX_BUNDLES: usize = 256;

/// Make the report for an auditor: verdicts, boots, refusals, changes, control tables, samples
///
/// One static page without script, the same bytes for the same bundles and flags, --at among them. A guest's log is judged with the evidence in its bundle,
/// so --measurement, --profile or --policy is needed; a key broker's log holds no evidence, so its key must be given. The page is made
/// also when a log is not proven, and says so; the command then does not end with 0.
#[derive(clap::Args)]
pub(crate) struct ReportArgs {
    #[command(flatten)]
    page: PageArgs,
    /// The page to make; must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    format: Format,
}

/// What a page is made of.
#[derive(clap::Args)]
pub(super) struct PageArgs {
    /// The bundles: one for each boot, and those of key brokers
    #[arg(required = true, num_args = 1..=MAX_BUNDLES)]
    pub(super) files: Vec<PathBuf>,
    #[command(flatten)]
    trust: TrustArgs,
    /// The key of a log without evidence: in hex, or as a note key; may be repeated
    #[arg(long, value_name = "KEY")]
    audit_key: Vec<AuditKey>,
    /// A witness whose times are believed: entries are held to them, and evidence is judged for the time by which it had seen it; may be
    /// repeated
    #[arg(long, value_name = "KEY", value_parser = super::witness_key)]
    witness: Vec<WitnessKey>,
    #[command(flatten)]
    pub(super) choice: Choice,
    /// Tables of controls instead of those that come with the program
    #[arg(long, value_name = "FILE")]
    controls: Option<PathBuf>,
}

/// A page, and what it says.
pub(super) struct MadePage {
    pub(super) text: String,
    pub(super) controls_json: Vec<u8>,
    pub(super) worst: Exit,
    pub(super) logs: Vec<LogPart>,
}

#[derive(Serialize)]
struct Made {
    verdict: &'static str,
    logs: Vec<MadeLog>,
}

#[derive(Serialize)]
struct MadeLog {
    bundle: String,
    origin: String,
    verdict: String,
    entries: u64,
}

pub(super) fn make_page(args: &PageArgs) -> Result<MadePage, Failure> {
    let controls_json = match &args.controls {
        None => Controls::BUILT_IN.as_bytes().to_vec(),
        Some(path) => files::read(path, MAX_CONTROLS_BYTES)?,
    };
    let controls =
        std::str::from_utf8(&controls_json).map_err(|e| Failure::usage(format!("--controls: {e}")))?;
    let controls = Controls::from_json(controls).map_err(|e| Failure::usage(e.to_string()))?;
    let trust = OnceCell::new();
    let read = args.files.iter().map(|path| log_read(args, path, &trust)).collect::<Result<Vec<_>, _>>()?;
    let sizes = chain::sizes(&read.iter().map(ReadLog::boot).collect::<Vec<_>>());
    let (mut bundles, mut made) = (Vec::new(), Vec::new());
    for (log, sizes) in read.into_iter().zip(sizes) {
        let (summary, again) = log.count(args, sizes)?;
        bundles.push((log.name(), again));
        made.push((log, summary));
    }
    let boots: Vec<Boot<'_>> = bundles.iter().map(|(name, bundle)| Boot { name, bundle }).collect();
    let links = chain::links(&boots);
    let (status, detail) = chain::judge(&boots, &links);
    let chained = Judged { check: "chain".to_owned(), status: status.name().to_owned(), detail };
    let exits = made.iter().map(|(log, _)| log.exit);
    let broken = (status == Status::Failed).then_some(Exit::NotProven);
    let worst = exits.chain(broken).find(|exit| *exit != Exit::Ok).unwrap_or(Exit::Ok);
    let logs: Vec<LogPart> =
        made.into_iter().zip(&links).map(|((log, summary), link)| log.part(args, summary, link)).collect();
    let scope = args.choice.which.words();
    let at = trust.get().map(|trust| trust.at.to_string());
    let text = page(&Page {
        scope: scope.as_deref(),
        judged_at: at.as_deref(),
        logs: &logs,
        chain: &chained,
        controls: &controls,
    });
    Ok(MadePage { text, controls_json, worst, logs })
}

pub(super) fn run(args: &ReportArgs) -> Result<Exit, Failure> {
    let MadePage { text, worst, logs, .. } = make_page(&args.page)?;
    let file = files::create_private(&args.out)?;
    files::write(&file, &args.out, text.as_bytes())?;
    let of_log = |log: &LogPart| MadeLog {
        bundle: log.file.clone(),
        origin: log.origin.clone(),
        verdict: log.verdict.clone(),
        entries: log.summary.entries(),
    };
    let made = Made { verdict: verdict(worst), logs: logs.iter().map(of_log).collect() };
    if args.format.json {
        output::json(&made)?;
    } else {
        let mut out = String::new();
        for log in &made.logs {
            output::line(
                &mut out,
                "log",
                &format!("{} ({} entries): {}", log.origin, log.entries, log.verdict),
            );
        }
        output::line(&mut out, "verdict", &made.verdict.replace('_', " "));
        output::text(&out)?;
    }
    if worst != Exit::Ok {
        remark("the page says of which log nothing is proven");
    }
    Ok(worst)
}

/// A bundle that was verified, with what was found out of whose it is.
struct ReadLog<'a> {
    path: &'a Path,
    report: Report,
    exit: Exit,
    attestation: Option<Attestation>,
    /// The indexes of the sample, and among how many they were drawn.
    drawn: Option<(BTreeSet<u64>, u64)>,
}

/// Verifies one bundle, judges whose key signed it, and draws the sample.
fn log_read<'a>(args: &PageArgs, path: &'a Path, trust: &OnceCell<Trust>) -> Result<ReadLog<'a>, Failure> {
    let expectations = Expectations { clocks: args.witness.clone(), ..Expectations::default() };
    let bundle = Bundle { path, expectations: &expectations };
    let report = Report { anchors: Vec::new(), ..bundle.verify_each(|_| ())? };
    let drawn = match (args.choice.draw(), &report.checkpoint) {
        (Some(draw), Some(checkpoint)) if report.is_accepted() => {
            let filter = args.choice.which.filter()?;
            Some(bundle.draw(checkpoint.head.root, |entry| filter.takes(entry), draw)?)
        }
        _ => None,
    };
    let (exit, attestation) = whose(args, &report, trust)?;
    // It was judged, and of many logs it would be much.
    let report = Report { evidence: None, ..report };
    Ok(ReadLog { path, report, exit, attestation, drawn })
}

impl ReadLog<'_> {
    fn name(&self) -> String {
        self.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }

    fn boot(&self) -> Boot<'_> {
        Boot { name: "", bundle: &self.report }
    }

    /// Reads the bundle again and counts what it tells; `sizes` are those at which other logs name it.
    fn count(&self, args: &PageArgs, sizes: Vec<u64>) -> Result<(Summary, Report), Failure> {
        let clocks = args.witness.clone();
        let expectations = Expectations { sizes, clocks, ..Expectations::default() };
        let filter = args.choice.which.filter()?;
        let mut summary = Summary::default();
        let bundle = Bundle { path: self.path, expectations: &expectations };
        let again = bundle.verify_each(|entry| {
            if filter.takes(entry) {
                summary.take(entry);
            }
            if self.drawn.as_ref().is_some_and(|(indexes, _)| indexes.contains(&entry.seq)) {
                summary.show(entry);
            }
        })?;
        if again.checkpoint != self.report.checkpoint {
            return Err(Failure::other(format!("{} was changed while it was read", self.path.display())));
        }
        Ok((summary, Report { evidence: None, anchors: Vec::new(), ..again }))
    }
}

/// Whether the log's key is one that evidence vouches for, or one that was given.
fn whose(
    args: &PageArgs,
    report: &Report,
    trust: &OnceCell<Trust>,
) -> Result<(Exit, Option<Attestation>), Failure> {
    if !report.is_accepted() {
        return Ok((Exit::NotProven, None));
    }
    if report.evidence.is_none() {
        let known = report.manifest.as_ref().is_some_and(|manifest| {
            args.audit_key.iter().any(|key| {
                let wanted = key.clone().expectations();
                wanted.audit_key == Some(manifest.audit_key)
                    && wanted.origin.is_none_or(|origin| origin == manifest.origin)
            })
        });
        return Ok((if known { Exit::Ok } else { Exit::NotProven }, None));
    }
    let trust = match trust.get() {
        Some(trust) => trust,
        None => {
            let read = args.trust.read()?;
            trust.get_or_init(|| read)
        }
    };
    let attestation = attestation::judge(report, &trust.anchors, &trust.policies, trust.at);
    Ok((attestation.verdict.into(), Some(attestation)))
}

impl ReadLog<'_> {
    fn part(self, args: &PageArgs, summary: Summary, link: &Link) -> LogPart {
        let file = self.name();
        let Self { report, exit, attestation, drawn, .. } = self;
        let word = args.choice.draw().map(|(word, _)| word.to_owned()).unwrap_or_default();
        let drawn = drawn.map(|(indexes, population)| Drawn {
            word,
            population,
            indexes: indexes.into_iter().collect(),
        });
        let attestation = attestation.as_ref();
        let manifest = report.manifest.as_ref();
        let mut judged: Vec<Judged> = report
            .verdicts
            .iter()
            .map(log_check)
            .map(|check| Judged {
                check: check.check.to_owned(),
                status: check.status.to_owned(),
                detail: check.detail,
            })
            .collect();
        if attestation.is_none() && report.is_accepted() {
            judged.push(Judged {
                check: "audit_key".to_owned(),
                status: if exit == Exit::Ok { "passed" } else { "failed" }.to_owned(),
                detail: if exit == Exit::Ok {
                    "the key that was given"
                } else {
                    "no evidence, and not a key that was given"
                }
                .to_owned(),
            });
        }
        let ending =
            report.verdict(Check::Closure).map_or_else(String::new, |closure| closure.finding.to_string());
        LogPart {
            file,
            origin: manifest.map_or_else(|| "unknown".to_owned(), |manifest| manifest.origin.to_string()),
            boot: manifest.map_or_else(String::new, |manifest| manifest.boot.to_string()),
            first: manifest.map_or(0, |manifest| manifest.first),
            size: manifest.map_or(0, |manifest| manifest.size),
            root: report
                .checkpoint
                .as_ref()
                .map_or_else(String::new, |checkpoint| checkpoint.head.root.to_string()),
            verdict: verdict(exit).to_owned(),
            simulated: attestation.is_some_and(|attestation| attestation.simulated),
            measurement: attestation
                .filter(|attestation| attestation.verdict == Verdict::Accepted)
                .and_then(|attestation| attestation.measurement)
                .map(|measurement| measurement.to_string()),
            judged,
            evidence: attestation
                .map_or_else(Vec::new, |attestation| attestation.checks.all().iter().map(rule).collect()),
            ending,
            follows: link.words(),
            drawn,
            summary,
        }
    }
}

fn rule(check: &Rule) -> Judged {
    let status = match check.outcome {
        Outcome::Passed => "passed",
        Outcome::Failed => "failed",
        Outcome::Skipped => "not_applicable",
    };
    let detail = if check.wanted == check.observed {
        check.observed.to_string()
    } else {
        format!("{}; wanted: {}", check.observed, check.wanted)
    };
    Judged { check: check.code.to_string(), status: status.to_owned(), detail }
}

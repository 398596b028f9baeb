//! `anchorhold audit entries`: the entries of a bundle as events, rows or lines.

use super::{AuditKey, log_check};
use crate::exit::{Exit, Failure};
use crate::files;
use crate::output::{self, Metered, remark};
use anchorhold_audit_log::{Entry, Expectations, Hash, Manifest, Outcome, Report, TenantId, verify_each};
use anchorhold_audit_report::{Filter, MAX_SAMPLE, Sample, csv, ocsf, parquet};
use anchorhold_rats::Timestamp;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Write the entries of a bundle as OCSF events, CSV or as they were hashed
///
/// The log is verified first (order, leaves, root, signature), and nothing is written of one that is not proven. Whose key signed it,
/// `audit verify` says. Times are what the guest's clock said. Memory does not grow with the bundle.
#[derive(clap::Args)]
pub(crate) struct EntriesArgs {
    /// The bundle
    file: PathBuf,
    /// In which form
    #[arg(long = "as", value_name = "FORM", value_enum, default_value_t = Form::Jsonl)]
    form: Form,
    /// The file to make, which must not exist [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    span: Span,
    #[command(flatten)]
    choice: Choice,
    /// The key that must have signed the log: in hex, or as a note key
    #[arg(long, value_name = "KEY")]
    audit_key: Option<AuditKey>,
}

/// How entries are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// As they were hashed, one to a line
    Jsonl,
    /// Events of OCSF 1.8, one to a line
    Ocsf,
    /// Rows for a spreadsheet
    Csv,
    /// Columns for DuckDB, pandas and the like; needs --out
    Parquet,
}

/// Which entries, by where they stand in the log.
#[derive(clap::Args)]
pub(super) struct Span {
    /// One entry
    #[arg(long, value_name = "INDEX", conflicts_with_all = ["from", "to"])]
    index: Option<u64>,
    /// The first entry of several
    #[arg(long, value_name = "INDEX", requires = "to")]
    from: Option<u64>,
    /// The entry before which to stop
    #[arg(long, value_name = "INDEX", requires = "from")]
    to: Option<u64>,
}

impl Span {
    /// The indexes that were asked for, if any were.
    pub(super) fn range(&self) -> Option<Range<u64>> {
        match self.index {
            Some(index) => Some(index..index.saturating_add(1)),
            None => self.from.zip(self.to).map(|(from, to)| from..to),
        }
    }
}

/// Which entries, by what stands in them.
#[derive(clap::Args)]
pub(super) struct Which {
    /// Only from this time on, such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Only before this time
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// Only of this tenant
    #[arg(long, value_name = "TENANT")]
    tenant: Option<TenantId>,
    /// Only of the caller with this pseudonym, in hex, as its entries of one boot and 90 days name it
    #[arg(long, value_name = "HEX")]
    pseudonym: Option<Hash>,
    /// Only of this kind, such as key.release; may be repeated
    #[arg(long = "type", value_name = "KIND")]
    kinds: Vec<String>,
    /// Only with this end
    #[arg(long, value_name = "OUTCOME", value_enum)]
    outcome: Option<Ended>,
}

/// Which entries, and how many of them.
#[derive(clap::Args)]
pub(super) struct Choice {
    #[command(flatten)]
    pub(super) which: Which,
    /// Only this many of them, drawn by the log's root hash and the word
    #[arg(long, value_name = "N", requires = "word", value_parser = clap::value_parser!(u64).range(1..=MAX_SAMPLE as u64))]
    sample: Option<u64>,
    /// The auditor's word for the draw, chosen after the log was exported
    #[arg(long, value_name = "WORD", requires = "sample")]
    word: Option<String>,
}

/// How something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Ended {
    Success,
    Failure,
    Denied,
    Cancelled,
    Error,
}

impl Which {
    pub(super) fn filter(&self) -> Result<Filter, Failure> {
        let ns = |at: Timestamp| at.unix_seconds().saturating_mul(1_000_000_000);
        let mut filter = Filter {
            since_ns: self.since.map(ns),
            until_ns: self.until.map(ns),
            tenant: self.tenant.clone(),
            pseudonym: self.pseudonym,
            outcome: self.outcome.map(|ended| match ended {
                Ended::Success => Outcome::Success,
                Ended::Failure => Outcome::Failure,
                Ended::Denied => Outcome::Denied,
                Ended::Cancelled => Outcome::Cancelled,
                Ended::Error => Outcome::Error,
            }),
            ..Filter::default()
        };
        match self.kinds.iter().find(|name| !filter.add_kind(name)) {
            None => Ok(filter),
            Some(name) => Err(Failure::usage(format!("--type {name}: there is no such kind of entry"))),
        }
    }

    /// What was asked for, in words; none where everything is.
    pub(super) fn words(&self) -> Option<String> {
        let mut words = Vec::new();
        words.extend(self.since.map(|at| format!("time from {at}")));
        words.extend(self.until.map(|at| format!("time before {at}")));
        words.extend(self.tenant.as_ref().map(|tenant| format!("tenant {tenant}")));
        words.extend(self.pseudonym.map(|pseudonym| format!("pseudonym {pseudonym}")));
        words.extend((!self.kinds.is_empty()).then(|| format!("kind {}", self.kinds.join(" or "))));
        words.extend(self.outcome.map(|ended| format!("outcome {ended:?}").to_lowercase()));
        (!words.is_empty()).then(|| words.join(", "))
    }
}

impl Choice {
    /// The draw, if there is one: its word and how many.
    pub(super) fn draw(&self) -> Option<(&str, usize)> {
        let wanted = self.sample.and_then(|wanted| usize::try_from(wanted).ok());
        self.word.as_deref().zip(wanted)
    }
}

/// A bundle that is read more than once.
pub(super) struct Bundle<'a> {
    pub(super) path: &'a Path,
    pub(super) expectations: &'a Expectations,
}

impl Bundle<'_> {
    /// Verifies the bundle and calls `visit` with each entry.
    pub(super) fn verify_each(&self, visit: impl FnMut(&Entry)) -> Result<Report, Failure> {
        let file = File::open(self.path).map_err(|e| files::failed("open", self.path, &e))?;
        let file = Metered::new(file, "read");
        verify_each(file, self.expectations, visit).map_err(|e| files::failed("read", self.path, &e))
    }

    /// Draws among these entries, by the root hash of a log that was proven; with it, how many there were.
    pub(super) fn draw(
        &self,
        root: Hash,
        takes: impl Fn(&Entry) -> bool,
        (word, wanted): (&str, usize),
    ) -> Result<(BTreeSet<u64>, u64), Failure> {
        let mut sample = Sample::new(root, word, wanted);
        self.verify_each(|entry| {
            if takes(entry) {
                sample.offer(entry.seq);
            }
        })?;
        let population = sample.population();
        Ok((sample.drawn().into_iter().collect(), population))
    }
}

pub(super) fn run(args: &EntriesArgs) -> Result<Exit, Failure> {
    if args.form == Form::Parquet && args.out.is_none() {
        return Err(Failure::usage("--as parquet is not for a terminal: name a file with --out"));
    }
    let filter = args.choice.which.filter()?;
    let expectations = args.audit_key.clone().map(AuditKey::expectations).unwrap_or_default();
    let bundle = Bundle { path: &args.file, expectations: &expectations };
    let report = bundle.verify_each(|_| ())?;
    let (Some(manifest), Some(checkpoint), true) =
        (&report.manifest, &report.checkpoint, report.is_accepted())
    else {
        return Ok(not_proven(&report));
    };
    let held = manifest.first..manifest.first + manifest.count;
    let span = args.span.range().unwrap_or(held.clone());
    if span.is_empty() || span.start < held.start || span.end > held.end {
        let text = format!("the bundle holds the entries from {} to before {}", held.start, held.end);
        return Err(Failure::usage(format!("there are no such entries: {text}")));
    }
    let takes = |entry: &Entry| span.contains(&entry.seq) && filter.takes(entry);
    let chosen = match args.choice.draw() {
        None => None,
        Some(draw) => {
            let (indexes, population) = bundle.draw(checkpoint.head.root, takes, draw)?;
            remark(&format!("drew {} of {population} entries", indexes.len()));
            Some(indexes)
        }
    };
    let file = args.out.as_ref().map(|path| files::create_private(path)).transpose()?;
    let out: Box<dyn Write> = match &file {
        Some(file) => Box::new(file.try_clone().map_err(Failure::other)?),
        None => Box::new(std::io::stdout().lock()),
    };
    let mut writer = EntryWriter::begin(out, args.form, manifest.origin.to_string());
    let again = bundle.verify_each(|entry| {
        if takes(entry) && chosen.as_ref().is_none_or(|chosen| chosen.contains(&entry.seq)) {
            writer.write(entry);
        }
    })?;
    let written = writer.end();
    let synced = written.and_then(|written| file.as_ref().map_or(Ok(()), File::sync_all).map(|()| written));
    let written = synced.map_err(|e| Failure::other(format!("write the entries: {e}")))?;
    if again.checkpoint != report.checkpoint || !again.is_accepted() {
        return Err(Failure::other("the bundle was changed while it was read"));
    }
    remark(&format!("wrote {written} entries of a log that is complete for its range and signed by its key"));
    Ok(Exit::Ok)
}

/// Refuses a bundle of a part of its log, where `what` ("tiles are") made of all of it.
pub(super) fn require_whole(manifest: &Manifest, what: &str) -> Result<(), Failure> {
    if manifest.is_whole() {
        return Ok(());
    }
    let failure = Failure::other(format!("the bundle holds a part of its log, and {what} made of all of it"));
    Err(failure.hint("export without --from and --to"))
}

/// Says which checks failed, of a log of which nothing was given out.
pub(super) fn not_proven(report: &Report) -> Exit {
    for check in report.verdicts.iter().map(log_check).filter(|check| check.status == "failed") {
        remark(&format!("{}: {}", check.check, output::plain(&check.detail)));
    }
    remark("verdict: not proven; nothing was written");
    Exit::NotProven
}

/// Writes entries and remembers the first failure, after which it writes nothing.
struct EntryWriter<W: Write> {
    out: Out<W>,
    form: Form,
    origin: String,
    written: u64,
    failed: Option<std::io::Error>,
}

/// Lines, or a file of columns.
enum Out<W: Write> {
    Lines(BufWriter<W>),
    Columns(Box<parquet::Writer<BufWriter<W>>>),
    /// It could not be begun.
    None,
}

impl<W: Write> EntryWriter<W> {
    fn begin(out: W, form: Form, origin: String) -> Self {
        let out = BufWriter::with_capacity(256 * 1024, out);
        let (out, failed) = match form {
            Form::Parquet => match parquet::Writer::new(out) {
                Ok(writer) => (Out::Columns(Box::new(writer)), None),
                Err(error) => (Out::None, Some(error)),
            },
            Form::Jsonl | Form::Ocsf | Form::Csv => (Out::Lines(out), None),
        };
        let mut writer = Self { out, form, origin, written: 0, failed };
        if form == Form::Csv {
            writer.put(csv::header().as_bytes());
        }
        writer
    }

    fn write(&mut self, entry: &Entry) {
        self.written += 1;
        let bytes = match self.form {
            Form::Parquet => return self.put_row(entry),
            Form::Csv => csv::row(entry).into_bytes(),
            Form::Ocsf => line(ocsf::event(entry, &self.origin).to_string().into_bytes()),
            Form::Jsonl => line(entry.to_bytes().unwrap_or_default()),
        };
        self.put(&bytes);
    }

    fn put_row(&mut self, entry: &Entry) {
        if let (None, Out::Columns(writer)) = (&self.failed, &mut self.out) {
            self.failed = writer.write(entry).err();
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        if let (None, Out::Lines(out)) = (&self.failed, &mut self.out) {
            self.failed = out.write_all(bytes).err();
        }
    }

    fn end(self) -> std::io::Result<u64> {
        match (self.failed, self.out) {
            (Some(error), _) => Err(error),
            (None, Out::Lines(mut out)) => out.flush().map(|()| self.written),
            (None, Out::Columns(writer)) => {
                writer.finish().and_then(|mut out| out.flush()).map(|()| self.written)
            }
            (None, Out::None) => Ok(0),
        }
    }
}

fn line(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.push(b'\n');
    bytes
}

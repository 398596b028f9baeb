//! The auditor's report: one static page, without script, links to elsewhere or images, that a browser may show from a file.
//!
//! The same logs, verdicts and controls give the same bytes; the page names no time of its own.

mod retention;
mod sections;
mod style;
mod text;

use crate::{Summary, controls::Controls};
use text::Html;

/// One verdict on a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The question.
    pub check: String,
    /// `passed`, `failed`, `noted` or `not_applicable`.
    pub status: String,
    /// What was found.
    pub detail: String,
}

/// Entries that were drawn for the auditor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawn {
    /// The auditor's word.
    pub word: String,
    /// How many entries were in the draw.
    pub population: u64,
    /// The indexes drawn.
    pub indexes: Vec<u64>,
}

/// One log: what it says of itself, what was found out about it, and what it tells.
#[derive(Debug, Clone)]
pub struct LogPart {
    /// The file that it was read from.
    pub file: String,
    /// The log's name.
    pub origin: String,
    /// The boot.
    pub boot: String,
    /// The index of the first entry here.
    pub first: u64,
    /// How many entries the checkpoint covers.
    pub size: u64,
    /// The checkpoint's root hash.
    pub root: String,
    /// `accepted`, or why not.
    pub verdict: String,
    /// Whether the evidence is under a simulated root.
    pub simulated: bool,
    /// The measurement that the evidence states, if it was judged and accepted.
    pub measurement: Option<String>,
    /// The verdicts on the log.
    pub judged: Vec<Judged>,
    /// The verdicts on its evidence, rule by rule.
    pub evidence: Vec<Judged>,
    /// How the log ended, in words.
    pub ending: String,
    /// Which log of its deployment came before it, and what became of that one, in words.
    pub follows: String,
    /// The sample, if one was drawn.
    pub drawn: Option<Drawn>,
    /// What it tells.
    pub summary: Summary,
}

impl LogPart {
    /// Whether everything that was asked about the log was found as it should be.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.verdict == "accepted"
    }
}

/// What the report covers, and what was counted.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// The period or filter, in words; the whole of the logs when `None`.
    pub scope: Option<&'a str>,
    /// The time for which evidence was judged, as a flag takes it.
    pub judged_at: Option<&'a str>,
    /// The logs, one for each boot and one for each broker.
    pub logs: &'a [LogPart],
    /// Whether the logs follow one another as they say.
    pub chain: &'a Judged,
    /// The controls.
    pub controls: &'a Controls,
}

/// The page.
#[must_use]
pub fn page(report: &Report<'_>) -> String {
    let mut html = Html::new();
    html.raw("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    html.raw(&style::policy());
    html.raw("<meta name=\"viewport\" content=\"width=device-width\"><title>Audit report</title><style>");
    html.raw(style::SHEET);
    html.raw("</style></head><body><main>");
    sections::heading(&mut html, report);
    sections::verdicts(&mut html, report);
    sections::boots(&mut html, report);
    sections::activity(&mut html, report);
    sections::reasons(&mut html, report);
    sections::changes(&mut html, report);
    retention::retention(&mut html, report);
    sections::controls(&mut html, report);
    sections::how_to_verify(&mut html, report);
    sections::samples(&mut html, report);
    sections::evidence(&mut html, report);
    html.raw("</main></body></html>\n");
    html.finish()
}

//! What was accepted, in a file on this machine, so that going back is noticed.
//!
//! Each line is JSON: first the format, then, in a file that took the place of a full one, the marks of what was in it, then one
//! line for each acceptance. Lines are only ever appended, and are on disk when [`History::append`] returns. A last line that a crash cut
//! short is taken away when the file is opened.
//!
//! *Presumed*: nobody else writes the file; its mode keeps others from reading it. A server cannot be shown to have kept
//! its log consistent this way: sizes and roots are compared, and a consistency proof between two of them has to be had from an export.

mod file;
mod marks;

pub use marks::{MAX_LOGS, Rollback};

use crate::HistorySummary;
use anchorhold_channel::AttestedServer;
use anchorhold_channel::client::Target;
use anchorhold_channel::document::{AuditHead, ServedModel};
use anchorhold_rats::{Measurement, Sha256Digest, Timestamp};
use anchorhold_verifier::TeeClaims;
use file::Lines;
use marks::Marks;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// The format of the file, in its first line.
pub const HISTORY_FORMAT: &str = "urn:anchorhold:history:v1";
/// The longest file, in bytes; a longer one is put aside, under the same name with `.1`.
pub const MAX_HISTORY_BYTES: u64 = 4 * 1024 * 1024;
/// The longest line, in bytes.
pub const MAX_LINE_BYTES: usize = 128 * 1024;
/// The most servers in one file.
pub const MAX_TARGETS: usize = 32;

/// What a rollback does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RollbackRule {
    /// It is told.
    Warn,
    /// The server is refused.
    Refuse,
}

/// Why there is no history.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The system refused.
    #[error("history cannot be {doing}: {source}")]
    Io {
        /// What was done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Not a regular file.
    #[error("history is not a file")]
    NotAFile,
    /// Others may read or write it.
    #[error("history may be read by others (mode {mode:03o}, wanted 600)")]
    Mode {
        /// Its mode.
        mode: u32,
    },
    /// Another process has it.
    #[error("history is written by another process")]
    Busy,
    /// A line is not one of a history.
    #[error("line {line} of the history is not one of format {HISTORY_FORMAT}")]
    Malformed {
        /// The line, from 1.
        line: usize,
    },
    /// The file or a line is over its limit.
    #[error("history over its limit of {limit} {what}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// The most.
        limit: u64,
    },
    /// The work on it ended before its end.
    #[error("history is lost to this process")]
    Lost,
}

/// What was accepted at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observation {
    /// The server.
    pub target: String,
    /// When it was accepted.
    pub at: Timestamp,
    /// The launch digest.
    pub measurement: Measurement,
    /// The product line.
    pub product: String,
    /// What only grows of its TCB, by name: the versions of SEV-SNP, or the TCB date of TDX in seconds of the Unix epoch.
    pub tcb: BTreeMap<String, i64>,
    /// The models and their manifests.
    pub models: Vec<ServedModel>,
    /// SHA-256 of the release policy.
    pub policy_digest: Option<Sha256Digest>,
    /// The end of its log.
    pub audit: AuditHead,
    /// SHA-256 of the attestation document.
    pub document_digest: Sha256Digest,
}

impl Observation {
    /// What `server` was accepted as.
    #[must_use]
    pub fn of(target: &Target, server: &AttestedServer, at: Timestamp) -> Self {
        let (result, state) = (server.result(), server.state());
        let tcb = match &result.claims().tee {
            TeeClaims::Snp(report) => report
                .tcb()
                .components()
                .into_iter()
                .map(|(name, value)| (name.to_owned(), i64::from(value)))
                .collect(),
            TeeClaims::Tdx(quote) => {
                let date = quote.tcb().launch.platform.date.unix_seconds();
                BTreeMap::from([("tcb_date".to_owned(), date)])
            }
        };
        Self {
            target: target.to_string(),
            at,
            measurement: result.measurement(),
            product: result.claims().tee.product(),
            tcb,
            models: state.models.clone(),
            policy_digest: state.policy_digest,
            audit: state.audit.clone(),
            document_digest: server.document_digest(),
        }
    }
}

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line {
    /// The first.
    Header(Header),
    /// What the highest was in the file before this one, of one server.
    Marks(Marks),
    /// An acceptance.
    Accepted(Observation),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
}

/// What was accepted so far, of one or several servers.
#[derive(Debug)]
pub struct History {
    lines: Lines,
    marks: BTreeMap<String, Marks>,
    summary: HistorySummary,
}

impl History {
    /// Opens a history for writing, or begins one. Nobody else may have it open for that.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        let (lines, text) = Lines::open(path)?;
        let summary = HistorySummary { entries: 0, first: None, last: None };
        let mut history = Self { lines, marks: BTreeMap::new(), summary };
        history.read(&text)?;
        if text.is_empty() {
            let header = Line::Header(Header { format: HISTORY_FORMAT.to_owned() });
            history.lines.append(&to_bytes(&header)?)?;
        }
        Ok(history)
    }

    /// Reads the whole lines of a history that is not going to be written, strictly.
    ///
    /// # Errors
    /// [`HistoryError::Malformed`] and [`HistoryError::Limit`].
    pub fn check(text: &[u8]) -> Result<HistorySummary, HistoryError> {
        let mut marks = BTreeMap::new();
        let mut summary = HistorySummary { entries: 0, first: None, last: None };
        read_lines(text, &mut marks, &mut summary).map(|()| summary)
    }

    fn read(&mut self, text: &[u8]) -> Result<(), HistoryError> {
        read_lines(text, &mut self.marks, &mut self.summary)
    }

    /// In what `observation` is behind what was accepted of the same server.
    #[must_use]
    pub fn compare(&self, observation: &Observation) -> Vec<Rollback> {
        self.marks.get(&observation.target).map(|marks| marks.compare(observation)).unwrap_or_default()
    }

    /// Remembers it. It is on disk when this returns.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub fn append(&mut self, observation: Observation) -> Result<(), HistoryError> {
        let line = to_bytes(&Line::Accepted(observation.clone()))?;
        let full = self.lines.len().saturating_add(line.len() as u64) > MAX_HISTORY_BYTES;
        take(&mut self.marks, &mut self.summary, observation)?;
        if full {
            let mut text = to_bytes(&Line::Header(Header { format: HISTORY_FORMAT.to_owned() }))?;
            for marks in self.marks.values() {
                text.extend(to_bytes(&Line::Marks(marks.clone()))?);
            }
            text.extend(line);
            self.lines.replace(&text)?;
            self.summary = HistorySummary { entries: 1, first: self.summary.last, last: self.summary.last };
            return Ok(());
        }
        self.lines.append(&line)
    }

    /// What it holds.
    #[must_use]
    pub const fn summary(&self) -> HistorySummary {
        self.summary
    }
}

fn read_lines(
    text: &[u8],
    marks: &mut BTreeMap<String, Marks>,
    summary: &mut HistorySummary,
) -> Result<(), HistoryError> {
    for (number, line) in (1..).zip(text.split_inclusive(|byte| *byte == b'\n')) {
        let malformed = HistoryError::Malformed { line: number };
        if line.len() > MAX_LINE_BYTES {
            return Err(HistoryError::Limit { what: "bytes a line", limit: MAX_LINE_BYTES as u64 });
        }
        match (number, serde_json::from_slice(line).map_err(|_| HistoryError::Malformed { line: number })?) {
            (1, Line::Header(header)) if header.format == HISTORY_FORMAT => {}
            (2.., Line::Marks(new)) if new.is_within_limits() => {
                if marks.insert(new.target.clone(), new).is_some() {
                    return Err(malformed);
                }
            }
            (2.., Line::Accepted(observation)) => take(marks, summary, observation)?,
            _ => return Err(malformed),
        }
    }
    Ok(())
}

fn take(
    marks: &mut BTreeMap<String, Marks>,
    summary: &mut HistorySummary,
    observation: Observation,
) -> Result<(), HistoryError> {
    if !marks.contains_key(&observation.target) && marks.len() >= MAX_TARGETS {
        return Err(HistoryError::Limit { what: "servers", limit: MAX_TARGETS as u64 });
    }
    summary.entries += 1;
    summary.first = summary.first.or(Some(observation.at));
    summary.last = Some(observation.at);
    let target = observation.target.clone();
    marks.entry(target.clone()).or_insert_with(|| Marks::new(target)).raise(observation);
    Ok(())
}

fn to_bytes(line: &Line) -> Result<Vec<u8>, HistoryError> {
    let mut bytes = serde_json::to_vec(line).map_err(|_| HistoryError::Lost)?;
    bytes.push(b'\n');
    if bytes.len() > MAX_LINE_BYTES {
        return Err(HistoryError::Limit { what: "bytes a line", limit: MAX_LINE_BYTES as u64 });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;

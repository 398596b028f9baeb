//! What is printed: results to stdout, remarks to stderr.

use crate::exit::Failure;
use anchorhold_rats::{Check, Checks, Outcome};
use anchorhold_sealed_weights::Progress;
use serde::Serialize;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{IsTerminal as _, Read, Write as _};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};

/// Whether a result is for a person or a script.
#[derive(clap::Args, Clone, Copy)]
pub(crate) struct Format {
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Prints a result.
pub(crate) fn text(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|e| Failure::other(format!("cannot write to stdout: {e}")))
}

/// Prints a result as indented JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(value).map_err(|e| Failure::other(format!("no JSON: {e}")))?;
    text(&format!("{json}\n"))
}

/// Prints a result as JSON on one line.
pub(crate) fn json_line(value: &impl Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string(value).map_err(|e| Failure::other(format!("no JSON: {e}")))?;
    text(&format!("{json}\n"))
}

/// Prints a remark to stderr. A lost remark is no failure.
pub(crate) fn remark(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Text that may have come from a peer, safe for a terminal: no control characters, nothing but ASCII.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect()
}

/// The threads to use: those asked for, or one for each core.
pub(crate) fn threads(asked: Option<NonZeroUsize>) -> NonZeroUsize {
    asked.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN)
}

/// What is shown of progress, from here on in bytes.
const SHOWN_FROM: u64 = 256 << 20;

/// Shows on a terminal how far something is. Scripts that read stderr see nothing of it.
pub(crate) struct Meter {
    what: &'static str,
    /// The last percentage that was shown.
    shown: AtomicU64,
    on: bool,
}

impl Meter {
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, shown: AtomicU64::new(0), on: std::io::stderr().is_terminal() }
    }

    /// Shows bytes.
    pub(crate) fn show(&self, progress: Progress) {
        if progress.total >= SHOWN_FROM {
            self.show_share(progress.done, progress.total);
        }
    }

    /// Shows a share of anything.
    pub(crate) fn show_share(&self, done: u64, total: u64) {
        let percent = done.saturating_mul(100).checked_div(total).unwrap_or(100);
        if self.on && self.shown.fetch_max(percent, Ordering::Relaxed) < percent {
            // A lost remark is no failure.
            let _ = write!(std::io::stderr(), "\r{percent:3} % {}", self.what);
        }
    }

    /// Leaves the line.
    pub(crate) fn end(&self) {
        if self.shown.load(Ordering::Relaxed) > 0 {
            remark("");
        }
    }
}

/// What is shown of the progress of a log, from here on in bytes: less takes no time to speak of.
const LOG_SHOWN_FROM: u64 = 64 << 20;

/// A file of a log that shows on a terminal how much of it was read.
pub(crate) struct Metered {
    file: File,
    meter: Meter,
    done: u64,
    total: u64,
}

impl Metered {
    pub(crate) fn new(file: File, what: &'static str) -> Self {
        // Of what has no length, such as a pipe, there is no share.
        let total = file.metadata().map_or(0, |metadata| metadata.len());
        Self { file, meter: Meter::new(what), done: 0, total }
    }
}

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.done = self.done.saturating_add(read as u64);
        if self.total >= LOG_SHOWN_FROM {
            self.meter.show_share(self.done, self.total);
        }
        Ok(read)
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        self.meter.end();
    }
}

const LABEL_WIDTH: usize = 12;

/// One line of a result: a name and a value.
pub(crate) fn line(out: &mut String, label: &str, value: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{label:LABEL_WIDTH$} {}", plain(value));
}

/// A table of checks: outcome, code and what was observed; what was wanted stands below where it reads differently.
pub(crate) fn table(checks: &Checks) -> String {
    let width = checks.all().iter().map(|check| check.code.len()).max().unwrap_or(0);
    let mut out = String::new();
    for Check { code, outcome, wanted, observed, .. } in checks.all() {
        let outcome = match outcome {
            Outcome::Passed => "passed",
            Outcome::Failed => "FAILED",
            Outcome::Skipped => "skipped",
        };
        let _ = writeln!(out, "{outcome:8} {:width$}  {}", plain(code), plain(observed));
        if wanted != observed {
            let _ = writeln!(out, "{:8} {:width$}  wanted: {}", "", "", plain(wanted));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use anchorhold_rats::Stage;

    #[test]
    fn a_table_shows_wanted_beside_observed_and_nothing_a_terminal_obeys() {
        let mut checks = Checks::new();
        checks.record((Stage::Binding, "document_nonce"), true, "aa", "aa");
        checks.record((Stage::Tcb, "snp_tcb"), false, "at least 3", "2\u{1b}[2J\n\u{202e}");
        checks.skip((Stage::Policy, "crl"), "not asked", "not given");
        assert_eq!(
            table(&checks),
            "passed   document_nonce  aa\n\
             FAILED   snp_tcb         2?[2J??\n                         wanted: at least 3\n\
             skipped  crl             not given\n                         wanted: not asked\n"
        );
    }
}

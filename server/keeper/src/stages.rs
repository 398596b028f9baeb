//! What the keeper tells the program that started it, one JSON object a line on standard output.

use crate::clock::Clock;
use anchorhold_ipc::LoadReport;
use anchorhold_key_release::RefusalError;
use serde::Serialize;
use std::io::Write as _;

/// One stage of the start, or what ended it.
#[derive(Debug, Serialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub(crate) enum Stage<'a> {
    /// The gateway runs, confined, and its TLS key is known.
    Gateway { pid: u32, layers: &'a [String], missing: &'a [String] },
    /// The kernel's audit records come to the collector, which is confined.
    Collector { pid: u32, layers: &'a [String], missing: &'a [String] },
    /// The GPUs can be asked for reports, by a process that is confined.
    GpuAttester { pid: u32, layers: &'a [String], missing: &'a [String] },
    /// Evidence for the broker's challenge was made.
    Evidence { model: &'a str, bytes: usize, measurement: String },
    /// The broker released the key.
    Release { model: &'a str, lease_s: u32, version: u64 },
    /// The broker refused; nothing more follows.
    Refused { model: &'a str, error: &'a RefusalError },
    /// The fetcher runs, confined.
    Fetcher { model: &'a str, pid: u32, layers: &'a [String], missing: &'a [String] },
    /// So many bytes of the package are here.
    Fetching { model: &'a str, done: u64, total: u64 },
    /// The cache does not work; the package is fetched into memory.
    CacheFailed { model: &'a str, code: &'a str, detail: &'a str },
    /// The package is here.
    Fetched { model: &'a str, fetched: u64, reused: u64, requests: u64, in_cache: bool },
    /// The package was not fetched; nothing more follows.
    FetchFailed { model: &'a str, code: &'a str, detail: &'a str },
    /// The worker runs, confined.
    Worker { model: &'a str, pid: u32, layers: &'a [String], missing: &'a [String] },
    /// The model is in memory.
    Loaded { model: &'a str, bytes: u64, load_ms: f64, gigabytes_per_s: f64, memory: Memory },
    /// The worker refused the package; nothing more follows.
    LoadFailed { model: &'a str, code: &'a str, detail: &'a str },
    /// The port is open and every model answers.
    Ready { address: &'a str, audit_log: &'a str },
    /// A model's key is gone, because its lease ended or because it was revoked; the weights follow.
    Retires { model: &'a str, revoked: bool },
    /// A worker ended that should not have; it is started again.
    Restarted { model: &'a str, count: u32 },
}

/// The memory that weights lie in, and whether it can come to lie in swap.
#[derive(Debug, Serialize)]
pub(crate) struct Memory {
    bytes: u64,
    locked_bytes: u64,
    /// Whether all of it is locked.
    locked: bool,
}

impl From<&LoadReport> for Memory {
    fn from(report: &LoadReport) -> Self {
        let (bytes, locked_bytes) = (report.memory_bytes, report.locked_bytes);
        Self { bytes, locked_bytes, locked: locked_bytes >= bytes }
    }
}

impl Memory {
    /// What whoever runs the guest should know: nothing where all of it is locked.
    pub(crate) fn warning(&self, model: &str) -> Option<String> {
        let Self { bytes, locked_bytes, locked } = self;
        (!locked).then(|| {
            format!(
                "weights of {model}: {locked_bytes} of {bytes} bytes are locked, the rest may be written to swap: \
                 raise the limit on locked memory (RLIMIT_MEMLOCK)"
            )
        })
    }
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    stage: &'a Stage<'a>,
    /// Since the keeper started, in milliseconds.
    at_ms: f64,
    /// For this stage alone, in milliseconds.
    took_ms: f64,
}

/// Tells stages, with the time since the last one.
#[derive(Debug)]
pub(crate) struct Stages {
    clock: Clock,
    last_ms: f64,
}

impl Stages {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, last_ms: 0.0 }
    }

    pub(crate) fn tell(&mut self, stage: &Stage<'_>) {
        let at_ms = self.clock.millis();
        let line = Line { stage, at_ms, took_ms: at_ms - self.last_ms };
        self.last_ms = at_ms;
        if let Ok(json) = serde_json::to_string(&line) {
            // Whoever started the keeper may have stopped listening; that changes nothing for callers.
            let _ = writeln!(std::io::stdout(), "{json}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_not_locked_is_told_plainly() {
        let memory = |locked_bytes| Memory { bytes: 100, locked_bytes, locked: locked_bytes >= 100 };
        assert_eq!(memory(100).warning("m"), None);
        let told = memory(8).warning("m").unwrap();
        assert!(told.starts_with("weights of m: 8 of 100 bytes are locked"), "{told}");
        let stage =
            Stage::Loaded { model: "m", bytes: 1, load_ms: 1.0, gigabytes_per_s: 1.0, memory: memory(8) };
        let line = serde_json::to_value(Line { stage: &stage, at_ms: 1.0, took_ms: 1.0 }).unwrap();
        assert_eq!(line["memory"], serde_json::json!({"bytes": 100, "locked_bytes": 8, "locked": false}));
    }
}

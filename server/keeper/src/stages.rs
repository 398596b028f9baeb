//! What the keeper tells the program that started it, one JSON object a line on standard output.

use crate::clock::Clock;
use anchorhold_key_release::RefusalError;
use serde::Serialize;
use std::io::Write as _;

/// One stage of the start, or what ended it.
#[derive(Debug, Serialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub(crate) enum Stage<'a> {
    /// The gateway runs, confined, and its TLS key is known.
    Gateway { pid: u32, layers: &'a [String], missing: &'a [String] },
    /// Evidence for the broker's challenge was made.
    Evidence { model: &'a str, bytes: usize, measurement: String },
    /// The broker released the key.
    Release { model: &'a str, lease_s: u32, version: u64 },
    /// The broker refused; nothing more follows.
    Refused { model: &'a str, error: &'a RefusalError },
    /// The worker runs, confined.
    Worker { model: &'a str, pid: u32, layers: &'a [String], missing: &'a [String] },
    /// The model is in memory.
    Loaded { model: &'a str, bytes: u64, load_ms: f64, gigabytes_per_s: f64 },
    /// The worker refused the package; nothing more follows.
    LoadFailed { model: &'a str, code: &'a str, detail: &'a str },
    /// The port is open and every model answers.
    Ready { address: &'a str, audit_log: &'a str },
    /// A model's key is gone, because its lease ended or because it was revoked; the weights follow.
    Retires { model: &'a str, revoked: bool },
    /// A worker ended that should not have; it is started again.
    Restarted { model: &'a str, count: u32 },
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

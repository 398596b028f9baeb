//! The questions about a dossier and their answers.

use crate::attestation::Attestation;
use crate::chain::{Boot, Link};
use anchorhold_audit_log::Report as Bundle;
use serde::Serialize;
use std::fmt::Write as _;

/// One question about a dossier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Is the file of the one shape that dossiers have, and nothing more?
    Structure,
    /// Did a known exporter sign the list of its contents?
    Exporter,
    /// Is every member, byte for byte, the one that was signed?
    Members,
    /// Does every log prove its entries: order, bytes, root hash, signature?
    Logs,
    /// Is every log's key one that evidence vouches for under the vendors' roots, or one that is known?
    Keys,
    /// Is the measurement of every guest, and its platform, one that is accepted?
    Measurements,
    /// Did enough witnesses cosign every guest's log?
    Cosignatures,
    /// Are the checkpoints that were seen elsewhere of the same history?
    Checkpoints,
    /// Is the log of every boot here that the brokers' logs say had a key, by its name and by the evidence that it gave for one?
    Boots,
    /// Do the logs follow one another as they say: was none cut, exchanged or left out?
    Chain,
    /// Did enough witnesses cosign every broker's log?
    Registry,
    /// Did every log end on purpose; and if not, how much may be missing?
    Endings,
    /// Do entries say times that lie between the cosignatures around them?
    Times,
    /// Is every policy here by which a decision was made?
    Policies,
    /// Is the sealed manifest of every model here that the logs name?
    Models,
    /// Is the sample the one that its word draws?
    Sample,
}

impl Check {
    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Structure => "structure",
            Self::Exporter => "exporter",
            Self::Members => "members",
            Self::Logs => "logs",
            Self::Keys => "keys",
            Self::Measurements => "measurements",
            Self::Cosignatures => "cosignatures",
            Self::Checkpoints => "checkpoints",
            Self::Boots => "boots",
            Self::Chain => "chain",
            Self::Registry => "registry",
            Self::Endings => "endings",
            Self::Times => "times",
            Self::Policies => "policies",
            Self::Models => "models",
            Self::Sample => "sample",
        }
    }

    /// Every question, in the order of reports.
    pub const ALL: [Self; 16] = [
        Self::Structure,
        Self::Exporter,
        Self::Members,
        Self::Logs,
        Self::Keys,
        Self::Measurements,
        Self::Cosignatures,
        Self::Checkpoints,
        Self::Boots,
        Self::Chain,
        Self::Registry,
        Self::Endings,
        Self::Times,
        Self::Policies,
        Self::Models,
        Self::Sample,
    ];
}

/// How a question was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Yes.
    Passed,
    /// No.
    Failed,
    /// Nothing is wrong, and whoever relies on the dossier has to be told.
    Noted,
    /// The question does not arise, was not asked, or could not be reached.
    NotApplicable,
}

impl Status {
    /// The stable word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Noted => "noted",
            Self::NotApplicable => "not_applicable",
        }
    }
}

/// One question and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The question.
    pub check: Check,
    /// The answer.
    pub status: Status,
    /// What was found, in words.
    pub detail: String,
}

/// What was found about one log.
#[derive(Debug)]
pub struct LogReport {
    /// The member's name.
    pub name: String,
    /// The log's own verdicts.
    pub bundle: Bundle,
    /// Whether its evidence vouches for its key; `None` where it has none or nothing was said of what is accepted.
    pub attestation: Option<Attestation>,
    /// What became of the log that it names as the one before it.
    pub follows: Link,
}

impl LogReport {
    pub(crate) fn boot(&self) -> Boot<'_> {
        Boot { name: &self.name, bundle: &self.bundle }
    }
}

/// How a verification ended, for exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// No question was answered with no.
    Accepted,
    /// Not shown to be whose it should be.
    NotAuthentic,
    /// Authentic, and not what is accepted.
    NotAcceptable,
    /// A revocation list is missing, stale, or names a certificate.
    EndorsementsUnavailable,
    /// Not shown to be complete, unchanged and of one history.
    NotProven,
}

impl Outcome {
    /// The stable word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::NotAuthentic => "not_authentic",
            Self::NotAcceptable => "not_acceptable",
            Self::EndorsementsUnavailable => "endorsements_unavailable",
            Self::NotProven => "not_proven",
        }
    }

    /// The exit code, the same as that of the command line: 0, or 3 to 6.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Accepted => 0,
            Self::NotAuthentic => 3,
            Self::NotAcceptable => 4,
            Self::EndorsementsUnavailable => 5,
            Self::NotProven => 6,
        }
    }
}

/// All that a check of a dossier found.
#[derive(Debug)]
pub struct Report {
    /// One verdict for each [`Check`], in order.
    pub verdicts: Vec<Verdict>,
    /// The logs, as far as they were reached.
    pub logs: Vec<LogReport>,
    /// The key that signed the list, in hex, where it is a known one.
    pub exporter: Option<String>,
}

impl Report {
    /// The verdict on this question.
    #[must_use]
    pub fn verdict(&self, check: Check) -> Option<&Verdict> {
        self.verdicts.iter().find(|verdict| verdict.check == check)
    }

    fn failed(&self, check: Check) -> bool {
        self.verdict(check).is_none_or(|verdict| verdict.status == Status::Failed)
    }

    /// How it ended. What is not proven comes first, since nothing else rests on it then.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        use Check::{Exporter, Keys, Measurements};
        let proven = Check::ALL
            .into_iter()
            .filter(|check| !matches!(check, Exporter | Keys | Measurements))
            .all(|check| !self.failed(check));
        if !proven {
            return Outcome::NotProven;
        }
        if self.failed(Exporter) {
            return Outcome::NotAuthentic;
        }
        let unavailable = self.logs.iter().filter_map(|log| log.attestation.as_ref()).any(|attestation| {
            attestation.verdict == anchorhold_evaluation::Verdict::EndorsementsUnavailable
        });
        match (self.failed(Keys), self.failed(Measurements)) {
            (true, _) if unavailable => Outcome::EndorsementsUnavailable,
            (true, _) => Outcome::NotAuthentic,
            (false, true) => Outcome::NotAcceptable,
            (false, false) => Outcome::Accepted,
        }
    }

    /// The report as JSON.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let logs: Vec<serde_json::Value> = self
            .logs
            .iter()
            .map(|log| {
                let manifest = log.bundle.manifest.as_ref();
                let checks: Vec<serde_json::Value> = bundle_lines(&log.bundle)
                    .map(|(check, status, code, detail)| {
                        serde_json::json!({"check": check, "status": status, "finding": code, "detail": detail})
                    })
                    .collect();
                serde_json::json!({
                    "name": log.name,
                    "origin": manifest.map(|manifest| manifest.origin.to_string()),
                    "audit_key": manifest.map(|manifest| manifest.audit_key),
                    "first": manifest.map(|manifest| manifest.first),
                    "count": manifest.map(|manifest| manifest.count),
                    "size": manifest.map(|manifest| manifest.size),
                    "checks": checks,
                    "attestation": log.attestation,
                    "follows": log.follows,
                })
            })
            .collect();
        serde_json::json!({
            "format": "urn:anchorhold:audit-dossier-verification:v1",
            "verdict": self.outcome().name(),
            "exporter": self.exporter,
            "checks": self.verdicts,
            "logs": logs,
        })
    }

    /// The report as text, one line for each question. Control characters of the dossier are left out.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        for log in &self.logs {
            let origin = log.bundle.manifest.as_ref().map_or("unknown", |manifest| manifest.origin.as_str());
            let _ = writeln!(out, "{:12} {origin}", log.name);
            for (check, status, _, detail) in bundle_lines(&log.bundle) {
                let _ = writeln!(out, "    {check:14} {status:15} {detail}");
            }
            let _ = writeln!(out, "    {:14} {}", "follows", log.follows.words());
            if let Some(attestation) = &log.attestation {
                let simulated = if attestation.simulated { " (simulated: nothing is protected)" } else { "" };
                let _ = writeln!(out, "    {:14} {}{simulated}", "evidence", attestation.verdict);
            }
        }
        out.push('\n');
        for verdict in &self.verdicts {
            let _ =
                writeln!(out, "{:14} {:15} {}", verdict.check.name(), verdict.status.name(), verdict.detail);
        }
        let _ = writeln!(out, "\n{:14} {}", "verdict", self.outcome().name().replace('_', " "));
        out.chars().filter(|c| *c == '\n' || !c.is_control()).collect()
    }
}

fn bundle_lines(
    bundle: &Bundle,
) -> impl Iterator<Item = (&'static str, &'static str, &'static str, String)> + '_ {
    bundle.verdicts.iter().map(|verdict| {
        let status = match verdict.status {
            anchorhold_audit_log::Status::Passed => "passed",
            anchorhold_audit_log::Status::Failed => "failed",
            anchorhold_audit_log::Status::Noted => "noted",
            anchorhold_audit_log::Status::NotApplicable => "not_applicable",
        };
        (verdict.check.name(), status, verdict.finding.code(), verdict.finding.to_string())
    })
}

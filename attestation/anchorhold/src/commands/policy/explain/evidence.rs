//! What a release policy says of evidence in a file: every grant, the nearest one, and what to do.

use crate::commands::evidence::{read_bundle, stated as as_stated};
use crate::commands::policy::advice::advice;
use crate::exit::{Exit, Failure};
use crate::output::{self, Format, plain, remark};
use crate::trust::{self, roots};
use anchorhold_channel::Verdict;
use anchorhold_key_release::{Asked, AuditTerms, GrantTrace, KeyUse, ReleasePolicy, Replayed, explain};
use anchorhold_rats::{Check, Checks, Expected, Kem, Nonce, Outcome, ReportData, Timestamp};
use anchorhold_verifier::{TrustAnchors, authenticate};
use serde::Serialize;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Evidence, and what would be asked for with it.
#[derive(clap::Args)]
pub(crate) struct EvidenceArgs {
    /// Judge this evidence by a release policy: every grant, the nearest one, and what to do
    #[arg(long, value_name = "FILE", requires = "model")]
    evidence: Option<PathBuf>,
    /// The model that would be asked for
    #[arg(long, value_name = "ID", requires = "evidence")]
    model: Option<String>,
    /// What it would be asked for
    #[arg(long, value_name = "PURPOSE", default_value = "serve", value_parser = purpose)]
    purpose: KeyUse,
    /// The KEM of the guest's key
    #[arg(long, value_name = "KEM", default_value = "x-wing", value_parser = kem)]
    kem: Kem,
    /// The longest time, in milliseconds, that an entry of the guest's log stays without a witness
    #[arg(long, value_name = "MS")]
    anchor_ms: Option<u32>,
    /// How many witnesses cosign the guest's log
    #[arg(long, value_name = "N", default_value_t = 0)]
    witnesses: u32,
    /// The report data that you expect, in hex; without it, it is not judged
    #[arg(long, value_name = "HEX", requires = "evidence")]
    report_data: Option<ReportData>,
    /// The nonce that you expect in the reports of GPUs, in hex; without it, it is not judged
    #[arg(long, value_name = "HEX", requires = "evidence")]
    gpu_nonce: Option<Nonce>,
    /// Trust these roots instead of the vendors'; for simulated guests, which protect nothing
    #[arg(long, value_name = "FILE", requires = "evidence")]
    dangerous_simulated_root: Option<PathBuf>,
    /// Judge for this time instead of now, such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", requires = "evidence")]
    at: Option<Timestamp>,
}

impl EvidenceArgs {
    pub(super) const fn is_given(&self) -> bool {
        self.evidence.is_some()
    }
}

fn purpose(text: &str) -> Result<KeyUse, &'static str> {
    match text {
        "serve" => Ok(KeyUse::Serve),
        "evaluate" => Ok(KeyUse::Evaluate),
        _ => Err("wanted serve or evaluate"),
    }
}

fn kem(text: &str) -> Result<Kem, &'static str> {
    Kem::named(text).ok_or("wanted x25519 or x-wing")
}

#[derive(Serialize)]
struct Explained {
    verdict: &'static str,
    grant: Option<String>,
    code: Option<String>,
    nearest: Option<String>,
    grants: Vec<Grant>,
    /// What was not asked, because it is not in the evidence.
    not_asked: Vec<&'static str>,
    what_to_do: Vec<&'static str>,
}

#[derive(Serialize)]
struct Grant {
    grant: String,
    platform_accepted: bool,
    passed: usize,
    failed: Vec<Check>,
}

pub(super) fn run(policy: &ReleasePolicy, args: &EvidenceArgs, format: Format) -> Result<Exit, Failure> {
    let (Some(path), Some(model)) = (&args.evidence, &args.model) else {
        return Err(Failure::usage("--evidence and --model belong together"));
    };
    let at = args.at.map_or_else(trust::now, Ok)?;
    let anchors = args
        .dangerous_simulated_root
        .as_deref()
        .map_or_else(|| Ok(TrustAnchors::production()), roots::read)?;
    let bundle = read_bundle(path)?;
    let authentic = match authenticate(&bundle.evidence, &bundle.endorsements, &anchors, at) {
        Ok(authentic) => authentic,
        Err(refusal) => return not_authentic(refusal.checks(), format),
    };
    let stated = authentic.stated();
    if args.report_data.is_none() || (args.gpu_nonce.is_none() && !stated.gpus.is_empty()) {
        remark(
            "anchorhold: warning: for whom the evidence was made is not judged; old or borrowed evidence passes",
        );
    }
    let bound = match args.report_data {
        Some(report_data) => report_data.into(),
        None => as_stated(&bundle.evidence)?,
    };
    let expected = Expected {
        gpu_nonce: args.gpu_nonce.or_else(|| stated.gpus.first().map(|device| device.nonce)),
        ..bound
    };
    let asked = Asked {
        model_id: model,
        min_version: 0,
        purpose: args.purpose,
        kem: args.kem,
        audit: AuditTerms { anchor_ms: args.anchor_ms, witnesses: args.witnesses, ..AuditTerms::default() },
    };
    let explained = explained(explain(policy, &stated, &expected, &asked));
    if format.json {
        output::json(&explained)?;
    } else {
        output::text(&text(&explained))?;
    }
    Ok(if explained.grant.is_some() { Exit::Ok } else { Exit::NotAcceptable })
}

fn not_authentic(checks: &Checks, format: Format) -> Result<Exit, Failure> {
    let failed: Vec<Check> = checks.failed().cloned().collect();
    let verdict = Verdict::of(checks);
    let explained = Explained {
        verdict: "not authentic",
        grant: None,
        code: failed.first().map(|check| check.code.to_string()),
        nearest: None,
        what_to_do: what_to_do(&failed),
        grants: vec![Grant { grant: "every grant".to_owned(), platform_accepted: false, passed: 0, failed }],
        not_asked: Vec::new(),
    };
    if format.json {
        output::json(&explained)?;
    } else {
        output::text(&text(&explained))?;
    }
    Ok(verdict.into())
}

fn explained(said: Replayed) -> Explained {
    let nearest = said.trace.nearest();
    let failed: Vec<Check> =
        nearest.map(|grant| grant.checks().failed().cloned().collect()).unwrap_or_default();
    Explained {
        verdict: if said.grant.is_some() { "released" } else { "refused" },
        what_to_do: if said.grant.is_some() { Vec::new() } else { what_to_do(&failed) },
        nearest: nearest.map(|grant| grant.grant().to_owned()),
        grants: said.trace.grants().iter().map(grant).collect(),
        grant: said.grant,
        code: said.refused,
        not_asked: said.not_asked,
    }
}

fn grant(trace: &GrantTrace) -> Grant {
    let passed = trace.checks().all().iter().filter(|check| check.outcome == Outcome::Passed).count();
    Grant {
        grant: trace.grant().to_owned(),
        platform_accepted: trace.platform_passed(),
        passed,
        failed: trace.checks().failed().cloned().collect(),
    }
}

/// Each piece of advice once.
fn what_to_do(failed: &[Check]) -> Vec<&'static str> {
    let mut out = Vec::new();
    for check in failed {
        let what = advice(&check.code);
        if !out.contains(&what) {
            out.push(what);
        }
    }
    out
}

fn text(explained: &Explained) -> String {
    let mut out = String::new();
    for Grant { grant, failed, passed, .. } in &explained.grants {
        let verdict = if failed.is_empty() { "passes" } else { "refuses" };
        let nearest = explained.grant.is_none() && explained.nearest.as_ref() == Some(grant);
        let note = if nearest { ", the nearest" } else { "" };
        // Writing to a string cannot fail.
        let _ = writeln!(out, "grant \"{}\" {verdict}{note}: {passed} rules passed", plain(grant));
        for check in failed {
            let (code, wanted, observed) = (plain(&check.code), plain(&check.wanted), plain(&check.observed));
            let _ = write!(out, "  {code}: wanted {wanted}, observed {observed}");
            if let Some(source) = &check.source {
                let _ = write!(
                    out,
                    " [{} bytes {:#x} and {} more]",
                    plain(&source.part),
                    source.offset,
                    source.length.saturating_sub(1)
                );
            }
            out.push('\n');
        }
    }
    for what in &explained.what_to_do {
        let _ = writeln!(out, "what to do: {what}");
    }
    if !explained.not_asked.is_empty() {
        let _ = writeln!(out, "not asked: {}", explained.not_asked.join(", "));
    }
    let _ = match (&explained.grant, &explained.code) {
        (Some(grant), _) => writeln!(out, "verdict: released by grant \"{}\"", plain(grant)),
        (None, code) => {
            writeln!(out, "verdict: {} ({})", explained.verdict, code.as_deref().unwrap_or("refused"))
        }
    };
    out
}

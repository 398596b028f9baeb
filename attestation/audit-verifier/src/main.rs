//! `anchorhold-audit FILE..`: every verdict on an audit dossier, or on the bundles of logs, for people who have nothing of ours but this
//! program.
//!
//! It opens the files that it is told to and writes to its standard streams; it has no network and never asks for the time. What is
//! accepted, and for which time, are flags.

mod arguments;

use anchorhold_audit_log::VerifierKey;
use anchorhold_audit_log::tlog::policy::{MAX_POLICY_BYTES, Policy};
use anchorhold_dossier::{Expected, FIRST_MEMBER, Report, Trusted, verify, verify_bundles};
use anchorhold_dsse::TrustedSigners;
use anchorhold_relying_party::Accepted;
use arguments::{Arguments, HELP};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;

const OTHER: u8 = 1;
const USAGE: u8 = 2;
/// The longest profile or root file that is read, in bytes.
const MAX_FILE_BYTES: usize = 1024 * 1024;

/// Why there is no verdict: an exit code and a line of text.
struct Failure(u8, String);

fn usage(text: impl ToString) -> Failure {
    Failure(USAGE, text.to_string())
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => ExitCode::from(code),
        Err(Failure(code, text)) => {
            let _ = writeln!(io::stderr(), "anchorhold-audit: error: {text}");
            ExitCode::from(code)
        }
    }
}

fn run() -> Result<u8, Failure> {
    let arguments = Arguments::parse(std::env::args_os().skip(1)).map_err(usage)?;
    let Some(arguments) = arguments else {
        print(HELP)?;
        return Ok(0);
    };
    let expected = expected(&arguments)?;
    if arguments.simulated_root.is_some() {
        let _ = writeln!(io::stderr(), "{WARNING}");
    }
    let report = judged(&arguments.files, &expected)?;
    let text = if arguments.json {
        // A value of strings, numbers and lists.
        serde_json::to_string_pretty(&report.to_json()).unwrap_or_default() + "\n"
    } else {
        report.to_text()
    };
    print(&text)?;
    Ok(report.outcome().exit_code())
}

const WARNING: &str = "anchorhold-audit: warning: SIMULATED ROOT. Anybody can make evidence under this root; no hardware vouched for anything.";

fn print(text: &str) -> Result<(), Failure> {
    io::stdout().write_all(text.as_bytes()).map_err(|error| Failure(OTHER, error.to_string()))
}

fn judged(paths: &[String], expected: &Expected) -> Result<Report, Failure> {
    let open = |path: &String| {
        File::open(path).map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))
    };
    let other = |error: io::Error| Failure(OTHER, error.to_string());
    let mut is_dossier = false;
    for path in paths {
        let mut start = Vec::new();
        open(path)
            .and_then(|file| file.take(FIRST_MEMBER.len() as u64).read_to_end(&mut start))
            .map_err(other)?;
        is_dossier |= start == FIRST_MEMBER.as_bytes();
    }
    match paths {
        [path] if is_dossier => verify(|| open(path), expected).map_err(other),
        _ if is_dossier => Err(usage("a dossier is checked alone")),
        paths => {
            let names: Vec<&str> = paths.iter().map(|path| path.rsplit('/').next().unwrap_or(path)).collect();
            let open = |at: usize| paths.get(at).map_or_else(|| Err(io::ErrorKind::NotFound.into()), open);
            verify_bundles(&names, open, expected).map_err(other)
        }
    }
}

fn read(path: &str, limit: usize) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(limit as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|error| Failure(OTHER, format!("{path}: {error}")))?;
    if bytes.len() > limit {
        return Err(Failure(OTHER, format!("{path}: over {limit} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| Failure(OTHER, format!("{path}: not text")))
}

fn expected(arguments: &Arguments) -> Result<Expected, Failure> {
    let exporters: Vec<[u8; 32]> = arguments.exporters.iter().map(|key| *key.as_bytes()).collect();
    let exporters = match exporters.as_slice() {
        [] => None,
        keys => Some(TrustedSigners::of(keys, 1).map_err(usage)?),
    };
    let log_keys = arguments.log_keys.iter().map(|key| VerifierKey::parse(key));
    let witnesses = match &arguments.witnesses {
        None => None,
        Some(path) => {
            let policy = Policy::parse(read(path, MAX_POLICY_BYTES)?.as_bytes());
            Some(policy.map_err(|error| usage(format!("{path}: {error}")))?)
        }
    };
    Ok(Expected {
        exporters,
        log_keys: log_keys.collect::<Result<_, _>>().map_err(|error| usage(format!("--log-key: {error}")))?,
        trusted: trusted(arguments)?,
        witnesses,
    })
}

fn trusted(arguments: &Arguments) -> Result<Option<Trusted>, Failure> {
    let text = |path: &Option<String>| path.as_deref().map(|path| read(path, MAX_FILE_BYTES)).transpose();
    let accepted = Accepted {
        measurements: arguments.measurements.clone(),
        min_tcb: arguments.min_tcb.clone(),
        profile: text(&arguments.profile)?,
        machines: Vec::new(),
        dangerous_simulated_roots: text(&arguments.simulated_root)?,
    };
    if accepted.measurements.is_empty() && accepted.profile.is_none() {
        return match arguments.log_keys.as_slice() {
            [] => Err(usage("what is accepted is not said: give --measurement, --profile or --log-key")),
            _ => Ok(None),
        };
    }
    let at = arguments.at.ok_or_else(|| usage("--at TIME is missing: there is no clock here"))?;
    let trust = accepted.trust(at).map_err(usage)?;
    Ok(Some(Trusted { anchors: trust.anchors, policies: vec![trust.policy], at }))
}

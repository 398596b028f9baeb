//! One folder with one good case, and one way to run a changed case.

use anchorhold_attester::software::{LaunchConfig, SoftwareGuest, simulated_ark_der};
use anchorhold_rats::{Measurement, ReportData};
use anchorhold_vectors::{Corpus, Error, Outcome};
use serde_json::{Value, json};
use std::path::Path;
use tempfile::TempDir;

pub(crate) const AT: &str = "2026-07-25T00:00:00Z";

/// A folder with one good SNP guest.
pub(crate) fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let config = LaunchConfig::new(Measurement::new([7; 48]));
    let guest = SoftwareGuest::launch(config, AT.parse().unwrap()).unwrap();
    let evidence = guest.attest(&ReportData::new([9; 64])).unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("report.bin", &evidence.report);
    write("vek.der", &evidence.certificates[0].0);
    write("ask.der", &evidence.certificates[1].0);
    write("ark.der", simulated_ark_der());
    folder
}

/// The good case.
pub(crate) fn case() -> Value {
    json!({
        "id": "one", "platform": "snp", "pin": "forged", "at": AT, "policy": {}, "expect": "accept", "stage": "",
        "files": { "report": "report.bin", "vek": "vek.der", "ask": "ask.der", "ark": "ark.der" },
    })
}

/// The good case with this value at a path of keys.
pub(crate) fn with(path: &str, value: Value) -> Value {
    let mut case = case();
    let (parent, key) = path.rsplit_once('/').unwrap();
    case.pointer_mut(parent).unwrap()[key] = value;
    case
}

pub(crate) fn open(folder: &Path, manifest: &Value) -> Result<Corpus, Error> {
    std::fs::write(folder.join("manifest.json"), serde_json::to_vec(manifest).unwrap()).unwrap();
    Corpus::open(folder)
}

/// How a case ends that is not understood.
pub(crate) fn unread(case: Value) -> Outcome {
    let corpus = open(folder().path(), &json!({ "format": 1, "cases": [case] })).unwrap();
    assert!(corpus.cases().is_empty());
    corpus.unread().next().unwrap()
}

pub(crate) fn run_in(folder: &Path, case: Value) -> Outcome {
    let corpus = open(folder, &json!({ "format": 1, "cases": [case] })).unwrap();
    corpus.run(&corpus.cases()[0], || 0)
}

pub(crate) fn run(case: Value) -> Outcome {
    run_in(folder().path(), case)
}

/// What was wrong with a case that was not read.
pub(crate) fn error(case: Value) -> String {
    let outcome = run(case);
    assert_eq!((outcome.verdict, outcome.ok), ("error", false), "{}", outcome.code);
    outcome.code
}

/// Verdict, stage, code, and whether that is as expected.
pub(crate) fn verdict(case: Value) -> (&'static str, String, String, bool) {
    let outcome = run(case);
    (outcome.verdict, outcome.stage, outcome.code, outcome.ok)
}

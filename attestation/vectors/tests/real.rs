//! The real samples as cases: each has the verdict that the manifest names, and no sample with evidence in it is left out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    missing_docs,
    reason = "tests stop at a surprise"
)]

use anchorhold_vectors::{Case, Corpus};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Samples that are not evidence of a machine by themselves, with the reason.
const NO_CASE: [(&str, &str); 11] = [
    ("snp/ca", "certificates of other cases"),
    ("snp/crl", "revocation lists of other cases, which stand here at all three times"),
    ("tdx/ca", "roots of other cases"),
    ("nvidia/ca", "roots of other cases"),
    ("nvidia/rim-schema", "XML schemas"),
    ("nvidia/claims", "NVIDIA's own results"),
    ("azure/snp-vtpm/hcl-report.bin", "no quote of the virtual TPM; read in the verifier's tests"),
    ("azure/snp-vtpm/vcek.der", "the certificate of that report"),
    ("azure/tdx-vtpm/hcl-report.bin", "no quote of the virtual TPM; read in the verifier's tests"),
    ("azure/hcl", "no quote of the virtual TPM; read in the verifier's tests"),
    ("ccel", "event logs without a quote; replayed in the verifier's tests"),
];

/// The folder of the real samples, or `None` where a developer does not have it. CI must have it.
#[cfg(test)]
fn samples() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evidence");
    if !folder.is_dir() {
        assert!(std::env::var_os("CI").is_none(), "{} is missing", folder.display());
        eprintln!("skipped: no real samples at {}", folder.display());
        return None;
    }
    Some(folder)
}

#[cfg(test)]
fn corpus(folder: &Path) -> Corpus {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/real/manifest.json");
    let corpus = Corpus::open_beside(&manifest, folder).unwrap();
    assert_eq!(corpus.unread().len(), 0);
    corpus
}

#[test]
fn every_real_sample_has_the_verdict_stage_and_code_that_the_manifest_names() {
    let Some(folder) = samples() else { return };
    let corpus = corpus(&folder);
    let wrong: Vec<String> = corpus
        .cases()
        .iter()
        .map(|case| corpus.run(case, || 0))
        .filter(|outcome| !outcome.ok)
        .map(|outcome| format!("{}: {} {} {}", outcome.id, outcome.verdict, outcome.stage, outcome.code))
        .collect();
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
    eprintln!("{} cases", corpus.cases().len());
}

/// Whether a case is judged at this time on a file of the sample, which is a folder or one file.
#[cfg(test)]
fn shows(case: &Case, sample: &str, at: &str) -> bool {
    let of_sample = |path: &String| path == sample || path.starts_with(&format!("{sample}/"));
    case.at.to_string() == at && case.files.values().any(of_sample)
}

#[test]
fn every_sample_with_evidence_is_a_case_at_each_of_its_times() {
    let Some(folder) = samples() else { return };
    let corpus = corpus(&folder);
    let manifest = std::fs::read(folder.join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let mut missing = Vec::new();
    let mut excused: BTreeSet<&str> = NO_CASE.iter().map(|(sample, _)| *sample).collect();
    for sample in manifest["samples"].as_array().unwrap() {
        let id = sample["id"].as_str().unwrap();
        if excused.remove(id) {
            continue;
        }
        for expected in sample["expected"].as_array().unwrap() {
            let at = expected["at"].as_str().unwrap();
            if !corpus.cases().iter().any(|case| shows(case, id, at)) {
                missing.push(format!("{id} at {at}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
    assert!(excused.is_empty(), "no sample any more: {excused:?}");
}

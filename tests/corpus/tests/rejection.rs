//! The committed suite: every case has the verdict that its manifest names, and every reason code has a case.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    missing_docs,
    reason = "tests stop at a surprise"
)]

use anchorhold_vectors::{Corpus, Expectation};
use anchorhold_verifier::codes;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Codes that no case of a folder can show, with the reason.
const WITHOUT_A_CASE: &[(&str, &str)] = &[
    ("snp_certificate_count", "a case has one file for each place of the chain"),
    ("snp_simulated", "a case that names its root accepts it"),
    ("tdx_simulated", "a case that names its root accepts it"),
    ("nvidia_simulated", "a case that names its root accepts it"),
    ("eventlog_registers_empty", "no profile can name an empty list of registers"),
    ("tpm_keys_empty", "no profile can name an empty list of keys"),
];
/// The suite shall not shrink.
const LEAST_CASES: usize = 250;

#[cfg(test)]
fn corpus() -> Corpus {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../vectors/rejection"));
    let corpus = Corpus::open(&folder).unwrap();
    assert_eq!(corpus.unread().len(), 0);
    corpus
}

#[test]
fn every_case_has_the_verdict_stage_and_code_that_its_manifest_names() {
    let corpus = corpus();
    let wrong: Vec<String> = corpus
        .cases()
        .iter()
        .map(|case| corpus.run(case, || 0))
        .filter(|outcome| !outcome.ok)
        .map(|outcome| format!("{}: {} {} {}", outcome.id, outcome.verdict, outcome.stage, outcome.code))
        .collect();
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
    let rejections = corpus.cases().iter().filter(|case| case.expect == Expectation::Reject);
    assert!(rejections.clone().all(|case| !case.stage.is_empty() && !case.code.is_empty()));
    assert!(rejections.count() >= LEAST_CASES);
}

/// What every refusal of the suite says to people. `make verdicts` writes the file anew.
#[test]
fn every_refusal_is_explained_as_written() {
    let corpus = corpus();
    let mut text = String::new();
    for case in corpus.cases().iter().filter(|case| case.expect == Expectation::Reject) {
        text += &format!("{}: {}\n", case.id, case.why);
        for check in corpus.judge(case).unwrap().failed() {
            let place = check.source.as_ref().map_or_else(String::new, |source| {
                format!(" [{} {:#x}..{:#x}]", source.part, source.offset, source.offset + source.length)
            });
            text +=
                &format!("    {}{place}: wanted {}, observed {}\n", check.code, check.wanted, check.observed);
        }
    }
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../vectors/rejection/refusals.txt"));
    if std::env::var_os("WRITE_VERDICTS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    let other = known.lines().zip(text.lines()).find(|(known, observed)| known != observed);
    assert_eq!(other, None, "the file (left) and what is said now (right)");
    assert_eq!(known.lines().count(), text.lines().count());
}

#[test]
fn every_reason_code_has_a_case() {
    let corpus = corpus();
    let shown: BTreeSet<&str> = corpus.cases().iter().map(|case| case.code.as_str()).collect();
    let excused: BTreeSet<&str> = WITHOUT_A_CASE.iter().map(|(code, _)| *code).collect();
    let missing: Vec<&str> = codes::all()
        .map(|code| code.name)
        .filter(|code| !shown.contains(code) && !excused.contains(code))
        .collect();
    assert!(missing.is_empty(), "{} codes without a case: {missing:?}", missing.len());
    let stale: Vec<_> = excused.intersection(&shown).collect();
    assert!(stale.is_empty(), "excused and shown: {stale:?}");
}

//! What a worker that was taken over meets on this machine, held against the matrix.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};

const MATRIX: &str = include_str!("../../../policies/cases/hostile.toml");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Matrix {
    attempt: Vec<Attempt>,
    serving: Vec<Serving>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Serving {
    name: String,
    all: BTreeSet<String>,
    /// As below.
    #[serde(rename = "record")]
    _record: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Attempt {
    name: String,
    /// What it may meet under all layers, wherever the worker runs.
    all: BTreeSet<String>,
    /// The system call that a filter refuses and the kernel makes a record of, on x86-64; none where the error is another's.
    #[serde(rename = "record")]
    _record: Option<u32>,
    /// What it may meet under the domain of SELinux and nothing else; for the guest.
    #[serde(rename = "selinux")]
    _selinux: BTreeSet<String>,
    /// The same for its profile of AppArmor.
    #[serde(rename = "apparmor")]
    _apparmor: BTreeSet<String>,
}

#[test]
fn case_43_every_attempt_of_a_hostile_worker_is_refused_as_the_matrix_says() {
    let matrix: Matrix = toml::from_str(MATRIX).unwrap();
    let start = matrix.attempt.iter().map(|attempt| (("attempt", attempt.name.as_str()), &attempt.all));
    let serving = matrix.serving.iter().map(|attempt| (("serving", attempt.name.as_str()), &attempt.all));
    let wanted: BTreeMap<_, _> = start.chain(serving).collect();
    assert_eq!(wanted.len(), matrix.attempt.len() + matrix.serving.len(), "an attempt stands twice");
    let empty = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_anchorhold-hostile-worker"))
        .arg("attempts")
        .current_dir(empty.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let mut met = BTreeSet::new();
    for line in text.lines() {
        let mut words = line.split('\t');
        let kind = words.next().unwrap();
        let Some(kind) = ["attempt", "serving"].into_iter().find(|known| *known == kind) else { continue };
        let attempt = (kind, words.next().unwrap());
        let outcome = words.next().unwrap();
        let wanted = wanted[&attempt];
        assert!(wanted.contains(outcome), "{attempt:?}: met {outcome}, wanted one of {wanted:?}");
        assert_ne!(outcome, "ALLOWED", "{attempt:?}");
        met.insert(attempt);
    }
    assert_eq!(met, wanted.keys().copied().collect(), "attempts and matrix are not of the same names");
}

#[test]
fn case_43_a_worker_that_serves_and_runs_a_program_is_ended() {
    use std::os::unix::process::ExitStatusExt as _;
    const SIGSYS: i32 = 31;
    let empty = tempfile::tempdir().unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_anchorhold-hostile-worker"))
        .arg("killed")
        .current_dir(empty.path())
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.signal(), Some(SIGSYS), "{status}");
}

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
}

#[test]
fn case_43_every_attempt_of_a_hostile_worker_is_refused_as_the_matrix_says() {
    let matrix: Matrix = toml::from_str(MATRIX).unwrap();
    let wanted: BTreeMap<_, _> =
        matrix.attempt.iter().map(|attempt| (attempt.name.as_str(), &attempt.all)).collect();
    assert_eq!(wanted.len(), matrix.attempt.len(), "an attempt stands twice");
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
    for line in text.lines().filter_map(|line| line.strip_prefix("attempt\t")) {
        let mut words = line.split('\t');
        let (name, outcome) = (words.next().unwrap(), words.next().unwrap());
        assert!(wanted[name].contains(outcome), "{name}: met {outcome}, wanted one of {:?}", wanted[name]);
        assert_ne!(outcome, "ALLOWED", "{name}");
        met.insert(name);
    }
    assert_eq!(met, wanted.keys().copied().collect(), "attempts and matrix are not of the same names");
}

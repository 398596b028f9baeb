//! Weights are locked as far as the system allows, and a load says how far. Limits cannot be lifted again, so each is tried in a process
//! of its own.

#![cfg(target_os = "linux")]
#![allow(clippy::panic, clippy::print_stdout, clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use anchorhold_engine::Precision;
use anchorhold_model::{Held, LoadedModel};
use common::Sequences;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use std::path::Path;
use std::process::Command;

/// Says to the second process which package it loads, and the limit in bytes.
const FOLDER: &str = "ANCHORHOLD_LOCKED_FOLDER";
const LIMIT: &str = "ANCHORHOLD_LOCKED_LIMIT";
/// The tables, matrices and norms of the small model take more than this; what loading leaves locked at the ends of its buffers, less.
const SHORT: u64 = 32 << 10;

/// What the system counts as locked of this process, in bytes.
fn counted() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Gives up what passes over the limit, and sets it.
fn confine(limit: u64) {
    let mut own = capabilities(None).unwrap();
    own.effective.remove(CapabilitySet::IPC_LOCK);
    set_capabilities(None, own).unwrap();
    let most = getrlimit(Resource::Memlock).maximum.unwrap_or(u64::MAX);
    let limit = Some(limit.min(most));
    setrlimit(Resource::Memlock, Rlimit { current: limit, maximum: limit }).unwrap();
}

/// What the second process does; nothing where it was not asked to.
#[test]
fn a_load_under_a_limit() {
    let (Some(place), Ok(limit)) = (std::env::var_os(FOLDER), std::env::var(LIMIT)) else { return };
    confine(limit.parse().unwrap());
    let package = common::Package::at(Path::new(&place));
    for precision in [Precision::F32, Precision::Bf16] {
        let (LoadedModel::Chat(model), stats) = package.load(1, precision).unwrap() else {
            panic!("not a chat model")
        };
        let Held { bytes, locked } = stats.memory;
        let mut sequences = Sequences::new(model.generator);
        assert!(!sequences.one(1, &[3, 4, 5]).is_empty(), "computes");
        let loaded = counted();
        drop(sequences);
        println!("measured {bytes} {locked} {loaded} {}", counted());
    }
}

/// Loads under this limit: bytes of the weights, those said to be locked, and what the system counts before and after the model goes.
fn under(place: &Path, limit: u64) -> Vec<[u64; 4]> {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "a_load_under_a_limit", "--nocapture"]);
    let output = child.env(FOLDER, place).env(LIMIT, limit.to_string()).output().unwrap();
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{lines}{}", String::from_utf8_lossy(&output.stderr));
    let measured = lines.lines().filter_map(|line| line.split_once("measured "));
    let numbers = |line: &str| line.split(' ').map(|number| number.parse().unwrap()).collect::<Vec<u64>>();
    measured.map(|(_, line)| numbers(line).try_into().unwrap()).collect()
}

#[test]
fn weights_are_locked_as_far_as_the_limit_goes() {
    let place = tempfile::tempdir().unwrap();
    common::Package::seal(&common::tiny("qwen3"), place.path());
    let nothing = under(place.path(), 0);
    assert_eq!(nothing.len(), 2);
    for [bytes, locked, counted, _] in nothing {
        assert!(bytes > SHORT && locked == 0 && counted == 0, "{locked} of {bytes}, {counted}");
    }
    for [bytes, locked, counted, _] in under(place.path(), SHORT) {
        assert!(0 < locked && locked < bytes && counted <= SHORT, "{locked} of {bytes}, {counted}");
    }
    for [bytes, locked, counted, after] in under(place.path(), 8 << 20) {
        assert!(
            locked == bytes && counted >= bytes && after < counted,
            "{locked} of {bytes}, {counted}, {after}"
        );
    }
}

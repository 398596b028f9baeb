//! Runs the probe as a process of its own, because confinement cannot be undone.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{ErrorKind, Write as _};
use std::process::{Command, ExitStatus, Stdio};

/// The layers that must hold on every kernel, and the output of the probe.
fn probe(role: &str, must_be_active: &[&str]) {
    let (status, text) = run(&[role]);
    for layer in must_be_active {
        assert!(text.contains(&format!("active\t{layer}\n")), "{layer} is not active:\n{text}");
    }
    assert!(!text.contains("ALLOWED"), "{text}");
    assert!(text.matches("\trefused\t").count() >= 12, "{text}");
    assert!(text.contains("start\tallowed\n") && text.contains("serving\trefused\n"), "{text}");
    assert!(status.success(), "{text}");
}

fn run(arguments: &[&str]) -> (ExitStatus, String) {
    let empty = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_anchorhold-confine-probe"))
        .args(arguments)
        .current_dir(empty.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // A process that has nothing to read may be gone before it is written to.
    if let Err(error) = child.stdin.take().unwrap().write_all(b"work") {
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    }
    let output = child.wait_with_output().unwrap();
    (output.status, String::from_utf8(output.stdout).unwrap())
}

const ALWAYS: [&str; 4] = ["no new privileges", "no core dump", "no capabilities", "seccomp"];

#[test]
fn case_43_a_hostile_worker_is_refused_everything_and_still_works() {
    probe("worker", &ALWAYS);
}

#[test]
fn case_43_a_hostile_worker_with_a_device_is_refused_everything_but_the_device() {
    probe("device-worker", &ALWAYS);
}

#[test]
fn case_43_who_has_gpus_report_is_refused_everything_but_the_device() {
    probe("gpu-attester", &ALWAYS);
}

#[test]
fn case_43_who_lets_gpus_take_work_gains_nothing_else_by_its_capability() {
    probe("gpu-acceptor", &["no new privileges", "no core dump", "few capabilities", "seccomp"]);
}

#[test]
fn case_43_a_hostile_gateway_is_refused_everything_and_still_works() {
    probe("gateway", &ALWAYS);
}

#[test]
fn case_43_a_hostile_fetcher_is_refused_all_but_its_directory_and_connections() {
    probe("fetcher", &ALWAYS);
}

#[test]
fn what_only_the_start_needs_is_over_when_collector_and_keeper_serve() {
    for role in ["collector", "keeper"] {
        let (status, text) = run(&[role]);
        assert!(text.contains("start\tallowed\n") && text.contains("serving\trefused\n"), "{role}: {text}");
        assert!(status.success(), "{role}: {text}");
    }
}

#[test]
fn case_43_whoever_serves_and_runs_a_program_is_ended() {
    use std::os::unix::process::ExitStatusExt as _;
    const SIGSYS: i32 = 31;
    for role in ["worker", "gateway", "fetcher", "device-worker", "gpu-attester", "gpu-acceptor"] {
        let (status, text) = run(&[role, "run"]);
        assert_eq!(status.signal(), Some(SIGSYS), "{role}: {status}\n{text}");
    }
}

#[test]
fn the_probe_needs_a_role() {
    let status =
        Command::new(env!("CARGO_BIN_EXE_anchorhold-confine-probe")).stdout(Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(2));
}

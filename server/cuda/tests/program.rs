//! The worker's program where it cannot work.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Stdio};

/// The tests are built without kernels, as everything but `make cuda` is.
#[test]
fn without_its_kernels_the_program_starts_says_so_and_ends_with_3() {
    let output = Command::new(env!("CARGO_BIN_EXE_anchorhold-worker-cuda"))
        .arg("--self-test")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("built without its kernels"), "{text}");
    assert_eq!(output.status.code(), Some(3), "{text}");
}

#[test]
fn without_a_keeper_the_program_ends_before_it_opens_anything() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_anchorhold-worker-cuda")).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("not the keeper's sockets"), "{text}");
    assert_eq!(output.status.code(), Some(1), "{text}");
}

//! Each system call that an encrypted log makes in its directory fails once, or is the last before the process is killed, one run for each.
//!
//! strace does that from outside, so the writer is the one that serves. Where it may not trace, the test says so and ends; with `CI` set it
//! must.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test stops at a surprise"
)]

mod fixture;

use anchorhold_audit_log::{
    Beginning, Log, LogError, LogPlace, LogReader, ReadError, ReadingKey, StorageKey, Tee, read_key_copies,
};
use fixture::{EVIDENCE, binding, boot, request_event, signer, stamp};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

const PATH_ENV: &str = "AUDIT_LOG_TRACED_WRITER";
const CALLS: [&str; 6] = ["mkdir", "openat", "write", "fsync", "fdatasync", "rename"];

/// Not a test of its own: the process that is traced. It says how many entries are acknowledged, and that nothing is after a failure.
#[test]
#[ignore = "runs as the child of another test"]
fn traced_writer() {
    let Some(path) = std::env::var_os(PATH_ENV) else { return };
    let mut failed = false;
    let mut say = |size: u64, result: Result<(), LogError>| {
        let text = match result {
            Ok(()) if failed => "acknowledged after a failure\n".to_owned(),
            Ok(()) => format!("ack {size}\n"),
            Err(error) => {
                failed = true;
                format!("error: {error}\n")
            }
        };
        io::stdout().write_all(text.as_bytes()).unwrap();
        io::stdout().flush().unwrap();
    };
    // The copies are the key itself here: another process reads what this one leaves.
    let (key, bytes) = StorageKey::generate().unwrap();
    let beginning = Beginning::new(signer(), boot(), stamp(0)).encrypted(key, bytes.to_vec());
    let mut log = match Log::begin(Path::new(&path), beginning) {
        Ok(log) => log,
        Err(error) => return say(0, Err(error)),
    };
    say(log.size(), Ok(()));
    for second in 1..4 {
        let result = log.append(&[request_event(second), request_event(second)]).map(drop);
        say(log.size(), result);
    }
    let result = log.record_evidence(EVIDENCE, &binding(), Tee::Snp, stamp(5)).map(drop);
    say(log.size(), result);
    // Two writes, made durable by another thread; the first is acknowledged by the second. Checkpoints beside them.
    for second in 6..8 {
        let staged = log.stage(request_event(second)).and_then(|_| log.submit());
        let result = staged.and_then(|()| log.begin_checkpoint());
        say(log.size(), result);
    }
    let result = log.settle();
    say(log.size(), result);
    let result = log.end(stamp(8)).map(drop);
    say(log.size(), result);
}

/// Runs the writer under strace with these arguments.
fn traced(path: &Path, arguments: &[String]) -> io::Result<Output> {
    Command::new("strace")
        .args(["-f", "-qq", "-y", "-s", "0"])
        .args(arguments)
        .arg(std::env::current_exe()?)
        .args(["--exact", "traced_writer", "--ignored", "--nocapture", "--test-threads", "1"])
        .env(PATH_ENV, path)
        .stdin(Stdio::null())
        .output()
}

/// The calls in the log's directory: their names, and which of that name they are in their thread.
fn calls_in(trace: &str, path: &Path) -> Vec<(&'static str, usize)> {
    let mut counted: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let Some(name) = CALLS.into_iter().find(|name| call.trim_start().starts_with(&format!("{name}(")))
        else {
            continue;
        };
        let count = counted.entry((thread, name)).or_default();
        *count += 1;
        if line.contains(path.to_str().unwrap()) {
            calls.push((name, *count));
        }
    }
    calls
}

/// How often the writer said something while bytes that it wrote into a segment or a slot had not been asked to be durable. No failure of a call
/// would show a call that is left out.
fn said_too_early(trace: &str) -> usize {
    let mut written = BTreeSet::new();
    let mut early = 0;
    for line in trace.lines() {
        let Some((call, rest)) = line.split_once('(') else { continue };
        let file =
            rest.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("", |(file, _)| file);
        match call.rsplit_once(' ').map_or(call, |(_, name)| name) {
            "write" if file.ends_with(".seg") || file.ends_with(".slots") => drop(written.insert(file)),
            "write" if rest.starts_with("1<") => early += usize::from(!written.is_empty()),
            "fdatasync" | "fsync" => drop(written.remove(file)),
            _ => {}
        }
    }
    early
}

/// How many entries the writer said are acknowledged.
fn acknowledged(output: &Output) -> u64 {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!text.contains("acknowledged after a failure"), "{text}");
    text.lines().filter_map(|line| line.rsplit_once("ack ")?.1.parse().ok()).max().unwrap_or(0)
}

#[test]
fn case_30_each_system_call_fails_once_and_each_is_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let trace = dir.path().join("trace");
    let names = CALLS.join(",");
    let first = traced(&path, &["-o".to_owned(), trace.display().to_string(), format!("-etrace={names}")]);
    let may_trace = first.as_ref().is_ok_and(|output| output.status.success());
    if !may_trace {
        assert!(std::env::var_os("CI").is_none(), "strace cannot trace here: {first:?}");
        eprintln!("skipped: strace cannot trace here");
        return;
    }
    let all = acknowledged(&first.unwrap());
    assert_eq!(all, 11);
    let trace = std::fs::read_to_string(&trace).unwrap();
    // Only after what it submitted, which it does not acknowledge.
    assert!(said_too_early(&trace) <= 2, "{trace}");
    let calls = calls_in(&trace, &path);
    assert!(
        calls.len() > 50 && CALLS.iter().all(|name| calls.iter().any(|call| call.0 == *name)),
        "{calls:?}"
    );
    let mut runs = 0;
    for (name, count) in calls {
        for what in ["error=EIO", "error=ENOSPC", "signal=KILL"] {
            std::fs::remove_dir_all(&path).unwrap();
            let inject = format!("-einject={name}:{what}:when={count}");
            let output = traced(&path, &["-o".to_owned(), "/dev/null".to_owned(), inject.clone()]).unwrap();
            let acknowledged = acknowledged(&output);
            assert!(acknowledged < all, "{inject} changed nothing");
            let key = read_key_copies(&path).ok().flatten().and_then(|copies| copies.try_into().ok());
            let key = key.map_or_else(|| ReadingKey::new(&[0; 32]), |bytes| ReadingKey::new(&bytes));
            let place = LogPlace::encrypted(&path, &key);
            match LogReader::recover(place) {
                Ok(reader) => {
                    assert!(reader.head().size >= acknowledged, "{inject}");
                    let again = LogReader::open(place).unwrap();
                    assert_eq!((again.head(), again.torn_tail()), (reader.head(), None));
                }
                Err(error) => {
                    let nothing_yet = matches!(error, ReadError::Empty | ReadError::Io { .. });
                    assert!(acknowledged == 0 && nothing_yet, "{inject}: {error}");
                }
            }
            std::fs::create_dir_all(&path).unwrap();
            runs += 1;
        }
    }
    eprintln!("{runs} runs: every call failed once and was the last once, {all} entries each");
}

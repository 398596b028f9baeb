//! The broker as witness of a guest's log: what is cosigned, and what happens when nobody cosigns.

use crate::support::{SOON, Served, chat, code, count, until};
use anchorhold_attester::software::simulated_ark_der;
use anchorhold_e2e::guest::log_entries;
use anchorhold_e2e::refusals::Stand;
use serde_json::Value;
use std::path::Path;

/// A deployment whose log the broker witnesses; after so many seconds without it that is logged, and nothing new is served.
fn witnessed(late: u32, held: u32) -> Served {
    let mut stand = Stand::new().unwrap();
    let mut settings = stand.with_chat().unwrap();
    settings.witnessed = Some((late, held));
    Served::start(stand, &settings)
}

/// Exit code and output of `anchorhold audit verify` for the log, held to this witness.
fn verify(stand: &Stand, log: &Path, name: &str, witness: &str) -> (Option<i32>, String) {
    let bundle = stand.path().join(name);
    assert!(anchorhold_e2e::guest::export_log(&stand.programs, log, &bundle).unwrap().status.success());
    let key = std::fs::read_to_string(log.join("key.vkey")).unwrap();
    let output = stand
        .programs
        .output(
            "anchorhold",
            &[
                &"audit",
                &"verify",
                &bundle,
                &"--log-only",
                &"--audit-key",
                &key.trim(),
                &"--witness",
                &witness,
            ],
        )
        .unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn what_a_guest_did_is_cosigned_to_its_last_entry() {
    let served = witnessed(60, 300);
    let log = served.guest.audit_log.clone();
    let cosigned = || std::fs::read_to_string(log.join("checkpoint.cosigned")).unwrap();
    let size = |note: &str| note.lines().nth(1).unwrap().parse::<usize>().unwrap();
    let at_start = size(&cosigned());
    assert!(at_start >= 3, "nothing was served before its start was cosigned: {at_start}");
    assert_eq!(served.post("/v1/chat/completions", &chat("hello")).status, 200);
    until("the request's entry is cosigned", SOON, || (size(&cosigned()) > at_start).then_some(()));
    let Served { guest, stand, .. } = served;
    guest.stop().unwrap();
    let entries = log_entries(&log).unwrap();
    assert_eq!(size(&cosigned()), entries.len(), "the last checkpoint too");
    let witness = stand.broker.keys.witness_key.clone();
    let (exit, text) = verify(&stand, &log, "whole.tar", &witness);
    assert_eq!(exit, Some(0), "{text}");
    assert!(text.contains("witnessed    passed"), "{text}");
    // A key under the same name that is not the broker's.
    let other = anchorhold_audit_log::cosignature::Cosigner::from_seed("other", &[3; 32]).unwrap();
    let (exit, text) = verify(&stand, &log, "other.tar", &other.key().to_string());
    assert_eq!(exit, Some(6), "{text}");
    assert!(text.contains("witnessed    failed"), "{text}");
}

#[test]
fn case_31_without_its_witness_a_guest_says_so_and_then_takes_nothing_new() {
    let mut served = witnessed(1, 3);
    assert_eq!(served.post("/v1/chat/completions", &chat("hello")).status, 200);
    served.stand.broker.kill();
    until("nothing new is taken", SOON, || {
        let answer = served.post("/v1/chat/completions", &chat("hello"));
        if answer.status == 200 {
            return None;
        }
        assert_eq!((answer.status.as_u16(), code(&answer).as_str()), (503, "audit_unavailable"));
        assert!(answer.headers.contains_key("retry-after"));
        assert_eq!(served.get("/readyz").status, 503);
        Some(())
    });
    served.stand.broker.serve().unwrap();
    until("it serves again", SOON, || {
        (served.post("/v1/chat/completions", &chat("hello")).status == 200).then_some(())
    });
    let log = served.guest.audit_log.clone();
    let witness = served.stand.broker.keys.witness_key.clone();
    let Served { guest, stand, .. } = served;
    guest.stop().unwrap();
    let entries = log_entries(&log).unwrap();
    let codes: Vec<_> = entries
        .iter()
        .filter(|entry| entry["type"] == "log.anchor_fail")
        .map(|entry| entry["code"].clone())
        .collect();
    assert_eq!(codes, ["witness_missing", "serving_held"]);
    assert_eq!(count(&entries, "log.anchor"), 1, "that they cosign again");
    // One proof catches up on all that was not cosigned.
    let (exit, text) = verify(&stand, &log, "bundle.tar", &witness);
    assert_eq!(exit, Some(0), "{text}");
}

/// A log that goes on beside the one that the witness knows: the guest's own files say nothing of it, the witness does.
#[test]
fn case_29_a_log_that_was_set_back_is_found_by_the_cosigned_checkpoint() {
    let served = witnessed(60, 300);
    let log = served.guest.audit_log.clone();
    let early = std::fs::read(log.join("checkpoint.slots")).unwrap();
    assert_eq!(served.post("/v1/chat/completions", &chat("hello")).status, 200);
    let Served { guest, stand, .. } = served;
    guest.stop().unwrap();
    // The host puts back the checkpoint and cuts the entries after it.
    std::fs::write(log.join("checkpoint.slots"), &early).unwrap();
    let segment = log.join("entries/00000000.seg");
    let bytes = std::fs::read(&segment).unwrap();
    std::fs::write(&segment, &bytes[..bytes.len() / 2]).unwrap();
    let bundle = stand.path().join("back.tar");
    let output = anchorhold_e2e::guest::export_log(&stand.programs, &log, &bundle).unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("the checkpoint covers") || said.contains("damaged"), "{said}");
}

#[test]
fn case_30_a_log_whose_medium_fails_ends_what_is_served_and_that_is_told() {
    let served = Served::chat();
    assert_eq!(served.post("/v1/chat/completions", &chat("hello")).status, 200);
    let ready = served.get("/readyz");
    assert_eq!(ready.status, 200);
    // The next checkpoint finds no directory.
    std::fs::remove_dir_all(&served.guest.audit_log).unwrap();
    until("nothing is served any more", SOON, || {
        let answer = served.post("/v1/chat/completions", &chat("hello"));
        (answer.status != 200).then(|| assert_eq!(code(&answer), "audit_unavailable"))
    });
    until("it is told", SOON, || (served.get("/readyz").status == 503).then_some(()));
    // Nothing brings it back but another boot.
    std::fs::create_dir_all(served.guest.audit_log.join("entries")).unwrap();
    let answer = served.post("/v1/chat/completions", &chat("hello"));
    assert_eq!((answer.status.as_u16(), code(&answer).as_str()), (503, "audit_unavailable"));
    assert!(served.guest.stop().is_err(), "a log that failed does not end well");
}

/// Exit code and JSON of `anchorhold audit verify` for the bundles of both boots.
fn verify_both(stand: &Stand, bundles: [&Path; 2]) -> (Option<i32>, Value) {
    let root = stand.path().join("root.der");
    std::fs::write(&root, simulated_ark_der()).unwrap();
    let policy = stand.path().join("witnesses.policy");
    let witness = format!("witness broker {}\nquorum broker\n", stand.broker.keys.witness_key);
    std::fs::write(&policy, witness).unwrap();
    let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> =
        vec![&"audit", &"verify", &"--json", &"--measurement", &stand.measurement];
    arguments.extend([&"--dangerous-simulated-root" as &dyn AsRef<std::ffi::OsStr>, &root]);
    arguments.extend([&"--witnesses" as &dyn AsRef<std::ffi::OsStr>, &policy, &bundles[0], &bundles[1]]);
    let output = stand.programs.output("anchorhold", &arguments).unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or(Value::String(said)))
}

fn question<'a>(report: &'a Value, check: &str) -> &'a Value {
    report["checks"].as_array().unwrap().iter().find(|verdict| verdict["check"] == check).unwrap()
}

#[test]
fn case_29_the_next_boot_names_the_log_before_it_and_a_shorter_one_is_found() {
    let mut stand = Stand::new().unwrap();
    let mut settings = stand.with_chat().unwrap();
    settings.witnessed = Some((60, 300));
    let served = Served::start(stand, &settings);
    let (first, early) = (served.guest.audit_log.clone(), served.stand.path().join("early.tar"));
    let programs = &served.stand.programs;
    assert!(anchorhold_e2e::guest::export_log(programs, &first, &early).unwrap().status.success());
    assert_eq!(served.post("/v1/chat/completions", &chat("hello")).status, 200);
    let Served { guest, stand, .. } = served;
    guest.stop().unwrap();

    let served = Served::start(stand, &settings);
    let second = served.guest.audit_log.clone();
    let Served { guest, stand, .. } = served;
    guest.stop().unwrap();
    let [one, two] = [log_entries(&first).unwrap(), log_entries(&second).unwrap()];
    let told = |entries: &[Value]| {
        let told: Vec<_> =
            entries.iter().filter(|entry| entry["type"] == "log.predecessor").cloned().collect();
        assert_eq!(told.len(), 1);
        told[0].clone()
    };
    assert_eq!(told(&one)["code"], "none_known");
    let named = told(&two);
    assert_eq!((&named["code"], named["log"]["size"].as_u64()), (&"closed".into(), Some(one.len() as u64)));

    let [whole, next] = [(&first, "one.tar"), (&second, "two.tar")].map(|(log, name)| {
        let bundle = stand.path().join(name);
        assert!(anchorhold_e2e::guest::export_log(&stand.programs, log, &bundle).unwrap().status.success());
        bundle
    });
    let (exit, report) = verify_both(&stand, [&whole, &next]);
    assert_eq!(exit, Some(0), "{report:#}");
    for check in ["chain", "times", "cosignatures"] {
        assert_eq!(question(&report, check)["status"], "passed", "{report:#}");
    }
    assert_eq!(report["logs"][1]["attestation"]["is_witnessed"], true, "{report:#}");
    // What the host kept of the first boot from before its request: a log that proves itself.
    let (exit, report) = verify_both(&stand, [&early, &next]);
    assert_eq!(exit, Some(6), "{report:#}");
    let chain = question(&report, "chain");
    assert_eq!(chain["status"], "failed");
    assert!(chain["detail"].as_str().unwrap().contains("fewer entries"), "{chain}");
}

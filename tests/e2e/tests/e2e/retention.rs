//! Whom entries are about, from a serving guest to the archive: sealed, opened by one recipient, held, erased, and proven all the while.

use crate::support::{Served, chat};
use anchorhold_attester::software::simulated_ark_der;
use anchorhold_e2e::refusals::Stand;
use serde_json::Value;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Exit code, lines of JSON and standard error of a command.
fn run(stand: &Stand, arguments: &[&str]) -> (Option<i32>, Vec<Value>, String) {
    let arguments: Vec<&dyn AsRef<OsStr>> = arguments.iter().map(|text| text as &dyn AsRef<OsStr>).collect();
    let output = stand.programs.output("anchorhold", &arguments).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    (output.status.code(), lines, String::from_utf8(output.stderr).unwrap())
}

fn printed(stand: &Stand, arguments: &[&str]) -> String {
    let arguments: Vec<&dyn AsRef<OsStr>> = arguments.iter().map(|text| text as &dyn AsRef<OsStr>).collect();
    let output = stand.programs.output("anchorhold", &arguments).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The files below a folder that hold these bytes.
fn found(folder: &Path, wanted: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let (path, kind) = entry.map(|entry| (entry.path(), entry.file_type().unwrap())).unwrap();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file()
                && std::fs::read(&path).unwrap().windows(wanted.len()).any(|window| window == wanted)
            {
                found.push(path);
            }
        }
    }
    found
}

fn kid(entry: &Value) -> String {
    entry["sealed"]["kid"].as_str().unwrap().to_owned()
}

#[test]
fn case_37_a_caller_of_a_serving_guest_is_sealed_opened_held_and_erased() {
    let mut stand = Stand::new().unwrap();
    let mut settings = stand.with_chat().unwrap();
    let in_stand = |name: &str| stand.path().join(name).display().to_string();
    let (privacy, archivist, archive) =
        (in_stand("privacy.key"), in_stand("archivist.key"), in_stand("archive"));
    let (bundle, left, root) = (in_stand("bundle.tar"), in_stand("left.tar"), in_stand("root.der"));
    std::fs::write(&root, simulated_ark_der()).unwrap();
    settings.privacy_recipient = Some(printed(&stand, &["audit", "recipient", &privacy]));
    let served = Served::start(stand, &settings);
    let ask = || assert_eq!(served.post("/v1/chat/completions", &chat("What is Anchorhold?")).status, 200);
    ask();
    ask();
    let log = served.guest.audit_log.clone();
    let keyring = log.parent().unwrap().join("personal");
    let keys = || std::fs::read_dir(&keyring).unwrap().map(|file| file.unwrap().path()).collect::<Vec<_>>();
    let [first_key]: [PathBuf; 1] = keys().try_into().unwrap();
    let first_text = std::fs::read_to_string(&first_key).unwrap();
    // An erasure in a guest that serves: the file is destroyed, and the next entry is under a new key.
    std::fs::remove_file(&first_key).unwrap();
    ask();
    assert_eq!(keys().len(), 1);
    served.guest.stop().unwrap();
    let stand = served.stand;
    let entries = anchorhold_e2e::guest::log_entries(&log).unwrap();
    let told: Vec<&Value> = entries.iter().filter(|entry| entry["type"] == "infer.complete").collect();
    assert_eq!(told.len(), 3);
    assert!(kid(told[0]) == kid(told[1]) && kid(told[1]) != kid(told[2]));
    let pseudonym = |at: usize| told[at]["actor"]["pseud"].as_str().unwrap();
    assert!(pseudonym(0).len() == 64 && pseudonym(0) == pseudonym(1));
    assert_eq!(found(&log, b"127.0.0.1"), Vec::<PathBuf>::new(), "no address stands in the log");

    // Into the archive: the keys go with the log.
    let exported = anchorhold_e2e::guest::export_log(&stand.programs, &log, Path::new(&bundle)).unwrap();
    assert!(exported.status.success());
    let bytes = std::fs::read(&bundle).unwrap();
    assert!(!bytes.windows(9).any(|window| window == b"127.0.0.1"), "nor in what is exported");
    printed(&stand, &["owner", "new", &archivist]);
    let init = ["audit", "archive", "init", &archive, "--key", &archivist, "--origin", "archive.example/1"];
    let archive_key = printed(&stand, &init);
    let from = keyring.display().to_string();
    let add = ["audit", "archive", "add", &archive, &bundle, "--key", &archivist, "--keyring", &from];
    printed(&stand, &add);
    assert!(keys().is_empty(), "a key is in one keyring");
    let own = Path::new(&archive).join("keyring").display().to_string();
    let personal = ["audit", "personal", &bundle, "--keyring", &own, "--recipient-key", &privacy, "--json"];
    let (code, lines, _) = run(&stand, &personal);
    assert_eq!(code, Some(0));
    let of = |state: &str| lines.iter().filter(|line| line["sealed"] == state).count();
    assert!(of("opened") >= 1 && of("erased") >= 2 && of("refused") == 0, "{lines:?}");
    let opened = lines.iter().find(|line| line["sealed"] == "opened").unwrap();
    assert_eq!((&opened["address"], &opened["tenant"]), (&"127.0.0.1".into(), &"demo".into()));
    let subject = format!("demo/{}", opened["key"].as_str().unwrap());
    let (_, about, _) = run(&stand, &[personal.as_slice(), &["--subject", &subject]].concat());
    assert_eq!(about.len(), of("opened"));

    // A hold blocks the erasure, which is done once it is released.
    let place = [
        "audit",
        "hold",
        "place",
        &archive,
        "--key",
        &archivist,
        "--id",
        "case-17",
        "--reason",
        "litigation",
    ];
    printed(&stand, &[place.as_slice(), &["--tenant", "demo"]].concat());
    let erase =
        ["audit", "erase", &archive, "--key", &archivist, "--subject", &subject, "--recipient-key", &privacy];
    let erase = [erase.as_slice(), &["--reason", "gdpr_17_1_b"]].concat();
    let (code, _, error) = run(&stand, &erase);
    assert!(code == Some(1) && error.contains("hold case-17 covers entries"), "{error}");
    let prune = [
        "audit",
        "prune",
        &archive,
        "--key",
        &archivist,
        "--profile",
        "default",
        "--at",
        "2036-01-01T00:00:00Z",
    ];
    printed(&stand, &prune);
    let release = [
        "audit",
        "hold",
        "release",
        &archive,
        "--key",
        &archivist,
        "--id",
        "case-17",
        "--reason",
        "case_closed",
    ];
    printed(&stand, &release);
    let second_text = std::fs::read_to_string(Path::new(&own).join(format!("{}.key", kid(told[2])))).unwrap();
    printed(&stand, &erase);
    let (_, lines, _) = run(&stand, &personal);
    assert!(!lines.is_empty() && lines.iter().all(|line| line["sealed"] == "erased"), "{lines:?}");
    for text in [&first_text, &second_text] {
        assert_eq!(found(stand.path(), text.as_bytes()), Vec::<PathBuf>::new());
    }

    // What was pruned, and what is left, is proven; so is the bundle from before, under the guest's evidence.
    let export = ["audit", "archive", "export", &archive, "--out", &left, "--origin"];
    let origin = entries[0]["log"]["origin"].as_str().unwrap();
    printed(&stand, &[export.as_slice(), &[origin]].concat());
    for bundle in [&left, &bundle] {
        let trust = ["--measurement", &stand.measurement, "--dangerous-simulated-root", &root];
        let (code, _, error) = run(&stand, &[["audit", "verify", bundle].as_slice(), &trust].concat());
        assert_eq!(code, Some(0), "{error}");
    }
    let status = ["audit", "archive", "status", &archive, "--archive-key", &archive_key];
    let status = printed(&stand, &status);
    assert!(status.contains(" by act ") && status.contains("0 stand"), "{status}");
    assert!(status.ends_with("accepted"), "{status}");
}

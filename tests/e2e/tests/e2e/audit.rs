//! What an auditor gets: one entry for each request, receipts that only the caller can open, and a bundle in which no
//! change goes unnoticed.

use crate::support::{SOON, Served, chat, count, until, with};
use anchorhold_attester::software::simulated_ark_der;
use anchorhold_audit_log::{PublicKey, Receipt, SignedReceipt, VerifierKey, split_stream};
use anchorhold_e2e::client::Caller;
use anchorhold_e2e::refusals::Stand;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const BLOCK: usize = 512;

/// Exit code and JSON of `anchorhold audit verify`.
fn verify(stand: &Stand, bundle: &Path, trust: &[&str]) -> (Option<i32>, Value) {
    let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"audit", &"verify", &bundle, &"--json"];
    arguments.extend(trust.iter().map(|text| text as &dyn AsRef<std::ffi::OsStr>));
    let output = stand.programs.output("anchorhold", &arguments).unwrap();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or(Value::Null))
}

fn export(stand: &Stand, log: &Path, name: &str) -> PathBuf {
    let bundle = stand.path().join(name);
    assert!(anchorhold_e2e::guest::export_log(&stand.programs, log, &bundle).unwrap().status.success());
    bundle
}

fn root(stand: &Stand) -> String {
    let path = stand.path().join("root.der");
    std::fs::write(&path, simulated_ark_der()).unwrap();
    path.display().to_string()
}

/// The key that the server gave only to this caller.
fn receipt_key(hex: &str) -> [u8; 32] {
    let byte = |at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
    std::array::from_fn(byte)
}

fn receipt(entry: &Value) -> Receipt {
    serde_json::from_value(entry["req"]["receipt"].clone()).unwrap()
}

#[test]
fn each_request_has_one_entry_that_its_caller_can_open() {
    let served = Served::chat();
    let asked = chat("What is Anchorhold?");
    let whole = served.post("/v1/chat/completions", &asked);
    let usage = serde_json::from_slice::<Value>(&whole.body).unwrap()["usage"].clone();
    let streamed = with(chat("What is sealed?"), json!({"stream": true}));
    let stream = served.begin_stream(&streamed).finish();
    assert_eq!(served.get("/v1/models").status, 200);
    assert_eq!(served.post("/v1/chat/completions", &json!({"model": "none"})).status, 400);
    let url = format!("https://{}", served.guest.address);
    let stranger = crate::support::wait(Caller::verify_at(&url, "ak-no", &served.stand.measurement)).unwrap();
    assert_eq!(crate::support::wait(stranger.get("/v1/models")).unwrap().status, 401);

    let audit_key = PublicKey::new(*served.caller.server.keys().audit_key.as_bytes());
    let measurement = served.caller.server.result().measurement().to_string();
    let signed = |text: &str| SignedReceipt::verify(text, &audit_key).unwrap();
    let (streamed_receipt, streamed_bytes) = split_stream(&stream.bytes).unwrap();
    let receipts =
        [signed(whole.headers["x-anchorhold-receipt"].to_str().unwrap()), signed(streamed_receipt)];
    let (key, stream_key) = (
        receipt_key(whole.headers["x-anchorhold-receipt-key"].to_str().unwrap()),
        receipt_key(&stream.header("x-anchorhold-receipt-key")),
    );
    let entries = served.stop();
    let requests: Vec<_> =
        entries.iter().filter(|entry| entry["type"].as_str().unwrap().starts_with("infer.")).collect();
    let told: Vec<_> = requests
        .iter()
        .map(|entry| {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            (text(&entry["type"]), text(&entry["req"]["route"]), entry["req"]["status"].as_u64().unwrap())
        })
        .collect();
    let wanted = [
        ("infer.complete", "chat.completions", 200),
        ("infer.complete", "chat.completions", 200),
        ("infer.complete", "models", 200),
        ("infer.reject", "chat.completions", 400),
    ];
    assert_eq!(told, wanted.map(|(kind, route, status)| (kind.to_owned(), route.to_owned(), status)));
    assert_eq!(requests[3]["code"], "invalid_request");
    let strangers: Vec<_> = entries.iter().filter(|entry| entry["type"] == "auth.failure").collect();
    assert_eq!(strangers.iter().map(|entry| &entry["code"]).collect::<Vec<_>>(), ["key_unknown"]);
    assert_eq!(
        (&strangers[0]["req"]["route"], &strangers[0]["req"]["status"]),
        (&json!("models"), &json!(401))
    );
    assert!(requests.iter().all(|entry| entry["actor"]["tenant"] == "demo"));
    let counts = |entry: &Value| (entry["req"]["tin"].clone(), entry["req"]["tout"].clone());
    assert_eq!(counts(requests[0]), (usage["prompt_tokens"].clone(), usage["completion_tokens"].clone()));
    assert!(usage["completion_tokens"].as_u64().unwrap() > 0);

    let (request, answer) = (asked.to_string().into_bytes(), whole.body);
    assert!(receipt(requests[0]).opens(&key, &request, &answer));
    assert!(receipt(requests[1]).opens(&stream_key, streamed.to_string().as_bytes(), &streamed_bytes));
    // The receipts say the same as the entries that they name.
    for (receipt, entry) in receipts.iter().zip(&requests) {
        assert_eq!(receipt.index, entry["seq"].as_u64().unwrap());
        assert_eq!(receipt.rid.as_str(), entry["req"]["rid"]);
        assert_eq!(serde_json::to_value(receipt.commitments).unwrap(), entry["req"]["receipt"]);
        assert_eq!((receipt.status, receipt.tokens_in), (200, entry["req"]["tin"].as_u64().unwrap()));
        assert_eq!(receipt.measurement.to_string(), measurement);
        assert!(receipt.model.as_ref().is_some_and(|model| model.policy_digest.is_some()));
    }
    // Another key, request, answer or entry does not open.
    assert!(!receipt(requests[0]).opens(&stream_key, &request, &answer));
    assert!(!receipt(requests[0]).opens(&key, streamed.to_string().as_bytes(), &answer));
    assert!(!receipt(requests[0]).opens(&key, &request, &streamed_bytes));
    assert!(!receipt(requests[1]).opens(&key, &request, &answer));
}

#[test]
fn an_auditor_follows_the_log_of_a_running_guest_and_each_reading_is_in_it() {
    let mut stand = Stand::new().unwrap();
    let settings = stand.with_chat().unwrap();
    let served = Served::start(stand, &settings);
    assert_eq!(served.post("/v1/chat/completions", &chat("What is Anchorhold?")).status, 200);
    // A caller's key reads nothing of it.
    assert_eq!(served.get("/v1/audit/checkpoint").status, 403);
    let (root, state) = (root(&served.stand), served.stand.path().join("seen.note"));
    let url = format!("https://{}", served.guest.address);
    let key = served.stand.path().join("auditor.key");
    std::fs::write(&key, &settings.auditor_key).unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let tail = || {
        let arguments: [&dyn AsRef<std::ffi::OsStr>; 13] = [
            &"audit",
            &"tail",
            &"--once",
            &"--url",
            &url,
            &"--key-file",
            &key,
            &"--state",
            &state,
            &"--measurement",
            &served.stand.measurement,
            &"--dangerous-simulated-root",
            &root,
        ];
        let output = served.stand.programs.output("anchorhold", &arguments).unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    let is_reading = |entry: &Value| entry["type"] == "log.read" && entry["actor"]["tenant"] == "auditor";
    // The answer to a reading leaves after its entry; the checkpoint that covers it comes a moment later.
    let mut told = Vec::new();
    until("the request and two readings in what was read", SOON, || {
        told.extend(tail());
        let readings = told.iter().filter(|entry| is_reading(entry)).count();
        (count(&told, "infer.complete") == 1 && readings >= 2).then_some(())
    });
    assert_eq!((count(&told, "log.open"), count(&told, "infer.reject")), (1, 1));
    let log = served.guest.audit_log.clone();
    let Served { stand, guest, .. } = served;
    guest.stop().unwrap();
    let whole = anchorhold_e2e::guest::log_entries(&log).unwrap();
    assert!(whole.len() > told.len(), "the last reading is in none");
    assert!(told.iter().zip(&whole).all(|(told, entry)| told == entry));
    // What was seen while the log grew holds for the bundle that was exported in the end.
    let (bundle, seen) = (export(&stand, &log, "bundle.tar"), state.display().to_string());
    let trust =
        ["--measurement", &stand.measurement, "--dangerous-simulated-root", &root, "--earlier", &seen];
    let (exit, verdict) = verify(&stand, &bundle, &trust);
    assert_eq!(exit, Some(0), "{verdict}");
}

/// What somebody does to the entries of a bundle.
type Change = fn(&mut Vec<String>);

/// The members of a bundle, in order.
type Members = Vec<(String, Vec<u8>)>;

fn unpack(bundle: &Path) -> Members {
    let bytes = std::fs::read(bundle).unwrap();
    let mut rest = bytes.as_slice();
    let mut members = Vec::new();
    while rest[0] != 0 {
        let text = |range: std::ops::Range<usize>| String::from_utf8(rest[range].to_vec()).unwrap();
        let name = text(0..100).trim_end_matches('\0').to_owned();
        let size = usize::from_str_radix(text(124..136).trim_end_matches('\0'), 8).unwrap();
        members.push((name, rest[BLOCK..BLOCK + size].to_vec()));
        rest = &rest[BLOCK + size.next_multiple_of(BLOCK)..];
    }
    members
}

/// Headers as the crate writes them, so that nothing but the content is wrong.
fn pack(members: &Members) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, bytes) in members {
        let mut header = [0; BLOCK];
        let size = format!("{:011o}\0", bytes.len());
        for (at, field) in [
            (0, name.as_str()),
            (100, "0000644\0"),
            (108, "0000000\0"),
            (116, "0000000\0"),
            (124, size.as_str()),
            (136, "00000000000\0"),
            (148, "        "),
            (156, "0"),
            (257, "ustar\x0000"),
        ] {
            header[at..at + field.len()].copy_from_slice(field.as_bytes());
        }
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend_from_slice(&header);
        out.extend_from_slice(bytes);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
    }
    out.extend_from_slice(&[0; 2 * BLOCK]);
    out
}

fn member<'a>(members: &'a mut Members, name: &str) -> &'a mut Vec<u8> {
    &mut members.iter_mut().find(|(found, _)| found == name).unwrap().1
}

/// Lets `change` work on the entries; with `consistent`, counts and leaf hashes are made to fit, as somebody would who
/// has read the format.
fn alter(members: &mut Members, consistent: bool, change: impl FnOnce(&mut Vec<String>)) {
    let text = String::from_utf8(member(members, "entries-00000.jsonl").clone()).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    change(&mut lines);
    if consistent {
        let hashes = lines
            .iter()
            .flat_map(|line| *anchorhold_audit_log::merkle::leaf_hash(line.as_bytes()).as_bytes());
        *member(members, "leaf-hashes-00000.bin") = hashes.collect();
        let manifest = member(members, "manifest.json");
        let mut json: Value = serde_json::from_slice(manifest).unwrap();
        json["count"] = lines.len().into();
        json["size"] = lines.len().into();
        *manifest = json.to_string().into_bytes();
    }
    *member(members, "entries-00000.jsonl") =
        lines.into_iter().map(|line| line + "\n").collect::<String>().into_bytes();
}

#[test]
fn case_36_a_bundle_verifies_offline_and_every_change_shows() {
    let served = Served::chat();
    for question in ["What is Anchorhold?", "What is sealed?", "Who are you?"] {
        assert_eq!(served.post("/v1/chat/completions", &chat(question)).status, 200);
    }
    let log = served.guest.audit_log.clone();
    let Served { stand, guest, .. } = served;
    guest.stop().unwrap();
    let bundle = export(&stand, &log, "bundle.tar");
    let root = root(&stand);
    let trust = ["--measurement", &stand.measurement, "--dangerous-simulated-root", &root];

    let (exit, verdict) = verify(&stand, &bundle, &trust);
    assert_eq!((exit, &verdict["verdict"]), (Some(0), &"accepted".into()), "{verdict}");
    let closure =
        verdict["log"].as_array().unwrap().iter().find(|check| check["check"] == "closure").unwrap();
    assert_eq!(closure["finding"], "closed");
    // Whose log it is, only the evidence says, and only under a root that is named.
    assert_eq!(verify(&stand, &bundle, &["--measurement", &stand.measurement]).0, Some(3));
    let other = ["--measurement", &"ab".repeat(48), "--dangerous-simulated-root", &root];
    assert_eq!(verify(&stand, &bundle, &other).0, Some(4));

    let good = unpack(&bundle);
    assert_eq!(pack(&good), std::fs::read(&bundle).unwrap(), "the test packs as the program does");
    let changes: [(&str, Change); 5] = [
        ("changed", |lines| {
            let line = lines.iter_mut().find(|line| line.contains("\"tout\":")).unwrap();
            *line = line.replace("\"status\":200", "\"status\":201");
        }),
        ("dropped", |lines| drop(lines.remove(4))),
        ("reordered", |lines| lines.swap(4, 5)),
        ("inserted", |lines| lines.insert(5, lines[4].clone())),
        ("cut", |lines| lines.truncate(lines.len() - 1)),
    ];
    for (what, change) in changes {
        for consistent in [false, true] {
            let mut members = good.clone();
            alter(&mut members, consistent, change);
            assert_ne!(members, good, "{what}");
            let path = stand.path().join("altered.tar");
            std::fs::write(&path, pack(&members)).unwrap();
            let (exit, verdict) = verify(&stand, &path, &trust);
            assert_eq!(exit, Some(6), "{what}, consistent {consistent}: {verdict}");
        }
    }
}

#[test]
fn case_36_a_checkpoint_of_another_boot_does_not_fit() {
    let bundles = [Served::chat(), Served::chat()].map(|served| {
        let log = served.guest.audit_log.clone();
        let Served { stand, guest, .. } = served;
        guest.stop().unwrap();
        (unpack(&export(&stand, &log, "bundle.tar")), stand)
    });
    let [(mut members, stand), (mut other, _)] = bundles;
    let root = root(&stand);
    let trust = ["--measurement", &stand.measurement, "--dangerous-simulated-root", &root];
    let path = stand.path().join("altered.tar");
    let mut exits = Vec::new();
    for name in ["checkpoint.note", "evidence.json", "entries-00000.jsonl"] {
        let own = std::mem::replace(member(&mut members, name), member(&mut other, name).clone());
        std::fs::write(&path, pack(&members)).unwrap();
        exits.push(verify(&stand, &path, &trust).0);
        *member(&mut members, name) = own;
    }
    assert_eq!(exits, [Some(6); 3]);
    std::fs::write(&path, pack(&members)).unwrap();
    assert_eq!(verify(&stand, &path, &trust).0, Some(0));
}

#[test]
fn the_log_of_the_broker_verifies_under_its_own_key_and_no_other() {
    let served = Served::chat();
    let Served { mut stand, guest, .. } = served;
    guest.stop().unwrap();
    stand.broker.kill();
    assert_eq!(count(&stand.broker.entries().unwrap(), "key.release"), 1);
    let bundle = stand.path().join("broker.tar");
    stand.broker.export_log(&bundle).unwrap();
    let key = VerifierKey::parse(&stand.broker.keys.log_key).unwrap().public_key().to_string();
    let own = ["--log-only", "--audit-key", &key];
    let (exit, verdict) = verify(&stand, &bundle, &own);
    assert_eq!(exit, Some(0), "{verdict}");
    let closure =
        verdict["log"].as_array().unwrap().iter().find(|check| check["check"] == "closure").unwrap();
    assert_eq!((&closure["finding"], &closure["status"]), (&"not_closed".into(), &"noted".into()));
    let other = ["--log-only", "--audit-key", &stand.broker.keys.signing_key];
    assert_eq!(verify(&stand, &bundle, &other).0, Some(6));
}

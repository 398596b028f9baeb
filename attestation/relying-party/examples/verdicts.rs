//! What Rust says of the vectors that Python and WebAssembly judge too: `tests/scripts/bindings.sh` compares.
//!
//! `verdicts inputs NOTES` prints inputs, one JSON object a line: attestation documents and bundles of a software guest as they are
//! and with changed bytes, receipts, and the notes of NOTES. `verdicts judge INPUTS CASES` prints one line for each of them and for
//! each case of the folder CASES: kind, id, verdict, and the codes of all rules that failed.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::panic,
    reason = "a program of the tests, which stops at a surprise"
)]

use anchorhold_attester::software::{LaunchConfig, SoftwareGuest, simulated_roots_pem};
use anchorhold_audit_log::{
    Hash, Measurement as Measured, ModelId, Origin, Receipt, ReceiptModel, RequestId, SignedReceipt, Signer,
    commit,
};
use anchorhold_document::document::{self, AuditHead, ChannelKeys, Document, DocumentKeys, DocumentState};
use anchorhold_rats::{
    Checks, Ed25519PublicKey, Endorsements, EvidenceBundle, Measurement, Nonce, ReportData, Secret,
    Sha256Digest, Timestamp, hex,
};
use anchorhold_relying_party::{
    Accepted, Exchange, judge_document, judge_evidence, judge_note, judge_receipt,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

const MEASUREMENT: Measurement = Measurement::new([0x5a; 48]);
const AT: &str = "2026-06-01T00:00:00Z";
/// Changed bytes lie this far apart.
const STRIDE: usize = 29;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["inputs", notes] => inputs(Path::new(notes)),
        ["judge", inputs, cases] => judge(Path::new(inputs), Path::new(cases)),
        _ => panic!("usage: verdicts inputs NOTES | verdicts judge INPUTS CASES"),
    }
}

fn print(value: &Value) {
    println!("{value}");
}

/// The bytes, and copies of them with one byte changed.
fn with_changes(id: &str, bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let changed = (0..bytes.len()).step_by(STRIDE).map(|at| {
        let mut copy = bytes.to_vec();
        copy[at] ^= 1 << (at % 8);
        (format!("{id}-byte-{at}"), copy)
    });
    std::iter::once((id.to_owned(), bytes.to_vec())).chain(changed).collect()
}

fn inputs(notes: &Path) {
    let (nonce, tls_key) = (Nonce::new([7; 32]), Sha256Digest::new([1; 32]));
    let at: Timestamp = AT.parse().unwrap();
    let guest = SoftwareGuest::launch(LaunchConfig::new(MEASUREMENT), at).unwrap();
    let accepted =
        json!({ "measurements": [MEASUREMENT], "dangerous_simulated_roots": simulated_roots_pem() });
    let document = attestation_document(&guest, nonce, tls_key);
    let said = |id: &str, bytes: &[u8], key: Value, accepted: &Value| {
        print(&json!({ "kind": "document", "id": id, "document": hex(bytes), "nonce": nonce, "tls_key": key,
            "accepted": accepted, "at": AT }));
    };
    for (id, bytes) in with_changes("case_47_document", &document) {
        said(&id, &bytes, json!(tls_key), &accepted);
    }
    said("case_04_other_key", &document, json!(Sha256Digest::new([9; 32])), &accepted);
    said("relayed", &document, Value::Null, &accepted);
    let other =
        json!({ "measurements": ["00".repeat(48)], "dangerous_simulated_roots": simulated_roots_pem() });
    said("other_measurement", &document, json!(tls_key), &other);
    said("vendors_roots", &document, json!(tls_key), &json!({ "measurements": [MEASUREMENT] }));
    said("nothing_accepted", &document, json!(tls_key), &json!({}));
    said("unknown_key", &document, json!(tls_key), &json!({ "measurement": [] }));
    said("profile_unreadable", &document, json!(tls_key), &json!({ "profile": "format = 2" }));

    let report_data = ReportData::new([3; 64]);
    let bundle = EvidenceBundle::new(guest.attest(&report_data).unwrap(), Endorsements::default());
    for (id, bytes) in with_changes("case_47_bundle", &serde_json::to_vec(&bundle).unwrap()) {
        print(
            &json!({ "kind": "evidence", "id": id, "bundle": hex(&bytes), "report_data": hex(report_data.as_bytes()),
            "accepted": accepted, "at": AT }),
        );
    }
    receipts();
    note_inputs(notes);
}

fn attestation_document(guest: &SoftwareGuest, nonce: Nonce, tls_key: Sha256Digest) -> Vec<u8> {
    let keys = DocumentKeys {
        tls_key,
        release_key: Sha256Digest::new([2; 32]),
        audit_key: Ed25519PublicKey::new([3; 32]),
    };
    let channel = ChannelKeys { authenticator_key: Ed25519PublicKey::new([4; 32]), body_keys: Vec::new() };
    let audit = AuditHead { origin: "test/1".into(), tree_size: 1, root_hash: Sha256Digest::new([10; 32]) };
    let state = DocumentState { models: Vec::new(), policy_digest: None, audit, channel, runtime: None }
        .to_json()
        .unwrap();
    let binding = document::binding(nonce, &keys, &state, Sha256Digest::of(b""));
    let evidence = guest.attest(&binding.report_data()).unwrap();
    Document::new(nonce, keys, state, evidence).unwrap().to_json().unwrap()
}

fn receipts() {
    let signer = Signer::from_seed(Origin::new("test/1").unwrap(), &[1; 32]).unwrap();
    let receipt = SignedReceipt {
        origin: Origin::new("test/1").unwrap(),
        index: 12,
        rid: RequestId::new("01J0000000000000000000000A").unwrap(),
        at_ns: 1_700_000_000_000_000_000,
        status: 200,
        model: Some(ReceiptModel {
            id: ModelId::new("test/echo").unwrap(),
            version: 3,
            manifest_digest: Hash::new([8; 32]),
            policy_digest: None,
        }),
        measurement: Measured::new([5; 48]),
        selinux_policy: Some(Hash::new([4; 32])),
        gpus: Vec::new(),
        tokens_in: 7,
        tokens_out: 9,
        commitments: Receipt::new(commit(&[1; 32], b"question"), commit(&[1; 32], b"answer")),
    };
    let text = receipt.sign(&signer).unwrap();
    let key = hex(signer.key().public_key().as_bytes());
    let said = |id: &str, text: &str, bodies: Value| {
        print(&json!({ "kind": "receipt", "id": id, "receipt": text, "audit_key": key, "bodies": bodies }));
    };
    for (id, bytes) in with_changes("case_48_receipt", text.as_bytes()) {
        if let Ok(text) = String::from_utf8(bytes) {
            said(&id, &text, Value::Null);
        }
    }
    let bodies = |response: &[u8]| json!([hex(b"question"), hex(response), "01".repeat(32)]);
    said("receipt-of-these-bodies", &text, bodies(b"answer"));
    said("receipt-of-others", &text, bodies(b"another"));
}

/// The notes of the vectors, and each checkpoint with changed bytes.
fn note_inputs(path: &Path) {
    let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    for case in cases {
        let (name, note) = (case["name"].as_str().unwrap(), case["note"].as_str().unwrap());
        let note = decode_base64(note);
        let id = format!("case_48_note-{name}");
        let all = if name == "made-plain" { with_changes(&id, &note) } else { vec![(id, note)] };
        for (id, note) in all {
            print(&json!({ "kind": "note", "id": id, "note": hex(&note), "key": case["key"] }));
        }
    }
}

fn decode_base64(text: &str) -> Vec<u8> {
    serde_json::from_value::<anchorhold_rats::Der>(json!(text)).unwrap().0
}

fn judge(inputs: &Path, cases: &Path) {
    for line in std::fs::read_to_string(inputs).unwrap().lines() {
        let input: Value = serde_json::from_str(line).unwrap();
        let found = judge_input(&input).unwrap_or_else(|error| format!("error {error}"));
        println!("{} {} {found}", input["kind"].as_str().unwrap(), input["id"].as_str().unwrap());
    }
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(cases.join("manifest.json")).unwrap()).unwrap();
    for case in manifest["cases"].as_array().unwrap() {
        let files: BTreeMap<String, Vec<u8>> = case["files"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(role, path)| (role.clone(), std::fs::read(cases.join(path.as_str().unwrap())).unwrap()))
            .collect();
        let found = match anchorhold_vectors::judge_case(&case.to_string(), files) {
            Ok(checks) => outcome(if checks.none_failed() { "accept" } else { "reject" }, &checks),
            Err(error) => format!("error {error}"),
        };
        println!("case {} {found}", case["id"].as_str().unwrap());
    }
}

fn judge_input(input: &Value) -> Result<String, String> {
    let text = |key: &str| input[key].as_str().unwrap().to_owned();
    let trust = || {
        let accepted = Accepted::from_json(&input["accepted"].to_string()).map_err(said)?;
        accepted.trust(text("at").parse().unwrap()).map_err(said)
    };
    let verdict = |verdict: anchorhold_document::Verdict| {
        serde_json::to_value(verdict).unwrap().as_str().unwrap().to_owned()
    };
    match text("kind").as_str() {
        "document" => {
            let tls_key = input["tls_key"].as_str().map(|key| key.parse().unwrap());
            let (bytes, nonce) = (bytes(&text("document")), text("nonce").parse().unwrap());
            let endorsements = Endorsements::default();
            let judged =
                judge_document(("document", &bytes), nonce, tls_key, &endorsements, &trust()?).document;
            Ok(outcome(&verdict(judged.verdict), &judged.checks))
        }
        "evidence" => {
            let report_data = ReportData::try_from(bytes(&text("report_data")).as_slice()).unwrap();
            let judged = judge_evidence(&bytes(&text("bundle")), &report_data, &trust()?).map_err(said)?;
            Ok(outcome(&verdict(judged.verdict), &judged.checks))
        }
        "receipt" => {
            let key = text("audit_key").parse().unwrap();
            let bodies: Option<Vec<Vec<u8>>> = input["bodies"]
                .as_array()
                .map(|bodies| bodies.iter().map(|body| bytes(body.as_str().unwrap())).collect());
            let secret = bodies.as_ref().map(|bodies| Secret::copy_from(&bodies[2]).unwrap());
            let exchange = bodies.as_ref().zip(secret.as_ref());
            let exchange =
                exchange.map(|(bodies, key)| Exchange { request: &bodies[0], response: &bodies[1], key });
            let judged = judge_receipt(&text("receipt"), &key, exchange.as_ref());
            Ok(outcome(&verdict(judged.verdict), &judged.checks))
        }
        "note" => {
            let judged = judge_note(&bytes(&text("note")), &text("key")).map_err(said)?;
            Ok(format!("signed={} checkpoint={}", judged.signed, judged.checkpoint))
        }
        kind => panic!("{kind}"),
    }
}

fn said(error: impl Display) -> String {
    error.to_string()
}

fn outcome(verdict: &str, checks: &Checks) -> String {
    let failed: Vec<&str> = checks.failed().map(|check| check.code.as_ref()).collect();
    format!("{verdict} {}", failed.join(","))
}

fn bytes(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

//! `audit export`, `audit verify`, `audit entries`, `audit report` and `audit dossier`.

use crate::support::{Folder, MEASUREMENT, Ran, guest, run};
use anchorhold_audit_log::cosignature::Cosigner;
use anchorhold_audit_log::{
    BindingInputs, BindingPurpose, BootId, Event, EventType, Hash, Log, LogReader, Origin, Outcome, Signer,
    Stamp, Tee, VerifierKey,
};
use anchorhold_rats::{Ed25519PublicKey, KeyBinding, Nonce, Purpose, Sha256Digest};
use anchorhold_sealed_weights::OwnerKey;
use std::path::Path;

const SEED: [u8; 32] = [5; 32];

/// The public half of the log's key; Ed25519 is the same for owners and logs.
fn audit_key() -> Ed25519PublicKey {
    Ed25519PublicKey::new(OwnerKey::from_seed(&SEED).unwrap().public_key())
}

/// Evidence that vouches for `vouched_for`, with the inputs of its report data.
fn evidence(vouched_for: Ed25519PublicKey) -> (Vec<u8>, BindingInputs) {
    let binding = KeyBinding {
        purpose: Purpose::KeyRelease,
        nonce: Nonce::new([1; 32]),
        tls_key: Sha256Digest::new([2; 32]),
        release_key: Sha256Digest::new([3; 32]),
        audit_key: vouched_for,
        context: Sha256Digest::new([4; 32]),
        gpu_evidence: Sha256Digest::of(b""),
    };
    let evidence = guest().attest(&binding.report_data()).unwrap();
    let inputs = BindingInputs {
        context: Hash::new([4; 32]),
        nonce: Hash::new([1; 32]),
        purpose: BindingPurpose::KeyRelease,
        release_key: Hash::new([3; 32]),
        tls_key: Hash::new([2; 32]),
    };
    (serde_json::to_vec(&evidence).unwrap(), inputs)
}

/// A log of a few entries, with evidence for `vouched_for` or without any; gives back its bundle.
fn bundle(folder: &Folder, vouched_for: Option<Ed25519PublicKey>) -> String {
    let at = Stamp { wall_ns: 1_800_000_000_000_000_000, mono_ns: 1 };
    let signer = Signer::from_seed(Origin::new("acme/1").unwrap(), &SEED).unwrap();
    let path = folder.path("log");
    let mut log = Log::create(Path::new(&path), signer, BootId::new([6; 16]), at).unwrap();
    if let Some(key) = vouched_for {
        let (evidence, inputs) = evidence(key);
        log.record_evidence(&evidence, &inputs, Tee::Snp, at).unwrap();
    }
    log.append(&[Event::new(EventType::LogExport, Outcome::Success, at)]).unwrap();
    log.checkpoint().unwrap();
    let out = folder.path("bundle.tar");
    run(["audit", "export", "--log", &path, "--out", &out]).expect(0, "");
    out
}

fn verify(folder: &Folder, bundle: &str, more: &[&str]) -> Ran {
    let (root, measurement) = (folder.simulated_root(), MEASUREMENT.to_string());
    let args =
        ["audit", "verify", bundle, "--measurement", &measurement, "--dangerous-simulated-root", &root];
    run(args.iter().chain(more))
}

#[test]
fn a_bundle_is_accepted_when_the_guests_evidence_vouches_for_the_audit_key() {
    let folder = Folder::new();
    let bundle = bundle(&folder, Some(audit_key()));
    let ran = verify(&folder, &bundle, &[]);
    ran.expect(0, "SIMULATED ROOT");
    assert!(ran.out.contains("evidence     vouches for the audit key\n"), "{}", ran.out);
    assert!(ran.out.contains("\nsimulated    true"), "{}", ran.out);
    assert!(ran.out.ends_with("verdict      accepted (simulated)\n"), "{}", ran.out);
    let json = verify(&folder, &bundle, &["--json", "--origin", "acme/1"]).json();
    assert_eq!((&json["verdict"], &json["origin"]), (&"accepted".into(), &"acme/1".into()));
    assert_eq!(json["audit_key"], audit_key().to_string());
    assert_eq!(json["attestation"]["measurement"], MEASUREMENT.to_string());
    assert_eq!(json["attestation"]["simulated"], true);
}

#[test]
fn case_03_evidence_for_another_key_vouches_for_nothing() {
    let folder = Folder::new();
    let bundle = bundle(&folder, Some(Ed25519PublicKey::new([9; 32])));
    let ran = verify(&folder, &bundle, &[]);
    ran.expect(3, "");
    assert!(ran.out.contains("FAILED   snp_report_data"), "{}", ran.out);
    assert!(ran.out.ends_with("verdict      not authentic (simulated)\n"), "{}", ran.out);
}

#[test]
fn a_bundle_without_evidence_is_not_authentic_unless_the_key_is_known_beforehand() {
    let folder = Folder::new();
    let bundle = bundle(&folder, None);
    let ran = verify(&folder, &bundle, &[]);
    ran.expect(3, "");
    assert!(ran.out.contains("FAILED   audit_evidence"), "{}", ran.out);
    let key = audit_key().to_string();
    let ran = run(["audit", "verify", &bundle, "--log-only", "--audit-key", &key]);
    ran.expect(0, "");
    assert!(ran.out.contains("not judged (--log-only)"), "{}", ran.out);
    run(["audit", "verify", &bundle, "--log-only", "--audit-key", &"99".repeat(32)]).expect(6, "");
    let note_key = |name: &str| VerifierKey::new(name, key.parse().unwrap()).unwrap().to_string();
    run(["audit", "verify", &bundle, "--log-only", "--audit-key", &note_key("acme/1")]).expect(0, "");
    let other = run(["audit", "verify", &bundle, "--log-only", "--audit-key", &note_key("acme/2")]);
    other.expect(6, "");
    assert!(other.out.contains("expected     failed"), "{}", other.out);
    run(["audit", "verify", &bundle, "--log-only", "--audit-key", "acme/1+x"])
        .expect(2, "malformed verifier key");
    run(["audit", "verify", &bundle, "--log-only"]).expect(2, "--audit-key");
    run(["audit", "verify", &bundle]).expect(2, "what is accepted is not said");
}

#[test]
fn witnesses_that_the_auditor_names_must_have_cosigned() {
    let folder = Folder::new();
    let bundle = bundle(&folder, Some(audit_key()));
    let ran = verify(&folder, &bundle, &[]);
    assert!(ran.out.contains("witnessed    not_applicable"), "{}", ran.out);
    assert!(
        ran.out.contains("silence      passed") && ran.out.contains("clock        passed"),
        "{}",
        ran.out
    );
    let key = Cosigner::from_seed("witness.example/1", &SEED).unwrap().key().to_string();
    let ran = verify(&folder, &bundle, &["--witness", &key]);
    ran.expect(6, "");
    assert!(ran.out.contains("witnessed    failed"), "{}", ran.out);
    verify(&folder, &bundle, &["--witness", &key, "--witnesses-needed", "2"]).expect(2, "--witness");
    verify(&folder, &bundle, &["--witness", "acme/1+x"]).expect(2, "malformed");
    verify(&folder, &bundle, &["--witnesses-needed", "2"]).expect(2, "--witness");
}

#[test]
fn another_measurement_and_another_root_are_told_apart() {
    let folder = Folder::new();
    let bundle = bundle(&folder, Some(audit_key()));
    let (root, other) = (folder.simulated_root(), "5b".repeat(48));
    let args = ["audit", "verify", &bundle, "--measurement", &other, "--dangerous-simulated-root", &root];
    run(args).expect(4, "");
    run(["audit", "verify", &bundle, "--measurement", &MEASUREMENT.to_string()]).expect(3, "");
}

#[test]
fn case_36_a_changed_bundle_proves_nothing() {
    let folder = Folder::new();
    let bundle = bundle(&folder, Some(audit_key()));
    let genuine = std::fs::read(&bundle).unwrap();
    let entries = genuine.windows(10).rposition(|window| window == b"log.export").unwrap();
    let mut changed = genuine.clone();
    changed[entries..entries + 10].copy_from_slice(b"log.anchor");
    let changed = folder.write("changed.tar", changed);
    let ran = verify(&folder, &changed, &[]);
    ran.expect(6, "");
    assert!(ran.out.ends_with("verdict      not proven (simulated)\n"), "{}", ran.out);
    let cut = folder.write("cut.tar", &genuine[..genuine.len() / 2]);
    verify(&folder, &cut, &[]).expect(6, "");
    verify(&folder, &folder.write("empty.tar", ""), &[]).expect(6, "");
    verify(&folder, &bundle, &["--origin", "acme/2"]).expect(6, "");
}

#[test]
fn an_export_never_overwrites_and_leaves_nothing_half_done() {
    let folder = Folder::new();
    let out = bundle(&folder, None);
    let log = folder.path("log");
    run(["audit", "export", "--log", &log, "--out", &out]).expect(1, "cannot create");
    let other = folder.path("other.tar");
    run(["audit", "export", "--log", &log, "--out", &other, "--from", "0", "--to", "99"]).expect(1, "range");
    assert!(!Path::new(&other).exists());
    let json =
        run(["audit", "export", "--log", &log, "--out", &other, "--from", "1", "--to", "2", "--json"]).json();
    assert_eq!((&json["first"], &json["count"], &json["size"]), (&1.into(), &1.into(), &2.into()));
    let part = run(["audit", "verify", &other, "--log-only", "--audit-key", &audit_key().to_string()]);
    part.expect(0, "");
}

#[test]
fn entries_are_written_of_a_proven_log_only_and_as_asked() {
    let folder = Folder::new();
    let bundle = bundle(&folder, Some(audit_key()));
    let lines = |args: &[&str]| {
        let ran = run(["audit", "entries", &bundle].iter().chain(args));
        ran.expect(0, "signed by its key");
        ran.out.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let kinds = |lines: &[String], pointer: &str| {
        lines
            .iter()
            .map(|line| {
                let event: serde_json::Value = serde_json::from_str(line).unwrap();
                event.pointer(pointer).unwrap().as_str().unwrap().to_owned()
            })
            .collect::<Vec<_>>()
    };
    let whole = lines(&[]);
    assert_eq!(kinds(&whole, "/type"), ["log.open", "boot.evidence", "log.export"]);
    let events = lines(&["--as", "ocsf", "--type", "log.open", "--type", "log.export"]);
    assert_eq!(kinds(&events, "/metadata/event_code"), ["log.open", "log.export"]);
    assert_eq!(kinds(&events, "/metadata/log_name"), ["acme/1", "acme/1"]);
    let rows = lines(&["--as", "csv", "--until", "2027-01-15T08:00:01Z"]);
    assert!(rows.len() == 4 && rows[0].starts_with("index,time,type,"), "{rows:?}");
    assert_eq!(lines(&["--since", "2027-01-15T08:00:01Z"]).len(), 0);
    assert_eq!(lines(&["--tenant", "clinic"]).len(), 0);
    assert_eq!(lines(&["--pseudonym", &"08".repeat(32)]).len(), 0);
    assert_eq!(lines(&["--index", "1"]), whole[1..2]);
    assert_eq!(lines(&["--from", "1", "--to", "3", "--type", "log.export"]), whole[2..]);
    for span in [&["--index", "3"][..], &["--from", "0", "--to", "4"], &["--from", "2", "--to", "2"]] {
        run(["audit", "entries", &bundle].iter().chain(span)).expect(2, "from 0 to before 3");
    }
    run(["audit", "entries", &bundle, "--from", "1"]).expect(2, "--to");
    let drawn = lines(&["--sample", "1", "--word", "kestrel", "--index", "2"]);
    assert_eq!(drawn, whole[2..], "drawn among what is asked for");
    let drawn = lines(&["--sample", "2", "--word", "kestrel"]);
    assert!(drawn.len() == 2 && drawn == lines(&["--sample", "2", "--word", "kestrel"]));
    let columns = folder.path("entries.parquet");
    run(["audit", "entries", &bundle, "--as", "parquet", "--out", &columns]).expect(0, "wrote 3 entries");
    let columns = std::fs::read(columns).unwrap();
    assert!(columns.starts_with(b"PAR1") && columns.ends_with(b"PAR1"));
    run(["audit", "entries", &bundle, "--as", "parquet"]).expect(2, "--out");
    run(["audit", "entries", &bundle, "--type", "log.opened"]).expect(2, "no such kind");
    run(["audit", "entries", &bundle, "--sample", "2"]).expect(2, "--word");
    run(["audit", "entries", &bundle, "--audit-key", &"99".repeat(32)]).expect(6, "nothing was written");

    let mut changed = std::fs::read(&bundle).unwrap();
    let at = changed.windows(10).rposition(|window| window == b"log.export").unwrap();
    changed[at..at + 10].copy_from_slice(b"log.anchor");
    let (changed, out) = (folder.write("changed.tar", changed), folder.path("events.jsonl"));
    let ran = run(["audit", "entries", &changed, "--as", "ocsf", "--out", &out]);
    ran.expect(6, "nothing was written");
    assert!(ran.out.is_empty() && !Path::new(&out).exists());
}

#[test]
fn stats_count_a_proven_log_and_say_nothing_of_another() {
    let folder = Folder::new();
    let bundle = bundle(&folder, Some(audit_key()));
    let ran = run(["audit", "stats", &bundle]);
    ran.expect(0, "");
    for wanted in [
        "log          acme/1\nentries      3\nfirst        2027-01-15T08:00:00.000Z\n",
        "\nsilence      0.000 s at most, before entry 1\ntokens       0 in, 0 out\n",
        "\nkinds\n           1  boot.evidence\n           1  log.export\n           1  log.open\n",
        "\noutcomes\n           3  success\n",
    ] {
        assert!(ran.out.contains(wanted), "{wanted:?} in {}", ran.out);
    }
    let json = run(["audit", "stats", &bundle, "--type", "log.export", "--json"]).json();
    assert_eq!(
        (&json["format"], &json["scope"]),
        (&"urn:anchorhold:audit-stats:v1".into(), &"kind log.export".into())
    );
    assert_eq!((&json["entries"], &json["kinds"]["named"]["log.export"]), (&1.into(), &1.into()));
    assert_eq!((&json["silence"], &json["reasons"]["others"]), (&serde_json::Value::Null, &0.into()));
    run(["audit", "stats", &bundle, "--type", "log.opened"]).expect(2, "no such kind");
    let ran = run(["audit", "stats", &bundle, "--audit-key", &"99".repeat(32)]);
    ran.expect(6, "not proven");
    assert!(ran.out.is_empty());
}

#[test]
fn a_report_is_the_same_each_time_and_says_what_is_not_proven() {
    let folder = Folder::new();
    let guest = bundle(&folder, Some(audit_key()));
    let (root, measurement) = (folder.simulated_root(), MEASUREMENT.to_string());
    let report = |bundle: &str, out: &str, more: &[&str]| {
        let args = [
            "audit",
            "report",
            bundle,
            "--out",
            out,
            "--measurement",
            &measurement,
            "--dangerous-simulated-root",
            &root,
        ];
        run(args.iter().chain(more))
    };
    let page = |name: &str| std::fs::read_to_string(folder.path(name)).unwrap();
    let at = anchorhold_rats::Timestamp::to_string(&crate::support::now());
    let sample = ["--sample", "1", "--word", "kestrel", "--at", &at];
    report(&guest, &folder.path("a.html"), &sample).expect(0, "SIMULATED ROOT");
    report(&guest, &folder.path("b.html"), &sample).expect(0, "");
    assert!(page("a.html") == page("b.html"));
    for wanted in
        ["Every log is complete", "simulated", "boot.evidence", "kestrel", "snp report data", &measurement]
    {
        assert!(page("a.html").contains(wanted), "{wanted}");
    }
    report(&guest, &folder.path("a.html"), &[]).expect(1, "cannot create");

    let other = folder.path("c.html");
    let ran = run([
        "audit",
        "report",
        &guest,
        "--out",
        &other,
        "--measurement",
        &"5b".repeat(48),
        "--dangerous-simulated-root",
        &root,
    ]);
    ran.expect(4, "the page says");
    assert!(page("c.html").contains("1 of 1 logs prove nothing"));

    let cut = std::fs::read(&guest).unwrap();
    let cut = folder.write("cut.tar", &cut[..cut.len() / 2]);
    report(&cut, &folder.path("d.html"), &[]).expect(6, "");
    assert!(page("d.html").contains("prove nothing"));
    report(&folder.write("empty.tar", ""), &folder.path("e.html"), &[]).expect(6, "");
}

#[test]
fn a_log_without_evidence_needs_its_key_in_a_report() {
    let folder = Folder::new();
    let broker = bundle(&folder, None);
    let out = folder.path("a.html");
    let ran =
        run(["audit", "report", &broker, "--out", &out, "--audit-key", &audit_key().to_string(), "--json"]);
    ran.expect(0, "");
    assert_eq!((&ran.json()["verdict"], &ran.json()["logs"][0]["entries"]), (&"accepted".into(), &2.into()));
    run(["audit", "report", &broker, "--out", &folder.path("b.html")]).expect(6, "the page says");
    let controls = folder.write("controls.json", "{}");
    run(["audit", "report", &broker, "--out", &out, "--controls", &controls]).expect(2, "not the JSON of");
}

#[test]
fn bundles_of_several_boots_are_judged_together() {
    let folder = Folder::new();
    let guest = bundle(&folder, Some(audit_key()));
    let ran = verify(&folder, &guest, &[&guest, "--json"]);
    ran.expect(0, "SIMULATED ROOT");
    let json = ran.json();
    assert_eq!(
        (json["format"].as_str(), json["logs"].as_array().unwrap().len()),
        (Some("urn:anchorhold:audit-dossier-verification:v1"), 2)
    );
    let chain = json["checks"].as_array().unwrap().iter().find(|found| found["check"] == "chain").unwrap();
    assert_eq!(chain["detail"], "no log says which came before it");
    // What is about one log, or about a dossier.
    verify(&folder, &guest, &[&guest, "--exporter", &"99".repeat(32)]).expect(2, "for dossiers");
    verify(&folder, &guest, &[&guest, "--origin", "acme/1"]).expect(2, "several bundles");
    let mut other = std::fs::read(&guest).unwrap();
    let at = other.windows(10).rposition(|window| window == b"log.export").unwrap();
    other[at..at + 10].copy_from_slice(b"log.anchor");
    verify(&folder, &guest, &[&folder.write("other.tar", other)]).expect(6, "");
    verify(&folder, &guest, &[&folder.path("none.tar")]).expect(1, "none.tar");
}

#[test]
fn a_dossier_is_made_and_each_question_about_it_answered() {
    let folder = Folder::new();
    let guest = bundle(&folder, Some(audit_key()));
    let (root, measurement) = (folder.simulated_root(), MEASUREMENT.to_string());
    let at = anchorhold_rats::Timestamp::to_string(&crate::support::now());
    let key = folder.path("exporter.p8");
    run(["owner", "new", &key]).expect(0, "");
    let exporter = run(["owner", "show", &key]).out.trim().to_owned();
    let log = LogReader::open(&folder.path("log")).unwrap();
    let seen = folder.write("seen.note", log.checkpoint_note());
    let trust = ["--measurement", &measurement, "--dangerous-simulated-root", &root, "--at", &at];
    let dossier = |out: &str, more: &[&str]| {
        let args = ["audit", "dossier", &guest, "--sign", &key, "--out", out, "--seen", &seen];
        run(args.iter().chain(&trust).chain(more))
    };
    let (one, two) = (folder.path("one.tar"), folder.path("two.tar"));
    let sample = ["--sample", "2", "--word", "kestrel"];
    dossier(&one, &sample).expect(0, "SIMULATED ROOT");
    dossier(&two, &sample).expect(0, "");
    assert!(std::fs::read(&one).unwrap() == std::fs::read(&two).unwrap());
    dossier(&one, &[]).expect(1, "cannot create");
    dossier(&folder.path("three.tar"), &["--tenant", "clinic"]).expect(2, "whole logs");

    let verify = |file: &str, more: &[&str]| run(["audit", "verify", file].iter().chain(&trust).chain(more));
    let ran = verify(&one, &["--exporter", &exporter, "--json"]);
    ran.expect(0, "");
    let json = ran.json();
    let status = |check: &str| {
        let checks = json["checks"].as_array().unwrap();
        checks.iter().find(|found| found["check"] == check).unwrap()["status"].clone()
    };
    for check in ["structure", "exporter", "members", "logs", "keys", "measurements", "checkpoints", "sample"]
    {
        assert_eq!(status(check), "passed", "{check}");
    }
    assert_eq!((status("boots"), status("endings")), ("not_applicable".into(), "noted".into()));
    verify(&one, &["--exporter", &"99".repeat(32)]).expect(3, "");
    verify(&one, &["--log-only", "--audit-key", &"99".repeat(32)]).expect(2, "");
    verify(&guest, &["--exporter", &exporter]).expect(2, "for dossiers");
    let witnesses = folder.write("witnesses.txt", "quorum none\n");
    verify(&one, &["--witnesses", &witnesses]).expect(0, "");
    verify(&one, &["--witnesses", &folder.write("bad.txt", "quorum x\n")]).expect(2, "line 1");
    let mut changed = std::fs::read(&one).unwrap();
    let at = changed.windows(10).rposition(|window| window == b"log.export").unwrap();
    changed[at..at + 10].copy_from_slice(b"log.anchor");
    verify(&folder.write("changed.tar", changed), &[]).expect(6, "");
}

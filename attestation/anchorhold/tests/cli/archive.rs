//! `audit archive`, `audit hold`, `audit prune`, `audit erase`, `audit personal` and the recipient's key.

use crate::support::{Folder, Ran, run};
use anchorhold_audit_log::{BootId, Event, EventType, Log, Origin, Outcome, Signer, Stamp};
use anchorhold_audit_personal::{Keyring, Period, SubjectKey};
use std::path::Path;

/// An archive with one log of three entries, and a keyring beside it with a key of this subject.
struct Stand {
    folder: Folder,
    archive: String,
    key: String,
    archive_key: String,
}

impl Stand {
    fn new() -> Self {
        let folder = Folder::new();
        let (archive, key, bundle) =
            (folder.path("archive"), folder.path("archivist.key"), folder.path("log.tar"));
        let at = Stamp { wall_ns: 1_800_000_000_000_000_000, mono_ns: 1 };
        let signer = Signer::from_seed(Origin::new("acme/1").unwrap(), &[5; 32]).unwrap();
        let log = folder.path("log");
        let mut writer = Log::create(Path::new(&log), signer, BootId::new([6; 16]), at).unwrap();
        let event = Event::new(EventType::LogExport, Outcome::Success, at);
        writer.append(&[event.clone(), event]).unwrap();
        writer.checkpoint().unwrap();
        run(["audit", "export", "--log", &log, "--out", &bundle]).expect(0, "");
        run(["owner", "new", &key]).expect(0, "");
        let begun =
            run(["audit", "archive", "init", &archive, "--key", &key, "--origin", "archive.example/1"]);
        begun.expect(0, "");
        let stand = Self { folder, archive, key, archive_key: begun.out.trim().to_owned() };
        let added = stand.change(&["archive", "add"], &[&bundle, "--json"]);
        added.expect(0, "");
        assert_eq!((&added.json()["origin"], &added.json()["size"]), (&"acme/1".into(), &3.into()));
        stand.change(&["archive", "add"], &[&bundle]).expect(1, "with 3 entries already");
        stand
    }

    /// Runs a command that changes the archive.
    fn change(&self, command: &[&str], more: &[&str]) -> Ran {
        let own = [self.archive.as_str()];
        let (positional, flags): (&[&str], &[&str]) =
            if command == ["archive", "add"] { more.split_at(1) } else { (&[], more) };
        run(["audit"]
            .iter()
            .chain(command)
            .chain(&own)
            .chain(positional)
            .chain(&["--key", &self.key])
            .chain(flags))
    }

    fn status(&self, more: &[&str]) -> Ran {
        run(["audit", "archive", "status", &self.archive].iter().chain(more))
    }
}

#[test]
fn case_37_what_is_pruned_is_told_and_what_is_held_stays() {
    let stand = Stand::new();
    let prune = |more: &[&str]| {
        let late = ["--profile", "pci", "--profile", "aiact", "--at", "2036-01-01T00:00:00Z", "--json"];
        stand.change(&["prune"], &[late.as_slice(), more].concat())
    };
    let place = ["--id", "case-17", "--reason", "litigation", "--origin", "acme/1"];
    stand.change(&["hold", "place"], &place).expect(0, "");
    assert_eq!(prune(&[]).json()["logs"][0]["kept_by"], "hold case-17");
    stand.change(&["hold", "place"], &place).expect(1, "choose another name");
    let listed = run(["audit", "hold", "list", &stand.archive, "--json"]).json();
    assert_eq!((&listed[0]["stands"], &listed[0]["tenant"]), (&true.into(), &serde_json::Value::Null));
    stand.change(&["hold", "release"], &["--id", "case-17", "--reason", "case_closed"]).expect(0, "");
    let planned = prune(&["--dry-run"]);
    planned.expect(0, "nothing was removed");
    assert_eq!(planned.json()["logs"][0]["gone"], 3);
    assert_eq!(stand.status(&["--json"]).json()["logs"][0]["first"], 0);
    assert_eq!(prune(&[]).json()["logs"][0]["gone"], 3);
    let status = stand.status(&["--json", "--archive-key", &stand.archive_key]);
    status.expect(0, "");
    let gone = &status.json()["logs"][0]["gone"][0];
    assert_eq!((&gone["first"], &gone["end"], &gone["act"]), (&0.into(), &3.into(), &4.into()));
    assert_eq!(gone["profiles"], serde_json::json!(["aiact", "pci"]));
    stand.change(&["prune"], &["--profile", "sox"]).expect(2, "there is no retention profile sox");
    let other = stand.archive_key.replace("archive.example/1", "archive.example/2");
    stand.status(&["--archive-key", &other]).expect(2, "malformed");
    // The archive's own log is a bundle like any other.
    let acts = stand.folder.path("acts.tar");
    run(["audit", "archive", "export", &stand.archive, "--out", &acts]).expect(0, "");
    run(["audit", "verify", &acts, "--log-only", "--audit-key", &stand.archive_key]).expect(0, "");
    let report = stand.folder.path("report.html");
    run(["audit", "report", &acts, "--audit-key", &stand.archive_key, "--out", &report]).expect(0, "");
    assert!(std::fs::read_to_string(&report).unwrap().contains("entries 0 to 3 gone, of 3, by aiact, pci"));
}

#[test]
fn case_37_a_changed_archive_is_not_proven() {
    let stand = Stand::new();
    let logs = std::fs::read_dir(Path::new(&stand.archive).join("logs")).unwrap();
    let entries = logs.map(|log| log.unwrap().path().join("entries.jsonl")).next().unwrap();
    let text = std::fs::read_to_string(&entries).unwrap();
    std::fs::write(&entries, text.replacen("log.export", "log.exporT", 1)).unwrap();
    let status = stand.status(&[]);
    status.expect(6, "");
    assert!(status.out.contains("log acme/1 is damaged at entry 1"), "{}", status.out);
    run(["owner", "new", &stand.folder.path("other.key")]).expect(0, "");
    let other = Stand { key: stand.folder.path("other.key"), ..stand };
    other.change(&["prune"], &["--profile", "pci"]).expect(1, "not that of this archive's log");
}

#[test]
fn case_37_a_subject_is_found_by_the_recipient_alone_and_erased() {
    let stand = Stand::new();
    let (privacy, other) = (stand.folder.path("privacy.key"), stand.folder.path("other.key"));
    let made = run(["audit", "recipient", &privacy]);
    made.expect(0, "");
    assert_eq!(run(["audit", "recipient", &privacy, "--show"]).out, made.out);
    run(["audit", "recipient", &privacy]).expect(1, "File exists");
    run(["audit", "recipient", &other, "--kem", "x25519"]).expect(0, "");
    let ring = Keyring::create(Path::new(&stand.folder.path("personal"))).unwrap();
    let key = SubjectKey::generate(BootId::new([6; 16]), "clinic/0123456789ab".parse().unwrap(), Period(1))
        .unwrap();
    ring.put(&key.to_file(&made.out.trim().parse().unwrap()).unwrap()).unwrap();
    let path = ring.path().display().to_string();
    let erase = |recipient: &str, subject: &str| {
        let flags = [
            "--subject",
            subject,
            "--recipient-key",
            recipient,
            "--keyring",
            &path,
            "--reason",
            "gdpr_17_1_b",
        ];
        stand.change(&["erase"], &flags)
    };
    erase(&other, "clinic").expect(1, "no keyring has a key of this subject");
    erase(&privacy, "clinic/0123456789ac").expect(1, "no keyring has a key of this subject");
    assert_eq!(ring.kids().unwrap(), [key.kid()]);
    let erased = erase(&privacy, "clinic");
    erased.expect(0, "");
    assert!(erased.out.contains(&key.kid().to_string()), "{}", erased.out);
    assert!(ring.kids().unwrap().is_empty());
    assert_eq!(stand.status(&["--json"]).json()["erased"], 1);
    stand.change(&["erase"], &["--kid", &"01".repeat(16), "--reason", "x"]).expect(1, "is in the keyring");
    stand.change(&["erase"], &["--kid", "x", "--reason", "x"]).expect(2, "");
    let bundle = stand.folder.path("log.tar");
    let shown = run(["audit", "personal", &bundle, "--keyring", &path, "--recipient-key", &privacy]);
    shown.expect(0, "0 opened, 0 erased");
}

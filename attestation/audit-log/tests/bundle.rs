//! Bundles: what a good one proves, and every way in which a bad one is refused.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test stops at a surprise"
)]

mod fixture;

use anchorhold_audit_log::{
    Check, Entry, Event, Expectations, ExportError, ExportOptions, Finding, Hash, Log, LogReader, Manifest,
    Origin, PART_ENTRIES, PublicKey, ReadError, Report, Signer, Stamp, Status, Tee, export, export_jsonl,
    verify, verify_each,
};
use fixture::{
    ENTRIES, EVIDENCE, End, HASHES, Members, binding, boot, bundle, bundle_of, format_1, lines, member, pack,
    refusal_event, request_event, signer, stamp, tar_header, unpack, write_log,
};
use proptest::prelude::*;
use std::io::Read;

fn check(bundle: &[u8]) -> Report {
    verify(bundle, &Expectations::default()).unwrap()
}

fn found(report: &Report, check: Check) -> (Status, Finding) {
    let verdict = report.verdict(check).unwrap();
    (verdict.status, verdict.finding)
}

/// The findings of a bundle that must be refused, after `change` to its members.
fn refused(bundle: &[u8], change: impl FnOnce(&mut Members)) -> Report {
    let mut members = unpack(bundle);
    change(&mut members);
    let report = check(&pack(&members));
    assert!(!report.is_accepted(), "{:?}", report.verdicts);
    report
}

fn set_lines(members: &mut Members, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
    let mut all = lines(members);
    change(&mut all);
    *member(members, ENTRIES) = all.concat();
}

fn set_manifest(members: &mut Members, change: impl FnOnce(&mut Manifest)) {
    let manifest = member(members, "manifest.json");
    let mut parsed: Manifest = serde_json::from_slice(manifest).unwrap();
    change(&mut parsed);
    *manifest = serde_json::to_vec(&parsed).unwrap();
}

#[test]
fn a_closed_log_is_accepted_and_its_export_is_deterministic() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    write_log(&path, 6, End::Closed);
    let bytes = bundle_of(&path);
    assert_eq!(bytes, bundle_of(&path));
    assert_eq!(pack(&unpack(&bytes)), bytes);
    let mut kinds = Vec::new();
    let expectations = Expectations {
        audit_key: Some(signer().key().public_key()),
        origin: Some(signer().origin().clone()),
        ..Expectations::default()
    };
    let report =
        verify_each(bytes.as_slice(), &expectations, |entry: &Entry| kinds.push(entry.kind.name())).unwrap();
    assert!(report.is_accepted());
    for passes in [
        Check::Structure,
        Check::Order,
        Check::Leaves,
        Check::Root,
        Check::Signature,
        Check::Expected,
        Check::Evidence,
    ] {
        assert_eq!(found(&report, passes), (Status::Passed, Finding::AsExpected), "{passes:?}");
    }
    assert_eq!(found(&report, Check::Closure), (Status::Passed, Finding::Closed));
    assert_eq!((kinds[0], kinds[1], kinds[8]), ("log.open", "boot.evidence", "log.close"));
    assert_eq!(report.evidence.as_deref(), Some(EVIDENCE));
    let manifest = report.manifest.unwrap();
    assert_eq!(manifest.binding, Some(binding()));
    assert_eq!((manifest.count, manifest.size, manifest.boot), (9, 9, boot()));
}

#[test]
fn an_unclosed_log_states_what_may_be_lost() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    write_log(&path, 3, End::Uncovered);
    // The latest checkpoint covers log.open and boot.evidence; three entries lie beyond it.
    let report = check(&bundle_of(&path));
    assert!(report.is_accepted(), "{:?}", report.verdicts);
    assert_eq!(
        found(&report, Check::Closure),
        (Status::Noted, Finding::NotClosed { lost_max: 1024, uncovered: 3 })
    );
    assert!(found(&report, Check::Closure).1.to_string().contains("at most 1024 entries"));
    let mut jsonl = Vec::new();
    assert_eq!(export_jsonl(&path, &mut jsonl).unwrap(), 5);
    assert_eq!(jsonl.split(|byte| *byte == b'\n').filter(|line| Entry::from_bytes(line).is_ok()).count(), 5);
}

/// The report on a log with one request at each of these times since the boot, in seconds, on the wall and on its own clock.
fn with_requests_at(times: &[(i64, u64)]) -> Report {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = Log::create(&path, signer(), boot(), stamp(0)).unwrap();
    for (wall, mono) in times {
        let at = Stamp { wall_ns: stamp(0).wall_ns + wall * 1_000_000_000, mono_ns: mono * 1_000_000_000 };
        log.append(&[Event { at, ..request_event(0) }]).unwrap();
    }
    log.checkpoint().unwrap();
    let report = check(&bundle_of(&path));
    assert!(report.is_accepted(), "{:?}", report.verdicts);
    assert_eq!(found(&report, Check::Order).0, Status::Passed, "entries are ordered by index");
    report
}

#[test]
fn case_32_a_clock_that_is_set_orders_nothing_anew_and_is_told_of() {
    const DAY_S: i64 = 24 * 60 * 60;
    let sound = with_requests_at(&[(1, 1), (59, 59), (119, 119)]);
    assert_eq!(found(&sound, Check::Clock), (Status::Passed, Finding::AsExpected));
    for (step_s, told) in [(-365 * DAY_S, -365 * DAY_S), (DAY_S, DAY_S)] {
        let stepped = with_requests_at(&[(1, 1), (2 + step_s, 2), (3 + step_s, 3)]);
        assert_eq!(
            found(&stepped, Check::Clock),
            (Status::Noted, Finding::ClockStepped { index: 2, seconds: told })
        );
        assert_eq!(found(&stepped, Check::Silence).0, Status::Passed);
    }
    // A clock that loses a little with each entry, as threads that queue do, is none that was set.
    let slow = with_requests_at(&[(1, 2), (2, 4), (3, 6)]);
    assert_eq!(found(&slow, Check::Clock).0, Status::Passed);
    let back = with_requests_at(&[(20, 20), (21, 9)]);
    assert_eq!(found(&back, Check::Clock), (Status::Noted, Finding::ClockStepped { index: 2, seconds: 12 }));
}

#[test]
fn silence_is_told_of() {
    let silent = with_requests_at(&[(10, 10), (86, 86), (300, 300)]);
    assert_eq!(found(&silent, Check::Silence), (Status::Noted, Finding::Silent { index: 2, seconds: 76 }));
    let just = with_requests_at(&[(10, 10), (85, 85)]);
    assert_eq!(found(&just, Check::Silence), (Status::Passed, Finding::AsExpected));
}

#[test]
fn every_range_is_accepted_and_a_wrong_one_is_not_exported() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    write_log(&path, 6, End::Closed);
    for first in 0..9 {
        for end in first + 1..=9 {
            let mut out = Vec::new();
            export(&path, &mut out, &ExportOptions { range: Some(first..end) }).unwrap();
            let mut indexes = Vec::new();
            let report =
                verify_each(out.as_slice(), &Expectations::default(), |entry| indexes.push(entry.seq))
                    .unwrap();
            assert!(report.is_accepted(), "{first}..{end} {:?}", report.verdicts);
            assert_eq!(indexes, (first..end).collect::<Vec<_>>());
            assert_eq!(found(&report, Check::Root).0, Status::Passed);
        }
    }
    #[expect(clippy::reversed_empty_ranges, reason = "the range under test")]
    for range in [3..3, 5..3, 8..10, 9..10] {
        let options = ExportOptions { range: Some(range) };
        assert!(matches!(export(&path, Vec::new(), &options), Err(ExportError::Range { size: 9 })));
    }
}

#[test]
fn after_a_break_what_rests_on_all_entries_is_open_and_all_else_is_answered() {
    let good = bundle(6);
    let entries = good.windows(ENTRIES.len()).position(|window| window == ENTRIES.as_bytes()).unwrap();
    let cut = check(&good[..entries + 2000]);
    let longer = check(&[good.as_slice(), b"x"].concat());
    for report in [&cut, &longer] {
        assert_eq!(found(report, Check::Structure).0, Status::Failed);
        assert_eq!(found(report, Check::Signature), (Status::Passed, Finding::AsExpected));
        for open in
            [Check::Order, Check::Leaves, Check::Evidence, Check::Closure, Check::Silence, Check::Clock]
        {
            assert_eq!(found(report, open), (Status::NotApplicable, Finding::NotReached), "{open:?}");
        }
    }
    // Of one all hashes were there, of the other not.
    assert_eq!(found(&cut, Check::Root), (Status::NotApplicable, Finding::NotReached));
    assert_eq!(found(&longer, Check::Root), (Status::Passed, Finding::AsExpected));
}

#[test]
fn case_36_an_edited_entry_is_found_with_its_index() {
    let good = bundle(6);
    for index in [0, 1, 4, 7, 8] {
        let report = refused(&good, |members| {
            set_lines(members, |lines| {
                let text = String::from_utf8(lines[index].clone()).unwrap();
                let at = text.find("\"t\":17").unwrap() + 6;
                lines[index][at] = if lines[index][at] == b'9' { b'8' } else { b'9' };
            });
        });
        assert_eq!(found(&report, Check::Leaves), (Status::Failed, Finding::Changed { index: index as u64 }));
        assert_eq!(found(&report, Check::Root).0, Status::Passed, "the listed hashes are the log's");
        assert_eq!(found(&report, Check::Order).0, Status::Passed);
    }
}

#[test]
fn case_36_dropped_inserted_and_reordered_entries_are_found_with_their_index() {
    let good = bundle(6);
    for index in 0..8_usize {
        let at = index as u64;
        let misplaced = |report: &Report| match found(report, Check::Order) {
            (Status::Failed, Finding::Misplaced { index, .. }) => index,
            other => panic!("{other:?}"),
        };
        let swapped = refused(&good, |members| set_lines(members, |lines| lines.swap(index, index + 1)));
        assert_eq!(misplaced(&swapped), at);
        assert_eq!(found(&swapped, Check::Leaves), (Status::Failed, Finding::Changed { index: at }));
        let dropped = refused(&good, |members| set_lines(members, |lines| drop(lines.remove(index))));
        assert_eq!(misplaced(&dropped), at);
        assert_eq!(found(&dropped, Check::Structure), (Status::Failed, Finding::Count { announced: 9 }));
        let inserted = refused(&good, |members| {
            set_lines(members, |lines| lines.insert(index, lines[index].clone()));
        });
        assert_eq!(misplaced(&inserted), at + 1);
        assert_eq!(found(&inserted, Check::Structure), (Status::Failed, Finding::Count { announced: 9 }));
    }
    // At the end, and with a manifest that agrees.
    let shorter = refused(&good, |members| {
        set_lines(members, |lines| drop(lines.pop()));
        member(members, HASHES).truncate(8 * 32);
        set_manifest(members, |manifest| (manifest.count, manifest.size) = (8, 8));
    });
    assert_eq!(found(&shorter, Check::Root), (Status::Failed, Finding::Size { announced: 8, observed: 9 }));
    let range = refused(&good, |members| {
        set_lines(members, |lines| drop(lines.pop()));
        member(members, HASHES).truncate(8 * 32);
        set_manifest(members, |manifest| manifest.count = 8);
    });
    assert_eq!(found(&range, Check::Structure), (Status::Failed, Finding::Member { name: "proof.json" }));
}

#[test]
fn case_36_an_edit_that_also_fixes_the_leaf_hashes_fails_the_root() {
    let good = bundle(6);
    let edit = |members: &mut Members| {
        let mut hash = Hash::new([0; 32]);
        set_lines(members, |lines| {
            let line = &mut lines[4];
            let at = String::from_utf8_lossy(line).find("\"ms\":420").unwrap() + 5;
            line[at] = b'9';
            hash = anchorhold_audit_log::merkle::leaf_hash(&line[..line.len() - 1]);
        });
        member(members, HASHES)[4 * 32..5 * 32].copy_from_slice(hash.as_bytes());
    };
    let report = refused(&good, edit);
    assert_eq!(found(&report, Check::Root), (Status::Failed, Finding::RootMismatch));
    assert_eq!(found(&report, Check::Leaves).0, Status::Passed);
    let mut edited = unpack(&good);
    edit(&mut edited);
    let unlisted = check(&pack(&format_1(&pack(&edited), false)));
    assert_eq!(found(&unlisted, Check::Root), (Status::Failed, Finding::RootMismatch));
    assert_eq!(found(&unlisted, Check::Leaves), (Status::NotApplicable, Finding::NotLocated));
}

#[test]
fn a_bundle_of_format_1_is_still_read() {
    let good = bundle(6);
    let listed = check(&pack(&format_1(&good, true)));
    assert!(listed.is_accepted(), "{:?}", listed.verdicts);
    assert_eq!(found(&listed, Check::Leaves), (Status::Passed, Finding::AsExpected));
    let unlisted = check(&pack(&format_1(&good, false)));
    assert!(unlisted.is_accepted(), "{:?}", unlisted.verdicts);
    assert_eq!(found(&unlisted, Check::Leaves), (Status::NotApplicable, Finding::NotLocated));
    for index in [0, 4, 8] {
        let mut members = format_1(&good, true);
        member(&mut members, "leaf-hashes.bin")[32 * index] ^= 1;
        let report = check(&pack(&members));
        assert_eq!(found(&report, Check::Leaves), (Status::Failed, Finding::Changed { index: index as u64 }));
        assert_eq!(found(&report, Check::Root), (Status::Failed, Finding::RootMismatch));
    }
    for name in ["leaf-hashes.bin", "entries.jsonl"] {
        let mut members = format_1(&good, true);
        member(&mut members, name).pop();
        let report = check(&pack(&members));
        assert_eq!(found(&report, Check::Structure).0, Status::Failed, "{name}");
    }
    // Neither format's members under the other's name.
    let mut members = format_1(&good, true);
    set_manifest(&mut members, |manifest| manifest.format = "anchorhold-audit-bundle-v2".into());
    assert_eq!(found(&check(&pack(&members)), Check::Structure).0, Status::Failed);
    let mut members = unpack(&good);
    set_manifest(&mut members, |manifest| manifest.format = "anchorhold-audit-bundle-v1".into());
    assert_eq!(found(&check(&pack(&members)), Check::Structure).0, Status::Failed);
}

#[test]
fn case_35_a_long_log_goes_into_parts_and_a_change_in_each_is_located() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = Log::create(&path, signer(), boot(), stamp(0)).unwrap();
    let size = PART_ENTRIES + 700;
    while log.size() < size {
        let count = (size - log.size()).min(1024);
        log.append(&vec![request_event(1); count as usize]).unwrap();
    }
    log.checkpoint().unwrap();
    let good = bundle_of(&path);
    let members = unpack(&good);
    let names: Vec<&str> = members.iter().map(|member| member.0.as_str()).skip(3).collect();
    assert_eq!(names, [ENTRIES, HASHES, "entries-00001.jsonl", "leaf-hashes-00001.bin"]);
    let report = check(&good);
    assert!(report.is_accepted(), "{:?}", report.verdicts);
    assert_eq!(found(&report, Check::Leaves), (Status::Passed, Finding::AsExpected));
    // An entry and a listed hash in each part, the last of the first and the first of the second among them.
    for (part, entry, index) in
        [(3, 0, 0), (3, PART_ENTRIES - 1, PART_ENTRIES - 1), (5, 0, PART_ENTRIES), (5, 699, size - 1)]
    {
        let mut changed = members.clone();
        changed[part + 1].1[32 * entry as usize] ^= 1;
        let report = check(&pack(&changed));
        assert_eq!(found(&report, Check::Leaves), (Status::Failed, Finding::Changed { index }));
        assert_eq!(found(&report, Check::Root), (Status::Failed, Finding::RootMismatch));
        let mut changed = members.clone();
        let lines = changed[part].1.split_inclusive(|byte| *byte == b'\n').take(entry as usize);
        let at = lines.map(<[u8]>::len).sum::<usize>() + 8;
        changed[part].1[at] ^= 1;
        let report = check(&pack(&changed));
        assert_eq!(found(&report, Check::Leaves), (Status::Failed, Finding::Changed { index }));
        assert_eq!(found(&report, Check::Root).0, Status::Passed, "the listed hashes are the log's");
    }
    // Parts that are gone, in another order, or cut in another place.
    let mut gone = members.clone();
    gone.truncate(5);
    let report = check(&pack(&gone));
    assert_eq!(
        found(&report, Check::Structure),
        (Status::Failed, Finding::Member { name: "entries-*.jsonl" })
    );
    assert_eq!(found(&report, Check::Root), (Status::NotApplicable, Finding::NotReached));
    let mut swapped = members.clone();
    swapped.swap(3, 5);
    assert_eq!(found(&check(&pack(&swapped)), Check::Structure).0, Status::Failed);
    let mut moved = members.clone();
    let at = moved[5].1.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let line: Vec<u8> = moved[5].1.drain(..at).collect();
    moved[3].1.extend_from_slice(&line);
    assert_eq!(
        found(&check(&pack(&moved)), Check::Structure),
        (Status::Failed, Finding::Count { announced: size })
    );
    // A range over the edge of two parts begins its own.
    let range = PART_ENTRIES - 5..PART_ENTRIES + 5;
    let mut out = Vec::new();
    export(&path, &mut out, &ExportOptions { range: Some(range) }).unwrap();
    let report = check(&out);
    assert!(report.is_accepted(), "{:?}", report.verdicts);
    assert_eq!(unpack(&out).len(), 6);
}

#[test]
fn case_36_a_swapped_checkpoint_is_refused() {
    let good = bundle(6);
    let other = Signer::generate(signer().origin().clone()).unwrap();
    let note = unpack(&good).into_iter().find(|member| member.0 == "checkpoint.note").unwrap().1;
    let text = String::from_utf8(note).unwrap();
    let (text, _) = text.split_once("\n\n").unwrap();
    let resigned = other.sign(&format!("{text}\n")).unwrap();
    let report = refused(&good, |members| *member(members, "checkpoint.note") = resigned.clone());
    assert_eq!(found(&report, Check::Signature).0, Status::Failed);
    assert_eq!(report.checkpoint, None);
    // With the manifest's key changed as well, only an expected key, or the evidence, tells.
    let mut members = unpack(&good);
    *member(&mut members, "checkpoint.note") = resigned;
    set_manifest(&mut members, |manifest| manifest.audit_key = other.key().public_key());
    let forged = pack(&members);
    let expectations = Expectations { audit_key: Some(signer().key().public_key()), ..Default::default() };
    let report = verify(forged.as_slice(), &expectations).unwrap();
    assert_eq!(found(&report, Check::Expected), (Status::Failed, Finding::OtherKey));
    assert_eq!(found(&report, Check::Signature).0, Status::Failed);
    // A checkpoint of the same log at another size.
    let shorter = unpack(&bundle(5)).into_iter().find(|member| member.0 == "checkpoint.note").unwrap().1;
    let report = refused(&good, |members| *member(members, "checkpoint.note") = shorter);
    assert_eq!(found(&report, Check::Root), (Status::Failed, Finding::Size { announced: 9, observed: 8 }));
    // A checkpoint of another run with the same key and size.
    let rerun = unpack(&bundle(6)).into_iter().find(|member| member.0 == "checkpoint.note").unwrap().1;
    let report = refused(&good, |members| *member(members, "checkpoint.note") = rerun);
    assert_eq!(found(&report, Check::Root), (Status::Failed, Finding::RootMismatch));
}

#[test]
fn refuses_another_key_and_another_log_than_expected() {
    let good = bundle(1);
    let key = Expectations { audit_key: Some(PublicKey::new([1; 32])), ..Default::default() };
    let report = verify(good.as_slice(), &key).unwrap();
    assert_eq!(found(&report, Check::Expected), (Status::Failed, Finding::OtherKey));
    let log =
        Expectations { origin: Some(Origin::new("elsewhere.example/1").unwrap()), ..Default::default() };
    let report = verify(good.as_slice(), &log).unwrap();
    assert_eq!(found(&report, Check::Expected), (Status::Failed, Finding::OtherLog));
}

#[test]
fn case_36_altered_or_removed_evidence_is_refused() {
    let good = bundle(2);
    let report = refused(&good, |members| member(members, "evidence.json")[5] ^= 1);
    assert_eq!(found(&report, Check::Evidence), (Status::Failed, Finding::OtherEvidence));
    let report = refused(&good, |members| {
        member(members, "evidence.json")[5] ^= 1;
        let digest = Hash::of(member(members, "evidence.json"));
        set_manifest(members, |manifest| manifest.evidence = Some(digest));
    });
    assert_eq!(found(&report, Check::Evidence), (Status::Failed, Finding::OtherEvidence));
    let report = refused(&good, |members| {
        members.retain(|member| member.0 != "evidence.json");
        set_manifest(members, |manifest| (manifest.evidence, manifest.binding) = (None, None));
    });
    assert_eq!(found(&report, Check::Evidence), (Status::Failed, Finding::EvidenceMissing));
}

#[test]
fn evidence_that_no_covered_entry_names_stays_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    drop(Log::create(&path, signer(), boot(), stamp(0)).unwrap());
    // What a stop between the two files and the entry leaves behind.
    std::fs::write(path.join("evidence.json"), EVIDENCE).unwrap();
    let report = check(&bundle_of(&path));
    assert!(report.is_accepted(), "{:?}", report.verdicts);
    assert_eq!(found(&report, Check::Evidence), (Status::NotApplicable, Finding::NoEvidence));
}

#[test]
fn a_log_without_evidence_is_accepted_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = Log::create(&path, signer(), boot(), stamp(0)).unwrap();
    log.append(&[refusal_event(1)]).unwrap();
    log.close(stamp(2)).unwrap();
    let bytes = bundle_of(&path);
    let report = check(&bytes);
    assert!(report.is_accepted());
    assert_eq!(found(&report, Check::Evidence), (Status::NotApplicable, Finding::NoEvidence));
    let report = refused(&bytes, |members| {
        members.insert(3, ("evidence.json".into(), EVIDENCE.to_vec()));
        set_manifest(members, |manifest| manifest.evidence = Some(Hash::of(EVIDENCE)));
    });
    assert_eq!(found(&report, Check::Evidence), (Status::Failed, Finding::OtherEvidence));
}

#[test]
fn case_36_the_structure_is_fixed() {
    let good = bundle(2);
    let count = unpack(&good).len();
    assert_eq!(count, 6);
    for at in 0..count {
        let name = unpack(&good)[at].0.clone();
        let broken = |report: &Report| found(report, Check::Structure).0 == Status::Failed;
        assert!(broken(&refused(&good, |members| drop(members.remove(at)))), "without {name}");
        assert!(broken(&refused(&good, |members| members.insert(at, members[at].clone()))), "{name} twice");
        assert!(broken(&refused(&good, |members| members[at].0 = format!("../{name}"))), "../{name}");
        assert!(broken(&refused(&good, |members| members[at].0 = format!("/{name}"))), "/{name}");
        if at > 0 {
            assert!(broken(&refused(&good, |members| members.swap(at, at - 1))), "{name} moved");
        }
        let mut start = 0;
        for (_, bytes) in &unpack(&good)[..at] {
            start += 512 + bytes.len().next_multiple_of(512);
        }
        for kind in *b"125xgL" {
            let mut linked = good.clone();
            let size = unpack(&good)[at].1.len() as u64;
            linked[start..start + 512].copy_from_slice(&tar_header(&name, size, kind, "/etc/passwd"));
            assert!(broken(&check(&linked)), "{name} as {}", char::from(kind));
        }
    }
    let report = refused(&good, |members| members.push(("more.txt".into(), vec![1])));
    assert_eq!(found(&report, Check::Structure), (Status::Failed, Finding::TrailingBytes));
    for length in 0..good.len() {
        assert!(!check(&good[..length]).is_accepted(), "cut at {length}");
    }
}

#[test]
fn case_36_a_manifest_has_one_spelling_and_numbers_that_fit() {
    let good = bundle(2);
    let bad: [fn(&mut Manifest); 7] = [
        |manifest| manifest.format = "anchorhold-audit-bundle-v3".into(),
        |manifest| manifest.leaf_hashes = false,
        |manifest| manifest.count = 0,
        |manifest| manifest.count += 1,
        |manifest| (manifest.first, manifest.count) = (u64::MAX, 2),
        |manifest| (manifest.first, manifest.leaf_hashes) = (1, false),
        |manifest| manifest.evidence = None,
    ];
    for change in bad {
        let report = refused(&good, |members| set_manifest(members, change));
        assert_eq!(
            found(&report, Check::Structure),
            (Status::Failed, Finding::Member { name: "manifest.json" })
        );
    }
    let report = refused(&good, |members| member(members, "manifest.json").push(b'\n'));
    assert_eq!(found(&report, Check::Structure), (Status::Failed, Finding::Member { name: "manifest.json" }));
    let report = refused(&good, |members| set_manifest(members, |manifest| manifest.boot = [9; 16].into()));
    assert_eq!(found(&report, Check::Order), (Status::Failed, Finding::ForeignBoot { index: 0 }));
    let origin = Origin::new("elsewhere.example/1").unwrap();
    let report = refused(&good, |members| set_manifest(members, |manifest| manifest.origin = origin));
    assert_eq!(found(&report, Check::Order), (Status::Failed, Finding::NotOpened));
    assert_eq!(found(&report, Check::Signature).0, Status::Failed);
}

/// Counts what is taken from an endless source.
struct Counted<R>(R, u64);

impl<R: Read> Read for &mut Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.0.read(buffer)?;
        self.1 += count as u64;
        Ok(count)
    }
}

#[test]
fn case_36_endless_zeros_are_given_up_at_once() {
    let ten_gigabytes = std::io::repeat(0).take(10 << 30);
    let mut source = Counted(ten_gigabytes, 0);
    let report = verify(&mut source, &Expectations::default()).unwrap();
    assert!(!report.is_accepted());
    assert!(source.1 < 1 << 20, "{} bytes", source.1);
    for name in ["README.txt", "checkpoint.note", "evidence.json", HASHES, ENTRIES] {
        let mut members = unpack(&bundle(2));
        let at = members.iter().position(|member| member.0 == name).unwrap();
        members.truncate(at);
        let mut start = pack(&members);
        start.truncate(start.len() - 1024);
        start.extend_from_slice(&tar_header(name, (1 << 33) - 1, b'0', ""));
        let mut source = Counted(start.chain(std::io::repeat(0).take(10 << 30)), 0);
        let report = verify(&mut source, &Expectations::default()).unwrap();
        assert_eq!(
            found(&report, Check::Structure),
            (
                Status::Failed,
                Finding::TooLong {
                    name: match name {
                        "README.txt" => "README.txt",
                        "checkpoint.note" => "checkpoint.note",
                        "evidence.json" => "evidence.json",
                        HASHES => "leaf-hashes-*.bin",
                        _ => "entries-*.jsonl",
                    }
                }
            )
        );
        assert!(source.1 < 1 << 20, "{name}: {} bytes", source.1);
    }
}

/// A log with the fixed key, and the notes of its checkpoints by size.
fn log_with_checkpoints(path: &std::path::Path, events: i64, first: i64) -> Vec<Vec<u8>> {
    let mut log = Log::create(path, signer(), boot(), stamp(0)).unwrap();
    log.record_evidence(EVIDENCE, &binding(), Tee::Snp, stamp(1)).unwrap();
    let append = |log: &mut Log, second| {
        log.append(&[request_event(first + second)]).unwrap();
        log.checkpoint().unwrap()
    };
    let mut notes: Vec<Vec<u8>> = (0..events).map(|second| append(&mut log, second)).collect();
    notes.push(log.close(stamp(9)).unwrap());
    notes
}

#[test]
fn case_29_earlier_checkpoints_must_be_of_the_same_history() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    let own = log_with_checkpoints(&one, 5, 0);
    let forked = log_with_checkpoints(&two, 6, 100);
    let bytes = bundle_of(&one);
    let with = |earlier: &[Vec<u8>]| {
        let expectations = Expectations { earlier: earlier.to_vec(), ..Default::default() };
        verify(bytes.as_slice(), &expectations).unwrap()
    };
    let report = with(&own);
    assert!(report.is_accepted(), "{:?}", report.verdicts);
    assert_eq!(report.verdicts.iter().filter(|verdict| verdict.check == Check::Earlier).count(), 6);
    for (note, size) in forked.iter().zip([3, 4, 5, 6, 7]) {
        let report = with(std::slice::from_ref(note));
        assert_eq!(found(&report, Check::Earlier), (Status::Failed, Finding::Equivocation { size }));
    }
    // More than the bundle's 8 entries were seen.
    let report = with(&forked[6..]);
    assert_eq!(found(&report, Check::Earlier), (Status::Failed, Finding::Outdated { seen: 9 }));
    let report = with(&[b"nonsense".to_vec()]);
    assert_eq!(found(&report, Check::Earlier).0, Status::Failed);
}

#[test]
fn export_needs_an_undamaged_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    write_log(&path, 3, End::Closed);
    let segment = path.join("entries/00000000.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    assert!(matches!(export(&path, Vec::new(), &ExportOptions::default()), Err(ExportError::Read(_))));
    std::fs::remove_file(path.join("checkpoint.slots")).unwrap();
    assert!(export_jsonl(&path, Vec::new()).is_err());
    let path = dir.path().join("unsigned");
    write_log(&path, 3, End::Uncovered);
    std::fs::remove_file(path.join("checkpoint.slots")).unwrap();
    assert!(LogReader::open(&path).is_ok());
    assert!(matches!(export(&path, Vec::new(), &ExportOptions::default()), Err(ExportError::NoCheckpoint)));
}

/// The bytes of a bundle that nothing signed covers, by design: the text for people, and what the manifest
/// says of the binding (shown by the evidence) and of entries left out.
fn unproven(good: &[u8]) -> Vec<std::ops::Range<usize>> {
    let find = |text: &str| good.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
    let readme = find("Anchorhold audit bundle");
    let readme_end = readme + unpack(good)[1].1.len();
    let uncovered = find("\"uncovered\":");
    vec![readme..readme_end, find("\"binding\":")..find("\"boot\":"), uncovered..uncovered + 15]
}

#[test]
fn case_47_every_byte_of_a_bundle_matters() {
    let good = bundle(2);
    let unproven = unproven(&good);
    for at in (0..good.len()).filter(|at| !unproven.iter().any(|range| range.contains(at))) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(!check(&bad).is_accepted(), "byte {at}");
    }
}

proptest! {
    #[test]
    fn case_47_changed_bundles_never_panic_and_never_pass(
        at in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 1..64),
    ) {
        static GOOD: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| bundle(4));
        let at = at.index(GOOD.len() - 64);
        let mut bad = GOOD.clone();
        bad[at..at + bytes.len()].copy_from_slice(&bytes);
        let touched = |range: &std::ops::Range<usize>| at < range.end && range.start < at + bytes.len();
        let report = check(&bad);
        if bad != *GOOD && !unproven(&GOOD).iter().any(touched) {
            prop_assert!(!report.is_accepted());
        }
    }

    #[test]
    fn case_47_random_bytes_are_no_bundle_note_or_entry(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        prop_assert!(!check(&bytes).is_accepted());
        prop_assert!(Entry::from_bytes(&bytes).is_err());
        prop_assert!(anchorhold_audit_log::note::Note::parse(&bytes).is_err());
    }
}

#[test]
fn a_report_tells_the_roots_at_the_sizes_that_were_asked_for() {
    let expectations = Expectations { sizes: vec![4, 9, 10], ..Expectations::default() };
    let report = verify(bundle(6).as_slice(), &expectations).unwrap();
    assert_eq!(report.head(4).map(|head| head.size), Some(4));
    assert_eq!(report.head(9), report.checkpoint.as_ref().map(|checkpoint| checkpoint.head));
    assert_ne!(report.head(4).map(|head| head.root), report.head(9).map(|head| head.root));
    assert_eq!((report.head(5), report.head(10)), (None, None));
}

#[test]
fn evidence_that_cannot_be_read_is_not_taken_for_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    write_log(&path, 1, End::Closed);
    std::fs::remove_file(path.join("evidence.json")).unwrap();
    std::fs::create_dir(path.join("evidence.json")).unwrap();
    let refused = export(&path, Vec::new(), &ExportOptions::default());
    assert!(matches!(refused, Err(ExportError::Read(ReadError::Io { .. }))), "{refused:?}");
}

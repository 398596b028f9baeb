//! Checkpoints that are kept along the way, and the times of entries held to the cosignatures in them.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "a test stops at a surprise"
)]

mod fixture;

use anchorhold_audit_log::anchors::{MAX_ANCHOR_BYTES, MAX_ANCHORS};
use anchorhold_audit_log::cosignature::{Cosigner, WitnessKey};
use anchorhold_audit_log::note::{Note, NoteError};
use anchorhold_audit_log::{
    Check, Checkpoint, CheckpointError, Event, EventType, Expectations, ExportError, ExportOptions, Finding,
    Log, Outcome, Report, Stamp, Status, Tee, export, verify,
};
use fixture::{EVIDENCE, Members, SEED, binding, boot, bundle_of, member, pack, signer, stamp, unpack};
use std::path::Path;

const BASE_S: i64 = 1_790_000_000;
const MINUTE: i64 = 60;

fn witness() -> Cosigner {
    Cosigner::from_seed("w.example", &[8; 32]).unwrap()
}

fn other_witness() -> Cosigner {
    Cosigner::from_seed("v.example", &[9; 32]).unwrap()
}

fn cosigned(note: &[u8], by: &[(&Cosigner, i64)]) -> Vec<u8> {
    let text = Note::parse(note).unwrap().unverified_text().to_owned();
    let lines: String = by.iter().map(|(by, second)| by.cosign(&text, (BASE_S + second) as u64)).collect();
    [note, lines.as_bytes()].concat()
}

/// A log with an entry each minute, cosigned right after it. `claims` says which second the clock of a minute's entry shows, and `sees`
/// which second the witness's.
struct Written {
    folder: tempfile::TempDir,
}

impl Written {
    fn new(minutes: i64, claims: impl Fn(i64) -> i64, sees: impl Fn(i64) -> i64) -> Self {
        Self::by(minutes, claims, |note, minute| cosigned(note, &[(&witness(), sees(minute))]))
    }

    fn by(minutes: i64, claims: impl Fn(i64) -> i64, cosign: impl Fn(&[u8], i64) -> Vec<u8>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let says = |minute: i64| Stamp {
            wall_ns: (BASE_S + claims(minute)) * 1_000_000_000,
            mono_ns: minute as u64 * 60_000_000_000,
        };
        let mut log = Log::create(&folder.path().join("log"), signer(), boot(), says(0)).unwrap();
        log.record_evidence(EVIDENCE, &binding(), Tee::SnpSimulated, says(0)).unwrap();
        for minute in 0..minutes {
            let at = says(minute);
            log.append(&[Event::new(EventType::InferComplete, Outcome::Success, at)]).unwrap();
            let note = log.checkpoint().unwrap();
            let size = log.size();
            log.store_cosigned(&cosign(&note, minute), size, at).unwrap();
        }
        Self { folder }
    }

    fn log(&self) -> std::path::PathBuf {
        self.folder.path().join("log")
    }

    fn bundle(&self) -> Vec<u8> {
        bundle_of(&self.log())
    }

    fn part(&self, range: std::ops::Range<u64>) -> Vec<u8> {
        let mut out = Vec::new();
        export(&self.log(), &mut out, &ExportOptions { range: Some(range) }).unwrap();
        out
    }
}

/// The minute as it is.
fn true_time(minute: i64) -> i64 {
    minute * MINUTE
}

fn judged_by(bundle: &[u8], clocks: Vec<WitnessKey>) -> Report {
    verify(bundle, &Expectations { clocks, ..Expectations::default() }).unwrap()
}

fn judged(bundle: &[u8]) -> Report {
    judged_by(bundle, vec![witness().key().clone()])
}

fn found(report: &Report, check: Check) -> (Status, Finding) {
    let verdict = report.verdict(check).unwrap();
    (verdict.status, verdict.finding)
}

fn brackets(bundle: &[u8]) -> (Status, Finding) {
    let report = judged(bundle);
    assert!(report.is_accepted(), "times alone refuse nothing: {:?}", report.verdicts);
    found(&report, Check::Brackets)
}

#[test]
fn entries_lie_between_the_cosignatures_around_them() {
    let bundle = Written::new(10, true_time, |minute| minute * MINUTE + 1).bundle();
    assert_eq!(unpack(&bundle).iter().filter(|(name, _)| name.starts_with("anchor-")).count(), 9);
    let report = judged(&bundle);
    assert!(report.is_accepted(), "{:?}", report.verdicts);
    assert_eq!(found(&report, Check::Anchors), (Status::Passed, Finding::AsExpected));
    let bracketed = Finding::Bracketed { widest_s: 60 };
    assert_eq!(found(&report, Check::Brackets), (Status::Passed, bracketed));
    assert_eq!(report.evidence_by_s, Some(BASE_S as u64 + 1), "the first cosignature after it");
    assert_eq!(report.anchors.len(), 9);
    // Nobody's times are believed: the anchors are the log's all the same.
    let report = judged_by(&bundle, Vec::new());
    assert_eq!(found(&report, Check::Anchors).0, Status::Passed);
    assert_eq!(found(&report, Check::Brackets), (Status::NotApplicable, Finding::NotAsked));
    assert_eq!(report.evidence_by_s, None);
}

#[test]
fn case_32_a_clock_that_went_back_or_forward_is_found_with_its_entry() {
    const YEAR: i64 = 365 * 24 * 3600;
    const DAY: i64 = 24 * 3600;
    for (by, off) in [(-YEAR, 1), (DAY, 0)] {
        // The fifth minute's entry has index 6.
        let log = Written::new(9, |minute| true_time(minute) + if minute >= 4 { by } else { 0 }, true_time);
        let seconds = by + off * MINUTE;
        let outside = Finding::OutOfBracket { index: 6, seconds };
        assert_eq!(brackets(&log.bundle()), (Status::Noted, outside), "{by}");
    }
    // An honest guest may be that far off.
    for by in [-299, 299, 355] {
        let log = Written::new(9, |minute| true_time(minute) + by, true_time);
        assert_eq!(brackets(&log.bundle()).0, Status::Passed, "{by}");
    }
    let log = Written::new(3, |minute| true_time(minute) + 361, true_time);
    assert_eq!(brackets(&log.bundle()), (Status::Noted, Finding::OutOfBracket { index: 0, seconds: 361 }));
}

#[test]
fn a_claimed_time_at_the_end_of_all_time_is_only_outside() {
    for claimed in [i64::MIN / 2_000_000_000, i64::MAX / 2_000_000_000] {
        let log = Written::new(4, |minute| if minute == 2 { claimed } else { true_time(minute) }, true_time);
        assert!(matches!(brackets(&log.bundle()), (Status::Noted, Finding::OutOfBracket { index: 4, .. })));
    }
}

#[test]
fn a_witness_whose_clock_runs_backwards_brackets_nothing() {
    let log =
        Written::new(
            8,
            true_time,
            |minute| if minute < 4 { true_time(minute) + 3600 } else { true_time(minute) },
        );
    let report = judged(&log.bundle());
    // The fifth cosignature is over the tree of 7 entries.
    assert_eq!(found(&report, Check::Brackets), (Status::Noted, Finding::WitnessBackwards { size: 7 }));
    assert_eq!(report.evidence_by_s, None);
    // A clock that was put right by a few minutes is no reason to believe nothing.
    let log =
        Written::new(
            8,
            true_time,
            |minute| if minute < 4 { true_time(minute) + 120 } else { true_time(minute) },
        );
    assert_eq!(brackets(&log.bundle()).0, Status::Passed);
}

#[test]
fn of_two_witnesses_one_with_a_wrong_clock_accuses_nobody() {
    let log = Written::by(6, true_time, |note, minute| {
        cosigned(note, &[(&witness(), true_time(minute)), (&other_witness(), true_time(minute) - 86_400)])
    });
    let bundle = log.bundle();
    let [one, other] = [witness(), other_witness()].map(|witness| witness.key().clone());
    let both = judged_by(&bundle, vec![one, other.clone()]);
    assert_eq!(found(&both, Check::Brackets), (Status::Passed, Finding::Bracketed { widest_s: 86_460 }));
    let alone = judged_by(&bundle, vec![other]);
    assert!(matches!(found(&alone, Check::Brackets), (Status::Noted, Finding::OutOfBracket { .. })));
}

#[test]
fn a_witness_that_nobody_named_counts_for_nothing() {
    let bundle = Written::new(5, true_time, true_time).bundle();
    let report = judged_by(&bundle, vec![other_witness().key().clone()]);
    assert_eq!(found(&report, Check::Brackets), (Status::NotApplicable, Finding::NoAnchors));
    assert_eq!(report.evidence_by_s, None);
    // Another key under a name that is believed is another witness.
    let stranger = Cosigner::from_seed("w.example", &[1; 32]).unwrap();
    let report = judged_by(&bundle, vec![stranger.key().clone()]);
    assert_eq!(found(&report, Check::Brackets).1, Finding::NoAnchors);
}

#[test]
fn bundles_without_anchors_are_accepted_as_before() {
    let bundle = fixture::bundle(3);
    assert!(!String::from_utf8(unpack(&bundle)[0].1.clone()).unwrap().contains("anchors"));
    let report = judged(&bundle);
    assert!(report.is_accepted());
    for check in [Check::Anchors, Check::Brackets] {
        assert_eq!(found(&report, check), (Status::NotApplicable, Finding::NoAnchors), "{check:?}");
    }
}

/// What becomes of a bundle whose anchors were changed.
fn with(log: &Written, change: impl FnOnce(&mut Members)) -> Report {
    let mut members = unpack(&log.bundle());
    change(&mut members);
    let count = members.iter().filter(|(name, _)| name.starts_with("anchor-")).count();
    recount(&mut members, count);
    judged(&pack(&members))
}

fn recount(members: &mut Members, count: usize) {
    let manifest = String::from_utf8(member(members, "manifest.json").clone()).unwrap();
    let (_, rest) = manifest.split_once("\"audit_key\"").unwrap();
    let anchors = if count == 0 { String::new() } else { format!("\"anchors\":{count},") };
    *member(members, "manifest.json") = format!("{{{anchors}\"audit_key\"{rest}").into_bytes();
}

fn anchor(members: &mut Members, at: usize) -> &mut Vec<u8> {
    member(members, &format!("anchor-{at:05}.note"))
}

/// Puts the anchors into the archive anew, numbered from 0 on.
fn renumber(members: &mut Members, notes: Vec<Vec<u8>>) {
    let at = members.iter().position(|(name, _)| name.starts_with("anchor-")).unwrap();
    members.retain(|(name, _)| !name.starts_with("anchor-"));
    for (number, note) in notes.into_iter().enumerate().rev() {
        members.insert(at, (format!("anchor-{number:05}.note"), note));
    }
}

fn notes(members: &Members) -> Vec<Vec<u8>> {
    let anchors = members.iter().filter(|(name, _)| name.starts_with("anchor-"));
    anchors.map(|(_, note)| note.clone()).collect()
}

#[test]
fn case_29_an_anchor_of_another_history_is_proof_of_two() {
    let log = Written::new(6, true_time, true_time);
    let other = unpack(&Written::new(6, true_time, true_time).bundle());
    let report = with(&log, |members| *anchor(members, 2) = notes(&other)[2].clone());
    assert!(!report.is_accepted());
    // The third one is of 5 entries.
    assert_eq!(found(&report, Check::Anchors), (Status::Failed, Finding::Equivocation { size: 5 }));
}

#[test]
fn case_36_anchors_that_were_changed_moved_or_repeated_are_refused() {
    let log = Written::new(6, true_time, true_time);
    let failed = |change: &dyn Fn(&mut Members)| {
        let report = with(&log, change);
        assert!(!report.is_accepted());
        let (status, finding) = found(&report, Check::Anchors);
        assert_eq!(status, Status::Failed);
        finding
    };
    let swapped = |members: &mut Members| {
        let mut all = notes(members);
        all.swap(1, 2);
        renumber(members, all);
    };
    assert_eq!(failed(&swapped), Finding::AnchorMisplaced { size: 4 });
    let repeated = |members: &mut Members| {
        let mut all = notes(members);
        all.insert(2, all[1].clone());
        renumber(members, all);
    };
    assert_eq!(failed(&repeated), Finding::AnchorMisplaced { size: 4 });
    let last = |members: &mut Members| {
        let mut all = notes(members);
        all.push(member(members, "checkpoint.note").clone());
        renumber(members, all);
    };
    assert_eq!(failed(&last), Finding::AnchorMisplaced { size: 8 });
    let stranger = |members: &mut Members| {
        let other = anchorhold_audit_log::Signer::from_seed(signer().origin().clone(), &[7; 32]).unwrap();
        let note = anchor(members, 1).clone();
        let text = Note::parse(&note).unwrap().unverified_text().to_owned();
        *anchor(members, 1) = other.sign(&text).unwrap();
    };
    let unsigned = Finding::Checkpoint(CheckpointError::Note(NoteError::NotSigned));
    assert_eq!(failed(&stranger), unsigned);
    // A time that its witness did not sign.
    let forged = |members: &mut Members| {
        let note = anchor(members, 1).clone();
        let text = Note::parse(&note).unwrap().unverified_text().to_owned();
        let own = String::from_utf8(signer().sign(&text).unwrap()).unwrap();
        let line = witness().cosign("another text\n", BASE_S as u64);
        *anchor(members, 1) = format!("{own}{line}").into_bytes();
    };
    let bad = Finding::Checkpoint(CheckpointError::Note(NoteError::BadSignature));
    assert_eq!(failed(&forged), bad);
    // What a log's key signed under another name is no checkpoint of this log.
    let renamed = |members: &mut Members| {
        let origin = "elsewhere.example/1".parse().unwrap();
        let other = anchorhold_audit_log::Signer::from_seed(origin, &SEED).unwrap();
        let text = "elsewhere.example/1\n4\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";
        *anchor(members, 1) = other.sign(text).unwrap();
    };
    assert!(matches!(failed(&renamed), Finding::Checkpoint(_)));
}

#[test]
fn case_36_a_changed_entry_is_not_called_two_histories() {
    let log = Written::new(6, true_time, true_time);
    let report = with(&log, |members| {
        let entries = member(members, fixture::ENTRIES);
        let at = entries.windows(14).position(|window| window == b"infer.complete").unwrap();
        entries[at] ^= 1;
    });
    assert!(!report.is_accepted());
    assert_eq!(found(&report, Check::Anchors), (Status::NotApplicable, Finding::NotReached));
}

#[test]
fn case_36_more_anchors_than_may_be_and_longer_ones_are_refused_by_their_number() {
    let log = Written::new(3, true_time, true_time);
    for count in [1, 3, MAX_ANCHORS + 1, u32::MAX as usize, u64::MAX as usize] {
        let mut members = unpack(&log.bundle());
        recount(&mut members, count);
        let report = judged(&pack(&members));
        assert_eq!(found(&report, Check::Structure).0, Status::Failed, "{count}");
    }
    let report = with(&log, |members| *anchor(members, 0) = vec![b'x'; MAX_ANCHOR_BYTES + 1]);
    assert_eq!(found(&report, Check::Structure).1, Finding::TooLong { name: "anchor-*.note" });
    // A bundle of format 1 has none.
    let mut members = fixture::format_1(&fixture::bundle(3), true);
    recount(&mut members, 1);
    assert_eq!(
        found(&judged(&pack(&members)), Check::Structure).1,
        Finding::Member { name: "manifest.json" }
    );
}

#[test]
fn as_many_anchors_as_may_be_are_judged() {
    let minutes = MAX_ANCHORS as i64 + 40;
    let log = Written::new(minutes, true_time, true_time);
    let bundle = log.bundle();
    let kept = notes(&unpack(&bundle)).len();
    assert!((MAX_ANCHORS / 2..=MAX_ANCHORS).contains(&kept), "{kept}");
    let report = judged(&bundle);
    assert!(report.is_accepted(), "{:?}", report.verdicts);
    // Every second one went.
    assert_eq!(found(&report, Check::Brackets), (Status::Passed, Finding::Bracketed { widest_s: 120 }));
}

#[test]
fn of_as_many_anchors_as_may_be_the_last_gives_way_to_a_newer_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut log = Log::create(&path, signer(), boot(), stamp(0)).unwrap();
    let most = MAX_ANCHORS as i64;
    // One a minute until there are as many as may be, and one half a minute later, which is not kept for good.
    for second in (0..most).map(true_time).chain([true_time(most - 1) + 30]) {
        log.append(&[Event::new(EventType::InferComplete, Outcome::Success, stamp(second))]).unwrap();
        let note = log.checkpoint().unwrap();
        log.store_cosigned(&cosigned(&note, &[(&witness(), second)]), log.size(), stamp(second)).unwrap();
    }
    log.append(&[Event::new(EventType::InferComplete, Outcome::Success, stamp(true_time(most)))]).unwrap();
    log.checkpoint().unwrap();
    let bundle = bundle_of(&path);
    let kept = notes(&unpack(&bundle));
    assert_eq!(kept.len(), MAX_ANCHORS);
    let size = |note: &[u8]| Checkpoint::verify(note, signer().key()).unwrap().head.size;
    assert_eq!((size(&kept[0]), size(&kept[MAX_ANCHORS - 1])), (2, MAX_ANCHORS as u64 + 2));
    let report = judged(&bundle);
    assert!(report.is_accepted(), "{:?}", report.verdicts);
}

#[test]
fn a_part_of_a_log_has_the_anchors_within_it() {
    let log = Written::new(8, true_time, true_time);
    for (range, wanted) in [(0..10, 7), (0..5, 3), (3..10, 7), (4..8, 5), (9..10, 1), (0..1, 0)] {
        let bundle = log.part(range.clone());
        let members = unpack(&bundle);
        assert_eq!(notes(&members).len(), wanted, "{range:?}");
        let report = judged(&bundle);
        assert!(report.is_accepted(), "{range:?}: {:?}", report.verdicts);
        assert_eq!(found(&report, Check::Brackets).0, Status::Passed, "{range:?}");
    }
    // One of outside, which the range cannot show to be of this log.
    let first = notes(&unpack(&log.bundle()))[0].clone();
    let mut members = unpack(&log.part(5..9));
    let mut all = notes(&members);
    all.insert(0, first);
    renumber(&mut members, all);
    recount(&mut members, 6);
    let report = judged(&pack(&members));
    assert_eq!(found(&report, Check::Anchors), (Status::Failed, Finding::AnchorMisplaced { size: 3 }));
    // And one of another history, within.
    let other = Written::new(8, true_time, true_time);
    let mut members = unpack(&log.part(5..9));
    *anchor(&mut members, 1) = notes(&unpack(&other.part(5..9)))[1].clone();
    let report = judged(&pack(&members));
    assert_eq!(found(&report, Check::Anchors), (Status::Failed, Finding::Equivocation { size: 6 }));
}

#[test]
fn what_is_cosigned_last_is_exported_and_a_damaged_file_is_not() {
    let log = Written::new(1, true_time, true_time);
    // An entry half a minute later, whose cosignature is not kept for good, and one that nobody cosigned.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut writer = Log::create(&path, signer(), boot(), stamp(0)).unwrap();
    for second in [0, 30, 31] {
        writer.append(&[Event::new(EventType::InferComplete, Outcome::Success, stamp(second))]).unwrap();
        let note = writer.checkpoint().unwrap();
        if second < 31 {
            let size = writer.size();
            writer.store_cosigned(&cosigned(&note, &[(&witness(), second)]), size, stamp(second)).unwrap();
        }
    }
    let bundle = bundle_of(&path);
    assert_eq!(notes(&unpack(&bundle)).len(), 2);
    assert_eq!(brackets(&bundle), (Status::Passed, Finding::Bracketed { widest_s: 30 }));
    drop(writer);
    let refused = |path: &Path, bytes: &[u8]| {
        std::fs::write(path.join("anchors"), bytes).unwrap();
        export(path, Vec::new(), &ExportOptions::default()).unwrap_err()
    };
    for bytes in [&b"[\"x\"]"[..], b"", b"[", b"[\"a\", \"b\"]"] {
        assert!(matches!(refused(&log.log(), bytes), ExportError::Anchors));
    }
    std::fs::remove_file(log.log().join("anchors")).unwrap();
    assert!(judged(&log.bundle()).is_accepted(), "a log of before there were any");
}

#[test]
fn case_32_a_time_is_off_when_it_is_off_by_more_than_six_minutes() {
    let off = |seconds: i64| {
        let claims = |minute| if minute == 2 { true_time(1) - seconds } else { true_time(minute) };
        brackets(&Written::new(4, claims, true_time).bundle())
    };
    assert_eq!(off(360).0, Status::Passed);
    // The third of them is entry 4, after two that open the log.
    assert_eq!(off(361), (Status::Noted, Finding::OutOfBracket { index: 4, seconds: -361 }));
}

//! Holds, pruning and erasure, each with a crash at each of its steps.

use crate::*;
use anchorhold_audit_log::cosignature::Cosigner;
use anchorhold_audit_log::merkle::{Place, inclusion_proof, verify_inclusion};
use anchorhold_audit_log::note::{Note, Signer};
use anchorhold_audit_log::{
    Actor, ActorKind, BootId, Code, Entry, Event, EventType, Expectations, ExportOptions, Hash, Hex, HoldId,
    Log, LogReader, LogSource as _, Origin, Outcome, Request, RequestId, Route, Stamp, SubjectKeyId,
    TenantId, export, export_from, verify, verify_each,
};
use anchorhold_audit_personal::{
    CallerKey, Keyring, OpenedKey, Period, PersonalPart, RecipientKey, SubjectKey,
};
use anchorhold_rats::Kem;
use std::path::{Path, PathBuf};

const DAY_NS: i64 = 24 * 3600 * 1_000_000_000;
const YEARS_NS: i64 = 366 * DAY_NS;
const BEGAN_NS: i64 = 1_800_000_000_000_000_000;
const ADDRESS: &str = "192.0.2.77";
const LABEL: &str = "front desk";
const BOOT: BootId = BootId::new([6; 16]);

fn origin() -> Origin {
    Origin::new("acme/0606").unwrap()
}

fn signer() -> Signer {
    Signer::from_seed(Origin::new("archive.example/1").unwrap(), &[9; 32]).unwrap()
}

fn hold(name: &str) -> HoldId {
    HoldId::new(name).unwrap()
}

fn code(name: &'static str) -> Code {
    Code::from_static(name)
}

/// A guest's log of two callers, its keyring, and an archive that has taken them.
struct Stand {
    folder: tempfile::TempDir,
    recipient: RecipientKey,
    kids: [SubjectKeyId; 2],
    /// The secrets' file texts, to be searched for.
    files: [Vec<u8>; 2],
    bundle: PathBuf,
}

impl Stand {
    /// A log with a request a day: the first caller's for ten days, then the second's.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let recipient = RecipientKey::generate(Kem::X25519).unwrap();
        let ring = Keyring::create(&folder.path().join("personal")).unwrap();
        let mut keys = ["clinic/010101010101", "other/020202020202"]
            .map(|subject| SubjectKey::generate(BOOT, subject.parse().unwrap(), Period(231)).unwrap());
        let files = [0, 1].map(|at| {
            let file = keys[at].to_file(recipient.public_key()).unwrap();
            ring.put(&file).unwrap();
            file.to_bytes()
        });
        let kids = [keys[0].kid(), keys[1].kid()];
        let path = folder.path().join("log");
        let signer = Signer::from_seed(origin(), &[5; 32]).unwrap();
        let mut log = Log::create(&path, signer, BOOT, stamp(0)).unwrap();
        for day in 0..20 {
            let at = usize::from(day >= 10);
            log.append(&[request(&mut keys[at], ["clinic", "other"][at], day)]).unwrap();
        }
        log.checkpoint().unwrap();
        let bundle = folder.path().join("bundle.tar");
        export(&path, std::fs::File::create(&bundle).unwrap(), &ExportOptions::default()).unwrap();
        Self { folder, recipient, kids, files, bundle }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("archive")
    }

    fn begin(&self) -> Archivist {
        let mut archivist = Archivist::begin(&self.path(), signer(), BEGAN_NS).unwrap();
        let ring = Keyring::open(&self.folder.path().join("personal")).unwrap();
        let added = archivist.add(&self.bundle, (None, &[]), Some(&ring), BEGAN_NS + 30 * DAY_NS).unwrap();
        assert_eq!((added.size, added.keys, added.act), (21, 2, 1));
        assert!(ring.kids().unwrap().is_empty(), "keys moved");
        archivist
    }

    fn reopen(&self) -> Archivist {
        Archivist::open(&self.path(), signer()).unwrap()
    }

    fn opened(&self, archive: &Archive) -> Vec<u64> {
        let ring = archive.keyring().unwrap();
        let mut indexes = Vec::new();
        let open = |entry: &Entry| {
            let file = ring.get(entry.sealed.as_ref()?.kid).unwrap()?;
            OpenedKey::open(&file, &self.recipient).unwrap().open_part(entry)
        };
        let log = archive.log(&origin()).unwrap();
        log.each_entry(|entry| {
            if let Some(part) = open(entry) {
                assert_eq!(part.address, Some(ADDRESS.parse().unwrap()));
                indexes.push(entry.seq);
            }
            Ok(())
        })
        .unwrap();
        indexes
    }

    /// Every file below the stand that holds these bytes.
    fn found(&self, wanted: &[u8]) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if std::fs::read(&path).unwrap().windows(wanted.len()).any(|window| window == wanted) {
                    found.push(path);
                }
            }
        }
        found
    }
}

fn stamp(day: i64) -> Stamp {
    Stamp { wall_ns: BEGAN_NS + day * DAY_NS, mono_ns: u64::try_from(day * DAY_NS).unwrap() }
}

fn request(key: &mut SubjectKey, tenant: &str, day: i64) -> Event {
    let rid = RequestId::new(&format!("r{day}")).unwrap();
    let caller = CallerKey { id: Hex::new([1; 6]), label: Some(LABEL.parse().unwrap()) };
    let part = PersonalPart { address: Some(ADDRESS.parse().unwrap()), key: Some(caller) };
    let mut event = Event::new(EventType::InferComplete, Outcome::Success, stamp(day));
    event.actor =
        Some(Actor { tenant: Some(TenantId::new(tenant).unwrap()), ..Actor::new(ActorKind::Client) });
    event.sealed = Some(key.seal(&part, &rid).unwrap());
    event.request = Some(Request {
        finish: None,
        ms: 1,
        receipt: None,
        rid,
        route: Route::ChatCompletions,
        status: Some(200),
        stream: false,
        tin: 1,
        tout: 1,
        ttft_ms: None,
    });
    event
}

fn selection(name: &str) -> Selection {
    Retention::built_in().unwrap().select(&[name.to_owned()]).unwrap()
}

/// 13 months, each of 31 days, after the entry with this index; entry 0 and 1 are of day 0.
fn after_default(index: i64) -> i64 {
    BEGAN_NS + (index.max(1) - 1 + 13 * 31) * DAY_NS
}

fn bundle_of(archive: &Archive) -> Vec<u8> {
    let mut out = Vec::new();
    export_from(&archive.log(&origin()).unwrap(), &mut out, &ExportOptions::default()).unwrap();
    out
}

fn acts(archive: &Archive) -> Vec<Entry> {
    let mut out = Vec::new();
    export_from(archive.own_log(), &mut out, &ExportOptions::default()).unwrap();
    let expectations =
        Expectations { audit_key: Some(archive.key().public_key()), ..Expectations::default() };
    let mut entries = Vec::new();
    let report = verify_each(out.as_slice(), &expectations, |entry| entries.push(entry.clone())).unwrap();
    assert!(report.is_accepted(), "{:?}", report.verdicts);
    entries
}

#[test]
fn case_37_an_erased_subject_is_unreadable_in_every_file_and_the_proofs_hold() {
    let stand = Stand::new();
    let mut archivist = stand.begin();
    let before = bundle_of(archivist.archive());
    assert_eq!(stand.opened(archivist.archive()), (1..21).collect::<Vec<_>>());
    assert_eq!(stand.found(&stand.files[0]).len(), 1);
    let erasure = archivist.erase(&stand.kids[..1], &[], &code("gdpr_17_1_b"), BEGAN_NS).unwrap();
    assert_eq!(erasure.act, Some(2));
    assert_eq!(stand.opened(archivist.archive()), (11..21).collect::<Vec<_>>(), "the other caller's stay");
    // Neither the key's file, nor a part of its ciphertext, nor any plaintext is in archive, bundle, keyring or log.
    let text = String::from_utf8(stand.files[0].clone()).unwrap();
    let written: serde_json::Value = serde_json::from_str(&text).unwrap();
    for wanted in
        [text.as_bytes(), written["ct"].as_str().unwrap().as_bytes(), ADDRESS.as_bytes(), LABEL.as_bytes()]
    {
        assert_eq!(stand.found(wanted), Vec::<PathBuf>::new());
    }
    let acts = acts(archivist.archive());
    let told = acts.last().unwrap();
    assert_eq!((told.kind, told.code.as_str()), (EventType::Erasure, "gdpr_17_1_b"));
    let keep = told.keep.as_ref().unwrap();
    assert_eq!((keep.kid, keep.count, &keep.tenant), (Some(stand.kids[0]), Some(1), &None));
    // The log is byte for byte what it was, and a bundle from before still verifies.
    assert_eq!(bundle_of(archivist.archive()), before);
    assert!(verify(before.as_slice(), &Expectations::default()).unwrap().is_accepted());
    // Again it is no act, and the key does not come back with a keyring that has a copy.
    assert_eq!(archivist.erase(&stand.kids[..1], &[], &code("gdpr_17_1_b"), BEGAN_NS).unwrap().act, None);
    assert!(matches!(
        archivist.erase(&[Hex::new([1; 16])], &[], &code("x"), BEGAN_NS),
        Err(Error::NoKey { .. })
    ));
}

#[test]
fn case_37_entries_whose_time_has_come_go_and_every_older_proof_verifies() {
    let stand = Stand::new();
    let mut archivist = stand.begin();
    let whole = bundle_of(archivist.archive());
    let leaves = LogReader::open(&stand.folder.path().join("log")).unwrap();
    let hashes = leaves.leaf_hashes(21).unwrap();
    let root = archivist.archive().state().logs["acme/0606"].root;
    assert!(archivist.prune(&selection("default"), after_default(0) - 1).unwrap()[0].is_empty());
    // Days 0 to 4: entry 0, which opened the log, and five requests.
    let plans = archivist.prune(&selection("default"), after_default(5)).unwrap();
    assert_eq!((plans[0].first, plans[0].end), (0, 6));
    assert_eq!(plans[0].kept, Some(Why::Young { until_ns: after_default(6) }));
    assert!(plans[0].kids.is_empty(), "the first caller has entries left");
    let record = &archivist.archive().state().logs["acme/0606"];
    assert_eq!(record.gone, [Gone { act: 2, first: 0, end: 6, profiles: vec![code("default")] }]);
    let act = acts(archivist.archive()).pop().unwrap();
    let keep = act.keep.unwrap();
    assert_eq!(
        (act.kind, keep.first, keep.end, keep.root),
        (EventType::LogPrune, Some(0), Some(6), Some(root))
    );
    assert!(
        stand.found(b"\"rid\":\"r0\"").is_empty()
            || stand.found(b"\"rid\":\"r0\"").iter().all(|path| !path.starts_with(stand.path()))
    );
    // What is left is proven as a range; what was given out before still is; so is an inclusion in what is gone.
    let left = verify(bundle_of(archivist.archive()).as_slice(), &Expectations::default()).unwrap();
    assert!(left.is_accepted(), "{:?}", left.verdicts);
    let manifest = left.manifest.unwrap();
    assert_eq!((manifest.first, manifest.count, manifest.size), (6, 15, 21));
    assert!(verify(whole.as_slice(), &Expectations::default()).unwrap().is_accepted());
    let mut kept = Vec::new();
    archivist.archive().log(&origin()).unwrap().each_hash(|_, hash| kept.push(hash)).unwrap();
    assert_eq!(kept, hashes);
    let proof = inclusion_proof(&kept, 2).unwrap();
    verify_inclusion(&hashes[2], Place { index: 2, size: 21 }, &proof, &root).unwrap();
    // The rest goes in its time, with the keys that nothing needs any more.
    let plans = archivist.prune(&selection("default"), after_default(20)).unwrap();
    assert_eq!((plans[0].first, plans[0].end, plans[0].kept.clone()), (6, 21, None));
    assert_eq!(plans[0].kids.len(), 2);
    assert!(archivist.archive().keyring().unwrap().kids().unwrap().is_empty());
    archivist.archive().log(&origin()).unwrap().check().unwrap();
}

#[test]
fn case_37_a_hold_blocks_pruning_and_erasure_until_it_is_released() {
    let stand = Stand::new();
    let mut archivist = stand.begin();
    let scope = Scope { tenant: Some(TenantId::new("clinic").unwrap()), ..Scope::default() };
    archivist.place_hold(hold("case-17"), scope, code("litigation"), BEGAN_NS).unwrap();
    let held = Error::UnderHold { hold: hold("case-17"), kid: stand.kids[0] }.to_string();
    let refused = archivist.erase(&stand.kids, &[], &code("gdpr_17_1_b"), BEGAN_NS).unwrap_err();
    assert_eq!(refused.to_string(), held);
    assert_eq!(stand.opened(archivist.archive()).len(), 20, "nothing was destroyed");
    let plans = archivist.prune(&selection("default"), BEGAN_NS + 9 * YEARS_NS).unwrap();
    assert_eq!((plans[0].end, plans[0].kept.clone()), (1, Some(Why::Held { hold: hold("case-17") })));
    // A hold over another tenant, log or time covers nothing of this caller.
    let others = [
        Scope { origin: Some(Origin::new("acme/0707").unwrap()), ..Scope::default() },
        Scope { until_ns: Some(BEGAN_NS), ..Scope::default() },
        Scope { since_ns: Some(BEGAN_NS + 100 * DAY_NS), ..Scope::default() },
    ];
    for (at, scope) in others.into_iter().enumerate() {
        archivist.place_hold(hold(&format!("other-{at}")), scope, code("litigation"), BEGAN_NS).unwrap();
    }
    archivist.erase(&stand.kids[1..], &[], &code("gdpr_17_1_b"), BEGAN_NS).unwrap();
    archivist.release_hold(hold("case-17"), code("case_closed"), BEGAN_NS).unwrap();
    archivist.erase(&stand.kids[..1], &[], &code("gdpr_17_1_b"), BEGAN_NS).unwrap();
    assert_eq!(stand.opened(archivist.archive()), Vec::<u64>::new());
    let plans = archivist.prune(&selection("default"), BEGAN_NS + 9 * YEARS_NS).unwrap();
    assert_eq!(plans[0].end, 21);
    let kinds: Vec<_> = acts(archivist.archive()).iter().map(|act| act.kind.name()).collect();
    let wanted = [
        "log.open",
        "log.archive",
        "hold.place",
        "log.prune",
        "hold.place",
        "hold.place",
        "hold.place",
        "erasure",
        "hold.release",
        "erasure",
        "log.prune",
    ];
    assert_eq!(kinds, wanted);
}

#[test]
fn refuses_holds_that_say_nothing_or_come_twice() {
    let stand = Stand::new();
    let mut archivist = stand.begin();
    let place =
        |archivist: &mut Archivist, scope| archivist.place_hold(hold("h"), scope, code("x"), BEGAN_NS);
    let empty = Scope { since_ns: Some(5), until_ns: Some(5), ..Scope::default() };
    assert!(matches!(place(&mut archivist, empty), Err(Error::EmptyTime)));
    let none = archivist.release_hold(hold("h"), code("x"), BEGAN_NS);
    assert!(matches!(none, Err(Error::NoHold { .. })));
    place(&mut archivist, Scope::default()).unwrap();
    assert!(matches!(place(&mut archivist, Scope::default()), Err(Error::HoldExists { .. })));
    archivist.release_hold(hold("h"), code("x"), BEGAN_NS).unwrap();
    assert!(matches!(archivist.release_hold(hold("h"), code("x"), BEGAN_NS), Err(Error::NoHold { .. })));
    assert!(
        matches!(place(&mut archivist, Scope::default()), Err(Error::HoldExists { .. })),
        "a name is used once"
    );
}

#[test]
fn a_key_of_which_no_entry_is_here_is_covered_by_any_hold() {
    let stand = Stand::new();
    let mut archivist = stand.begin();
    let elsewhere = Keyring::create(&stand.folder.path().join("elsewhere")).unwrap();
    let key = SubjectKey::generate(BOOT, "clinic".parse().unwrap(), Period(1)).unwrap();
    elsewhere.put(&key.to_file(stand.recipient.public_key()).unwrap()).unwrap();
    let scope = Scope { origin: Some(Origin::new("acme/0707").unwrap()), ..Scope::default() };
    archivist.place_hold(hold("h"), scope, code("x"), BEGAN_NS).unwrap();
    let others = [elsewhere.clone()];
    let erase = |archivist: &mut Archivist| archivist.erase(&[key.kid()], &others, &code("x"), BEGAN_NS);
    assert!(matches!(erase(&mut archivist), Err(Error::UnderHold { .. })));
    archivist.release_hold(hold("h"), code("x"), BEGAN_NS).unwrap();
    erase(&mut archivist).unwrap();
    assert!(elsewhere.kids().unwrap().is_empty(), "keyrings beside the archive's are emptied too");
}

#[test]
fn case_37_a_crash_at_any_step_of_a_pruning_leaves_it_done_or_not_begun() {
    let mut ends = 0;
    for step in 0..64 {
        let stand = Stand::new();
        let mut archivist = stand.begin();
        archivist.steps.fail_after(step);
        let pruned = archivist.prune(&selection("default"), after_default(5));
        let ended = pruned.is_ok();
        drop(archivist);
        // Whoever only reads finds a sound log, whatever the crash left.
        let read = Archive::open(&stand.path()).unwrap();
        read.log(&origin()).unwrap().check().unwrap();
        let archivist = stand.reopen();
        let record = archivist.archive().state().logs["acme/0606"].clone();
        assert!(record.gone.len() <= 1, "step {step}");
        let log = archivist.archive().log(&origin()).unwrap();
        log.check().unwrap();
        assert_eq!(log.minimum(), record.minimum());
        let in_archive = |path: &PathBuf| path.starts_with(stand.path());
        let there = stand.found(b"\"rid\":\"r0\"").iter().any(in_archive);
        assert_eq!(there, record.gone.is_empty(), "step {step}: what is said to be gone is gone");
        if ended {
            ends += 1;
            break;
        }
    }
    assert_eq!(ends, 1, "the loop saw the pruning end");
}

#[test]
fn case_37_a_crash_at_any_step_of_an_erasure_leaves_it_done_or_not_begun() {
    let mut ends = 0;
    for step in 0..64 {
        let stand = Stand::new();
        let mut archivist = stand.begin();
        archivist.steps.fail_after(step);
        let ended = archivist.erase(&stand.kids, &[], &code("gdpr_17_1_b"), BEGAN_NS).is_ok();
        drop(archivist);
        let archivist = stand.reopen();
        let erased = archivist.archive().state().erased.len();
        assert!(erased == 0 || erased == 2, "step {step}: all acts or none");
        let kept = archivist.archive().keyring().unwrap().kids().unwrap().len();
        assert_eq!(kept, 2 - erased, "step {step}");
        if ended {
            ends += 1;
            break;
        }
    }
    assert_eq!(ends, 1, "the loop saw the erasure end");
}

#[test]
fn a_crash_at_any_step_of_an_addition_leaves_the_log_there_or_not() {
    let mut ends = 0;
    for step in 0..64 {
        let stand = Stand::new();
        let mut archivist = Archivist::begin(&stand.path(), signer(), BEGAN_NS).unwrap();
        let ring = Keyring::open(&stand.folder.path().join("personal")).unwrap();
        archivist.steps.fail_after(step);
        let ended = archivist.add(&stand.bundle, (None, &[]), Some(&ring), BEGAN_NS).is_ok();
        drop(archivist);
        let mut archivist = stand.reopen();
        if archivist.archive().state().logs.is_empty() {
            assert_eq!(std::fs::read_dir(stand.path().join("logs")).unwrap().count(), 0, "step {step}");
            assert_eq!(ring.kids().unwrap().len(), 2, "step {step}: no key is lost");
            archivist.add(&stand.bundle, (None, &[]), Some(&ring), BEGAN_NS).unwrap();
        }
        assert_eq!(stand.opened(archivist.archive()).len(), 20, "step {step}");
        if ended {
            ends += 1;
            break;
        }
    }
    assert_eq!(ends, 1, "the loop saw the addition end");
}

#[test]
fn a_log_that_grew_replaces_itself_and_no_other_does() {
    let stand = Stand::new();
    let mut archivist = stand.begin();
    let again = archivist.add(&stand.bundle, (None, &[]), None, BEGAN_NS);
    assert!(matches!(again, Err(Error::Known { size: 21, .. })));
    archivist.prune(&selection("default"), after_default(5)).unwrap();
    // A log of the same name and key with other entries.
    let longer = |seed: u8, days: i64, name: &str| {
        let mut key = SubjectKey::generate(BOOT, "clinic".parse().unwrap(), Period(1)).unwrap();
        let signer = Signer::from_seed(origin(), &[seed; 32]).unwrap();
        let path = stand.folder.path().join(name);
        let mut log = Log::create(&path, signer, BOOT, stamp(0)).unwrap();
        for day in 0..days {
            log.append(&[request(&mut key, "clinic", day)]).unwrap();
        }
        log.checkpoint().unwrap();
        let bundle = stand.folder.path().join(format!("{name}.tar"));
        export(&path, std::fs::File::create(&bundle).unwrap(), &ExportOptions::default()).unwrap();
        bundle
    };
    let forked = archivist.add(&longer(5, 30, "fork"), (None, &[]), None, BEGAN_NS);
    assert!(matches!(forked, Err(Error::NotProven { check: "earlier", .. })), "{forked:?}");
    let other_key = archivist.add(&longer(4, 30, "stranger"), (None, &[]), None, BEGAN_NS);
    assert!(matches!(other_key, Err(Error::NotProven { .. })), "{other_key:?}");
    let wanted = anchorhold_audit_log::PublicKey::new([1; 32]);
    let unexpected = archivist.add(&stand.bundle, (Some(wanted), &[]), None, BEGAN_NS);
    assert!(matches!(unexpected, Err(Error::NotProven { .. })), "{unexpected:?}");
    assert_eq!(archivist.archive().log(&origin()).unwrap().minimum(), 6);
    archivist.archive().log(&origin()).unwrap().check().unwrap();
}

#[test]
fn a_clock_far_behind_the_witnesses_makes_no_entry_old() {
    let stand = Stand::new();
    let bytes = std::fs::read(&stand.bundle).unwrap();
    let cosigner = Cosigner::from_seed("witness.example/1", &[3; 32]).unwrap();
    // The witnesses saw the log two years after the times that its entries claim.
    let seen_ns = BEGAN_NS + 2 * YEARS_NS;
    let record = |cosigned_ns| LogRecord {
        origin: origin(),
        size: 21,
        root: Hash::new([0; 32]),
        cosigned_ns,
        act: 1,
        gone: Vec::new(),
    };
    let archivist = stand.begin();
    let log = archivist.archive().log(&origin()).unwrap();
    let (state, selection) = (State::default(), selection("default"));
    let plan = |cosigned, now| Plan::of(&log, &record(cosigned), (&state, &selection), now).unwrap().end;
    assert_eq!(plan(None, seen_ns), 21);
    assert_eq!(plan(Some(seen_ns), seen_ns), 0);
    assert_eq!(plan(Some(seen_ns), seen_ns + 13 * 31 * DAY_NS), 21);
    assert_eq!(plan(Some(BEGAN_NS + 20 * DAY_NS), after_default(5)), 6, "claims that witnesses bear out");
    let note = Note::parse(log.checkpoint().unwrap().1).unwrap();
    assert!(!cosigner.cosign(note.unverified_text(), 1).is_empty() && !bytes.is_empty());
}

#[test]
fn refuses_an_archive_that_is_not_as_it_was_signed() {
    let stand = Stand::new();
    drop(stand.begin());
    let acts = stand.path().join("acts/acts.jsonl");
    let good = std::fs::read(&acts).unwrap();
    // A line after the checkpoint is of a command that was cut off: it says nothing.
    let mut longer = good.clone();
    longer.extend(b"{\"act\":");
    std::fs::write(&acts, &longer).unwrap();
    assert_eq!(stand.reopen().archive().head().size, 2);
    let text = String::from_utf8(good.clone()).unwrap();
    std::fs::write(&acts, text.replace("\"size\":21", "\"size\":20")).unwrap();
    assert!(matches!(Archive::open(&stand.path()), Err(Error::Acts(_))));
    std::fs::write(&acts, &good[..good.len() - 1]).unwrap();
    assert!(matches!(Archive::open(&stand.path()), Err(Error::Acts(_))));
    std::fs::write(&acts, &good).unwrap();
    let other = Signer::from_seed(Origin::new("archive.example/1").unwrap(), &[8; 32]).unwrap();
    assert!(matches!(Archivist::open(&stand.path(), other), Err(Error::OtherKey)));
    let first = stand.reopen();
    assert!(matches!(Archivist::open(&stand.path(), signer()), Err(Error::Busy)));
    drop(first);
    assert!(matches!(Archivist::begin(&stand.path(), signer(), 0), Err(Error::Exists { .. })));
    assert!(matches!(Archive::open(stand.folder.path()), Err(Error::NotAnArchive { .. })));
}

#[test]
fn a_changed_entry_or_hash_of_an_archived_log_is_found() {
    let stand = Stand::new();
    let archivist = stand.begin();
    let check = || archivist.archive().log(&origin()).and_then(|log| log.check());
    let folder = std::fs::read_dir(stand.path().join("logs")).unwrap().next().unwrap().unwrap().path();
    check().unwrap();
    let spoil = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let path: &Path = &folder.join(name);
        let good = std::fs::read(path).unwrap();
        let mut bytes = good.clone();
        change(&mut bytes);
        std::fs::write(path, &bytes).unwrap();
        let found = check();
        std::fs::write(path, &good).unwrap();
        assert!(matches!(found, Err(Error::Damaged { .. })), "{name}: {found:?}");
    };
    spoil("entries.jsonl", &|bytes| bytes[200] ^= 1);
    spoil("entries.jsonl", &|bytes| bytes.truncate(bytes.len() - 1));
    spoil("entries.jsonl", &|bytes| bytes.extend(b"more\n"));
    spoil("leaf-hashes.bin", &|bytes| bytes[0] ^= 1);
    spoil("leaf-hashes.bin", &|bytes| bytes.truncate(64));
    spoil("leaf-hashes.bin", &|bytes| bytes.push(0));
    spoil("manifest.json", &|bytes| bytes.truncate(9));
    check().unwrap();
}

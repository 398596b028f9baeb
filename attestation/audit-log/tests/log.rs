//! The writer and the reader when the medium fails, the process is killed or somebody changes the files.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    reason = "a test stops at a surprise"
)]

mod fixture;

use anchorhold_audit_log::{
    Beginning, CheckpointSlot, Directory, Entry, ExportOptions, HEARTBEAT_S, Log, LogError, LogReader,
    MAX_BATCH, MAX_UNCOVERED, ReadError, Signer, Storage, Tee, export,
};
use fixture::{EVIDENCE, End, Told, binding, boot, request_event, signer, stamp, write_log};
use proptest::prelude::*;
use std::cell::RefCell;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};

const SEGMENT: &str = "entries/00000000.seg";
const SLOTS: &str = "checkpoint.slots";

/// Storage in a directory whose operation number `fails_at` fails, after writing half of its bytes. All
/// others succeed, also those that come later.
struct Faulty {
    inner: Directory,
    calls: Rc<RefCell<Vec<&'static str>>>,
    fails_at: usize,
    kind: io::ErrorKind,
}

impl Faulty {
    fn count(&self, name: &'static str) -> io::Result<()> {
        self.calls.borrow_mut().push(name);
        if self.calls.borrow().len() == self.fails_at.saturating_add(1) {
            Err(self.kind.into())
        } else {
            Ok(())
        }
    }
}

impl Storage for Faulty {
    fn begin_segment(&mut self, number: u32) -> io::Result<()> {
        self.count("begin")?;
        self.inner.begin_segment(number)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.count("append") {
            self.inner.append(&bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        self.inner.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.count("sync")?;
        self.inner.sync()
    }

    fn write_slot(&mut self, slot: CheckpointSlot, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.count("slot") {
            self.inner.write_slot(slot, &bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        self.inner.write_slot(slot, bytes)
    }

    fn sync_slots(&mut self) -> io::Result<()> {
        self.count("sync slots")?;
        self.inner.sync_slots()
    }

    fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.count("replace")?;
        self.inner.replace(name, bytes)
    }
}

/// One log with a failure at operation `fails_at`: what was acknowledged, and what was asked of the medium.
fn run_with_failure(path: &Path, fails_at: usize, kind: io::ErrorKind) -> (u64, Vec<&'static str>, bool) {
    let calls = Rc::new(RefCell::new(Vec::new()));
    let storage =
        Faulty { inner: Directory::create(path).unwrap(), calls: Rc::clone(&calls), fails_at, kind };
    let mut acknowledged = 0;
    let failed = match Log::begin_in(storage, Beginning::new(signer(), boot(), stamp(0))) {
        Err(error) => matches!(error, LogError::Storage { .. }),
        Ok(mut log) => {
            acknowledged = log.size();
            let mut failed = false;
            let mut step = |log: &mut Log<Faulty>, result: Result<(), LogError>| match result {
                Ok(()) => {
                    assert!(!failed, "acknowledged after a failure");
                    acknowledged = log.size();
                }
                Err(LogError::Storage { .. }) => failed = true,
                Err(LogError::Poisoned) => assert!(failed),
                Err(error) => panic!("{error}"),
            };
            for second in 0..3 {
                let result = log.append(&[request_event(second), request_event(second)]).map(drop);
                step(&mut log, result);
                let result = log.stage(request_event(second)).and_then(|_| log.submit());
                step(&mut log, result);
            }
            let result = log.record_evidence(EVIDENCE, &binding(), Tee::Snp, stamp(4)).map(drop);
            step(&mut log, result);
            let result = log.checkpoint().map(drop);
            step(&mut log, result);
            assert_eq!(log.is_poisoned(), failed);
            failed
        }
    };
    (acknowledged, calls.take(), failed)
}

#[test]
fn case_30_no_failure_is_acknowledged_and_every_failure_poisons() {
    let dir = tempfile::tempdir().unwrap();
    let sound = dir.path().join("sound");
    let (acknowledged, calls, failed) = run_with_failure(&sound, usize::MAX, io::ErrorKind::Other);
    assert!(!failed);
    assert_eq!(acknowledged, 11);
    assert_eq!(calls.len(), 26);
    for (number, name) in calls.iter().enumerate() {
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::ReadOnlyFilesystem, io::ErrorKind::Other] {
            let path = dir.path().join(format!("{number}-{kind}"));
            let (acknowledged, seen, failed) = run_with_failure(&path, number, kind);
            assert!(failed, "{name} {number}");
            assert_eq!(seen.len(), number + 1, "the medium was used after {name} {number} failed");
            match LogReader::open(&path) {
                Ok(reader) => assert!(reader.head().size >= acknowledged, "{name} {number}"),
                Err(error) => {
                    assert_eq!(acknowledged, 0, "{error}");
                    let nothing_yet = matches!(error, ReadError::Empty | ReadError::Io { .. });
                    assert!(nothing_yet, "{error}");
                }
            }
        }
    }
}

#[test]
fn case_30_a_real_full_medium_is_not_acknowledged() {
    // /dev/full is a file whose every write meets ENOSPC.
    #[derive(Debug)]
    struct Full(std::fs::File, Directory);
    impl Storage for Full {
        fn begin_segment(&mut self, number: u32) -> io::Result<()> {
            self.1.begin_segment(number)
        }
        fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.0.write_all(bytes)
        }
        fn sync(&mut self) -> io::Result<()> {
            self.0.sync_data()
        }
        fn write_slot(&mut self, slot: CheckpointSlot, bytes: &[u8]) -> io::Result<()> {
            self.1.write_slot(slot, bytes)
        }
        fn sync_slots(&mut self) -> io::Result<()> {
            self.1.sync_slots()
        }
        fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
            self.1.replace(name, bytes)
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let storage = Full(full, Directory::create(&dir.path().join("log")).unwrap());
    let error = Log::begin_in(storage, Beginning::new(signer(), boot(), stamp(0))).unwrap_err();
    assert!(matches!(error, LogError::Storage { source, .. } if source.kind() == io::ErrorKind::StorageFull));
}

#[test]
fn case_30_a_medium_that_stalls_has_nothing_acknowledged() {
    /// Waits in `sync`, after it has said so, until it is told to go on.
    struct Stalling(Directory, Sender<()>, Receiver<()>);
    impl Storage for Stalling {
        fn begin_segment(&mut self, number: u32) -> io::Result<()> {
            self.0.begin_segment(number)
        }
        fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.0.append(bytes)
        }
        fn sync(&mut self) -> io::Result<()> {
            self.1.send(()).unwrap();
            self.2.recv().unwrap();
            self.0.sync()
        }
        fn write_slot(&mut self, slot: CheckpointSlot, bytes: &[u8]) -> io::Result<()> {
            self.0.write_slot(slot, bytes)
        }
        fn sync_slots(&mut self) -> io::Result<()> {
            self.0.sync_slots()
        }
        fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
            self.0.replace(name, bytes)
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let ((stalled, stalls), (go, going)) = (channel(), channel());
    let storage = Stalling(Directory::create(&dir.path().join("log")).unwrap(), stalled, going);
    let (acknowledge, acknowledged) = channel();
    let writer = std::thread::spawn(move || {
        let mut log = Log::begin_in(storage, Beginning::new(signer(), boot(), stamp(0))).unwrap();
        acknowledge.send(log.size()).unwrap();
        log.append(&[request_event(1)]).unwrap();
        acknowledge.send(log.size()).unwrap();
    });
    for size in [1, 2] {
        stalls.recv().unwrap();
        assert!(acknowledged.try_recv().is_err(), "acknowledged while the medium stalls");
        go.send(()).unwrap();
        assert_eq!(acknowledged.recv().unwrap(), size);
    }
    writer.join().unwrap();
}

#[test]
fn case_30_what_is_staged_or_submitted_is_not_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let (storage, calls) = Told::new(&path);
    let mut log = Log::begin_in(storage, Beginning::new(signer(), boot(), stamp(0))).unwrap();
    calls.take();
    assert!(log.is_settled());
    log.submit().unwrap();
    log.settle().unwrap();
    assert!(calls.take().is_empty(), "nothing is staged, so nothing is asked");

    assert_eq!((log.stage(request_event(1)).unwrap(), log.stage(request_event(1)).unwrap()), (1, 2));
    assert_eq!((log.size(), calls.take()), (1, vec![]), "staged");
    log.submit().unwrap();
    assert_eq!((log.size(), calls.take()), (1, vec!["begin"]), "submitted");
    assert!(!log.is_settled() && !log.collect().unwrap());
    assert_eq!(log.stage(request_event(2)).unwrap(), 3);
    log.checkpoint().unwrap();
    assert_eq!(log.latest_checkpoint().0.size, 1, "a checkpoint covers what is durable");
    assert_eq!(calls.take(), ["slot 0", "sync slots"]);
    log.submit().unwrap();
    assert_eq!((log.size(), calls.take()), (1, vec!["begin"]), "the next is at hand");
    log.stage(request_event(2)).unwrap();
    log.submit().unwrap();
    assert_eq!((log.size(), calls.take()), (3, vec!["end", "begin"]), "no more than two");
    log.settle().unwrap();
    assert_eq!((log.size(), calls.take()), (5, vec!["end", "end"]));
    assert!(log.is_settled());

    // Whoever appends gets what was staged before made durable, in its place.
    assert_eq!((log.stage(request_event(3)).unwrap(), log.append(&[request_event(4)]).unwrap()), (5, 6));
    assert_eq!((log.size(), calls.take()), (7, vec!["begin", "end", "append", "sync"]));
    log.stage(request_event(5)).unwrap();
    log.submit().unwrap();
    log.stage(request_event(6)).unwrap();
    log.commit().unwrap();
    assert_eq!((log.size(), calls.take()), (9, vec!["begin", "end", "append", "sync"]));

    for _ in 0..MAX_BATCH {
        log.stage(request_event(7)).unwrap();
    }
    assert!(matches!(log.stage(request_event(7)), Err(LogError::BatchLength { observed: 1025 })));
    log.submit().unwrap();
    log.stage(request_event(8)).unwrap();
    log.end(stamp(9)).unwrap();
    assert_eq!(log.size(), 9 + 1024 + 2, "the end comes after all that was staged");
    assert!(matches!(log.stage(request_event(9)), Err(LogError::Ended)));
    let reader = LogReader::open(&path).unwrap();
    assert!(reader.is_closed());
    assert_eq!((reader.head(), reader.torn_tail()), (log.head(), None));
}

#[test]
fn an_event_that_is_no_entry_costs_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = Log::create(&path, signer(), boot(), stamp(0)).unwrap();
    let mut bad = fixture::refusal_event(1);
    let decision = bad.decision.as_mut().unwrap();
    decision.checks = vec![decision.checks[0].clone(); anchorhold_audit_log::MAX_CHECKS + 1];
    assert_eq!(log.stage(request_event(1)).unwrap(), 1);
    assert!(matches!(log.stage(bad.clone()), Err(LogError::Entry(_))));
    assert_eq!(log.stage(request_event(2)).unwrap(), 2);
    log.submit().unwrap();
    // A batch is whole or not there, and what was staged before it is there.
    log.stage(request_event(3)).unwrap();
    assert!(matches!(log.append(&[request_event(4), bad]), Err(LogError::Entry(_))));
    assert_eq!(log.append(&[request_event(5)]).unwrap(), 4);
    log.close(stamp(6)).unwrap();
    let reader = LogReader::open(&path).unwrap();
    assert!(reader.is_closed());
    assert_eq!(reader.head().size, 6);
}

#[test]
fn case_27_entries_submitted_beside_each_other_are_read_back_across_segments() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = Log::create(&path, signer(), boot(), stamp(0)).unwrap();
    log.set_segment_limit(30_000);
    let mut staged = 1;
    for round in 0..60_u64 {
        for _ in 0..=round * 7 % 31 {
            assert_eq!(log.stage(request_event(round as i64)).unwrap(), staged);
            staged += 1;
        }
        log.submit().unwrap();
        assert!(log.size() < staged && log.uncovered() <= MAX_UNCOVERED);
    }
    while !log.collect().unwrap() {
        std::thread::yield_now();
    }
    assert_eq!(log.size(), staged);
    log.close(stamp(61)).unwrap();
    let reader = LogReader::open(&path).unwrap();
    assert_eq!((reader.head().size, reader.torn_tail()), (staged + 1, None));
    let segments = std::fs::read_dir(path.join("entries")).unwrap();
    let lengths: Vec<u64> = segments.map(|entry| entry.unwrap().metadata().unwrap().len()).collect();
    assert!(lengths.len() > 10, "{lengths:?}");
    assert!(lengths.iter().all(|length| *length <= 30_000), "{lengths:?}");
}

#[test]
fn a_log_in_which_nothing_happens_has_an_entry_a_minute() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = Log::create(&path, signer(), boot(), stamp(0)).unwrap();
    let beat = i64::from(HEARTBEAT_S);
    assert!(!log.beat(stamp(beat - 1), None).unwrap());
    assert!(log.beat(stamp(beat), None).unwrap());
    log.append(&[request_event(beat + 30)]).unwrap();
    assert!(!log.beat(stamp(2 * beat), None).unwrap(), "there was an entry");
    // Witnesses who go on are told of every minute, whatever else there is; those who do not are not told of twice.
    assert!(log.beat(stamp(2 * beat), Some(2)).unwrap());
    log.append(&[request_event(3 * beat)]).unwrap();
    assert!(log.beat(stamp(3 * beat), Some(4)).unwrap());
    assert!(!log.beat(stamp(4 * beat - 1), Some(6)).unwrap());
    assert!(log.beat(stamp(4 * beat), Some(4)).unwrap());
    log.checkpoint().unwrap();
    let mut told = Vec::new();
    let reader = LogReader::open(&path).unwrap();
    let read = reader.for_each_leaf::<ReadError>(log.size(), |_, leaf| {
        let entry = Entry::from_bytes(leaf).unwrap();
        told.push((entry.kind.name(), entry.log.and_then(|state| state.size)));
        Ok(())
    });
    read.unwrap();
    told.retain(|(kind, _)| kind.starts_with("log."));
    let expected = [
        ("log.open", None),
        ("log.heartbeat", None),
        ("log.anchor", Some(2)),
        ("log.anchor", Some(4)),
        ("log.heartbeat", Some(4)),
    ];
    assert_eq!(told, expected);
}

#[test]
fn files_are_for_their_owner_and_a_log_is_not_begun_twice() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    write_log(&path, 2, End::Closed);
    for name in [SEGMENT, SLOTS, "key.vkey", "evidence.json", "binding.json"] {
        let mode = std::fs::metadata(path.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(matches!(Log::create(&path, signer(), boot(), stamp(0)), Err(LogError::Storage { .. })));
}

#[test]
fn evidence_is_recorded_once_and_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::create(&dir.path().join("log"), signer(), boot(), stamp(0)).unwrap();
    let long = vec![0; anchorhold_audit_log::MAX_EVIDENCE_BYTES + 1];
    assert!(matches!(
        log.record_evidence(&long, &binding(), Tee::Snp, stamp(1)),
        Err(LogError::EvidenceTooLong { .. })
    ));
    assert_eq!(log.record_evidence(EVIDENCE, &binding(), Tee::Snp, stamp(1)).unwrap(), 1);
    assert!(matches!(
        log.record_evidence(EVIDENCE, &binding(), Tee::Snp, stamp(2)),
        Err(LogError::EvidenceRecorded)
    ));
}

#[test]
fn the_log_signs_before_too_much_is_uncovered() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = Log::create(&path, signer(), boot(), stamp(0)).unwrap();
    let batch = vec![request_event(1); 700];
    for _ in 0..5 {
        log.append(&batch).unwrap();
        assert!(log.uncovered() <= MAX_UNCOVERED);
        let reader = LogReader::open(&path).unwrap();
        assert!(reader.head().size - reader.checkpoint().unwrap().head.size <= MAX_UNCOVERED);
    }
    log.append(&vec![request_event(1); MAX_BATCH]).unwrap();
    let over = vec![request_event(1); MAX_BATCH + 1];
    assert!(matches!(log.append(&over), Err(LogError::BatchLength { observed: 1025 })));
}

/// A copy of a log with another segment 0.
fn with_segment(from: &Path, to: &Path, segment: &[u8]) {
    if !to.exists() {
        std::fs::create_dir_all(to.join("entries")).unwrap();
        for name in [SLOTS, "key.vkey", "evidence.json", "binding.json"] {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
    std::fs::write(to.join(SEGMENT), segment).unwrap();
}

/// Where each frame of a segment ends.
fn frame_ends(segment: &[u8]) -> Vec<usize> {
    let mut ends = vec![0];
    while let Some(length) = segment.get(*ends.last().unwrap()..).and_then(|rest| rest.first_chunk::<4>()) {
        ends.push(ends.last().unwrap() + 8 + (u32::from_le_bytes(*length) & !(1 << 31)) as usize);
    }
    ends
}

struct TestLog {
    _dir: tempfile::TempDir,
    path: PathBuf,
    copy: PathBuf,
    segment: Vec<u8>,
}

fn test_log(events: i64, end: End) -> TestLog {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    write_log(&path, events, end);
    let segment = std::fs::read(path.join(SEGMENT)).unwrap();
    TestLog { path, copy: dir.path().join("copy"), segment, _dir: dir }
}

#[test]
fn case_27_a_tail_torn_at_any_byte_is_cut_at_an_entry() {
    // A checkpoint covers entries 0 and 1; the others are durable and uncovered.
    let log = test_log(4, End::Uncovered);
    let ends = frame_ends(&log.segment);
    for length in 0..=log.segment.len() {
        for garbage in [&[][..], &[0; 300], &[0xff; 300]] {
            with_segment(&log.path, &log.copy, &[&log.segment[..length], garbage].concat());
            let whole = ends.iter().filter(|end| **end <= length).count() - 1;
            let end = ends[whole];
            let opened = LogReader::open(&log.copy);
            if whole < 2 {
                // Less than the checkpoint covers: entries were lost that had been acknowledged.
                assert!(matches!(opened, Err(ReadError::Missing { .. } | ReadError::Damaged { .. })));
                continue;
            }
            let reader = LogReader::open(&log.copy).unwrap();
            assert_eq!(reader.head().size, whole as u64, "{length}");
            let torn = length + garbage.len() - end;
            assert_eq!(reader.torn_tail().map_or(0, |tail| tail.bytes), torn as u64, "{length}");
            if !ends.iter().any(|end| end.abs_diff(length) < 3) {
                continue;
            }
            let reader = LogReader::recover(&log.copy).unwrap();
            assert_eq!(std::fs::metadata(log.copy.join(SEGMENT)).unwrap().len(), end as u64);
            let again = LogReader::open(&log.copy).unwrap();
            assert_eq!((again.head(), again.torn_tail()), (reader.head(), None));
            assert!(!again.is_closed());
        }
    }
}

#[test]
fn case_28_every_flipped_bit_of_a_covered_entry_is_found_with_its_index() {
    let log = test_log(3, End::Closed);
    let ends = frame_ends(&log.segment);
    // One bit of every byte; the unit test of frames flips all of one frame's.
    for bit in (0..log.segment.len()).map(|byte| byte * 8 + byte % 8) {
        let mut segment = log.segment.clone();
        segment[bit / 8] ^= 1 << (bit % 8);
        with_segment(&log.path, &log.copy, &segment);
        let index = ends.iter().filter(|end| **end <= bit / 8).count() as u64 - 1;
        match LogReader::open(&log.copy) {
            Err(ReadError::Damaged { index: found, .. }) => assert_eq!(found, index, "bit {bit}"),
            other => panic!("bit {bit}: {other:?}"),
        }
    }
}

#[test]
fn case_28_damage_before_whole_entries_is_no_torn_tail() {
    let log = test_log(6, End::Uncovered);
    let ends = frame_ends(&log.segment);
    for index in 2..ends.len() - 2 {
        let mut segment = log.segment.clone();
        segment[ends[index] + 20] ^= 1;
        with_segment(&log.path, &log.copy, &segment);
        let found = LogReader::open(&log.copy).unwrap_err();
        assert!(matches!(found, ReadError::Damaged { index: at, .. } if at == index as u64), "{found}");
        assert!(LogReader::recover(&log.copy).is_err());
        assert_eq!(std::fs::read(log.copy.join(SEGMENT)).unwrap(), segment, "recovery changed a damaged log");
    }
}

#[test]
fn case_28_reordered_dropped_repeated_and_replaced_entries_are_found_with_their_index() {
    let log = test_log(5, End::Closed);
    let ends = frame_ends(&log.segment);
    let frames: Vec<&[u8]> = ends.windows(2).map(|pair| &log.segment[pair[0]..pair[1]]).collect();
    let other = tempfile::tempdir().unwrap();
    let other = other.path().join("log");
    write_log(&other, 5, End::Closed);
    let other = std::fs::read(other.join(SEGMENT)).unwrap();
    let open = |frames: &[&[u8]]| {
        with_segment(&log.path, &log.copy, &frames.concat());
        LogReader::open(&log.copy).map(|reader| reader.head().size)
    };
    assert_eq!(open(&frames).unwrap(), 8);
    for at in 0..frames.len() - 1 {
        let mut swapped = frames.clone();
        swapped.swap(at, at + 1);
        assert!(matches!(open(&swapped), Err(ReadError::Misplaced { index, .. }) if index == at as u64));
        let mut dropped = frames.clone();
        dropped.remove(at);
        assert!(matches!(open(&dropped), Err(ReadError::Misplaced { index, .. }) if index == at as u64));
        let mut repeated = frames.clone();
        repeated.insert(at, frames[at]);
        assert!(matches!(open(&repeated), Err(ReadError::Misplaced { index, .. }) if index == at as u64 + 1));
    }
    // The same entry of a rerun differs only in its random id: right place, wrong root.
    let mut replaced = frames.clone();
    replaced[4] = &other[frame_ends(&other)[4]..frame_ends(&other)[5]];
    assert!(matches!(open(&replaced), Err(ReadError::Root { size: 8 })));
    assert!(matches!(open(&frames[..7]), Err(ReadError::Missing { covered: 8, observed: 7 })));
    assert!(matches!(open(&[]), Err(ReadError::Missing { covered: 8, observed: 0 })));
}

#[test]
fn case_28_a_foreign_checkpoint_or_key_is_refused() {
    let log = test_log(2, End::Closed);
    with_segment(&log.path, &log.copy, &log.segment);
    // A sound slot with the checkpoint of a log of the same name and another key.
    let other = Signer::from_seed(signer().origin().clone(), &[1; 32]).unwrap();
    let foreign = log.copy.with_file_name("foreign");
    drop(Log::create(&foreign, other, boot(), stamp(0)).unwrap());
    std::fs::copy(foreign.join(SLOTS), log.copy.join(SLOTS)).unwrap();
    assert!(matches!(LogReader::open(&log.copy), Err(ReadError::Checkpoint(_))));
    std::fs::write(log.copy.join("checkpoint.cosigned"), b"nonsense").unwrap();
    std::fs::copy(log.path.join(SLOTS), log.copy.join(SLOTS)).unwrap();
    assert!(matches!(LogReader::open(&log.copy), Err(ReadError::Checkpoint(_))));
    std::fs::remove_file(log.copy.join("checkpoint.cosigned")).unwrap();
    for nonsense in [b"nonsense".as_slice(), &[1; 8192], &[0; 8193]] {
        std::fs::write(log.copy.join(SLOTS), nonsense).unwrap();
        assert!(matches!(LogReader::open(&log.copy), Err(ReadError::Slots)));
    }
    std::fs::write(log.copy.join("key.vkey"), b"nonsense\n").unwrap();
    assert!(matches!(LogReader::open(&log.copy), Err(ReadError::Key)));
}

#[test]
fn case_35_an_export_while_the_log_is_written_is_of_one_moment() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = Log::create(&path, signer(), boot(), stamp(0)).unwrap();
    let batch = vec![request_event(1); MAX_BATCH];
    let reader_path = path.clone();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let exporter = std::thread::spawn(move || {
        let mut rounds = 0;
        loop {
            let mut bundle = Vec::new();
            let summary = export(&reader_path, &mut bundle, &ExportOptions::default()).unwrap();
            let report = anchorhold_audit_log::verify(bundle.as_slice(), &Default::default()).unwrap();
            assert!(report.is_accepted(), "{:?}", report.verdicts);
            assert_eq!(report.checkpoint.unwrap().head, summary.head);
            rounds += 1;
            if stopped.try_recv() != Err(std::sync::mpsc::TryRecvError::Empty) {
                return rounds;
            }
        }
    });
    // Enough for a second segment of 64 MiB.
    while !path.join("entries/00000001.seg").exists() {
        log.append(&batch).unwrap();
    }
    log.append(&batch).unwrap();
    stop.send(()).unwrap();
    assert!(exporter.join().unwrap() > 0);
    let head = log.head();
    let reader = LogReader::open(&path).unwrap();
    assert_eq!((reader.head(), reader.torn_tail()), (head, None));
    // The first segment's end is not the log's: damage there is no torn tail.
    let first = path.join(SEGMENT);
    let length = std::fs::metadata(&first).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&first).unwrap().set_len(length - 1).unwrap();
    assert!(matches!(LogReader::open(&path), Err(ReadError::Damaged { segment: 0, .. })));
}

const KILL_ENV: &str = "AUDIT_LOG_KILLED_WRITER";
/// How often the writer is killed; `KILLS` asks for more.
const KILLS: usize = 12;

/// Not a test of its own: the process that `case_27_what_was_acknowledged_survives_kill_9` kills.
#[test]
#[ignore = "runs as the child of another test"]
fn killed_writer() {
    let Some(path) = std::env::var_os(KILL_ENV) else { return };
    let mut log = Log::create(Path::new(&path), signer(), boot(), stamp(0)).unwrap();
    let mut out = io::stdout();
    for second in 0.. {
        let batch = vec![request_event(second); 1 + second as usize % 7];
        if second % 2 == 0 {
            log.append(&batch).unwrap();
        } else {
            for event in batch {
                log.stage(event).unwrap();
            }
            log.submit().unwrap();
        }
        match second % 5 {
            0 => drop(log.checkpoint().unwrap()),
            3 => log.begin_checkpoint().unwrap(),
            _ => {}
        }
        writeln!(out, "ack {}", log.size()).unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn case_27_what_was_acknowledged_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let kills = std::env::var("KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let mut entries = 0;
    for round in 0..kills {
        let path = dir.path().join(format!("log-{round}"));
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed_writer", "--ignored", "--nocapture"])
            .env(KILL_ENV, &path)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let mut acknowledged = 0;
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        for line in output
            .by_ref()
            .map_while(Result::ok)
            .filter(|line| line.contains("ack "))
            .take(1 + 7 * round % 41)
        {
            acknowledged = line.rsplit(' ').next().unwrap().parse().unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What the child said between the last line read and its death counts too.
        for line in output.map_while(Result::ok).filter(|line| line.contains("ack ")) {
            acknowledged = line.rsplit(' ').next().unwrap().parse().unwrap_or(acknowledged);
        }
        assert!(acknowledged > 0);
        let reader = LogReader::recover(&path).unwrap();
        assert!(reader.head().size >= acknowledged, "{} < {acknowledged}", reader.head().size);
        assert!(!reader.is_closed());
        assert_eq!(LogReader::open(&path).unwrap().head(), reader.head());
        entries += acknowledged;
        std::fs::remove_dir_all(&path).unwrap();
    }
    eprintln!(
        "{kills} kills: all of {entries} acknowledged entries are there, and every log reads to its end"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn case_28_no_change_of_files_panics_or_is_taken_for_a_longer_log(
        at in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 0..40),
        file in prop::sample::select(vec![SEGMENT, SLOTS, "key.vkey"]),
    ) {
        let log = test_log(3, End::Covered);
        with_segment(&log.path, &log.copy, &log.segment);
        let original = LogReader::open(&log.copy).unwrap().head();
        let mut content = std::fs::read(log.copy.join(file)).unwrap();
        let at = at.index(content.len());
        for (offset, byte) in bytes.iter().enumerate() {
            if let Some(place) = content.get_mut(at + offset) {
                *place = *byte;
            }
        }
        std::fs::write(log.copy.join(file), content).unwrap();
        if let Ok(reader) = LogReader::open(&log.copy) {
            prop_assert_eq!(reader.head(), original);
        }
    }
}

#[test]
fn case_30_what_is_longer_than_a_write_can_be_is_no_torn_tail() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    write_log(&path, 2, End::Covered);
    let segment = path.join(SEGMENT);
    let length = std::fs::metadata(&segment).unwrap().len();
    let opened = |tail: u64| {
        std::fs::OpenOptions::new().write(true).open(&segment).unwrap().set_len(length + tail).unwrap();
        LogReader::open(&path)
    };
    let longest = 32 * 1024 * 1024;
    assert_eq!(opened(longest).unwrap().torn_tail().map(|torn| torn.bytes), Some(longest));
    assert!(matches!(opened(longest + 1), Err(ReadError::Damaged { index: 4, .. })));
}

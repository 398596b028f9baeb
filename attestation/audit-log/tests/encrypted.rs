//! What a host that owns the disk can do to entries that are encrypted: not read them, and not change them unseen.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test stops at a surprise"
)]

mod fixture;

use anchorhold_audit_log::live::{LiveFile, LiveLog};
use anchorhold_audit_log::{
    Beginning, CheckpointSlot, Expectations, ExportOptions, Log, LogError, LogPlace, LogReader, MAX_CHECKS,
    ReadError, ReadingKey, Storage, StorageKey, Tee, export, export_jsonl, read_key_copies, verify,
};
use fixture::{
    EVIDENCE, End, binding, boot, refusal_event, request_event, signer, stamp, write_encrypted_log, write_log,
};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

const SEGMENT: &str = "entries/00000000.seg";
const HEADER: usize = 8;

struct TestLog {
    _dir: tempfile::TempDir,
    path: PathBuf,
    segment: Vec<u8>,
    key: ReadingKey,
}

impl TestLog {
    fn new(events: i64, end: End) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let key = write_encrypted_log(&path, events, end);
        let segment = std::fs::read(path.join(SEGMENT)).unwrap();
        Self { path, segment, key, _dir: dir }
    }

    fn place(&self) -> LogPlace<'_> {
        LogPlace::encrypted(&self.path, &self.key)
    }

    /// What the log reads as with this segment in the place of its own.
    fn with(&self, segment: &[u8]) -> Result<LogReader, ReadError> {
        std::fs::write(self.path.join(SEGMENT), segment).unwrap();
        LogReader::open(self.place())
    }
}

/// Where frames end, the first of all at 0.
fn frame_ends(segment: &[u8]) -> Vec<usize> {
    let mut ends = vec![0];
    while let Some(header) = segment.get(ends[ends.len() - 1]..).filter(|rest| !rest.is_empty()) {
        let word = u32::from_le_bytes(*header.first_chunk().unwrap());
        assert_eq!(word & 1 << 30, 1 << 30, "the frame says that it is encrypted");
        ends.push(ends[ends.len() - 1] + HEADER + (word & 0x3fff_ffff) as usize);
    }
    ends
}

fn frames(segment: &[u8]) -> Vec<&[u8]> {
    frame_ends(segment).windows(2).map(|pair| &segment[pair[0]..pair[1]]).collect()
}

fn files(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn nothing_of_an_entry_lies_on_the_disk_in_the_clear() {
    let log = TestLog::new(40, End::Closed);
    let mut lines = Vec::new();
    assert_eq!(export_jsonl(log.place(), &mut lines).unwrap(), 43);
    let shown = String::from_utf8(lines.clone()).unwrap();
    // The names, numbers and field names that entries are made of.
    let words = [
        "acme/chat-70b",
        "infer.complete",
        "key.refuse",
        "\"tenant\"",
        "\"mono\"",
        "snp_debug_allowed",
        "01ARZ3NDEKTSV4",
    ];
    let holds = |bytes: &[u8], word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
    assert!(words.iter().all(|word| shown.contains(word)), "the entries hold what is looked for");
    let mut looked_at = 0;
    for file in files(&log.path) {
        let bytes = std::fs::read(&file).unwrap();
        for word in words {
            assert!(!holds(&bytes, word.as_bytes()), "{word} in {}", file.display());
        }
        // And no eight bytes of any entry beside those that evidence and checkpoints, which are public, share with them.
        if file.ends_with(SEGMENT) {
            for line in lines.split(|byte| *byte == b'\n').filter(|line| line.len() > 64) {
                assert!(line.chunks_exact(8).all(|piece| !holds(&bytes, piece)));
            }
        }
        looked_at += 1;
    }
    assert_eq!(looked_at, 6, "segment, copies, key, checkpoint, evidence and its inputs");
}

#[test]
fn the_bundle_of_an_encrypted_log_is_like_any_other() {
    let log = TestLog::new(9, End::Closed);
    let mut bundle = Vec::new();
    export(log.place(), &mut bundle, &ExportOptions::default()).unwrap();
    let report = verify(bundle.as_slice(), &Expectations::default()).unwrap();
    assert!(report.is_accepted(), "{:?}", report.verdicts);
    assert_eq!(report.manifest.unwrap().count, 12);
    assert_eq!(read_key_copies(&log.path).unwrap().as_deref(), Some(b"copies".as_slice()));
}

#[test]
fn a_key_is_wanted_and_it_is_the_one_of_this_log() {
    let log = TestLog::new(3, End::Closed);
    assert!(matches!(LogReader::open(&log.path), Err(ReadError::KeyWanted)));
    let other = TestLog::new(3, End::Closed);
    let found = LogReader::open(LogPlace::encrypted(&log.path, &other.key)).unwrap_err();
    assert!(matches!(found, ReadError::NotOpened { index: 0 }));
    assert_eq!(found.to_string(), "the key is not that of this log: entry 0 does not open");
    let mut live = LiveLog::open(&log.path).unwrap();
    assert!(matches!(live.refresh(), Err(ReadError::KeyWanted)));
    let dir = tempfile::tempdir().unwrap();
    let plain = dir.path().join("log");
    write_log(&plain, 3, End::Closed);
    let found = LogReader::open(LogPlace::encrypted(&plain, &log.key)).unwrap_err();
    assert!(matches!(found, ReadError::NotEncrypted { index: 0 }));
    assert_eq!(read_key_copies(&plain).unwrap(), None);
}

#[test]
fn case_28_every_flipped_bit_of_an_encrypted_log_is_found_with_its_index() {
    let log = TestLog::new(3, End::Closed);
    let ends = frame_ends(&log.segment);
    for bit in (0..log.segment.len()).map(|byte| byte * 8 + byte % 8) {
        let mut segment = log.segment.clone();
        segment[bit / 8] ^= 1 << (bit % 8);
        let index = ends.iter().filter(|end| **end <= bit / 8).count() as u64 - 1;
        match log.with(&segment) {
            Err(ReadError::Damaged { index: found, .. }) => assert_eq!(found, index, "bit {bit}"),
            other => panic!("bit {bit}: {other:?}"),
        }
    }
}

#[test]
fn case_28_encrypted_entries_that_were_moved_dropped_or_put_in_are_found() {
    let log = TestLog::new(5, End::Closed);
    let sound = frames(&log.segment);
    assert_eq!(log.with(&sound.concat()).unwrap().head().size, 8);
    for at in 0..sound.len() - 1 {
        let not_opened = |frames: &[&[u8]], at: usize| {
            let found = log.with(&frames.concat());
            assert!(
                matches!(found, Err(ReadError::NotOpened { index }) if index == at as u64),
                "{at}: {found:?}"
            );
        };
        let mut changed = sound.clone();
        changed.swap(at, at + 1);
        not_opened(&changed, at);
        let mut changed = sound.clone();
        changed.remove(at);
        not_opened(&changed, at);
        let mut changed = sound.clone();
        changed.insert(at, sound[at]);
        not_opened(&changed, at + 1);
    }
    // The frame of another log, and one that somebody without the key made.
    let other = TestLog::new(5, End::Closed);
    let mut changed = sound.clone();
    changed[4] = frames(&other.segment)[4];
    assert!(matches!(log.with(&changed.concat()), Err(ReadError::NotOpened { index: 4 })));
    let dir = tempfile::tempdir().unwrap();
    write_log(&dir.path().join("log"), 5, End::Closed);
    let plain = std::fs::read(dir.path().join("log").join(SEGMENT)).unwrap();
    let first = HEADER + (u32::from_le_bytes(*plain.first_chunk().unwrap()) & 0x3fff_ffff) as usize;
    let mut changed = sound.clone();
    changed[0] = &plain[..first];
    assert!(matches!(log.with(&changed.concat()), Err(ReadError::NotEncrypted { index: 0 })));
    assert!(matches!(log.with(&sound[..7].concat()), Err(ReadError::Missing { covered: 8, observed: 7 })));
}

#[test]
fn case_27_an_encrypted_tail_torn_at_any_byte_is_cut_at_an_entry() {
    // A checkpoint covers entries 0 and 1; the others are durable and uncovered.
    let log = TestLog::new(3, End::Uncovered);
    let ends = frame_ends(&log.segment);
    for length in 0..=log.segment.len() {
        for garbage in [&[][..], &[0; 300], &[0xff; 300]] {
            let opened = log.with(&[&log.segment[..length], garbage].concat());
            let whole = ends.iter().filter(|end| **end <= length).count() - 1;
            if whole < 2 {
                assert!(matches!(opened, Err(ReadError::Missing { .. } | ReadError::Damaged { .. })));
                continue;
            }
            let reader = opened.unwrap();
            assert_eq!(reader.head().size, whole as u64, "{length}");
            let torn = length + garbage.len() - ends[whole];
            assert_eq!(reader.torn_tail().map_or(0, |tail| tail.bytes), torn as u64, "{length}");
            if !ends.iter().any(|end| end.abs_diff(length) < 3) {
                continue;
            }
            LogReader::recover(log.place()).unwrap();
            assert_eq!(std::fs::metadata(log.path.join(SEGMENT)).unwrap().len(), ends[whole] as u64);
            let again = LogReader::open(log.place()).unwrap();
            assert_eq!((again.head(), again.torn_tail()), (reader.head(), None));
        }
    }
}

#[test]
fn case_28_damage_before_an_encrypted_write_is_no_torn_tail() {
    let log = TestLog::new(6, End::Uncovered);
    let ends = frame_ends(&log.segment);
    for index in 2..ends.len() - 2 {
        let mut segment = log.segment.clone();
        segment[ends[index] + 20] ^= 1;
        let found = log.with(&segment).unwrap_err();
        assert!(matches!(found, ReadError::Damaged { index: at, .. } if at == index as u64), "{found}");
        assert!(LogReader::recover(log.place()).is_err());
        assert_eq!(std::fs::read(log.path.join(SEGMENT)).unwrap(), segment, "recovery changed a damaged log");
    }
}

#[test]
fn auditors_follow_an_encrypted_log_with_the_key_in_memory() {
    let log = TestLog::new(300, End::Covered);
    let mut live = LiveLog::open(log.place()).unwrap();
    live.refresh().unwrap();
    assert_eq!(live.size(), 302);
    let mut lines = Vec::new();
    export_jsonl(log.place(), &mut lines).unwrap();
    let lines: Vec<&[u8]> = lines.split(|byte| *byte == b'\n').collect();
    // The second bundle begins in the middle of the log, at an index that the nonces have to agree with.
    let file: LiveFile = "tile/entries/001.p/46".parse().unwrap();
    let bundle = live.read(file).unwrap().unwrap();
    let (length, rest) = bundle.split_first_chunk().unwrap();
    assert_eq!(&rest[..usize::from(u16::from_be_bytes(*length))], lines[256]);
}

/// Keeps all that was ever handed to the medium, and fails one call of all.
struct Kept {
    written: Rc<RefCell<Vec<u8>>>,
    calls: usize,
    fails_at: usize,
}

impl Kept {
    fn step(&mut self) -> io::Result<()> {
        self.calls += 1;
        if self.calls == self.fails_at + 1 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Storage for Kept {
    fn begin_segment(&mut self, _: u32) -> io::Result<()> {
        self.step()
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written.borrow_mut().extend_from_slice(bytes);
        self.step()
    }

    fn sync(&mut self) -> io::Result<()> {
        self.step()
    }

    fn write_slot(&mut self, _: CheckpointSlot, _: &[u8]) -> io::Result<()> {
        self.step()
    }

    fn sync_slots(&mut self) -> io::Result<()> {
        self.step()
    }

    fn replace(&mut self, _: &str, _: &[u8]) -> io::Result<()> {
        self.step()
    }
}

/// AES-GCM under one key gives itself away when a nonce comes twice, so no index may ever be encrypted twice, whatever fails.
#[test]
fn no_index_is_encrypted_twice_whichever_call_of_the_medium_fails() {
    let mut runs = 0;
    for fails_at in 0.. {
        let written = Rc::new(RefCell::new(Vec::new()));
        let storage = Kept { written: Rc::clone(&written), calls: 0, fails_at };
        let (key, bytes) = StorageKey::generate().unwrap();
        let beginning = Beginning::new(signer(), boot(), stamp(0)).encrypted(key, b"copies".to_vec());
        let mut failures = 0;
        let check = refusal_event(0).decision.unwrap().checks.swap_remove(0);
        if let Ok(mut log) = Log::begin_in(storage, beginning) {
            // A writer that goes on after each failure, as none should.
            for second in 1..5 {
                failures += usize::from(log.append(&[request_event(second), request_event(second)]).is_err());
                failures += usize::from(
                    log.append(&[]).is_err_and(|error| !matches!(error, LogError::BatchLength { .. })),
                );
                failures += usize::from(log.checkpoint().is_err());
                // A batch whose last event is none gives up its indices, which others then have.
                let mut none = refusal_event(second);
                none.decision.as_mut().unwrap().checks.resize(MAX_CHECKS + 1, check.clone());
                assert!(log.append(&[request_event(second), none]).is_err());
                for _ in 0..2 {
                    failures += usize::from(log.stage(request_event(second)).is_err());
                    failures += usize::from(log.submit().is_err());
                }
                failures += usize::from(log.settle().is_err());
            }
            failures += usize::from(log.record_evidence(EVIDENCE, &binding(), Tee::Snp, stamp(6)).is_err());
            failures += usize::from(log.end(stamp(7)).is_err());
        } else {
            failures += 1;
        }
        let written = written.borrow();
        let mut opened = BTreeMap::new();
        let (dir, key) = (tempfile::tempdir().unwrap(), ReadingKey::new(&bytes));
        for (at, frame) in frames(&written).into_iter().enumerate() {
            // Frame by frame in the order of their writing: each opens at its own place, which no other has.
            assert_eq!(opened.insert(frame.to_vec(), at), None);
        }
        std::fs::create_dir(dir.path().join("entries")).unwrap();
        std::fs::write(dir.path().join(SEGMENT), &*written).unwrap();
        std::fs::write(dir.path().join("key.vkey"), format!("{}\n", signer().key())).unwrap();
        match LogReader::open(LogPlace::encrypted(dir.path(), &key)) {
            Ok(reader) => assert_eq!(reader.head().size, opened.len() as u64),
            Err(error) => assert!(
                matches!(error, ReadError::Empty | ReadError::Io { .. }) && opened.is_empty(),
                "{error}"
            ),
        }
        runs += 1;
        if failures == 0 {
            break;
        }
    }
    assert!(runs > 15, "{runs}");
}

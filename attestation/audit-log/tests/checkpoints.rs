//! A log's own checkpoint: in one of two slots, beside the entries, and what is left of it when it is torn or its file is gone.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test stops at a surprise")]

mod fixture;

use anchorhold_audit_log::merkle::verify_consistency;
use anchorhold_audit_log::{
    Beginning, Checkpoint, Log, LogError, LogReader, MAX_BATCH, MAX_UNCOVERED, Origin, ReadError, Signer,
};
use fixture::{Told, boot, request_event, signer, stamp};
use std::path::Path;

const SLOTS: &str = "checkpoint.slots";
const SLOT_BYTES: usize = 4096;

fn log(path: &Path) -> Log {
    Log::create(path, signer(), boot(), stamp(0)).unwrap()
}

fn covered(path: &Path) -> u64 {
    LogReader::open(path).unwrap().checkpoint().unwrap().head.size
}

#[test]
fn case_30_what_needs_a_checkpoint_is_acknowledged_when_it_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let (storage, calls) = Told::new(&dir.path().join("log"));
    let mut log = Log::begin_in(storage, Beginning::new(signer(), boot(), stamp(0))).unwrap();
    calls.take();
    let half = MAX_BATCH / 2;
    let submit = |log: &mut Log<Told>| {
        for _ in 0..half {
            log.stage(request_event(1)).unwrap();
        }
        log.submit().unwrap();
    };
    submit(&mut log);
    submit(&mut log);
    assert_eq!(calls.take(), ["begin", "begin"]);
    // With a third group more would be uncovered than may be: its checkpoint covers the first.
    submit(&mut log);
    assert_eq!(calls.take(), ["end", "slot 0", "begin slots", "begin"]);
    assert_eq!((log.size(), log.uncovered()), (1 + half as u64, half as u64));
    log.settle().unwrap();
    assert_eq!(calls.take(), ["end", "end slots", "end"]);
    assert_eq!((log.size(), log.uncovered()), (1 + 3 * half as u64, 2 * half as u64));
    // The largest group fits with nothing beside it.
    for _ in 0..MAX_BATCH {
        log.stage(request_event(1)).unwrap();
    }
    log.submit().unwrap();
    assert_eq!(calls.take(), ["slot 1", "begin slots", "begin"]);
    log.settle().unwrap();
    assert_eq!((calls.take(), log.uncovered()), (vec!["end", "end slots"], MAX_BATCH as u64));

    // A checkpoint that a caller begins is the latest when the next wait is over, and there is one at a time.
    log.begin_checkpoint().unwrap();
    log.begin_checkpoint().unwrap();
    assert_eq!((calls.take(), log.uncovered()), (vec!["slot 0", "begin slots"], MAX_BATCH as u64));
    log.settle().unwrap();
    assert_eq!((calls.take(), log.uncovered()), (vec!["end slots"], 0));
    log.begin_checkpoint().unwrap();
    log.checkpoint().unwrap();
    assert_eq!(calls.take(), ["slot 1", "begin slots", "end slots", "slot 0", "sync slots"]);

    // What is appended at once waits for its checkpoint as well.
    log.append(&vec![request_event(2); MAX_BATCH]).unwrap();
    log.append(&[request_event(3)]).unwrap();
    assert_eq!(calls.take(), ["append", "sync", "slot 1", "begin slots", "append", "sync", "end slots"]);
    assert_eq!(log.uncovered(), 1);
}

#[test]
fn case_27_a_checkpoint_torn_at_any_byte_leaves_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = log(&path);
    log.append(&[request_event(1)]).unwrap();
    log.checkpoint().unwrap();
    let before = std::fs::read(path.join(SLOTS)).unwrap();
    log.append(&[request_event(2)]).unwrap();
    log.checkpoint().unwrap();
    let after = std::fs::read(path.join(SLOTS)).unwrap();
    assert_eq!(before[..SLOT_BYTES], after[..SLOT_BYTES], "the checkpoint before is not touched");
    let end = (0..after.len()).filter(|at| before[*at] != after[*at]).max().unwrap();
    for at in SLOT_BYTES..=end + 1 {
        // The first bytes arrived, or the last ones.
        for torn in [[&after[..at], &before[at..]].concat(), [&before[..at], &after[at..]].concat()] {
            std::fs::write(path.join(SLOTS), &torn).unwrap();
            let expected = if torn == after { 3 } else { 2 };
            assert_eq!(covered(&path), expected, "{at}");
            assert_eq!(LogReader::recover(&path).unwrap().head().size, 3);
        }
    }
    // Both at once is no crash.
    let mut damaged = after.clone();
    damaged[20] ^= 1;
    damaged[SLOT_BYTES + 20] ^= 1;
    std::fs::write(path.join(SLOTS), &damaged).unwrap();
    assert!(matches!(LogReader::open(&path), Err(ReadError::Slots)));
    assert!(matches!(LogReader::recover(&path), Err(ReadError::Slots)));
}

/// Nothing renames the files that a log writes, so nobody would notice.
#[test]
fn case_30_a_log_whose_files_were_removed_takes_nothing_more() {
    for name in [SLOTS, "entries/00000000.seg"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = log(&path);
        log.append(&[request_event(1)]).unwrap();
        std::fs::remove_file(path.join(name)).unwrap();
        assert!(matches!(log.checkpoint(), Err(LogError::Storage { .. })), "{name}");
        assert!(matches!(log.append(&[request_event(2)]), Err(LogError::Poisoned)), "{name}");
    }
}

#[test]
fn the_longest_name_of_a_log_fits_into_a_slot_with_every_size() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let origin = Origin::new(&"x".repeat(200)).unwrap();
    let mut log = Log::create(&path, Signer::from_seed(origin, &[1; 32]).unwrap(), boot(), stamp(0)).unwrap();
    let note = log.checkpoint().unwrap();
    assert!(note.len() + "18446744073709551615".len() < 1024);
    assert_eq!(LogReader::open(&path).unwrap().checkpoint_note(), note);
}

#[test]
fn a_checkpoint_is_read_whole_while_the_next_ones_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = log(&path);
    let key = log.key().clone();
    let of_reader = path.clone();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let reader = std::thread::spawn(move || {
        let mut sizes = vec![0];
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            let log = LogReader::open(&of_reader).unwrap();
            let read = Checkpoint::verify(log.checkpoint_note(), &key).unwrap();
            assert!(read.head.size >= *sizes.last().unwrap(), "{} after {sizes:?}", read.head.size);
            sizes.push(read.head.size);
        }
        sizes
    });
    for second in 0..300 {
        log.append(&[request_event(second)]).unwrap();
        log.begin_checkpoint().unwrap();
        assert!(log.uncovered() <= MAX_UNCOVERED);
    }
    stop.send(()).unwrap();
    assert!(reader.join().unwrap().len() > 1);
}

#[test]
fn a_log_proves_to_witnesses_that_it_grew_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = log(&dir.path().join("log"));
    log.keep_growth();
    let mut heads = vec![log.head()];
    for second in 0..9 {
        log.append(&[request_event(second)]).unwrap();
        log.checkpoint().unwrap();
        heads.push(log.head());
    }
    for old in &heads {
        let proof = log.prove(old.size, log.size()).unwrap();
        assert_eq!(verify_consistency(old, &log.head(), &proof), Ok(()), "from {}", old.size);
    }
    assert_eq!((log.prove(11, 10), log.prove(3, 11)), (None, None));
}

//! A growing log read as tiles: at every moment what the writer of tiles would have written, and never more than is covered.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test stops at a surprise")]

mod fixture;

use anchorhold_audit_log::live::{LiveFile, LiveLog};
use anchorhold_audit_log::tlog::tiles::{Tile, TileError, TileKind, Tiler};
use anchorhold_audit_log::{Checkpoint, Log, ReadError};
use fixture::{boot, request_event, signer, stamp};
use std::collections::BTreeMap;
use std::path::Path;

/// Every file of the log's first `size` entries, from its own export.
fn wanted(path: &Path, size: u64) -> BTreeMap<String, Vec<u8>> {
    let mut lines = Vec::new();
    anchorhold_audit_log::export_jsonl(path, &mut lines).unwrap();
    let (mut tiler, mut files) = (Tiler::new(), BTreeMap::new());
    let mut keep = |tile: Tile, content: &[u8]| {
        files.insert(tile.to_string(), content.to_vec());
        Ok::<(), TileError>(())
    };
    for leaf in lines.split(|byte| *byte == b'\n').take(usize::try_from(size).unwrap()) {
        tiler.push(leaf, &mut keep).unwrap();
    }
    tiler.partial(&mut keep).unwrap();
    files
}

fn read(live: &LiveLog, path: &str) -> Option<Vec<u8>> {
    live.read(path.parse::<LiveFile>().unwrap()).unwrap()
}

#[test]
fn a_growing_log_reads_as_its_tiles() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = Log::create(&path, signer(), boot(), stamp(0)).unwrap();
    let mut live = LiveLog::open(&path).unwrap();
    assert_eq!((live.size(), read(&live, "checkpoint"), read(&live, "tile/0/000.p/1")), (0, None, None));
    for more in [1, 200, 55, 1, 255, 600] {
        let events: Vec<_> = (0..more).map(request_event).collect();
        log.append(&events).unwrap();
        let before = live.size();
        live.refresh().unwrap();
        if before > 0 {
            // What no checkpoint covers is not there, and what was there still is.
            assert_eq!(live.size(), before);
        }
        log.checkpoint().unwrap();
        live.refresh().unwrap();
        assert_eq!(live.size(), log.size());
        let note = read(&live, "checkpoint").unwrap();
        assert_eq!(Checkpoint::verify(&note, signer().key()).unwrap().head, log.head());
        for (name, content) in wanted(&path, log.size()) {
            assert_eq!(read(&live, &name).as_ref(), Some(&content), "{name}");
        }
        for kind in [TileKind::Entries, TileKind::Hashes { level: 0 }, TileKind::Hashes { level: 1 }] {
            for beyond in [log.size() / 256 + 1, 1 << 40] {
                let tile = Tile::of_tree(kind, beyond, u64::MAX).unwrap();
                assert_eq!(live.read(LiveFile::Tile(tile)).unwrap(), None, "{tile}");
            }
        }
    }
    // A narrower partial tile than the present one is the beginning of it.
    let wide = read(&live, "tile/0/004.p/89").unwrap();
    assert_eq!(read(&live, "tile/0/004.p/3").unwrap(), wide[..96]);
}

#[test]
fn case_28_a_log_that_was_set_back_or_changed_is_not_served() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = Log::create(&path, signer(), boot(), stamp(0)).unwrap();
    let slots = path.join("checkpoint.slots");
    let early = std::fs::read(&slots).unwrap();
    let mut live = LiveLog::open(&path).unwrap();
    log.append(&[request_event(1), request_event(2)]).unwrap();
    log.checkpoint().unwrap();
    live.refresh().unwrap();
    let late = std::fs::read(&slots).unwrap();
    std::fs::write(&slots, early).unwrap();
    assert!(matches!(live.refresh(), Err(ReadError::Missing { covered: 3, observed: 1 })));
    std::fs::write(&slots, late).unwrap();
    let segment = path.join("entries/00000000.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    let last = bytes.len() - 3;
    bytes[last] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let mut fresh = LiveLog::open(&path).unwrap();
    assert!(matches!(fresh.refresh(), Err(ReadError::Damaged { index: 2, .. })));
    assert!(matches!(live.read("tile/0/000.p/3".parse().unwrap()), Err(ReadError::Damaged { index: 2, .. })));
}

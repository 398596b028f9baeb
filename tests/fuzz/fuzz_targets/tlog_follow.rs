//! Following a log: whatever a server answers, nothing is given out but the signed entries, each at its index, in order.
//!
//! The log's checkpoints and tiles are honest; the input is a list of changes to what is answered.
#![no_main]

use anchorhold_audit_log::merkle::{Frontier, leaf_hash};
use anchorhold_audit_log::tlog::follow::Follower;
use anchorhold_audit_log::tlog::tiles::{Tile, TileError, Tiler};
use anchorhold_audit_log::{
    BootId, Checkpoint, Entry, Event, EventType, Origin, Outcome, Signer, Stamp, VerifierKey, encode_entry,
};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use std::sync::LazyLock;

const ENTRIES: u64 = 300;
const SIZES: [usize; 4] = [3, 256, 257, 300];

struct Log {
    key: VerifierKey,
    entries: Vec<Entry>,
    notes: Vec<Vec<u8>>,
    tiles: BTreeMap<Tile, Vec<u8>>,
}

static LOG: LazyLock<Log> = LazyLock::new(|| {
    let origin = Origin::new("example.com/log").expect("a name");
    let signer = Signer::from_seed(origin, &[5; 32]).expect("a seed");
    let (mut tiler, mut frontier) = (Tiler::new(), Frontier::new());
    let mut log =
        Log { key: signer.key().clone(), entries: Vec::new(), notes: Vec::new(), tiles: BTreeMap::new() };
    for seq in 0..ENTRIES {
        let at = Stamp { wall_ns: 1_800_000_000_000_000_000, mono_ns: seq };
        let event = Event::new(EventType::LogExport, Outcome::Success, at);
        let leaf = encode_entry(&event, seq, BootId::new([6; 16])).expect("an entry");
        let tiles = &mut log.tiles;
        let mut keep = |tile: Tile, content: &[u8]| -> Result<(), TileError> {
            tiles.insert(tile, content.to_vec());
            Ok(())
        };
        tiler.push(&leaf, &mut keep).expect("short enough");
        tiler.partial(&mut keep).expect("kept");
        frontier.push(leaf_hash(&leaf));
        log.entries.push(Entry::from_bytes(&leaf).expect("an entry"));
        if SIZES.contains(&log.entries.len()) {
            let checkpoint = Checkpoint::new("example.com/log", frontier.head());
            log.notes.push(checkpoint.sign(&signer).expect("a text"));
        }
    }
    log
});

fuzz_target!(|bytes: &[u8]| {
    let log = &*LOG;
    let mut changes = bytes.chunks_exact(4);
    let mut follower = Follower::new(log.key.clone());
    let mut next = 0;
    for step in 0..SIZES.len() + 2 {
        let choice = changes.next().map_or(step, |change| usize::from(change[0]));
        let note = &log.notes[choice % log.notes.len()];
        let read = |tile: Tile| -> Result<Vec<u8>, ()> {
            let mut content = log.tiles.get(&tile).cloned().ok_or(())?;
            if let Some(&[what, high, low, byte]) = changes.next() {
                let at = usize::from(u16::from_be_bytes([high, low])) % content.len().max(1);
                match what % 4 {
                    0 => content[at] ^= byte,
                    1 => content.truncate(at),
                    2 => content.push(byte),
                    _ => {}
                }
            }
            Ok(content)
        };
        let taken = follower.take(note, read, |entry| {
            assert!(entry.seq <= next && *entry == log.entries[entry.seq as usize]);
            next = next.max(entry.seq + 1);
            Ok(())
        });
        // What it remembers is where another run may begin.
        if let (Ok(()), Some(note)) = (taken, follower.note()) {
            let resumed = Follower::after(log.key.clone(), note).expect("it was signed");
            if bytes.len() % 2 == 1 {
                follower = resumed;
            }
        }
    }
});

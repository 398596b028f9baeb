//! Tiles: no path or content panics, each path has one spelling, and what is read fits its width.
#![no_main]

use anchorhold_audit_log::merkle::Node;
use anchorhold_audit_log::tlog::tiles::{Tile, TileError, push_entry, read_entries, read_hashes, read_node};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(tile) = text.parse::<Tile>()
    {
        assert_eq!(tile.to_string(), text);
        assert!((1..=256).contains(&tile.width()));
    }
    let Some((head, content)) = bytes.split_first_chunk::<19>() else { return };
    let word = |at: usize| u64::from_be_bytes(std::array::from_fn(|byte| head[at + byte]));
    let width = u16::from_be_bytes([head[16], head[17]]);
    if let Ok(hashes) = read_hashes(content, width) {
        assert_eq!(hashes.len(), usize::from(width));
    }
    if let Ok(entries) = read_entries(content, width) {
        let mut again = Vec::new();
        entries.iter().for_each(|entry| push_entry(&mut again, entry).expect("it came out of a bundle"));
        assert_eq!((again.as_slice(), entries.len()), (content, usize::from(width)));
    }
    let node = Node { level: head[18], index: word(0) };
    let _ = read_node::<TileError>(node, word(8), |tile| {
        assert!(tile.is_within(word(8)));
        Ok(content.to_vec())
    });
});

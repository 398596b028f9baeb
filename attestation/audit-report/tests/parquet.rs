//! Parquet files, byte for byte those that `tests/vectors/audit/check_parquet.py` reads with pyarrow and compares.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at a surprise")]

use anchorhold_audit_log::Entry;
use anchorhold_audit_report::parquet::{ROWS_PER_GROUP, Writer};
use std::path::PathBuf;

fn vectors() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/audit"))
}

fn entries() -> Vec<Entry> {
    let text = std::fs::read_to_string(vectors().join("entries.jsonl")).unwrap();
    text.lines().map(|line| Entry::from_bytes(line.as_bytes()).unwrap()).collect()
}

/// A file of the published entries, again and again with new indexes.
fn file(rows: usize) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new()).unwrap();
    for (seq, entry) in entries().into_iter().cycle().take(rows).enumerate() {
        writer.write(&Entry { seq: seq as u64, ..entry }).unwrap();
    }
    writer.finish().unwrap()
}

/// Writes the file anew when `WRITE_PARQUET` is set; then run the script.
#[test]
fn the_published_entries_are_the_published_columns() {
    let path = vectors().join("entries.parquet");
    if std::env::var_os("WRITE_PARQUET").is_some() {
        std::fs::write(&path, file(5)).unwrap();
    }
    assert!(std::fs::read(path).unwrap() == file(5), "differs; see the script");
}

#[test]
fn memory_and_groups_are_bounded() {
    let rows = 2 * ROWS_PER_GROUP + 7;
    let bytes = file(rows);
    if let Some(path) = std::env::var_os("PARQUET_OUT") {
        std::fs::write(path, &bytes).unwrap();
    }
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
    // Repeated words are in dictionaries: less than the 300 bytes or so of a plain row.
    assert!(bytes.len() / rows < 150, "{} bytes a row", bytes.len() / rows);
    let empty = file(0);
    let footer = u32::from_le_bytes(empty[empty.len() - 8..empty.len() - 4].try_into().unwrap());
    assert_eq!(empty.len(), 4 + footer as usize + 8);
}

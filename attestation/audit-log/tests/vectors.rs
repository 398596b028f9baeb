//! The log in `tests/vectors/audit`, which `check_log.py` verifies without this code.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test stops at a surprise"
)]

mod fixture;

use anchorhold_audit_log::merkle::{TreeHead, leaf_hash, root};
use anchorhold_audit_log::{
    Checkpoint, Entry, Expectations, Hash, LogReader, VerifierKey, export_jsonl, verify,
};
use fixture::{End, VECTORS, bundle_of, pack, unpack, write_log};

fn read(name: &str) -> Vec<u8> {
    std::fs::read(format!("{VECTORS}/{name}")).unwrap()
}

#[test]
fn the_published_log_verifies() {
    let key = String::from_utf8(read("log.vkey")).unwrap();
    let key = VerifierKey::parse(key.trim_end()).unwrap();
    assert_eq!(key, *fixture::signer().key());
    let checkpoint = Checkpoint::verify(&read("checkpoint.note"), &key).unwrap();
    let entries = read("entries.jsonl");
    let leaves: Vec<&[u8]> = entries.strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\n').collect();
    for (index, leaf) in leaves.iter().enumerate() {
        assert_eq!(Entry::from_bytes(leaf).unwrap().seq, index as u64);
    }
    let hashes: Vec<Hash> = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
    assert_eq!(checkpoint.head, TreeHead { size: 5, root: root(&hashes) });
}

#[test]
fn the_published_bundle_is_accepted_and_holds_the_published_log() {
    is_the_published_log(&read("bundle.tar"), fixture::ENTRIES);
    is_the_published_log(&read("bundle-v1.tar"), "entries.jsonl");
}

/// What one version writes, later ones read for as long as logs are kept, and so do other people's checkers. A limit that shrinks refuses
/// what was allowed, one that grows writes what they refuse.
#[test]
fn the_limits_of_the_formats_are_what_they_were() {
    const KIB: usize = 1024;
    for (what, limit, was) in [
        ("an entry", anchorhold_audit_log::MAX_ENTRY_BYTES, 16 * KIB),
        ("a decision's claims", anchorhold_audit_log::claims::MAX_CLAIMS_BYTES, 11 * KIB),
        ("evidence", anchorhold_audit_log::MAX_EVIDENCE_BYTES, KIB * KIB),
        ("a note", anchorhold_audit_log::note::MAX_NOTE_BYTES, 128 * KIB),
        ("an anchor", anchorhold_audit_log::anchors::MAX_ANCHOR_BYTES, 4 * KIB),
        ("the anchors", anchorhold_audit_log::anchors::MAX_ANCHORS_FILE_BYTES, KIB * (8 * KIB + 4)),
        ("a request to a witness", anchorhold_audit_log::witness::MAX_REQUEST_BYTES, 64 * KIB),
        ("a policy", anchorhold_audit_log::tlog::policy::MAX_POLICY_BYTES, 64 * KIB),
        ("a proof's extra data", anchorhold_audit_log::tlog::proof::MAX_EXTRA_BYTES, 16 * KIB),
        ("an entry bundle", anchorhold_audit_log::tlog::tiles::MAX_BUNDLE_BYTES, 256 * (16 * KIB + 2)),
    ] {
        assert_eq!(limit, was, "{what}");
    }
    // A size of a member of a bundle is eleven octal digits.
    assert_eq!(anchorhold_audit_log::tar::MAX_MEMBER_BYTES, 0o777_7777_7777);
}

fn is_the_published_log(bundle: &[u8], entries: &str) {
    let audit_key = Some(fixture::signer().key().public_key());
    let expectations =
        Expectations { audit_key, earlier: vec![read("checkpoint.note")], ..Default::default() };
    let report = verify(bundle, &expectations).unwrap();
    assert!(report.is_accepted(), "{:?}", report.verdicts);
    let mut members = unpack(bundle);
    assert_eq!(*fixture::member(&mut members, entries), read("entries.jsonl"));
}

/// Writes the files anew, with other ids, when asked to.
#[test]
#[ignore = "writes tests/vectors/audit"]
fn write_the_published_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    write_log(&path, 2, End::Closed);
    let mut entries = Vec::new();
    export_jsonl(&path, &mut entries).unwrap();
    std::fs::write(format!("{VECTORS}/entries.jsonl"), entries).unwrap();
    let bundle = bundle_of(&path);
    std::fs::write(format!("{VECTORS}/bundle-v1.tar"), pack(&fixture::format_1(&bundle, true))).unwrap();
    std::fs::write(format!("{VECTORS}/bundle.tar"), bundle).unwrap();
    let log = LogReader::open(&path).unwrap();
    std::fs::write(format!("{VECTORS}/checkpoint.note"), log.checkpoint_note()).unwrap();
    std::fs::copy(path.join("key.vkey"), format!("{VECTORS}/log.vkey")).unwrap();
}

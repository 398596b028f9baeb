//! Ciphertext checked piece by piece and without a key, as a cache does.

use std::fs;

use anchorhold_sealed_weights::{Error, Leaves, Role, SegmentRule};

use crate::support::{Fixture, SEGMENT, entry};

fn read(fixture: &Fixture, name: &str) -> Vec<u8> {
    fs::read(fixture.package().join(name)).unwrap()
}

fn place(range: &std::ops::Range<u64>) -> std::ops::Range<usize> {
    usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()
}

#[test]
fn segments_cover_the_object_and_each_is_found_under_its_leaf_in_any_order() {
    let fixture = Fixture::new();
    let entry = entry(&fixture.package(), Role::Weights);
    let bytes = read(&fixture, &entry.path());
    let leaves = Leaves::from_tree(&entry, &read(&fixture, &format!("{}.tree", entry.path()))).unwrap();
    assert_eq!(leaves.entry(), &entry);
    assert!(bytes.starts_with(entry.header_bytes()));
    let mut end = bytes.len() as u64;
    for index in (0..entry.segment_count()).rev() {
        let range = entry.segment_range(index).unwrap();
        assert_eq!(range.end, end);
        end = range.start;
        leaves.check(index, &bytes[place(&range)]).unwrap();
    }
    assert_eq!(end, entry.header_bytes().len() as u64);
    assert_eq!(entry.segment_range(entry.segment_count()), None);
    assert_eq!(entry.segment_range(u64::MAX), None);
}

#[test]
fn case_15_refuses_a_segment_that_is_not_the_one_its_leaf_names() {
    let fixture = Fixture::new();
    let entry = entry(&fixture.package(), Role::Weights);
    let bytes = read(&fixture, &entry.path());
    let leaves = Leaves::from_tree(&entry, &read(&fixture, &format!("{}.tree", entry.path()))).unwrap();
    let segment = |index| {
        let range = entry.segment_range(index).unwrap();
        bytes[place(&range)].to_vec()
    };
    let refused = |index, bytes: &[u8], rule: SegmentRule| match leaves.check(index, bytes) {
        Err(Error::Segment { object, index: at, rule: by }) => {
            assert_eq!((object, at, by), (entry.id(), index, rule));
        }
        other => panic!("{other:?}"),
    };
    let mut flipped = segment(0);
    flipped[usize::try_from(SEGMENT).unwrap() - 1] ^= 1;
    refused(0, &flipped, SegmentRule::NotInTree);
    refused(0, &segment(1), SegmentRule::NotInTree);
    refused(0, &segment(0)[1..], SegmentRule::Length);
    refused(entry.segment_count(), &segment(0), SegmentRule::Absent);
}

#[test]
fn refuses_a_tree_that_does_not_lead_to_the_signed_root() {
    let fixture = Fixture::new();
    let entry = entry(&fixture.package(), Role::Weights);
    let tree = read(&fixture, &format!("{}.tree", entry.path()));
    assert_eq!(tree.len() as u64, entry.tree_len());
    let mut flipped = tree.clone();
    flipped[0] ^= 1;
    assert_eq!(Leaves::from_tree(&entry, &flipped).unwrap_err(), Error::Tree { object: entry.id() });
    let (expected, actual) = (entry.tree_len(), entry.tree_len() - 32);
    let short = Leaves::from_tree(&entry, &tree[32..]).unwrap_err();
    assert_eq!(short, Error::Truncated { part: "tree", expected, actual });
    let long = Leaves::from_tree(&entry, &[tree, vec![0; 32]].concat()).unwrap_err();
    assert_eq!(long, Error::Trailing { part: "tree", expected, actual: expected + 32 });
}

#[test]
fn the_card_is_checked_whole() {
    let fixture = Fixture::new();
    let card = entry(&fixture.package(), Role::Card);
    let bytes = read(&fixture, &card.path());
    card.check_whole(&bytes).unwrap();
    let changed = |at: usize| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        card.check_whole(&bytes).unwrap_err()
    };
    assert_eq!(changed(80), Error::Tree { object: card.id() });
    assert!(matches!(changed(73), Error::Header { .. }));
    assert!(matches!(card.check_whole(&bytes[1..]).unwrap_err(), Error::Truncated { .. }));
    assert!(matches!(card.check_whole(&[&bytes[..], &[0]].concat()).unwrap_err(), Error::Trailing { .. }));
}

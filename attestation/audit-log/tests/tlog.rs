//! Tiles, proofs and policies of C2SP against `tests/vectors/audit/tlog.json`, which `make_tlog.py` made and judged.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test stops at a surprise")]

use anchorhold_audit_log::merkle::{
    self, Node, Place, consistency_proof_from, inclusion_proof_from, leaf_hash, verify_inclusion,
};
use anchorhold_audit_log::tlog::policy::{
    MAX_POLICY_BYTES, MAX_POLICY_ITEMS, Policy, PolicyError, PolicyFault, PolicyRefusal,
};
use anchorhold_audit_log::tlog::proof::{MAX_EXTRA_BYTES, MAX_PROOF_BYTES, TlogProof, TlogProofError};
use anchorhold_audit_log::tlog::tiles::{
    Tile, TileError, TileKind, Tiler, push_entry, read_entries, read_hashes, read_node,
};
use anchorhold_audit_log::{Hash, PublicKey, VerifierKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/audit/tlog.json");

#[derive(Deserialize)]
struct Vectors {
    trees: Vec<Tree>,
    paths: Vec<String>,
    bad_paths: Vec<String>,
    notes: BTreeMap<String, String>,
    policies: Vec<PolicyCase>,
    proof_policy: String,
    proofs: Vec<ProofCase>,
}

#[derive(Deserialize)]
struct Tree {
    size: u64,
    root: String,
    tiles: usize,
    listing_sha256: String,
}

#[derive(Deserialize)]
struct PolicyCase {
    name: String,
    policy: String,
    ok: bool,
    accepts: Vec<String>,
}

#[derive(Deserialize)]
struct ProofCase {
    name: String,
    proof: String,
    index: u64,
    ok: bool,
}

fn vectors() -> Vectors {
    serde_json::from_slice(&std::fs::read(VECTORS).unwrap()).unwrap()
}

fn leaf(index: u64) -> Vec<u8> {
    format!("leaf {index}").into_bytes()
}

/// Every file of the log with so many leaves.
fn files(size: u64) -> (Tiler, BTreeMap<Tile, Vec<u8>>) {
    let mut tiler = Tiler::new();
    let mut files = BTreeMap::new();
    for index in 0..size {
        let take = |tile, content: &[u8]| {
            assert!(files.insert(tile, content.to_vec()).is_none(), "{tile} twice");
            Ok::<(), TileError>(())
        };
        tiler.push(&leaf(index), take).unwrap();
    }
    let take = |tile, content: &[u8]| {
        assert!(files.insert(tile, content.to_vec()).is_none(), "{tile} twice");
        Ok::<(), TileError>(())
    };
    tiler.partial(take).unwrap();
    (tiler, files)
}

#[test]
fn tiles_of_whole_logs_are_those_of_another_implementation() {
    let trees = vectors().trees;
    assert_eq!(trees.len(), 6);
    for tree in trees {
        let (tiler, files) = files(tree.size);
        assert_eq!((tiler.head().size, tiler.head().root.to_string()), (tree.size, tree.root));
        assert_eq!(files.len(), tree.tiles);
        let mut lines: Vec<String> =
            files.iter().map(|(tile, content)| format!("{tile} {}\n", Hash::of(content))).collect();
        lines.sort();
        assert_eq!(Hash::of(lines.concat().as_bytes()).to_string(), tree.listing_sha256, "{}", tree.size);
    }
}

#[test]
fn paths_have_one_spelling() {
    let vectors = vectors();
    for path in &vectors.paths {
        assert_eq!(path.parse::<Tile>().unwrap().to_string(), *path);
    }
    for path in &vectors.bad_paths {
        assert_eq!(path.parse::<Tile>(), Err(TileError::Path), "{path}");
    }
    assert_eq!((vectors.paths.len(), vectors.bad_paths.len()), (6, 29));
    let endless = format!("tile/0/{}000", "x000/".repeat(100));
    assert_eq!(endless.parse::<Tile>(), Err(TileError::Path));
}

#[test]
fn proofs_made_of_tiles_verify() {
    for size in [1_u64, 2, 255, 256, 257, 700, 66_000] {
        let (tiler, files) = files(size);
        let head = tiler.head();
        let read = |node| {
            read_node::<TileError>(node, size, |tile| files.get(&tile).cloned().ok_or(TileError::NoSuchNode))
        };
        for index in [0, size / 3, size / 2, size - 1] {
            let place = Place { index, size };
            let proof = inclusion_proof_from(place, read).unwrap().unwrap();
            assert_eq!(verify_inclusion(&leaf_hash(&leaf(index)), place, &proof, &head.root), Ok(()));
            let old = index + 1;
            let proof = consistency_proof_from(old, size, read).unwrap().unwrap();
            let old = merkle::TreeHead { size: old, root: merkle::frontier_from(old, read).unwrap().root() };
            assert_eq!(merkle::verify_consistency(&old, &head, &proof), Ok(()));
        }
        assert_eq!(read(Node { level: 0, index: size }), Err(TileError::NoSuchNode));
        assert_eq!(read(Node { level: 63, index: u64::MAX }), Err(TileError::NoSuchNode));
        assert_eq!(read(Node { level: 255, index: 0 }), Err(TileError::NoSuchNode));
    }
}

#[test]
fn a_tree_says_how_wide_its_tiles_are() {
    // The example of the specification.
    let width = |level, index| {
        Tile::of_tree(TileKind::Hashes { level }, index, 70_000).map(|tile| (tile.width(), tile.is_full()))
    };
    assert_eq!((width(0, 272), width(0, 273), width(0, 274)), (Some((256, true)), Some((112, false)), None));
    assert_eq!((width(1, 0), width(1, 1), width(1, 2)), (Some((256, true)), Some((17, false)), None));
    assert_eq!((width(2, 0), width(2, 1), width(3, 0)), (Some((1, false)), None, None));
    assert_eq!((width(63, 0), width(64, 0), width(0, u64::MAX)), (None, None, None));
    let tile: Tile = "tile/0/273.p/112".parse().unwrap();
    assert_eq!(
        (tile.is_within(70_000), tile.is_within(69_999), tile.is_within(1 << 40)),
        (true, false, true)
    );
    assert_eq!((tile.kind(), tile.index()), (TileKind::Hashes { level: 0 }, 273));
}

#[test]
fn refuses_content_that_is_not_as_wide_as_its_name() {
    let hashes = [7; 64 + 1];
    assert_eq!(read_hashes(&hashes[..64], 2).unwrap().len(), 2);
    assert_eq!(read_hashes(&hashes[..64], 1).unwrap().len(), 1);
    for (length, width) in [(64, 3), (65, 2), (63, 2), (0, 1)] {
        assert_eq!(read_hashes(&hashes[..length], width), Err(TileError::Width { wanted: width }));
    }
    assert_eq!(read_hashes(&[0; 257 * 32], 256), Err(TileError::Width { wanted: 256 }));
    let mut bundle = Vec::new();
    for entry in [b"one".as_slice(), b"", b"three"] {
        push_entry(&mut bundle, entry).unwrap();
    }
    assert_eq!(read_entries(&bundle, 3).unwrap(), [b"one".as_slice(), b"", b"three"]);
    for width in [0, 1, 2, 4, 256] {
        assert_eq!(read_entries(&bundle, width), Err(TileError::Width { wanted: width }));
    }
    for cut in 1..bundle.len() {
        assert!(read_entries(&bundle[..cut], 3).is_err(), "cut at {cut}");
    }
    assert_eq!(push_entry(&mut bundle, &vec![0; 1 << 16]), Err(TileError::TooLong));
}

#[test]
fn policies_and_quorums_are_judged_as_by_another_implementation() {
    let vectors = vectors();
    let (mut good, mut accepted) = (0, 0);
    for case in &vectors.policies {
        let policy = Policy::parse(case.policy.as_bytes());
        assert_eq!(policy.is_ok(), case.ok, "{}", case.name);
        let Ok(policy) = policy else { continue };
        good += 1;
        for (who, note) in &vectors.notes {
            let judged = policy.judge(note.as_bytes());
            assert_eq!(judged.is_ok(), case.accepts.contains(who), "{}: {who}: {judged:?}", case.name);
            if let Ok(judged) = judged {
                accepted += 1;
                assert_eq!(judged.checkpoint().head.size, 70);
                assert!(judged.cosignatures().iter().all(|by| by.time_s == 1_790_000_000));
            }
        }
    }
    assert_eq!((good, vectors.policies.len(), accepted), (10, 38, 33));
}

fn fault(policy: &str) -> Option<PolicyFault> {
    Policy::parse(policy.as_bytes()).err().map(|error| error.fault)
}

#[test]
fn says_what_is_wrong_with_a_policy() {
    let cases: HashMap<String, String> =
        vectors().policies.into_iter().map(|case| (case.name, case.policy)).collect();
    for (name, line, wrong) in [
        ("no-quorum", 0, PolicyFault::Quorum),
        ("two-quorums", 6, PolicyFault::Quorum),
        ("unknown-quorum", 5, PolicyFault::UnknownName),
        ("no-final-newline", 0, PolicyFault::Encoding),
        ("carriage-return", 5, PolicyFault::Encoding),
        ("unknown-line", 5, PolicyFault::Line),
        ("threshold-0", 5, PolicyFault::Threshold),
        ("threshold-huge", 5, PolicyFault::Threshold),
        ("member-twice", 5, PolicyFault::SecondMembership),
        ("member-of-two", 6, PolicyFault::SecondMembership),
        ("itself", 5, PolicyFault::UnknownName),
        ("name-twice", 3, PolicyFault::DuplicateName),
        ("witness-called-none", 2, PolicyFault::DuplicateName),
        ("same-witness-key", 5, PolicyFault::DuplicateKey),
        ("same-log-key", 5, PolicyFault::DuplicateKey),
        ("log-key-as-witness", 5, PolicyFault::Key),
    ] {
        let refused = Policy::parse(cases[name].as_bytes());
        assert_eq!(refused, Err(PolicyError { line, fault: wrong }), "{name}");
    }
    assert_eq!(fault(&"#".repeat(MAX_POLICY_BYTES + 1)), Some(PolicyFault::TooLong));
    let padded = |length: usize| format!("quorum none\n{}\n", "#".repeat(length - 13));
    assert_eq!(padded(MAX_POLICY_BYTES).len(), MAX_POLICY_BYTES);
    assert_eq!(fault(&padded(MAX_POLICY_BYTES)), None);
    assert_eq!(fault(&padded(MAX_POLICY_BYTES + 1)), Some(PolicyFault::TooLong));
    let log = |at: u8| {
        format!("log {}\n", VerifierKey::new(&format!("log{at}"), PublicKey::new([at; 32])).unwrap())
    };
    let logs = |count: usize| (0..count).map(|at| log(u8::try_from(at).unwrap())).collect::<String>();
    assert_eq!(fault(&(logs(MAX_POLICY_ITEMS) + "quorum none\n")), None);
    assert_eq!(fault(&(logs(MAX_POLICY_ITEMS + 1) + "quorum none\n")), Some(PolicyFault::TooLong));
}

#[test]
fn case_29_a_checkpoint_without_its_quorum_is_refused() {
    let vectors = vectors();
    let policy = Policy::parse(vectors.proof_policy.as_bytes()).unwrap();
    let judged = policy.judge(vectors.notes["w1.example"].as_bytes());
    assert_eq!(judged, Err(PolicyRefusal::NoQuorum { cosigned: 1 }));
    assert_eq!((policy.logs().len(), policy.witnesses().len()), (1, 3));
    // Without its logs it accepts nothing, and with others nothing of this one.
    let none =
        policy.clone().for_logs(vec![VerifierKey::new("example.com/log", PublicKey::new([1; 32])).unwrap()]);
    assert!(none.judge(vectors.notes["w2.example w3.example"].as_bytes()).is_err());
    assert!(policy.judge(vectors.notes["w2.example w3.example"].as_bytes()).is_ok());
    // Of two keys of one name the one that signed counts, wherever it stands.
    let own = policy.logs()[0].clone();
    let other = VerifierKey::new(own.name(), PublicKey::new([1; 32])).unwrap();
    for keys in [[own.clone(), other.clone()], [other, own]] {
        let renewed = policy.clone().for_logs(keys.to_vec());
        assert!(renewed.judge(vectors.notes["w2.example w3.example"].as_bytes()).is_ok());
    }
}

#[test]
fn case_47_proof_files_are_judged_as_by_another_implementation() {
    let vectors = vectors();
    let policy = Policy::parse(vectors.proof_policy.as_bytes()).unwrap();
    let mut good = 0;
    for case in &vectors.proofs {
        let read = TlogProof::from_bytes(case.proof.as_bytes());
        if let Ok(proof) = &read {
            assert_eq!(proof.to_bytes(), case.proof.as_bytes(), "{}", case.name);
        }
        let verified = read.and_then(|proof| proof.verify(&leaf(case.index), &policy));
        assert_eq!(verified.is_ok(), case.ok, "{}: {verified:?}", case.name);
        good += usize::from(case.ok);
    }
    assert_eq!((good, vectors.proofs.len()), (5, 26));
}

#[test]
fn a_proof_file_is_made_of_a_logs_tiles() {
    let vectors = vectors();
    let (_, files) = files(70);
    let read = |node| read_node::<TileError>(node, 70, |tile| Ok(files[&tile].clone()));
    let hashes = inclusion_proof_from(Place { index: 41, size: 70 }, read).unwrap().unwrap();
    let note = vectors.notes["w2.example w3.example"].clone().into_bytes();
    let made = TlogProof::new(41, hashes.clone(), note.clone()).unwrap();
    let wanted = vectors.proofs.iter().find(|case| case.name == "good").unwrap();
    assert_eq!(String::from_utf8(made.to_bytes()).unwrap(), wanted.proof);
    assert_eq!((made.index(), made.unverified_extra()), (41, None));
    let extra = vectors.proofs.iter().find(|case| case.name == "extra").unwrap();
    let extra = TlogProof::from_bytes(extra.proof.as_bytes()).unwrap();
    assert_eq!(extra.unverified_extra(), Some(b"abc".as_slice()));
    let with_extra = |length: usize| {
        let extra = format!("\nextra {}\nindex", STANDARD.encode(vec![0; length]));
        TlogProof::from_bytes(wanted.proof.replacen("\nindex", &extra, 1).as_bytes())
    };
    let longest = with_extra(MAX_EXTRA_BYTES).unwrap();
    assert_eq!(longest.unverified_extra().map(<[u8]>::len), Some(MAX_EXTRA_BYTES));
    assert_eq!(with_extra(MAX_EXTRA_BYTES + 1), Err(TlogProofError::Malformed));
    let most = vec![hashes[0]; merkle::MAX_PROOF_HASHES];
    let deepest = TlogProof::new(41, most, note.clone()).unwrap();
    assert_eq!(TlogProof::from_bytes(&deepest.to_bytes()), Ok(deepest));
    let many = vec![hashes[0]; merkle::MAX_PROOF_HASHES + 1];
    assert_eq!(TlogProof::new(41, many, note), Err(TlogProofError::Malformed));
    assert_eq!(TlogProof::new(41, hashes, b"no note".to_vec()), Err(TlogProofError::Malformed));
    assert_eq!(TlogProof::from_bytes(&vec![b'x'; MAX_PROOF_BYTES + 1]), Err(TlogProofError::Malformed));
}

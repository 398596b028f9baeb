//! Our Merkle tree and tiles against Cloudflare's `tlog_tiles` (a port of Go's tlog) and `ct-merkle`: the same roots, the same proofs byte
//! for byte, each taken by the other side, and no changed proof taken by either.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests stop at a surprise")]

use anchorhold_audit_log::Hash;
use anchorhold_audit_log::merkle::{
    Frontier, Node, Place, TreeHead, consistency_proof_from, inclusion_proof_from, leaf_hash,
    verify_consistency, verify_inclusion,
};
use anchorhold_audit_log::tlog::tiles::{Tile, TileError, TileKind, Tiler};
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use ct_merkle::{ConsistencyProof, InclusionProof};
use sha2::Sha256;
use std::collections::HashMap;
use tlog_tiles::{
    HashReader, check_record, check_tree, prove_record, prove_tree, record_hash, stored_hashes, tree_hash,
};

/// Every index and old size of every tree up to so many leaves.
const LEAVES: u64 = 600;

fn leaf(index: u64) -> Vec<u8> {
    format!("leaf {index}").into_bytes()
}

/// The store that `tlog_tiles` reads: all hashes in the order of Go's tlog.
#[derive(Default)]
struct Stored(Vec<tlog_tiles::Hash>);

impl Stored {
    fn push(&mut self, index: u64) {
        let more = stored_hashes(index, &leaf(index), self).unwrap();
        self.0.extend(more);
    }
}

impl HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
        Ok(indexes.iter().map(|index| self.0[usize::try_from(*index).unwrap()]).collect())
    }
}

fn theirs(proof: &[Hash]) -> Vec<tlog_tiles::Hash> {
    proof.iter().map(|hash| tlog_tiles::Hash(*hash.as_bytes())).collect()
}

fn joined(proof: &[Hash]) -> Vec<u8> {
    proof.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

#[test]
fn roots_and_proofs_are_those_of_tlog_tiles_and_ct_merkle() {
    let (mut frontier, mut nodes) = (Frontier::new(), HashMap::<Node, Hash>::new());
    let (mut stored, mut memory) = (Stored::default(), MemoryBackedTree::<Sha256, Vec<u8>>::new());
    let mut heads: Vec<TreeHead> = Vec::new();
    let mut ct_roots = Vec::new();
    for size in 1..=LEAVES {
        frontier.push_completing(leaf_hash(&leaf(size - 1)), |node, hash| {
            nodes.insert(node, hash);
        });
        stored.push(size - 1);
        memory.push(leaf(size - 1));
        let (head, ct_root) = (frontier.head(), memory.root());
        assert_eq!(tree_hash(size, &stored).unwrap().0, *head.root.as_bytes());
        assert_eq!(ct_root.as_bytes().as_slice(), head.root.as_bytes());
        heads.push(head);
        let th = tlog_tiles::Hash(*head.root.as_bytes());
        let read = |node| nodes.get(&node).copied().ok_or(node);
        for index in 0..size {
            let at = usize::try_from(index).unwrap();
            let place = Place { index, size };
            let proof = inclusion_proof_from(place, read).unwrap().unwrap();
            assert_eq!(prove_record(size, index, &stored).unwrap(), theirs(&proof));
            assert_eq!(memory.prove_inclusion(at).as_bytes(), joined(&proof));
            assert!(check_record(&theirs(&proof), size, th, index, record_hash(&leaf(index))).is_ok());
            ct_root
                .verify_inclusion(&leaf(index), index, &InclusionProof::from_bytes(joined(&proof)))
                .unwrap();
            assert_eq!(verify_inclusion(&leaf_hash(&leaf(index)), place, &proof, &head.root), Ok(()));
            let (old, additions) = (index + 1, usize::try_from(size - index - 1).unwrap());
            let proof = consistency_proof_from(old, size, read).unwrap().unwrap();
            // Of a tree with itself, both others have no proof.
            if additions > 0 {
                assert_eq!(prove_tree(size, old, &stored).unwrap(), theirs(&proof));
                assert_eq!(memory.prove_consistency(additions).as_bytes(), joined(&proof));
                let old_th = tlog_tiles::Hash(*heads[at].root.as_bytes());
                assert!(check_tree(&theirs(&proof), size, th, old, old_th).is_ok());
                let proof = ConsistencyProof::try_from_bytes(joined(&proof)).unwrap();
                ct_root.verify_consistency(&ct_roots[at], &proof).unwrap();
            }
            assert_eq!(verify_consistency(&heads[at], &head, &proof), Ok(()));
        }
        ct_roots.push(ct_root);
    }
}

/// The proof with a hash changed, left out, doubled or added.
fn changed(proof: &[Hash]) -> Vec<Vec<Hash>> {
    let mut out = vec![[proof, &[Hash::of(b"more")]].concat()];
    for at in 0..proof.len() {
        let (mut flipped, mut cut, mut doubled) = (proof.to_vec(), proof.to_vec(), proof.to_vec());
        flipped[at] = Hash::of(flipped[at].as_bytes());
        cut.remove(at);
        doubled.insert(at, proof[at]);
        out.extend([flipped, cut, doubled]);
    }
    out
}

#[test]
fn no_side_takes_a_changed_proof() {
    let (mut frontier, mut nodes) = (Frontier::new(), HashMap::<Node, Hash>::new());
    let mut heads = vec![TreeHead::empty()];
    for index in 0..40 {
        frontier.push_completing(leaf_hash(&leaf(index)), |node, hash| {
            nodes.insert(node, hash);
        });
        heads.push(frontier.head());
    }
    let read = |node| nodes.get(&node).copied().ok_or(node);
    let head = frontier.head();
    let th = tlog_tiles::Hash(*head.root.as_bytes());
    for index in 0..head.size {
        let place = Place { index, size: head.size };
        for bad in changed(&inclusion_proof_from(place, read).unwrap().unwrap()) {
            assert!(verify_inclusion(&leaf_hash(&leaf(index)), place, &bad, &head.root).is_err());
            assert!(check_record(&theirs(&bad), head.size, th, index, record_hash(&leaf(index))).is_err());
        }
        let old = heads[usize::try_from(index).unwrap() + 1];
        if old.size < head.size {
            let old_th = tlog_tiles::Hash(*old.root.as_bytes());
            for bad in changed(&consistency_proof_from(old.size, head.size, read).unwrap().unwrap()) {
                assert!(verify_consistency(&old, &head, &bad).is_err());
                assert!(check_tree(&theirs(&bad), head.size, th, old.size, old_th).is_err());
            }
        }
    }
}

/// The path as `tlog_tiles` writes it: with the height, and `data` for entries.
fn their_path(tile: &Tile) -> String {
    format!("tile/8/{}", tile.to_string()["tile/".len()..].replace("entries/", "data/"))
}

#[test]
fn tiles_are_those_of_tlog_tiles() {
    for size in [1_u64, 2, 255, 256, 257, 511, 512, 1000, 66_000] {
        let (mut tiler, mut stored) = (Tiler::new(), Stored::default());
        let mut ours: HashMap<String, Vec<u8>> = HashMap::new();
        let mut take = |tile: Tile, content: &[u8]| {
            if tile.kind() != TileKind::Entries {
                assert!(ours.insert(their_path(&tile), content.to_vec()).is_none(), "{tile} twice");
            }
            Ok::<(), TileError>(())
        };
        for index in 0..size {
            tiler.push(&leaf(index), &mut take).unwrap();
            stored.push(index);
        }
        tiler.partial(&mut take).unwrap();
        // Of theirs, those that a log of this size has: each level's full tiles and the last partial one.
        let peers = tlog_tiles::Tile::new_tiles(8, 0, size);
        assert_eq!(peers.len(), ours.len(), "{size}");
        for peer in peers {
            assert_eq!(ours[&peer.path()], peer.read_data(&stored).unwrap(), "{}", peer.path());
        }
    }
    for index in [0, 5, 999, 1000, 1_234_067, 999_999_999] {
        let tile = Tile::of_tree(TileKind::Hashes { level: 0 }, index, index * 256 + 7).unwrap();
        assert_eq!(tlog_tiles::Tile::new(8, 0, index, 7, false).path(), their_path(&tile));
    }
}

//! RFC 6962 against its own recursive definition, and against the vectors of transparency-dev.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test stops at a surprise"
)]

mod fixture;

use anchorhold_audit_log::Hash;
use anchorhold_audit_log::merkle::{
    Frontier, Growth, InclusionProver, MAX_PROOF_HASHES, MAX_PROVEN, Node, Place, ProofError, Range,
    RangeProver, TreeHead, consistency_proof, consistency_proof_from, frontier_from, inclusion_proof,
    inclusion_proof_from, leaf_hash, node_hash, range_root, root, verify_consistency, verify_inclusion,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde::Deserialize;
use std::collections::HashMap;

const LEAVES: usize = 600;

fn leaves(count: usize) -> Vec<Hash> {
    (0..count).map(|index| leaf_hash(format!("leaf {index}").as_bytes())).collect()
}

/// MTH, PATH and PROOF of RFC 6962, section 2.1, word for word; roots are remembered.
struct Naive {
    leaves: Vec<Hash>,
    roots: HashMap<(usize, usize), Hash>,
}

impl Naive {
    fn split(count: usize) -> usize {
        let mut k = 1;
        while k * 2 < count {
            k *= 2;
        }
        k
    }

    fn root(&mut self, start: usize, end: usize) -> Hash {
        match end - start {
            0 => Hash::of(b""),
            1 => self.leaves[start],
            count => {
                if let Some(known) = self.roots.get(&(start, end)) {
                    return *known;
                }
                let middle = start + Self::split(count);
                let hash = node_hash(&self.root(start, middle), &self.root(middle, end));
                self.roots.insert((start, end), hash);
                hash
            }
        }
    }

    fn path(&mut self, m: usize, start: usize, end: usize) -> Vec<Hash> {
        if end - start == 1 {
            return vec![];
        }
        let k = Self::split(end - start);
        if m < k {
            let mut path = self.path(m, start, start + k);
            path.push(self.root(start + k, end));
            path
        } else {
            let mut path = self.path(m - k, start + k, end);
            path.push(self.root(start, start + k));
            path
        }
    }

    fn subproof(&mut self, m: usize, (start, end): (usize, usize), b: bool) -> Vec<Hash> {
        let n = end - start;
        if m == n {
            return if b { vec![] } else { vec![self.root(start, end)] };
        }
        let k = Self::split(n);
        if m <= k {
            let mut proof = self.subproof(m, (start, start + k), b);
            proof.push(self.root(start + k, end));
            proof
        } else {
            let mut proof = self.subproof(m - k, (start + k, end), false);
            proof.push(self.root(start, start + k));
            proof
        }
    }
}

/// Every index and every old size of every tree up to 600 leaves: proofs from stored nodes, and their verification.
#[test]
fn roots_and_proofs_are_those_of_the_definition_up_to_600_leaves() {
    let leaves = leaves(LEAVES);
    let mut naive = Naive { leaves: leaves.clone(), roots: HashMap::new() };
    let mut frontier = Frontier::new();
    let mut nodes: HashMap<Node, Hash> = HashMap::new();
    for size in 1..=LEAVES {
        frontier.push_completing(leaves[size - 1], |node, hash| assert!(nodes.insert(node, hash).is_none()));
        let head = TreeHead { size: size as u64, root: naive.root(0, size) };
        assert_eq!(frontier.head(), head);
        let mut read = |node| nodes.get(&node).copied().ok_or(node);
        assert_eq!(frontier_from(head.size, &mut read), Ok(frontier.clone()));
        for (index, leaf) in leaves.iter().enumerate().take(size) {
            let place = Place { index: index as u64, size: head.size };
            let proof = naive.path(index, 0, size);
            assert_eq!(verify_inclusion(leaf, place, &proof, &head.root), Ok(()));
            assert_eq!(inclusion_proof_from(place, &mut read), Ok(Some(proof)));
            let old = TreeHead { size: place.index + 1, root: naive.root(0, index + 1) };
            let proof = naive.subproof(index + 1, (0, size), true);
            assert_eq!(verify_consistency(&old, &head, &proof), Ok(()));
            assert_eq!(consistency_proof_from(old.size, head.size, &mut read), Ok(Some(proof)));
        }
    }
    // Every complete subtree was told once, and nothing else.
    assert_eq!(nodes.len(), [600, 300, 150, 75, 37, 18, 9, 4, 2, 1].iter().sum::<usize>());
}

/// The sizes around each power of two, and some between.
fn telling_sizes() -> impl Iterator<Item = usize> {
    (0..=130).chain(254..=258).chain(510..=514).chain([300, 383, 384, 599, 600])
}

#[test]
fn roots_and_proofs_from_leaves_are_those_of_the_definition() {
    let leaves = leaves(LEAVES);
    let mut naive = Naive { leaves: leaves.clone(), roots: HashMap::new() };
    for size in telling_sizes() {
        let frontier: Frontier = leaves[..size].iter().copied().collect();
        let tree = &leaves[..size];
        let head = TreeHead { size: size as u64, root: naive.root(0, size) };
        assert_eq!(frontier.root(), head.root);
        assert_eq!(frontier.size(), head.size);
        for (index, leaf) in tree.iter().enumerate() {
            let proof = inclusion_proof(tree, index).unwrap();
            assert_eq!(proof, naive.path(index, 0, size));
            let place = Place { index: index as u64, size: head.size };
            assert_eq!(verify_inclusion(leaf, place, &proof, &head.root), Ok(()));
            let old = index + 1;
            let proof = consistency_proof(tree, old).unwrap();
            assert_eq!(proof, naive.subproof(old, (0, size), true));
            let old = TreeHead { size: old as u64, root: naive.root(0, old) };
            assert_eq!(verify_consistency(&old, &head, &proof), Ok(()));
        }
        assert_eq!(inclusion_proof(tree, size), None);
        assert_eq!(consistency_proof(tree, 0), None);
        assert_eq!(consistency_proof(tree, size + 1), None);
    }
}

#[test]
fn proofs_from_stored_nodes_are_none_outside_of_the_tree() {
    let never = |node: Node| Err::<Hash, Node>(node);
    for size in [0, 1, 2, 300] {
        assert_eq!(inclusion_proof_from(Place { index: size, size }, never), Ok(None));
        assert_eq!(consistency_proof_from(0, size, never), Ok(None));
        assert_eq!(consistency_proof_from(size + 1, size, never), Ok(None));
    }
}

#[test]
fn proofs_from_stored_nodes_fail_as_their_store_fails() {
    let place = Place { index: 1, size: 3 };
    assert_eq!(inclusion_proof_from(place, Err::<Hash, Node>), Err(Node { level: 0, index: 2 }));
    assert_eq!(consistency_proof_from(1, 3, Err::<Hash, Node>), Err(Node { level: 0, index: 2 }));
}

/// From every base, every old size after it and every size: the proofs of the whole tree, from what is kept.
#[test]
fn growth_proves_what_the_whole_tree_proves_and_keeps_little() {
    const SIZE: usize = 96;
    let leaves = leaves(SIZE);
    for base in 0..SIZE {
        let mut growth = Growth::new();
        leaves[..base].iter().for_each(|leaf| growth.push(*leaf));
        growth.rebase(base as u64);
        assert_eq!((growth.base(), growth.kept()), (base as u64, base.count_ones() as usize));
        for size in base..=SIZE {
            assert_eq!(growth.head(), TreeHead { size: size as u64, root: root(&leaves[..size]) });
            for old in base..=size {
                let wanted =
                    if old == 0 { Some(Vec::new()) } else { consistency_proof(&leaves[..size], old) };
                assert_eq!(growth.prove(old as u64, size as u64), wanted, "{base} {old} {size}");
            }
            if size < SIZE {
                growth.push(leaves[size]);
            }
        }
    }
}

#[test]
fn growth_proves_nothing_before_its_base_or_beyond_its_end() {
    let mut growth = Growth::new();
    leaves(20).iter().for_each(|leaf| growth.push(*leaf));
    growth.rebase(7);
    growth.rebase(5);
    growth.rebase(21);
    assert_eq!(growth.base(), 7);
    assert_eq!((growth.prove(6, 20), growth.prove(8, 21), growth.prove(12, 11)), (None, None, None));
    assert_eq!((growth.prove(0, 20), growth.prove(0, 21)), (Some(Vec::new()), None));
    assert!(growth.prove(7, 20).is_some());
    growth.rebase(20);
    assert_eq!((growth.kept(), growth.prove(20, 20)), (2, Some(Vec::new())));
}

#[test]
fn case_47_refuses_every_changed_proof_of_small_trees() {
    let leaves = leaves(24);
    for size in 1..=24_usize {
        let tree = &leaves[..size];
        let head = TreeHead { size: size as u64, root: root(tree) };
        for index in 0..size {
            let place = Place { index: index as u64, size: head.size };
            let proof = inclusion_proof(tree, index).unwrap();
            for bad in changed(&proof) {
                assert!(verify_inclusion(&leaves[index], place, &bad, &head.root).is_err());
            }
            for other in (0..size).filter(|other| *other != index) {
                let place = Place { index: other as u64, size: head.size };
                assert!(verify_inclusion(&leaves[index], place, &proof, &head.root).is_err());
            }
            let old = TreeHead { size: index as u64 + 1, root: root(&tree[..=index]) };
            let proof = consistency_proof(tree, index + 1).unwrap();
            for bad in changed(&proof) {
                assert!(verify_consistency(&old, &head, &bad).is_err());
            }
            let other = TreeHead { root: Hash::of(b"other"), ..old };
            assert!(verify_consistency(&other, &head, &proof).is_err());
            assert!(verify_consistency(&old, &TreeHead { root: other.root, ..head }, &proof).is_err());
        }
    }
}

/// The proof with each hash changed, left out or doubled.
fn changed(proof: &[Hash]) -> Vec<Vec<Hash>> {
    let mut out = vec![[proof, &[Hash::of(b"more")]].concat()];
    for at in 0..proof.len() {
        let mut flipped = proof.to_vec();
        let mut bytes = *flipped[at].as_bytes();
        bytes[at % 32] ^= 0x10;
        flipped[at] = Hash::new(bytes);
        let mut cut = proof.to_vec();
        cut.remove(at);
        let mut doubled = proof.to_vec();
        doubled.insert(at, proof[at]);
        out.extend([flipped, cut, doubled]);
    }
    out
}

#[test]
fn case_47_bounds_length_index_and_size() {
    let hash = Hash::of(b"x");
    let many = vec![hash; MAX_PROOF_HASHES + 1];
    let largest = u64::MAX;
    let place = Place { index: largest - 1, size: largest };
    assert_eq!(verify_inclusion(&hash, place, &many, &hash), Err(ProofError::TooLong));
    assert_eq!(verify_inclusion(&hash, place, &many[1..], &hash), Err(ProofError::WrongLength));
    assert_eq!(verify_inclusion(&hash, place, &[], &hash), Err(ProofError::WrongLength));
    for (index, size) in [(0, 0), (5, 5), (6, 5), (largest, largest)] {
        assert_eq!(verify_inclusion(&hash, Place { index, size }, &[], &hash), Err(ProofError::OutOfRange));
    }
    // One leaf in the largest tree has a proof of exactly 64 hashes.
    let first = Place { index: 0, size: largest };
    assert_eq!(verify_inclusion(&hash, first, &many[1..], &hash), Err(ProofError::RootMismatch));
    let head = |size| TreeHead { size, root: hash };
    assert_eq!(verify_consistency(&head(2), &head(1), &[]), Err(ProofError::OutOfRange));
    assert_eq!(verify_consistency(&head(1), &head(largest), &many), Err(ProofError::TooLong));
    assert_eq!(verify_consistency(&head(largest - 1), &head(largest), &[]), Err(ProofError::WrongLength));
    let empty = TreeHead { size: 0, root: Hash::of(b"") };
    assert_eq!(verify_consistency(&empty, &head(3), &[]), Err(ProofError::OutOfRange));
    assert_eq!(verify_consistency(&empty, &empty, &[]), Err(ProofError::OutOfRange));
    let range = Range { first: largest - 2, end: largest - 1, size: largest };
    assert_eq!(range_root(range, &[hash], &[]), Err(ProofError::WrongLength));
    assert_eq!(range_root(range, &[hash], &vec![hash; 129]), Err(ProofError::TooLong));
}

#[test]
fn proofs_of_neighbours_made_in_one_pass_are_those_of_each() {
    let all = leaves(70);
    for size in 1..=70_u64 {
        let tree = &all[..size as usize];
        for first in 0..size {
            for end in [first + 1, size.min(first + 5), size] {
                let mut prover = InclusionProver::new(first..end, size).unwrap();
                tree.iter().for_each(|leaf| prover.push(*leaf));
                assert_eq!(prover.head().root, root(tree));
                let proofs = prover.finish().unwrap();
                assert_eq!(proofs.len() as u64, end - first);
                for ((index, proof), wanted) in proofs.iter().zip(first..) {
                    assert_eq!(*index, wanted);
                    assert_eq!(*proof, inclusion_proof(tree, wanted as usize).unwrap());
                }
            }
        }
        let mut short = InclusionProver::new(0..1, size).unwrap();
        tree[1..].iter().for_each(|leaf| short.push(*leaf));
        assert!(short.finish().is_none());
    }
    assert!(InclusionProver::new(3..3, 5).is_none());
    assert!(InclusionProver::new(3..6, 5).is_none());
    assert!(InclusionProver::new(0..MAX_PROVEN, u64::MAX).is_some());
    assert!(InclusionProver::new(0..MAX_PROVEN + 1, u64::MAX).is_none());
}

#[test]
fn every_range_of_every_small_tree_leads_to_the_root() {
    let all = leaves(33);
    for size in 1..=33_u64 {
        let tree = &all[..size as usize];
        for first in 0..size {
            for end in first + 1..=size {
                let range = Range { first, end, size };
                let mut prover = RangeProver::new(range).unwrap();
                for (index, leaf) in tree.iter().enumerate() {
                    if !(first..end).contains(&(index as u64)) {
                        prover.push(*leaf);
                    }
                }
                let proof = prover.finish().unwrap();
                let inside = &tree[first as usize..end as usize];
                assert_eq!(range_root(range, inside, &proof), Ok(root(tree)), "{range:?}");
                for bad in changed(&proof) {
                    assert_ne!(range_root(range, inside, &bad), Ok(root(tree)), "{range:?}");
                }
                assert_eq!(range_root(range, &inside[1..], &proof), Err(ProofError::OutOfRange));
            }
        }
    }
    assert!(RangeProver::new(Range { first: 3, end: 3, size: 5 }).is_none());
    assert!(RangeProver::new(Range { first: 3, end: 6, size: 5 }).is_none());
    assert!(RangeProver::new(Range { first: 0, end: 1, size: 2 }).unwrap().finish().is_none());
}

/// The hash in base64; `None` for no bytes at all, which our type cannot hold. Some cases have a word in a
/// hash's place, to say that it plays no part; equal words become equal hashes.
fn decode(text: &str) -> Option<Hash> {
    let bytes = STANDARD.decode(text).unwrap();
    let hash = Hash::try_from(bytes.as_slice()).unwrap_or_else(|_| Hash::of(&bytes));
    (!bytes.is_empty()).then_some(hash)
}

fn decode_all(proof: Option<&Vec<String>>) -> Option<Vec<Hash>> {
    proof.into_iter().flatten().map(|hash| decode(hash)).collect()
}

fn read_vectors<T: for<'a> Deserialize<'a>>(name: &str) -> Vec<T> {
    let text = std::fs::read_to_string(format!("{}/{name}", fixture::VECTORS)).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InclusionCase {
    name: String,
    leaf_idx: u64,
    tree_size: u64,
    root: String,
    leaf_hash: String,
    proof: Option<Vec<String>>,
    want_err: bool,
}

#[test]
fn inclusion_vectors_of_transparency_dev() {
    let cases: Vec<InclusionCase> = read_vectors("merkle-inclusion.json");
    assert_eq!(cases.len(), 98);
    for case in cases {
        let place = Place { index: case.leaf_idx, size: case.tree_size };
        let verified = (|| {
            let (leaf, root) = (decode(&case.leaf_hash)?, decode(&case.root)?);
            verify_inclusion(&leaf, place, &decode_all(case.proof.as_ref())?, &root).ok()
        })();
        assert_eq!(verified.is_none(), case.want_err, "{}", case.name);
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConsistencyCase {
    name: String,
    size1: u64,
    size2: u64,
    root1: String,
    root2: String,
    proof: Option<Vec<String>>,
    want_err: bool,
}

#[test]
fn consistency_vectors_of_transparency_dev() {
    let cases: Vec<ConsistencyCase> = read_vectors("merkle-consistency.json");
    assert_eq!(cases.len(), 98);
    for case in cases {
        let verified = (|| {
            let old = TreeHead { size: case.size1, root: decode(&case.root1)? };
            let new = TreeHead { size: case.size2, root: decode(&case.root2)? };
            verify_consistency(&old, &new, &decode_all(case.proof.as_ref())?).ok()
        })();
        assert_eq!(verified.is_none(), case.want_err, "{}", case.name);
    }
}

proptest! {
    #[test]
    fn proofs_of_random_trees_verify(size in 1_usize..3000, index in any::<prop::sample::Index>()) {
        let leaves = leaves(size);
        let index = index.index(size);
        let head = TreeHead { size: size as u64, root: root(&leaves) };
        let proof = inclusion_proof(&leaves, index).unwrap();
        let place = Place { index: index as u64, size: head.size };
        prop_assert_eq!(verify_inclusion(&leaves[index], place, &proof, &head.root), Ok(()));
        let old = TreeHead { size: index as u64 + 1, root: root(&leaves[..=index]) };
        prop_assert_eq!(verify_consistency(&old, &head, &consistency_proof(&leaves, index + 1).unwrap()), Ok(()));
    }

    #[test]
    fn case_47_arbitrary_proofs_are_refused_without_panic(
        numbers in any::<[u64; 3]>(),
        proof in prop::collection::vec(any::<[u8; 32]>(), 0..140),
    ) {
        let [a, b, c] = numbers;
        let proof: Vec<Hash> = proof.into_iter().map(Hash::new).collect();
        let hash = Hash::of(b"x");
        let place = Place { index: a, size: b };
        prop_assert!(verify_inclusion(&hash, place, &proof, &Hash::of(b"y")).is_err());
        let (old, new) = (TreeHead { size: a, root: hash }, TreeHead { size: b, root: Hash::of(b"y") });
        prop_assert!(verify_consistency(&old, &new, &proof).is_err());
        let range = Range { first: a, end: a.saturating_add(1), size: c };
        prop_assert_ne!(range_root(range, &[hash], &proof), Ok(hash));
    }
}

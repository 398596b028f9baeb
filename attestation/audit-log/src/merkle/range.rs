//! Proofs that certain leaves, all next to each other, are in a tree. Both ends take the leaves one after the other, so a range of any
//! length costs the memory of a path.

use super::{Frontier, MAX_RANGE_PROOF_HASHES, ProofError, node_hash, split};
use crate::Hash;

/// The leaves `first..end` of a tree of `size` leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first leaf.
    pub first: u64,
    /// One past the last leaf.
    pub end: u64,
    /// The tree's size.
    pub size: u64,
}

impl Range {
    const fn is_valid(&self) -> bool {
        self.first < self.end && self.end <= self.size
    }

    /// The sizes of the largest subtrees outside of the range, from left to right.
    fn sizes_beside(&self, (start, size): (u64, u64), sizes: &mut Vec<u64>) {
        if start >= self.end || start + size <= self.first {
            sizes.push(size);
        } else if start < self.first || start + size > self.end {
            let left = split(size);
            self.sizes_beside((start, left), sizes);
            self.sizes_beside((start + left, size - left), sizes);
        }
    }
}

/// Makes the proof for a range while the leaves beside it stream by.
#[derive(Debug)]
pub struct RangeProver {
    /// How many leaves each hash of the proof stands for, the next one last.
    sizes: Vec<u64>,
    current: Frontier,
    proof: Vec<Hash>,
}

impl RangeProver {
    /// The prover for this range; `None` when it is empty or outside of the tree.
    #[must_use]
    pub fn new(range: Range) -> Option<Self> {
        if !range.is_valid() {
            return None;
        }
        let mut sizes = Vec::new();
        range.sizes_beside((0, range.size), &mut sizes);
        sizes.reverse();
        Some(Self { sizes, current: Frontier::new(), proof: Vec::new() })
    }

    /// Takes the next leaf outside of the range, from left to right.
    pub fn push(&mut self, leaf: Hash) {
        self.current.push(leaf);
        if self.sizes.last() == Some(&self.current.size()) {
            self.sizes.pop();
            self.proof.push(std::mem::take(&mut self.current).root());
        }
    }

    /// The roots of the largest subtrees outside of the range, from left to right; `None` when leaves are
    /// missing.
    #[must_use]
    pub fn finish(self) -> Option<Vec<Hash>> {
        (self.sizes.is_empty() && self.current.size() == 0).then_some(self.proof)
    }
}

/// Finds the root that a range and its proof lead to while the leaves inside stream by.
#[derive(Debug)]
pub struct RangeVerifier {
    end: u64,
    /// The tree up to the next leaf. What lies before the range are whole subtrees, the largest first.
    tree: Frontier,
    /// What lies behind the range: hashes, and of how many leaves each is.
    behind: Vec<(u64, Hash)>,
    /// More leaves came than the range has.
    is_over: bool,
}

impl RangeVerifier {
    /// The verifier for this range.
    ///
    /// # Errors
    /// [`ProofError`] when the range or the number of hashes is wrong.
    pub fn new(range: Range, proof: &[Hash]) -> Result<Self, ProofError> {
        if proof.len() > MAX_RANGE_PROOF_HASHES {
            return Err(ProofError::TooLong);
        }
        if !range.is_valid() {
            return Err(ProofError::OutOfRange);
        }
        let mut sizes = Vec::new();
        range.sizes_beside((0, range.size), &mut sizes);
        if sizes.len() != proof.len() {
            return Err(ProofError::WrongLength);
        }
        let before = range.first.count_ones() as usize;
        let (nodes, behind) = proof.split_at_checked(before).ok_or(ProofError::WrongLength)?;
        let behind = sizes.into_iter().skip(before).zip(behind.iter().copied()).collect();
        let tree = Frontier { size: range.first, nodes: nodes.to_vec() };
        Ok(Self { end: range.end, tree, behind, is_over: false })
    }

    /// The right edge of the tree of all leaves up to the next one. It is the log's only if [`finish`](Self::finish) gives the log's root: what
    /// lies before the range is taken from the proof.
    #[must_use]
    pub const fn frontier(&self) -> &Frontier {
        &self.tree
    }

    /// Takes the next leaf of the range.
    pub fn push(&mut self, leaf: Hash) {
        if self.tree.size < self.end {
            self.tree.push(leaf);
        } else {
            self.is_over = true;
        }
    }

    /// The root.
    ///
    /// # Errors
    /// [`ProofError::OutOfRange`] when more or fewer leaves came than the range has.
    pub fn finish(mut self) -> Result<Hash, ProofError> {
        if self.is_over || self.tree.size != self.end {
            return Err(ProofError::OutOfRange);
        }
        let mut ragged = None;
        for (size, hash) in self.behind {
            // What stands to the left of it is whole, and is the last whole subtree so far.
            let height = self.tree.size.trailing_zeros();
            if size == 1 << height {
                self.tree.push_whole(hash, height);
            } else {
                // Only the right edge of a tree is smaller than what stands to the left of it, so this is the last.
                ragged = Some(hash);
            }
        }
        Ok(match ragged {
            Some(last) => self.tree.nodes.iter().rev().fold(last, |right, left| node_hash(left, &right)),
            None => self.tree.root(),
        })
    }
}

impl Frontier {
    /// Appends a whole subtree of `2^height` leaves, of which the size so far is a multiple.
    fn push_whole(&mut self, mut node: Hash, height: u32) {
        for _ in 0..(self.size >> height).trailing_ones() {
            if let Some(left) = self.nodes.pop() {
                node = node_hash(&left, &node);
            }
        }
        self.nodes.push(node);
        self.size += 1 << height;
    }
}

/// The root that a range of leaf hashes and its proof lead to.
///
/// # Errors
/// [`ProofError`] when the range or the number of hashes is wrong.
pub fn range_root(range: Range, leaves: &[Hash], proof: &[Hash]) -> Result<Hash, ProofError> {
    let mut verifier = RangeVerifier::new(range, proof)?;
    leaves.iter().for_each(|leaf| verifier.push(*leaf));
    verifier.finish()
}

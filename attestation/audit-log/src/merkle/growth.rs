//! A tree of which only what grew since a witness last saw it is kept: enough to prove to that witness that nothing before was changed.

use super::stored::{Node, consistency_proof_from};
use super::{Frontier, TreeHead};
use crate::Hash;
use std::collections::VecDeque;

/// The hashes from which consistency proofs from one size, the base, or any later one can be made. Memory is that of two hashes for each
/// leaf since the base.
#[derive(Debug, Clone, Default)]
pub struct Growth {
    base: u64,
    frontier: Frontier,
    /// By height, the leaves first.
    levels: Vec<Level>,
}

/// The complete subtrees of one height that are kept: those from `first` on.
#[derive(Debug, Clone, Default)]
struct Level {
    first: u64,
    hashes: VecDeque<Hash>,
}

impl Level {
    fn get(&self, index: u64) -> Option<Hash> {
        let at = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.hashes.get(at).copied()
    }

    fn forget_before(&mut self, first: u64) {
        while self.first < first && self.hashes.pop_front().is_some() {
            self.first += 1;
        }
    }
}

impl Growth {
    /// The empty tree, with itself as base.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a leaf's hash.
    pub fn push(&mut self, leaf: Hash) {
        let levels = &mut self.levels;
        self.frontier.push_completing(leaf, |node, hash| {
            let level = usize::from(node.level);
            if level == levels.len() {
                levels.push(Level::default());
            }
            // Nodes of a level are completed one after the other, and no level before the one below it.
            if let Some(level) = levels.get_mut(level) {
                level.hashes.push_back(hash);
            }
        });
    }

    /// How many leaves there are.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// Size and root hash.
    #[must_use]
    pub fn head(&self) -> TreeHead {
        self.frontier.head()
    }

    /// The size before which nothing can be proven any more.
    #[must_use]
    pub const fn base(&self) -> u64 {
        self.base
    }

    /// The consistency proof from `old_size` to `size` (RFC 6962, section 2.1.2); empty from the empty tree, as witnesses want it.
    /// `None` when the old size is before the base or above the size, or the size is above the tree's.
    #[must_use]
    pub fn prove(&self, old_size: u64, size: u64) -> Option<Vec<Hash>> {
        if old_size == 0 {
            return (size <= self.size()).then(Vec::new);
        }
        if old_size < self.base || size > self.size() {
            return None;
        }
        consistency_proof_from(old_size, size, |node| self.node(node).ok_or(())).ok().flatten()
    }

    /// Makes `size` the base and forgets what only earlier proofs need. A size that is before the base or above the tree's changes nothing.
    pub fn rebase(&mut self, size: u64) {
        if size < self.base || size > self.frontier.size() {
            return;
        }
        self.base = size;
        // Of the subtrees that end at or before the base, proofs name only those of which the base's own tree consists: at each height
        // the last one at most.
        for (level, height) in self.levels.iter_mut().zip(0_u32..) {
            let complete = size >> height;
            level.forget_before(complete - (complete & 1));
        }
    }

    fn node(&self, node: Node) -> Option<Hash> {
        self.levels.get(usize::from(node.level))?.get(node.index)
    }

    /// How many hashes are kept.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.levels.iter().map(|level| level.hashes.len()).sum()
    }
}

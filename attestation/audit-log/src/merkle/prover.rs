//! Inclusion proofs of some leaves, made while all leaves stream by.

use super::{Frontier, Node, Place, TreeHead, inclusion_proof_from};
use crate::Hash;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Range;

/// The most leaves that one pass proves.
pub const MAX_PROVEN: u64 = 4096;

/// Makes the proofs of neighbouring leaves in one pass over a tree of any size. Memory is that of the hashes that stand in the proofs.
#[derive(Debug)]
pub struct InclusionProver {
    leaves: Range<u64>,
    size: u64,
    frontier: Frontier,
    /// The complete subtrees that the proofs are made of.
    nodes: BTreeMap<Node, Hash>,
}

impl InclusionProver {
    /// The prover of these leaves in a tree of `size`; `None` when there are none, more than [`MAX_PROVEN`], or some outside of the tree.
    #[must_use]
    pub fn new(leaves: Range<u64>, size: u64) -> Option<Self> {
        if leaves.is_empty() || leaves.end > size || leaves.end - leaves.start > MAX_PROVEN {
            return None;
        }
        // What a proof reads does not depend on what it is given.
        let mut nodes = BTreeMap::new();
        for index in leaves.clone() {
            let read = |node| {
                nodes.insert(node, Hash::new([0; 32]));
                Ok::<_, Infallible>(Hash::new([0; 32]))
            };
            let Ok(proof) = inclusion_proof_from(Place { index, size }, read);
            proof?;
        }
        Some(Self { leaves, size, frontier: Frontier::new(), nodes })
    }

    /// Takes the hash of the next leaf.
    pub fn push(&mut self, leaf: Hash) {
        let nodes = &mut self.nodes;
        self.frontier.push_completing(leaf, |node, hash| {
            if let Some(wanted) = nodes.get_mut(&node) {
                *wanted = hash;
            }
        });
    }

    /// Size and root hash of what was taken.
    #[must_use]
    pub fn head(&self) -> TreeHead {
        self.frontier.head()
    }

    /// Each leaf's index with its proof (RFC 6962, section 2.1.1), in order; `None` when more or fewer leaves came than the tree has.
    #[must_use]
    pub fn finish(self) -> Option<Vec<(u64, Vec<Hash>)>> {
        if self.frontier.size() != self.size {
            return None;
        }
        let read = |node| self.nodes.get(&node).copied().ok_or(());
        let proof = |index| inclusion_proof_from(Place { index, size: self.size }, read).ok().flatten();
        self.leaves.clone().map(|index| Some((index, proof(index)?))).collect()
    }
}

//! Proofs about a tree whose complete subtrees are stored by level and index, as C2SP's tiles store them. Each proof reads
//! a number of hashes that grows with the square of the tree's height at most, never with its size.

use super::{Frontier, Place, node_hash, split};
use crate::Hash;

/// A complete subtree: the `2^level` leaves from `index * 2^level` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node {
    /// Its height; 0 for a leaf.
    pub level: u8,
    /// Its place among the nodes of its level.
    pub index: u64,
}

impl Frontier {
    /// Appends a leaf's hash and tells of each subtree that it completes, the leaf itself first.
    pub fn push_completing(&mut self, leaf: Hash, mut completed: impl FnMut(Node, Hash)) {
        let at = self.size;
        let mut node = leaf;
        completed(Node { level: 0, index: at }, node);
        for level in (1_u8..).take(at.trailing_ones() as usize) {
            if let Some(left) = self.nodes.pop() {
                node = node_hash(&left, &node);
                completed(Node { level, index: at >> level }, node);
            }
        }
        self.nodes.push(node);
        self.size += 1;
    }
}

/// The inclusion proof of a leaf (RFC 6962, section 2.1.1). `read` gives the hash of a complete subtree of the tree.
///
/// # Errors
/// Those of `read`; `None` when the index is not below the size.
pub fn inclusion_proof_from<E>(
    place: Place,
    mut read: impl FnMut(Node) -> Result<Hash, E>,
) -> Result<Option<Vec<Hash>>, E> {
    if place.index >= place.size {
        return Ok(None);
    }
    let (mut start, mut size) = (0, place.size);
    let mut proof = Vec::new();
    while size > 1 {
        let left = split(size);
        if place.index < start + left {
            proof.push(subtree(start + left, size - left, &mut read)?);
            size = left;
        } else {
            proof.push(subtree(start, left, &mut read)?);
            (start, size) = (start + left, size - left);
        }
    }
    proof.reverse();
    Ok(Some(proof))
}

/// The consistency proof from the first `old_size` leaves to `size` (RFC 6962, section 2.1.2).
///
/// # Errors
/// Those of `read`; `None` when the old size is zero or above the size.
pub fn consistency_proof_from<E>(
    old_size: u64,
    size: u64,
    mut read: impl FnMut(Node) -> Result<Hash, E>,
) -> Result<Option<Vec<Hash>>, E> {
    if old_size == 0 || old_size > size {
        return Ok(None);
    }
    let (mut start, mut rest) = (0, size);
    let mut proof = Vec::new();
    // Down to the subtree that ends where the old tree ended.
    while old_size != start + rest {
        let left = split(rest);
        if old_size <= start + left {
            proof.push(subtree(start + left, rest - left, &mut read)?);
            rest = left;
        } else {
            proof.push(subtree(start, left, &mut read)?);
            (start, rest) = (start + left, rest - left);
        }
    }
    // The verifier knows it already when it is the whole of the old tree.
    if start != 0 {
        proof.push(subtree(start, rest, &mut read)?);
    }
    proof.reverse();
    Ok(Some(proof))
}

/// The root of the `size` leaves from `start`, a multiple of the largest power of two in `size`.
fn subtree<E>(start: u64, size: u64, read: &mut impl FnMut(Node) -> Result<Hash, E>) -> Result<Hash, E> {
    let nodes = complete(start, size, read)?;
    Ok(Frontier { size, nodes }.root())
}

/// The complete subtrees of which the `size` leaves from `start` consist, the largest first.
fn complete<E>(
    start: u64,
    size: u64,
    read: &mut impl FnMut(Node) -> Result<Hash, E>,
) -> Result<Vec<Hash>, E> {
    let (mut start, mut rest) = (start, size);
    let mut nodes = Vec::new();
    while rest > 0 {
        let level = u64::BITS - 1 - rest.leading_zeros();
        // The level of a 64-bit size fits in a byte.
        nodes.push(read(Node { level: level.to_le_bytes()[0], index: start >> level })?);
        (start, rest) = (start + (1 << level), rest - (1 << level));
    }
    Ok(nodes)
}

/// The right edge of a tree of `size` leaves.
///
/// # Errors
/// Those of `read`.
pub fn frontier_from<E>(size: u64, mut read: impl FnMut(Node) -> Result<Hash, E>) -> Result<Frontier, E> {
    let nodes = complete(0, size, &mut read)?;
    Ok(Frontier { size, nodes })
}

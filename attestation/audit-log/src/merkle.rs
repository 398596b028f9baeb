//! Merkle trees of RFC 6962, section 2: hashes, inclusion, consistency and range proofs. Pure functions.
//!
//! Proofs come from outside: their length is bounded by [`MAX_PROOF_HASHES`], and sizes up to 2^64 - 1
//! cost no more than their 64 bits.

mod growth;
mod prover;
mod range;
mod stored;

pub use growth::Growth;
pub use prover::{InclusionProver, MAX_PROVEN};
pub use range::{Range, RangeProver, RangeVerifier, range_root};
pub use stored::{Node, consistency_proof_from, frontier_from, inclusion_proof_from};

use crate::Hash;
use ring::digest::{Context, SHA256};
use std::fmt;

/// The longest inclusion or consistency proof: one hash for each bit of a size.
pub const MAX_PROOF_HASHES: usize = 64;
/// The longest range proof: one such path on either side.
pub const MAX_RANGE_PROOF_HASHES: usize = 128;

/// Why a proof proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProofError {
    /// More hashes than any tree needs.
    TooLong,
    /// The index is not below the size, or the old size is zero or above the new one.
    OutOfRange,
    /// Too few or too many hashes for these sizes.
    WrongLength,
    /// The proof leads to another root hash.
    RootMismatch,
}

impl fmt::Display for ProofError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "proof has more hashes than any tree needs",
            Self::OutOfRange => "index or old size is outside of the tree",
            Self::WrongLength => "proof has the wrong number of hashes for these sizes",
            Self::RootMismatch => "proof leads to another root hash",
        })
    }
}

impl std::error::Error for ProofError {}

/// The hash of a leaf: SHA-256 of 0x00 and its bytes.
#[must_use]
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(&[0]);
    context.update(leaf);
    Hash::from_digest(&context.finish())
}

/// The hash of an inner node: SHA-256 of 0x01 and its children's hashes.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(&[1]);
    context.update(left.as_bytes());
    context.update(right.as_bytes());
    Hash::from_digest(&context.finish())
}

/// The right edge of a growing tree: all that is needed to append and to tell the root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// The roots of the full subtrees, largest first; one for each bit set in `size`.
    nodes: Vec<Hash>,
}

impl Frontier {
    /// The empty tree.
    #[must_use]
    pub const fn new() -> Self {
        Self { size: 0, nodes: Vec::new() }
    }

    /// How many leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Size and root hash.
    #[must_use]
    pub fn head(&self) -> TreeHead {
        TreeHead { size: self.size, root: self.root() }
    }

    /// Appends a leaf by its hash.
    pub fn push(&mut self, leaf: Hash) {
        self.push_completing(leaf, |_, _| ());
    }

    /// The root hash; of the empty tree, the hash of nothing.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut nodes = self.nodes.iter().rev();
        let Some(last) = nodes.next() else { return Hash::of(b"") };
        nodes.fold(*last, |right, left| node_hash(left, &right))
    }
}

impl FromIterator<Hash> for Frontier {
    fn from_iter<I: IntoIterator<Item = Hash>>(leaves: I) -> Self {
        let mut frontier = Self::new();
        leaves.into_iter().for_each(|leaf| frontier.push(leaf));
        frontier
    }
}

/// The root hash over leaf hashes.
#[must_use]
pub fn root(leaves: &[Hash]) -> Hash {
    leaves.iter().copied().collect::<Frontier>().root()
}

/// The largest power of two below `size`, which is at least 2.
const fn split(size: u64) -> u64 {
    1 << (u64::BITS - 1 - (size - 1).leading_zeros())
}

fn split_leaves(leaves: &[Hash]) -> (&[Hash], &[Hash]) {
    let at = usize::try_from(split(leaves.len() as u64)).unwrap_or(leaves.len());
    leaves.split_at_checked(at).unwrap_or((leaves, &[]))
}

/// PATH of RFC 6962, section 2.1.1: the proof that `index` is in the tree over `leaves`; `None` when it is
/// not.
#[must_use]
pub fn inclusion_proof(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    if index >= leaves.len() {
        return None;
    }
    if leaves.len() == 1 {
        return Some(Vec::new());
    }
    let (left, right) = split_leaves(leaves);
    let (inside, at, beside) =
        if index < left.len() { (left, index, right) } else { (right, index - left.len(), left) };
    let mut proof = inclusion_proof(inside, at)?;
    proof.push(root(beside));
    Some(proof)
}

/// PROOF of RFC 6962, section 2.1.2: that the tree over the first `old_size` leaves is a prefix of the tree
/// over all of them; `None` when `old_size` is 0 or too large.
#[must_use]
pub fn consistency_proof(leaves: &[Hash], old_size: usize) -> Option<Vec<Hash>> {
    if old_size == 0 || old_size > leaves.len() {
        return None;
    }
    Some(subproof(leaves, old_size, Known::Yes))
}

/// Whether the verifier already holds the root of the subtree that a consistency proof is about.
#[derive(Clone, Copy)]
enum Known {
    Yes,
    No,
}

fn subproof(leaves: &[Hash], old_size: usize, known: Known) -> Vec<Hash> {
    if old_size == leaves.len() {
        return match known {
            Known::Yes => Vec::new(),
            Known::No => vec![root(leaves)],
        };
    }
    let (left, right) = split_leaves(leaves);
    let (mut proof, beside) = if old_size <= left.len() {
        (subproof(left, old_size, known), right)
    } else {
        (subproof(right, old_size - left.len(), Known::No), left)
    };
    proof.push(root(beside));
    proof
}

/// Climbs from a node to the root (RFC 9162, sections 2.1.3.2 and 2.1.4.2).
struct Climb {
    node: u64,
    last: u64,
}

/// On which side of the current node the next hash of a proof stands.
enum Side {
    Left,
    Right,
}

impl Climb {
    const fn up(&mut self) {
        self.node >>= 1;
        self.last >>= 1;
    }

    fn next(&mut self) -> Option<Side> {
        if self.last == 0 {
            return None;
        }
        let side = if self.node & 1 == 1 || self.node == self.last {
            while self.node & 1 == 0 && self.node != 0 {
                self.up();
            }
            Side::Left
        } else {
            Side::Right
        };
        self.up();
        Some(side)
    }
}

/// A place in a tree of a certain size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The leaf's index.
    pub index: u64,
    /// The tree's size.
    pub size: u64,
}

/// Establishes that the tree with `root` has the leaf with hash `leaf` at `place` (RFC 9162, section 2.1.3.2).
///
/// # Errors
/// [`ProofError`].
pub fn verify_inclusion(leaf: &Hash, place: Place, proof: &[Hash], root: &Hash) -> Result<(), ProofError> {
    if proof.len() > MAX_PROOF_HASHES {
        return Err(ProofError::TooLong);
    }
    if place.index >= place.size {
        return Err(ProofError::OutOfRange);
    }
    let mut climb = Climb { node: place.index, last: place.size - 1 };
    let mut node = *leaf;
    for beside in proof {
        node = match climb.next().ok_or(ProofError::WrongLength)? {
            Side::Left => node_hash(beside, &node),
            Side::Right => node_hash(&node, beside),
        };
    }
    if climb.last != 0 {
        return Err(ProofError::WrongLength);
    }
    if node == *root { Ok(()) } else { Err(ProofError::RootMismatch) }
}

/// A tree head: a size and the root hash at that size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeHead {
    /// How many leaves.
    pub size: u64,
    /// The root hash over them.
    pub root: Hash,
}

impl TreeHead {
    /// The head of the tree without leaves.
    #[must_use]
    pub fn empty() -> Self {
        Frontier::new().head()
    }
}

/// Establishes that `new` extends `old` without a change (RFC 9162, section 2.1.4.2). Of an empty old tree there
/// is nothing to establish; it is refused.
///
/// # Errors
/// [`ProofError`].
pub fn verify_consistency(old: &TreeHead, new: &TreeHead, proof: &[Hash]) -> Result<(), ProofError> {
    if proof.len() > MAX_PROOF_HASHES {
        return Err(ProofError::TooLong);
    }
    if old.size == 0 || old.size > new.size {
        return Err(ProofError::OutOfRange);
    }
    if old.size == new.size {
        return match proof {
            [] if old.root == new.root => Ok(()),
            [] => Err(ProofError::RootMismatch),
            _ => Err(ProofError::WrongLength),
        };
    }
    let mut climb = Climb { node: old.size - 1, last: new.size - 1 };
    while climb.node & 1 == 1 {
        climb.up();
    }
    // A full old tree is a node of the new one; the proof leaves it out because the verifier has it.
    let (first, rest) = match proof {
        _ if old.size.is_power_of_two() => (&old.root, proof),
        [first, rest @ ..] => (first, rest),
        [] => return Err(ProofError::WrongLength),
    };
    let (mut old_root, mut new_root) = (*first, *first);
    for beside in rest {
        match climb.next().ok_or(ProofError::WrongLength)? {
            Side::Left => {
                old_root = node_hash(beside, &old_root);
                new_root = node_hash(beside, &new_root);
            }
            Side::Right => new_root = node_hash(&new_root, beside),
        }
    }
    if climb.last != 0 {
        return Err(ProofError::WrongLength);
    }
    if old_root == old.root && new_root == new.root { Ok(()) } else { Err(ProofError::RootMismatch) }
}

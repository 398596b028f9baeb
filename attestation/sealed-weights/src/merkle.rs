//! The RFC 6962 Merkle tree hash over the leaf hashes of an object's encrypted segments.

use ring::digest::{Context, SHA256};

/// One SHA-256 value.
pub(crate) type Hash = [u8; 32];

/// Bytes of a hash in a tree file.
pub(crate) const HASH_LEN: usize = 32;

/// The value of a finished SHA-256 computation.
pub(crate) fn finish(context: Context) -> Hash {
    let mut out = [0; HASH_LEN];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// SHA-256 of `bytes`.
pub(crate) fn sha256(bytes: &[u8]) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(bytes);
    finish(context)
}

fn node(left: &Hash, right: &Hash) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(&[1]);
    context.update(left);
    context.update(right);
    finish(context)
}

/// The root over leaf hashes, RFC 6962 section 2.1. The root of no leaf is the hash of nothing.
pub(crate) fn root(leaves: &[Hash]) -> Hash {
    // Complete subtrees seen so far, largest first; as in binary counting, a new leaf closes one subtree for each
    // trailing one bit of the number of leaves before it.
    let mut subtrees: Vec<Hash> = Vec::new();
    for (count, leaf) in leaves.iter().enumerate() {
        let mut hash = *leaf;
        for _ in 0..count.trailing_ones() {
            if let Some(left) = subtrees.pop() {
                hash = node(&left, &hash);
            }
        }
        subtrees.push(hash);
    }
    subtrees.into_iter().rev().reduce(|right, left| node(&left, &right)).unwrap_or_else(|| sha256(&[]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::Suite;

    fn leaf(bytes: &[u8]) -> Hash {
        Suite::Sha256.leaf(bytes)
    }

    /// The definition of the specification, word by word.
    fn root_by_definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => sha256(&[]),
            [one] => *one,
            many => {
                let split = many.len().next_power_of_two() / 2;
                node(&root_by_definition(&many[..split]), &root_by_definition(&many[split..]))
            }
        }
    }

    #[test]
    fn matches_the_known_roots_of_certificate_transparency() {
        // The eight leaves and roots that the Certificate Transparency implementations share as test vectors.
        let inputs: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let leaves: Vec<Hash> = inputs.iter().map(|input| leaf(input)).collect();
        let roots = [
            (1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
            (2, "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
            (3, "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
            (5, "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"),
            (8, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
        ];
        for (size, expected) in roots {
            assert_eq!(crate::hex::encode(&root(&leaves[..size])), expected, "{size}");
        }
    }

    #[test]
    fn agrees_with_the_recursive_definition() {
        let leaves: Vec<Hash> = (0..70_u8).map(|index| leaf(&[index])).collect();
        for size in 0..=leaves.len() {
            assert_eq!(root(&leaves[..size]), root_by_definition(&leaves[..size]), "{size}");
        }
    }
}

//! The hash tree of dm-verity, version 1 without a superblock (kernel documentation, device-mapper/verity): SHA-256 over salt and
//! block, 128 digests to a block, the level nearest to the root first.

use ring::digest::{Context, SHA256};

/// Data and tree have blocks of this size.
pub const BLOCK_LEN: usize = 4096;
const DIGEST_LEN: usize = 32;

/// The salt of a tree.
pub type Salt = [u8; 32];

/// What a root file is, once its tree was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Blocks of data before the tree.
    pub blocks: usize,
    /// The digest that stands for all of it.
    pub root_hash: [u8; DIGEST_LEN],
}

fn digest(salt: &Salt, block: &[u8]) -> [u8; DIGEST_LEN] {
    let mut context = Context::new(&SHA256);
    context.update(salt);
    context.update(block);
    let mut digest = [0; DIGEST_LEN];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

/// The digests of `data`, block by block, filled up with zeros to whole blocks.
fn level(salt: &Salt, data: &[u8]) -> Vec<u8> {
    let mut digests: Vec<u8> = data.chunks(BLOCK_LEN).flat_map(|block| digest(salt, block)).collect();
    digests.resize(digests.len().next_multiple_of(BLOCK_LEN), 0);
    digests
}

/// Fills `image` up to whole blocks and appends its tree.
pub fn append(image: &mut Vec<u8>, salt: &Salt) -> Tree {
    image.resize(image.len().next_multiple_of(BLOCK_LEN).max(BLOCK_LEN), 0);
    let blocks = image.len() / BLOCK_LEN;
    let mut levels: Vec<Vec<u8>> = Vec::new();
    // A single block of data has no level above it: its digest is the root.
    let mut covered = blocks;
    while covered > 1 {
        let next = level(salt, levels.last().unwrap_or(image));
        covered = next.len() / BLOCK_LEN;
        levels.push(next);
    }
    let root_hash = digest(salt, levels.last().unwrap_or(image));
    image.extend(levels.iter().rev().flatten());
    Tree { blocks, root_hash }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_appended_from_the_root_down() {
        let mut image: Vec<u8> = (0..129).flat_map(|block: u8| [block; BLOCK_LEN]).collect();
        let data = image.clone();
        let tree = append(&mut image, &[7; 32]);
        assert_eq!(tree.blocks, 129);
        // Two blocks of digests for 129 blocks, one above them.
        assert_eq!(image.len(), (129 + 1 + 2) * BLOCK_LEN);
        let top = &image[129 * BLOCK_LEN..130 * BLOCK_LEN];
        assert_eq!(tree.root_hash, digest(&[7; 32], top));
        assert_eq!(top[..32], digest(&[7; 32], &image[130 * BLOCK_LEN..131 * BLOCK_LEN]));
        assert_eq!(image[130 * BLOCK_LEN..][..32], digest(&[7; 32], &data[..BLOCK_LEN]));
    }

    #[test]
    fn every_byte_and_the_salt_count() {
        let root = |change: Option<usize>, salt: u8| {
            let mut image = vec![0; 3 * BLOCK_LEN - 5];
            if let Some(at) = change {
                image[at] = 1;
            }
            append(&mut image, &[salt; 32]).root_hash
        };
        let first = root(None, 0);
        assert_eq!(first, root(None, 0));
        for other in [root(Some(0), 0), root(Some(3 * BLOCK_LEN - 6), 0), root(None, 1)] {
            assert_ne!(first, other);
        }
    }
}

//! Keys and values of the positions that were computed, in blocks. Who may read which block is the scheduler's business; here a block
//! is what it was given, and nothing once it is erased.

use crate::attention::Unit;
use crate::kernel::WIDTH;
use anchorhold_engine::BlockId;
use zeroize::Zeroize as _;

/// How the blocks of a model's cache are laid out: units by layer, then by head.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) layers: usize,
    /// Heads that have keys and values.
    pub(crate) heads: usize,
    pub(crate) unit: Unit,
}

impl Shape {
    fn block_len(&self) -> usize {
        self.layers * self.heads * self.unit.len()
    }

    fn start(&self, layer: usize, head: usize) -> usize {
        (layer * self.heads + head) * self.unit.len()
    }
}

/// Blocks of [`WIDTH`] positions. The memory of one is taken when it is first written, and kept until the model goes.
pub(crate) struct Cache {
    shape: Shape,
    blocks: Vec<Box<[f32]>>,
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.blocks.iter_mut().for_each(|block| block.zeroize());
    }
}

impl Cache {
    pub(crate) fn new(shape: Shape) -> Self {
        Self { shape, blocks: Vec::new() }
    }

    /// Makes sure that these blocks have memory.
    pub(crate) fn reserve(&mut self, blocks: &[BlockId]) {
        let count = blocks.iter().map(|block| block.index() + 1).max().unwrap_or(0);
        while self.blocks.len() < count {
            self.blocks.push(vec![0.0; self.shape.block_len()].into_boxed_slice());
        }
    }

    /// Writes the key and value of one head at a position of the sequence that lies in `blocks`, which are reserved.
    pub(crate) fn write(&mut self, blocks: &[BlockId], at: Place, key: &[f32], value: &[f32]) {
        let start = self.shape.start(at.layer, at.head);
        let unit = self.shape.unit;
        let block = blocks.get(at.position / WIDTH).and_then(|block| self.blocks.get_mut(block.index()));
        if let Some(slot) = block.and_then(|block| block.get_mut(start..start + unit.len())) {
            unit.write(slot, at.position % WIDTH, key, value);
        }
    }

    /// Overwrites these blocks, in a way that the compiler does not leave out.
    pub(crate) fn erase(&mut self, blocks: &[BlockId]) {
        for block in blocks {
            if let Some(block) = self.blocks.get_mut(block.index()) {
                block.zeroize();
            }
        }
    }

    /// The units of one head that hold the first `positions` positions of the sequence that lies in `blocks`.
    pub(crate) fn units(
        &self,
        blocks: &[BlockId],
        layer: usize,
        head: usize,
        positions: usize,
    ) -> Vec<&[f32]> {
        let start = self.shape.start(layer, head);
        let blocks = blocks.iter().take(positions.div_ceil(WIDTH));
        let blocks = blocks.filter_map(|block| self.blocks.get(block.index()));
        blocks.filter_map(|block| block.get(start..start + self.shape.unit.len())).collect()
    }
}

/// Where in a sequence.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) layer: usize,
    pub(crate) head: usize,
    pub(crate) position: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> Cache {
        Cache::new(Shape { layers: 2, heads: 3, unit: Unit { head: 4 } })
    }

    #[test]
    fn places_are_apart_and_blocks_are_made_as_needed() {
        let mut cache = cache();
        let blocks = [BlockId(2), BlockId(0)];
        cache.reserve(&blocks);
        assert_eq!(cache.blocks.len(), 3);
        let mut written = 0.0;
        for (layer, head, position) in [(0, 0, 0), (0, 2, 31), (1, 1, 32), (1, 2, 5)] {
            cache.write(&blocks, Place { layer, head, position }, &[1.0; 4], &[2.0; 4]);
            written += 4.0 + 8.0;
        }
        assert_eq!(cache.blocks.iter().flatten().sum::<f32>(), written);
        assert_eq!(cache.units(&blocks, 1, 1, WIDTH).len(), 1);
        let units = cache.units(&blocks, 1, 1, WIDTH + 1);
        assert_eq!(units.iter().map(|unit| unit.iter().sum::<f32>()).collect::<Vec<_>>(), [0.0, 12.0]);
        assert!(cache.blocks[1].iter().all(|value| *value == 0.0), "nobody's block");
    }

    #[test]
    fn erasing_leaves_nothing_of_the_block_and_the_others_alone() {
        let mut cache = cache();
        let (own, other) = ([BlockId(0)], [BlockId(1)]);
        cache.reserve(&[own, other].concat());
        for blocks in [own, other] {
            cache.write(&blocks, Place { layer: 0, head: 0, position: 0 }, &[1.0; 4], &[2.0; 4]);
        }
        cache.erase(&own);
        cache.erase(&[BlockId(7)]);
        assert_eq!(
            cache.blocks.iter().map(|block| block.iter().sum::<f32>()).collect::<Vec<_>>(),
            [0.0, 12.0]
        );
    }
}

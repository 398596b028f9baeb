//! Keys and values of the positions that were computed, in blocks. Who may read which block is the scheduler's business; here a block
//! is what it was given, and nothing once it is erased.

use crate::attention::Unit;
use crate::kernel::{Packing, Pages};
use anchorhold_engine::BlockId;
use std::ops::DerefMut;

/// How the blocks of a model's cache are laid out: units by layer, then by head.
#[derive(Debug)]
pub(crate) struct Shape<P> {
    pub(crate) layers: usize,
    /// Heads that have keys and values.
    pub(crate) heads: usize,
    pub(crate) unit: Unit<P>,
}

impl<P> Clone for Shape<P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for Shape<P> {}

impl<P: Packing> Shape<P> {
    fn block_len(&self) -> usize {
        self.layers * self.heads * self.unit.len()
    }

    fn start(&self, layer: usize, head: usize) -> usize {
        (layer * self.heads + head) * self.unit.len()
    }

    /// The unit of one head in a block.
    pub(crate) fn part<'a>(&self, block: &'a mut [P], layer: usize, head: usize) -> &'a mut [P] {
        let start = self.start(layer, head);
        block.get_mut(start..start + self.unit.len()).unwrap_or_default()
    }
}

/// Blocks of [`WIDTH`](crate::kernel::WIDTH) positions. The memory of one is taken when it is first written, and kept until the model goes.
pub(crate) struct Cache<P: Packing> {
    shape: Shape<P>,
    blocks: Vec<Pages<P>>,
}

impl<P: Packing> Cache<P> {
    pub(crate) fn new(shape: Shape<P>) -> Self {
        Self { shape, blocks: Vec::new() }
    }

    /// Makes sure that these blocks have memory.
    pub(crate) fn reserve(&mut self, blocks: &[BlockId]) {
        let count = blocks.iter().map(|block| block.index() + 1).max().unwrap_or(0);
        while self.blocks.len() < count {
            self.blocks.push(Pages::zeroed(self.shape.block_len()));
        }
    }

    /// How its blocks are laid out.
    pub(crate) fn shape(&self) -> Shape<P> {
        self.shape
    }

    /// The blocks of these numbers, which are reserved and in ascending order, to be written.
    pub(crate) fn pick(&mut self, numbers: impl Iterator<Item = usize>) -> impl Iterator<Item = &mut [P]> {
        let mut blocks = self.blocks.iter_mut();
        let mut passed = 0;
        numbers.map(move |number| {
            let block = blocks.nth(number - passed);
            passed = number + 1;
            block.map(DerefMut::deref_mut).unwrap_or_default()
        })
    }

    /// Overwrites these blocks, in a way that the compiler does not leave out.
    pub(crate) fn erase(&mut self, blocks: &[BlockId]) {
        for block in blocks {
            if let Some(block) = self.blocks.get_mut(block.index()) {
                block.wipe();
            }
        }
    }

    /// The unit of one head in a block, which is reserved.
    pub(crate) fn unit(&self, block: BlockId, layer: usize, head: usize) -> &[P] {
        let start = self.shape.start(layer, head);
        let block = self.blocks.get(block.index());
        block.and_then(|block| block.get(start..start + self.shape.unit.len())).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> Cache<f32> {
        Cache::new(Shape { layers: 2, heads: 3, unit: Unit::new(4) })
    }

    /// Writes a key of ones and a value of twos.
    fn write(cache: &mut Cache<f32>, block: usize, (layer, head): (usize, usize), slot: usize) {
        let shape = cache.shape();
        let block = cache.pick([block].into_iter()).next().unwrap();
        shape.unit.write(shape.part(block, layer, head), slot, &[1.0; 4], &[2.0; 4]);
    }

    #[test]
    fn places_are_apart_and_blocks_are_made_as_needed() {
        let mut cache = cache();
        cache.reserve(&[BlockId(2), BlockId(0)]);
        assert_eq!(cache.blocks.len(), 3);
        let mut written = 0.0;
        for (block, place, slot) in [(2, (0, 0), 0), (2, (0, 2), 31), (0, (1, 1), 0), (2, (1, 2), 5)] {
            write(&mut cache, block, place, slot);
            written += 4.0 + 8.0;
        }
        assert_eq!(cache.blocks.iter().flat_map(|block| block.iter()).sum::<f32>(), written);
        let sum = |block| cache.unit(BlockId(block), 1, 1).iter().sum::<f32>();
        assert_eq!([2, 0].map(sum), [0.0, 12.0]);
        assert!(cache.unit(BlockId(9), 1, 1).is_empty());
        assert!(cache.blocks[1].iter().all(|value| *value == 0.0), "nobody's block");
        let picked = cache.pick([0, 2].into_iter()).map(|block| block.iter().sum::<f32>());
        assert_eq!(picked.collect::<Vec<_>>(), [12.0, 36.0]);
    }

    #[test]
    fn erasing_leaves_nothing_of_the_block_and_the_others_alone() {
        let mut cache = cache();
        cache.reserve(&[BlockId(0), BlockId(1)]);
        for block in [0, 1] {
            write(&mut cache, block, (0, 0), 0);
        }
        cache.erase(&[BlockId(0)]);
        cache.erase(&[BlockId(7)]);
        let sums = cache.blocks.iter().map(|block| block.iter().sum::<f32>());
        assert_eq!(sums.collect::<Vec<_>>(), [0.0, 12.0]);
    }
}

//! Keys and values of the sequences in flight. One sequence's cache is never seen by another, and is erased when it is freed.

use crate::attention::Unit;
use crate::kernel::WIDTH;
use zeroize::Zeroize as _;

/// How the blocks of a model's caches are laid out: units by layer, then by head.
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

/// The cache of one sequence: blocks of [`WIDTH`] positions, made when the sequence grows into them.
#[derive(Default)]
pub(crate) struct Cache {
    blocks: Vec<Box<[f32]>>,
    len: usize,
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.erase();
    }
}

impl Cache {
    /// Positions that are filled.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Makes room for `more` positions after the filled ones.
    pub(crate) fn reserve(&mut self, shape: &Shape, more: usize) {
        let wanted = (self.len + more).div_ceil(WIDTH);
        while self.blocks.len() < wanted {
            self.blocks.push(vec![0.0; shape.block_len()].into_boxed_slice());
        }
    }

    /// Writes the key and value of one head at a reserved position.
    pub(crate) fn write(&mut self, shape: &Shape, at: Place, key: &[f32], value: &[f32]) {
        let start = shape.start(at.layer, at.head);
        let block = self.blocks.get_mut(at.position / WIDTH);
        if let Some(unit) = block.and_then(|block| block.get_mut(start..start + shape.unit.len())) {
            shape.unit.write(unit, at.position % WIDTH, key, value);
        }
    }

    /// Overwrites everything, in a way that the compiler does not leave out.
    fn erase(&mut self) {
        for block in &mut self.blocks {
            block.zeroize();
        }
        self.len = 0;
    }

    /// Counts `more` positions as filled, in every layer.
    pub(crate) fn advance(&mut self, more: usize) {
        self.len += more;
    }

    /// The units of one head that hold the first `positions` positions.
    pub(crate) fn units(&self, shape: &Shape, layer: usize, head: usize, positions: usize) -> Vec<&[f32]> {
        let start = shape.start(layer, head);
        let blocks = self.blocks.iter().take(positions.div_ceil(WIDTH));
        blocks.filter_map(|block| block.get(start..start + shape.unit.len())).collect()
    }
}

/// Where in a cache.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) layer: usize,
    pub(crate) head: usize,
    pub(crate) position: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { layers: 2, heads: 3, unit: Unit { head: 4 } };

    #[test]
    fn places_are_apart_and_blocks_are_made_as_needed() {
        let mut cache = Cache::default();
        cache.reserve(&SHAPE, WIDTH + 1);
        assert_eq!(cache.blocks.len(), 2);
        let mut written = 0.0;
        for (layer, head, position) in [(0, 0, 0), (0, 2, 31), (1, 1, 32), (1, 2, 5)] {
            cache.write(&SHAPE, Place { layer, head, position }, &[1.0; 4], &[2.0; 4]);
            written += 4.0 + 8.0;
        }
        assert_eq!(cache.blocks.iter().flatten().sum::<f32>(), written);
        assert_eq!(cache.units(&SHAPE, 1, 1, WIDTH).len(), 1);
        let units = cache.units(&SHAPE, 1, 1, WIDTH + 1);
        assert_eq!(units.iter().map(|unit| unit.iter().sum::<f32>()).collect::<Vec<_>>(), [0.0, 12.0]);
    }

    #[test]
    fn erasing_leaves_nothing() {
        let mut cache = Cache::default();
        cache.reserve(&SHAPE, 1);
        cache.write(&SHAPE, Place { layer: 0, head: 0, position: 0 }, &[1.0; 4], &[2.0; 4]);
        cache.advance(1);
        cache.erase();
        assert!(cache.len() == 0 && cache.blocks.iter().flatten().all(|value| *value == 0.0));
    }
}

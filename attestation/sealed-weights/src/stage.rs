//! Staging for devices: verified tensors in large blocks of aligned memory, two of them, so that one is filled while the
//! other is copied.
//!
//! Copies to a GPU in confidential mode are expensive each and cheap by the byte, so there are few and large ones. The
//! tensors lie in a block as they are to lie on the device, so that one copy places all of them.

use std::fmt;
use std::ops::{ControlFlow, Range};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread;

use crate::convert::Out;
use crate::effort::{Effort, Meter};
use crate::error::Error;
use crate::load::{Aimed, Arrangement, fill};
use crate::memory::Region;
use crate::model::SealedModel;
use crate::plan::{SegmentPlan, TensorPiece, plan};
use crate::rules::DestinationRule;

/// The block length for devices unless there is a reason, in bytes.
pub const DEFAULT_BLOCK_LEN: usize = 128 << 20;
/// The longest block, in bytes. Two of them are taken.
pub const MAX_BLOCK_LEN: usize = 1 << 30;

/// A block begins in memory as far behind a page as its place on the device is.
const PAGE: usize = 4096;

/// A part of one tensor in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StagedRange {
    /// The tensor's position in [`SealedModel::index`].
    pub tensor: usize,
    /// Where the part begins in the tensor.
    pub tensor_offset: u64,
    /// Where it begins in the block.
    pub start: usize,
    /// Bytes of the part.
    pub len: usize,
}

/// Verified bytes, ready to be copied to a device.
pub struct StagedBlock<'a> {
    /// Where the block goes, by [`SealedModel::arrangement`].
    pub device_offset: u64,
    /// The bytes, with zeros between tensors. As far behind a 4 KiB page as `device_offset` is behind one.
    pub bytes: &'a [u8],
    /// Which tensors they are of.
    pub ranges: &'a [StagedRange],
    /// Whether the memory is kept from swap.
    pub locked: bool,
}

impl fmt::Debug for StagedBlock<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StagedBlock")
            .field("device_offset", &self.device_offset)
            .field("len", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

impl SealedModel {
    /// Verifies and decrypts the weights block by block and hands each block to `consume`, in the order of the device's
    /// memory, on the calling thread; the next block is filled meanwhile. Every tensor comes whole, in one block or over
    /// several that follow each other.
    ///
    /// Establishes for each block what [`SealedModel::load_tensors`] does for its tensors: nothing in it is unverified. A
    /// block's memory is used again when `consume` returns, and wiped at the end.
    ///
    /// # Errors
    /// [`Error::Destination`] when `block_len` is longer than [`MAX_BLOCK_LEN`] or too short for a segment with the gaps in
    /// it, or when `consume` breaks; else those of [`SealedModel::load_tensors`].
    pub fn stage(
        &self,
        block_len: usize,
        effort: &Effort<'_>,
        mut consume: impl FnMut(&StagedBlock<'_>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        if block_len > MAX_BLOCK_LEN {
            return Err(DestinationRule::BlockLength.into());
        }
        let blocks = cut(plan(self)?, &self.arrangement()?, block_len as u64)?;
        self.check_weights()?;
        let meter =
            effort.meter(blocks.iter().flat_map(|block| &block.segments).map(|segment| segment.len).sum());
        let (give_back, free) = channel();
        for _ in 0..2.min(blocks.len()) {
            let mut region = Region::new(block_len + PAGE)?;
            region.lock();
            // The other end is in this function and cannot be gone.
            let _ = give_back.send(region);
        }
        let (filled, to_consume) = sync_channel(1);
        let filler = Filler { model: self, effort, meter: &meter };
        thread::scope(|scope| {
            scope.spawn(move || filler.run(blocks, &free, &filled));
            for filled in to_consume {
                let Filled { block, region } = filled?;
                let staged = StagedBlock {
                    device_offset: block.device.start,
                    bytes: region.get(block.place()).unwrap_or_default(),
                    ranges: &block.ranges,
                    locked: region.is_locked(),
                };
                if consume(&staged).is_break() {
                    return Err(DestinationRule::Consumer.into());
                }
                // A filler that has filled the last block needs no more.
                let _ = give_back.send(region);
            }
            Ok(())
        })
    }
}

/// A block to be filled: where it goes, and which segments it is made of.
struct Block {
    device: Range<u64>,
    segments: Vec<SegmentPlan<TensorPiece>>,
    ranges: Vec<StagedRange>,
}

impl Block {
    /// Where the block lies in its memory.
    fn place(&self) -> Range<usize> {
        let start = usize::try_from(self.device.start % PAGE as u64).unwrap_or_default();
        start..start + usize::try_from(self.device.end - self.device.start).unwrap_or_default()
    }
}

/// Groups segments into blocks that are as long as possible. Segments without a tensor are left out.
fn cut(
    plans: Vec<SegmentPlan<TensorPiece>>,
    arrangement: &Arrangement,
    block_len: u64,
) -> Result<Vec<Block>, Error> {
    let mut blocks: Vec<Block> = Vec::new();
    for mut plan in plans {
        plan.pieces.retain(|piece| piece.len > 0);
        let places: Option<Vec<u64>> = plan
            .pieces
            .iter()
            .map(|piece| arrangement.offset(piece.tensor)?.checked_add(piece.offset))
            .collect();
        let places = places.ok_or(DestinationRule::Memory)?;
        let (Some(first), Some(last), Some(piece)) = (places.first(), places.last(), plan.pieces.last())
        else {
            continue;
        };
        let end = last.saturating_add(piece.len as u64);
        if end - first > block_len {
            return Err(DestinationRule::BlockLength.into());
        }
        let block = match blocks.last_mut().filter(|block| end - block.device.start <= block_len) {
            Some(block) => block,
            None => {
                blocks.push(Block { device: *first..*first, segments: Vec::new(), ranges: Vec::new() });
                blocks.last_mut().ok_or(DestinationRule::Memory)?
            }
        };
        for (piece, place) in plan.pieces.iter().zip(&places) {
            let start = usize::try_from(place - block.device.start).map_err(|_| DestinationRule::Memory)?;
            let TensorPiece { tensor, offset: tensor_offset, len, .. } = *piece;
            block.ranges.push(StagedRange { tensor, tensor_offset, start, len });
        }
        block.device.end = end;
        block.segments.push(plan);
    }
    Ok(blocks)
}

/// A block whose segments were all verified.
struct Filled {
    block: Block,
    region: Region,
}

struct Filler<'a> {
    model: &'a SealedModel,
    effort: &'a Effort<'a>,
    meter: &'a Meter<'a>,
}

impl Filler<'_> {
    /// Fills blocks in order until one is refused or nobody takes them.
    fn run(&self, blocks: Vec<Block>, free: &Receiver<Region>, filled: &SyncSender<Result<Filled, Error>>) {
        for block in blocks {
            let Ok(region) = free.recv() else { return };
            let result = self.fill(block, region);
            let failed = result.is_err();
            if filled.send(result).is_err() || failed {
                return;
            }
        }
    }

    fn fill(&self, mut block: Block, mut region: Region) -> Result<Filled, Error> {
        let mut rest = region.get_mut(block.place()).ok_or(DestinationRule::Memory)?;
        let (mut at, mut ranges) = (0, block.ranges.iter());
        let mut aimed = Vec::with_capacity(block.segments.len());
        for plan in std::mem::take(&mut block.segments) {
            let mut pieces = Vec::with_capacity(plan.pieces.len());
            for (piece, range) in plan.pieces.iter().zip(&mut ranges) {
                let (gap, from) =
                    rest.split_at_mut_checked(range.start - at).ok_or(DestinationRule::Memory)?;
                gap.fill(0);
                let (bytes, tail) = from.split_at_mut_checked(range.len).ok_or(DestinationRule::Memory)?;
                pieces.push(Aimed { start: piece.start, len: piece.len, out: Out::Bytes(bytes) });
                (rest, at) = (tail, range.start + range.len);
            }
            aimed.push(SegmentPlan { object: plan.object, index: plan.index, len: plan.len, pieces });
        }
        fill(self.model, aimed, self.effort, self.meter)?;
        Ok(Filled { block, region })
    }
}

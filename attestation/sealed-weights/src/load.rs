//! Loading the weights: segments are verified in parallel, and where a segment lies wholly inside one tensor it is read,
//! hashed and decrypted in the tensor's own memory. Others go through a thread's scratch.

use std::fmt;
use std::ops::Range;

use crate::convert::Out;
use crate::dtype::Dtype;
use crate::effort::{Effort, Meter};
use crate::error::Error;
use crate::memory::Region;
use crate::model::SealedModel;
use crate::plan::{SegmentPlan, TensorPiece, plan};
use crate::reader::{ObjectReader, Scratch};
use crate::rules::{DestinationRule, TensorRule};
use crate::tensors::Tensor;

/// Where a tensor's bytes go.
#[derive(Debug)]
pub enum Destination<'a> {
    /// Nowhere: the tensor is verified and dropped.
    Skip,
    /// As they are in the file, little-endian; exactly the tensor's length. Must be memory that nobody else can write.
    Bytes(&'a mut [u8]),
    /// As numbers; one for each element of an F32, F16 or BF16 tensor, converted without loss.
    F32(&'a mut [f32]),
}

/// Large tensors begin at a page, so that a device can copy them as they lie.
const PAGE: u64 = 4096;
/// Small ones begin at a cache line.
const LINE: u64 = 64;
/// What is large: from here on the gap before a page is at most 0.4 % of the tensor.
const LARGE: u64 = 1 << 20;

/// Where tensors lie in one stretch of memory, each aligned, in the order of the index: on the host and on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrangement {
    offsets: Vec<u64>,
    len: u64,
}

impl Arrangement {
    /// The arrangement of these tensors.
    pub(crate) fn of<'t>(tensors: impl Iterator<Item = &'t Tensor>) -> Result<Self, Error> {
        let (mut offsets, mut end) = (Vec::new(), 0_u64);
        for tensor in tensors {
            let alignment = if tensor.len() < LARGE { LINE } else { PAGE };
            let offset = end.checked_next_multiple_of(alignment).ok_or(TensorRule::Size)?;
            offsets.push(offset);
            end = offset.checked_add(tensor.len()).ok_or(TensorRule::Size)?;
        }
        Ok(Self { offsets, len: end })
    }

    /// The offset of the tensor at `position` of the index: a multiple of 64, and of 4,096 from 1 MiB of tensor on.
    #[must_use]
    pub fn offset(&self, position: usize) -> Option<u64> {
        self.offsets.get(position).copied()
    }

    /// Bytes of the whole stretch.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether it holds no byte.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// All tensors of a model as they are stored, verified, in one stretch of memory. In huge pages and locked where the system
/// allows it; wiped when dropped.
pub struct TensorMemory {
    region: Region,
    places: Vec<Range<usize>>,
}

impl TensorMemory {
    /// The bytes of the tensor at `position` of the index, little-endian. They begin at a multiple of 64, and of 4,096 if
    /// there are at least 1 MiB of them.
    #[must_use]
    pub fn tensor(&self, position: usize) -> Option<&[u8]> {
        self.region.get(self.places.get(position)?.clone())
    }

    /// Bytes of the whole stretch.
    #[must_use]
    pub fn len(&self) -> usize {
        self.region.len()
    }

    /// Whether it holds no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.region.is_empty()
    }

    /// Whether the system keeps it from being written to swap. It does not when the limit on locked memory is smaller.
    #[must_use]
    pub const fn is_locked(&self) -> bool {
        self.region.is_locked()
    }
}

impl fmt::Debug for TensorMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TensorMemory").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// See [`SealedModel::load_tensors`].
pub(crate) fn load_tensors(
    model: &SealedModel,
    destinations: Vec<Destination<'_>>,
    effort: &Effort<'_>,
) -> Result<(), Error> {
    let plans = aim(model, plan(model)?, destinations)?;
    model.check_weights()?;
    let meter = effort.meter(plans.iter().map(|plan| plan.len).sum());
    fill(model, plans, effort, &meter)
}

/// See [`SealedModel::load`].
pub(crate) fn load(model: &SealedModel, effort: &Effort<'_>) -> Result<TensorMemory, Error> {
    let arrangement = Arrangement::of(model.index().tensors())?;
    let memory = |_| DestinationRule::Memory;
    let mut region = Region::new(usize::try_from(arrangement.len()).map_err(memory)?)?;
    let mut places = Vec::with_capacity(model.index().len());
    for (tensor, offset) in model.index().tensors().zip(&arrangement.offsets) {
        let start = usize::try_from(*offset).map_err(memory)?;
        places.push(start..start + usize::try_from(tensor.len()).map_err(memory)?);
    }
    let mut destinations = Vec::with_capacity(places.len());
    let (mut rest, mut at) = (&mut *region, 0);
    for place in &places {
        let (_, from) = rest.split_at_mut_checked(place.start - at).ok_or(DestinationRule::Length)?;
        let (tensor, tail) = from.split_at_mut_checked(place.len()).ok_or(DestinationRule::Length)?;
        destinations.push(Destination::Bytes(tensor));
        (rest, at) = (tail, place.end);
    }
    load_tensors(model, destinations, effort)?;
    // Locked only now: the loading threads have taken the pages in parallel.
    region.lock();
    Ok(TensorMemory { region, places })
}

/// See [`SealedModel::load_f32`].
pub(crate) fn load_f32(model: &SealedModel, effort: &Effort<'_>) -> Result<Vec<Vec<f32>>, Error> {
    if !model.index().tensors().all(|tensor| Out::reads_as_f32(tensor.dtype)) {
        return Err(DestinationRule::NotNumbers.into());
    }
    let mut out = Vec::with_capacity(model.index().len());
    for tensor in model.index().tensors() {
        // Zeroed memory comes from the system untouched: its pages are first written by the loading threads.
        let elements = usize::try_from(tensor.elements()).map_err(|_| DestinationRule::Memory)?;
        out.push(vec![0.0_f32; elements]);
    }
    let destinations = out.iter_mut().map(|tensor| Destination::F32(tensor)).collect();
    load_tensors(model, destinations, effort)?;
    Ok(out)
}

/// A run of plaintext and the memory where it goes.
pub(crate) struct Aimed<'a> {
    pub(crate) start: usize,
    pub(crate) len: usize,
    pub(crate) out: Out<'a>,
}

/// Gives each run its part of its tensor's memory. Fails unless every destination fits its tensor.
fn aim<'a>(
    model: &SealedModel,
    plans: Vec<SegmentPlan<TensorPiece>>,
    destinations: Vec<Destination<'a>>,
) -> Result<Vec<SegmentPlan<Aimed<'a>>>, Error> {
    if destinations.len() != model.index().len() {
        return Err(DestinationRule::Count.into());
    }
    let mut outs = Vec::with_capacity(destinations.len());
    for (tensor, destination) in model.index().tensors().zip(destinations) {
        outs.push(Some(Out::new(destination, tensor)?));
    }
    let mut aim_piece = |piece: TensorPiece| -> Result<Aimed<'a>, Error> {
        let place = outs.get_mut(piece.tensor).ok_or(DestinationRule::Count)?;
        let out = place.take().ok_or(DestinationRule::Length)?;
        let (out, rest) = out.split(piece.start, piece.len)?;
        *place = Some(rest);
        Ok(Aimed { start: piece.start, len: piece.len, out })
    };
    let mut aimed = Vec::with_capacity(plans.len());
    for plan in plans {
        let pieces = plan.pieces.into_iter().map(&mut aim_piece).collect::<Result<_, _>>()?;
        aimed.push(SegmentPlan { object: plan.object, index: plan.index, len: plan.len, pieces });
    }
    Ok(aimed)
}

/// Verifies the segments and fills the memory of their runs.
pub(crate) fn fill(
    model: &SealedModel,
    plans: Vec<SegmentPlan<Aimed<'_>>>,
    effort: &Effort<'_>,
    meter: &Meter<'_>,
) -> Result<(), Error> {
    effort.run(
        plans,
        || Ok(None),
        |scratch, plan| {
            let len = plan.len;
            fill_segment(model.reader_at(plan.object)?, plan, scratch)?;
            meter.add(len);
            Ok(())
        },
    )
}

/// Verifies one segment: in place, if it is one tensor's, else in the thread's scratch, which is made when it is needed.
fn fill_segment(
    reader: &ObjectReader,
    mut plan: SegmentPlan<Aimed<'_>>,
    scratch: &mut Option<Scratch>,
) -> Result<(), Error> {
    if let [Aimed { start: 0, out: Out::Bytes(bytes), .. }] = plan.pieces.as_mut_slice()
        && bytes.len() as u64 == plan.len
    {
        return reader.read_into(plan.index, bytes);
    }
    let plaintext = reader.read_with(plan.index, scratch)?;
    for piece in &mut plan.pieces {
        let bytes = plaintext.get(piece.start..).and_then(|rest| rest.get(..piece.len));
        piece.out.fill(bytes.ok_or(TensorRule::End)?);
    }
    Ok(())
}

/// Whether a tensor of this type can be loaded as numbers.
#[must_use]
pub const fn reads_as_f32(dtype: Dtype) -> bool {
    Out::reads_as_f32(dtype)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrangement(lengths: &[u64]) -> Arrangement {
        let tensors: Vec<Tensor> = lengths
            .iter()
            .map(|len| Tensor {
                name: String::new(),
                dtype: Dtype::U8,
                shape: vec![*len],
                begin: 7,
                end: 7 + len,
            })
            .collect();
        Arrangement::of(tensors.iter()).unwrap()
    }

    #[test]
    fn tensors_lie_aligned_and_apart() {
        let found = arrangement(&[1, 64, LARGE - 1, LARGE, 0, 5]);
        let page = (128 + LARGE - 1).next_multiple_of(PAGE);
        assert_eq!(found.offsets, [0, 64, 128, page, page + LARGE, page + LARGE]);
        assert_eq!(found.len(), page + LARGE + 5);
        assert_eq!((found.offset(3), found.offset(6)), (Some(page), None));
        assert!(arrangement(&[]).is_empty() && !found.is_empty());
    }
}

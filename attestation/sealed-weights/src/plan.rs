//! Which bytes of which segment belong to which tensor, for every tensor of a model in order.

use crate::error::Error;
use crate::model::SealedModel;
use crate::role::Role;
use crate::rules::TensorRule;

/// One segment and the runs of tensors in it.
pub(crate) struct SegmentPlan<P> {
    /// Position of the object among those of the package.
    pub(crate) object: usize,
    pub(crate) index: u64,
    /// Bytes of the segment's plaintext.
    pub(crate) len: u64,
    pub(crate) pieces: Vec<P>,
}

/// A run of one tensor's bytes inside a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TensorPiece {
    /// Position of the tensor in the index.
    pub(crate) tensor: usize,
    /// Where the run begins in the tensor.
    pub(crate) offset: u64,
    /// Where it begins in the segment's plaintext.
    pub(crate) start: usize,
    pub(crate) len: usize,
}

/// Every segment that holds a byte of the weights, in order, with the tensors in it.
pub(crate) fn plan(model: &SealedModel) -> Result<Vec<SegmentPlan<TensorPiece>>, Error> {
    let mut plans: Vec<SegmentPlan<TensorPiece>> = Vec::new();
    let mut position = 0;
    let files = model.card().files().iter().filter(|file| file.role() == Role::Weights);
    for (file, table) in files.zip(model.index().files()) {
        let object = model.position_of(file)?;
        let layout = model.reader_at(object)?.entry().layout();
        let end = file.offset().saturating_add(file.len());
        let first = layout.pieces(file.offset()..end).next().ok_or(TensorRule::End)?.segment;
        // In a bundle, a file's first segment may be the last one of the file before it.
        let shared = plans.last().is_some_and(|last| (last.object, last.index) == (object, first));
        let base = plans.len() - usize::from(shared);
        for piece in layout.pieces(file.offset()..end).skip(usize::from(shared)) {
            let len = layout.payload_range(piece.segment).map_or(0, |range| range.end - range.start);
            plans.push(SegmentPlan { object, index: piece.segment, len, pieces: Vec::new() });
        }
        for tensor in table.tensors() {
            let begin = file.offset().saturating_add(table.data_start()).saturating_add(tensor.begin);
            let mut offset = 0;
            for piece in layout.pieces(begin..begin.saturating_add(tensor.len())) {
                let at = usize::try_from(piece.segment - first).ok().and_then(|at| base.checked_add(at));
                let plan = at.and_then(|at| plans.get_mut(at)).ok_or(TensorRule::End)?;
                let (start, len) = (piece.start, piece.len);
                plan.pieces.push(TensorPiece { tensor: position, offset, start, len });
                offset += len as u64;
            }
            position += 1;
        }
    }
    Ok(plans)
}

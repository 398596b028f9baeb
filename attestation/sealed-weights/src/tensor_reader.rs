//! Reading tensors a part at a time, for a reader that turns the weights into another layout and has no memory for both.

use std::fmt;

use zeroize::Zeroizing;

use crate::effort::{Effort, Meter};
use crate::error::Error;
use crate::layout::Piece;
use crate::model::SealedModel;
use crate::reader::Scratch;
use crate::role::Role;
use crate::rules::{DestinationRule, TensorRule};

/// Where one tensor lies.
#[derive(Clone, Copy)]
struct Place {
    /// Position of the object among those of the package.
    object: usize,
    /// First byte in the object's plaintext.
    begin: u64,
    len: u64,
}

/// Reads the bytes of tensors in parts of any size. Memory beyond the parts: one segment.
///
/// Parts that follow each other in the file cost no segment twice; others cost the segments at their ends again.
pub struct TensorReader<'a> {
    model: &'a SealedModel,
    effort: &'a Effort<'a>,
    meter: Meter<'a>,
    places: Vec<Place>,
    scratch: Option<Scratch>,
    /// Whose plaintext is in the scratch: object, segment and length.
    held: Option<(usize, u64, usize)>,
}

impl fmt::Debug for TensorReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TensorReader").field("tensors", &self.places.len()).finish_non_exhaustive()
    }
}

impl<'a> TensorReader<'a> {
    /// See [`SealedModel::tensor_reader`].
    pub(crate) fn new(model: &'a SealedModel, effort: &'a Effort<'_>) -> Result<Self, Error> {
        model.check_weights()?;
        let mut places = Vec::with_capacity(model.index().len());
        let files = model.card().files().iter().filter(|file| file.role() == Role::Weights);
        for (file, table) in files.zip(model.index().files()) {
            let object = model.position_of(file)?;
            let start = file.offset().saturating_add(table.data_start());
            places.extend(table.tensors().iter().map(|tensor| Place {
                object,
                begin: start.saturating_add(tensor.begin),
                len: tensor.len(),
            }));
        }
        let meter = effort.meter(places.iter().map(|place| place.len).sum());
        Ok(Self { model, effort, meter, places, scratch: None, held: None })
    }

    /// Fills `out` with the bytes from `offset` on of the tensor at `position` of [`SealedModel::index`], as they are stored. `out`
    /// must be memory that nobody else can write.
    ///
    /// # Errors
    /// [`Error::Destination`] when the tensor has no such bytes, else those of [`crate::ObjectReader::read_segment`]. `out` then holds
    /// verified bytes of the tensor and zeros, and must not be used.
    pub fn read(&mut self, position: usize, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        let place = *self.places.get(position).ok_or(DestinationRule::Count)?;
        let len = out.len() as u64;
        if offset.checked_add(len).is_none_or(|end| end > place.len) {
            return Err(DestinationRule::Length.into());
        }
        let layout = self.model.reader_at(place.object)?.entry().layout();
        let begin = place.begin.saturating_add(offset);
        let (mut whole, mut rest) = (Vec::new(), out);
        for piece in layout.pieces(begin..begin.saturating_add(len)) {
            let (part, tail) = rest.split_at_mut_checked(piece.len).ok_or(TensorRule::End)?;
            rest = tail;
            let full = layout.payload_range(piece.segment).map_or(0, |range| range.end - range.start);
            if piece.len as u64 == full {
                whole.push((piece.segment, part));
            } else {
                self.read_part(place.object, piece, part)?;
            }
        }
        if !rest.is_empty() {
            return Err(TensorRule::End.into());
        }
        let reader = self.model.reader_at(place.object)?;
        self.effort.run(whole, || Ok(()), |(), (segment, part)| reader.read_into(segment, part))?;
        self.meter.add(len);
        Ok(())
    }

    /// The same into fresh memory that is wiped when it is dropped.
    ///
    /// # Errors
    /// As [`TensorReader::read`]; [`Error::Destination`] when the tensor exceeds memory.
    pub fn read_whole(&mut self, position: usize) -> Result<Zeroizing<Vec<u8>>, Error> {
        let place = self.places.get(position).ok_or(DestinationRule::Count)?;
        let mut out =
            Zeroizing::new(vec![0; usize::try_from(place.len).map_err(|_| DestinationRule::Memory)?]);
        self.read(position, 0, &mut out)?;
        Ok(out)
    }

    /// Fills a part of one segment, which stays in the scratch for the part that follows.
    fn read_part(&mut self, object: usize, piece: Piece, out: &mut [u8]) -> Result<(), Error> {
        let reader = self.model.reader_at(object)?;
        let held = self.held.take().filter(|(of, segment, _)| (*of, *segment) == (object, piece.segment));
        let len = match held {
            Some((_, _, len)) => len,
            None => reader.read_with(piece.segment, &mut self.scratch)?.len(),
        };
        let bytes = self
            .scratch
            .as_ref()
            .and_then(|scratch| scratch.first(len)?.get(piece.start..)?.get(..piece.len));
        out.copy_from_slice(bytes.ok_or(TensorRule::End)?);
        self.held = Some((object, piece.segment, len));
        Ok(())
    }
}

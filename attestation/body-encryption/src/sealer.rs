//! The sending end of a body in `anchorhold-body/1` (PROTOCOL.md, "Frames").

use crate::aead::{FrameKey, TAG_BYTES};
use crate::reassembly::PREFIX_BYTES;
use crate::{Buckets, Error};

/// The longest plaintext of a frame, padding included, in bytes.
pub const MAX_FRAME_BYTES: usize = 65_536;
/// The most data of a frame in bytes: the mark where padding begins takes one.
pub const MAX_FRAME_DATA_BYTES: usize = MAX_FRAME_BYTES - 1;
/// Set in the prefix of the last frame.
pub(crate) const FINAL: u32 = 1 << 31;
/// Ends the data of a frame (ISO/IEC 7816-4); zeros follow.
pub(crate) const MARK: u8 = 0x80;

/// Turns a body into frames. Dropping it without [`finish`](Self::finish) leaves a body that the other end refuses as truncated, which
/// is how a broken stream is told from a short one.
#[derive(Debug)]
pub struct Sealer {
    key: FrameKey,
    buckets: Option<Buckets>,
}

#[derive(Clone, Copy)]
enum Place {
    Inner,
    Last,
}

impl Sealer {
    pub(crate) const fn new(key: FrameKey) -> Self {
        Self { key, buckets: None }
    }

    /// Pads the plaintext of every frame, mark included, to a size of `buckets` (or to the most that a frame holds).
    #[must_use]
    pub fn padded(self, buckets: Buckets) -> Self {
        Self { buckets: Some(buckets), ..self }
    }

    /// Appends frames with `data` to `out`: 21 bytes for each and what padding adds. Nothing for no data.
    ///
    /// # Errors
    /// [`Error::TooLong`] after [`MAX_FRAMES`](crate::MAX_FRAMES) frames.
    pub fn push(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        data.chunks(MAX_FRAME_DATA_BYTES).try_for_each(|data| self.frame(data, Place::Inner, out))
    }

    /// Appends a frame without data, which looks like any other of its size.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn cover(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        self.frame(&[], Place::Inner, out)
    }

    /// Appends the rest of the data and the end of the body.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn finish(mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let whole = data.len().saturating_sub(1) / MAX_FRAME_DATA_BYTES * MAX_FRAME_DATA_BYTES;
        let (inner, last) = data.split_at(whole);
        self.push(inner, out)?;
        self.frame(last, Place::Last, out)
    }

    fn frame(&mut self, data: &[u8], place: Place, out: &mut Vec<u8>) -> Result<(), Error> {
        let least = data.len() + 1;
        let padded = self.buckets.as_ref().map_or(least, |buckets| buckets.fit(least).min(MAX_FRAME_BYTES));
        let length = u32::try_from(padded + TAG_BYTES).map_err(|_| Error::FrameLength)?;
        let prefix = match place {
            Place::Inner => length,
            Place::Last => length | FINAL,
        }
        .to_be_bytes();
        out.reserve(PREFIX_BYTES + padded + TAG_BYTES);
        out.extend_from_slice(&prefix);
        let start = out.len();
        out.extend_from_slice(data);
        out.push(MARK);
        out.resize(start + padded, 0);
        // Nothing in the clear is left behind.
        self.key.seal(&prefix, out, start).inspect_err(|_| out.truncate(start - PREFIX_BYTES))
    }
}

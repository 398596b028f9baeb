//! Loading the weights: segments are verified in parallel and their plaintext is copied once, from the cache-warm
//! scratch to each tensor's memory.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{thread, vec};

use zeroize::Zeroizing;

use crate::convert::Out;
use crate::error::Error;
use crate::reader::{ObjectReader, Scratch};
use crate::tensors::{Dtype, TensorIndex};

/// The most threads a load uses, whatever it is asked for. Each takes one segment of memory.
pub const MAX_THREADS: usize = 64;

/// Where a tensor's bytes go.
#[derive(Debug)]
pub enum Destination<'a> {
    /// Nowhere: the tensor is verified and dropped.
    Skip,
    /// As they are in the file, little-endian; exactly the tensor's length.
    Bytes(&'a mut [u8]),
    /// As numbers; one for each element of an F32, F16 or BF16 tensor, converted without loss.
    F32(&'a mut [f32]),
}

/// Verifies and decrypts the weights and fills one destination for each tensor of `index`, in its order.
///
/// The file's own header is read first and must say what `index`, which the card vouches for, says. `threads` above
/// [`MAX_THREADS`] or the number of segments are not started. Memory beyond the destinations: one segment per thread
/// and about 100 bytes per tensor and segment.
///
/// # Errors
/// [`Error::Destination`] or [`Error::Tensors`] before anything is filled, else those of
/// [`ObjectReader::read_segment`]. After an error the destinations hold some verified parts of the model and must not
/// be used; no byte of a refused segment is among them.
pub fn load_tensors(
    reader: &ObjectReader,
    index: &TensorIndex,
    threads: NonZeroUsize,
    destinations: Vec<Destination<'_>>,
) -> Result<(), Error> {
    let mut plan = plan(reader, index, destinations)?;
    let rest = plan.split_off(header_segments(reader, index).min(plan.len()));
    load_header(reader, index, plan)?;
    let threads = threads.get().min(MAX_THREADS).min(rest.len().max(1));
    let queue = Queue { segments: Mutex::new(rest.into_iter()), stopped: AtomicBool::new(false) };
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(|| queue.work(reader))).collect();
        let mut result = queue.work(reader);
        for other in others {
            let joined = other.join().unwrap_or(Err(Error::Destination("a loading thread panicked")));
            result = result.and(joined);
        }
        result
    })
}

/// Loads every tensor as numbers, in the order of `index`.
///
/// # Errors
/// Those of [`load_tensors`]; [`Error::Destination`] when a tensor is not of F32, F16 or BF16.
pub fn load_f32(
    reader: &ObjectReader,
    index: &TensorIndex,
    threads: NonZeroUsize,
) -> Result<Vec<Vec<f32>>, Error> {
    if !index.tensors().iter().all(|tensor| Out::reads_as_f32(tensor.dtype)) {
        return Err(Error::Destination("tensor is not of F32, F16 or BF16"));
    }
    let elements =
        |count: u64| usize::try_from(count).map_err(|_| Error::Destination("tensor exceeds memory"));
    let mut out = Vec::with_capacity(index.tensors().len());
    for tensor in index.tensors() {
        // Zeroed memory comes from the system untouched: its pages are first written by the loading threads.
        out.push(vec![0.0_f32; elements(tensor.elements())?]);
    }
    let destinations = out.iter_mut().map(|tensor| Destination::F32(tensor)).collect();
    load_tensors(reader, index, threads, destinations)?;
    Ok(out)
}

/// What one segment holds: disjoint pieces of tensors, each with its own memory.
struct SegmentPlan<'a> {
    index: u64,
    pieces: Vec<Piece<'a>>,
}

/// A run of one tensor's bytes inside a segment.
struct Piece<'a> {
    start: usize,
    len: usize,
    out: Out<'a>,
}

/// A plan for every segment of the object, in order. Fails unless every destination fits its tensor.
fn plan<'a>(
    reader: &ObjectReader,
    index: &TensorIndex,
    destinations: Vec<Destination<'a>>,
) -> Result<Vec<SegmentPlan<'a>>, Error> {
    let payload = reader.entry().segment_size().payload_len() as usize;
    if destinations.len() != index.tensors().len() {
        return Err(Error::Destination("not one for each tensor"));
    }
    let file_len = index.tensors().last().and_then(|tensor| index.data_start().checked_add(tensor.end));
    if file_len != Some(reader.entry().plaintext_len()) {
        return Err(Error::Tensors("index is of another object"));
    }
    let mut plans: Vec<SegmentPlan<'a>> =
        (0..reader.entry().segment_count()).map(|index| SegmentPlan { index, pieces: Vec::new() }).collect();
    for (tensor, destination) in index.tensors().iter().zip(destinations) {
        let mut at = index.data_start() + tensor.begin;
        let mut left = tensor.len();
        let mut out = Out::new(destination, tensor, at)?;
        while left > 0 {
            let start = usize::try_from(at % payload as u64).unwrap_or_default();
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(payload - start);
            let (piece, rest) = out.split(len).ok_or(Error::Destination("smaller than its tensor"))?;
            let plan = usize::try_from(at / payload as u64).ok().and_then(|index| plans.get_mut(index));
            let plan = plan.ok_or(Error::Tensors("index is of another object"))?;
            plan.pieces.push(Piece { start, len, out: piece });
            out = rest;
            at += len as u64;
            left -= len as u64;
        }
    }
    Ok(plans)
}

/// The number of segments which the file's header touches.
fn header_segments(reader: &ObjectReader, index: &TensorIndex) -> usize {
    let payload = u64::from(reader.entry().segment_size().payload_len());
    usize::try_from(index.data_start().div_ceil(payload)).unwrap_or(usize::MAX)
}

/// Loads the segments that hold the file's header, and holds the header against `index`.
fn load_header(reader: &ObjectReader, index: &TensorIndex, plan: Vec<SegmentPlan<'_>>) -> Result<(), Error> {
    let len = usize::try_from(index.data_start()).map_err(|_| Error::Tensors("header exceeds memory"))?;
    let mut head = Zeroizing::new(Vec::with_capacity(len));
    let mut scratch = reader.scratch();
    for mut segment in plan {
        let plaintext = reader.read_segment(segment.index, &mut scratch)?;
        let missing = len.saturating_sub(head.len()).min(plaintext.len());
        head.extend_from_slice(plaintext.get(..missing).unwrap_or_default());
        segment.scatter(plaintext)?;
    }
    if TensorIndex::parse(&head, reader.entry().plaintext_len())? != *index {
        return Err(Error::Tensors("file's header and card disagree"));
    }
    Ok(())
}

impl SegmentPlan<'_> {
    fn scatter(&mut self, plaintext: &[u8]) -> Result<(), Error> {
        for piece in &mut self.pieces {
            let bytes = plaintext.get(piece.start..).and_then(|rest| rest.get(..piece.len));
            piece.out.fill(bytes.ok_or(Error::Tensors("segment ends inside a tensor"))?);
        }
        Ok(())
    }
}

/// The segments still to be loaded, taken in order so that the file is read ahead.
struct Queue<'a> {
    segments: Mutex<vec::IntoIter<SegmentPlan<'a>>>,
    stopped: AtomicBool,
}

impl<'a> Queue<'a> {
    fn work(&self, reader: &ObjectReader) -> Result<(), Error> {
        let mut scratch = reader.scratch();
        while let Some(segment) = self.next() {
            let result = load_segment(reader, segment, &mut scratch);
            if result.is_err() {
                self.stopped.store(true, Ordering::Relaxed);
                return result;
            }
        }
        Ok(())
    }

    fn next(&self) -> Option<SegmentPlan<'a>> {
        if self.stopped.load(Ordering::Relaxed) {
            return None;
        }
        // A thread that panicked held the lock only to take a segment, so the queue is whole.
        self.segments.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next()
    }
}

fn load_segment(
    reader: &ObjectReader,
    mut segment: SegmentPlan<'_>,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let plaintext = reader.read_segment(segment.index, scratch)?;
    segment.scatter(plaintext)
}

/// Whether a tensor of this type can be loaded as numbers.
#[must_use]
pub const fn reads_as_f32(dtype: Dtype) -> bool {
    Out::reads_as_f32(dtype)
}

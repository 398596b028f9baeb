//! The segments of objects, many ranges at once.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anchorhold_sealed_weights as sealed;
use bytes::{Buf as _, Bytes};
use futures_util::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use tokio::sync::Mutex;

use super::pace::Pace;
use super::{Fetching, Sources, blocking};
use crate::attempts::Attempts;
use crate::error::{Error, Fault};
use crate::package::{ObjectSlot, StoreError};

/// One object, here and in the store.
pub(super) struct Source {
    pub(super) slot: Arc<ObjectSlot>,
    pub(super) tree: File,
    /// The object's file, relative to the package.
    file: String,
    /// Held while the store is asked, so that it is asked once.
    remote: Mutex<Remote>,
}

/// What the store says the object is.
#[derive(Default)]
struct Remote {
    version: Option<Version>,
    changes: u32,
}

/// The object's entity tag when the fetch began with it; stores may have none.
#[derive(Clone, PartialEq, Eq)]
struct Version(Option<String>);

/// Why a run of segments stopped.
enum Stop {
    /// It may be asked for again.
    Fault(Fault),
    /// The fetch is over.
    End(Error),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Source {
    pub(super) fn new(slot: Arc<ObjectSlot>, tree: File) -> Self {
        let file = slot.leaves.entry().path();
        Self { slot, tree, file, remote: Mutex::default() }
    }

    fn span(&self, segments: &Range<u64>) -> Range<u64> {
        let entry = self.slot.leaves.entry();
        let start = entry.segment_range(segments.start).map_or(0, |range| range.start);
        let last = segments.end.checked_sub(1).and_then(|last| entry.segment_range(last));
        start..last.map_or(start, |range| range.end)
    }

    /// Holds the length that the store names against the signed one.
    fn check_size(&self, actual: u64) -> Result<(), Fault> {
        let (part, expected) = ("object", self.slot.leaves.entry().ciphertext_len());
        match actual.cmp(&expected) {
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Less => {
                Err(Fault::Content(sealed::Error::Truncated { part, expected, actual }))
            }
            std::cmp::Ordering::Greater => {
                Err(Fault::Content(sealed::Error::Trailing { part, expected, actual }))
            }
        }
    }
}

impl Fetching<'_> {
    /// Fetches every segment that is not there.
    pub(super) async fn fetch_objects(&self, sources: &Sources) -> Result<(), Error> {
        let mut runs = Vec::new();
        for source in &sources.0 {
            let segment_len = source.span(&(0..1));
            let most = (self.limits.range_len / (segment_len.end - segment_len.start).max(1)).max(1);
            runs.extend(source.slot.missing(most).into_iter().map(|run| (source, run)));
        }
        let fetched = stream::iter(runs).map(|(source, run)| self.run(source, run));
        fetched.buffer_unordered(self.in_flight()).try_for_each(|()| std::future::ready(Ok(()))).await
    }

    /// One run of segments, asked for again from the first one that did not come.
    async fn run(&self, source: &Source, mut run: Range<u64>) -> Result<(), Error> {
        let mut attempts = Attempts::new(self.limits);
        while !run.is_empty() {
            let version = self.version(source).await?;
            let before = run.start;
            let stopped = self.segments(source, &mut run, &version).await;
            if run.start > before {
                attempts.progressed();
            }
            match stopped {
                Ok(()) => {}
                Err(Stop::Fault(Fault::Changed)) => self.changed(source, &version).await?,
                Err(Stop::Fault(fault)) => attempts.again(&source.file, fault).await?,
                Err(Stop::End(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Which object the store has under the name: asked once, by its header, which must be the signed one.
    async fn version(&self, source: &Source) -> Result<Version, Error> {
        let mut remote = source.remote.lock().await;
        if let Some(version) = &remote.version {
            return Ok(version.clone());
        }
        let mut attempts = Attempts::new(self.limits);
        loop {
            match self.header(source).await {
                Ok(version) => {
                    remote.version = Some(version.clone());
                    return Ok(version);
                }
                Err(fault) => attempts.again(&source.file, fault).await?,
            }
        }
    }

    async fn header(&self, source: &Source) -> Result<Version, Fault> {
        let entry = source.slot.leaves.entry();
        let wanted = entry.header_bytes().len() as u64;
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
        let mut piece = self.store.range(&source.file, 0..wanted, None).await?;
        source.check_size(piece.size)?;
        let mut pace = Pace::new(self.limits);
        let mut header = Vec::new();
        while let Some(bytes) = pace.next(&mut piece.stream).await? {
            header.extend_from_slice(&bytes);
        }
        if header != entry.header_bytes() {
            let rule = sealed::HeaderRule::NotSigned;
            return Err(Fault::Content(sealed::Error::Header { object: entry.id(), rule }));
        }
        Ok(Version(piece.etag))
    }

    /// The object is another one than `version`: ask which, unless somebody did already, and not too often.
    async fn changed(&self, source: &Source, version: &Version) -> Result<(), Error> {
        let mut remote = source.remote.lock().await;
        if remote.version.as_ref() != Some(version) {
            return Ok(());
        }
        remote.version = None;
        remote.changes += 1;
        if remote.changes > self.limits.changes {
            let (file, attempts) = (source.file.clone(), remote.changes);
            return Err(Error::Store { file, fault: Fault::Changed, attempts });
        }
        Ok(())
    }

    /// Reads the run in one request. `run` begins with the first segment that was not kept, however this ends.
    async fn segments(&self, source: &Source, run: &mut Range<u64>, version: &Version) -> Result<(), Stop> {
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
        let mut piece = self.store.range(&source.file, source.span(run), version.0.as_deref()).await?;
        source.check_size(piece.size)?;
        let mut pace = Pace::new(self.limits);
        let mut rest = Bytes::new();
        let mut buffer = Vec::new();
        while !run.is_empty() {
            let index = run.start;
            let span = source.span(&(index..index + 1));
            let len = usize::try_from(span.end - span.start).unwrap_or_default();
            fill(&mut buffer, len, &mut rest, (&mut pace, &mut piece.stream)).await?;
            buffer = self.keep(source, index, buffer).await?;
            run.start += 1;
        }
        // All that was asked for is here and verified. Reading the end gives the connection back; what else it brings is
        // of no interest.
        let _ = pace.next(&mut piece.stream).await;
        Ok(())
    }

    /// Verifies and writes a segment on another thread, and gives the buffer back.
    async fn keep(&self, source: &Source, index: u64, segment: Vec<u8>) -> Result<Vec<u8>, Stop> {
        let (slot, note_every) = (Arc::clone(&source.slot), self.limits.note_every);
        let kept = blocking(move || (slot.store(index, &segment, note_every), segment)).await;
        let (stored, segment) = kept.map_err(Stop::End)?;
        match stored {
            Ok(()) => {}
            Err(StoreError::Content(error)) => return Err(Stop::Fault(Fault::Content(error))),
            Err(StoreError::Disk(error)) => return Err(Stop::End(error)),
        }
        self.counts.fetched.fetch_add(segment.len() as u64, Ordering::Relaxed);
        self.advance(segment.len() as u64);
        Ok(segment)
    }
}

/// Fills `buffer` with exactly `len` bytes; what came beyond them stays in `rest`.
async fn fill(
    buffer: &mut Vec<u8>,
    len: usize,
    rest: &mut Bytes,
    (pace, stream): (&mut Pace, &mut BoxStream<'static, Result<Bytes, Fault>>),
) -> Result<(), Fault> {
    buffer.clear();
    buffer.reserve_exact(len);
    while buffer.len() < len {
        if rest.is_empty() {
            let (wanted, observed) = (len as u64, buffer.len() as u64);
            *rest = pace.next(stream).await?.ok_or(Fault::Short { wanted, observed })?;
        }
        let take = rest.len().min(len - buffer.len());
        buffer.extend_from_slice(rest.get(..take).unwrap_or_default());
        rest.advance(take);
    }
    Ok(())
}

//! A store that is a folder of this machine.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{StreamExt as _, try_unfold};

use crate::disk::Dir;
use crate::error::Fault;
use crate::store::Piece;

/// How much is read at once.
const READ_LEN: u64 = 1 << 20;

/// Opened again for each file, as a store is: what happens to it meanwhile is the store's business.
#[derive(Debug, Clone)]
pub(crate) struct LocalStore {
    root: PathBuf,
}

impl LocalStore {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// A file, or a range of it, in pieces. No link below the folder is followed, and nothing but a regular file is read.
    pub(crate) async fn get(
        &self,
        file: &str,
        range: Option<Range<u64>>,
        etag: Option<&str>,
    ) -> Result<Piece, Fault> {
        let (root, path) = (self.root.clone(), file.to_owned());
        let opened = blocking(move || {
            let file = Dir::open(&root)?.open_file(&path)?;
            let metadata = file.metadata()?;
            Ok((file, metadata))
        });
        let (file, metadata) = opened.await.map_err(|error| fault(&error))?;
        let size = metadata.len();
        let observed = format!("{:x}-{}.{}-{size}", metadata.ino(), metadata.mtime(), metadata.mtime_nsec());
        if etag.is_some_and(|etag| etag != observed) {
            return Err(Fault::Changed);
        }
        let range = range.unwrap_or(0..size);
        if range.end > size {
            let wanted = range.end - range.start;
            return Err(Fault::Short { wanted, observed: size.saturating_sub(range.start) });
        }
        let file = Arc::new(file);
        let pieces = try_unfold(range.start, move |at| next(Arc::clone(&file), at, range.end));
        Ok(Piece { etag: Some(observed), size, stream: pieces.boxed() })
    }
}

async fn next(file: Arc<File>, at: u64, end: u64) -> Result<Option<(Bytes, u64)>, Fault> {
    if at == end {
        return Ok(None);
    }
    let len = READ_LEN.min(end - at);
    let read = blocking(move || {
        let mut buffer = vec![0; usize::try_from(len).unwrap_or_default()];
        file.read_exact_at(&mut buffer, at).map(|()| buffer)
    });
    let buffer = read.await.map_err(|error| fault(&error))?;
    Ok(Some((Bytes::from(buffer), at + len)))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

fn fault(error: &io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Fault::Absent { status: 0 },
        io::ErrorKind::PermissionDenied => Fault::Denied { status: 0, code: None },
        kind => Fault::Broken(kind.to_string()),
    }
}

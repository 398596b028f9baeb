//! One package from a store to a folder, the cache or memory.

mod objects;
mod pace;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anchorhold_sealed_weights as sealed;
use anchorhold_sealed_weights::{
    Leaves, MANIFEST_NAME, MAX_MANIFEST_LEN, Manifest, ObjectEntry, ObjectFiles, PackageFiles,
    VerifiedManifest,
};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::time::timeout;

use crate::attempts::Attempts;
use crate::cache::{self, Cache, Claim};
use crate::disk;
use crate::error::{Error, Fault};
use crate::folder::Folder;
use crate::limits::Limits;
use crate::package::{FetchedPackage, Home, ObjectSlot, Summary};
use crate::store::Store;
use objects::Source;

/// What to fetch, and within which limits.
#[derive(Debug, Clone)]
pub struct Order<'a> {
    /// The Ed25519 key of the model's owner.
    pub owner_key: &'a [u8; 32],
    /// Which of the owner's manifests will do.
    pub pin: Pin,
    /// What of an earlier fetch is verified again.
    pub recheck: Recheck,
    /// The limits.
    pub limits: &'a Limits,
}

/// Which manifest will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    /// The one that a key release names.
    Release {
        /// SHA-256 of its exact bytes.
        digest: [u8; 32],
        /// The lowest version.
        min_version: u64,
    },
    /// Any that the owner signed. A store can then choose an old one.
    AnyOfOwner {
        /// The lowest version.
        min_version: u64,
    },
}

/// What of an earlier fetch is verified again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recheck {
    /// What is noted as verified is believed: whoever reads the package verifies it.
    Nothing,
    /// Every byte, after a reader found one wrong. Only what is not as signed is fetched again.
    Everything,
}

/// Where to.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// A place of its own in the cache.
    Cache(&'a Cache),
    /// This folder, which afterwards is a package. It must be absent, empty, or hold an unfinished fetch or this very package.
    Folder(&'a Path),
    /// Files in memory, for when the disk does not work.
    Memory {
        /// The most bytes.
        limit: u64,
    },
}

/// How far a fetch is, in bytes of ciphertext.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Verified, what was there before included.
    pub done: u64,
    /// Of the whole package.
    pub total: u64,
}

/// Fetches what is missing of a package, and tells `report` whenever more of it was verified.
///
/// *Establishes* that every byte of the returned files is what the owner signed, or was noted as such by an earlier fetch into
/// the same place ([`Recheck::Nothing`]). *Presumes* that owner's key and digest came from where they can be trusted.
///
/// The future may be dropped at any time; what was verified until then is noted and will not be fetched again.
///
/// # Errors
/// [`Error`]; the code of each is in [`Error::code`].
pub async fn fetch(
    store: &Store,
    order: &Order<'_>,
    target: Target<'_>,
    report: &(dyn Fn(Progress) + Sync),
) -> Result<FetchedPackage, Error> {
    let within = order.limits.total;
    let counts = Counts::default();
    let fetching = Fetching { store, limits: order.limits, counts: &counts, report };
    timeout(within, fetching.package(order, target)).await.map_err(|_| Error::Budget { within })?
}

#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    fetched: AtomicU64,
    done: AtomicU64,
    total: AtomicU64,
}

struct Fetching<'a> {
    store: &'a Store,
    limits: &'a Limits,
    counts: &'a Counts,
    report: &'a (dyn Fn(Progress) + Sync),
}

/// Where the files go.
enum Shelf {
    Disk(Folder),
    Memory,
}

/// Objects that are on their way. However the fetch ends, what was verified is noted.
struct Sources(Vec<Source>);

impl Drop for Sources {
    fn drop(&mut self) {
        for source in &self.0 {
            // What cannot be noted is fetched again.
            let _ = source.slot.note();
        }
    }
}

impl Fetching<'_> {
    async fn package(&self, order: &Order<'_>, target: Target<'_>) -> Result<FetchedPackage, Error> {
        let claimed = self.claim_known(order, target).await?;
        let (manifest, bytes) = self.manifest(order, claimed.as_ref()).await?;
        let claimed = match (claimed, target) {
            (None, Target::Cache(cache)) => {
                Some(cache.claim(manifest.digest(), self.limits.lock_wait).await?)
            }
            (None, Target::Folder(path)) => {
                Some(self.claim_folder(path, manifest.digest(), order.owner_key).await?)
            }
            (claimed, _) => claimed,
        };
        let (shelf, lock) = match claimed {
            Some(Claim { folder, lock }) => (Shelf::Disk(folder), Some(lock)),
            None => (Shelf::Memory, None),
        };
        if let Shelf::Disk(folder) = &shelf {
            folder.begin(&manifest, &bytes)?;
        }
        let total = total_of(&manifest);
        self.counts.total.store(total, Ordering::Relaxed);
        let card = self.card(&manifest, &shelf).await?;
        let leaves = self.trees(&manifest, &shelf).await?;
        let sources = self.sources(order, target, &shelf, (&manifest, leaves)).await?;
        self.fetch_objects(&sources).await?;
        let files = self.finish(&shelf, &bytes, (card, &sources))?;
        if let Some(lock) = &lock {
            cache::share(lock)?;
        }
        let fetched = self.counts.fetched.load(Ordering::Relaxed);
        let requests = self.counts.requests.load(Ordering::Relaxed);
        let summary = Summary { total, fetched, reused: total.saturating_sub(fetched), requests };
        Ok(FetchedPackage { manifest, manifest_bytes: bytes, files, lock, summary })
    }

    /// The place on disk, where it is known before the manifest is.
    async fn claim_known(&self, order: &Order<'_>, target: Target<'_>) -> Result<Option<Claim>, Error> {
        let Pin::Release { digest, .. } = order.pin else { return Ok(None) };
        match target {
            Target::Cache(cache) => cache.claim(&digest, self.limits.lock_wait).await.map(Some),
            Target::Folder(path) => self.claim_folder(path, &digest, order.owner_key).await.map(Some),
            Target::Memory { .. } => Ok(None),
        }
    }

    /// The folder, if nothing else is in it.
    async fn claim_folder(
        &self,
        path: &Path,
        digest: &[u8; 32],
        owner_key: &[u8; 32],
    ) -> Result<Claim, Error> {
        Folder::require_free(path, digest, owner_key)?;
        let lock = Folder::open(path)?.lock_file()?;
        let claim = cache::claim(lock, path, self.limits.lock_wait).await?;
        // Whoever held the lock until now may have put another package there.
        Folder::require_free(path, digest, owner_key)?;
        Ok(claim)
    }

    /// The manifest: the one that an earlier fetch left, if it is the very one that is wanted, or the store's.
    async fn manifest(
        &self,
        order: &Order<'_>,
        claimed: Option<&Claim>,
    ) -> Result<(VerifiedManifest, Vec<u8>), Error> {
        if let (Some(claim), Pin::Release { .. }) = (claimed, order.pin)
            && let Some(bytes) = claim.folder.manifest()
            && let Ok(manifest) = verified(&bytes, order)
        {
            return Ok((manifest, bytes));
        }
        let limit = MAX_MANIFEST_LEN as u64;
        let bytes = self.small(MANIFEST_NAME, limit, |_| Ok(())).await?;
        Ok((verified(&bytes, order)?, bytes))
    }

    async fn card(&self, manifest: &VerifiedManifest, shelf: &Shelf) -> Result<File, Error> {
        let card = manifest.card();
        let check = |bytes: &[u8]| card.check_whole(bytes);
        self.small_file(shelf, &card.path(), card.ciphertext_len(), check).await.map(|(file, _)| file)
    }

    /// Each object's leaves and, where it has no name, its tree's file; fetched side by side, in the manifest's order.
    async fn trees(&self, manifest: &VerifiedManifest, shelf: &Shelf) -> Result<Vec<(Leaves, File)>, Error> {
        let tree = |entry: ObjectEntry| async move {
            let check = |bytes: &[u8]| Leaves::from_tree(&entry, bytes).map(drop);
            let name = tree_name(&entry);
            let (file, bytes) = self.small_file(shelf, &name, entry.tree_len(), check).await?;
            Ok::<_, Error>((Leaves::from_tree(&entry, &bytes)?, file))
        };
        let trees = stream::iter(manifest.objects().to_vec()).map(tree);
        trees.buffered(self.in_flight()).try_collect().await
    }

    /// A file that is kept whole: what is there already, if it is as signed, or the store's.
    async fn small_file(
        &self,
        shelf: &Shelf,
        name: &str,
        len: u64,
        check: impl Fn(&[u8]) -> Result<(), sealed::Error>,
    ) -> Result<(File, Vec<u8>), Error> {
        let there = match shelf {
            Shelf::Disk(folder) => folder.small(name, len).filter(|bytes| check(bytes).is_ok()),
            Shelf::Memory => None,
        };
        let bytes = match there {
            Some(bytes) => bytes,
            None => {
                let bytes = self.small(name, len, check).await?;
                self.counts.fetched.fetch_add(len, Ordering::Relaxed);
                if let Shelf::Disk(folder) = shelf {
                    folder.keep_small(name, &bytes)?;
                }
                bytes
            }
        };
        self.advance(len);
        let file = match shelf {
            Shelf::Disk(folder) => folder.open_file(name)?,
            Shelf::Memory => in_memory(&bytes)?,
        };
        Ok((file, bytes))
    }

    /// The files of the objects, with what an earlier fetch left in them.
    async fn sources(
        &self,
        order: &Order<'_>,
        target: Target<'_>,
        shelf: &Shelf,
        (manifest, leaves): (&VerifiedManifest, Vec<(Leaves, File)>),
    ) -> Result<Sources, Error> {
        let needed = room_of(manifest);
        let open = || manifest.objects().iter().map(|entry| object_file(shelf, entry)).collect();
        let files: Vec<(File, bool)> = match target {
            Target::Cache(cache) => {
                cache.reserve(manifest.digest(), needed, self.limits.lock_wait, open).await?
            }
            Target::Memory { limit } if needed > limit => return Err(Error::CacheLimit { needed, limit }),
            Target::Memory { .. } | Target::Folder(_) => open()?,
        };
        let mut sources = Sources(Vec::with_capacity(files.len()));
        for ((leaves, tree), file) in leaves.into_iter().zip(files) {
            let home = match shelf {
                Shelf::Disk(folder) => Home::Disk { state: Arc::clone(folder.state()) },
                Shelf::Memory => Home::Memory,
            };
            let recheck = order.recheck;
            let slot = blocking(move || ObjectSlot::new(leaves, file, home, recheck)).await??;
            self.advance(slot.verified_bytes());
            sources.0.push(Source::new(Arc::new(slot), tree));
        }
        Ok(sources)
    }

    fn finish(
        &self,
        shelf: &Shelf,
        manifest: &[u8],
        (card, sources): (File, &Sources),
    ) -> Result<PackageFiles, Error> {
        let mut objects = Vec::with_capacity(sources.0.len());
        for Source { slot, tree, .. } in &sources.0 {
            slot.note()?;
            let opened = Error::disk("opening a fetched file");
            let tree = tree.try_clone().map_err(&opened)?;
            let data = match shelf {
                Shelf::Disk(folder) => folder.open_file(&slot.leaves.entry().path())?,
                Shelf::Memory => {
                    let data = slot.duplicate().map_err(&opened)?;
                    disk::seal_memory_file(&data).map_err(&opened)?;
                    data
                }
            };
            objects.push(ObjectFiles { tree, data });
        }
        if let Shelf::Disk(folder) = shelf {
            folder.finish(manifest)?;
        }
        Ok(PackageFiles { card, objects })
    }

    /// A whole file of at most `limit` bytes that `check` finds good.
    async fn small(
        &self,
        file: &str,
        limit: u64,
        check: impl Fn(&[u8]) -> Result<(), sealed::Error>,
    ) -> Result<Vec<u8>, Error> {
        let mut attempts = Attempts::new(self.limits);
        loop {
            let came = self.whole(file, limit).await.and_then(|bytes| {
                check(&bytes).map_err(Fault::Content)?;
                Ok(bytes)
            });
            match came {
                Ok(bytes) => return Ok(bytes),
                Err(fault) => attempts.again(file, fault).await?,
            }
        }
    }

    async fn whole(&self, file: &str, limit: u64) -> Result<Vec<u8>, Fault> {
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
        let mut piece = self.store.whole(file, limit).await?;
        let mut pace = pace::Pace::new(self.limits);
        let mut bytes = Vec::new();
        while let Some(more) = pace.next(&mut piece.stream).await? {
            if (bytes.len() as u64).saturating_add(more.len() as u64) > limit {
                return Err(Fault::TooLong { limit });
            }
            bytes.extend_from_slice(&more);
        }
        Ok(bytes)
    }

    fn in_flight(&self) -> usize {
        self.limits.in_flight.clamp(1, Limits::MAX_IN_FLIGHT)
    }

    /// More of the package was verified.
    fn advance(&self, bytes: u64) {
        let done = self.counts.done.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        (self.report)(Progress { done, total: self.counts.total.load(Ordering::Relaxed) });
    }
}

/// Holds a manifest against owner, version and, where one is named, digest.
fn verified(bytes: &[u8], order: &Order<'_>) -> Result<VerifiedManifest, Error> {
    let manifest = Manifest::verify(bytes, order.owner_key)?;
    match order.pin {
        Pin::Release { digest, min_version } => manifest.require(&digest, min_version)?,
        Pin::AnyOfOwner { min_version } => manifest.require_version(min_version)?,
    }
    Ok(manifest)
}

/// Bytes of all files but the manifest.
fn room_of(manifest: &VerifiedManifest) -> u64 {
    let objects = manifest.objects().iter();
    let lengths = objects.map(|entry| entry.ciphertext_len().saturating_add(entry.tree_len()));
    lengths.fold(manifest.card().ciphertext_len(), u64::saturating_add)
}

/// The same without the headers of objects, which the manifest holds.
fn total_of(manifest: &VerifiedManifest) -> u64 {
    let headers = manifest.objects().iter().map(|entry| entry.header_bytes().len() as u64);
    headers.fold(room_of(manifest), u64::saturating_sub)
}

fn tree_name(entry: &ObjectEntry) -> String {
    format!("{}.tree", entry.path())
}

fn object_file(shelf: &Shelf, entry: &ObjectEntry) -> Result<(File, bool), Error> {
    match shelf {
        Shelf::Disk(folder) => folder.object(entry),
        Shelf::Memory => {
            let memory = || Error::disk("taking memory for an object");
            let file = disk::memory_file().map_err(memory())?;
            file.set_len(entry.ciphertext_len()).map_err(memory())?;
            Ok((file, false))
        }
    }
}

fn in_memory(bytes: &[u8]) -> Result<File, Error> {
    use std::io::Write as _;
    let made = disk::memory_file().and_then(|mut file| {
        file.write_all(bytes)?;
        disk::seal_memory_file(&file)?;
        Ok(file)
    });
    made.map_err(Error::disk("taking memory for a file"))
}

/// Work that hashes or waits for the disk, off the thread that waits for the network.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    let kind = std::io::ErrorKind::Other;
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::CacheIo { doing: "working in a thread", kind })
}

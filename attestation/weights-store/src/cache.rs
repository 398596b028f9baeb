//! Packages side by side in one folder, each below the digest of its manifest, together no larger than a limit.
//!
//! Who works on a package, or holds its files, holds `<digest>.lock`: exclusively while it is fetched, shared while it is used. A
//! package is removed only under its exclusive lock. `lock` is held for the moment in which room is counted and taken. What is
//! written to a package is verified first and has one place, so nobody's write can spoil another's; the locks save work and
//! keep packages from being removed, and nothing rests on them.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::FlockOperation;

use crate::disk::{self, Dir};
use crate::error::Error;
use crate::folder::{Folder, OTHERS, open_ours};

/// The most packages in one cache.
pub const MAX_CACHED_PACKAGES: usize = 1024;
const LOCK: &str = "lock";
/// How long to wait before a lock is tried again.
const LOCK_PAUSE: Duration = Duration::from_millis(50);
/// What the name of a package ends with while it is removed.
const GONE: &str = ".gone";

/// A folder of packages.
#[derive(Debug)]
pub struct Cache {
    path: PathBuf,
    dir: Dir,
    max_bytes: u64,
}

/// A package that nobody else fetches or removes.
pub(crate) struct Claim {
    pub(crate) folder: Folder,
    pub(crate) lock: File,
}

/// A package that may be removed.
struct Candidate {
    name: String,
    bytes: u64,
    used: SystemTime,
}

impl Cache {
    /// Opens the folder, and makes it if it is not there. All packages together take at most `max_bytes`.
    ///
    /// # Errors
    /// [`Error::CacheFolder`] when others may look into it.
    pub fn open(path: &Path, max_bytes: u64) -> Result<Self, Error> {
        Ok(Self { path: path.to_owned(), dir: open_ours(path, OTHERS)?, max_bytes })
    }

    /// Waits until nobody else fetches the package with this manifest, at most `within`.
    pub(crate) async fn claim(&self, digest: &[u8; 32], within: Duration) -> Result<Claim, Error> {
        let name = hex(digest);
        let file = self.dir.create_lock(&format!("{name}.{LOCK}")).map_err(Error::disk("opening a lock"))?;
        let claim = claim(file, &self.path.join(&name), within).await?;
        // Its age is the package's: the oldest goes first.
        claim.lock.set_modified(SystemTime::now()).map_err(Error::disk("marking a package as used"))?;
        Ok(claim)
    }

    /// Takes room for a package of `needed` bytes by removing others, the longest unused first, and has `reserve` fill it
    /// before anyone else can count.
    pub(crate) async fn reserve<T>(
        &self,
        digest: &[u8; 32],
        needed: u64,
        within: Duration,
        reserve: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        if needed > self.max_bytes {
            return Err(Error::CacheLimit { needed, limit: self.max_bytes });
        }
        let file = self.dir.create_lock(LOCK).map_err(Error::disk("opening a lock"))?;
        let _counting = exclusive(file, within).await?;
        self.make_room(&hex(digest), needed)?;
        reserve()
    }

    fn make_room(&self, own: &str, needed: u64) -> Result<(), Error> {
        let mut others = self.others(own)?;
        others.sort_by_key(|candidate| candidate.used);
        let mut used: u64 = others.iter().map(|candidate| candidate.bytes).sum();
        for candidate in others {
            if used.saturating_add(needed) <= self.max_bytes {
                break;
            }
            if self.remove(&candidate.name)? {
                used = used.saturating_sub(candidate.bytes);
            }
        }
        let needed = used.saturating_add(needed);
        if needed > self.max_bytes {
            Err(Error::CacheLimit { needed, limit: self.max_bytes })
        } else {
            Ok(())
        }
    }

    /// The other packages, and an end to what was being removed when somebody was killed.
    fn others(&self, own: &str) -> Result<Vec<Candidate>, Error> {
        let disk = || Error::disk("counting packages");
        // A folder, a lock, and perhaps what is left of a removal for each.
        let names = self.dir.names(3 * MAX_CACHED_PACKAGES + 1).map_err(disk())?;
        let mut found = Vec::new();
        for name in names {
            if name.strip_suffix(GONE).is_some_and(is_digest) {
                std::fs::remove_dir_all(self.path.join(&name)).map_err(disk())?;
            } else if is_digest(&name) && name != own {
                let lock = self
                    .dir
                    .open_file(&format!("{name}.{LOCK}"))
                    .and_then(|lock| lock.metadata()?.modified());
                let used = lock.unwrap_or(SystemTime::UNIX_EPOCH);
                let bytes = allocated(&self.path.join(&name)).map_err(disk())?;
                found.push(Candidate { name, bytes, used });
            }
        }
        Ok(found)
    }

    /// Removes a package unless somebody works on it or uses it.
    fn remove(&self, name: &str) -> Result<bool, Error> {
        let disk = || Error::disk("removing a package");
        let lock = self.dir.create_lock(&format!("{name}.{LOCK}")).map_err(disk())?;
        if !disk::try_lock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(disk())? {
            return Ok(false);
        }
        // Renamed first: a package is whole under its name or not there.
        let (from, to) = (self.path.join(name), self.path.join(format!("{name}{GONE}")));
        std::fs::rename(&from, &to).and_then(|()| std::fs::remove_dir_all(&to)).map_err(disk())?;
        Ok(true)
    }
}

/// The lock of the package at `path`, alone or, where it is whole, together with others that use it.
pub(crate) async fn claim(lock: File, path: &Path, within: Duration) -> Result<Claim, Error> {
    let taking = || Error::disk("taking a lock");
    let began = Instant::now();
    loop {
        if disk::try_lock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(taking())? {
            return Ok(Claim { folder: Folder::open(path)?, lock });
        }
        if disk::try_lock(&lock, FlockOperation::NonBlockingLockShared).map_err(taking())? {
            let folder = Folder::open(path)?;
            if folder.is_whole() {
                return Ok(Claim { folder, lock });
            }
            disk::try_lock(&lock, FlockOperation::NonBlockingUnlock).map_err(taking())?;
        }
        if began.elapsed() >= within {
            return Err(Error::CacheBusy { within });
        }
        tokio::time::sleep(LOCK_PAUSE).await;
    }
}

/// From now on others may use the package too, and nobody may remove it.
pub(crate) fn share(lock: &File) -> Result<(), Error> {
    // Not atomic, and need not be: the files are open already.
    let shared = disk::try_lock(lock, FlockOperation::NonBlockingLockShared);
    shared.map(drop).map_err(Error::disk("sharing a lock"))
}

async fn exclusive(file: File, within: Duration) -> Result<File, Error> {
    let began = Instant::now();
    while !disk::try_lock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(Error::disk("taking a lock"))?
    {
        if began.elapsed() >= within {
            return Err(Error::CacheBusy { within });
        }
        tokio::time::sleep(LOCK_PAUSE).await;
    }
    Ok(file)
}

/// Bytes that the files below a folder take on disk.
fn allocated(path: &Path) -> io::Result<u64> {
    let mut sum = 0_u64;
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                folders.push(entry.path());
            } else {
                sum = sum.saturating_add(metadata.blocks().saturating_mul(512));
            }
        }
    }
    Ok(sum)
}

fn is_digest(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

pub(crate) fn hex(digest: &[u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

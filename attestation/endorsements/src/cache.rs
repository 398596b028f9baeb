//! What was fetched, in a folder: one file for each thing, named by the SHA-256 of its key.
//!
//! Files appear whole or not at all (written beside, synced, renamed), so a crash at any point leaves the old one or the new
//! one. What is not readable, too long, or altered counts as absent and goes away. Nothing in the folder is trusted: a verifier
//! judges every endorsement again, so whoever can write there can withhold endorsements but forge none.

use crate::endorsement::Endorsement;
use anchorhold_rats::{Sha256Digest, Timestamp};
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The value of `format` in each entry.
const FORMAT: &str = "urn:anchorhold:endorsement:v1";
/// The longest file that is read: the largest endorsement in base64, its dates and its digest.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// The digest in front of the JSON, and a line end.
const DIGEST_LINE: usize = 2 * Sha256Digest::LEN + 1;
const TEMPORARY: &str = ".tmp";
/// Ours alone: which endorsements are here tells which machines are asked about.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
const OTHERS: u32 = 0o077;

/// How much is kept. Beyond it, the oldest goes.
#[derive(Debug, Clone, Copy)]
pub struct CacheLimits {
    /// The most entries.
    pub max_entries: usize,
    /// The most bytes of all entries together.
    pub max_bytes: u64,
}

impl Default for CacheLimits {
    /// 1024 entries, 64 MiB: the certificates of some hundred machines.
    fn default() -> Self {
        Self { max_entries: 1024, max_bytes: 64 * 1024 * 1024 }
    }
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The system says no.
    #[error("cache folder {}: {source}", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may read or write it.
    #[error("cache folder {} has mode {observed:03o}, wanted {FOLDER_MODE:03o}", path.display())]
    Permissions {
        /// The folder.
        path: PathBuf,
        /// Its mode.
        observed: u32,
    },
}

/// One thing that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    format: String,
    key: String,
    /// When it came.
    pub(crate) fetched: Timestamp,
    /// From when on a newer one is asked for.
    pub(crate) refresh: Timestamp,
    /// Its last moment.
    pub(crate) expires: Timestamp,
    pub(crate) value: Endorsement,
}

impl Entry {
    /// An entry that came at `fetched`, is renewed after `age` seconds, and ends when the vendor says.
    pub(crate) fn new(
        key: String,
        value: Endorsement,
        (fetched, age): (Timestamp, i64),
        ends: Option<Timestamp>,
    ) -> Self {
        let due = fetched.plus_seconds(age);
        let expires = ends.unwrap_or(due);
        Self { format: FORMAT.to_owned(), key, fetched, refresh: due.min(expires), expires, value }
    }

    /// Whether it need not be asked for at `at`. One that came from the future, by more than clocks differ, is not trusted to
    /// know when it is due.
    pub(crate) fn is_fresh_at(&self, at: Timestamp) -> bool {
        const CLOCKS_DIFFER_S: i64 = 24 * 3600;
        at < self.refresh && self.fetched <= at.plus_seconds(CLOCKS_DIFFER_S)
    }

    /// Whether it still holds at `at`.
    pub(crate) fn is_good_at(&self, at: Timestamp) -> bool {
        at <= self.expires
    }
}

/// A folder of endorsements. Clones share it; several processes may too.
#[derive(Debug, Clone)]
pub struct Cache {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    limits: CacheLimits,
}

impl Cache {
    /// Opens the folder, and makes it where there is none. What a crash left half written is removed.
    ///
    /// # Errors
    /// [`CacheError`] when it is no folder, cannot be read, or is open to others.
    pub fn open(folder: impl Into<PathBuf>, limits: CacheLimits) -> Result<Self, CacheError> {
        let path = folder.into();
        let fail = |source| CacheError::Io { path: path.clone(), source };
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(&path).map_err(fail)?;
        let observed = fs::metadata(&path).map_err(fail)?.permissions().mode() & 0o777;
        if observed & OTHERS != 0 {
            return Err(CacheError::Permissions { path, observed });
        }
        for file in fs::read_dir(&path).map_err(fail)? {
            let file = file.map_err(fail)?;
            if file.file_name().to_string_lossy().ends_with(TEMPORARY) {
                discard(&file.path());
            }
        }
        Ok(Self { inner: Arc::new(Inner { folder: path, limits }) })
    }

    /// The entry with this key.
    pub(crate) async fn get(&self, key: String) -> Option<Entry> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || inner.read(&key)).await.ok().flatten()
    }

    /// Keeps `entry`, in place of the one with its key.
    pub(crate) async fn put(&self, entry: Entry) -> io::Result<()> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || inner.write(&entry)).await.map_err(io::Error::other)?
    }
}

impl Inner {
    fn path(&self, key: &str) -> PathBuf {
        self.folder.join(Sha256Digest::of(key.as_bytes()).to_string())
    }

    fn read(&self, key: &str) -> Option<Entry> {
        let path = self.path(key);
        let mut bytes = Vec::new();
        File::open(&path).ok()?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).ok()?;
        let entry = decode(&bytes).filter(|entry| entry.key == key);
        if entry.is_none() {
            discard(&path);
        }
        entry
    }

    fn write(&self, entry: &Entry) -> io::Result<()> {
        let path = self.path(&entry.key);
        let bytes = encode(entry)?;
        let random = anchorhold_rats::Nonce::random().map_err(io::Error::other)?;
        let temporary = self.folder.join(format!("{random}{TEMPORARY}"));
        let written =
            write_whole(&temporary, &bytes, entry.fetched).and_then(|()| fs::rename(&temporary, &path));
        if written.is_err() {
            discard(&temporary);
        }
        written?;
        File::open(&self.folder)?.sync_all()?;
        self.evict(&path)
    }

    /// Removes the oldest entries until the rest is within the limits; `newest` stays.
    fn evict(&self, newest: &Path) -> io::Result<()> {
        let mut entries = Vec::new();
        for file in fs::read_dir(&self.folder)? {
            let file = file?;
            let is_entry = file.file_name().to_str().is_some_and(|name| name.parse::<Sha256Digest>().is_ok());
            // Another process may have removed it meanwhile.
            if let (true, Ok(metadata)) = (is_entry, file.metadata()) {
                entries.push((metadata.modified()?, file.path(), metadata.len()));
            }
        }
        entries.sort();
        let mut count = entries.len();
        let mut bytes: u64 = entries.iter().map(|(.., length)| length).sum();
        for (_, path, length) in entries.iter().filter(|(_, path, _)| path != newest) {
            if count <= self.limits.max_entries && bytes <= self.limits.max_bytes {
                break;
            }
            discard(path);
            count -= 1;
            bytes -= length;
        }
        Ok(())
    }
}

/// Removes a file that is of no use. One that cannot be removed is found to be of no use again.
fn discard(path: &Path) {
    let _ = fs::remove_file(path);
}

/// The time of the file is the entry's, so that age is counted by the clock of whoever fetched.
fn write_whole(path: &Path, bytes: &[u8], fetched: Timestamp) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)?;
    file.write_all(bytes)?;
    let seconds = u64::try_from(fetched.unix_seconds()).unwrap_or_default();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))?;
    file.sync_all()
}

fn encode(entry: &Entry) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(entry)?;
    let mut bytes = format!("{}\n", Sha256Digest::of(&json)).into_bytes();
    bytes.extend(json);
    Ok(bytes)
}

fn decode(bytes: &[u8]) -> Option<Entry> {
    let (digest, json) = bytes.split_at_checked(DIGEST_LINE)?;
    let intact = digest.strip_suffix(b"\n") == Some(Sha256Digest::of(json).to_string().as_bytes());
    if !intact || bytes.len() as u64 > MAX_FILE_BYTES {
        return None;
    }
    serde_json::from_slice(json).ok().filter(|entry: &Entry| entry.format == FORMAT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anchorhold_rats::Der;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(1_700_000_000 + seconds)
    }

    fn entry(key: &str, fetched: i64, bytes: usize) -> Entry {
        let value = Endorsement::Certificate { der: Der(vec![7; bytes]) };
        Entry::new(key.to_owned(), value, (at(fetched), 100), Some(at(fetched + 1000)))
    }

    fn cache(folder: &Path, max_entries: usize, max_bytes: u64) -> Arc<Inner> {
        Cache::open(folder.join("cache"), CacheLimits { max_entries, max_bytes }).unwrap().inner
    }

    #[test]
    fn reads_what_it_wrote_and_replaces_it() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path(), 10, 100_000);
        assert_eq!(cache.read("a"), None);
        cache.write(&entry("a", 0, 10)).unwrap();
        cache.write(&entry("b", 0, 11)).unwrap();
        cache.write(&entry("a", 5, 12)).unwrap();
        assert_eq!(cache.read("a"), Some(entry("a", 5, 12)));
        assert_eq!(cache.read("b"), Some(entry("b", 0, 11)));
    }

    #[test]
    fn files_and_folder_are_for_the_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path(), 10, 100_000);
        cache.write(&entry("a", 0, 10)).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&cache.folder), 0o700);
        assert_eq!(mode(&cache.path("a")), 0o600);
    }

    #[test]
    fn refuses_a_folder_that_is_open_to_others_or_none() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o755, 0o770, 0o701] {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
            let opened = Cache::open(folder.path(), CacheLimits::default());
            assert!(
                matches!(opened, Err(CacheError::Permissions { observed, .. }) if observed == mode),
                "{mode:o}"
            );
        }
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(folder.path().join("file"), b"").unwrap();
        assert!(matches!(
            Cache::open(folder.path().join("file"), CacheLimits::default()),
            Err(CacheError::Io { .. })
        ));
    }

    #[test]
    fn altered_cut_and_foreign_files_count_as_absent_and_go_away() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path(), 10, 100_000);
        cache.write(&entry("a", 0, 10)).unwrap();
        let good = fs::read(cache.path("a")).unwrap();
        let mut other_format = entry("a", 0, 10);
        other_format.format = "urn:anchorhold:endorsement:v0".into();
        let mut altered = good.clone();
        *altered.last_mut().unwrap() ^= 1;
        let long = [good.clone(), vec![b' '; usize::try_from(MAX_FILE_BYTES).unwrap()]].concat();
        let other_key = encode(&entry("b", 0, 10)).unwrap();
        let not_json = [format!("{}\n", Sha256Digest::of(b"{}")).into_bytes(), b"{}".to_vec()].concat();
        for bad in
            [altered, long, other_key, not_json, encode(&other_format).unwrap(), good[..70].to_vec(), vec![]]
        {
            fs::write(cache.path("a"), &bad).unwrap();
            assert_eq!(cache.read("a"), None);
            assert!(!cache.path("a").exists());
        }
        fs::write(cache.path("a"), &good).unwrap();
        assert_eq!(cache.read("a"), Some(entry("a", 0, 10)));
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_or_they_are_too_long() {
        let folder = tempfile::tempdir().unwrap();
        let few = cache(folder.path(), 2, 100_000);
        for (key, fetched) in [("b", 20), ("a", 10), ("c", 30)] {
            few.write(&entry(key, fetched, 10)).unwrap();
        }
        assert_eq!(few.read("a"), None);
        assert!(few.read("b").is_some() && few.read("c").is_some());
        let short = cache(folder.path(), 10, 2000);
        short.write(&entry("d", 5, 1200)).unwrap();
        // The newest write stays though its time is the oldest.
        assert!(short.read("d").is_some());
        assert!(short.read("b").is_none());
        short.write(&entry("e", 40, 4000)).unwrap();
        assert!(short.read("e").is_some(), "what was just fetched stays, whatever its length");
        assert!(short.read("c").is_none() && short.read("d").is_none());
    }

    #[test]
    fn a_crash_before_the_rename_leaves_the_old_entry_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let before = cache(folder.path(), 10, 100_000);
        before.write(&entry("a", 0, 10)).unwrap();
        let half = before.folder.join(format!("{}{TEMPORARY}", "0".repeat(64)));
        write_whole(&half, b"half an ent", at(9)).unwrap();
        assert_eq!(before.read("a"), Some(entry("a", 0, 10)));
        let after = cache(folder.path(), 10, 100_000);
        assert!(!half.exists());
        assert_eq!(after.read("a"), Some(entry("a", 0, 10)));
        assert_eq!(fs::read_dir(&after.folder).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_leaves_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path(), 10, 100_000);
        // A folder with a file in it stands where the entry belongs, so the rename fails.
        fs::create_dir(cache.path("a")).unwrap();
        fs::write(cache.path("a").join("x"), b"").unwrap();
        assert!(cache.write(&entry("a", 0, 10)).is_err());
        assert_eq!(fs::read_dir(&cache.folder).unwrap().count(), 1);
    }

    #[test]
    fn an_entry_is_due_before_it_ends_and_not_trusted_from_the_future() {
        let kept = entry("a", 0, 1);
        assert!(kept.is_fresh_at(at(99)) && !kept.is_fresh_at(at(100)));
        assert!(kept.is_good_at(at(1000)) && !kept.is_good_at(at(1001)));
        assert!(kept.is_fresh_at(at(-24 * 3600)) && !kept.is_fresh_at(at(-24 * 3600 - 1)));
        let value = kept.value.clone();
        let ended = Entry::new("a".into(), value.clone(), (at(0), 100), Some(at(-5)));
        assert!(!ended.is_fresh_at(at(-5)));
        let unsaid = Entry::new("a".into(), value, (at(0), 100), None);
        assert!(unsaid.is_good_at(at(100)) && !unsaid.is_good_at(at(101)));
    }
}

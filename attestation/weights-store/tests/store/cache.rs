//! Several packages and several processes in one cache.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anchorhold_weights_store::{Cache, Error, Limits, Target};

use crate::server::Server;
use crate::support::{Fetch, Sealed, limits, loads};

fn packages(root: &Path) -> Vec<String> {
    let names = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.len() == 64).collect();
    names.sort();
    names
}

fn name(sealed: &Sealed) -> String {
    sealed.manifest().digest().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Room for two packages and a half.
const ROOM: u64 = 14 << 20;

async fn put(sealed: &Sealed, cache: &Cache) -> anchorhold_weights_store::FetchedPackage {
    let server = Server::honest(&sealed.package()).await;
    Fetch::new(&server.url, sealed, Target::Cache(cache)).run().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_unused_package_goes_first() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("cache");
    let cache = Cache::open(&root, ROOM).unwrap();
    let sealed: Vec<Sealed> = (1..4).map(Sealed::with_version).collect();
    drop(put(&sealed[0], &cache).await);
    drop(put(&sealed[1], &cache).await);
    // The first is used again, so the second is the longest unused.
    drop(put(&sealed[0], &cache).await);
    drop(put(&sealed[2], &cache).await);
    let mut expected = vec![name(&sealed[0]), name(&sealed[2])];
    expected.sort();
    assert_eq!(packages(&root), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_in_use_stays() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("cache");
    let cache = Cache::open(&root, ROOM).unwrap();
    let sealed: Vec<Sealed> = (1..4).map(Sealed::with_version).collect();
    let used = put(&sealed[0], &cache).await;
    drop(put(&sealed[1], &cache).await);
    drop(put(&sealed[2], &cache).await);
    let mut expected = vec![name(&sealed[0]), name(&sealed[2])];
    expected.sort();
    assert_eq!(packages(&root), expected);
    loads(used);
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_a_package_that_does_not_fit_and_removes_nothing_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("cache");
    let (first, second) = (Sealed::new(), Sealed::with_version(2));
    let cache = Cache::open(&root, 8 << 20).unwrap();
    let used = put(&first, &cache).await;
    let server = Server::honest(&second.package()).await;
    // The other one is in use, so there is no room for both.
    let fetch = Fetch::new(&server.url, &second, Target::Cache(&cache));
    assert_eq!(fetch.refused().await.0, "cache_limit");
    drop(used);
    loads(fetch.run().await.unwrap());
    assert_eq!(packages(&root), [name(&second)]);
    let tiny = Cache::open(&root, 1 << 20).unwrap();
    let fetch = Fetch::new(&server.url, &second, Target::Cache(&tiny));
    assert!(matches!(fetch.run().await.unwrap_err(), Error::CacheLimit { limit: 1_048_576, .. }));
    assert_eq!(packages(&root), [name(&second)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_removal_left_goes_and_what_is_not_ours_stays() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("cache");
    let cache = Cache::open(&root, ROOM).unwrap();
    let gone = root.join(format!("{}.gone", "ab".repeat(32)));
    fs::create_dir_all(gone.join("objects")).unwrap();
    fs::write(gone.join("objects/x"), b"x").unwrap();
    fs::write(root.join("README"), b"not ours").unwrap();
    drop(put(&Sealed::new(), &cache).await);
    assert!(!gone.exists());
    assert!(root.join("README").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn fetches_of_the_same_package_side_by_side_fetch_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("cache");
    let sealed = Sealed::new();
    let server = Server::honest(&sealed.package()).await;
    // As from two processes: each opens the cache for itself.
    let caches: Vec<Cache> = (0..4).map(|_| Cache::open(&root, ROOM).unwrap()).collect();
    let fetches: Vec<Fetch<'_>> =
        caches.iter().map(|cache| Fetch::new(&server.url, &sealed, Target::Cache(cache))).collect();
    let (a, b, c, d) = tokio::join!(fetches[0].run(), fetches[1].run(), fetches[2].run(), fetches[3].run());
    let fetched: Vec<_> = [a, b, c, d].into_iter().map(Result::unwrap).collect();
    let busy = fetched.iter().filter(|package| package.summary().fetched > 0).count();
    assert_eq!(busy, 1);
    fetched.into_iter().for_each(loads);
    let manifests = server.requests().iter().filter(|request| request.path == "/manifest.json").count();
    assert_eq!(manifests, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_does_not_wait_for_ever_for_another_one() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("cache");
    let sealed = Sealed::new();
    let cache = Cache::open(&root, ROOM).unwrap();
    let lock = fs::File::create(root.join(format!("{}.lock", name(&sealed)))).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let within = Duration::from_millis(10);
    let limits = Limits { lock_wait: within, ..limits() };
    let fetch = Fetch { limits, ..Fetch::new("http://127.0.0.1:9", &sealed, Target::Cache(&cache)) };
    assert_eq!(fetch.run().await.unwrap_err(), Error::CacheBusy { within });
}

#[tokio::test(flavor = "multi_thread")]
async fn links_and_pipes_in_the_cache_are_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("cache");
    let sealed = Sealed::new();
    let cache = Cache::open(&root, ROOM).unwrap();
    drop(put(&sealed, &cache).await);
    let weights = root.join(name(&sealed)).join(sealed.weights().path());
    let victim = dir.path().join("victim");
    fs::write(&victim, b"precious").unwrap();
    fs::remove_file(&weights).unwrap();
    std::os::unix::fs::symlink(&victim, &weights).unwrap();
    let server = Server::honest(&sealed.package()).await;
    let fetch = Fetch::new(&server.url, &sealed, Target::Cache(&cache));
    assert_eq!(fetch.refused().await.0, "cache_io");
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
    fs::remove_file(&weights).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &weights, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    assert_eq!(fetch.refused().await.0, "cache_io");
}

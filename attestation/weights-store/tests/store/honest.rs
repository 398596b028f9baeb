//! A store that behaves: what is asked for, what is kept, and that nothing is asked for twice.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anchorhold_sealed_weights::{Effort, Error as SealedError, PackageFiles, read_manifest};
use anchorhold_weights_store::{Cache, Error, Pin, Recheck, Target};

use crate::server::Server;
use crate::support::{
    CANARY, Fetch, KEY, SEGMENT, SEGMENTS, Sealed, check_ciphertext_only, files, limits, loads, owner,
};

const ROOM: u64 = 1 << 30;

#[tokio::test(flavor = "multi_thread")]
async fn a_fetched_package_loads_and_its_folder_is_the_package() {
    let sealed = Sealed::new();
    let server = Server::honest(&sealed.package()).await;
    let out = tempfile::tempdir().unwrap();
    let fetched = Fetch::new(&server.url, &sealed, Target::Folder(out.path())).run().await.unwrap();
    let summary = fetched.summary();
    assert_eq!((summary.fetched, summary.reused), (summary.total, 0));
    assert_eq!(summary.requests, server.requests().len() as u64);
    loads(fetched);
    for path in files(&sealed.package()) {
        let name = path.strip_prefix(sealed.package()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), fs::read(out.path().join(name)).unwrap(), "{}", name.display());
    }
    let manifest = sealed.manifest();
    assert_eq!(read_manifest(out.path()).unwrap(), read_manifest(&sealed.package()).unwrap());
    PackageFiles::open(out.path(), &manifest)
        .unwrap()
        .verify_ciphertext(&manifest, &Effort::default())
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_folder_into_a_folder() {
    let sealed = Sealed::new();
    let out = tempfile::tempdir().unwrap();
    let url = format!("file://{}", sealed.package().display());
    let fetched = Fetch::new(&url, &sealed, Target::Folder(out.path())).run().await.unwrap();
    loads(fetched);
}

#[tokio::test(flavor = "multi_thread")]
async fn asks_for_ranges_of_whole_segments_with_the_tag_it_began_with() {
    let sealed = Sealed::new();
    let server = Server::honest(&sealed.package()).await;
    let out = tempfile::tempdir().unwrap();
    Fetch::new(&server.url, &sealed, Target::Folder(out.path())).run().await.unwrap();
    let path = sealed.weights().path();
    let mut ranges = server.ranges(&path);
    ranges.sort_unstable();
    let end = sealed.weights().ciphertext_len() - 1;
    let at = |segment: u64| 74 + segment * SEGMENT;
    assert_eq!(ranges, [(at(0), at(2) - 1), (at(2), at(4) - 1), (at(4), end)]);
    for request in server.requests().iter().filter(|request| request.range.is_some_and(|range| range.0 != 0))
    {
        assert_eq!(request.headers["if-match"], format!("\"{}-1\"", request.path));
        assert_eq!(request.headers["accept-encoding"], "identity");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_fetch_asks_for_nothing() {
    let sealed = Sealed::new();
    let server = Server::honest(&sealed.package()).await;
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(&dir.path().join("cache"), ROOM).unwrap();
    loads(Fetch::new(&server.url, &sealed, Target::Cache(&cache)).run().await.unwrap());
    let before = server.requests().len();
    let again = Fetch::new(&server.url, &sealed, Target::Cache(&cache)).run().await.unwrap();
    assert_eq!((again.summary().fetched, again.summary().requests), (0, 0));
    loads(again);
    assert_eq!(server.requests().len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_without_notes_is_verified_instead_of_fetched_again() {
    let sealed = Sealed::new();
    let server = Server::honest(&sealed.package()).await;
    let out = tempfile::tempdir().unwrap();
    let fetch = Fetch::new(&server.url, &sealed, Target::Folder(out.path()));
    fetch.run().await.unwrap();
    anchorhold_weights_store::Folder::open(out.path()).unwrap().remove_notes().unwrap();
    assert!(!out.path().join(".fetch").exists());
    let before = server.requests().len();
    let again = fetch.run().await.unwrap();
    assert_eq!(again.summary().fetched, 0);
    assert_eq!(server.requests().len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_grows_to_the_whole() {
    let sealed = Sealed::new();
    let server = Server::honest(&sealed.package()).await;
    let out = tempfile::tempdir().unwrap();
    let told = Mutex::new(Vec::new());
    let fetch = Fetch::new(&server.url, &sealed, Target::Folder(out.path()));
    let fetched = fetch.report(&|progress| told.lock().unwrap().push(progress)).await.unwrap();
    let told = told.into_inner().unwrap();
    assert!(told.windows(2).all(|pair| pair[0].done <= pair[1].done));
    assert!(told.len() as u64 >= SEGMENTS);
    let last = told.last().unwrap();
    assert_eq!((last.done, last.total), (fetched.summary().total, fetched.summary().total));
}

#[tokio::test(flavor = "multi_thread")]
async fn into_memory_without_a_file() {
    let sealed = Sealed::new();
    let server = Server::honest(&sealed.package()).await;
    let fetch = Fetch::new(&server.url, &sealed, Target::Memory { limit: ROOM });
    loads(fetch.run().await.unwrap());
    let lengths = files(&sealed.package()).iter().map(|path| fs::metadata(path).unwrap().len()).sum::<u64>();
    let needed = lengths - fs::metadata(sealed.package().join("manifest.json")).unwrap().len();
    let limit = needed - 1;
    let small = Fetch::new(&server.url, &sealed, Target::Memory { limit });
    assert_eq!(small.run().await.unwrap_err(), Error::CacheLimit { needed, limit });
}

#[tokio::test(flavor = "multi_thread")]
async fn files_in_memory_cannot_be_changed_by_whoever_gets_them() {
    use std::os::unix::fs::FileExt as _;
    let sealed = Sealed::new();
    let server = Server::honest(&sealed.package()).await;
    let fetched = Fetch::new(&server.url, &sealed, Target::Memory { limit: ROOM }).run().await.unwrap();
    let (files, _) = fetched.into_files();
    for file in files.objects.iter().flat_map(|object| [&object.data, &object.tree]).chain([&files.card]) {
        assert!(file.write_at(&[0], 0).is_err() && file.set_len(0).is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_another_manifest_than_the_release_names_before_anything_else_is_fetched() {
    let (sealed, other) = (Sealed::new(), Sealed::with_version(2));
    let server = Server::honest(&other.package()).await;
    let dir = tempfile::tempdir().unwrap();
    let fetch = Fetch::new(&server.url, &sealed, Target::Folder(dir.path()));
    assert_eq!(fetch.refused().await.0, "mixed");
    assert_eq!(server.requests().len(), 1);
    let pin = Pin::Release { digest: *other.manifest().digest(), min_version: 3 };
    let old = Fetch { pin, ..Fetch::new(&server.url, &sealed, Target::Folder(dir.path())) };
    let expected = Error::Package(SealedError::Version { least: 3, actual: 2 });
    assert_eq!(old.refused().await, ("version", expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_a_manifest_by_another_owner() {
    let sealed = Sealed::new();
    let server = Server::honest(&sealed.package()).await;
    let dir = tempfile::tempdir().unwrap();
    let limits = limits();
    let store = anchorhold_weights_store::Store::open(
        &server.url.parse().unwrap(),
        &crate::support::plain(),
        &limits,
    );
    let mut other = owner();
    other[0] ^= 1;
    let order = anchorhold_weights_store::Order {
        owner_key: &other,
        pin: sealed.pin(),
        recheck: Recheck::Nothing,
        limits: &limits,
    };
    let target = Target::Folder(dir.path());
    let refused =
        anchorhold_weights_store::fetch(&store.unwrap(), &order, target, &|_| {}).await.unwrap_err();
    assert_eq!(refused.code(), "signature");
    assert_eq!(server.requests().len(), 1);
}

/// Every file below a folder with its bytes.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    files(dir).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// The code with which neither a pinned nor an unpinned fetch into `out` goes ahead; nothing in it changes.
async fn leaves_alone(sealed: &Sealed, out: &Path) -> &'static str {
    let server = Server::honest(&sealed.package()).await;
    let before = contents(out);
    let pinned = Fetch::new(&server.url, sealed, Target::Folder(out));
    let (code, _) = pinned.refused().await;
    assert!(server.requests().is_empty(), "nothing is asked for in vain");
    let unpinned = Fetch { pin: Pin::AnyOfOwner { min_version: 1 }, ..pinned };
    assert_eq!(unpinned.refused().await.0, code);
    assert_eq!(contents(out), before);
    code
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_to_replace_a_newer_package_by_an_old_one_that_the_store_shows() {
    let (old, new) = (Sealed::new(), Sealed::with_version(2));
    let out = tempfile::tempdir().unwrap();
    let server = Server::honest(&new.package()).await;
    Fetch::new(&server.url, &new, Target::Folder(out.path())).run().await.unwrap();
    assert_eq!(leaves_alone(&old, out.path()).await, "folder_holds_another");
    anchorhold_weights_store::Folder::open(out.path()).unwrap().remove_notes().unwrap();
    assert_eq!(leaves_alone(&old, out.path()).await, "folder_holds_another");
    assert!(!out.path().join(".fetch").exists());
    loads(Fetch::new(&server.url, &new, Target::Folder(out.path())).run().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_a_folder_that_holds_no_package_of_the_owner() {
    let sealed = Sealed::new();
    let out = tempfile::tempdir().unwrap();
    for name in ["HEAD", "config"] {
        fs::write(out.path().join(name), "of a bare repository").unwrap();
    }
    fs::create_dir(out.path().join("objects")).unwrap();
    assert_eq!(leaves_alone(&sealed, out.path()).await, "folder_foreign");
    for name in ["manifest.json", "card.sealed"] {
        fs::write(out.path().join(name), "of somebody").unwrap();
    }
    assert_eq!(leaves_alone(&sealed, out.path()).await, "folder_foreign");
    fs::remove_file(out.path().join("manifest.json")).unwrap();
    fs::create_dir(out.path().join("manifest.json")).unwrap();
    assert_eq!(leaves_alone(&sealed, out.path()).await, "folder_foreign");
    assert!(!out.path().join(".fetch").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_fetch_of_another_version_gives_way() {
    let (old, new) = (Sealed::new(), Sealed::with_version(2));
    let out = tempfile::tempdir().unwrap();
    let server = Server::honest(&old.package()).await;
    Fetch::new(&server.url, &old, Target::Folder(out.path())).run().await.unwrap();
    fs::remove_file(out.path().join("manifest.json")).unwrap();
    let server = Server::honest(&new.package()).await;
    loads(Fetch::new(&server.url, &new, Target::Folder(out.path())).run().await.unwrap());
    anchorhold_weights_store::Folder::open(out.path()).unwrap().remove_notes().unwrap();
    let names = |dir: &std::path::Path| {
        files(dir).iter().map(|path| path.strip_prefix(dir).unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(out.path()), names(&new.package()));
}

#[tokio::test(flavor = "multi_thread")]
async fn case_23_neither_plaintext_nor_key_is_ever_in_a_cache() {
    let sealed = Sealed::new();
    let server = Server::honest(&sealed.package()).await;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("cache");
    let cache = Cache::open(&root, ROOM).unwrap();
    loads(Fetch::new(&server.url, &sealed, Target::Cache(&cache)).run().await.unwrap());
    check_ciphertext_only(&root);
    // The search finds what is there.
    fs::write(root.join("x"), [&b"..."[..], CANARY].concat()).unwrap();
    assert!(std::panic::catch_unwind(|| check_ciphertext_only(&root)).is_err());
    fs::write(root.join("x"), KEY).unwrap();
    assert!(std::panic::catch_unwind(|| check_ciphertext_only(&root)).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_we_may_look_into_the_cache() {
    let sealed = Sealed::new();
    let server = Server::honest(&sealed.package()).await;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("cache");
    let cache = Cache::open(&root, ROOM).unwrap();
    Fetch::new(&server.url, &sealed, Target::Cache(&cache)).run().await.unwrap();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path)
            } else {
                assert_eq!(mode(&path), 0o600, "{}", path.display())
            }
        }
    }
    fs::set_permissions(&root, fs::Permissions::from_mode(0o750)).unwrap();
    let refused = Cache::open(&root, ROOM).unwrap_err();
    assert!(refused.to_string().contains("has mode 750, wanted 700"), "{refused}");
}

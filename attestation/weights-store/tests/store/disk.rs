//! Case 24: a disk that is full or does not take writes.

use std::path::{Path, PathBuf};
use std::process::Command;

use anchorhold_weights_store::{Cache, Target};

use crate::server::Server;
use crate::support::{Fetch, Sealed, loads};

const ROOM: u64 = 1 << 30;
/// Where the child finds its small disk.
const DISK: &str = "ANCHORHOLD_TEST_SMALL_DISK";

/// Runs `test` again in a process with a file system of its own, mounted with `options`. The disk is in the child alone.
fn on_small_disk(test: &str, options: &str) -> Option<PathBuf> {
    if let Some(disk) = std::env::var_os(DISK) {
        return Some(disk.into());
    }
    if !Command::new("unshare").args(["-rm", "true"]).status().is_ok_and(|status| status.success()) {
        // A machine that allows no namespaces; the project's own checks run on one that does.
        println!("skipped: no namespaces");
        return None;
    }
    let at = tempfile::tempdir().unwrap();
    let script = r#"mount -t tmpfs -o "mode=700,$2" none "$1" && exec "$3" --exact "$4" --nocapture"#;
    let status = Command::new("unshare")
        .args(["-rm", "sh", "-c", script, "sh"])
        .arg(at.path())
        .arg(options)
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env(DISK, at.path())
        .status()
        .unwrap();
    assert!(status.success());
    None
}

/// The package stays outside of the disk; the fetch into it ends with `code`, and one into memory loads.
async fn falls_back(disk: &Path, code: &str) {
    let sealed = Sealed::new();
    let server = Server::honest(&sealed.package()).await;
    let cache = Cache::open(disk, ROOM).unwrap();
    let fetch = Fetch::new(&server.url, &sealed, Target::Cache(&cache));
    let (observed, error) = fetch.refused().await;
    assert_eq!(observed, code, "{error}");
    assert!(error.is_of_the_cache());
    let segments = |request: &crate::server::Request| request.range.is_some();
    assert!(!server.requests().iter().any(segments), "a full disk shows before segments are asked for");
    let whole = crate::support::files(disk)
        .iter()
        .any(|path| path.ends_with("manifest.json") && !path.to_string_lossy().contains(".fetch"));
    assert!(!whole, "a folder with a manifest is a whole package");
    loads(Fetch::new(&server.url, &sealed, Target::Memory { limit: ROOM }).run().await.unwrap());
}

fn block_on(test: impl Future<Output = ()>) {
    tokio::runtime::Runtime::new().unwrap().block_on(test);
}

#[test]
fn case_24_a_full_disk_ends_the_fetch_early_and_memory_serves_instead() {
    let test = "disk::case_24_a_full_disk_ends_the_fetch_early_and_memory_serves_instead";
    if let Some(disk) = on_small_disk(test, "size=2m") {
        block_on(falls_back(&disk, "cache_full"));
    }
}

#[test]
fn case_24_a_disk_that_takes_no_names_ends_the_fetch_and_memory_serves_instead() {
    let test = "disk::case_24_a_disk_that_takes_no_names_ends_the_fetch_and_memory_serves_instead";
    if let Some(disk) = on_small_disk(test, "size=64m,nr_inodes=6") {
        block_on(falls_back(&disk, "cache_full"));
    }
}

#[test]
fn case_24_a_disk_that_became_read_only_ends_the_fetch_and_memory_serves_instead() {
    let test = "disk::case_24_a_disk_that_became_read_only_ends_the_fetch_and_memory_serves_instead";
    if let Some(disk) = on_small_disk(test, "size=64m,ro") {
        block_on(falls_back(&disk, "cache_io"));
    }
}

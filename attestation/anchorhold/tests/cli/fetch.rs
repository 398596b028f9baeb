//! `package fetch`: what comes out is the package, and nothing else passes for it.

use crate::support::{Folder, Ran, run};
use anchorhold_key_release::ReleaseKey;
use anchorhold_rats::Kem;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A store that is a folder, with one sealed package.
struct Stored {
    folder: Folder,
    owner: String,
    digest: String,
}

impl Stored {
    fn new() -> Self {
        let folder = Folder::new();
        let ran = run(["owner", "new", &folder.path("owner.key")]);
        ran.expect(0, "");
        let header = r#"{"weight":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}    "#;
        let mut file = u64::try_from(header.len()).unwrap().to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.extend([1; 16]);
        folder.write("model/config.json", "{}");
        folder.write("model/tokenizer.json", "{}");
        folder.write("model/model.safetensors", file);
        let mut stored = Self { owner: ran.out.trim().to_owned(), digest: String::new(), folder };
        stored.digest = stored.seal("3");
        stored
    }

    /// Puts this version of the package into the store, which must be empty; its manifest's digest.
    fn seal(&self, version: &str) -> String {
        let path = |name: &str| self.folder.path(name);
        let (model, sealed, key) = (path("model"), path("sealed"), path("owner.key"));
        let import = path(&format!("import-{version}.json"));
        let broker = ReleaseKey::generate(Kem::XWing).unwrap().public_key().to_string();
        let mut args =
            vec!["seal", &model, "--out", &sealed, "--model-id", "acme/chat", "--version", version];
        args.extend(["--owner-key", &key, "--broker-key", &broker, "--import-out", &import, "--json"]);
        let sealed = run(args);
        sealed.expect(0, "sealed ");
        sealed.json()["manifest_digest"].as_str().unwrap().to_owned()
    }

    fn fetch(&self, more: &[&str]) -> Ran {
        let url = format!("file://{}", self.folder.path("sealed"));
        let out = self.folder.path("fetched");
        let args = ["package", "fetch", &url, "--out", &out, "--json"];
        run(args.iter().chain(more))
    }
}

fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push((path.strip_prefix(dir).unwrap().to_owned(), std::fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_fetched_package_is_the_package_byte_for_byte() {
    let stored = Stored::new();
    let ran = stored.fetch(&["--owner-key", &stored.owner, "--manifest-digest", &stored.digest]);
    ran.expect(0, "100 %");
    let json: Value = ran.json();
    assert_eq!((&json["model_id"], &json["version"]), (&"acme/chat".into(), &3.into()));
    assert_eq!(json["manifest_digest"], stored.digest);
    assert_eq!((&json["bytes"], &json["reused_bytes"]), (&json["fetched_bytes"], &0.into()));
    let (sealed, fetched) = (stored.folder.path("sealed"), stored.folder.path("fetched"));
    assert_eq!(contents(Path::new(&sealed)), contents(Path::new(&fetched)));
    let again = stored.fetch(&["--owner-key", &stored.owner, "--manifest-digest", &stored.digest]);
    again.expect(0, "");
    assert_eq!((&again.json()["fetched_bytes"], &again.json()["requests"]), (&0.into(), &0.into()));
}

#[test]
fn the_owner_alone_will_do_when_no_digest_is_named() {
    let stored = Stored::new();
    stored.fetch(&["--owner-key", &stored.owner]).expect(0, "");
    stored.fetch(&["--owner-key", &stored.owner, "--version-min", "4"]).expect(4, "not fetched (version)");
}

/// What `package verify` says of the package in the store.
fn verify(stored: &Stored, more: &[&str]) -> Ran {
    let sealed = stored.folder.path("sealed");
    run(["package", "verify", &sealed].iter().chain(more))
}

#[test]
fn refuses_another_owner_as_not_authentic_and_another_digest_or_version_as_not_acceptable_like_verify() {
    let stored = Stored::new();
    let (owner, other_owner, other) = (["--owner-key", &stored.owner], "5a".repeat(32), "00".repeat(32));
    stored.fetch(&["--owner-key", &other_owner]).expect(3, "not fetched (signature)");
    verify(&stored, &["--owner-key", &other_owner]).expect(3, "[signature");
    stored.fetch(&[&owner[..], &["--manifest-digest", &other]].concat()).expect(4, "not fetched (mixed)");
    verify(&stored, &[&owner[..], &["--manifest", &other]].concat()).expect(4, "[mixed_not_released]");
    stored.fetch(&[&owner[..], &["--version-min", "4"]].concat()).expect(4, "not fetched (version)");
    verify(&stored, &[&owner[..], &["--version-min", "4"]].concat()).expect(4, "[version");
    assert!(!Path::new(&stored.folder.path("fetched")).join("manifest.json").exists());
}

#[test]
fn bytes_that_are_not_the_signed_ones_are_not_authentic_as_for_verify() {
    let stored = Stored::new();
    let card = Path::new(&stored.folder.path("sealed")).join("card.sealed");
    let mut bytes = std::fs::read(&card).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&card, &bytes).unwrap();
    verify(&stored, &["--owner-key", &stored.owner]).expect(3, "[");
    let ran = stored.fetch(&["--owner-key", &stored.owner]);
    ran.expect(3, "not fetched (");
    assert!(!ran.err.contains("hint"), "nothing came: {}", ran.err);
}

#[test]
fn never_replaces_a_package_or_a_folder_of_someone_else() {
    let (held, stored) = (Stored::new(), Stored::new());
    let out = held.folder.path("sealed");
    let before = contents(Path::new(&out));
    let url = format!("file://{}", stored.folder.path("sealed"));
    let fetch = |owner: &str, out: &str| run(["package", "fetch", &url, "--out", out, "--owner-key", owner]);
    let hint = "hint: nothing was changed there; name a new folder with --out";
    let ran = fetch(&stored.owner, &out);
    ran.expect(1, "not fetched (folder_foreign)");
    ran.expect(1, hint);
    assert_eq!(contents(Path::new(&out)), before);
}

#[test]
fn a_store_that_shows_an_old_version_does_not_replace_a_newer_one() {
    let stored = Stored::new();
    stored.fetch(&["--owner-key", &stored.owner]).expect(0, "");
    let fetched = stored.folder.path("fetched");
    let before = contents(Path::new(&fetched));
    std::fs::remove_dir_all(stored.folder.path("sealed")).unwrap();
    stored.seal("2");
    let ran = stored.fetch(&["--owner-key", &stored.owner]);
    ran.expect(1, "not fetched (folder_holds_another)");
    ran.expect(1, "holds acme/chat version 3, manifest ");
    ran.expect(1, "hint: nothing was changed there; name a new folder with --out");
    assert_eq!(contents(Path::new(&fetched)), before);
}

#[test]
fn says_that_what_came_is_kept_only_when_something_came() {
    use std::os::unix::fs::PermissionsExt as _;
    let stored = Stored::new();
    let kept = "what came is kept";
    let url = format!("file://{}", stored.folder.path("sealed"));
    let absent = format!("file://{}", stored.folder.path("nowhere"));
    let fetch =
        |url: &str, out: &str| run(["package", "fetch", url, "--out", out, "--owner-key", &stored.owner]);
    let ran = fetch(&absent, &stored.folder.path("other"));
    ran.expect(1, "hint: the address is that of the folder with manifest.json");
    assert!(!ran.err.contains(kept));
    let ran = fetch(&url, &stored.folder.write("file", ""));
    ran.expect(1, "Not a directory");
    assert!(!ran.err.contains(kept));
    let open = stored.folder.path("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    let ran = fetch(&url, &open);
    ran.expect(1, "has mode 777");
    assert!(!ran.err.contains(kept));
    let objects = Path::new(&stored.folder.path("sealed")).join("objects");
    std::fs::remove_dir_all(objects).unwrap();
    fetch(&url, &stored.folder.path("part")).expect(1, kept);
}

#[test]
fn rot_is_found_when_it_is_looked_for() {
    let stored = Stored::new();
    let pinned = ["--owner-key", &stored.owner, "--manifest-digest", &stored.digest];
    stored.fetch(&pinned).expect(0, "");
    let objects = Path::new(&stored.folder.path("fetched")).join("objects");
    let object = std::fs::read_dir(objects).unwrap().map(|entry| entry.unwrap().path());
    let object = object.into_iter().find(|path| path.extension().is_none()).unwrap();
    let mut bytes = std::fs::read(&object).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&object, &bytes).unwrap();
    let repaired = stored.fetch(&[&pinned[..], &["--recheck"]].concat());
    repaired.expect(0, "");
    assert_eq!(repaired.json()["fetched_bytes"], bytes.len() - 74);
    assert_ne!(std::fs::read(&object).unwrap(), bytes);
}

#[test]
fn a_store_that_has_nothing_or_cannot_be_spoken_to_ends_with_1() {
    let stored = Stored::new();
    let out = stored.folder.path("other");
    let owner = ["--out", &out, "--owner-key", &stored.owner];
    let absent = format!("file://{}", stored.folder.path("nowhere"));
    let fetch = |url: &str, more: &[&str]| run(["package", "fetch", url].iter().chain(&owner).chain(more));
    fetch(&absent, &[]).expect(1, "not fetched (absent)");
    fetch("http://127.0.0.1:1/x", &[]).expect(1, "is http://, which is not allowed");
    fetch("ftp://127.0.0.1/x", &[]).expect(2, "scheme is not s3, https, http or file");
    let key = stored.folder.write("key", "aws_access_key_id = a\naws_secret_access_key = topsecret\n");
    let credentials = ["--credentials", &key];
    fetch("s3://bucket/x", &credentials).expect(1, "may be read by others");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&key, private).unwrap();
    let endpoint = ["--endpoint", "http://127.0.0.1:1", "--dangerous-plain-http", "--total-s", "1"];
    let ran = fetch("s3://bucket/x", &[&credentials[..], &endpoint].concat());
    assert_eq!(ran.code, 1);
    assert!(!ran.err.contains("topsecret") && !ran.out.contains("topsecret"));
}

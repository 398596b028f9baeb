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
        let path = |name| folder.path(name);
        let (model, sealed, key, import) =
            (path("model"), path("sealed"), path("owner.key"), path("import.json"));
        let broker = ReleaseKey::generate(Kem::XWing).unwrap().public_key().to_string();
        let mut args = vec!["seal", &model, "--out", &sealed, "--model-id", "acme/chat", "--version", "3"];
        args.extend(["--owner-key", &key, "--broker-key", &broker, "--import-out", &import, "--json"]);
        let sealed = run(args);
        sealed.expect(0, "sealed ");
        let digest = sealed.json()["manifest_digest"].as_str().unwrap().to_owned();
        Self { owner: ran.out.trim().to_owned(), digest, folder }
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
    stored.fetch(&["--owner-key", &stored.owner, "--version-min", "4"]).expect(3, "not fetched (version)");
}

#[test]
fn refuses_another_owner_and_another_digest_as_not_authentic() {
    let stored = Stored::new();
    stored.fetch(&["--owner-key", &"5a".repeat(32)]).expect(3, "not fetched (signature)");
    let other = "00".repeat(32);
    stored
        .fetch(&["--owner-key", &stored.owner, "--manifest-digest", &other])
        .expect(3, "not fetched (mixed)");
    assert!(!Path::new(&stored.folder.path("fetched")).join("manifest.json").exists());
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

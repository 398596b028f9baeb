//! `key`.

use crate::support::{Folder, run};
use anchorhold_rats::Sha256Digest;
use std::os::unix::fs::PermissionsExt as _;

/// Runs `key` with these words on this file.
fn key(file: &str, words: &str) -> crate::support::Ran {
    run(words.split(' ').collect::<Vec<_>>().into_iter().chain(["--file", file]))
}

#[test]
fn a_key_is_printed_once_and_only_its_digest_is_kept() {
    let folder = Folder::new();
    let file = folder.path("keys.toml");
    let made = key(&file, "key create --tenant acme --label ci --scopes embed,models --expires 90d");
    made.expect(0, "of acme, shown this once");
    let secret = made.out.trim_end();
    assert!(secret.starts_with("ah-") && secret.len() == 52, "{secret}");
    assert!(!made.err.contains(secret));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).unwrap();
    let digest = Sha256Digest::of(secret.as_bytes()).to_string();
    assert!(text.contains(&digest) && !text.contains(secret), "{text}");

    let json = key(&file, "key create --tenant bolt --not-before 2200-01-01T00:00:00Z --json").json();
    assert_eq!(json["tenant"], "bolt");
    assert_eq!(json["sha256"], Sha256Digest::of(json["key"].as_str().unwrap().as_bytes()).to_string());
    let listed = key(&file, "key list --json").json();
    let shown: Vec<_> =
        listed.as_array().unwrap().iter().map(|key| (&key["tenant"], &key["state"])).collect();
    assert_eq!(shown, [(&"acme".into(), &"valid".into()), (&"bolt".into(), &"not yet valid".into())]);
    assert_eq!(listed[0]["scopes"], serde_json::json!(["embed", "models"]));
    let text = key(&file, "key list --tenant acme").out;
    assert!(
        text.starts_with(&digest[..12]) && text.contains("embed,models") && text.lines().count() == 1,
        "{text}"
    );
    assert!(!text.contains(secret));
}

#[test]
fn a_revoked_key_is_gone_and_others_stay() {
    let folder = Folder::new();
    let file = folder.path("keys.toml");
    let id = |made: crate::support::Ran| Sha256Digest::of(made.out.trim_end().as_bytes()).to_string();
    let one = id(key(&file, "key create --tenant acme"));
    let two = id(key(&file, "key create --tenant acme"));
    let revoked = key(&file, &format!("key revoke {}", &one[..12]));
    revoked.expect(0, "is revoked");
    assert_eq!(revoked.out, format!("{}\n", &one[..12]));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains(&one) && text.contains(&two), "{text}");
    key(&file, &format!("key revoke {one}")).expect(1, "no key has this id");
    key(&file, "key revoke zz").expect(1, "no key has this id");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(key(&file, &format!("key revoke {two} --json")).json()["sha256"], two);
    assert_eq!(key(&file, "key list").out, "");
}

#[test]
fn refuses_what_could_not_be_a_key_and_leaves_the_file_as_it_is() {
    let folder = Folder::new();
    let file = folder.path("keys.toml");
    key(&file, "key list").expect(1, "cannot open");
    key(&file, "key create --tenant Acme").expect(2, "name of a tenant");
    key(&file, "key create --tenant acme --scopes all").expect(2, "not a scope");
    key(&file, "key create --tenant acme --expires soon").expect(2, "not a time");
    key(&file, "key create --tenant acme --not-before 2d --expires 1d").expect(1, "not after not_before");
    assert!(!std::path::Path::new(&file).exists());
    for bad in ["nonsense", "[[keys]]\n", &"#".repeat(1024 * 1024 + 1)] {
        std::fs::write(&file, bad).unwrap();
        key(&file, "key create --tenant acme").expect(1, "anchorhold: error: ");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), bad);
    }
}

#[test]
fn two_that_change_the_file_at_one_time_lose_nothing() {
    let folder = Folder::new();
    let file = folder.path("keys.toml");
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let file = file.clone();
            std::thread::spawn(move || key(&file, "key create --tenant acme").code)
        })
        .collect();
    let made = threads.into_iter().map(|thread| thread.join().unwrap()).filter(|code| *code == 0).count();
    let listed = key(&file, "key list --json").json();
    assert_eq!(listed.as_array().unwrap().len(), made);
    // What a run that was killed left behind is in nobody's way.
    std::fs::write(format!("{file}.new"), "half of i").unwrap();
    key(&file, "key create --tenant acme").expect(0, "");
}

//! The program: what it signs it verifies, and its exit says whether something was found.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at a surprise")]

use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_anchorhold-supply-chain")).args(args).output().unwrap()
}

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/supply-chain")
}

fn vector(name: &str) -> String {
    vectors().join(name).to_str().unwrap().to_owned()
}

fn write(folder: &TempDir, name: &str, bytes: &[u8]) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A new key's file, and its public half in hex.
fn key(folder: &TempDir, name: &str) -> (String, String) {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
    let public = pair.public_key().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let file = write(folder, name, document.as_ref());
    permit(&file, 0o600);
    (file, public)
}

fn permit(file: &str, mode: u32) {
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_key_that_others_may_read_signs_nothing() {
    let folder = TempDir::new().unwrap();
    let (key_file, _) = key(&folder, "builder.key");
    let subject = format!("image={}", write(&folder, "image", b"an image"));
    let material = format!("image.lock={}", vector("image.lock"));
    let sign = || run(&["provenance", "--subject", &subject, "--material", &material, "--sign", &key_file]);
    assert!(sign().status.success());
    for mode in [0o640, 0o604, 0o620, 0o666] {
        permit(&key_file, mode);
        let refused = sign();
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(
            !refused.status.success() && refused.stdout.is_empty() && said.contains("chmod 600"),
            "{mode:o}: {said}"
        );
    }
}

#[test]
fn case_44_a_file_that_was_not_made_so_is_refused_and_so_is_a_stranger() {
    let folder = TempDir::new().unwrap();
    let (key_file, signer) = key(&folder, "builder.key");
    let (_, stranger) = key(&folder, "stranger.key");
    let image = write(&folder, "image", b"an image");
    let (subject, material) = (format!("image={image}"), format!("image.lock={}", vector("image.lock")));
    let args = ["provenance", "--subject", &subject, "--material", &material, "--parameter", "flavour=demo"];
    let signed = run(&[&args[..], &["--sign", &key_file]].concat());
    assert!(signed.status.success(), "{signed:?}");
    let provenance = write(&folder, "provenance.dsse", &signed.stdout);
    let verify = |signer: &str, file: &str| run(&["verify", &provenance, "--signer", signer, "--file", file]);
    assert!(verify(&signer, &subject).status.success());
    let other = format!("image={}", write(&folder, "other", b"an imagf"));
    for (refused, why) in [
        (verify(&signer, &other), "is not the one that was made"),
        (verify(&signer, &format!("disk={image}")), "no file disk was made"),
        (verify(&stranger, &subject), "signature 0 is of a key that is not trusted"),
    ] {
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && said.contains(why), "{said}");
    }
}

#[test]
fn advisories_end_with_4_when_there_is_a_weakness_and_with_0_when_there_is_none() {
    let folder = TempDir::new().unwrap();
    let (metadata, lock, packages) = (vector("metadata.json"), vector("Cargo.lock"), vector("image.lock"));
    let inputs = ["--metadata", &metadata, "--lock", &lock, "--packages", &packages];
    let rest = [
        "--program",
        "anchorhold-guard",
        "--name",
        "image",
        "--version",
        "1",
        "--at",
        "2026-01-01T00:00:00Z",
    ];
    let list = run(&[&["sbom"], &inputs[..], &rest[..]].concat());
    assert!(list.status.success(), "{list:?}");
    let list = write(&folder, "sbom.json", &list.stdout);
    let (rustsec, debian) = (vector("rustsec"), vector("debian.json"));
    let found = run(&["advisories", "--sbom", &list, "--rustsec", &rustsec, "--debian", &debian]);
    let said = String::from_utf8(found.stdout).unwrap();
    assert_eq!(found.status.code(), Some(4), "{said}");
    assert!(
        said.contains("WEAKNESS RUSTSEC-2099-0001 parser 1.3.0: rebuild with >=1.4.2 or >=1.2.9, <1.3.0"),
        "{said}"
    );
    assert!(said.ends_with("2 weaknesses, 2 of which a rebuild would fix; 2 remarks\n"), "{said}");
    let none = run(&["advisories", "--sbom", &list, "--debian", &debian, "--release", "sid"]);
    assert_eq!(none.status.code(), Some(4), "the kernel's weakness is of weight in sid");
    let none = run(&["advisories", "--sbom", &list, "--debian", &debian, "--release", "bookworm"]);
    assert_eq!(none.status.code(), Some(0));
    assert_eq!(run(&["advisories", "--sbom", &list]).status.code(), Some(1));
    let empty = TempDir::new().unwrap();
    std::fs::create_dir(empty.path().join("crates")).unwrap();
    let folder = empty.path().to_str().unwrap();
    assert_eq!(run(&["advisories", "--sbom", &list, "--rustsec", folder]).status.code(), Some(1));
}

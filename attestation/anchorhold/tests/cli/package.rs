//! `package` and the options of `seal`: what comes out is what was asked for, and what is not what was asked for is refused
//! with its own exit code.

use crate::support::{Folder, Ran, run};
use anchorhold_key_release::ReleaseKey;
use anchorhold_rats::Kem;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

const KEY: &str = "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a";
const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/model-signing");

struct Owner {
    folder: Folder,
    broker: String,
    key: String,
}

impl Owner {
    /// An owner with the folder that the model signing vectors are of, and a weights key in a file.
    fn new() -> Self {
        let folder = Folder::new();
        let key = run(["owner", "new", &folder.path("owner.key")]).out.trim().to_owned();
        for name in ["config.json", "tokenizer.json", "model.safetensors"] {
            folder.write(&format!("model/{name}"), std::fs::read(format!("{VECTORS}/model/{name}")).unwrap());
        }
        let weights_key = folder.write("weights.key", format!("{KEY}\n"));
        std::fs::set_permissions(weights_key, std::fs::Permissions::from_mode(0o600)).unwrap();
        let broker = ReleaseKey::generate(Kem::XWing).unwrap().public_key().to_string();
        Self { folder, broker, key }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path(name)
    }

    /// Seals with the weights key of the file at a time that stays.
    fn seal(&self, out: &str, version: &str, more: &[&str]) -> Ran {
        let (model, to, owner, key) =
            (self.path("model"), self.path(out), self.path("owner.key"), self.path("weights.key"));
        let import = self.path(&format!("{out}.import.json"));
        let mut args = vec!["seal", &model, "--out", &to, "--model-id", "acme/tiny", "--version", version];
        args.extend(["--owner-key", &owner, "--broker-key", &self.broker, "--import-out", &import]);
        args.extend(["--weights-key", &key, "--created", "2026-01-01T00:00:00Z", "--json"]);
        run(args.iter().chain(more))
    }

    fn verify(&self, package: &str, more: &[&str]) -> Ran {
        let dir = self.path(package);
        let mut args =
            vec!["package", "verify", &dir, "--owner-key", &self.key, "--at", "2026-06-01T00:00:00Z"];
        args.extend(more);
        run(args)
    }
}

fn files(package: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut out = Vec::new();
    for folder in [package.to_owned(), package.join("objects")] {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_file() {
                out.push((
                    entry.path().strip_prefix(package).unwrap().to_owned(),
                    std::fs::read(entry.path()).unwrap(),
                ));
            }
        }
    }
    out.sort();
    out
}

#[test]
fn a_package_is_made_again_byte_for_byte() {
    let owner = Owner::new();
    let first = owner.seal("first", "1", &["--threads", "1"]);
    first.expect(0, "sealed ");
    let second = owner.seal("second", "1", &["--threads", "3"]);
    assert_eq!(first.json()["manifest_digest"], second.json()["manifest_digest"]);
    assert!(files(Path::new(&owner.path("first"))) == files(Path::new(&owner.path("second"))));
    owner.seal("third", "1", &["--suite", "blake3", "--padding", "padme"]).expect(0, "");
    let json = owner.verify("third", &["--weights-key", &owner.path("weights.key"), "--json"]).json();
    assert_eq!((json["checked"].as_str(), json["objects"].as_u64()), (Some("everything"), Some(1)));
}

#[test]
fn ciphertext_is_verified_without_a_key_and_everything_with_one() {
    let owner = Owner::new();
    let digest = owner.seal("package", "1", &[]).json()["manifest_digest"].as_str().unwrap().to_owned();
    let ran = owner.verify("package", &["--manifest", &digest]);
    ran.expect(0, "what they hold was not looked at");
    assert!(ran.out.contains("verified     ciphertext, "), "{}", ran.out);
    let key = owner.path("weights.key");
    let ran = owner.verify("package", &["--weights-key", &key]);
    ran.expect(0, "");
    assert!(ran.out.contains("verified     everything, "), "{}", ran.out);
    assert!(ran.out.contains("signature    none of the files"), "{}", ran.out);
}

#[test]
fn each_refusal_ends_with_its_own_code() {
    let owner = Owner::new();
    owner.seal("package", "1", &[]).expect(0, "");
    owner.verify("package", &["--version-min", "2"]).expect(4, "[version]");
    owner.verify("package", &["--manifest", &"00".repeat(32)]).expect(4, "[mixed_not_released]");
    let dir = owner.path("package");
    let late = ["package", "verify", &dir, "--owner-key", &owner.key, "--at", "2027-06-01T00:00:00Z"];
    run(late).expect(4, "manifest is valid until 2027-01-01T00:00:00Z, the time is 2");
    let stranger = "ab".repeat(32);
    run(["package", "verify", &dir, "--owner-key", &stranger]).expect(3, "[signature_other_owner]");
    let other = owner.folder.write("other.key", "00".repeat(32));
    owner.verify("package", &["--weights-key", &other]).expect(1, "may be read by others");
    std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o600)).unwrap();
    owner.verify("package", &["--weights-key", &other]).expect(1, "[wrong_key]");
    for text in ["", "5a", "zz", &format!("{KEY}5a"), &format!("{}zz", &KEY[2..])] {
        std::fs::write(&other, text).unwrap();
        owner.verify("package", &["--weights-key", &other]).expect(1, "is not 64 hex digits");
    }
    let object = std::fs::read_dir(owner.path("package/objects")).unwrap().map(|entry| entry.unwrap().path());
    let object = object.into_iter().find(|path| path.extension().is_none()).unwrap();
    let mut bytes = std::fs::read(&object).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&object, bytes).unwrap();
    owner.verify("package", &[]).expect(3, "[segment_not_in_tree]");
    owner
        .verify("package", &["--weights-key", &owner.path("weights.key")])
        .expect(3, "[segment_not_in_tree]");
    std::fs::remove_file(object).unwrap();
    owner.verify("package", &[]).expect(1, "[io]");
}

#[test]
fn versions_form_a_chain() {
    let owner = Owner::new();
    let first = owner.seal("first", "1", &[]).json()["manifest_digest"].clone();
    let previous = owner.path("first");
    owner.seal("second", "2", &["--previous", &previous]).expect(0, "");
    owner.verify("second", &["--previous", &previous]).expect(0, "");
    owner.verify("first", &["--previous", &owner.path("second/manifest.json")]).expect(4, "[version]");
    owner.seal("alone", "2", &[]).expect(0, "");
    owner.verify("alone", &["--previous", &previous]).expect(4, "[mixed_other_predecessor]");
    owner
        .seal("backwards", "1", &["--previous", &owner.path("second")])
        .expect(1, "not higher than that of the previous");
    let dir = owner.path("second");
    let shown = run(["package", "show", &dir, "--owner-key", &owner.key, "--json"]).json();
    assert_eq!(shown["previous"], first);
    owner.seal("x", "3", &["--previous", &owner.path("model/config.json")]).expect(3, "not a DSSE envelope");
}

#[test]
fn a_model_signature_is_checked_and_shown() {
    let owner = Owner::new();
    let (signature, signer) = (format!("{VECTORS}/p256.sig"), format!("{VECTORS}/p256.pem"));
    owner.seal("signed", "1", &["--model-signature", &signature, "--model-signer", &signer]).expect(0, "");
    let key = owner.path("weights.key");
    let ran = owner.verify("signed", &["--weights-key", &key]);
    assert!(ran.out.contains("signature    of the files, by their signer"), "{}", ran.out);
    let dir = owner.path("signed");
    let ran = run(["package", "show", &dir, "--owner-key", &owner.key, "--weights-key", &key]);
    ran.expect(0, "");
    assert!(ran.out.contains("signature    of 4 files of model, key "), "{}", ran.out);
    assert!(ran.out.contains("file         model.safetensors, "), "{}", ran.out);
    let other = format!("{VECTORS}/p384.pem");
    owner
        .seal("a", "1", &["--model-signature", &signature, "--model-signer", &other])
        .expect(1, "names another public key");
    let p521 = format!("{VECTORS}/p521.pem");
    owner
        .seal("b", "1", &["--model-signature", &signature, "--model-signer", &p521])
        .expect(1, "signer's key is not");
    owner.seal("c", "1", &["--model-signature", &signature]).expect(2, "--model-signer");
    owner.folder.write("model/config.json", "{}");
    owner
        .seal("d", "1", &["--model-signature", &signature, "--model-signer", &signer])
        .expect(1, "another digest than the signed one");
    for made in ["a", "b", "c", "d"] {
        assert!(!Path::new(&owner.path(made)).exists(), "{made}");
    }
}

#[test]
fn show_without_the_key_shows_what_is_public() {
    let owner = Owner::new();
    owner.seal("hidden", "1", &["--padding", "power-of-two"]).expect(0, "");
    let dir = owner.path("hidden");
    let ran = run(["package", "show", &dir, "--owner-key", &owner.key]);
    ran.expect(0, "");
    assert!(ran.out.contains(" bundle, 1048576 bytes in 1 segments"), "{}", ran.out);
    assert!(!ran.out.contains("config") && !ran.out.contains("tensors"), "{}", ran.out);
    owner.seal("x", "1", &["--padding", "some"]).expect(2, "wanted none, padme or power-of-two");
    owner.seal("x", "1", &["--suite", "md5"]).expect(2, "wanted sha256 or blake3");
}

/// Case 26 with the broker's own wrapping: two brokers' keys, one package.
#[test]
fn case_26_a_rewrapped_key_opens_the_untouched_package() {
    use anchorhold_key_release::WeightsKeyImport;
    use anchorhold_sealed_weights::{Manifest, WeightsKey, read_manifest};
    let owner = Owner::new();
    let (old, new) = (ReleaseKey::generate(Kem::XWing).unwrap(), ReleaseKey::generate(Kem::XWing).unwrap());
    let owner = Owner { broker: old.public_key().to_string(), ..owner };
    owner.seal("package", "1", &[]).expect(0, "");
    let before = files(Path::new(&owner.path("package")));
    let import =
        WeightsKeyImport::from_json(&std::fs::read(owner.path("package.import.json")).unwrap()).unwrap();
    let unwrapped = import.open(&old).unwrap();
    let rewrapped = WeightsKeyImport::wrap(&unwrapped, import.terms().clone(), new.public_key()).unwrap();
    assert!(rewrapped.open(&old).is_err(), "the old key is of no use any more");
    assert_eq!(rewrapped.terms().kid, import.terms().kid);
    let manifest = read_manifest(Path::new(&owner.path("package"))).unwrap();
    let manifest = Manifest::verify(&manifest, import.terms().owner_key.as_bytes()).unwrap();
    WeightsKey::open(&manifest, rewrapped.open(&new).unwrap().expose()).unwrap();
    assert!(files(Path::new(&owner.path("package"))) == before);
}

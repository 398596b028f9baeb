use std::cell::Cell;
use std::collections::BTreeMap;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;
use crate::package::{PackageFiles, read_manifest};

/// A fixed sequence instead of randomness, so that two runs can be compared.
struct Counting(Cell<u8>);

impl Random for Counting {
    fn fill(&self, out: &mut [u8]) -> Result<(), Error> {
        for byte in out {
            self.0.set(self.0.get().wrapping_mul(5).wrapping_add(13));
            *byte = self.0.get();
        }
        Ok(())
    }
}

fn model() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let header = r#"{"w":{"dtype":"F32","shape":[700000],"data_offsets":[0,2800000]}}"#;
    let mut weights = (header.len() as u64).to_le_bytes().to_vec();
    weights.extend_from_slice(header.as_bytes());
    weights.extend((0..2_800_000_u32).map(|index| (index % 251) as u8));
    fs::write(dir.path().join("model.safetensors"), weights).unwrap();
    fs::write(dir.path().join("config.json"), r#"{"hidden_size":4}"#).unwrap();
    fs::write(dir.path().join("tokenizer.json"), r#"{"model":{}}"#).unwrap();
    dir
}

fn options() -> SealOptions<'static> {
    SealOptions {
        model_id: "acme/tiny",
        version: 1,
        created_s: 1,
        not_after_s: 2,
        previous: None,
        segment: SegmentSize::Mib1,
    }
}

fn owner() -> OwnerKey {
    OwnerKey::from_seed(&[7; 32]).unwrap()
}

fn seal_to(model: &Path, out: &Path) -> Result<SealSummary, Error> {
    seal(model, out, &options(), &owner(), &[9; 32])
}

/// Every file of a package by its path.
fn contents(package: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut out = BTreeMap::new();
    for folder in [package.to_owned(), package.join("objects")] {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_file() {
                let name = entry.path().strip_prefix(package).unwrap().to_owned();
                out.insert(name, fs::read(entry.path()).unwrap());
            }
        }
    }
    out
}

/// Checks that a model folder is refused for this file and rule, and that nothing is left behind.
fn refuses(model: &TempDir, name: &str, rule: &str) {
    let parent = tempfile::tempdir().unwrap();
    match seal_to(model.path(), &parent.path().join("package")).unwrap_err() {
        Error::Source { name: found, rule: reason } => {
            assert_eq!(found, name);
            assert!(reason.contains(rule), "{reason}");
        }
        other => panic!("{other}"),
    }
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
}

#[test]
fn seals_the_same_bytes_from_the_same_randomness() {
    let (model, parent) = (model(), tempfile::tempdir().unwrap());
    let seal_as = |name: &str, random: &dyn Random| {
        let out = parent.path().join(name);
        seal_with(model.path(), &out, &options(), (&owner(), &[9; 32]), random).unwrap();
        contents(&out)
    };
    let first = seal_as("first", &Counting(Cell::new(1)));
    assert_eq!(first, seal_as("second", &Counting(Cell::new(1))));
    assert_eq!(first.len(), 2 + 2 * 3);
    let random = seal_as("third", &SystemRandom::new());
    assert!(random.keys().all(|path| !path.starts_with("objects") || !first.contains_key(path)));
}

#[test]
fn tells_what_it_sealed() {
    let (model, parent) = (model(), tempfile::tempdir().unwrap());
    let out = parent.path().join("package");
    let summary = seal_to(model.path(), &out).unwrap();
    let bytes = read_manifest(&out).unwrap();
    let manifest = Manifest::verify(&bytes, &owner().public_key()).unwrap();
    assert_eq!(summary.manifest_digest, *manifest.digest());
    assert_eq!(summary.kid, manifest.kid());
    assert_eq!(summary.kid, key::key_id(&[9; 32]));
    assert_eq!(summary.objects, 3);
    let files = ["model.safetensors", "config.json", "tokenizer.json"];
    let plain: u64 = files.iter().map(|name| fs::metadata(model.path().join(name)).unwrap().len()).sum();
    assert_eq!(summary.plaintext_bytes, plain);
    assert_eq!(summary.ciphertext_bytes, plain + 3 * 74 + 5 * 32);
    PackageFiles::open(&out, &manifest).unwrap().verify_ciphertext(&manifest).unwrap();
}

#[test]
fn names_no_file_or_plain_digest_in_public() {
    let (model, parent) = (model(), tempfile::tempdir().unwrap());
    let out = parent.path().join("package");
    seal_to(model.path(), &out).unwrap();
    let digest = hex::encode(&merkle::sha256(&fs::read(model.path().join("model.safetensors")).unwrap()));
    for (path, bytes) in contents(&out) {
        let find = |needle: &str| bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
        assert!(!find("safetensors") && !find("hidden_size") && !find(&digest), "{}", path.display());
    }
}

#[test]
fn refuses_unknown_files_links_and_code() {
    let cases = [
        ("pytorch_model.bin", "convert the weights to safetensors"),
        ("training_args.pkl", "convert the weights to safetensors"),
        ("modeling_tiny.py", "code is not sealed"),
        ("README.md", "not one of the files"),
    ];
    for (name, rule) in cases {
        let model = model();
        fs::write(model.path().join(name), "x").unwrap();
        refuses(&model, name, rule);
    }
    let nested = model();
    fs::create_dir(nested.path().join("1_Pooling")).unwrap();
    fs::write(nested.path().join("1_Pooling/x.json"), "{}").unwrap();
    refuses(&nested, "1_Pooling/x.json", "not one of the files");
    let folder = model();
    fs::create_dir(folder.path().join("modules.json")).unwrap();
    refuses(&folder, "modules.json", "not one of the files");
}

#[test]
fn refuses_links() {
    let model = model();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "{}").unwrap();
    symlink(outside.path().join("secret"), model.path().join("generation_config.json")).unwrap();
    refuses(&model, "generation_config.json", "links are not sealed");
    let folder = self::model();
    symlink(outside.path(), folder.path().join("1_Pooling")).unwrap();
    refuses(&folder, "1_Pooling", "links are not sealed");
}

#[test]
fn refuses_missing_empty_oversized_and_ill_formed_files() {
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let model = model();
        fs::remove_file(model.path().join(name)).unwrap();
        refuses(&model, name, "required file is missing");
    }
    let cases: [(&str, &[u8], &str); 6] = [
        ("config.json", b"", "empty, or larger"),
        ("config.json", &[b' '; (1 << 20) + 1], "empty, or larger"),
        ("config.json", b"{", "not well-formed JSON"),
        ("config.json", b"\x80\x04\x95", "not UTF-8"),
        ("config.json", br#"{"auto_map":{"AutoModel":"x.py"}}"#, "auto_map"),
        ("modules.json", b"[1", "not well-formed JSON"),
    ];
    for (name, bytes, rule) in cases {
        let model = model();
        fs::write(model.path().join(name), bytes).unwrap();
        refuses(&model, name, rule);
    }
}

#[test]
fn refuses_weights_that_are_not_safetensors() {
    let (model, parent) = (model(), tempfile::tempdir().unwrap());
    fs::write(model.path().join("model.safetensors"), b"\x80\x02}q\x00not a table of tensors").unwrap();
    let refused = seal_to(model.path(), &parent.path().join("package")).unwrap_err();
    assert_eq!(refused.stage(), "tensors");
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
}

#[test]
fn refuses_ill_formed_options() {
    let (model, parent) = (model(), tempfile::tempdir().unwrap());
    let out = parent.path().join("package");
    let cases = [
        SealOptions { model_id: "../x", ..options() },
        SealOptions { version: 0, ..options() },
        SealOptions { not_after_s: 1, ..options() },
    ];
    for options in cases {
        assert_eq!(seal(model.path(), &out, &options, &owner(), &[9; 32]).unwrap_err().stage(), "options");
    }
}

#[test]
fn never_replaces_a_package() {
    let (model, parent) = (model(), tempfile::tempdir().unwrap());
    let out = parent.path().join("package");
    fs::create_dir(&out).unwrap();
    assert_eq!(seal_to(model.path(), &out), Err(Error::Options("output exists already")));
    let partial = Partial::create(&parent.path().join("other")).unwrap();
    fs::create_dir(parent.path().join("other")).unwrap();
    assert_eq!(partial.commit().unwrap_err().stage(), "io");
    let left: Vec<_> = fs::read_dir(parent.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

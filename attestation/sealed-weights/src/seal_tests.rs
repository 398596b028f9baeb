use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::hex;
use crate::package::{PackageFiles, read_manifest};
use crate::rules::{JsonRule, SourceRule};

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
    SealOptions { segment: SegmentSize::Mib1, ..SealOptions::new("acme/tiny", 1, 1..=2) }
}

fn owner() -> OwnerKey {
    OwnerKey::from_seed(&[7; 32]).unwrap()
}

fn seal_as(model: &Path, out: &Path, options: &SealOptions<'_>) -> Result<SealSummary, Error> {
    seal(model, out, options, &owner(), &[9; 32], &Effort::default())
}

fn seal_to(model: &Path, out: &Path) -> Result<SealSummary, Error> {
    seal_as(model, out, &options())
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

/// Checks that a model folder is refused, and that nothing is left behind.
fn refuses_as(model: &TempDir, expected: impl Into<Error>) {
    let parent = tempfile::tempdir().unwrap();
    assert_eq!(seal_to(model.path(), &parent.path().join("package")).unwrap_err(), expected.into());
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
}

fn refuses(model: &TempDir, name: &str, rule: SourceRule) {
    refuses_as(model, Error::Source { name: name.to_owned(), rule });
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
    assert_eq!((summary.files, summary.objects), (3, 3));
    let files = ["model.safetensors", "config.json", "tokenizer.json"];
    let plain: u64 = files.iter().map(|name| fs::metadata(model.path().join(name)).unwrap().len()).sum();
    assert_eq!(summary.plaintext_bytes, plain);
    assert_eq!(summary.ciphertext_bytes, plain + 3 * 74 + 5 * 32);
    PackageFiles::open(&out, &manifest).unwrap().verify_ciphertext(&manifest, &Effort::default()).unwrap();
}

#[test]
fn tells_how_far_it_is_and_reads_every_byte_twice() {
    use std::sync::Mutex;
    let (model, parent) = (model(), tempfile::tempdir().unwrap());
    let told = Mutex::new(Vec::new());
    let progress = |progress| told.lock().unwrap().push(progress);
    let effort = Effort { progress: Some(&progress), ..Effort::default() };
    let summary =
        seal(model.path(), &parent.path().join("package"), &options(), &owner(), &[9; 32], &effort).unwrap();
    let told = told.into_inner().unwrap();
    assert!(told.iter().all(|progress| progress.total == 2 * summary.plaintext_bytes));
    assert!(told.windows(2).all(|pair| pair[0].done < pair[1].done));
    assert_eq!(told.last().map(|progress| progress.done), Some(2 * summary.plaintext_bytes));
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
        ("pytorch_model.bin", SourceRule::Pickle),
        ("training_args.pkl", SourceRule::Pickle),
        ("modeling_tiny.py", SourceRule::Code),
        ("README.md", SourceRule::Unknown),
        ("other.safetensors", SourceRule::Unknown),
        ("tokenizer.model", SourceRule::SentencePiece),
        ("merges.txt", SourceRule::Vocabulary),
    ];
    for (name, rule) in cases {
        let model = model();
        fs::write(model.path().join(name), "x").unwrap();
        refuses(&model, name, rule);
    }
    let nested = model();
    fs::create_dir(nested.path().join("1_Pooling")).unwrap();
    fs::write(nested.path().join("1_Pooling/x.json"), "{}").unwrap();
    refuses(&nested, "1_Pooling/x.json", SourceRule::Unknown);
    let nested = model();
    fs::create_dir(nested.path().join("1_Pooling")).unwrap();
    fs::copy(nested.path().join("model.safetensors"), nested.path().join("1_Pooling/model.safetensors"))
        .unwrap();
    refuses(&nested, "1_Pooling/model.safetensors", SourceRule::Unknown);
    let folder = model();
    fs::create_dir(folder.path().join("modules.json")).unwrap();
    refuses(&folder, "modules.json", SourceRule::Unknown);
}

#[test]
fn refuses_links() {
    let model = model();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "{}").unwrap();
    symlink(outside.path().join("secret"), model.path().join("generation_config.json")).unwrap();
    refuses(&model, "generation_config.json", SourceRule::Link);
    let folder = self::model();
    symlink(outside.path(), folder.path().join("1_Pooling")).unwrap();
    refuses(&folder, "1_Pooling", SourceRule::Link);
}

#[test]
fn refuses_missing_empty_oversized_and_ill_formed_files() {
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let model = model();
        fs::remove_file(model.path().join(name)).unwrap();
        refuses(&model, name, SourceRule::Missing);
    }
    for bytes in [&b""[..], &[b' '; (1 << 20) + 1]] {
        let model = model();
        fs::write(model.path().join("config.json"), bytes).unwrap();
        refuses(&model, "config.json", SourceRule::Size);
    }
    let cases: [(Role, &[u8], JsonRule); 4] = [
        (Role::Config, b"{", JsonRule::Malformed),
        (Role::Config, b"\x80\x04\x95", JsonRule::Utf8),
        (Role::Config, br#"{"auto_map":{"AutoModel":"x.py"}}"#, JsonRule::CodeKey),
        (Role::Modules, br#"[{"type":"x"}]"#, JsonRule::ModuleType),
    ];
    for (role, bytes, rule) in cases {
        let model = model();
        fs::write(model.path().join(role.file_name().unwrap()), bytes).unwrap();
        refuses_as(&model, Error::Json { role, rule });
    }
}

#[test]
fn refuses_weights_that_are_not_what_their_name_says() {
    let (model, parent) = (model(), tempfile::tempdir().unwrap());
    fs::write(model.path().join("model.safetensors"), b"\x80\x02}q\x00not a table of tensors").unwrap();
    let refused = seal_to(model.path(), &parent.path().join("package")).unwrap_err();
    assert_eq!(refused.stage(), "tensors");
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    fs::rename(model.path().join("model.safetensors"), model.path().join("model.gguf")).unwrap();
    let refused = seal_to(model.path(), &parent.path().join("package")).unwrap_err();
    assert_eq!(refused.code(), "gguf_magic");
}

#[test]
fn refuses_ill_formed_options() {
    let (model, parent) = (model(), tempfile::tempdir().unwrap());
    let out = parent.path().join("package");
    let cases = [
        (SealOptions { model_id: "../x", ..options() }, OptionRule::ModelId),
        (SealOptions { version: 0, ..options() }, OptionRule::VersionZero),
        (SealOptions { not_after_s: 1, ..options() }, OptionRule::Times),
    ];
    for (options, rule) in cases {
        assert_eq!(seal_as(model.path(), &out, &options), Err(rule.into()));
    }
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
}

#[test]
fn case_18_refuses_a_predecessor_of_another_model_or_no_lower_version() {
    let (model, parent) = (model(), tempfile::tempdir().unwrap());
    let first = parent.path().join("first");
    let digest = seal_to(model.path(), &first).unwrap().manifest_digest;
    let previous = Manifest::verify(&read_manifest(&first).unwrap(), &owner().public_key()).unwrap();
    let next = SealOptions { previous: Some(&previous), ..options() };
    let out = parent.path().join("second");
    assert_eq!(seal_as(model.path(), &out, &next), Err(OptionRule::PreviousVersion.into()));
    let other = SealOptions { model_id: "acme/other", version: 2, ..next.clone() };
    assert_eq!(seal_as(model.path(), &out, &other), Err(OptionRule::PreviousModel.into()));
    seal_as(model.path(), &out, &SealOptions { version: 2, ..next }).unwrap();
    let second = Manifest::verify(&read_manifest(&out).unwrap(), &owner().public_key()).unwrap();
    assert_eq!(second.previous(), Some(&digest));
    second.require_successor_of(&previous).unwrap();
}

#[test]
fn never_replaces_a_package() {
    let (model, parent) = (model(), tempfile::tempdir().unwrap());
    let out = parent.path().join("package");
    fs::create_dir(&out).unwrap();
    assert_eq!(seal_to(model.path(), &out), Err(OptionRule::OutputExists.into()));
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
}

/// A source whose weights change after they were surveyed.
#[test]
fn a_file_that_changes_between_the_two_readings_is_refused_before_it_is_encrypted() {
    let model = model();
    let options = options();
    let source = Source::open(model.path()).unwrap();
    let plaintexts = Plaintext::of(&source, &options).unwrap();
    let effort = Effort::default();
    let meter = effort.meter(0);
    let survey = Survey::take(&source, &plaintexts, &options, &effort, &meter).unwrap();
    let content = Content { options: &options, files: &source.files, digests: &survey.files };
    let out = tempfile::tempdir().unwrap();
    fs::create_dir(out.path().join("objects")).unwrap();
    let sealer =
        Sealer { options: &options, key: &[9; 32], seed: Seed::of(&[9; 32], &content), dir: out.path() };
    let path = model.path().join("model.safetensors");
    let genuine = fs::read(&path).unwrap();
    let changed = Error::Source { name: "model.safetensors".to_owned(), rule: SourceRule::Changed };
    let seal_weights = || {
        let _ = fs::remove_dir_all(out.path().join("objects"));
        fs::create_dir(out.path().join("objects")).unwrap();
        sealer.seal_object(3, &plaintexts[2], &survey.segments[2], (&effort, &meter))
    };
    seal_weights().unwrap();
    let written = |len: u64| {
        let entry = fs::read_dir(out.path().join("objects")).unwrap().next().unwrap().unwrap();
        assert_eq!(entry.metadata().unwrap().len(), len);
    };
    // In the second segment: the first is written, of the second no byte is.
    let mut altered = genuine.clone();
    altered[(1 << 20) + 5] ^= 1;
    fs::write(&path, &altered).unwrap();
    assert_eq!(seal_weights(), Err(changed.clone()));
    written(HEADER_LEN as u64 + (1 << 20) + 32);
    // In the header: the tables are not taken from it.
    let mut altered = genuine.clone();
    altered[20] ^= 1;
    fs::write(&path, &altered).unwrap();
    assert!(survey.tables(&source, &plaintexts, &options).is_err());
    assert_eq!(seal_weights(), Err(changed.clone()));
    written(HEADER_LEN as u64);
    fs::write(&path, &genuine[..genuine.len() - 1]).unwrap();
    assert_eq!(seal_weights(), Err(changed.clone()));
    fs::write(&path, [&genuine[..], &[0]].concat()).unwrap();
    assert_eq!(source.files[2].check_len(), Err(changed.clone()));
    let again = Survey::take(&source, &plaintexts, &options, &effort, &meter);
    assert_eq!(again.map(drop), Err(changed));
}

#[test]
fn anything_that_decides_the_bytes_decides_every_iv_and_nonce() {
    let model = model();
    let source = Source::open(model.path()).unwrap();
    let digests = vec![[1; 32]; 3];
    let seed = |options: &SealOptions<'_>, files: &[crate::source::SourceFile], digests: &[Hash], key: u8| {
        let seed = Seed::of(&[key; 32], &Content { options, files, digests });
        (seed.id(1), seed.iv(1), seed.nonce(1, 0, &[0; 32]))
    };
    let base = options();
    let files = &source.files;
    let mut seeds = vec![seed(&base, files, &digests, 9)];
    assert_eq!(seed(&base, files, &digests, 9), seeds[0]);
    seeds.push(seed(&base, files, &digests, 8));
    seeds.push(seed(&base, files, &[[1; 32], [1; 32], [2; 32]], 9));
    seeds.push(seed(&base, &files[..2], &digests[..2], 9));
    for other in [
        SealOptions { model_id: "acme/tin", ..base.clone() },
        SealOptions { version: 2, ..base.clone() },
        SealOptions { created_s: 0, ..base.clone() },
        SealOptions { not_after_s: 3, ..base.clone() },
        SealOptions { segment: SegmentSize::Mib4, ..base.clone() },
        SealOptions { suite: Suite::Blake3, ..base.clone() },
        SealOptions { padding: Padding::Padme, ..base.clone() },
        SealOptions { padding: Padding::PowerOfTwo, ..base.clone() },
    ] {
        seeds.push(seed(&other, files, &digests, 9));
    }
    let count = seeds.len();
    let distinct = |values: Vec<Vec<u8>>| values.into_iter().collect::<std::collections::HashSet<_>>().len();
    assert_eq!(distinct(seeds.iter().map(|seed| seed.0.to_string().into_bytes()).collect()), count);
    assert_eq!(distinct(seeds.iter().map(|seed| seed.1.to_vec()).collect()), count);
    assert_eq!(distinct(seeds.iter().map(|seed| seed.2.to_vec()).collect()), count);
    let seed = Seed::of(&[9; 32], &Content { options: &base, files, digests: &digests });
    let nonces = [
        seed.nonce(1, 0, &[0; 32]),
        seed.nonce(1, 1, &[0; 32]),
        seed.nonce(2, 0, &[0; 32]),
        seed.nonce(1, 0, &[1; 32]),
    ];
    assert_eq!(distinct(nonces.iter().map(|nonce| nonce.to_vec()).collect()), nonces.len());
    assert_ne!(seed.iv(1), seed.iv(2));
    assert_ne!(seed.id(1), seed.id(2));
}

//! `seal`: what comes out opens with the key in the import file, and with nothing else.

use crate::support::{Folder, Ran, run};
use anchorhold_kbs::WeightsKeyResource;
use anchorhold_key_release::{ReleaseKey, WeightsKeyImport};
use anchorhold_rats::Kem;
use anchorhold_sealed_weights::{Manifest, WeightsKey};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// A safetensors file of one tensor with four numbers.
fn tensors() -> Vec<u8> {
    let header = r#"{"weight":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}    "#;
    let mut file = u64::try_from(header.len()).unwrap().to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend([1; 16]);
    file
}

struct Sealing {
    folder: Folder,
    broker: ReleaseKey,
}

impl Sealing {
    fn new() -> Self {
        let folder = Folder::new();
        run(["owner", "new", &folder.path("owner.key")]).expect(0, "");
        folder.write("model/config.json", "{}");
        folder.write("model/tokenizer.json", "{}");
        folder.write("model/model.safetensors", tensors());
        Self { folder, broker: ReleaseKey::generate(Kem::XWing).unwrap() }
    }

    fn run(&self, id: &str, more: &[&str]) -> Ran {
        let path = |name| self.folder.path(name);
        let (model, out, owner, import) =
            (path("model"), path("sealed"), path("owner.key"), path("import.json"));
        let broker = self.broker.public_key().to_string();
        let mut args = vec!["seal", &model, "--out", &out, "--model-id", id, "--version", "3"];
        args.extend(["--owner-key", &owner, "--broker-key", &broker, "--import-out", &import]);
        run(args.iter().chain(more))
    }
}

#[test]
fn the_broker_and_nobody_else_can_open_what_was_sealed() {
    let sealing = Sealing::new();
    let ran = sealing.run("acme/chat", &["--json"]);
    ran.expect(0, "sealed ");
    let json = ran.json();
    let import = std::fs::read(sealing.folder.path("import.json")).unwrap();
    let import = WeightsKeyImport::from_json(&import).unwrap();
    let key = import.open(&sealing.broker).unwrap();
    assert!(import.open(&ReleaseKey::generate(Kem::XWing).unwrap()).is_err());
    let manifest =
        anchorhold_sealed_weights::read_manifest(Path::new(&sealing.folder.path("sealed"))).unwrap();
    let manifest = Manifest::verify(&manifest, import.terms().owner_key.as_bytes()).unwrap();
    assert_eq!((manifest.model_id(), manifest.version()), ("acme/chat", 3));
    assert_eq!(manifest.digest(), import.terms().manifest_digest.as_bytes());
    assert!(manifest.not_after_s() - manifest.created_s() == 365 * 86_400);
    assert_eq!(json["manifest_digest"], import.terms().manifest_digest.to_string());
    assert_eq!(json["kid"], import.terms().kid);
    assert_eq!(json["owner_key"], run(["owner", "show", &sealing.folder.path("owner.key")]).out.trim());
    WeightsKey::open(&manifest, key.expose()).unwrap();
}

#[test]
fn the_brokers_key_may_be_in_a_file() {
    let sealing = Sealing::new();
    let path = |name: &str| sealing.folder.path(name);
    let seal = |key: &str| {
        let (model, out, owner, import) =
            (path("model"), path("sealed"), path("owner.key"), path("import.json"));
        let args = ["seal", &model, "--out", &out, "--model-id", "acme/chat", "--version", "3"];
        run(args.iter().chain(&["--owner-key", &owner, "--broker-key", key, "--import-out", &import]))
    };
    let key = sealing.folder.write("broker.key", format!("{}\n", sealing.broker.public_key()));
    seal(&format!("@{}", path("none"))).expect(1, "cannot open");
    seal(&format!("@{}", path("owner.key"))).expect(1, "owner.key is not UTF-8 text");
    seal(&format!("@{}", path("model/config.json"))).expect(1, "config.json: not \"x25519:\" or \"x-wing:\"");
    seal("nonsense").expect(2, "not \"x25519:\" or \"x-wing:\"");
    seal(&format!("@{key}")).expect(0, "sealed ");
    let import = std::fs::read(path("import.json")).unwrap();
    WeightsKeyImport::from_json(&import).unwrap().open(&sealing.broker).unwrap();
}

#[test]
fn errors_name_the_folders_that_they_are_about() {
    let sealing = Sealing::new();
    sealing.folder.write("sealed/file", "");
    let ran = sealing.run("acme/chat", &[]);
    ran.expect(1, "sealed exists already\nhint: a package is never overwritten");
    std::fs::remove_dir_all(sealing.folder.path("sealed")).unwrap();
    std::fs::remove_dir_all(sealing.folder.path("model")).unwrap();
    let ran = sealing.run("acme/chat", &[]);
    ran.expect(1, "model into ");
    let owner = run(["owner", "show", &sealing.folder.path("owner.key")]).out;
    let dir = sealing.folder.path("unfinished");
    let show = || run(["package", "show", &dir, "--owner-key", owner.trim()]);
    show().expect(1, "unfinished: ");
    sealing.folder.write("unfinished/.fetch/lock", "");
    show().expect(1, "hint: a fetch into it has not ended");
}

#[test]
fn takes_over_the_empty_import_file_and_the_partial_package_of_a_killed_run() {
    let sealing = Sealing::new();
    let import = sealing.folder.write("import.json", "");
    std::fs::set_permissions(&import, std::fs::Permissions::from_mode(0o600)).unwrap();
    sealing.folder.write(".sealed.0123456789abcdef.partial/card.sealed", "of a killed run");
    sealing.run("acme/chat", &[]).expect(0, "sealed ");
    let import = std::fs::read(import).unwrap();
    WeightsKeyImport::from_json(&import).unwrap().open(&sealing.broker).unwrap();
    assert!(!Path::new(&sealing.folder.path(".sealed.0123456789abcdef.partial")).exists());
}

#[test]
fn never_takes_over_an_import_file_that_holds_something_or_is_anothers() {
    let sealing = Sealing::new();
    let path = sealing.folder.path("import.json");
    let hint = "import.json: File exists\nhint: what it holds is never overwritten; name a new file";
    let stays = |content: &str, error: &str| {
        sealing.run("acme/chat", &[]).expect(1, error);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        assert!(!Path::new(&sealing.folder.path("sealed")).exists());
    };
    let private = || std::fs::Permissions::from_mode(0o600);
    sealing.folder.write("import.json", "a key");
    std::fs::set_permissions(&path, private()).unwrap();
    stays("a key", hint);
    sealing.folder.write("import.json", "");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    stays("", hint);
    std::fs::set_permissions(&path, private()).unwrap();
    let writing = std::fs::File::open(&path).unwrap();
    writing.try_lock().unwrap();
    stays("", "import.json is being written by another process");
    drop(writing);
    std::fs::rename(&path, sealing.folder.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink(sealing.folder.path("elsewhere"), &path).unwrap();
    stays("", hint);
}

#[test]
fn a_resource_for_a_kbs_has_the_key_in_the_clear_and_is_private() {
    let sealing = Sealing::new();
    let file = sealing.folder.path("resource.json");
    sealing.run("acme/chat", &["--dangerous-kbs-resource", &file, "--kbs-lease", "600"]).expect(0, "");
    let import = std::fs::read(sealing.folder.path("import.json")).unwrap();
    let import = WeightsKeyImport::from_json(&import).unwrap();
    let resource = WeightsKeyResource::from_json(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(resource.weights_key, import.open(&sealing.broker).unwrap());
    assert_eq!(resource.terms.manifest_digest, import.terms().manifest_digest);
    assert_eq!((resource.terms.model_id.as_str(), resource.terms.lease_s), ("acme/chat", 600));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn the_key_goes_somewhere_or_nothing_is_sealed() {
    let sealing = Sealing::new();
    let path = |name| sealing.folder.path(name);
    let (model, out, owner, resource) = (path("model"), path("sealed"), path("owner.key"), path("key.json"));
    let args = ["seal", &model, "--out", &out, "--model-id", "m", "--version", "1", "--owner-key", &owner];
    run(args).expect(2, "--broker-key");
    run(args.iter().chain(&["--import-out", &resource])).expect(2, "--broker-key");
    run(args.iter().chain(&["--kbs-lease", "600"])).expect(2, "--");
    let for_a_kbs = ["--dangerous-kbs-resource", &resource];
    run(args.iter().chain(&for_a_kbs).chain(&["--kbs-lease", "59"])).expect(2, "--kbs-lease");
    assert!(!Path::new(&out).exists());
    let ran = run(args.iter().chain(&for_a_kbs));
    ran.expect(0, "");
    assert!(ran.out.contains("resource ") && !ran.out.contains("import file"), "{}", ran.out);
    // A resource that is there is not overwritten, and the wrapped key is not left behind alone.
    let (import, other) = (path("import.json"), path("sealed-2"));
    let broker = sealing.broker.public_key().to_string();
    let more = ["--broker-key", &broker, "--import-out", &import];
    let again = ["seal", &model, "--out", &other, "--model-id", "m", "--version", "2", "--owner-key", &owner];
    run(again.iter().chain(&for_a_kbs).chain(&more)).expect(1, "cannot create");
    assert!(!Path::new(&import).exists() && !Path::new(&other).exists());
}

#[test]
fn a_person_reads_what_was_made() {
    let sealing = Sealing::new();
    let ran = sealing.run("acme/chat", &[]);
    ran.expect(0, "sealing ");
    assert!(ran.out.starts_with("model        acme/chat version 3\npackage "), "{}", ran.out);
}

#[test]
fn nothing_is_left_behind_by_a_failure_and_nothing_is_overwritten() {
    let sealing = Sealing::new();
    let code = sealing.folder.write("model/modeling.py", "import os");
    sealing.run("acme/chat", &[]).expect(1, "code is not sealed");
    assert!(!Path::new(&sealing.folder.path("import.json")).exists());
    assert!(!Path::new(&sealing.folder.path("sealed")).exists());
    std::fs::remove_file(code).unwrap();
    sealing.run("acme/chat", &[]).expect(0, "");
    let import = std::fs::read(sealing.folder.path("import.json")).unwrap();
    sealing.run("acme/chat", &[]).expect(1, "cannot create");
    assert_eq!(std::fs::read(sealing.folder.path("import.json")).unwrap(), import);
}

#[test]
fn refuses_ids_and_versions_that_a_broker_would_refuse() {
    let sealing = Sealing::new();
    sealing.run("Acme/../chat", &[]).expect(2, "--model-id");
    let version = ["seal", "x", "--out", "x", "--model-id", "a", "--version", "0"];
    run(version).expect(2, "--version");
}

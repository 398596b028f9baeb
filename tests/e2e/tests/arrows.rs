//! Which of our crates may depend on which: the table of the style guide, held against what cargo says.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests stop at a surprise")]

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Package, folder, and what it may depend on.
///
/// What goes beyond the style guide's own table:
/// * `confine` is a crate of its own because keeper, gateway and worker use it, and it holds no other knowledge.
/// * `endorsements` uses `verifier`, for its readers of reports, certificates and revocation lists; it judges nothing.
/// * `key-broker` uses `channel`, because it serves HTTPS as the gateway does, with the same limits; and `attester`, for
///   the fixture root of `anchorhold-key-broker-simulated` alone.
/// * `keeper` uses `channel`, as a client of the broker and for the attestation document; of `verifier` it has the
///   readers of certificates, to name its own GPUs.
/// * `client` is a crate of its own because programs link it, and `channel` needs neither a pool nor receipts; it uses `audit-log` for
///   the receipts that it checks, and holds no policy files and no endorsements.
/// * `document` is a crate of its own because browsers judge documents too, and what `channel` stands on does not build for them.
/// * `relying-party` is a crate of its own because the command line, the Python package and browsers read the same words.
/// * `dsse` is a crate of its own because manifests and policies are signed in the same envelope.
/// * `appraisal-policy` is a crate of its own because relying parties without a key broker have policies too;
///   `key-release` takes its reader of TOML tables from it, so that there is one.
/// * `hpke` is a crate of its own because weights keys and bodies are both encrypted to an attested key, and verifiers need neither.
/// * `key-release` uses `audit-log`: a guest takes no key whose release is not proven to stand in the broker's log.
/// * `fetcher` is a program of its own, because what it needs to speak to stores has no business beside weights keys.
/// * `collector` is a program of its own, because it reads what hostile processes had a hand in, and holds the kernel's socket.
/// * `log-key` is a crate of its own because the keeper writes copies of a log's key and the command line opens them, and `audit-log`
///   decrypts nothing that was encrypted to a public key.
/// * `gpu-attester` is a program of its own, because NVIDIA's library is asked there, and neither the keeper nor a worker loads it for that.
/// * `witnesses` is a crate of its own because guests and key brokers both keep a log in front of witnesses, over HTTPS.
/// * `weights-store` is a crate of its own because the command line fetches too, and to keep `object_store` away from others.
/// * `cuda` is a crate of its own because of its libraries and kernels, and has a worker of its own; what it loads, it gets from `model`.
/// * `gateway` uses `evaluation` for its reader of signed tokens and key sets, so that there is one.
/// * `audit-report` is a crate of its own because `audit-log` is the part that has to be trusted, and tables and pages are not.
/// * `audit-personal` is a crate of its own because the keeper seals what the command line opens, and `audit-log` needs no HPKE.
/// * `audit-archive` is a crate of its own because it removes things: nothing of that is linked into a guest or a verifier.
/// * `dossier` is a crate of its own because the command line and the static `audit-verifier` both judge dossiers, and `audit-log` signs nothing.
/// * `audit-verifier` is a program of its own because it is to be small: what the command line knows of servers and keys is not in it.
/// * `api-keys` is a crate of its own because the command line writes the file that the gateway reads.
/// * `measure` is a crate of its own because the command line predicts measurements and whatever starts an image does too.
/// * `image-builder` and `guest-init` share no crate: what one writes and the other reads is text of three lines.
/// * `supply-chain` is a crate of its own because its readers of other people's databases are fuzzed alone, and nothing else needs them.
/// * `worker` uses `sealed-weights`, because it opens the package from descriptors and hands `model` the opened one.
const TABLE: &[(&str, &str, &[&str])] = &[
    ("rats", "attestation", &[]),
    ("audit-log", "attestation", &[]),
    ("audit-personal", "attestation", &["rats", "hpke", "audit-log"]),
    ("audit-archive", "attestation", &["audit-log", "audit-personal"]),
    ("audit-report", "attestation", &["rats", "audit-log"]),
    ("dossier", "attestation", &["rats", "verifier", "evaluation", "audit-log", "audit-report", "dsse"]),
    ("audit-verifier", "attestation", &["rats", "verifier", "relying-party", "audit-log", "dsse", "dossier"]),
    ("api-keys", "attestation", &["rats"]),
    ("dsse", "attestation", &[]),
    ("sealed-weights", "attestation", &["dsse"]),
    ("weights-store", "attestation", &["sealed-weights"]),
    ("verifier", "attestation", &["rats"]),
    ("appraisal-policy", "attestation", &["dsse", "rats", "verifier"]),
    ("attester", "attestation", &["rats"]),
    ("document", "attestation", &["rats", "verifier", "evaluation"]),
    ("channel", "attestation", &["rats", "verifier", "document"]),
    (
        "relying-party",
        "attestation",
        &["rats", "verifier", "evaluation", "document", "appraisal-policy", "audit-log"],
    ),
    ("wasm", "attestation", &["rats", "relying-party", "vectors", "body-encryption"]),
    ("python", "attestation", &["rats", "relying-party", "vectors", "channel"]),
    ("client", "attestation", &["rats", "verifier", "audit-log", "channel"]),
    ("endorsements", "attestation", &["rats", "verifier"]),
    ("evaluation", "attestation", &["rats", "verifier"]),
    ("kbs", "attestation", &["rats", "verifier", "evaluation"]),
    ("vectors", "attestation", &["rats", "verifier", "appraisal-policy"]),
    ("hpke", "attestation", &["rats"]),
    ("body-encryption", "attestation", &["rats", "hpke"]),
    ("key-release", "attestation", &["rats", "verifier", "appraisal-policy", "audit-log", "dsse", "hpke"]),
    ("log-key", "attestation", &["rats", "hpke"]),
    ("witnesses", "attestation", &["audit-log", "channel"]),
    ("release-cedar", "attestation", &["audit-log", "rats", "verifier"]),
    (
        "key-broker",
        "attestation",
        &[
            "rats",
            "verifier",
            "dsse",
            "endorsements",
            "kbs",
            "key-release",
            "release-cedar",
            "audit-log",
            "channel",
            "witnesses",
            "attester",
        ],
    ),
    (
        "anchorhold",
        "attestation",
        &[
            "rats",
            "api-keys",
            "appraisal-policy",
            "audit-archive",
            "audit-log",
            "audit-personal",
            "audit-report",
            "dossier",
            "dsse",
            "endorsements",
            "evaluation",
            "kbs",
            "log-key",
            "sealed-weights",
            "vectors",
            "verifier",
            "attester",
            "channel",
            "client",
            "key-release",
            "measure",
            "relying-party",
            "weights-store",
        ],
    ),
    ("measure", "enclave-image", &["rats"]),
    ("supply-chain", "enclave-image", &["dsse", "rats"]),
    ("api", "server", &[]),
    ("engine", "server", &[]),
    ("confine", "server", &[]),
    ("model", "server", &["engine", "sealed-weights"]),
    ("ipc", "server", &["engine"]),
    (
        "gateway",
        "server",
        &["api", "api-keys", "ipc", "body-encryption", "channel", "evaluation", "rats", "confine"],
    ),
    ("fetcher", "server", &["ipc", "confine", "weights-store"]),
    ("collector", "server", &["ipc", "confine"]),
    ("gpu-attester", "server", &["ipc", "confine"]),
    (
        "keeper",
        "server",
        &[
            "ipc",
            "rats",
            "verifier",
            "attester",
            "kbs",
            "key-release",
            "audit-log",
            "log-key",
            "audit-personal",
            "channel",
            "witnesses",
            "confine",
        ],
    ),
    ("worker", "server", &["ipc", "engine", "model", "confine", "sealed-weights"]),
    ("cuda", "server", &["engine", "model", "worker", "ipc", "confine"]),
    ("guest-init", "enclave-image", &[]),
    ("image-builder", "enclave-image", &[]),
    ("cuda-double", "tests", &["cuda"]),
    ("hostile", "tests", &["confine", "ipc", "worker"]),
    ("corpus", "tests", &["attester", "rats", "verifier"]),
];
/// Crates that a reviewer reads whole, and the most direct dependencies of each.
const SMALL: &[&str] = &["rats", "verifier", "audit-log", "engine"];
const SMALL_DEPENDENCIES: usize = 8;
/// Depends on anything; nothing depends on it.
const E2E: &str = "e2e";

struct Package {
    folder: PathBuf,
    /// Direct dependencies that are not only for tests, ours without their prefix.
    dependencies: BTreeSet<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

fn short(name: &str) -> String {
    name.strip_prefix("anchorhold-").unwrap_or(name).to_owned()
}

fn packages() -> BTreeMap<String, Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let package = |package: &Value| {
        let manifest = Path::new(package["manifest_path"].as_str().unwrap());
        let counted = |dependency: &&Value| dependency["kind"] != "dev";
        let dependencies = package["dependencies"].as_array().unwrap().iter().filter(counted);
        let names = dependencies.map(|dependency| {
            let name = dependency["name"].as_str().unwrap();
            // Somebody else's `hpke` is not ours without its prefix.
            if dependency["path"].is_string() { short(name) } else { format!("{name} of a registry") }
        });
        let folder = manifest.parent().unwrap().strip_prefix(root()).unwrap().to_owned();
        (short(package["name"].as_str().unwrap()), Package { folder, dependencies: names.collect() })
    };
    metadata["packages"].as_array().unwrap().iter().map(package).collect()
}

/// Every arrow between our crates that `table` does not have.
fn new_arrows(packages: &BTreeMap<String, Package>, table: &[(&str, &str, &[&str])]) -> Vec<String> {
    let mut arrows = Vec::new();
    for (name, package) in packages.iter().filter(|(name, _)| *name != E2E) {
        let allowed = table.iter().find(|(known, ..)| known == name).map_or(&[][..], |(.., allowed)| allowed);
        let ours = package.dependencies.iter().filter(|dependency| packages.contains_key(*dependency));
        arrows.extend(ours.filter(|to| !allowed.contains(&to.as_str())).map(|to| format!("{name} -> {to}")));
    }
    arrows
}

#[test]
fn no_crate_depends_on_one_that_the_table_does_not_allow() {
    let packages = packages();
    assert_eq!(new_arrows(&packages, TABLE), Vec::<String>::new());
    // The check finds what is there: with one row emptied, its arrows are new.
    let without: Vec<_> =
        TABLE.iter().map(|&(name, at, to)| (name, at, if name == "ipc" { &[][..] } else { to })).collect();
    assert_eq!(new_arrows(&packages, &without), ["ipc -> engine"]);
}

#[test]
fn every_crate_is_in_the_table_and_in_its_folder() {
    let packages = packages();
    let known: BTreeSet<_> = TABLE.iter().map(|(name, ..)| (*name).to_owned()).collect();
    let there: BTreeSet<_> = packages.keys().filter(|name| *name != E2E).cloned().collect();
    assert_eq!(there, known);
    for (name, at, _) in TABLE {
        assert_eq!(packages[*name].folder, Path::new(at).join(name));
    }
}

#[test]
fn nothing_under_attestation_depends_on_server_and_nothing_on_e2e() {
    let packages = packages();
    let folder_of = |name: &String| packages.get(name).map(|package| package.folder.clone());
    for (name, package) in &packages {
        assert!(!package.dependencies.contains(E2E), "{name} depends on the end-to-end tests");
        if package.folder.starts_with("attestation") {
            let server = |to: &&String| folder_of(to).is_some_and(|folder| folder.starts_with("server"));
            assert_eq!(package.dependencies.iter().find(server), None, "{name} is not usable alone");
        }
    }
}

#[test]
fn the_crates_that_are_read_whole_have_few_dependencies() {
    let packages = packages();
    for name in SMALL {
        let dependencies = &packages[*name].dependencies;
        assert!(
            dependencies.len() <= SMALL_DEPENDENCIES,
            "{name} has {} direct dependencies, the limit is {SMALL_DEPENDENCIES}: {dependencies:?}",
            dependencies.len()
        );
    }
}

/// The arrow from `key-broker` to `attester` is for one program, which cargo cannot say.
#[test]
fn of_the_key_broker_only_the_simulated_program_names_the_attester() {
    let mut naming = Vec::new();
    let mut waiting = vec![root().join("attestation/key-broker/src")];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if std::fs::read_to_string(&path).unwrap().contains("anchorhold_attester") {
                naming.push(path.file_name().unwrap().to_string_lossy().into_owned());
            }
        }
    }
    assert_eq!(naming, ["anchorhold-key-broker-simulated.rs"]);
}

//! The programs themselves: from an empty folder to a key over HTTPS, through kill -9 and back.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests stop at a surprise"
)]

mod common;

use anchorhold_audit_log::VerifierKey;
use anchorhold_key_release::{ReleaseKey, SIGNER_SET_TYPE};
use anchorhold_rats::Kem;
use common::programs::{PRODUCTION, SIMULATED, Server, Site, machine, run};
use common::signers::{set, signed, signed_as};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

#[tokio::test]
async fn case_01_from_an_empty_folder_to_a_key_and_no_second_one_after_kill_9() {
    let site = Site::new(SIMULATED);
    let server = Server::start(SIMULATED, &site.state(), site.key("tls_key"));
    let challenge = server.post("/v1/challenge", Vec::new()).await;
    let key = ReleaseKey::generate(Kem::XWing).unwrap();
    let (body, awaiting) = site.answer(&challenge.body, (&machine(), &key), 1);
    let answer = server.post("/v1/release", body.clone()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(awaiting.open(&answer.body, &key).unwrap().weights_key(), &common::weights_key(7));
    drop(server);

    let server = Server::start(SIMULATED, &site.state(), site.key("tls_key"));
    let answer = server.post("/v1/release", body).await;
    assert_eq!(
        common::refusal((answer.status.as_u16(), answer.body.to_vec())),
        (409, "challenge_used".to_owned())
    );
}

#[tokio::test]
async fn case_05_the_production_program_refuses_the_simulated_root() {
    let site = Site::new(PRODUCTION);
    let server = Server::start(PRODUCTION, &site.state(), site.key("tls_key"));
    let challenge = server.post("/v1/challenge", Vec::new()).await;
    let key = ReleaseKey::generate(Kem::XWing).unwrap();
    let (body, _) = site.answer(&challenge.body, (&machine(), &key), 1);
    let answer = server.post("/v1/release", body).await;
    let refused = common::refusal((answer.status.as_u16(), answer.body.to_vec()));
    assert_eq!(refused, (403, "snp_no_trust_anchor".to_owned()));
}

#[tokio::test]
async fn case_14_one_program_at_a_time_has_the_state_and_init_happens_once() {
    let site = Site::new(SIMULATED);
    let server = Server::start(SIMULATED, &site.state(), site.key("tls_key"));
    let state = site.state();
    let (good, _, errors) = run(SIMULATED, &["serve", "--state", &state, "--listen", "127.0.0.1:0"]);
    assert!(!good && errors.contains("another process has the broker's state"), "{errors}");
    assert!(errors.contains("SIMULATED"), "{errors}");
    drop(server);
    let signers = site.folder.path().join("signers.toml");
    let arguments = ["init", "--state", &state, "--signers", signers.to_str().unwrap()];
    let (good, _, errors) = run(PRODUCTION, &arguments);
    assert!(!good && errors.contains("a broker's state already"), "{errors}");
    assert!(!errors.contains("SIMULATED"), "{errors}");
}

#[test]
fn case_08_the_production_program_makes_no_state_without_signers() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let (good, _, errors) = run(PRODUCTION, &["init", "--state", state.to_str().unwrap()]);
    assert!(!good && errors.contains("--signers"), "{errors}");
    assert!(!state.exists());
}

#[test]
fn case_08_the_program_puts_a_signed_policy_in_force_only_where_it_is_named_what_it_replaces() {
    let site = Site::new(PRODUCTION);
    let state = site.state();
    let file = site.folder.path().join("next.dsse");
    let text = common::POLICY.replace("2027-01-31", "2199-01-31").replace("= 42", "= 43");
    std::fs::write(&file, signed(&text, &[1])).unwrap();
    let policy = |replaces: &[&str]| {
        let arguments = ["policy", "--state", &state, file.to_str().unwrap()];
        run(PRODUCTION, &[&arguments[..], replaces].concat())
    };
    let (good, _, errors) = policy(&[]);
    assert!(!good && errors.contains("--replaces <DIGEST>"), "{errors}");
    let (good, _, errors) = policy(&["--replaces", "42"]);
    assert!(!good && errors.contains("wanted a SHA-256 digest in hex, or none"), "{errors}");
    let (good, _, errors) = policy(&["--replaces", "none"]);
    assert!(!good && errors.contains("the policy in force is "), "{errors}");
    let (good, status, errors) = run(PRODUCTION, &["status", "--state", &state]);
    assert!(good, "{errors}");
    let (good, told, errors) = policy(&["--replaces", status["policy"][2].as_str().unwrap()]);
    assert!(good, "{errors}");
    assert_eq!(told["version"], 43);
    let rotation = site.folder.path().join("signers.dsse");
    let next = set(2, 1, &[2]);
    std::fs::write(&rotation, signed_as(SIGNER_SET_TYPE, &next, &[1, 2])).unwrap();
    let (good, told, errors) = run(PRODUCTION, &["signers", "--state", &state, rotation.to_str().unwrap()]);
    assert!(good, "{errors}");
    assert_eq!((&told["version"], &told["threshold"]), (&2.into(), &1.into()));
    let (good, _, errors) = run(PRODUCTION, &["signers", "--state", &state, rotation.to_str().unwrap()]);
    assert!(!good && errors.contains("envelope has 2 signatures, the limit is 1"), "{errors}");
}

fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
}

#[test]
fn case_08_sighup_puts_a_newer_policy_in_force_and_refuses_it_the_second_time() {
    let site = Site::new(SIMULATED);
    let file = site.folder.path().join("policy.toml");
    let newer = std::fs::read_to_string(&file).unwrap().replace("= 42", "= 43");
    std::fs::write(&file, newer).unwrap();
    let mut child = Command::new(SIMULATED)
        .args(["serve", "--state", &site.state(), "--listen", "127.0.0.1:0", "--print-ready", "--policy"])
        .arg(&file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap()).lines().skip_while(|line| {
        let line = line.as_ref().unwrap();
        line.starts_with('*')
    });
    signal(&child, "-HUP");
    assert_eq!(told.next().unwrap().unwrap(), "key broker: policy acme-prod version 43 is in force");
    signal(&child, "-HUP");
    let refused = told.next().unwrap().unwrap();
    assert_eq!(refused, "key broker: policy version 43 is not above 43, the one in force");
    signal(&child, "-TERM");
    assert!(child.wait().unwrap().success());
}

#[tokio::test]
async fn commands_reach_the_serving_broker_and_the_state_when_none_serves() {
    let site = Site::new(SIMULATED);
    let state = site.state();
    let kinds = || {
        let output = Command::new(SIMULATED).args(["log", "--state", &state]).output().unwrap();
        assert!(output.status.success());
        let entries = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<serde_json::Value>();
        entries.map(|entry| entry.unwrap()["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(kinds(), ["log.open", "policy.load", "key.import"]);
    let mut server = Server::start(SIMULATED, &state, site.key("tls_key"));
    let (good, told, errors) = run(SIMULATED, &["revoke", "--state", &state, "kid", "k1"]);
    assert!(good && errors.contains("warning: no key of this kid is here"), "{errors}");
    assert_eq!(told, serde_json::json!({ "revoked": "kid", "name": "k1", "held": false }));
    let (good, _, errors) = run(SIMULATED, &["revoke", "--state", &state, "chip", "k1"]);
    assert!(!good && errors.contains("CHIP_ID"), "{errors}");
    let (good, status, errors) = run(SIMULATED, &["status", "--state", &state]);
    assert!(good, "{errors}");
    assert_eq!(status["revoked"], serde_json::json!([["kid", "k1"]]));
    assert_eq!(status["log_size"], 5);
    assert_eq!(kinds().last().unwrap(), "key.revoke");
    signal(&server.child, "-TERM");
    assert!(server.child.wait().unwrap().success());
    assert_eq!(kinds()[3..], ["boot.start", "key.revoke", "boot.stop"]);
    // One that was killed leaves its socket behind, and is not asked any more.
    let server = Server::start(SIMULATED, &state, site.key("tls_key"));
    drop(server);
    assert!(std::path::Path::new(&state).join("admin.sock").exists());
    assert_eq!(kinds()[6..], ["boot.start"]);
}

#[test]
fn revoke_refuses_names_that_no_key_can_have_and_tells_whether_it_holds_what_it_revokes() {
    let site = Site::new(SIMULATED);
    let revoke = |kind: &str, name: &str| run(SIMULATED, &["revoke", "--state", &site.state(), kind, name]);
    let long = "a".repeat(65);
    for name in ["", "zz zz", &long] {
        let (good, told, errors) = revoke("kid", name);
        assert!(!good && errors.contains("64 letters, digits"), "{errors}");
        assert_eq!(told, serde_json::Value::Null);
    }
    let manifest = |byte: &str| format!("sha256:{}", byte.repeat(32));
    for (kind, name, held) in [
        ("kid", "k7".to_owned(), Some(true)),
        ("kid", "K7".to_owned(), Some(false)),
        ("manifest", manifest("07"), Some(true)),
        ("manifest", manifest("08"), Some(false)),
        ("chip", "0d".repeat(64), None),
    ] {
        let (good, told, errors) = revoke(kind, &name);
        assert!(good, "{errors}");
        assert_eq!(told["held"].as_bool(), held, "{name}");
        assert_eq!(errors.contains("warning: no key"), held == Some(false), "{errors}");
    }
    let (_, status, _) = run(SIMULATED, &["status", "--state", &site.state()]);
    assert_eq!(status["revoked"].as_array().unwrap().len(), 5, "what was refused is not revoked");
}

/// Every file below `folder`, with its mode.
fn modes(folder: &Path) -> Vec<(PathBuf, u32)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(modes(&path));
        }
        let mode = path.symlink_metadata().unwrap().permissions().mode() & 0o777;
        found.push((path, mode));
    }
    found
}

#[tokio::test]
async fn the_state_folder_and_every_file_in_it_are_closed_to_others_whatever_the_umask() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let open = |arguments: &[&str]| {
        let mut command = Command::new("sh");
        command.args(["-c", "umask 0; exec \"$@\"", "sh", SIMULATED]).args(arguments);
        command.arg("--state").arg(&state).stdout(Stdio::piped()).stderr(Stdio::null());
        command
    };
    assert!(open(&["init"]).status().unwrap().success());
    let mut child = open(&["serve", "--listen", "127.0.0.1:0", "--print-ready"]).spawn().unwrap();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
    let mut found = modes(&state);
    found.retain(|(path, _)| !path.ends_with("tls-certificate.pem"));
    assert!(found.len() >= 7, "{found:?}");
    assert!(found.iter().any(|(path, _)| path.ends_with("admin.sock")), "{found:?}");
    found.push((state.clone(), state.metadata().unwrap().permissions().mode() & 0o777));
    for (path, mode) in found {
        assert_eq!(mode & 0o077, 0, "{} {mode:o}", path.display());
    }
    signal(&child, "-TERM");
    assert!(child.wait().unwrap().success());
}

#[test]
fn case_14_an_init_that_failed_can_be_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let (state, short) = (folder.path().join("state"), folder.path().join("short"));
    std::fs::write(&short, [7; 31]).unwrap();
    std::fs::set_permissions(&short, std::fs::Permissions::from_mode(0o600)).unwrap();
    let (state, short) = (state.to_str().unwrap(), short.to_str().unwrap());
    let (good, _, errors) = run(SIMULATED, &["init", "--state", state, "--credential", short]);
    assert!(!good && errors.contains("another length"), "{errors}");
    let (good, _, errors) = run(SIMULATED, &["status", "--state", state]);
    assert!(!good && errors.contains("there is no broker's state: init makes one"), "{errors}");
    let (good, _, errors) = run(SIMULATED, &["init", "--state", state]);
    assert!(good, "{errors}");
    let (good, _, errors) = run(SIMULATED, &["init", "--state", state]);
    assert!(!good && errors.contains("a broker's state already"), "{errors}");
}

#[test]
fn serve_refuses_at_once_a_policy_file_that_is_not_there() {
    let site = Site::new(SIMULATED);
    let file = site.folder.path().join("nope");
    let arguments = ["serve", "--state", &site.state(), "--listen", "127.0.0.1:0", "--policy"];
    let (good, _, errors) = run(SIMULATED, &[&arguments[..], &[file.to_str().unwrap()]].concat());
    assert!(!good && errors.contains("--policy: ") && errors.contains("nope"), "{errors}");
}

/// Gives a folder and what is in it to a user.
fn give(path: &Path, user: u32) {
    for (path, _) in modes(path) {
        std::os::unix::fs::chown(path, Some(user), Some(user)).unwrap();
    }
    std::os::unix::fs::chown(path, Some(user), Some(user)).unwrap();
}

#[test]
fn the_broker_leaves_no_core_file_and_its_memory_is_not_open_to_its_user() {
    let site = Site::new(SIMULATED);
    let mut command = Command::new(SIMULATED);
    command.args(["serve", "--state", &site.state(), "--listen", "127.0.0.1:0", "--print-ready"]);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    // Files below /proc/PID are root's when the process is not dumpable. That shows only for another user.
    let user = rustix::process::geteuid();
    if user.is_root() {
        give(site.folder.path(), 65_534);
        command.uid(65_534).gid(65_534);
    }
    let mut child = command.spawn().unwrap();
    let mut ready = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    assert!(ready.contains("listening"));
    let process = Path::new("/proc").join(child.id().to_string());
    let limits = std::fs::read_to_string(process.join("limits")).unwrap();
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().collect::<Vec<_>>(), ["0", "0", "bytes"]);
    assert_eq!(process.join("environ").metadata().unwrap().uid(), 0);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn resources_are_kept_shown_and_taken_away_with_and_without_a_serving_broker() {
    let site = Site::new(SIMULATED);
    let state = site.state();
    let file = site.folder.path().join("secret");
    std::fs::write(&file, b"a secret").unwrap();
    let file = file.to_str().unwrap();
    let resource = |arguments: &[&str]| {
        let (command, rest) = arguments.split_first().unwrap();
        run(SIMULATED, &[&["resource", command, "--state", &state], rest].concat())
    };
    let done = |arguments: &[&str]| {
        let (good, told, errors) = resource(arguments);
        assert!(good, "{errors}");
        told
    };
    assert_eq!(done(&["add", "acme/image-key/1", file])["resource"], "acme/image-key/1");
    let server = Server::start(SIMULATED, &state, site.key("tls_key"));
    // The longest there may be goes through the socket too.
    std::fs::write(file, vec![b'x'; anchorhold_kbs::MAX_RESOURCE_BYTES]).unwrap();
    done(&["add", "acme/image-key/2", file]);
    std::fs::write(file, vec![b'x'; anchorhold_kbs::MAX_RESOURCE_BYTES + 1]).unwrap();
    let (good, _, errors) = resource(&["add", "acme/image-key/3", file]);
    assert!(!good && errors.contains("over"), "{errors}");
    for name in ["acme/image-key", "acme/../1", "/acme/image-key/1", "acme/*/1"] {
        let (good, _, errors) = resource(&["remove", name]);
        assert!(!good && errors.contains("repository/type/tag"), "{errors}");
    }
    let all = serde_json::json!({ "resources": ["acme/image-key/1", "acme/image-key/2"] });
    assert_eq!(done(&["list"]), all);
    assert_eq!(done(&["remove", "acme/image-key/1"])["removed"], true);
    drop(server);
    assert_eq!(done(&["remove", "acme/image-key/1"])["removed"], false);
    assert_eq!(done(&["list"])["resources"], serde_json::json!(["acme/image-key/2"]));
}

#[tokio::test]
async fn init_prints_the_keys_that_the_serving_broker_tells_everybody() {
    let site = Site::new(SIMULATED);
    let server = Server::start(SIMULATED, &site.state(), site.key("tls_key"));
    let answer = server.client.get("/.well-known/jwks.json", &[]).await.unwrap();
    let told: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(told, site.public["token_keys"]);
    assert_eq!(told["keys"][0]["crv"], "P-256");
    assert_eq!(told["keys"][0]["d"], serde_json::Value::Null);
}

#[test]
fn the_log_is_exported_as_a_bundle_that_verifies() {
    let site = Site::new(SIMULATED);
    let out = site.folder.path().join("log.tar");
    let (good, told, errors) =
        run(SIMULATED, &["log", "--state", &site.state(), "--out", out.to_str().unwrap()]);
    assert!(good, "{errors}");
    assert_eq!(told["entries"], 3);
    let key = VerifierKey::parse(site.public["log_key"].as_str().unwrap()).unwrap();
    let expected = anchorhold_audit_log::Expectations {
        audit_key: Some(key.public_key()),
        origin: Some(key.name().parse().unwrap()),
        ..anchorhold_audit_log::Expectations::default()
    };
    let report = anchorhold_audit_log::verify(std::fs::File::open(&out).unwrap(), &expected).unwrap();
    assert!(report.is_accepted(), "{report:?}");
    let (good, _, errors) =
        run(SIMULATED, &["log", "--state", &site.state(), "--out", out.to_str().unwrap()]);
    assert!(!good && errors.contains("exists"), "{errors}");
}

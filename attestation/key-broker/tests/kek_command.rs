//! The programs' commands about key-encryption keys, from an empty folder to a key over HTTPS, with each kind of backend.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests stop at a surprise")]
#![allow(clippy::print_stderr, reason = "a test that is skipped says so")]

mod common;
#[cfg(feature = "pkcs11")]
#[path = "common/softhsm.rs"]
mod softhsm;
#[path = "common/transit.rs"]
mod transit;

use anchorhold_attester::software::{LaunchConfig, SoftwareGuest};
use anchorhold_audit_log::VerifierKey;
use anchorhold_channel::client::{Client, Limits, Pinned};
use anchorhold_key_release::{GuestKeys, PinnedBroker, ReleaseKey, Session, WeightsKeyImport};
use anchorhold_rats::{Ed25519PublicKey, Kem, Measurement, Sha256Digest, Timestamp, WrappingKey};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const BROKER: &str = env!("CARGO_BIN_EXE_anchorhold-key-broker-simulated");

/// A state folder made by `init`, and the environment of every program that is run on it.
struct Site {
    folder: tempfile::TempDir,
    environment: Vec<(&'static str, PathBuf)>,
    public: Value,
}

impl Site {
    /// `init` with these options; with a policy and a model.
    fn init(folder: tempfile::TempDir, options: &[&str], environment: Vec<(&'static str, PathBuf)>) -> Self {
        let mut site = Self { folder, environment, public: Value::Null };
        let state = site.state();
        let mut arguments = vec!["init", "--state", &state];
        arguments.extend(options);
        site.public = site.run(&arguments).unwrap();
        let policy = site.folder.path().join("policy.toml");
        std::fs::write(&policy, common::POLICY.replace("2027-01-31", "2199-01-31")).unwrap();
        site.run(&["policy", "--state", &state, policy.to_str().unwrap(), "--replaces", "none"]).unwrap();
        site.import("acme/chat-70b", 7);
        site
    }

    fn state(&self) -> String {
        self.folder.path().join("state").to_str().unwrap().to_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BROKER);
        command.args(arguments).envs(self.environment.iter().cloned());
        command
    }

    /// What the program prints, or what it says against it.
    fn run(&self, arguments: &[&str]) -> Result<Value, String> {
        let output = self.command(arguments).output().unwrap();
        if output.status.success() {
            Ok(serde_json::from_slice(&output.stdout).unwrap())
        } else {
            assert!(output.stdout.is_empty());
            let errors = String::from_utf8(output.stderr).unwrap();
            Err(errors.lines().filter(|line| !line.starts_with('*')).collect::<Vec<_>>().join("\n"))
        }
    }

    /// `kek` with the state folder.
    fn kek(&self, arguments: &[&str]) -> Result<Value, String> {
        let state = self.state();
        let mut all = vec!["kek", arguments[0], "--state", &state];
        all.extend(&arguments[1..]);
        self.run(&all)
    }

    fn import(&self, model: &str, version: u8) {
        let import_key: WrappingKey = self.public["import_key"].as_str().unwrap().parse().unwrap();
        let terms = common::terms(model, version);
        let import = WeightsKeyImport::wrap(&common::weights_key(version), terms, &import_key).unwrap();
        let file = self.path("import.json");
        std::fs::write(&file, import.to_json()).unwrap();
        self.run(&["import", "--state", &self.state(), file.to_str().unwrap()]).unwrap();
    }

    fn serve(&self) -> Server {
        let state = self.state();
        let mut child = self
            .command(&["serve", "--state", &state, "--listen", "127.0.0.1:0", "--print-ready"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        let target = format!("https://{}", ready["listening"].as_str().unwrap()).parse().unwrap();
        let tls_key = self.public["tls_key"].as_str().unwrap().parse().unwrap();
        let limits = Limits { request_timeout: Duration::from_secs(120), ..Limits::default() };
        Server { child, client: Client::pinned(target, tls_key, limits) }
    }

    /// Asks for the key of the example model: its bytes, or status and code.
    async fn ask(&self, server: &Server) -> Result<[u8; 32], (u16, String)> {
        let challenge = server.client.post_json("/v1/challenge", &[], "".into()).await.unwrap();
        let key = ReleaseKey::generate(Kem::X25519).unwrap();
        let keys = GuestKeys {
            tls_key: Sha256Digest::new([2; 32]),
            release_key: key.public_key().clone(),
            audit_key: Ed25519PublicKey::new([3; 32]),
        };
        let pinned = PinnedBroker {
            signing_key: self.public["signing_key"].as_str().unwrap().parse().unwrap(),
            log_key: VerifierKey::parse(self.public["log_key"].as_str().unwrap()).unwrap(),
            witnesses: common::no_witness(),
        };
        let request = common::key_request(("acme/chat-70b", 1), 1);
        let session = Session::begin(&challenge.body, pinned, request, keys).unwrap();
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let now = Timestamp::from_unix_seconds(i64::try_from(seconds).unwrap());
        let guest = SoftwareGuest::launch(LaunchConfig::new(Measurement::new([0xa1; 48])), now).unwrap();
        let evidence = guest.attest(&session.report_data(Sha256Digest::of(b""))).unwrap();
        let (body, awaiting) = session.send(evidence);
        let answer = server.client.post_json("/v1/release", &[], body.into()).await.unwrap();
        if answer.status == 200 {
            return Ok(*awaiting.open(&answer.body, &key).unwrap().weights_key().expose());
        }
        Err(common::refusal((answer.status.as_u16(), answer.body.to_vec())))
    }

    /// Asks until there is a key. Until then every answer has to be trouble with the backend.
    async fn ask_until_good(&self, server: &Server) {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            match self.ask(server).await {
                Ok(key) => return assert_eq!(key, KEY),
                Err(refused) => assert_eq!(refused, (503, "backend".to_owned())),
            }
            assert!(Instant::now() < until);
        }
    }
}

/// The weights key that the site's model has.
const KEY: [u8; 32] = [0x47; 32];

struct Server {
    child: Child,
    client: Client<Pinned>,
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGKILL; a child that has ended already is no fault.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn secret_file(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// How many secrets are under each key; the primary is marked.
fn listed(site: &Site) -> Vec<(String, bool, u64)> {
    let list = site.kek(&["list"]).unwrap();
    let row = |kek: &Value| {
        let id = kek["id"].as_str().unwrap().to_owned();
        (id, kek["primary"].as_bool().unwrap(), kek["secrets"].as_u64().unwrap())
    };
    list["keks"].as_array().unwrap().iter().map(row).collect()
}

#[tokio::test]
async fn a_lost_key_is_recovered_from_shares_and_from_nothing_less() {
    let folder = tempfile::tempdir().unwrap();
    let shares_to = folder.path().join("shares").to_str().unwrap().to_owned();
    let site = Site::init(folder, &["--shares", "2-of-3", "--shares-to", &shares_to], Vec::new());
    let shares: Vec<String> = site.public["shares"]
        .as_array()
        .unwrap()
        .iter()
        .map(|path| path.as_str().unwrap().to_owned())
        .collect();
    assert_eq!(shares.len(), 3);
    for share in &shares {
        assert_eq!(std::fs::metadata(share).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let state = PathBuf::from(site.state());
    std::fs::remove_file(state.join("keks/file-1.credential")).unwrap();
    let started = site.kek(&["list"]).unwrap_err();
    assert!(started.contains("file-1.credential"), "{started}");

    let recover = |shares: &[&str]| {
        let mut arguments = vec!["recover", "file-1"];
        shares.iter().for_each(|share| arguments.extend(["--share", *share]));
        site.kek(&arguments)
    };
    assert!(recover(&[&shares[0]]).unwrap_err().contains("2 shares are needed, 1 were given"));
    assert!(recover(&[&shares[0], &shares[0]]).unwrap_err().contains("share 1 was given twice"));
    let altered = site.path("altered");
    let text = std::fs::read_to_string(&shares[1]).unwrap();
    secret_file(&altered, &text.replacen("value ", "value 0", 1));
    assert!(
        recover(&[&shares[0], altered.to_str().unwrap()]).unwrap_err().contains("not the text of a share")
    );
    let digit = if text.contains("value 0") { "value 1" } else { "value 0" };
    let at = text.find("value ").unwrap();
    secret_file(&altered, &format!("{}{digit}{}", &text[..at], &text[at + 7..]));
    assert!(recover(&[&shares[0], altered.to_str().unwrap()]).unwrap_err().contains("not copied faithfully"));
    let other = Site::init(
        tempfile::tempdir().unwrap(),
        &["--shares", "2-of-3", "--shares-to", site.path("other").to_str().unwrap()],
        Vec::new(),
    );
    let foreign = other.public["shares"][1].as_str().unwrap();
    assert!(recover(&[&shares[0], foreign]).unwrap_err().contains("different sharings"));
    // Two good shares of another broker's key.
    let foreign_0 = other.public["shares"][0].as_str().unwrap();
    recover(&[foreign_0, foreign]).unwrap();
    assert!(site.kek(&["list"]).unwrap_err().contains("file-1"), "the key is another one");

    assert_eq!(recover(&[&shares[2], &shares[0]]).unwrap()["id"], "file-1");
    let server = site.serve();
    assert_eq!(site.ask(&server).await, Ok(KEY));
}

#[test]
fn init_refuses_options_of_another_kind_and_wants_those_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state").to_str().unwrap().to_owned();
    let init = |options: &[&str]| {
        let mut arguments = vec!["init", "--state", &state];
        arguments.extend(options);
        let output = Command::new(BROKER).args(&arguments).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    for (options, wanted) in [
        (&["--module", "x"][..], "--module says nothing about this kind of key"),
        (&["--token-file", "x"], "--token-file says nothing"),
        (&["--deadline-ms", "50"], "--deadline-ms says nothing"),
        (&["--kek", "transit", "--existing-key"], "--existing-key says nothing"),
        (&["--existing-key", "--shares", "2-of-3", "--shares-to", "x"], "wanted a fresh key"),
        (&["--kek", "pkcs11", "--credential", "x"], "--credential says nothing"),
        (&["--kek", "pkcs11"], "--kek pkcs11 needs --module"),
        (&["--kek", "transit"], "--kek transit needs --url"),
        (&["--kek", "kms"], "invalid value 'kms'"),
        (&["--kek-id", "A"], "not an id of a key-encryption key"),
        (&["--shares", "2-of-3"], "--shares-to"),
        (&["--shares", "1-of-3", "--shares-to", "x"], "wanted K-of-N"),
        (&["--kek", "transit", "--shares", "2-of-3", "--shares-to", "x"], "--shares says nothing"),
    ] {
        let errors = init(options);
        assert!(errors.contains(wanted), "{options:?}: {errors}");
    }
    assert!(!Path::new(&state).join("kek.toml").exists());
}

#[test]
fn case_26_kill_9_during_a_rewrap_loses_nothing() {
    let site = Site::init(tempfile::tempdir().unwrap(), &[], Vec::new());
    for model in 0..40_u8 {
        site.import(&format!("acme/model-{model}"), 1);
    }
    site.kek(&["add", "--kek-id", "file-2"]).unwrap();
    assert!(site.kek(&["retire", "file-1"]).unwrap_err().contains("secrets are under it"));
    let mut cut_off = 0;
    for spins in 0..30_u32 {
        let state = site.state();
        let mut child = site
            .command(&["kek", "rewrap", "--state", &state])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Each run is cut off a little later, and before it has ended.
        for _ in 0..spins * 200 {
            std::thread::yield_now();
        }
        cut_off += u32::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        let secrets: u64 = listed(&site).iter().map(|(_, _, secrets)| secrets).sum();
        assert_eq!(secrets, 50);
    }
    assert!(cut_off > 0);
    site.kek(&["rewrap"]).unwrap();
    assert_eq!(listed(&site), [("file-1".to_owned(), false, 0), ("file-2".to_owned(), true, 50)]);
    site.kek(&["retire", "file-1"]).unwrap();
    assert!(!PathBuf::from(site.state()).join("keks/file-1.sealed").exists());
    assert_eq!(listed(&site), [("file-2".to_owned(), true, 50)]);
    let list = site.kek(&["list"]).unwrap();
    assert_eq!(list["retired"], serde_json::json!(["file-1"]));
    assert!(site.kek(&["add", "--kek-id", "file-1"]).unwrap_err().contains("retired id"));
    // To go under yet another key every secret has to open.
    site.kek(&["add", "--kek-id", "file-3"]).unwrap();
    let rewrapped = site.kek(&["rewrap"]).unwrap();
    assert_eq!((&rewrapped["renewed"], &rewrapped["failed"]), (&50.into(), &serde_json::json!([])));
}

#[cfg(feature = "pkcs11")]
#[tokio::test]
async fn case_12_and_26_with_an_hsm_from_init_to_the_end_of_its_key() {
    let Some(module) = softhsm::module("case_12_and_26_with_an_hsm") else { return };
    let folder = tempfile::tempdir().unwrap();
    let environment = vec![("SOFTHSM2_CONF", softhsm::make_token(folder.path()))];
    let tokens = folder.path().join("tokens");
    let pin = folder.path().join("pin").to_str().unwrap().to_owned();
    let module = module.to_str().unwrap().to_owned();
    let hsm = |id: &'static str| {
        [
            "--kek",
            "pkcs11",
            "--kek-id",
            id,
            "--module",
            &module,
            "--token",
            "anchorhold",
            "--key",
            id,
            "--pin-file",
            &pin,
            "--deadline-ms",
            "20000",
        ]
        .map(str::to_owned)
    };
    let first = hsm("hsm-1");
    let first: Vec<&str> = first.iter().map(String::as_str).collect();
    let site = Site::init(folder, &first, environment);
    assert_eq!(listed(&site), [("hsm-1".to_owned(), true, 10)]);
    let server = site.serve();
    assert_eq!(site.ask(&server).await, Ok(KEY));
    // The token is pulled out and put back.
    let away = site.path("away");
    std::fs::rename(&tokens, &away).unwrap();
    assert_eq!(site.ask(&server).await, Err((503, "backend".to_owned())));
    std::fs::rename(&away, &tokens).unwrap();
    site.ask_until_good(&server).await;

    // The broker serves on while its key changes.
    let second = hsm("hsm-2");
    let mut add = vec!["add"];
    add.extend(second.iter().map(String::as_str));
    site.kek(&add).unwrap();
    let rewrapped = site.kek(&["rewrap"]).unwrap();
    assert_eq!((&rewrapped["renewed"], &rewrapped["failed"]), (&10.into(), &serde_json::json!([])));
    site.kek(&["retire", "hsm-1"]).unwrap();
    assert_eq!(listed(&site), [("hsm-2".to_owned(), true, 10)]);
    // The object is gone from the token: a key of the label can be made again, and the id not.
    let mut again = vec!["add", "--existing-key"];
    let third = hsm("hsm-1");
    again.extend(third.iter().map(String::as_str));
    assert!(site.kek(&again).unwrap_err().contains("retired id"));
    let third = third.map(|text| if text == "hsm-1" { "hsm-3".to_owned() } else { text });
    let mut again = vec!["add", "--existing-key"];
    again.extend(third.iter().map(String::as_str));
    assert!(site.kek(&again).unwrap_err().contains("there is no key of that label"));
    assert_eq!(site.ask(&server).await, Ok(KEY));
    drop(server);
    let server = site.serve();
    assert_eq!(site.ask(&server).await, Ok(KEY));
    // From the HSM back into a file.
    site.kek(&["add", "--kek-id", "file-1"]).unwrap();
    site.kek(&["rewrap"]).unwrap();
    site.kek(&["retire", "hsm-2"]).unwrap();
    std::fs::remove_dir_all(&tokens).unwrap();
    assert_eq!(site.ask(&server).await, Ok(KEY));
    drop(server);
    let server = site.serve();
    assert_eq!(site.ask(&server).await, Ok(KEY));
}

#[tokio::test]
async fn case_12_and_26_with_a_transit_engine_from_init_to_its_old_versions_end() {
    let double = transit::Double::start();
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    secret_file(&token, transit::TOKEN);
    let authorities = folder.path().join("authorities.pem");
    std::fs::write(&authorities, &double.authority_pem).unwrap();
    let (token, authorities) = (token.to_str().unwrap().to_owned(), authorities.to_str().unwrap().to_owned());
    let options = [
        "--kek",
        "transit",
        "--kek-id",
        "bao-1",
        "--url",
        &double.url,
        "--authorities",
        &authorities,
        "--key",
        transit::KEY,
        "--namespace",
        transit::NAMESPACE,
        "--token-file",
        &token,
        "--deadline-ms",
        "20000",
    ];
    let site = Site::init(folder, &options, Vec::new());
    let server = site.serve();
    assert_eq!(site.ask(&server).await, Ok(KEY));
    for fault in [
        transit::Fault::Sealed,
        transit::Fault::Html,
        transit::Fault::Partial,
        transit::Fault::OtherSecret,
        transit::Fault::Redirect,
    ] {
        double.misbehave(Some(fault));
        assert_eq!(site.ask(&server).await, Err((503, "backend".to_owned())), "{fault:?}");
    }
    double.misbehave(None);
    assert_eq!(site.ask(&server).await, Ok(KEY));

    // The broker serves on while its key changes.
    let rotated = site.kek(&["rotate", "bao-1"]).unwrap();
    assert_eq!(rotated["version"], 2);
    assert!(site.kek(&["retire", "bao-1", "--below", "2"]).unwrap_err().contains("secrets are under it"));
    assert_eq!(site.kek(&["rewrap"]).unwrap()["renewed"], 10);
    assert!(site.kek(&["retire", "bao-1", "--below", "3"]).is_err());
    site.kek(&["retire", "bao-1", "--below", "2"]).unwrap();
    assert_eq!(double.lock().key.as_ref().unwrap().state["min_available_version"], 2);
    assert_eq!(site.ask(&server).await, Ok(KEY));
    // Into a file, and the key in the engine is left to those who run it.
    site.kek(&["add", "--kek-id", "file-1"]).unwrap();
    site.kek(&["rewrap"]).unwrap();
    double.lock().may_administer = false;
    assert!(site.kek(&["retire", "bao-1"]).unwrap_err().contains("not permitted"));
    assert_eq!(listed(&site).len(), 2, "what could not be destroyed is not forgotten");
    site.kek(&["retire", "bao-1", "--leave-key"]).unwrap();
    assert_eq!(listed(&site), [("file-1".to_owned(), true, 10)]);
    assert!(double.lock().key.is_some());
    drop(double);
    assert_eq!(site.ask(&server).await, Ok(KEY));
    drop(server);
    let server = site.serve();
    assert_eq!(site.ask(&server).await, Ok(KEY));
}

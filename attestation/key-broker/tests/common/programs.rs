//! The broker's programs, run as an operator runs them.

use super::signers::{set, signed};
use anchorhold_attester::software::{LaunchConfig, SoftwareGuest};
use anchorhold_audit_log::VerifierKey;
use anchorhold_channel::client::{Answer, Client, Error, Limits, Pinned};
use anchorhold_key_release::{Awaiting, GuestKeys, PinnedBroker, ReleaseKey, Session, WeightsKeyImport};
use anchorhold_rats::{Ed25519PublicKey, Kem, Measurement, Sha256Digest, Timestamp, WrappingKey};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) const SIMULATED: &str = env!("CARGO_BIN_EXE_anchorhold-key-broker-simulated");
pub(crate) const PRODUCTION: &str = env!("CARGO_BIN_EXE_anchorhold-key-broker");

pub(crate) fn run(program: &str, arguments: &[&str]) -> (bool, serde_json::Value, String) {
    let output = Command::new(program).args(arguments).output().unwrap();
    let json = serde_json::from_slice(&output.stdout).unwrap_or(serde_json::Value::Null);
    (output.status.success(), json, String::from_utf8(output.stderr).unwrap())
}

pub(crate) fn now() -> Timestamp {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    Timestamp::from_unix_seconds(i64::try_from(seconds).unwrap())
}

/// A serving program; killed when dropped.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) address: String,
    pub(crate) client: Client<Pinned>,
}

impl Server {
    pub(crate) fn start(program: &str, state: &str, tls_key: Sha256Digest) -> Self {
        Self::try_start(program, state, tls_key, &[]).expect("it ended before it served")
    }

    /// `None` when it ended before it served.
    pub(crate) fn try_start(
        program: &str,
        state: &str,
        tls_key: Sha256Digest,
        more: &[&str],
    ) -> Option<Self> {
        let mut child = Command::new(program)
            .args(["serve", "--state", state, "--listen", "127.0.0.1:0", "--print-ready"])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line.is_empty() {
            child.wait().unwrap();
            return None;
        }
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        let address = format!("https://{}", ready["listening"].as_str().unwrap());
        let client = Client::pinned(address.parse().unwrap(), tls_key, Limits::default());
        Some(Self { child, address, client })
    }

    pub(crate) async fn post(&self, path: &str, body: Vec<u8>) -> Answer {
        self.try_post(path, body).await.unwrap()
    }

    pub(crate) async fn try_post(&self, path: &str, body: Vec<u8>) -> Result<Answer, Error> {
        self.client.post_json(path, &[], body.into()).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGKILL; a child that has ended already is no fault.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A state folder that programs made, with what `init` printed.
pub(crate) struct Site {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) public: serde_json::Value,
}

impl Site {
    /// `init`, `policy` and `import`, by the program.
    pub(crate) fn new(program: &str) -> Self {
        Self::with_store(program, None)
    }

    /// The same with the state in a database.
    pub(crate) fn with_store(program: &str, store: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let site = Self { folder, public: serde_json::Value::Null };
        std::fs::create_dir(site.state()).unwrap();
        if let Some(store) = store {
            std::fs::write(Path::new(&site.state()).join("store.toml"), store).unwrap();
        }
        let state = site.state();
        let signers = site.folder.path().join("signers.toml");
        std::fs::write(&signers, set(1, 1, &[1])).unwrap();
        let arguments = ["init", "--state", &state, "--signers", signers.to_str().unwrap()];
        // A broker of simulated guests does without signers.
        let count = if program == PRODUCTION { arguments.len() } else { 3 };
        let (good, public, errors) = run(program, &arguments[..count]);
        assert!(good, "{errors}");
        let policy = site.folder.path().join("policy.toml");
        let text = super::POLICY.replace("2027-01-31", "2199-01-31").replace("= 16", "= 4000");
        let file = if program == PRODUCTION { signed(&text, &[1]) } else { text.into_bytes() };
        std::fs::write(&policy, file).unwrap();
        let (good, told, errors) =
            run(program, &["policy", "--state", &state, policy.to_str().unwrap(), "--replaces", "none"]);
        assert!(good, "{errors}");
        assert_eq!(told["version"], 42);
        let import_key: WrappingKey = public["import_key"].as_str().unwrap().parse().unwrap();
        assert_eq!(import_key.kem(), Kem::XWing);
        let terms = super::terms("acme/chat-70b", 7);
        let import = WeightsKeyImport::wrap(&super::weights_key(7), terms, &import_key).unwrap();
        let file = site.folder.path().join("import.json");
        std::fs::write(&file, import.to_json()).unwrap();
        let (good, told, errors) = run(program, &["import", "--state", &state, file.to_str().unwrap()]);
        assert!(good, "{errors}");
        assert_eq!(told["kid"], "k7");
        Self { public, ..site }
    }

    /// Another broker on the same database.
    pub(crate) fn join(&self, program: &str, store: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let site = Self { folder, public: serde_json::Value::Null };
        std::fs::create_dir(site.state()).unwrap();
        std::fs::write(Path::new(&site.state()).join("store.toml"), store).unwrap();
        self.copy_keks_to(&site);
        let (good, public, errors) = run(program, &["join", "--state", &site.state()]);
        assert!(good, "{errors}");
        Self { public, ..site }
    }

    /// The key-encryption key as another broker on the same state needs it.
    pub(crate) fn copy_keks_to(&self, site: &Self) {
        let (from, to) = (self.state(), site.state());
        std::fs::create_dir(Path::new(&to).join("keks")).unwrap();
        for name in ["kek.toml", "keks/file-1.sealed", "keks/file-1.credential"] {
            std::fs::copy(Path::new(&from).join(name), Path::new(&to).join(name)).unwrap();
        }
    }

    pub(crate) fn state(&self) -> String {
        self.folder.path().join("state").to_str().unwrap().to_owned()
    }

    pub(crate) fn key<T: std::str::FromStr>(&self, name: &str) -> T {
        self.public[name].as_str().unwrap().parse().ok().unwrap()
    }

    pub(crate) fn pinned(&self) -> PinnedBroker {
        PinnedBroker {
            signing_key: self.key("signing_key"),
            log_key: VerifierKey::parse(self.public["log_key"].as_str().unwrap()).unwrap(),
            witnesses: super::no_witness(),
        }
    }

    /// The body for this challenge, of the guest with this number.
    pub(crate) fn answer(
        &self,
        challenge: &[u8],
        (machine, key): (&SoftwareGuest, &ReleaseKey),
        instance: u8,
    ) -> (Vec<u8>, Awaiting) {
        let keys = GuestKeys {
            tls_key: Sha256Digest::new([2; 32]),
            release_key: key.public_key().clone(),
            audit_key: Ed25519PublicKey::new([3; 32]),
        };
        let request = super::key_request(("acme/chat-70b", 1), instance);
        let session = Session::begin(challenge, self.pinned(), request, keys).unwrap();
        let evidence = machine.attest(&session.report_data(Sha256Digest::of(b""))).unwrap();
        session.send(evidence)
    }
}

pub(crate) fn machine() -> SoftwareGuest {
    SoftwareGuest::launch(LaunchConfig::new(Measurement::new([0xa1; 48])), now()).unwrap()
}

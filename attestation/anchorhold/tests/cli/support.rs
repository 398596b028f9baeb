//! Runs the program; makes guests, documents and files for it.

use anchorhold_attester::software::tdx::{TdConfig, TdxGuest};
use anchorhold_attester::software::{LaunchConfig, SoftwareGuest};
use anchorhold_channel::authenticator::AuthenticatorKey;
use anchorhold_channel::document::{
    self, AuditHead, ChannelKeys, Document, DocumentKeys, DocumentState, ServedModel,
};
use anchorhold_rats::{
    Ed25519PublicKey, Endorsements, Evidence, EvidenceBundle, Measurement, Nonce, ReportData, Sha256Digest,
    TdxCollateral, Timestamp,
};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

pub(crate) const MEASUREMENT: Measurement = Measurement::new([0x5a; 48]);

/// How one run ended.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// The output as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("no JSON: {} {}", self.out, self.err))
    }

    /// Checks the exit code and that stderr has this text.
    pub(crate) fn expect(&self, code: i32, err: &str) {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        assert!(self.err.contains(err), "wanted {err:?} in {:?}", self.err);
    }
}

pub(crate) fn run<A: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = A>) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_anchorhold")).args(args).output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A folder that is removed at the end, and paths in it.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::create_dir_all(PathBuf::from(&path).parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// The roots of all simulated parts, written by the program itself.
    pub(crate) fn simulated_roots(&self) -> String {
        let path = self.path("roots.pem");
        if !PathBuf::from(&path).exists() {
            run(["simulated-root", &path]).expect(0, "warning: this root is simulated");
        }
        path
    }

    /// A bundle with what is in these.
    pub(crate) fn bundle(&self, name: &str, evidence: Evidence, endorsements: Endorsements) -> String {
        self.write(name, serde_json::to_vec(&EvidenceBundle::new(evidence, endorsements)).unwrap())
    }

    /// The simulated root, written by the program itself.
    pub(crate) fn simulated_root(&self) -> String {
        let path = self.path("simulated-root.der");
        if !PathBuf::from(&path).exists() {
            run(["simulated-root", &path]).expect(0, "warning: this root is simulated");
        }
        path
    }
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_unix_seconds(i64::try_from(since.as_secs()).unwrap())
}

/// A software guest launched now.
pub(crate) fn guest() -> SoftwareGuest {
    SoftwareGuest::launch(LaunchConfig::new(MEASUREMENT), now()).unwrap()
}

/// Evidence of a simulated TD for this report data, and collateral for it.
pub(crate) fn td(report_data: &ReportData) -> (Evidence, TdxCollateral) {
    let guest = TdxGuest::launch(TdConfig::new(MEASUREMENT), now()).unwrap();
    (guest.attest(report_data).unwrap(), guest.collateral(now()).unwrap())
}

/// The head of a profile or machine list that is in force now.
pub(crate) fn header(id: &str) -> String {
    let (issued, expires) = (now().plus_seconds(-86_400), now().plus_seconds(86_400));
    format!(
        "format = 1\nid = \"{id}\"\nversion = 3\nissued = \"{issued}\"\nexpires = \"{expires}\"\ndescription = \"test\"\n"
    )
}

/// A profile for this MRTD on any platform.
pub(crate) fn td_profile(mrtd: Measurement) -> String {
    let table = "rtmr1 = \"any\"\nrtmr2 = \"any\"\nmachines = \"any\"\n";
    format!("{}[tdx]\nmrtds = [\"sha384:{mrtd}\"]\n{table}[event_log]\n", header("tds"))
}

/// The document of `guest` for this nonce and TLS key.
pub(crate) fn document(guest: &SoftwareGuest, nonce: Nonce, tls_key: Sha256Digest) -> Vec<u8> {
    document_of(|report_data| guest.attest(report_data).unwrap(), nonce, tls_key)
}

/// The key that signs authenticators of every guest here.
pub(crate) fn authenticator_key() -> &'static AuthenticatorKey {
    static KEY: OnceLock<AuthenticatorKey> = OnceLock::new();
    KEY.get_or_init(|| AuthenticatorKey::generate().unwrap())
}

/// The document of `guest`, whose audit log is signed by this key.
pub(crate) fn document_with_audit_key(
    guest: &SoftwareGuest,
    (nonce, tls_key): (Nonce, Sha256Digest),
    audit_key: Ed25519PublicKey,
) -> Vec<u8> {
    let keys = DocumentKeys { tls_key, release_key: Sha256Digest::new([2; 32]), audit_key };
    document_for(|report_data| guest.attest(report_data).unwrap(), nonce, keys)
}

/// The document of a guest that attests so, for this nonce and TLS key.
pub(crate) fn document_of(
    attest: impl FnOnce(&ReportData) -> Evidence,
    nonce: Nonce,
    tls_key: Sha256Digest,
) -> Vec<u8> {
    let (release_key, audit_key) = (Sha256Digest::new([2; 32]), Ed25519PublicKey::new([3; 32]));
    document_for(attest, nonce, DocumentKeys { tls_key, release_key, audit_key })
}

fn document_for(attest: impl FnOnce(&ReportData) -> Evidence, nonce: Nonce, keys: DocumentKeys) -> Vec<u8> {
    let model =
        ServedModel { id: "acme/chat".into(), version: 3, manifest_digest: Sha256Digest::new([8; 32]) };
    let audit = AuditHead { origin: "acme/1".into(), tree_size: 12, root_hash: Sha256Digest::new([10; 32]) };
    let channel = ChannelKeys { authenticator_key: authenticator_key().public_key(), body_keys: Vec::new() };
    let state = DocumentState { models: vec![model], policy_digest: None, audit, channel, runtime: None }
        .to_json()
        .unwrap();
    let binding = document::binding(nonce, &keys, &state, Sha256Digest::of(b""));
    let evidence = attest(&binding.report_data());
    Document::new(nonce, keys, state, evidence).unwrap().to_json().unwrap()
}

/// A release policy for this measurement that revokes these.
pub(crate) fn release_policy(measurement: Measurement, revoked: &str) -> String {
    let example = include_str!("../../../../policies/release/chat-prod.toml");
    let grant = format!("sha384:{}", "a1".repeat(48));
    assert!(example.contains(&grant) && example.contains("measurements = \"none\""));
    example
        .replace(&grant, &format!("sha384:{measurement}"))
        .replace("measurements = \"none\"", &format!("measurements = {revoked}"))
        .replace("2027-01-31", "9000-01-31")
}

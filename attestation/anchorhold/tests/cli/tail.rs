//! `audit tail` against a server that shows the files of a log which grows, forks and goes back.

use crate::support::{Folder, MEASUREMENT, Ran, authenticator_key, document_with_audit_key, guest, run};
use anchorhold_audit_log::cosignature::Cosigner;
use anchorhold_audit_log::live::{LiveFile, LiveLog};
use anchorhold_audit_log::note::Note;
use anchorhold_audit_log::{BootId, Event, EventType, Log, LogReader, Origin, Outcome, Signer, Stamp};
use anchorhold_channel::authenticator::{self, Exporters, Request, Unsigned};
use anchorhold_channel::document::{PATH, nonce_of_query};
use anchorhold_channel::server::{Limits, serve};
use anchorhold_channel::tls::SelfSigned;
use anchorhold_rats::{Ed25519PublicKey, Sha256Digest};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Extension, Path as UrlPath, RawQuery};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

const KEY: &str = "key-of-auditor";
const SEED: [u8; 32] = [5; 32];
const AT: Stamp = Stamp { wall_ns: 1_800_000_000_000_000_000, mono_ns: 1 };
/// The name that the documents of these tests give to the guest's log.
const ORIGIN: &str = "acme/1";

fn signer(seed: [u8; 32]) -> Signer {
    Signer::from_seed(Origin::new(ORIGIN).unwrap(), &seed).unwrap()
}

fn note_key(seed: [u8; 32]) -> String {
    signer(seed).key().to_string()
}

/// A log in a folder, with an entry of each of these kinds behind its first.
fn log(folder: &Folder, name: &str, kinds: &[EventType]) -> (Log, PathBuf) {
    let path = PathBuf::from(folder.path(name));
    let mut log = Log::create(&path, signer(SEED), BootId::new([6; 16]), AT).unwrap();
    append(&mut log, kinds);
    (log, path)
}

fn append(log: &mut Log, kinds: &[EventType]) {
    for kind in kinds {
        log.append(&[Event::new(*kind, Outcome::Success, AT)]).unwrap();
    }
    log.checkpoint().unwrap();
}

/// What is served below `/v1/audit`.
enum Shown {
    Log(PathBuf),
    /// The log, but these bytes for each tile.
    Tiles(PathBuf, Vec<u8>),
    Busy,
}

struct Server {
    _runtime: Runtime,
    url: String,
    tls_key: Sha256Digest,
    shown: Arc<Mutex<Shown>>,
}

impl Server {
    fn of(log: &Path) -> Self {
        let runtime = Runtime::new().unwrap();
        let own = SelfSigned::generate(&["localhost".into()]).unwrap();
        let (tls_key, guest) = (own.tls_key, Arc::new(guest()));
        let shown = Arc::new(Mutex::new(Shown::Log(log.to_owned())));
        let files = Arc::clone(&shown);
        let file = get(move |headers: HeaderMap, UrlPath(path): UrlPath<String>| async move {
            let known =
                headers.get("authorization").is_some_and(|value| value == format!("Bearer {KEY}").as_str());
            if known { file(&files.lock().unwrap(), &path) } else { (StatusCode::UNAUTHORIZED, Vec::new()) }
        });
        let key = Ed25519PublicKey::new(*signer(SEED).key().public_key().as_bytes());
        let document = get(move |RawQuery(query): RawQuery| async move {
            document_with_audit_key(&guest, (nonce_of_query(query.as_deref()).unwrap(), tls_key), key)
        });
        let router = Router::new()
            .route("/v1/audit/{*path}", file)
            .route(PATH, document)
            .route(authenticator::PATH, post(authenticate));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let tls = own.into_server_config().unwrap();
        runtime.spawn(serve(listener, tls, router, Limits::default(), std::future::pending()));
        Self { _runtime: runtime, url, tls_key, shown }
    }

    fn show(&self, shown: Shown) {
        *self.shown.lock().unwrap() = shown;
    }

    /// By the log's key, once.
    fn tail(&self, folder: &Folder, more: &[&str]) -> Ran {
        let (key, tls_key) = (key_file(folder, KEY), self.tls_key.to_string());
        let note_key = note_key(SEED);
        let args = ["audit", "tail", "--url", &self.url, "--key-file", &key, "--once"];
        run(args.iter().chain(&["--audit-key", &note_key, "--tls-key", &tls_key]).chain(more))
    }
}

fn file(shown: &Shown, path: &str) -> (StatusCode, Vec<u8>) {
    let log = match shown {
        Shown::Busy => return (StatusCode::SERVICE_UNAVAILABLE, Vec::new()),
        Shown::Tiles(_, content) if path != "checkpoint" => return (StatusCode::OK, content.clone()),
        Shown::Log(log) | Shown::Tiles(log, _) => log,
    };
    let mut live = LiveLog::open(log).unwrap();
    live.refresh().unwrap();
    let content = path.parse::<LiveFile>().ok().and_then(|file| live.read(file).unwrap());
    content.map_or((StatusCode::NOT_FOUND, Vec::new()), |content| (StatusCode::OK, content))
}

async fn authenticate(Extension(exporters): Extension<Arc<Exporters>>, body: Bytes) -> Vec<u8> {
    let (request, key) = (Request::parse(&body).unwrap(), authenticator_key());
    let unsigned = Unsigned::new(&exporters, &request, key.certificate());
    let signature = key.sign(&unsigned.transcript_hash()).unwrap();
    unsigned.finish(&signature)
}

fn key_file(folder: &Folder, key: &str) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.write("auditor.key", key);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// The kinds of the entries that were printed.
fn kinds(ran: &Ran, name: &str) -> Vec<String> {
    let kind = |line: &str| {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        entry.pointer(name).unwrap().as_str().unwrap().to_owned()
    };
    ran.out.lines().map(kind).collect()
}

#[test]
fn prints_each_entry_once_and_goes_on_where_it_ended() {
    let folder = Folder::new();
    let (mut log, path) = log(&folder, "log", &[EventType::LogExport]);
    let (server, state) = (Server::of(&path), folder.path("seen.note"));
    let ran = server.tail(&folder, &["--state", &state]);
    ran.expect(0, "");
    assert_eq!(kinds(&ran, "/type"), ["log.open", "log.export"]);
    assert_eq!(std::fs::read(&state).unwrap(), LogReader::open(&path).unwrap().checkpoint_note());
    assert_eq!(server.tail(&folder, &["--state", &state]).out, "");
    append(&mut log, &[EventType::LogAnchor; 300]);
    let ran = server.tail(&folder, &["--state", &state, "--as", "ocsf"]);
    ran.expect(0, "");
    assert_eq!(kinds(&ran, "/metadata/event_code"), ["log.anchor"; 300]);
    assert_eq!(server.tail(&folder, &[]).out.lines().count(), 302);
    assert_eq!(server.tail(&folder, &["--from-now"]).out, "");
}

#[test]
fn the_logs_key_comes_out_of_evidence_that_is_judged() {
    let folder = Folder::new();
    let (_log, path) = log(&folder, "log", &[EventType::LogExport]);
    let server = Server::of(&path);
    let (key, root) = (key_file(&folder, KEY), folder.simulated_root());
    let tail = |measurement: &str, more: &[&str]| {
        let args = [
            "audit",
            "tail",
            "--url",
            &server.url,
            "--key-file",
            &key,
            "--once",
            "--measurement",
            measurement,
        ];
        run(args.iter().chain(more))
    };
    let measurement = MEASUREMENT.to_string();
    let simulated = ["--dangerous-simulated-root", &root];
    let ran = tail(&measurement, &simulated);
    ran.expect(0, "SIMULATED ROOT");
    assert_eq!(kinds(&ran, "/type"), ["log.open", "log.export"]);
    tail(&measurement, &[]).expect(3, "the server is not accepted");
    tail(&"5b".repeat(48), &simulated).expect(4, "snp_measurement");
    tail(&measurement, &["--at", "2026-01-31T12:00:00Z"]).expect(2, "judged for now");
    run(["audit", "tail", "--url", &server.url, "--key-file", &key, "--once"]).expect(2, "what is accepted");
}

#[test]
fn case_29_a_log_that_forked_or_went_back_ends_it_and_nothing_of_it_is_printed() {
    let folder = Folder::new();
    let (mut honest, path) = log(&folder, "log", &[EventType::LogExport; 3]);
    let (_, short) = log(&folder, "short", &[EventType::LogExport]);
    let (_, fork) = log(&folder, "fork", &[EventType::LogAnchor; 3]);
    let (_, longer) = log(&folder, "longer", &[EventType::LogAnchor; 9]);
    let (server, state) = (Server::of(&path), folder.path("seen.note"));
    server.tail(&folder, &["--state", &state]).expect(0, "");
    let seen = std::fs::read(&state).unwrap();
    for (log, why) in [
        (short, "checkpoint covers 2 entries, an earlier one covered 4"),
        (fork, "the log signed two histories of 4 entries"),
        (longer, "consistency is not proven"),
    ] {
        server.show(Shown::Log(log));
        let ran = server.tail(&folder, &["--state", &state]);
        ran.expect(6, why);
        assert!(ran.out.is_empty() && std::fs::read(&state).unwrap() == seen);
    }
    server.show(Shown::Log(path));
    append(&mut honest, &[EventType::LogAnchor]);
    assert_eq!(kinds(&server.tail(&folder, &["--state", &state]), "/type"), ["log.anchor"]);
}

fn witness(name: &str, seed: u8) -> Cosigner {
    Cosigner::from_seed(name, &[seed; 32]).unwrap()
}

/// Has these witnesses cosign the log's latest checkpoint.
fn cosign(log: &mut Log, witnesses: &[&Cosigner]) {
    let (head, note) = log.latest_checkpoint();
    let mut note = note.to_vec();
    let text = Note::parse(&note).unwrap().unverified_text().to_owned();
    for witness in witnesses {
        note.extend_from_slice(witness.cosign(&text, 1_800_000_000).as_bytes());
    }
    log.store_cosigned(&note, head.size, AT).unwrap();
}

#[test]
fn case_29_with_a_policy_only_what_its_quorum_cosigned_is_printed() {
    let folder = Folder::new();
    let (mut log, path) = log(&folder, "log", &[EventType::LogExport]);
    let (server, state) = (Server::of(&path), folder.path("seen.note"));
    let (one, two, stranger) =
        (witness("one.example", 1), witness("two.example", 2), witness("one.example", 3));
    let both = format!("witness a {}\nwitness b {}\ngroup g 2 a b\nquorum g\n", one.key(), two.key());
    let policy = folder.write("witnesses.policy", both);
    let tail = || server.tail(&folder, &["--state", &state, "--log-policy", &policy]);
    let refused = |cosigned: usize| {
        let ran = tail();
        ran.expect(1, &format!("the {cosigned} witnesses that cosigned are no quorum"));
        assert!(ran.out.is_empty(), "{}", ran.out);
    };
    refused(0);
    cosign(&mut log, &[&stranger, &two]);
    refused(1);
    assert!(!Path::new(&state).exists() || std::fs::read(&state).unwrap().is_empty());
    assert_eq!(server.tail(&folder, &[]).out.lines().count(), 2, "without a policy nobody has to cosign");
    cosign(&mut log, &[&one, &two]);
    let ran = tail();
    ran.expect(0, "");
    assert_eq!(kinds(&ran, "/type"), ["log.open", "log.export"]);
    // What is new waits for its own cosignatures.
    append(&mut log, &[EventType::LogAnchor]);
    refused(0);
    cosign(&mut log, &[&one]);
    refused(1);
    cosign(&mut log, &[&two, &one]);
    assert_eq!(kinds(&tail(), "/type"), ["log.anchor"]);
    let no_policy = folder.write("none.policy", "quorum g\n");
    server.tail(&folder, &["--log-policy", &no_policy]).expect(1, "none.policy");
}

#[test]
fn refuses_tiles_that_are_not_the_checkpoints_and_other_keys() {
    let folder = Folder::new();
    let (_log, path) = log(&folder, "log", &[EventType::LogExport]);
    let server = Server::of(&path);
    for content in [Vec::new(), b"<html>secret</html>".to_vec(), [0, 1, b'e', 0, 1, b'f'].to_vec()] {
        server.show(Shown::Tiles(path.clone(), content));
        let ran = server.tail(&folder, &[]);
        ran.expect(6, "");
        assert!(ran.out.is_empty() && !ran.err.contains("secret"), "{}", ran.err);
    }
    server.show(Shown::Tiles(path.clone(), vec![0; 5 << 20]));
    server.tail(&folder, &[]).expect(1, "over the limit");
    server.show(Shown::Busy);
    server.tail(&folder, &[]).expect(1, "the server is busy");
    server.show(Shown::Log(path));
    let (tls_key, key) = (server.tls_key.to_string(), key_file(&folder, KEY));
    let other_log = note_key([9; 32]);
    let tail = |key: &str, audit_key: &str, tls_key: &str| {
        let args = ["audit", "tail", "--url", &server.url, "--once", "--key-file", key];
        run(args.iter().chain(&["--audit-key", audit_key, "--tls-key", tls_key]))
    };
    tail(&key, &other_log, &tls_key).expect(6, "checkpoint: ");
    tail(&key, &note_key(SEED), &"5a".repeat(32)).expect(1, "server has TLS key");
    tail(&key, &"99".repeat(32), &tls_key).expect(2, "--audit-key");
    // What would be ignored is refused.
    server.tail(&folder, &["--measurement", &MEASUREMENT.to_string()]).expect(2, "cannot be used with");
    server.tail(&folder, &["--offline"]).expect(2, "cannot be used with");
    let kept = folder.write("kept.note", "something else\n");
    server.tail(&folder, &["--state", &kept]).expect(6, "each boot of a guest has a log of its own");
    tail(&key_file(&folder, "other"), &note_key(SEED), &tls_key)
        .expect(1, "the server does not know the key");
}

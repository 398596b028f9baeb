//! `anchorhold proxy` between a program that cannot verify and a guest.

use crate::support::{SOON, Served, chat, until, wait, with};
use anchorhold_attester::software::simulated_ark_der;
use anchorhold_channel::client::{Limits, Target, connect_unverified_for_attestation};
use anchorhold_channel::document::{PATH, nonce_of_query};
use anchorhold_channel::{server, tls};
use anchorhold_e2e::client::Frames;
use anchorhold_e2e::guest::{Guest, Settings, measurement_with_fetcher};
use anchorhold_e2e::models::{self, CHAT};
use anchorhold_e2e::process::{Process, Programs};
use anchorhold_e2e::refusals::Stand;
use anchorhold_e2e::store::PackageStore;
use axum::Router;
use axum::extract::RawQuery;
use axum::routing::get;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use tokio::net::{TcpListener, TcpStream};

const PATH_OF_CHAT: &str = "/v1/chat/completions";

/// A running proxy.
struct Proxy {
    process: Process,
    address: String,
    folder: PathBuf,
}

struct Got {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Proxy {
    /// In front of `upstream`, which must have this measurement; with its files in `folder`.
    fn start(programs: &Programs, folder: &Path, (upstream, measurement): (&str, &str)) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let root = folder.join("root.der");
        std::fs::write(&root, simulated_ark_der()).unwrap();
        let mut command = Command::new(programs.path("anchorhold"));
        command.args(["proxy", "--listen", "127.0.0.1:0", "--reverify", "1", "--measurement", measurement]);
        command.arg("--upstream").arg(format!("https://{upstream}"));
        command.arg("--dangerous-simulated-root").arg(root);
        command.arg("--history").arg(folder.join("history.jsonl"));
        command.arg("--receipts").arg(folder.join("receipts"));
        let process = Process::start(command, &folder.join("stderr")).unwrap();
        let told = process.line(SOON).unwrap().unwrap_or_else(|| panic!("{}", process.stderr_text()));
        let address = told.strip_prefix("proxy on http://").unwrap().split(' ').next().unwrap().to_owned();
        Self { process, address, folder: folder.to_owned() }
    }

    fn send(&self, method: &str, path: &str, key: &str, body: String) -> Got {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.address)
            .header("authorization", format!("Bearer {key}"))
            .header("content-type", "application/json")
            .body(Full::<bytes::Bytes>::from(body))
            .unwrap();
        wait(async {
            let stream = TcpStream::connect(&self.address).await.unwrap();
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            let (head, body) = sender.send_request(request).await.unwrap().into_parts();
            let body = body.collect().await.unwrap().to_bytes().to_vec();
            Got { status: head.status, headers: head.headers, body }
        })
    }

    fn ask(&self, key: &str, body: &Value) -> Got {
        self.send("POST", PATH_OF_CHAT, key, body.to_string())
    }

    fn status(&self) -> Value {
        serde_json::from_slice(&self.send("GET", "/anchorhold/status", "", String::new()).body).unwrap()
    }

    /// Asks until the answer is a refusal, and gives its message.
    fn refusal(&self, key: &str) -> String {
        until("a refusal by the proxy", SOON, || {
            let got = self.ask(key, &chat("a secret question"));
            let body: Value = serde_json::from_slice(&got.body).unwrap();
            if body["error"]["code"] != "upstream_not_attested" {
                return None;
            }
            assert_eq!(got.status, 502);
            let message = body["error"]["message"].as_str().unwrap().to_owned();
            assert!(!message.contains("secret"), "{message}");
            Some(message)
        })
    }
}

/// A body without what differs from one request to the next.
fn same(mut body: Value) -> Value {
    body["id"] = Value::Null;
    body["created"] = Value::Null;
    body
}

fn events(body: &[u8]) -> Vec<Value> {
    let mut frames = Frames::default();
    let events = frames.push(body).into_iter().map(same).collect();
    assert!(frames.done, "{}", String::from_utf8_lossy(body));
    events
}

#[test]
fn answers_and_streams_come_through_as_they_are_with_good_receipts() {
    let served = Served::chat();
    let key = served.guest.api_key.clone();
    let of = (served.guest.address.as_str(), served.stand.measurement.as_str());
    let proxy = Proxy::start(&served.stand.programs, &served.stand.path().join("proxy"), of);
    let question = chat("What is Anchorhold?");
    let (through, directly) = (proxy.ask(&key, &question), served.post(PATH_OF_CHAT, &question));
    assert_eq!(through.status, 200);
    let read = |body: &[u8]| same(serde_json::from_slice(body).unwrap());
    assert_eq!(read(&through.body), read(&directly.body));

    let question = with(question, json!({"stream": true}));
    let through = proxy.ask(&key, &question);
    assert_eq!(through.headers["content-type"], "text/event-stream");
    let directly = served.begin_stream(&question).finish();
    assert_eq!(events(&through.body), events(&directly.bytes));

    // The key is the program's own, and the guest judges it.
    assert_eq!(proxy.ask("ak-nobody", &question).status, 401);
    let status = proxy.status();
    assert_eq!((&status["verdict"], &status["measurement"]), (&"accepted".into(), &of.1.into()), "{status}");
    assert_eq!((&status["receipts"]["good"], &status["receipts"]["bad"]), (&2.into(), &0.into()), "{status}");
    assert_eq!((&status["requests"], &status["refused"]), (&3.into(), &0.into()));

    // What was kept is what `receipt verify` takes.
    let kept = std::fs::read_dir(proxy.folder.join("receipts")).unwrap().map(|entry| entry.unwrap().path());
    let receipts: Vec<_> = kept.filter(|path| path.extension().unwrap() == "receipt").collect();
    assert_eq!(receipts.len(), 2);
    let audit_key = served.caller.server.keys().audit_key.to_string();
    let arguments: [&dyn AsRef<std::ffi::OsStr>; 5] =
        [&"receipt", &"verify", &receipts[0], &"--audit-key", &audit_key];
    served.stand.programs.run("anchorhold", &arguments).unwrap();
    let history = std::fs::read_to_string(proxy.folder.join("history.jsonl")).unwrap();
    assert!(history.contains(of.1) && history.contains("\"audit\""), "{history}");
    assert!(!history.contains("Anchorhold?"));
    proxy.process.signal(Signal::TERM).unwrap();
    let Proxy { mut process, .. } = proxy;
    assert!(process.wait(SOON).unwrap().success());
    let told = process.stderr_text();
    assert!(told.contains("is accepted, measurement") && !told.contains("rollback"), "{told}");
}

#[test]
fn case_04_a_guest_that_comes_back_as_another_image_gets_no_request() {
    let served = Served::chat();
    let (key, address) = (served.guest.api_key.clone(), served.guest.address.clone());
    let of = (address.as_str(), served.stand.measurement.as_str());
    let proxy = Proxy::start(&served.stand.programs, &served.stand.path().join("proxy"), of);
    assert_eq!(proxy.ask(&key, &chat("What is Anchorhold?")).status, 200);
    served.guest.stop().unwrap();
    assert!(proxy.refusal(&key).contains("unreachable"));

    // The image with a fetcher is another image; its own broker releases to it, and it takes the same address.
    let mut stand = Stand::new().unwrap();
    let sealed = [stand.seal(&models::chat(), (CHAT, 1)).unwrap()];
    let measurement = measurement_with_fetcher(&stand.programs).unwrap();
    stand.serve(&sealed, &measurement).unwrap();
    let store = PackageStore::start(sealed[0].package.parent().unwrap()).unwrap();
    let name = sealed[0].package.file_name().unwrap().to_string_lossy().into_owned();
    let mut settings = Settings::new(&stand.broker, &stand.owner, &sealed).unwrap();
    settings.fetch_from(&stand.programs, &stand.path().join("cache"), &[store.url(&name)]);
    settings.listen = address.clone();
    let start = Guest::start(&stand.programs, &stand.path().join("guest"), &settings, |_| {});
    let guest = start.unwrap().ready().unwrap();
    assert_eq!(guest.address, address);
    let message = until("another verdict", SOON, || {
        let message = proxy.refusal(&settings.api_key);
        message.contains("snp_measurement").then_some(message)
    });
    assert!(message.contains(&measurement), "{message}");
    assert_eq!(proxy.status()["verdict"], "not_acceptable");
    let requests = guest.entries().unwrap().iter().filter(|entry| entry["type"] == "request").count();
    assert_eq!(requests, 0);
}

#[test]
fn case_04_a_relay_gets_no_request() {
    let served = Served::chat();
    let to: Target = format!("https://{}", served.guest.address).parse().unwrap();
    let shown = move |RawQuery(query): RawQuery| async move {
        let nonce = nonce_of_query(query.as_deref()).unwrap();
        let mut upstream = connect_unverified_for_attestation(&to, &Limits::default()).await.unwrap();
        upstream.fetch_document(&nonce).await.unwrap()
    };
    let own = tls::SelfSigned::generate(&["localhost".to_owned()]).unwrap().into_server_config().unwrap();
    let listener = wait(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = Router::new().route(PATH, get(shown));
    let serving = server::serve(listener, own, router, server::Limits::default(), std::future::pending());
    let relay = crate::support::aside(serving);
    let of = (address.as_str(), served.stand.measurement.as_str());
    let proxy = Proxy::start(&served.stand.programs, &served.stand.path().join("proxy"), of);
    let message = proxy.refusal(&served.guest.api_key);
    assert!(message.contains("tls_key_bound"), "{message}");
    relay.abort();
}

#[test]
fn a_saved_bundle_is_judged_offline_with_the_same_verdict_and_not_when_it_was_changed() {
    let served = Served::chat();
    let folder = served.stand.path().join("bundle");
    std::fs::create_dir_all(&folder).unwrap();
    let (root, path, cache) = (folder.join("root.der"), folder.join("bundle.json"), folder.join("cache"));
    std::fs::write(&root, simulated_ark_der()).unwrap();
    let (url, programs) = (format!("https://{}", served.guest.address), &served.stand.programs);
    let save: [&dyn AsRef<std::ffi::OsStr>; 8] =
        [&"evidence", &"save", &url, &"--out", &path, &"--offline", &"--cache", &cache];
    programs.run("anchorhold", &save).unwrap();
    let bundle: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let (stand, measurement) = (served.stand.programs.clone(), served.stand.measurement.clone());
    served.guest.stop().unwrap();
    let verify = |bundle: &Value, at: &str| {
        std::fs::write(&path, bundle.to_string()).unwrap();
        let arguments: [&dyn AsRef<std::ffi::OsStr>; 10] = [
            &"verify",
            &"--bundle",
            &path,
            &"--at",
            &at,
            &"--measurement",
            &measurement,
            &"--dangerous-simulated-root",
            &root,
            &"--json",
        ];
        let output = stand.output("anchorhold", &arguments).unwrap();
        (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or(Value::Null))
    };
    let taken = bundle["taken"].as_str().unwrap().to_owned();
    let (exit, verdict): (_, Value) = verify(&bundle, &taken);
    assert_eq!((exit, &verdict["verdict"], &verdict["target"]), (Some(0), &"accepted".into(), &url.into()));
    assert_eq!(verify(&bundle, "2200-01-01T00:00:00Z").0, Some(3), "the certificates have ended by then");
    for key in ["nonce", "tls_key"] {
        let changed = with(bundle.clone(), json!({key: "5a".repeat(32)}));
        assert_eq!(verify(&changed, &taken).0, Some(3), "{key}");
    }
    let document = bundle["document"].as_str().unwrap().replace(r#"\"version\":1"#, r#"\"version\":2"#);
    assert_ne!(document, bundle["document"].as_str().unwrap());
    assert_eq!(verify(&with(bundle.clone(), json!({"document": document})), &taken).0, Some(3));
    assert_eq!(verify(&with(bundle, json!({"format": "other"})), &taken).0, Some(1));
}

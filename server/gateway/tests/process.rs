//! The program itself: started as the keeper starts it, held as in production, spoken to over TLS.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test helper that fails is a failed test")]

mod common;

use anchorhold_channel::client::{Client, Limits, Pinned};
use anchorhold_channel::tls::{certificates_from_pem, tls_key_of};
use anchorhold_ipc::{
    Appended, AuditEvent, Event, FromGateway, Line, ModelKind, RequestOutcome, ToGateway, Work, pair,
};
use anchorhold_rats::Sha256Digest;
use common::{FakeWorker, KEY, PATIENCE, chat, info, with};
use http::{HeaderName, HeaderValue};
use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What the keeper has for the gateway's certificate; the gateway does not read it.
const DOCUMENT: &[u8] = b"{}";

/// A running gateway, the keeper's end of its line, and the directory that it may write to while it starts.
struct Program {
    child: Child,
    line: Line<ToGateway, FromGateway>,
    directory: PathBuf,
}

impl Program {
    /// Starts it in an empty directory, with the line as standard input.
    fn start(name: &str, listen: &str) -> Self {
        Self::start_with(name, listen, "drain_seconds = 5")
    }

    /// The same with these limits, and whatever follows them.
    fn start_with(name: &str, listen: &str, limits: &str) -> Self {
        Self::start_set(name, listen, limits, &[])
    }

    /// The same with these settings as flags.
    fn start_set(name: &str, listen: &str, limits: &str, set: &[&str]) -> Self {
        let directory = std::env::temp_dir().join(format!("gateway-{name}-{}", std::process::id()));
        let empty = directory.join("empty");
        std::fs::create_dir_all(&empty).unwrap();
        let (config, certificate) = (directory.join("gateway.toml"), directory.join("gateway.pem"));
        let text = format!(
            "listen = \"{listen}\"\nnames = [\"localhost\", \"127.0.0.1\"]\ncertificate = \"{}\"\nmodels = [\"chat\"]\n\
             [[tenant]]\nname = \"acme\"\n[[key]]\ntenant = \"acme\"\nsha256 = \"{}\"\n[limits]\n{limits}\n",
            certificate.display(),
            Sha256Digest::of(KEY.as_bytes())
        );
        std::fs::write(&config, text).unwrap();
        let (ours, theirs) = pair().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_anchorhold-gateway"))
            .arg("--config")
            .arg(&config)
            .args(set.iter().map(|set| format!("--set={set}")))
            .current_dir(&empty)
            .stdin(Stdio::from(theirs))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, line: Line::new(ours), directory }
    }

    /// Takes the greeting; the digest of the TLS key.
    fn hello(&mut self) -> Sha256Digest {
        let (hello, _) = self.line.receive().unwrap();
        let FromGateway::Hello { tls_key, confinement, .. } = hello else { panic!("{hello:?}") };
        assert!(confinement.active.iter().any(|layer| layer == "seccomp"), "{confinement:?}");
        Sha256Digest::new(tls_key)
    }

    /// Lets it open the port; the address.
    fn listen(&mut self) -> String {
        self.line
            .send(
                &ToGateway::Listen {
                    authenticator_certificate: Vec::new(),
                    guest: Box::default(),
                    document: DOCUMENT.to_vec(),
                },
                &[],
            )
            .unwrap();
        let (listening, _) = self.line.receive().unwrap();
        let FromGateway::Listening { address, .. } = listening else { panic!("{listening:?}") };
        address
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end; the exit code and what was written to stderr.
    fn finish(mut self) -> (Option<i32>, String) {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < PATIENCE, "the gateway does not end");
            std::thread::yield_now();
        };
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        std::fs::remove_dir_all(&self.directory).unwrap();
        (status.code(), stderr)
    }
}

fn client(address: &str, key: Sha256Digest) -> Client<Pinned> {
    Client::pinned(format!("https://{address}").parse().unwrap(), key, Limits::default())
}

fn authorization() -> [(HeaderName, HeaderValue); 1] {
    [(http::header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {KEY}")).unwrap())]
}

/// Answers entries on another thread until the gateway says that it is drained.
fn keep(mut line: Line<ToGateway, FromGateway>) -> std::thread::JoinHandle<usize> {
    std::thread::spawn(move || {
        let mut entries = 0;
        loop {
            match line.receive().unwrap().0 {
                FromGateway::Record { ticket, .. } => {
                    entries += 1;
                    let appended = Appended { ticket, index: Some(ticket), receipt: None };
                    line.send(&ToGateway::Appended(appended), &[]).unwrap();
                }
                FromGateway::Drained => return entries,
                other => panic!("{other:?}"),
            }
        }
    })
}

#[tokio::test]
async fn with_evidence_in_the_certificate_the_file_has_the_one_that_is_shown() {
    let set = ["certificate_evidence=true"];
    let mut program = Program::start_set("evidence", "127.0.0.1:0", "drain_seconds = 1", &set);
    let file = program.directory.join("gateway.pem");
    let key = program.hello();
    assert_eq!(std::fs::read(&file).unwrap(), b"", "there is no document yet");
    let address = program.listen();
    let written = certificates_from_pem(&std::fs::read(&file).unwrap()).unwrap().remove(0);
    assert_eq!(tls_key_of(&written).unwrap(), key);
    let connection = client(&address, key).connect().await.unwrap();
    assert_eq!(connection.certificate(), written.as_ref());
    assert!(written.windows(DOCUMENT.len()).any(|window| window == DOCUMENT));
    drop(connection);
    let (_, nobody) = pair().unwrap();
    let keeper = keep(std::mem::replace(&mut program.line, Line::new(nobody)));
    program.signal(Signal::TERM);
    assert_eq!(common::aside(|| keeper.join().unwrap()).await, 0);
    assert_eq!(program.finish().0, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serves_over_tls_with_the_key_it_named_and_drains_on_sigterm() {
    let mut program = Program::start("serve", "127.0.0.1:0");
    let key = program.hello();
    let pem = std::fs::read(program.directory.join("gateway.pem")).unwrap();
    assert_eq!(tls_key_of(&certificates_from_pem(&pem).unwrap().remove(0)).unwrap(), key);
    let (theirs, mut worker) = FakeWorker::new();
    program.line.send(&ToGateway::WorkerReady(info("chat", ModelKind::Chat)), &[theirs.as_fd()]).unwrap();
    drop(theirs);
    let address = program.listen();
    let (_, nobody) = pair().unwrap();
    let keeper = keep(std::mem::replace(&mut program.line, Line::new(nobody)));
    let client = client(&address, key);
    assert_eq!(client.get("/readyz", &[]).await.unwrap().status, 200);
    assert_eq!(client.get("/v1/models", &[]).await.unwrap().status, 401);

    // Over a real connection, a caller who leaves cancels the work too.
    let body = with(chat("x"), json!({"stream": true})).to_string();
    let mut connection = client.connect().await.unwrap();
    let task = tokio::spawn(async move {
        let path = "/v1/chat/completions";
        let answer = connection.post_json_streaming(path, &authorization(), body.into()).await.unwrap();
        (connection, answer)
    });
    let (mut worker, id) = common::aside(move || {
        let id = worker.submitted().0;
        worker.say(&Event::Delta { id, choice: 0, text: "1".to_owned(), told: Vec::new() });
        (worker, id)
    })
    .await;
    let (connection, mut answer) = task.await.unwrap();
    assert!(answer.next_piece().await.unwrap().is_some());
    drop((connection, answer));
    assert_eq!(worker.next(), Work::Cancel { id });

    // A request that runs when the signal comes is finished.
    let mut connection = client.connect().await.unwrap();
    let task = tokio::spawn(async move {
        connection.post_json("/v1/chat/completions", &authorization(), chat("last").to_string().into()).await
    });
    let id = worker.submitted().0;
    program.signal(Signal::TERM);
    worker.say(&Event::Delta { id, choice: 0, text: "done".to_owned(), told: Vec::new() });
    let reason = anchorhold_ipc::FinishReason::Stop;
    worker.say(&Event::Finished { id, choice: 0, reason, tokens_in: 1, tokens_found: 0, tokens_out: 1 });
    let answer = task.await.unwrap().unwrap();
    let value: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(value.pointer("/choices/0/message/content"), Some(&json!("done")));
    // The caller without a key, the one who left, and the last one.
    assert_eq!(common::aside(move || keeper.join().unwrap()).await, 3);
    let (code, stderr) = program.finish();
    assert_eq!(code, Some(0), "{stderr}");
    let lines: Vec<Value> = stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line.get("outcome") == Some(&json!("cancelled"))), "{stderr}");
}

#[test]
fn a_taken_port_and_a_keeper_that_leaves_end_the_program() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let program = Program::start("taken", &taken.local_addr().unwrap().to_string());
    let (code, stderr) = program.finish();
    assert_eq!(code, Some(1));
    assert!(stderr.starts_with("anchorhold-gateway: error: listen on 127.0.0.1:"), "{stderr}");
    let mut program = Program::start("alone", "127.0.0.1:0");
    program.hello();
    program.listen();
    let (_, nobody) = pair().unwrap();
    drop(std::mem::replace(&mut program.line, Line::new(nobody)));
    assert_eq!(program.finish().0, Some(0));
}

/// Answers entries until the gateway says that it is drained; the outcomes of requests.
fn outcomes(mut line: Line<ToGateway, FromGateway>) -> std::thread::JoinHandle<Vec<RequestOutcome>> {
    std::thread::spawn(move || {
        let mut outcomes = Vec::new();
        loop {
            match line.receive().unwrap().0 {
                FromGateway::Record { ticket, event } => {
                    if let AuditEvent::Request(record) = event {
                        outcomes.push(record.outcome);
                    }
                    let appended = Appended { ticket, index: Some(ticket), receipt: None };
                    line.send(&ToGateway::Appended(appended), &[]).unwrap();
                }
                FromGateway::Drained => return outcomes,
                other => panic!("{other:?}"),
            }
        }
    })
}

/// Streams that are under way when the signal comes, whose answers never end.
const STREAMS: usize = 40;
/// Requests of the same kind that are not streamed.
const WHOLE: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_45_what_runs_when_the_drain_is_over_ends_with_an_event_and_an_entry() {
    let limits = "drain_seconds = 1\nmax_in_flight_per_tenant = 64";
    let mut program = Program::start_with("load", "127.0.0.1:0", limits);
    let key = program.hello();
    let (theirs, mut worker) = FakeWorker::new();
    program.line.send(&ToGateway::WorkerReady(info("chat", ModelKind::Chat)), &[theirs.as_fd()]).unwrap();
    drop(theirs);
    let address = program.listen();
    let (_, nobody) = pair().unwrap();
    let keeper = outcomes(std::mem::replace(&mut program.line, Line::new(nobody)));
    let client = client(&address, key);
    let body = |stream: bool| with(chat("x"), json!({"stream": stream})).to_string();
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let mut connection = client.connect().await.unwrap();
        let body = body(true);
        streams.push(tokio::spawn(async move {
            let path = "/v1/chat/completions";
            let mut answer =
                connection.post_json_streaming(path, &authorization(), body.into()).await.unwrap();
            let mut text = Vec::new();
            while let Some(piece) = answer.next_piece().await.unwrap() {
                text.extend_from_slice(&piece);
            }
            String::from_utf8(text).unwrap()
        }));
    }
    let mut whole = Vec::new();
    for _ in 0..WHOLE {
        let mut connection = client.connect().await.unwrap();
        let body = body(false);
        whole.push(tokio::spawn(async move {
            connection.post_json("/v1/chat/completions", &authorization(), body.into()).await.unwrap()
        }));
    }
    let worker = common::aside(move || {
        for _ in 0..STREAMS + WHOLE {
            let id = worker.submitted().0;
            worker.say(&Event::Delta { id, choice: 0, text: "1".to_owned(), told: Vec::new() });
        }
        worker
    })
    .await;
    program.signal(Signal::TERM);
    for stream in streams {
        let text = stream.await.unwrap();
        let last = text.trim_end().rsplit("\n\n").next().unwrap();
        assert!(last.starts_with("event: error\n") && last.contains("server_stopping"), "{text}");
    }
    for answer in whole {
        let answer = answer.await.unwrap();
        let value: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((answer.status.as_u16(), &value["error"]["code"]), (503, &json!("server_stopping")));
    }
    let outcomes = common::aside(move || keeper.join().unwrap()).await;
    assert_eq!(outcomes, [RequestOutcome::Error; STREAMS + WHOLE]);
    let (code, stderr) = program.finish();
    assert_eq!(code, Some(0), "{stderr}");
    drop(worker);
}

/// What the settings say of the keys, and what a hangup does to a gateway: nothing, because the files are the keeper's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_confined_gateway_takes_settings_from_its_keeper_and_outlives_a_hangup() {
    let mut program = Program::start("reload", "127.0.0.1:0");
    let key = program.hello();
    let settings = std::fs::read_to_string(program.directory.join("gateway.toml")).unwrap();
    let address = program.listen();
    let client = client(&address, key);
    let status = async || client.get("/v1/models", &authorization()).await.unwrap().status.as_u16();
    program.signal(Signal::HUP);
    let mut line = {
        let (_, nobody) = pair().unwrap();
        std::mem::replace(&mut program.line, Line::new(nobody))
    };
    // Its own key is gone, and then another tenant has it.
    let digest = Sha256Digest::of(KEY.as_bytes()).to_string();
    let reload = |settings: String| ToGateway::Reload { settings, files: Vec::new() };
    line.send(&reload(settings.replace(&digest, &"0".repeat(64))), &[]).unwrap();
    common::eventually("the key is revoked", async || status().await == 401).await;
    line.send(&reload("listen = 1".to_owned()), &[]).unwrap();
    line.send(&reload(settings.replace("\"acme\"", "\"bolt\"")), &[]).unwrap();
    let keeper = keep(line);
    common::eventually("the key is back", async || status().await == 200).await;
    program.signal(Signal::TERM);
    common::aside(move || keeper.join().unwrap()).await;
    let (code, stderr) = program.finish();
    assert_eq!(code, Some(0), "{stderr}");
    let lines: Vec<Value> = stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let settings: Vec<_> =
        lines.iter().filter(|line| line["message"] == "settings").map(|line| &line["outcome"]).collect();
    assert_eq!(settings, ["taken", "refused", "taken"]);
    assert!(lines.iter().any(|line| line["reason"] == "key_unknown"), "{stderr}");
    assert!(lines.iter().any(|line| line["tenant"] == "bolt"), "{stderr}");
}

/// Runs the program on these settings with this flag and variable; the exit code and both outputs.
fn look(text: &str, arguments: &[&str], variable: (&str, &str)) -> (Option<i32>, String, String) {
    let folder =
        std::env::temp_dir().join(format!("gateway-look-{}-{}", std::process::id(), arguments.join("-")));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("gateway.toml"), text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_anchorhold-gateway"))
        .args(arguments)
        .arg("--config")
        .arg(folder.join("gateway.toml"))
        .env(variable.0, variable.1)
        .output()
        .unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn settings_are_checked_and_shown_as_they_would_be_in_force() {
    let good = common::settings("models = []", "", "body_bytes = 1000");
    let variable = ("ANCHORHOLD_GATEWAY_LIMITS__DRAIN_SECONDS", "7");
    let (code, out, err) = look(&good, &["--check-config"], variable);
    assert_eq!((code, out.as_str()), (Some(0), ""), "{err}");
    let set = ["--print-config", "--set", "limits.body_bytes=2000"];
    let (code, out, err) = look(&good, &set, variable);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("body_bytes = 2000\ndrain_seconds = 7\n"), "{out}");
    assert!(!out.contains(&Sha256Digest::of(KEY.as_bytes()).to_string()), "{out}");

    let bad = good.replace("[limits]", "[limits]\nmax_in_flight = 0\nanswer_seconds = 0");
    let (code, _, err) = look(&bad, &["--check-config"], variable);
    assert_eq!(code, Some(2));
    assert!(err.contains("limits.max_in_flight:") && err.contains("limits.answer_seconds:"), "{err}");
    let (code, _, err) = look(&good, &["--check-config"], ("ANCHORHOLD_GATEWAY_LIMITS__BODY_BYTE", "7"));
    assert_eq!(code, Some(2));
    assert!(err.contains("hint: the nearest name is body_bytes"), "{err}");
    let (code, _, err) = look(&good, &["--check-config", "--set", "limits"], variable);
    assert_eq!(code, Some(2));
    assert!(err.contains("expected KEY=VALUE"), "{err}");
}

/// A certificate for a client of this name, its key, and the authority that vouches for it, PEM.
fn client_certificate(name: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>, String) {
    let (authority_key, key) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap());
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap().der().clone();
    (certificate, PrivateKeyDer::try_from(key.serialize_der()).unwrap(), pem)
}

/// The status of `GET /v1/models` of a client that shows a certificate and these header lines.
async fn status_with(
    (address, server): (&str, &CertificateDer<'static>),
    (certificate, key): (CertificateDer<'static>, PrivateKeyDer<'static>),
    lines: &str,
) -> String {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(server.clone()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(anchorhold_channel::tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate], key)
        .unwrap();
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
    let request = format!("GET /v1/models HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{lines}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_with_a_certificate_needs_no_key_and_is_its_tenant() {
    let (certificate, key, pem) = client_certificate("svc.acme.example");
    let ca = std::env::temp_dir().join(format!("gateway-ca-{}.pem", std::process::id()));
    std::fs::write(&ca, pem).unwrap();
    let more = format!(
        "[clients]\nca_file = {:?}\n[[client]]\nname = \"svc.acme.example\"\ntenant = \"acme\"\n",
        ca.display().to_string()
    );
    let mut program = Program::start_with("mutual", "127.0.0.1:0", &more);
    let pinned = program.hello();
    let own = std::fs::read(program.directory.join("gateway.pem")).unwrap();
    let server = certificates_from_pem(&own).unwrap().remove(0);
    let address = program.listen();
    let (_, nobody) = pair().unwrap();
    let keeper = keep(std::mem::replace(&mut program.line, Line::new(nobody)));
    let shown = || (certificate.clone(), key.clone_key());
    let status = async |lines: &str| status_with((&address, &server), shown(), lines).await;
    assert_eq!(status("").await, "200");
    // Who sends a credential is judged by it alone.
    assert_eq!(status("authorization: Bearer wrong\r\n").await, "401");
    assert_eq!(status(&format!("authorization: Bearer {KEY}\r\n")).await, "200");
    // Others still need a key.
    let client = client(&address, pinned);
    assert_eq!(client.get("/v1/models", &[]).await.unwrap().status, 401);
    assert_eq!(client.get("/v1/models", &authorization()).await.unwrap().status, 200);
    program.signal(Signal::TERM);
    common::aside(move || keeper.join().unwrap()).await;
    assert_eq!(program.finish().0, Some(0));
    std::fs::remove_file(ca).unwrap();
}

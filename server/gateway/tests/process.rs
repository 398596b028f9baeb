//! The program itself: started as the keeper starts it, held as in production, spoken to over TLS.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test helper that fails is a failed test")]

mod common;

use anchorhold_channel::client::{Client, Limits, Pinned};
use anchorhold_channel::tls::{certificates_from_pem, tls_key_of};
use anchorhold_ipc::{Appended, Event, FromGateway, Line, ModelKind, ToGateway, Work, pair};
use anchorhold_rats::Sha256Digest;
use common::{FakeWorker, KEY, PATIENCE, chat, info, with};
use http::{HeaderName, HeaderValue};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// A running gateway, the keeper's end of its line, and the directory that it may write to while it starts.
struct Program {
    child: Child,
    line: Line<ToGateway, FromGateway>,
    directory: PathBuf,
}

impl Program {
    /// Starts it in an empty directory, with the line as standard input.
    fn start(name: &str, listen: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("gateway-{name}-{}", std::process::id()));
        let empty = directory.join("empty");
        std::fs::create_dir_all(&empty).unwrap();
        let (config, certificate) = (directory.join("gateway.toml"), directory.join("gateway.pem"));
        let text = format!(
            "listen = \"{listen}\"\nnames = [\"localhost\", \"127.0.0.1\"]\ncertificate = \"{}\"\nmodels = [\"chat\"]\n\
             [[keys]]\ntenant = \"acme\"\nsha256 = \"{}\"\n[limits]\ndrain_seconds = 5\n",
            certificate.display(),
            Sha256Digest::of(KEY.as_bytes())
        );
        std::fs::write(&config, text).unwrap();
        let (ours, theirs) = pair().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_anchorhold-gateway"))
            .arg("--config")
            .arg(&config)
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
            .send(&ToGateway::Listen { authenticator_certificate: Vec::new(), guest: Box::default() }, &[])
            .unwrap();
        let (listening, _) = self.line.receive().unwrap();
        let FromGateway::Listening { address } = listening else { panic!("{listening:?}") };
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

//! The local endpoint.

use crate::support::{MEASUREMENT, Party, Says, Server, accepting};
use anchorhold_client::proxy::{Hosts, Limits, Proxy, serve};
use anchorhold_client::receipts::Receipts;
use anchorhold_client::{Settings, VerifiedUpstream};
use axum::body::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

struct Local {
    address: SocketAddr,
    proxy: Arc<Proxy<Party>>,
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Local {
    async fn start(server: &Server, party: &Party) -> Self {
        let upstream = VerifiedUpstream::new(server.target(), party.clone(), Settings::default(), None);
        let limits = Limits { max_body_bytes: 1000, max_connections: 4, ..Limits::default() };
        let proxy = Proxy::new(upstream, Receipts::counting(), Hosts::loopback(), limits);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (end, ended) = oneshot::channel::<()>();
        let ended = async move { drop(ended.await) };
        let task = tokio::spawn(serve(listener, Arc::clone(&proxy), ended));
        Self { address, proxy, end, task }
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    }

    async fn post(&self, body: &'static str) -> Response<Incoming> {
        self.send(self.request("/v1/chat/completions").body(Full::from(body)).unwrap()).await
    }

    fn request(&self, path: &str) -> http::request::Builder {
        let builder = Request::post(path).header("host", self.address.to_string());
        builder.header("authorization", "Bearer key").header("content-type", "application/json")
    }

    async fn status(&self) -> Value {
        let request = Request::get("/anchorhold/status").header("host", "localhost");
        json(self.send(request.body(Full::default()).unwrap()).await).await
    }

    /// What the bytes of a request of one's own are answered with, up to the end of the connection.
    async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

async fn text(response: Response<Incoming>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

async fn json(response: Response<Incoming>) -> Value {
    serde_json::from_slice(&text(response).await).unwrap()
}

#[tokio::test]
async fn bytes_go_through_unchanged_with_the_callers_own_key_and_without_fields_of_the_connection() {
    let server = Server::start(Says::default()).await;
    let local = Local::start(&server, &Party::new()).await;
    let response = local.post("question").await;
    assert_eq!(response.status(), 200);
    let headers = response.headers();
    assert!(headers.contains_key("x-anchorhold-receipt"));
    for gone in ["x-private", "access-control-allow-origin", "connection"] {
        assert!(!headers.contains_key(gone), "{gone}");
    }
    assert_eq!(text(response).await, "question");
    let heard = server.guest.heard.lock().unwrap().clone();
    assert_eq!(heard["authorization"], "Bearer key");
    assert_eq!(heard["host"], server.address.to_string());
    assert_eq!(local.status().await["requests"], 1);
}

#[tokio::test]
async fn receipts_of_whole_answers_and_of_streams_are_held_against_the_bytes() {
    let server = Server::start(Says::default()).await;
    let local = Local::start(&server, &Party::new()).await;
    for body in ["question", "a stream", "forged", "another"] {
        text(local.post(body).await).await;
    }
    let status = local.status().await;
    assert_eq!((&status["receipts"]["good"], &status["receipts"]["bad"]), (&3.into(), &1.into()), "{status}");
    assert_eq!((&status["receipts"]["missing"], &status["receipts"]["unchecked"]), (&0.into(), &0.into()));
    let health = Request::get("/healthz").header("host", "localhost").body(Full::default()).unwrap();
    assert_eq!(text(local.send(health).await).await, "ok");
    assert_eq!(local.status().await["receipts"]["missing"], 0);
}

#[tokio::test]
async fn a_stream_arrives_piece_by_piece_and_ends_well_though_the_verdict_changes_meanwhile() {
    let server = Server::start(Says::default()).await;
    let party = Party::new();
    let local = Local::start(&server, &party).await;
    let request = local.request("/stream").body(Full::default()).unwrap();
    server.guest.send("data: 1\n\n").await;
    let mut stream = local.send(request).await.into_body();
    assert_eq!(stream.frame().await.unwrap().unwrap().into_data().unwrap(), "data: 1\n\n");
    party.trusts(Err("the policy expired".to_owned()));
    party.pass(600);
    let refused = local.post("question").await;
    assert_eq!(refused.status(), 502);
    server.guest.send("data: 2\n\n").await;
    assert_eq!(stream.frame().await.unwrap().unwrap().into_data().unwrap(), "data: 2\n\n");
    server.guest.send("").await;
    assert!(stream.frame().await.is_none());
    assert_eq!(local.status().await["receipts"]["missing"], 1, "the test's stream has no receipt");
}

#[tokio::test]
async fn what_is_not_accepted_is_a_502_that_names_the_rule_and_no_text() {
    let server = Server::start(Says { measurement: crate::support::OTHER, ..Says::default() }).await;
    let local = Local::start(&server, &Party::new()).await;
    let response = local.post("a secret question").await;
    assert_eq!(response.status(), 502);
    let body = json(response).await;
    assert_eq!(body["error"]["code"], "upstream_not_attested");
    assert_eq!(body["error"]["type"], "server_error");
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.contains("snp_measurement") && !message.contains("secret"), "{message}");
    assert_eq!(server.guest.asked.load(Ordering::SeqCst), 0);
    let status = local.status().await;
    assert_eq!((&status["verdict"], &status["refused"]), (&"not_acceptable".into(), &1.into()), "{status}");
    assert_eq!(status["reason"]["code"], "snp_measurement");
    assert_eq!(status["format"], "urn:anchorhold:proxy-status:v1");
}

#[tokio::test]
async fn the_status_says_what_is_accepted() {
    let server = Server::start(Says::default()).await;
    let party = Party::new();
    let local = Local::start(&server, &party).await;
    assert_eq!(local.status().await["verdict"], "unverified");
    text(local.post("question").await).await;
    let status = local.status().await;
    assert_eq!(status["verdict"], "accepted", "{status}");
    assert_eq!(status["measurement"], MEASUREMENT.to_string());
    assert_eq!((&status["simulated"], &status["reason"]), (&true.into(), &Value::Null));
    assert_eq!(status["next_check"], "2026-06-01T00:05:00Z");
    party.trusts(Ok(accepting(crate::support::OTHER)));
    party.pass(600);
    assert_eq!(local.status().await["verdict"], "lapsed");
}

#[tokio::test]
async fn tunnels_other_hosts_and_web_pages_are_refused() {
    let server = Server::start(Says::default()).await;
    let local = Local::start(&server, &Party::new()).await;
    let end = "connection: close\r\n\r\n";
    for (request, status, code) in [
        (
            format!("CONNECT models.example:443 HTTP/1.1\r\nhost: localhost\r\n{end}"),
            405,
            "method_not_allowed",
        ),
        (
            format!("GET http://localhost/v1/models HTTP/1.1\r\nhost: localhost\r\n{end}"),
            400,
            "absolute_form_refused",
        ),
        (format!("GET /v1/models HTTP/1.1\r\nhost: evil.example\r\n{end}"), 421, "host_refused"),
        (format!("GET /anchorhold/status HTTP/1.1\r\nhost: evil.example\r\n{end}"), 421, "host_refused"),
        (
            format!("GET / HTTP/1.1\r\nhost: localhost\r\norigin: https://evil.example\r\n{end}"),
            403,
            "origin_refused",
        ),
        (
            format!("POST /anchorhold/status HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n{end}"),
            405,
            "method_not_allowed",
        ),
    ] {
        let answer = local.raw(&request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}{answer}");
        assert!(answer.contains(code), "{answer}");
    }
    assert_eq!(server.guest.signed.load(Ordering::SeqCst), 0, "none of them had anybody connect");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_declared_or_not() {
    let server = Server::start(Says::default()).await;
    let local = Local::start(&server, &Party::new()).await;
    let long = "x".repeat(1001);
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n";
    let declared = format!("{head}content-length: 1001\r\n\r\n");
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n3e9\r\n{long}\r\n0\r\n\r\n");
    for request in [declared, chunked] {
        let answer = local.raw(&request).await;
        assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("request_too_large"), "{answer}");
    }
    assert_eq!(server.guest.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn one_connection_too_many_is_closed_and_running_requests_finish_at_the_end() {
    let server = Server::start(Says::default()).await;
    let local = Local::start(&server, &Party::new()).await;
    let request = local.request("/stream").body(Full::default()).unwrap();
    server.guest.send("data: 1\n\n").await;
    let mut stream = local.send(request).await.into_body();
    stream.frame().await.unwrap().unwrap();
    let mut idle = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(local.address).await.unwrap();
        // An answer shows that the connection has its place.
        stream.write_all(b"GET /anchorhold/status HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        stream.read_u8().await.unwrap();
        idle.push(stream);
    }
    assert_eq!(local.raw("").await, "");
    drop(idle);
    let Local { end, task, proxy, .. } = local;
    end.send(()).unwrap();
    server.guest.send("data: 2\n\n").await;
    server.guest.send("").await;
    assert_eq!(stream.frame().await.unwrap().unwrap().into_data().unwrap(), "data: 2\n\n");
    assert!(stream.frame().await.is_none());
    task.await.unwrap();
    assert_eq!(proxy.status().requests, 1);
}

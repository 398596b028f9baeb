//! The accept loop against clients that behave and clients that do not.

use anchorhold_channel::client::{
    Client, Error, Limits as ClientLimits, Pinned, Target, connect_unverified_for_attestation,
};
use anchorhold_channel::server::{self, BodyError, Limits, Served, read_body};
use anchorhold_channel::tls::{SelfSigned, provider};
use anchorhold_rats::Sha256Digest;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::routing::{get, post};
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::aws_lc_rs::kx_group;
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::ServerName;
use rustls::server::Acceptor;
use rustls::{ClientConfig, HandshakeKind, NamedGroup, RootCertStore};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, TlsConnector};

struct Running {
    address: SocketAddr,
    tls_key: Sha256Digest,
    roots: RootCertStore,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Served>,
}

async fn start(router: Router, limits: Limits) -> Running {
    let own = SelfSigned::generate(&["localhost".into(), "127.0.0.1".into()]).unwrap();
    let (tls_key, mut roots) = (own.tls_key, RootCertStore::empty());
    roots.add(own.certificate.clone()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let shutdown = async { stopped.await.unwrap_or(()) };
    let tls = own.into_server_config().unwrap();
    let task = tokio::spawn(server::serve(listener, tls, router, limits, shutdown));
    Running { address, tls_key, roots, stop, task }
}

impl Running {
    fn target(&self) -> Target {
        format!("https://{}", self.address).parse().unwrap()
    }

    fn client(&self) -> Client<Pinned> {
        Client::pinned(self.target(), self.tls_key, ClientLimits::default())
    }

    /// A client of plain rustls, with the certificate as its only root.
    async fn tls(
        &self,
        alpn: &[&[u8]],
        version: &'static rustls::SupportedProtocolVersion,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let stream = TcpStream::connect(self.address).await?;
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
    }

    async fn raw_http1(&self, bytes: &[u8]) -> String {
        let mut stream = self.tls(&[b"http/1.1"], &rustls::version::TLS13).await.unwrap();
        // The peer may be done with us before all of it was sent.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn finish(self) -> Served {
        self.stop.send(()).unwrap();
        self.task.await.unwrap()
    }
}

fn hello() -> Router {
    Router::new()
        .route("/hello", get(|| async { "hello" }))
        .route(
            "/peer",
            get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.ip().to_string() }),
        )
        .route("/echo", post(|body: Bytes| async { body }))
}

fn fast() -> Limits {
    Limits {
        handshake_timeout: Duration::from_millis(200),
        header_timeout: Duration::from_millis(200),
        ..Limits::default()
    }
}

#[tokio::test]
async fn serves_a_pinned_client_and_tells_the_handler_the_peer() {
    let running = start(hello(), Limits::default()).await;
    let answer = running.client().get("/hello", &[]).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.body.as_ref()), (200, b"hello".as_slice()));
    let mut connection = running.client().connect().await.unwrap();
    assert_eq!(connection.get("/peer", &[]).await.unwrap().body, "127.0.0.1");
    let echo = connection.post_json("/echo", &[], Bytes::from_static(b"{}")).await.unwrap();
    assert_eq!(echo.body, "{}");
    drop(connection);
    assert_eq!(running.finish().await, Served { connections: 2, over_limit: 0, cut_off: 0 });
}

#[tokio::test]
async fn a_pinned_client_refuses_another_key() {
    let running = start(hello(), Limits::default()).await;
    let wanted = Sha256Digest::new([7; 32]);
    let client = Client::<Pinned>::pinned(running.target(), wanted, ClientLimits::default());
    let error = client.get("/hello", &[]).await.unwrap_err();
    assert!(
        matches!(error, Error::OtherKey { wanted: w, observed } if w == wanted && observed == running.tls_key),
        "{error}"
    );
}

/// Presents a certificate with another key than its own.
#[derive(Debug)]
struct Impostor(Arc<rustls::sign::CertifiedKey>);

impl rustls::server::ResolvesServerCert for Impostor {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

#[tokio::test]
async fn a_pinned_client_refuses_a_certificate_whose_key_the_peer_does_not_hold() {
    let genuine = SelfSigned::generate(&["localhost".into()]).unwrap();
    let impostor = SelfSigned::generate(&["localhost".into()]).unwrap();
    let tls_key = genuine.tls_key;
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&impostor.key).unwrap();
    let certified = rustls::sign::CertifiedKey::new(vec![genuine.certificate], key);
    let config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Impostor(Arc::new(certified))));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target: Target = format!("https://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(server::serve(
        listener,
        Arc::new(config),
        hello(),
        Limits::default(),
        std::future::pending(),
    ));
    let client = Client::<Pinned>::pinned(target.clone(), tls_key, ClientLimits::default());
    assert!(matches!(client.connect().await.err().unwrap(), Error::Connect { .. }));
    // Not even for the document.
    let unverified = connect_unverified_for_attestation(&target, &ClientLimits::default()).await;
    assert!(matches!(unverified.err().unwrap(), Error::Connect { .. }));
}

#[tokio::test]
async fn many_streams_run_on_one_http2_connection() {
    let running = start(hello(), Limits::default()).await;
    let stream = running.tls(&[b"h2"], &rustls::version::TLS13).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let group = stream.get_ref().1.negotiated_key_exchange_group().unwrap();
    assert_eq!(group.name(), rustls::NamedGroup::X25519MLKEM768);
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let requests = (0..20).map(|_| {
        let mut sender = sender.clone();
        let request = http::Request::get("https://localhost/hello").body(Empty::<Bytes>::new()).unwrap();
        async move { sender.send_request(request).await.unwrap().status() }
    });
    for answer in requests.map(tokio::spawn).collect::<Vec<_>>() {
        assert_eq!(answer.await.unwrap(), 200);
    }
}

#[tokio::test]
async fn refuses_tls_1_2_and_plain_http() {
    let running = start(hello(), Limits::default()).await;
    assert!(running.tls(&[], &rustls::version::TLS12).await.is_err());
    let mut plain = TcpStream::connect(running.address).await.unwrap();
    plain.write_all(b"GET /hello HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!String::from_utf8_lossy(&answer).contains("hello"));
    // The listener is unharmed.
    assert_eq!(running.client().get("/hello", &[]).await.unwrap().status, 200);
}

#[tokio::test]
async fn closes_connections_over_the_limit() {
    let running = start(hello(), Limits { max_connections: 1, ..Limits::default() }).await;
    let first = running.client().connect().await.unwrap();
    assert!(matches!(running.client().connect().await, Err(Error::Connect { .. })));
    drop(first);
    assert_eq!(running.finish().await, Served { connections: 1, over_limit: 1, cut_off: 0 });
}

#[tokio::test]
async fn case_42_cuts_off_a_peer_that_sends_nothing_or_half_a_head() {
    let running = start(hello(), fast()).await;
    let mut silent = TcpStream::connect(running.address).await.unwrap();
    assert_eq!(silent.read(&mut [0; 8]).await.unwrap(), 0, "no handshake");
    for alpn in [b"http/1.1".as_slice(), b"h2"] {
        let mut idle = running.tls(&[alpn], &rustls::version::TLS13).await.unwrap();
        let mut sink = Vec::new();
        let _ = idle.read_to_end(&mut sink).await;
    }
    let answer = running.raw_http1(b"GET /hello HTTP/1.1\r\nhost: local").await;
    assert!(!answer.contains("200"), "{answer}");
    let mut half = running.tls(&[b"h2"], &rustls::version::TLS13).await.unwrap();
    half.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut sink = Vec::new();
    let _ = half.read_to_end(&mut sink).await;
}

#[tokio::test]
async fn case_42_refuses_oversized_heads_and_conflicting_lengths() {
    let running = start(hello(), Limits { max_headers: 20, ..Limits::default() }).await;
    let many = format!("GET /hello HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(30));
    assert!(running.raw_http1(many.as_bytes()).await.starts_with("HTTP/1.1 431"));
    let long = format!("GET /hello HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(64 * 1024));
    assert!(running.raw_http1(long.as_bytes()).await.starts_with("HTTP/1.1 431"));
    let lengths = b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab";
    assert!(running.raw_http1(lengths).await.starts_with("HTTP/1.1 400"));
    // Chunked coding wins over a length (RFC 9112, section 6.3), and the connection is closed, so that nothing can hide
    // behind the difference.
    let both = b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n\
        0\r\n\r\nGET /hello HTTP/1.1\r\nhost: a\r\n\r\n";
    let answer = running.raw_http1(both).await;
    assert!(answer.contains("connection: close") && !answer.contains("hello"), "{answer}");
    assert_eq!(running.client().get("/hello", &[]).await.unwrap().status, 200);
}

/// An HTTP/2 frame (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
/// `GET https://a/` in HPACK (RFC 7541): three static entries and a literal authority.
const GET: &[u8] = &[0x82, 0x87, 0x84, 0x41, 0x01, b'a'];

impl Running {
    /// Sends the preface and `frames`, and gives back the kinds of the frames that came until the end, with the error
    /// code of a GOAWAY.
    async fn raw_http2(&self, frames: impl Iterator<Item = Vec<u8>>) -> (Vec<u8>, Option<u8>) {
        let mut stream = self.tls(&[b"h2"], &rustls::version::TLS13).await.unwrap();
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        let all =
            [preface, frame(SETTINGS, 0, 0, &[])].into_iter().chain(frames).flatten().collect::<Vec<_>>();
        let _ = stream.write_all(&all).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let (mut kinds, mut code, mut rest) = (Vec::new(), None, answer.as_slice());
        while let [_, high, low, kind, ..] = *rest {
            let end = 9 + (usize::from(high) << 8 | usize::from(low));
            kinds.push(kind);
            if kind == GOAWAY {
                code = rest.get(16).copied();
            }
            rest = rest.get(end..).unwrap_or_default();
        }
        (kinds, code)
    }
}

/// ENHANCE_YOUR_CALM (RFC 9113, section 7).
const CALM: Option<u8> = Some(0x0b);

#[tokio::test]
async fn case_42_cuts_off_rapid_reset_and_a_continuation_flood() {
    let running = start(hello(), Limits::default()).await;
    let cancel = 8_u32.to_be_bytes();
    let resets = (0..2_000_u32).map(|n| {
        let stream = 2 * n + 1;
        [frame(HEADERS, 0x5, stream, GET), frame(RST_STREAM, 0, stream, &cancel)].concat()
    });
    let (kinds, code) = running.raw_http2(resets).await;
    assert!(kinds.contains(&GOAWAY) && code == CALM, "{kinds:?} {code:?}");
    // 16 KiB of a header that never ends, over and over.
    let piece = [&[0x40, 0x01, b'x', 0x7f, 0x80, 0x7f][..], &[b'y'; 16_000]].concat();
    let flood =
        [frame(HEADERS, 0x1, 1, GET)].into_iter().chain((0..200).map(|_| frame(CONTINUATION, 0, 1, &piece)));
    let (kinds, _) = running.raw_http2(flood).await;
    assert!(!kinds.contains(&HEADERS), "{kinds:?}");
    assert_eq!(running.client().get("/hello", &[]).await.unwrap().status, 200);
}

#[tokio::test]
async fn case_42_refuses_an_oversized_http2_header_list() {
    let running = start(hello(), Limits { max_header_bytes: 16 * 1024, ..Limits::default() }).await;
    let stream = running.tls(&[b"h2"], &rustls::version::TLS13).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = http::Request::get("https://localhost/hello").body(Empty::<Bytes>::new()).unwrap();
    for index in 0..40_u32 {
        let name = http::HeaderName::from_bytes(format!("x-{index}").as_bytes()).unwrap();
        request.headers_mut().insert(name, "y".repeat(1000).parse().unwrap());
    }
    assert!(!sender.send_request(request).await.is_ok_and(|answer| answer.status() == 200));
}

#[tokio::test]
async fn case_42_ten_megabytes_of_a_head_are_not_read() {
    let running = start(hello(), Limits::default()).await;
    let long = "y".repeat(10 * 1024 * 1024);
    let answer =
        running.raw_http1(format!("GET /hello HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n").as_bytes()).await;
    // The answer may be lost when the connection is closed before all of it was sent.
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer:.100}");
    let target = running.raw_http1(format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await;
    assert!(!target.contains("200 OK"), "{target:.100}");
    assert_eq!(running.client().get("/hello", &[]).await.unwrap().status, 200);
}

#[tokio::test]
async fn case_42_the_form_of_the_target_and_the_host_change_no_path() {
    let running = start(hello(), Limits::default()).await;
    for (line, host, wanted) in [
        ("GET /hello", "evil.example", "200"),
        ("GET http://evil.example/hello", "a", "200"),
        ("GET //hello", "a", "404"),
        ("GET /./hello", "a", "404"),
        ("GET /x/../hello", "a", "404"),
        ("GET hello", "a", "404"),
        ("GET /hello", "a b\u{7f}", "400"),
    ] {
        let request = format!("{line} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let answer = running.raw_http1(request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {wanted}")), "{line} {host}: {answer}");
    }
}

/// Answers with the length of the body, or 408 when it did not come in time.
fn timed() -> Router {
    let handler = |body: Body| async {
        match read_body(body, 1000, Duration::from_millis(200)).await {
            Ok(body) => (http::StatusCode::OK, body.len().to_string()),
            Err(BodyError::TooSlow { .. }) => (http::StatusCode::REQUEST_TIMEOUT, String::new()),
            Err(_) => (http::StatusCode::BAD_REQUEST, String::new()),
        }
    };
    hello().route("/timed", post(handler))
}

#[tokio::test]
async fn case_42_a_slow_body_is_not_waited_for() {
    let running = start(timed(), Limits::default()).await;
    let half = b"POST /timed HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc";
    assert!(running.raw_http1(half).await.starts_with("HTTP/1.1 408"));
}

const DATA: u8 = 0;

#[tokio::test]
async fn case_42_empty_data_frames_keep_no_request_open() {
    let running = start(timed(), Limits::default()).await;
    // `POST https://a/timed`: the path is a literal.
    let head = [&[0x83, 0x87, 0x04, 0x06][..], b"/timed", &[0x41, 0x01, b'a']].concat();
    let empty = (0..20_000).map(|_| frame(DATA, 0, 1, &[]));
    let goodbye = [0, 0, 0, 0, 0, 0, 0, 0];
    let frames = std::iter::once(frame(HEADERS, 0x4, 1, &head)).chain(empty);
    let (kinds, _) = running.raw_http2(frames.chain([frame(GOAWAY, 0, 0, &goodbye)])).await;
    // It is answered (408) or the connection ended (the peer floods); it is not left open.
    assert!(kinds.contains(&HEADERS) || kinds.contains(&GOAWAY), "{kinds:?}");
    assert_eq!(running.client().get("/hello", &[]).await.unwrap().status, 200);
}

/// A handler that says when it began and answers once it is let go.
fn gate(begun: &Arc<Notify>, go: &Arc<Notify>) -> Router {
    let (begun, go) = (Arc::clone(begun), Arc::clone(go));
    let handler = move || {
        let (begun, go) = (Arc::clone(&begun), Arc::clone(&go));
        async move {
            begun.notify_one();
            go.notified().await;
            "late"
        }
    };
    Router::new().route("/late", get(handler))
}

#[tokio::test]
async fn a_running_request_is_finished_and_new_connections_are_refused_while_draining() {
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let running = start(gate(&begun, &go), Limits::default()).await;
    let client = running.client();
    let late = tokio::spawn(async move { client.get("/late", &[]).await });
    begun.notified().await;
    let newcomer = running.client();
    let address = running.address;
    running.stop.send(()).unwrap();
    // The listener is closed once the port can be bound again.
    while TcpListener::bind(address).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert!(newcomer.connect().await.is_err());
    go.notify_one();
    assert_eq!(late.await.unwrap().unwrap().body, "late");
    assert_eq!(running.task.await.unwrap().cut_off, 0);
}

#[tokio::test]
async fn what_is_still_running_after_the_drain_time_is_cut_off() {
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let limits = Limits { drain: Duration::from_millis(50), ..Limits::default() };
    let running = start(gate(&begun, &go), limits).await;
    let client = running.client();
    let late = tokio::spawn(async move { client.get("/late", &[]).await });
    begun.notified().await;
    assert_eq!(running.finish().await.cut_off, 1);
    assert!(late.await.unwrap().is_err());
}

#[tokio::test]
async fn a_body_is_bounded_in_length_and_time() {
    let second = Duration::from_secs(1);
    assert_eq!(read_body(Body::from("abcd"), 4, second).await.unwrap(), "abcd");
    assert_eq!(read_body(Body::from("abcde"), 4, second).await, Err(BodyError::TooLong { max_bytes: 4 }));
    let undeclared = Body::new(http_body_util::StreamBody::new(stream_of(&["abc", "de"])));
    assert_eq!(read_body(undeclared, 4, second).await, Err(BodyError::TooLong { max_bytes: 4 }));
    let within = Duration::from_millis(10);
    let endless = Body::new(http_body_util::StreamBody::new(Never));
    assert_eq!(read_body(endless, 4, within).await, Err(BodyError::TooSlow { within }));
}

type Frame = Result<hyper::body::Frame<Bytes>, std::io::Error>;

fn stream_of(pieces: &[&'static str]) -> impl futures_util::Stream<Item = Frame> + Send + 'static {
    let frames: Vec<Frame> =
        pieces.iter().map(|piece| Ok(hyper::body::Frame::data(Bytes::from(*piece)))).collect();
    futures_util::stream::iter(frames)
}

struct Never;

impl futures_util::Stream for Never {
    type Item = Frame;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Frame>> {
        std::task::Poll::Pending
    }
}

/// Refuses without a look at the body, as a gateway does that does not know the key.
fn refusing() -> Router {
    Router::new().route("/refused", post(|| async { http::StatusCode::UNAUTHORIZED })).merge(hello())
}

/// The head of the next answer on this connection; empty when it has ended.
async fn head(stream: &mut TlsStream<TcpStream>) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn a_connection_goes_on_after_a_refusal_that_did_not_wait_for_the_body() {
    let running = start(refusing(), Limits::default()).await;
    let mut stream = running.tls(&[b"http/1.1"], &rustls::version::TLS13).await.unwrap();
    for _ in 0..3 {
        stream
            .write_all(b"POST /refused HTTP/1.1\r\nhost: localhost\r\ncontent-length: 20000\r\n\r\n")
            .await
            .unwrap();
        // The refusal is there before a byte of the body has left.
        let refused = head(&mut stream).await;
        assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
        assert!(!refused.contains("connection: close"), "{refused}");
        stream.write_all(&[b'a'; 20_000]).await.unwrap();
    }
    stream.write_all(b"GET /peer HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_refusal_of_a_long_body_or_of_one_that_waits_to_be_asked_for_says_that_the_connection_ends() {
    let running = start(refusing(), Limits::default()).await;
    for framing in ["content-length: 90000000", "content-length: 2\r\nexpect: 100-continue"] {
        let request = format!("POST /refused HTTP/1.1\r\nhost: localhost\r\n{framing}\r\n\r\n");
        let answer = running.raw_http1(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
    // What is read to its end ends nothing.
    let request = format!(
        "POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 300000\r\n\r\n{}GET /hello HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
        "a".repeat(300_000)
    );
    let answer = running.raw_http1(request.as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 2);
}

#[tokio::test]
async fn who_is_refused_while_a_long_body_is_on_its_way_can_send_it_and_read_the_refusal() {
    const LEN: usize = 20 << 20;
    let running = start(refusing(), Limits::default()).await;
    let mut stream = running.tls(&[b"http/1.1"], &rustls::version::TLS13).await.unwrap();
    let request = format!("POST /refused HTTP/1.1\r\nhost: localhost\r\ncontent-length: {LEN}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    // As clients do that look at no answer before they have sent everything.
    stream.write_all(&vec![b'a'; LEN]).await.unwrap();
    let answer = head(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("connection: close"), "{answer}");
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "and then it ends");
}

#[tokio::test]
async fn an_unread_body_that_does_not_end_is_given_up() {
    let running = start(refusing(), Limits::default()).await;
    let mut request =
        b"POST /refused HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..40 {
        request.extend(b"4000\r\n");
        request.extend([b'a'; 0x4000]);
        request.extend(b"\r\n");
    }
    let answer = running.raw_http1(&request).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1").count(), 1);
}

/// The groups of a client in its own order, and what it agrees on with our server.
async fn agreed(groups: Vec<&'static dyn SupportedKxGroup>) -> (NamedGroup, HandshakeKind) {
    let running = start(hello(), Limits::default()).await;
    let provider = CryptoProvider { kx_groups: groups, ..(*provider()).clone() };
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(running.roots.clone())
        .with_no_client_auth();
    let stream = TcpStream::connect(running.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let tls = stream.get_ref().1;
    (tls.negotiated_key_exchange_group().unwrap().name(), tls.handshake_kind().unwrap())
}

#[tokio::test]
async fn our_clients_offer_the_hybrid_group_first_and_get_it_in_one_round_trip() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target: Target = format!("https://{}", listener.local_addr().unwrap()).parse().unwrap();
    let client = tokio::spawn(async move {
        connect_unverified_for_attestation(&target, &ClientLimits::default()).await.map(|_| ())
    });
    let (stream, _) = listener.accept().await.unwrap();
    let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await.unwrap();
    let offered = hello.client_hello().named_groups().unwrap().to_vec();
    client.abort();
    assert_eq!(offered.first(), Some(&NamedGroup::X25519MLKEM768), "{offered:?}");
    let own = provider().kx_groups.clone();
    assert_eq!(agreed(own).await, (NamedGroup::X25519MLKEM768, HandshakeKind::Full));
}

/// RFC 8446, section 4.2.7: the list is in the client's order of preference, and rustls follows it; it has no order of the server's.
#[tokio::test]
async fn a_client_that_prefers_another_group_gets_that_one_and_one_that_needs_the_hybrid_gets_it() {
    let hybrid = kx_group::X25519MLKEM768;
    assert_eq!(agreed(vec![kx_group::X25519, hybrid]).await, (NamedGroup::X25519, HandshakeKind::Full));
    // Its first choice, for which alone it sends a share, is none of ours.
    let retried = (NamedGroup::X25519MLKEM768, HandshakeKind::FullWithHelloRetryRequest);
    assert_eq!(agreed(vec![kx_group::MLKEM1024, hybrid]).await, retried);
}

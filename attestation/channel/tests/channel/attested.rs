//! Clients against a server that attests itself, and against one that only pretends.

use crate::support::{Guest, NONCE, anchors, at, policy};
use anchorhold_channel::authenticator::{self, Exporters, Unsigned};
use anchorhold_channel::client::{
    Attested, Client, Error, Limits as ClientLimits, Pinned, Target, connect_unverified_for_attestation,
};
use anchorhold_channel::document::{self, Presented, nonce_of_query};
use anchorhold_channel::server::{self, Limits};
use anchorhold_channel::tls::SelfSigned;
use anchorhold_channel::{AttestError, AttestedServer, verify_document};
use anchorhold_rats::{Endorsements, Sha256Digest};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, RawQuery};
use axum::http::{StatusCode, header};
use axum::routing::{get, post};
use rustls::ServerConfig;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

async fn listen(router: Router, own: SelfSigned) -> Target {
    listen_with(router, own.into_server_config().unwrap()).await
}

async fn listen_with(router: Router, tls: Arc<ServerConfig>) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    tokio::spawn(server::serve(listener, tls, router, Limits::default(), std::future::pending()));
    format!("https://{address}").parse().unwrap()
}

fn own() -> SelfSigned {
    SelfSigned::generate(&["localhost".into()]).unwrap()
}

/// A guest that attests its TLS key and has the routes of `more`.
async fn genuine(more: Router) -> (Target, Sha256Digest) {
    let own = own();
    let tls_key = own.tls_key;
    (genuine_with(tls_key, own.into_server_config().unwrap(), more).await, tls_key)
}

async fn genuine_with(tls_key: Sha256Digest, tls: Arc<ServerConfig>, more: Router) -> Target {
    let guest = Arc::new(Guest::new(tls_key));
    let signer = Arc::clone(&guest);
    let handler = move |RawQuery(query): RawQuery| async move {
        let nonce = nonce_of_query(query.as_deref()).ok_or(StatusCode::BAD_REQUEST)?;
        Ok::<_, StatusCode>(guest.document(nonce))
    };
    let router = more
        .route(document::PATH, get(handler))
        .route(authenticator::PATH, post(move |exporters, body| answer(signer, exporters, body)));
    listen_with(router, tls).await
}

/// What a gateway does with a request for an authenticator.
async fn answer(
    guest: Arc<Guest>,
    Extension(exporters): Extension<Arc<Exporters>>,
    body: Bytes,
) -> Result<Vec<u8>, StatusCode> {
    let request = authenticator::Request::parse(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
    let unsigned = Unsigned::new(&exporters, &request, guest.authenticator_key.certificate());
    let signature = guest.authenticator_key.sign(&unsigned.transcript_hash()).unwrap();
    Ok(unsigned.finish(&signature))
}

/// A server that passes on the genuine document and the genuine authenticators.
async fn relay(to: Target, tls: Arc<ServerConfig>) -> Target {
    let authenticated = {
        let to = to.clone();
        move |body: Bytes| async move { passed_on(&to, body).await }
    };
    let handler = move |RawQuery(query): RawQuery| async move {
        let nonce = nonce_of_query(query.as_deref()).unwrap();
        let mut upstream = connect_unverified_for_attestation(&to, &ClientLimits::default()).await.unwrap();
        upstream.fetch_document(&nonce).await.unwrap()
    };
    let stolen = post(|| async { "the relay has read the prompt" });
    let router = Router::new()
        .route(document::PATH, get(handler))
        .route(authenticator::PATH, post(authenticated))
        .route("/v1/chat/completions", stolen);
    listen_with(router, tls).await
}

/// The guest's answer to a client's request for an authenticator, which the relay sends on over its own connection.
async fn passed_on(to: &Target, request: Bytes) -> Bytes {
    let upstream = connect_unverified_for_attestation(to, &ClientLimits::default()).await.unwrap();
    let pinned = Client::<Pinned>::pinned(to.clone(), upstream.tls_key(), ClientLimits::default());
    let answer = pinned.post_json(authenticator::PATH, &[], request).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "the guest answers the relay as it answers anybody");
    answer.body
}

/// The attack of CVE-2026-33697: the relay has stolen the TLS key, and plays the handshake itself while the guest provides
/// the evidence.
#[tokio::test]
async fn case_04_evidence_and_handshake_alone_do_not_stop_a_relay_with_the_stolen_tls_key_and_an_authenticator_does()
 {
    let own = own();
    let tls_key = own.tls_key;
    let tls = own.into_server_config().unwrap();
    let target = genuine_with(tls_key, Arc::clone(&tls), Router::new()).await;
    let relay = relay(target, tls).await;
    let mut connection = connect_unverified_for_attestation(&relay, &ClientLimits::default()).await.unwrap();
    let bytes = connection.fetch_document(&NONCE).await.unwrap();
    let presented = Presented { document: &bytes, nonce: NONCE, tls_key: connection.tls_key() };
    let server = verify_document(&presented, &Endorsements::default(), &anchors(), &policy(), at()).unwrap();
    let error = connection.authenticate(&server).await.err().unwrap();
    assert!(matches!(error, Error::Authenticator(authenticator::Error::OtherConnection)), "{error}");
    let client = Client::attested(relay, &server, at(), ClientLimits::default()).unwrap();
    let error = client.post_json("/v1/chat/completions", &[], Bytes::new()).await.unwrap_err();
    assert!(matches!(error, Error::Authenticator(authenticator::Error::OtherConnection)), "{error}");
}

async fn attest(
    target: &Target,
) -> Result<(anchorhold_channel::client::Connection<Attested>, AttestedServer), AttestError> {
    let connection = connect_unverified_for_attestation(target, &ClientLimits::default()).await.unwrap();
    connection.attest(NONCE, &Endorsements::default(), &anchors(), &policy(), at()).await
}

#[tokio::test]
async fn an_attested_connection_carries_requests_and_so_do_later_ones_to_the_same_key() {
    let echo = Router::new().route("/v1/chat/completions", post(|body: Bytes| async { body }));
    let (target, tls_key) = genuine(echo).await;
    let (mut connection, server) = attest(&target).await.unwrap();
    assert_eq!((connection.tls_key(), server.keys().tls_key), (tls_key, tls_key));
    let prompt = Bytes::from_static(b"{\"a\":1}");
    let answer = connection.post_json("/v1/chat/completions", &[], prompt.clone()).await.unwrap();
    assert_eq!((answer.status, answer.body), (StatusCode::OK, prompt.clone()));
    let client = Client::attested(target, &server, at(), ClientLimits::default()).unwrap();
    assert_eq!(client.post_json("/v1/chat/completions", &[], prompt.clone()).await.unwrap().body, prompt);
}

#[tokio::test]
async fn case_04_refuses_a_relay_before_any_request() {
    let (target, _) = genuine(Router::new()).await;
    let relay = relay(target, own().into_server_config().unwrap()).await;
    let Err(AttestError::Refused(refusal)) = attest(&relay).await else { panic!("relay was accepted") };
    assert_eq!(refusal.code(), "tls_key_bound");
}

#[tokio::test]
async fn case_04_the_attestation_of_one_server_opens_no_connection_to_another() {
    let (target, tls_key) = genuine(Router::new()).await;
    let relay = relay(target.clone(), own().into_server_config().unwrap()).await;
    let (_, server) = attest(&target).await.unwrap();
    let to_relay = connect_unverified_for_attestation(&relay, &ClientLimits::default()).await.unwrap();
    let observed = to_relay.tls_key();
    let error = to_relay.authenticate(&server).await.err().unwrap();
    assert!(matches!(error, Error::OtherKey { wanted, observed: o } if wanted == tls_key && o == observed));
    let client = Client::attested(relay, &server, at(), ClientLimits::default()).unwrap();
    let error = client.post_json("/v1/chat/completions", &[], Bytes::new()).await.unwrap_err();
    assert!(matches!(error, Error::OtherKey { wanted, .. } if wanted == tls_key), "{error}");
}

#[tokio::test]
async fn refuses_an_attestation_that_has_expired() {
    let (target, _) = genuine(Router::new()).await;
    let (_, server) = attest(&target).await.unwrap();
    let limits = ClientLimits::default;
    let last = server.expires().plus_seconds(-1);
    assert!(Client::attested(target.clone(), &server, last, limits()).is_ok());
    let error = Client::attested(target, &server, server.expires(), limits()).err().unwrap();
    assert!(matches!(error, Error::Expired { expired } if expired == server.expires()));
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let away = || async { (StatusCode::FOUND, [(header::LOCATION, "https://169.254.169.254/")]) };
    let own = own();
    let tls_key = own.tls_key;
    let router = Router::new().route(document::PATH, get(away)).route("/moved", get(away));
    let target = listen(router, own).await;
    assert!(matches!(attest(&target).await, Err(AttestError::Client(Error::Status { observed: 302, .. }))));
    let client = Client::<Pinned>::pinned(target, tls_key, ClientLimits::default());
    assert_eq!(client.get("/moved", &[]).await.unwrap().status, StatusCode::FOUND);
}

#[tokio::test]
async fn a_document_over_the_limit_is_not_read() {
    let long = || async { vec![b' '; document::MAX_DOCUMENT_BYTES + 1] };
    let target = listen(Router::new().route(document::PATH, get(long)), own()).await;
    let max_bytes = document::MAX_DOCUMENT_BYTES;
    assert!(
        matches!(attest(&target).await, Err(AttestError::Client(Error::TooLong { max_bytes: m })) if m == max_bytes)
    );
}

/// A route whose answer is what is sent through the channel, piece by piece.
fn streamed() -> (Router, mpsc::Sender<Bytes>) {
    let (pieces, source) = mpsc::channel::<Bytes>(4);
    let source = Arc::new(std::sync::Mutex::new(Some(source)));
    let handler = move || {
        let source = source.lock().unwrap().take().unwrap();
        let pieces = futures_util::stream::unfold(source, |mut source| async {
            let piece = source.recv().await?;
            Some((Ok::<_, std::convert::Infallible>(piece), source))
        });
        async { Body::from_stream(pieces) }
    };
    (Router::new().route("/stream", post(handler)), pieces)
}

#[tokio::test]
async fn a_stream_arrives_piece_by_piece() {
    let (router, pieces) = streamed();
    let (target, _) = genuine(router).await;
    let (mut connection, _) = attest(&target).await.unwrap();
    pieces.send(Bytes::from_static(b"data: 1\n\n")).await.unwrap();
    let mut stream = connection.post_json_streaming("/stream", &[], Bytes::new()).await.unwrap();
    assert_eq!(stream.next_piece().await.unwrap().unwrap(), "data: 1\n\n");
    pieces.send(Bytes::from_static(b"data: 2\n\n")).await.unwrap();
    assert_eq!(stream.next_piece().await.unwrap().unwrap(), "data: 2\n\n");
    drop(pieces);
    assert_eq!(stream.next_piece().await.unwrap(), None);
}

#[tokio::test]
async fn a_stalled_stream_and_a_stalled_answer_end_in_time() {
    let (router, pieces) = streamed();
    let own = own();
    let tls_key = own.tls_key;
    let stalled = get(|| async {
        std::future::pending::<()>().await;
        ""
    });
    let target = listen(router.route("/stalled", stalled), own).await;
    let brief = Duration::from_millis(50);
    let limits = ClientLimits { request_timeout: brief, idle_timeout: brief, ..ClientLimits::default() };
    let client = Client::<Pinned>::pinned(target.clone(), tls_key, limits);
    let error = client.get("/stalled", &[]).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { what: "answer", .. }), "{error}");
    let patient = ClientLimits { idle_timeout: brief, ..ClientLimits::default() };
    let mut connection = Client::<Pinned>::pinned(target, tls_key, patient).connect().await.unwrap();
    let mut stream = connection.post_json_streaming("/stream", &[], Bytes::new()).await.unwrap();
    let error = stream.next_piece().await.unwrap_err();
    assert!(matches!(error, Error::Timeout { what: "piece of the answer", .. }), "{error}");
    drop(pieces);
}

#[tokio::test]
async fn an_answer_over_the_limit_is_refused_and_so_is_a_request_to_another_host() {
    let own = own();
    let tls_key = own.tls_key;
    let target = listen(Router::new().route("/long", get(|| async { vec![b'x'; 2000] })), own).await;
    let limits = ClientLimits { max_body_bytes: 1999, ..ClientLimits::default() };
    let client = Client::<Pinned>::pinned(target, tls_key, limits);
    assert!(matches!(client.get("/long", &[]).await, Err(Error::TooLong { max_bytes: 1999 })));
    for path in ["https://other.example/", "other", "", "/a b"] {
        assert!(matches!(client.get(path, &[]).await, Err(Error::Request)), "{path}");
    }
}

//! The transport against servers that misbehave, over real sockets on the loopback.

use crate::service::{Reply, Service, reply};
use crate::simulated::{CRL_PATH, Snp, at, store};
use anchorhold_endorsements::{
    Answer, BaseUrl, Cause, Config, EndorsementStore, Error, HttpsTransport, Limits, Request, Retry,
    Transport, TransportError,
};
use bytes::Bytes;
use http::{Method, Uri};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{RootCertStore, ServerConfig};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

const MAX_BYTES: usize = 10_000;

async fn get(url: &str) -> Result<Answer, TransportError> {
    send(&HttpsTransport::new().unwrap(), url).await
}

async fn send(transport: &HttpsTransport, url: &str) -> Result<Answer, TransportError> {
    let url: Uri = url.parse().unwrap();
    let request =
        Request { method: Method::GET, url, headers: Vec::new(), body: Bytes::new(), max_bytes: MAX_BYTES };
    transport.send(&request).await
}

async fn serving(answer: Reply) -> Service {
    let service = Service::start(None).await;
    service.set("/x", [answer]);
    service
}

async fn refused(answer: Reply) -> TransportError {
    let service = serving(answer).await;
    let outcome = get(&format!("{}/x", service.url())).await;
    outcome.map(|answer| answer.status).unwrap_err()
}

#[tokio::test]
async fn reads_a_whole_answer() {
    let service = serving(reply(404, &[("x-a", "b")], &[7; MAX_BYTES])).await;
    let answer = get(&format!("{}/x", service.url())).await.unwrap();
    assert_eq!((answer.status, answer.body.as_ref()), (404, &[7; MAX_BYTES][..]));
    assert_eq!(answer.headers["x-a"], "b");
    let seen = service.seen();
    assert_eq!(seen[0].line, "GET /x HTTP/1.1");
    assert!(seen[0].head.contains(&format!("host: 127.0.0.1:{}", service.port())));
}

#[tokio::test]
async fn refuses_a_long_answer_by_its_stated_length() {
    let long = refused(reply(200, &[], &[7; MAX_BYTES + 1])).await;
    assert_eq!(long, TransportError::TooLong { max_bytes: MAX_BYTES });
    // The head is enough.
    let head = format!("HTTP/1.1 200 X\r\ncontent-length: {}\r\n\r\n", MAX_BYTES + 1);
    assert_eq!(
        refused(Reply::Bytes(head.into_bytes())).await,
        TransportError::TooLong { max_bytes: MAX_BYTES }
    );
}

#[tokio::test]
async fn stops_reading_an_endless_answer_at_the_limit() {
    let head = b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let piece = [b"1000\r\n".as_slice(), &[7; 0x1000], b"\r\n"].concat();
    let service = serving(Reply::Endless(head, piece)).await;
    let error = get(&format!("{}/x", service.url())).await.unwrap_err();
    assert_eq!(error, TransportError::TooLong { max_bytes: MAX_BYTES });
    // What the sockets hold is all that can have been sent beyond the limit.
    assert!(service.sent() < 16 * 1024 * 1024, "{}", service.sent());
}

#[tokio::test]
async fn refuses_a_cut_answer() {
    let cut = b"HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\nabc".to_vec();
    assert!(matches!(refused(Reply::Bytes(cut)).await, TransportError::Broken(_)));
    let cut = b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc".to_vec();
    assert!(matches!(refused(Reply::Bytes(cut)).await, TransportError::Broken(_)));
    assert!(matches!(refused(Reply::Bytes(Vec::new())).await, TransportError::Broken(_)));
}

#[tokio::test]
async fn refuses_what_is_not_http_and_heads_over_the_limit() {
    assert!(matches!(refused(Reply::Bytes(b"SSH-2.0-x\r\n".to_vec())).await, TransportError::Broken(_)));
    let wide = "a".repeat(100_000);
    assert!(matches!(refused(reply(200, &[("x-a", &wide)], b"")).await, TransportError::Broken(_)));
    let many: Vec<_> = (0..100).map(|_| ("x-a", "b")).collect();
    assert!(matches!(refused(reply(200, &many, b"")).await, TransportError::Broken(_)));
}

#[tokio::test]
async fn errors_do_not_repeat_what_the_server_sent() {
    let error = refused(Reply::Bytes(b"HTTP/1.1 200 X\r\nforged\x01line: a\r\n\r\n".to_vec())).await;
    assert!(!error.to_string().contains("forged"), "{error}");
}

#[tokio::test]
async fn a_closed_port_is_no_connection() {
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let error = get(&format!("http://127.0.0.1:{port}/x")).await.unwrap_err();
    assert_eq!(error, TransportError::Connect("connection refused".into()));
}

fn own_authority(name: &str) -> (ServerConfig, RootCertStore) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
    let der: CertificateDer<'static> = certificate.der().clone();
    let mut roots = RootCertStore::empty();
    roots.add(der.clone()).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![der], key)
        .unwrap();
    (config, roots)
}

#[tokio::test]
async fn a_private_authority_is_trusted_only_when_it_is_named() {
    let (config, roots) = own_authority("127.0.0.1");
    let service = Service::start(Some(config)).await;
    service.set("/x", [reply(200, &[], b"good")]);
    let url = format!("https://127.0.0.1:{}/x", service.port());
    let unknown = get(&url).await.unwrap_err();
    assert_eq!(unknown, TransportError::Connect("certificate by an unknown authority".into()));
    let named = HttpsTransport::with_roots(roots).unwrap();
    assert_eq!(send(&named, &url).await.unwrap().body, "good");
}

#[tokio::test]
async fn refuses_a_certificate_for_another_name_without_repeating_it() {
    let (config, roots) = own_authority("other.example");
    let service = Service::start(Some(config)).await;
    let named = HttpsTransport::with_roots(roots).unwrap();
    let error = send(&named, &format!("https://127.0.0.1:{}/x", service.port())).await.unwrap_err();
    assert_eq!(error, TransportError::Connect("certificate for another name".into()));
}

fn at_service(service: &Service) -> Config {
    let mut config = Config::production();
    config.kds = BaseUrl::new(&service.url()).unwrap().into();
    let retry = Retry { attempts: 3, first_wait: Duration::ZERO, longest_wait: Duration::ZERO };
    config.limits = Limits { retry, ..Limits::default() };
    config
}

async fn snp_service() -> (Snp, Service, TempDir, EndorsementStore<HttpsTransport>) {
    let snp = Snp::new();
    let service = Service::start(None).await;
    service.set(&snp.vcek_path, [reply(200, &[], &snp.vcek)]);
    service.set(CRL_PATH, [reply(200, &[], &snp.crl)]);
    let (folder, store) = store(at_service(&service), HttpsTransport::new().unwrap());
    (snp, service, folder, store)
}

async fn cause_of(replies: &[Reply]) -> (Result<(), Cause>, usize) {
    let (snp, service, _folder, store) = snp_service().await;
    service.set(CRL_PATH, replies.to_vec());
    let outcome = store.endorse(&snp.evidence, at(0)).await;
    let asked = service.seen().iter().filter(|seen| seen.line.contains("/crl ")).count();
    let cause = match outcome {
        Ok(_) => Ok(()),
        Err(Error::Missing(failures)) => Err(failures[0].cause.clone()),
        Err(other) => panic!("{other}"),
    };
    (cause, asked)
}

#[tokio::test]
async fn the_store_gets_its_answers_over_a_socket() {
    let (snp, service, _folder, store) = snp_service().await;
    assert!(store.endorse(&snp.evidence, at(0)).await.is_ok());
    assert!(store.endorse(&snp.evidence, at(0)).await.is_ok());
    assert_eq!(service.seen().len(), 2);
    assert!(service.seen().iter().all(|seen| seen.head.contains("user-agent: anchorhold/")));
}

#[tokio::test]
async fn follows_no_redirect() {
    let elsewhere = reply(302, &[("location", "/vcek/v1/Milan/crl")], b"");
    assert_eq!(cause_of(&[elsewhere]).await, (Err(Cause::Redirect { status: 302 }), 1));
}

#[tokio::test]
async fn a_cut_answer_is_asked_for_again() {
    let crl = Snp::new().crl;
    let cut = Reply::Bytes(b"HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\nabc".to_vec());
    assert_eq!(cause_of(&[cut.clone(), cut, reply(200, &[], &crl)]).await, (Ok(()), 3));
}

#[tokio::test]
async fn a_huge_answer_is_not() {
    let huge = reply(200, &[], &vec![0; 300 * 1024]);
    let wanted = Cause::Transport(TransportError::TooLong { max_bytes: 256 * 1024 });
    assert_eq!(cause_of(&[huge]).await, (Err(wanted), 1));
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_ends_with_the_limit() {
    let (cause, _) = cause_of(&[Reply::Silence]).await;
    assert!(matches!(cause, Err(Cause::Timeout { .. })), "{cause:?}");
}

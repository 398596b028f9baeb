//! A server that is known by its name, below authorities of the client's own choice.

use anchorhold_channel::client::{Error, Limits, NamedClient, Target};
use anchorhold_channel::server;
use anchorhold_channel::tls::{self, SelfSigned};
use axum::Router;
use axum::routing::{delete, get, post};
use tokio::net::TcpListener;

/// A server under `names`; its port.
async fn listen(own: SelfSigned) -> u16 {
    let router = Router::new()
        .route("/x", get(|| async { "got" }))
        .route("/x", post(|body: String| async move { body }))
        .route("/x", delete(|| async { "deleted" }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = own.into_server_config().unwrap();
    tokio::spawn(server::serve(listener, config, router, server::Limits::default(), std::future::pending()));
    port
}

fn own(name: &str) -> (SelfSigned, String) {
    let own = SelfSigned::generate(&[name.to_owned()]).unwrap();
    let pem = own.certificate_pem().to_owned();
    (own, pem)
}

fn client(target: &str, pem: &str) -> NamedClient {
    let target: Target = target.parse().unwrap();
    NamedClient::new(target, pem.as_bytes(), Limits::default()).unwrap()
}

#[tokio::test]
async fn a_named_server_is_asked_over_one_connection() {
    let (own, pem) = own("localhost");
    let port = listen(own).await;
    let mut connection = client(&format!("https://localhost:{port}"), &pem).connect().await.unwrap();
    for _ in 0..2 {
        assert_eq!(connection.get("/x", &[]).await.unwrap().body, "got");
        assert_eq!(connection.post_json("/x", &[], "{}".into()).await.unwrap().body, "{}");
        assert_eq!(connection.delete("/x", &[]).await.unwrap().body, "deleted");
    }
}

#[tokio::test]
async fn refuses_another_authority_and_another_name() {
    let (server, pem) = own("localhost");
    let port = listen(server).await;
    let (_, other) = own("localhost");
    let refused = client(&format!("https://localhost:{port}"), &other).connect().await;
    assert!(matches!(refused, Err(Error::Connect { .. })));
    let refused = client(&format!("https://127.0.0.1:{port}"), &pem).connect().await;
    assert!(matches!(refused, Err(Error::Connect { .. })));
    // Both authorities together are two authorities.
    let both = format!("{other}{pem}");
    assert!(client(&format!("https://localhost:{port}"), &both).connect().await.is_ok());
}

#[test]
fn refuses_text_without_authorities() {
    let target: Target = "https://localhost".parse().unwrap();
    let none = NamedClient::new(target.clone(), b"nothing", Limits::default());
    assert!(matches!(none, Err(Error::Tls(tls::Error::Pem("certificate")))));
    let bad = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(NamedClient::new(target, bad, Limits::default()), Err(Error::Tls(_))));
}

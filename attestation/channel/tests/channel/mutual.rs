//! Certificates of clients.

use anchorhold_channel::peer::{ClientAuthorities, ClientCertificates, PeerCertificate};
use anchorhold_channel::server::{Limits, serve};
use anchorhold_channel::tls::{SelfSigned, provider};
use anchorhold_rats::Sha256Digest;
use axum::routing::get;
use axum::{Extension, Router};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for this name and its key.
    fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> Shown {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        (certificate, PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }
}

type Shown = (CertificateDer<'static>, PrivateKeyDer<'static>);

/// What a listener with these authorities answers to a client that shows this.
async fn answer(
    authority: &Authority,
    certificates: ClientCertificates,
    shown: Option<Shown>,
) -> Option<String> {
    let own = SelfSigned::generate(&["localhost".into()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(own.certificate.clone()).unwrap();
    let clients = ClientAuthorities::from_pem(authority.pem.as_bytes(), certificates).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let handler = |peer: Option<Extension<PeerCertificate>>| async move {
        peer.map_or_else(
            || "nobody".to_owned(),
            |Extension(peer)| {
                format!(
                    "{} {} {}",
                    peer.is_named("svc.acme.example"),
                    peer.is_named("acme.example"),
                    peer.digest()
                )
            },
        )
    };
    let router = Router::new().route("/", get(handler));
    let tls = own.into_mutual_server_config(Some(clients)).unwrap();
    tokio::spawn(serve(listener, tls, router, Limits::default(), std::future::pending()));
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let config = match shown {
        Some((certificate, key)) => config.with_client_auth_cert(vec![certificate], key).unwrap(),
        None => config.with_no_client_auth(),
    };
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok()?;
    text.rsplit_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}

#[tokio::test]
async fn a_client_with_a_certificate_is_known_by_its_names() {
    let authority = Authority::new();
    for certificates in [ClientCertificates::Optional, ClientCertificates::Required] {
        let shown = authority.issue("svc.acme.example", ExtendedKeyUsagePurpose::ClientAuth);
        let digest = Sha256Digest::of(&shown.0);
        let body = answer(&authority, certificates, Some(shown)).await;
        assert_eq!(body, Some(format!("true false {digest}")));
    }
}

#[tokio::test]
async fn who_shows_none_is_let_in_only_where_it_is_optional() {
    let authority = Authority::new();
    assert_eq!(answer(&authority, ClientCertificates::Optional, None).await.as_deref(), Some("nobody"));
    assert_eq!(answer(&authority, ClientCertificates::Required, None).await, None);
}

#[tokio::test]
async fn refuses_certificates_of_other_authorities_and_other_uses() {
    let authority = Authority::new();
    let name = "svc.acme.example";
    for shown in [
        Authority::new().issue(name, ExtendedKeyUsagePurpose::ClientAuth),
        authority.issue(name, ExtendedKeyUsagePurpose::ServerAuth),
    ] {
        assert_eq!(answer(&authority, ClientCertificates::Optional, Some(shown)).await, None);
    }
    assert!(ClientAuthorities::from_pem(b"nothing", ClientCertificates::Optional).is_err());
}

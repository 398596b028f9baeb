//! The store's name is checked: case 21, TLS with a wrong name.

use std::sync::Arc;

use anchorhold_weights_store::{PlainHttp, StoreOptions, Target, Trust};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::server::Server;
use crate::support::{Fetch, Sealed, loads};

/// An authority, and a server's settings with a certificate of it for `name`.
fn authority(name: &str, not_after: (i32, u8, u8)) -> (CertificateDer<'static>, Arc<ServerConfig>) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(not_after.0, not_after.1, not_after.2);
    let certificate = params.signed_by(&key, &Issuer::from_params(&ca, &ca_key)).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    (ca_certificate.der().clone(), Arc::new(config))
}

async fn fetch_over_tls(name: &str, not_after: (i32, u8, u8), trusted: bool) -> Result<(), String> {
    let sealed = Sealed::new();
    let (ca, config) = authority(name, not_after);
    let server = Server::tls(&sealed.package(), config).await;
    let out = tempfile::tempdir().unwrap();
    let trust = if trusted { Trust::Only(vec![ca]) } else { Trust::Public };
    let options = StoreOptions { trust, plain_http: PlainHttp::Refused, ..StoreOptions::default() };
    let fetch = Fetch { options, ..Fetch::new(&server.url, &sealed, Target::Folder(out.path())) };
    match fetch.run().await {
        Ok(package) => {
            loads(package);
            Ok(())
        }
        Err(error) => {
            assert_eq!(server.requests().len(), 0, "nothing is asked for before the name is known");
            Err(format!("{}: {error}", error.code()))
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn case_21_only_the_name_in_the_address_will_do() {
    let good = (2099, 1, 1);
    assert_eq!(fetch_over_tls("127.0.0.1", good, true).await, Ok(()));
    let refused = |text: &str| Err(format!("tls: manifest.json: TLS refused: {text}, after 1 attempts"));
    assert_eq!(fetch_over_tls("127.0.0.2", good, true).await, refused("certificate for another name"));
    assert_eq!(fetch_over_tls("store.example", good, true).await, refused("certificate for another name"));
    assert_eq!(
        fetch_over_tls("127.0.0.1", good, false).await,
        refused("certificate by an unknown authority")
    );
    assert_eq!(fetch_over_tls("127.0.0.1", (2001, 1, 1), true).await, refused("certificate expired"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_tls_is_refused_unless_allowed() {
    let sealed = Sealed::new();
    let server = Server::honest(&sealed.package()).await;
    let out = tempfile::tempdir().unwrap();
    let options = StoreOptions::default();
    let fetch = Fetch { options, ..Fetch::new(&server.url, &sealed, Target::Folder(out.path())) };
    assert_eq!(fetch.refused().await.0, "settings");
    assert_eq!(server.requests().len(), 0);
}

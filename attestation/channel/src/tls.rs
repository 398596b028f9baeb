//! TLS 1.3 settings that both ends share, and the guest's own key.

use crate::peer::ClientAuthorities;
use anchorhold_document::wrapper;
use anchorhold_rats::Sha256Digest;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{NoClientAuth, NoServerSessionStorage, ParsedCertificate};
use std::sync::Arc;

/// ALPN of HTTP/2 (RFC 9113, section 3.1).
pub(crate) const ALPN_H2: &[u8] = b"h2";
/// ALPN of HTTP/1.1 (RFC 7301, section 6).
pub(crate) const ALPN_HTTP1: &[u8] = b"http/1.1";

/// Why there are no TLS settings.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key pair or the self-signed certificate could not be made.
    #[error("no self-signed certificate: {0}")]
    SelfSign(#[from] rcgen::Error),
    /// rustls refused the certificate or key.
    #[error("certificate or key refused: {0}")]
    Refused(#[from] rustls::Error),
    /// Authorities for clients that rustls does not take.
    #[error("the authorities for clients are of no use")]
    Authorities,
    /// PEM text holds no such item, or is broken.
    #[error("no {0} in the PEM text")]
    Pem(&'static str),
}

/// The provider of both ends: aws-lc-rs, with the hybrid X25519MLKEM768 preferred over X25519 and the NIST curves
/// (draft-ietf-tls-ecdhe-mlkem).
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1],
        ..aws_lc_rs::default_provider()
    })
}

/// Server settings: TLS 1.3 only, `h2` and `http/1.1`, no session resumption and no early data, so that every
/// connection proves possession of the certificate's key. Clients are asked for no certificate.
///
/// # Errors
/// [`Error::Refused`] when the key does not belong to the first certificate.
pub fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, Error> {
    mutual_server_config((chain, key), None)
}

/// As [`server_config`], with certificates of clients where there are authorities for them.
///
/// # Errors
/// As [`server_config`].
pub fn mutual_server_config(
    (chain, key): (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>),
    clients: Option<ClientAuthorities>,
) -> Result<Arc<ServerConfig>, Error> {
    let verifier = clients.map_or_else(|| Arc::new(NoClientAuth) as _, ClientAuthorities::into_verifier);
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_HTTP1.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Certificates of a PEM text, in order.
///
/// # Errors
/// [`Error::Pem`] when there is none or one is broken.
pub fn certificates_from_pem(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|_| Error::Pem("certificate"))?;
    if chain.is_empty() { Err(Error::Pem("certificate")) } else { Ok(chain) }
}

/// The first private key of a PEM text.
///
/// # Errors
/// [`Error::Pem`] when there is none.
pub fn key_from_pem(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| Error::Pem("private key"))
}

/// SHA-256 of a certificate's DER SubjectPublicKeyInfo: the name by which a key is pinned and attested.
///
/// # Errors
/// [`Error::Refused`] when the DER is no X.509 v3 certificate.
pub fn tls_key_of(certificate: &CertificateDer<'_>) -> Result<Sha256Digest, Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    Ok(Sha256Digest::of(&parsed.subject_public_key_info()))
}

/// A fresh ECDSA P-256 key with a certificate that it signed itself. What makes the key worth trusting is the
/// evidence that names [`tls_key`](Self::tls_key), not this certificate.
pub struct SelfSigned {
    /// The certificate, DER.
    pub certificate: CertificateDer<'static>,
    /// The private key, PKCS#8.
    pub key: PrivateKeyDer<'static>,
    /// SHA-256 of the DER SubjectPublicKeyInfo.
    pub tls_key: Sha256Digest,
    names: Vec<String>,
    pem: String,
}

impl std::fmt::Debug for SelfSigned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SelfSigned({})", self.tls_key)
    }
}

impl SelfSigned {
    /// A new key and certificate for `names`, DNS names or IP addresses.
    ///
    /// # Errors
    /// [`Error::SelfSign`] when a name is neither, or the system gives no randomness.
    pub fn generate(names: &[String]) -> Result<Self, Error> {
        Self::of(&rcgen::KeyPair::generate()?, names.to_vec(), None)
    }

    /// The same key in a certificate that has an attestation document in it too; see [`wrapper`]. The document must be for
    /// [`certificate_nonce`](wrapper::certificate_nonce) and [`tls_key`](Self::tls_key).
    ///
    /// # Errors
    /// [`Error::SelfSign`].
    pub fn with_document(self, document: &[u8]) -> Result<Self, Error> {
        let pair = rcgen::KeyPair::try_from(self.key.secret_der())?;
        Self::of(&pair, self.names, Some(document))
    }

    fn of(pair: &rcgen::KeyPair, names: Vec<String>, document: Option<&[u8]>) -> Result<Self, Error> {
        let mut params = rcgen::CertificateParams::new(names.clone())?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, "Anchorhold");
        params.custom_extensions.extend(document.map(|document| {
            rcgen::CustomExtension::from_oid_content(&wrapper::EXTENSION, wrapper::wrap(document))
        }));
        let certificate = params.self_signed(pair)?;
        let pem = certificate.pem();
        let certificate = certificate.der().clone().into_owned();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pair.serialize_der()));
        Ok(Self { tls_key: tls_key_of(&certificate)?, certificate, key, names, pem })
    }

    /// The certificate as PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.pem
    }

    /// Server settings with this key; see [`server_config`].
    ///
    /// # Errors
    /// As [`server_config`].
    pub fn into_server_config(self) -> Result<Arc<ServerConfig>, Error> {
        self.into_mutual_server_config(None)
    }

    /// Server settings with this key; see [`mutual_server_config`].
    ///
    /// # Errors
    /// As [`mutual_server_config`].
    pub fn into_mutual_server_config(
        self,
        clients: Option<ClientAuthorities>,
    ) -> Result<Arc<ServerConfig>, Error> {
        mutual_server_config((vec![self.certificate], self.key), clients)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tls_key_is_the_digest_of_the_public_key_info() {
        let own = SelfSigned::generate(&["localhost".into(), "127.0.0.1".into()]).unwrap();
        let from_pem = certificates_from_pem(own.certificate_pem().as_bytes()).unwrap();
        assert_eq!(from_pem, std::slice::from_ref(&own.certificate));
        assert_eq!(tls_key_of(&own.certificate).unwrap(), own.tls_key);
        assert_ne!(SelfSigned::generate(&["localhost".into()]).unwrap().tls_key, own.tls_key);
        assert_eq!(format!("{own:?}"), format!("SelfSigned({})", own.tls_key));
    }

    #[test]
    fn refuses_the_key_of_another_certificate() {
        let one = SelfSigned::generate(&["localhost".into()]).unwrap();
        let other = SelfSigned::generate(&["localhost".into()]).unwrap();
        assert!(matches!(server_config(vec![one.certificate], other.key), Err(Error::Refused(_))));
    }

    #[test]
    fn the_hybrid_group_is_preferred() {
        let groups: Vec<_> = provider().kx_groups.iter().map(|group| group.name()).collect();
        assert_eq!(groups.first(), Some(&rustls::NamedGroup::X25519MLKEM768));
    }

    #[test]
    fn refuses_pem_without_the_item() {
        assert!(matches!(certificates_from_pem(b"nothing"), Err(Error::Pem("certificate"))));
        assert!(matches!(key_from_pem(b"nothing"), Err(Error::Pem("private key"))));
    }
}

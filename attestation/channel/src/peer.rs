//! Certificates of clients (mutual TLS).

use crate::tls::{Error, certificates_from_pem, provider};
use anchorhold_rats::Sha256Digest;
use rustls::RootCertStore;
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use std::sync::Arc;

/// Whether every client must show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Who shows none is let in without one; who shows one that does not verify is not let in.
    Optional,
    /// The handshake of who shows none fails.
    Required,
}

/// Which authorities may vouch for clients. Made only by [`from_pem`](Self::from_pem).
#[derive(Debug, Clone)]
pub struct ClientAuthorities(Arc<dyn ClientCertVerifier>);

impl ClientAuthorities {
    /// The authorities of a PEM text. Chains are verified as RFC 5280 says, with the key usage of clients; whether a certificate was
    /// revoked is not looked at, so it should be short-lived.
    ///
    /// # Errors
    /// [`Error::Pem`] and [`Error::Authorities`].
    pub fn from_pem(pem: &[u8], certificates: ClientCertificates) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        for root in certificates_from_pem(pem)? {
            roots.add(root)?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
        let builder = match certificates {
            ClientCertificates::Optional => builder.allow_unauthenticated(),
            ClientCertificates::Required => builder,
        };
        builder.build().map(Self).map_err(|_| Error::Authorities)
    }

    pub(crate) fn into_verifier(self) -> Arc<dyn ClientCertVerifier> {
        self.0
    }
}

/// The certificate with which a client proved who it is. A handler finds it among the extensions of a request; it is there only when
/// the handshake verified it up to one of the listener's authorities.
#[derive(Debug, Clone)]
pub struct PeerCertificate(CertificateDer<'static>);

impl PeerCertificate {
    pub(crate) fn new(certificate: CertificateDer<'static>) -> Self {
        Self(certificate)
    }

    /// SHA-256 of the whole certificate, DER.
    #[must_use]
    pub fn digest(&self) -> Sha256Digest {
        Sha256Digest::of(&self.0)
    }

    /// Whether `name`, a DNS name or an IP address, is one of its subject's alternative names (RFC 9525, section 6).
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        let (Ok(certificate), Ok(name)) = (ParsedCertificate::try_from(&self.0), ServerName::try_from(name))
        else {
            return false;
        };
        verify_server_name(&certificate, &name).is_ok()
    }
}

//! Which server keys a handshake accepts. The signature that shows possession of the key is always checked.

use crate::tls;
use anchorhold_rats::Sha256Digest;
use rustls::RootCertStore;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, PeerIncompatible, SignatureScheme};
use std::sync::{Arc, OnceLock};

/// The keys that a handshake accepts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pin {
    /// The one key with this digest of its SubjectPublicKeyInfo.
    Exactly(Sha256Digest),
    /// Any key that the peer shows it holds. For fetching the attestation document only.
    Any,
}

/// What the handshake saw, for the error text when a pin does not match.
pub(super) type Seen = Arc<OnceLock<Sha256Digest>>;

#[derive(Debug)]
struct PinVerifier {
    pin: Pin,
    provider: Arc<CryptoProvider>,
    seen: Seen,
}

/// TLS 1.3 only, and no resumption: a resumed session would show no certificate.
pub(super) fn config(pin: Pin, seen: Seen) -> Result<Arc<ClientConfig>, tls::Error> {
    let provider = tls::provider();
    let verifier = PinVerifier { pin, provider: Arc::clone(&provider), seen };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![tls::ALPN_HTTP1.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// TLS 1.3 only, to a server whose certificate these authorities signed for the name that is asked for.
pub(super) fn config_of_authorities(pem: &[u8]) -> Result<Arc<ClientConfig>, tls::Error> {
    let mut roots = RootCertStore::empty();
    for certificate in tls::certificates_from_pem(pem)? {
        roots.add(certificate)?;
    }
    let mut config = ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![tls::ALPN_HTTP1.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let bad = rustls::Error::InvalidCertificate(CertificateError::BadEncoding);
        let observed = tls::tls_key_of(end_entity).map_err(|_| bad)?;
        let _ = self.seen.set(observed);
        match self.pin {
            Pin::Exactly(wanted) if wanted != observed => {
                Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
            }
            Pin::Exactly(_) | Pin::Any => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

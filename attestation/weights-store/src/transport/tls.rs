//! TLS to a store that public or named authorities vouch for.

use std::io;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use crate::error::Fault;

/// Whose word about a store's name is taken. Its certificate must be for the name in the address in any case.
#[derive(Debug, Clone, Default)]
pub enum Trust {
    /// Mozilla's list, compiled in: a minimal image has none of its own, and what a store says is verified under the
    /// owner's key, so a wrong authority could see what is asked for, and withhold.
    #[default]
    Public,
    /// These certificates and no others.
    Only(Vec<CertificateDer<'static>>),
}

pub(super) fn connector(trust: &Trust) -> Result<TlsConnector, rustls::Error> {
    let roots = match trust {
        Trust::Public => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
        Trust::Only(certificates) => {
            let mut roots = RootCertStore::empty();
            certificates.iter().try_for_each(|certificate| roots.add(certificate.clone()))?;
            roots
        }
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// What the system or rustls said, without the names that a certificate holds.
pub(super) fn fault(error: &io::Error) -> Fault {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(reason)) => Fault::Tls(certificate_fault(reason).to_owned()),
        Some(error) => Fault::Broken(error.to_string()),
        None => Fault::Connect(error.kind().to_string()),
    }
}

const fn certificate_fault(reason: &CertificateError) -> &'static str {
    match reason {
        CertificateError::UnknownIssuer => "certificate by an unknown authority",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "certificate for another name"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "certificate expired",
        _ => "certificate not valid",
    }
}

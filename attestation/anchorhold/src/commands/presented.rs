//! An attestation document and how it came: over a connection, or from a file.

use crate::exit::Failure;
use crate::files;
use crate::trust::Trust;
use anchorhold_channel::AttestedServer;
use anchorhold_channel::client::{
    Connection, Error, Limits, Target, Unattested, connect_unverified_for_attestation,
};
use anchorhold_channel::document::{MAX_DOCUMENT_BYTES, Presented, Refusal};
use anchorhold_channel::wrapper::verify_certificate;
use anchorhold_client::{AttestationBundle, judge};
use anchorhold_rats::{Checks, Endorsements, MAX_BUNDLE_JSON_BYTES, Nonce, Sha256Digest, Stage, Timestamp};
use std::path::{Path, PathBuf};
use tokio::runtime::Runtime;

/// A saved document, with what has to be known of how it came.
#[derive(clap::Args)]
pub(crate) struct SavedArgs {
    /// Judge this saved attestation document
    #[arg(long, value_name = "FILE", requires = "nonce", requires = "tls_key")]
    pub(crate) document: Option<PathBuf>,
    /// The nonce that the saved document was asked for with, in hex
    #[arg(long, value_name = "HEX", requires = "document")]
    pub(crate) nonce: Option<Nonce>,
    /// The SHA-256 of the SubjectPublicKeyInfo that the server showed then, in hex
    #[arg(long, value_name = "HEX", requires = "document")]
    pub(crate) tls_key: Option<Sha256Digest>,
    /// Judge this attestation bundle, which holds document, nonce, TLS key and endorsements (`evidence save`); nothing is fetched
    #[arg(long, value_name = "FILE", conflicts_with = "document")]
    pub(crate) bundle: Option<PathBuf>,
}

/// A document and how it came.
pub(crate) struct Obtained {
    pub(crate) target: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) nonce: Nonce,
    pub(crate) tls_key: Sha256Digest,
    /// When it came and what vendors said then, of a bundle.
    pub(crate) kept: Option<(Timestamp, Endorsements)>,
    /// The connection that it came over, still open.
    live: Option<(Runtime, Connection<Unattested>)>,
}

impl SavedArgs {
    /// Reads the document; `None` where none is named.
    pub(crate) fn open(&self) -> Result<Option<Obtained>, Failure> {
        if let Some(path) = &self.bundle {
            return from_bundle(path).map(Some);
        }
        let Some(path) = &self.document else { return Ok(None) };
        let (Some(nonce), Some(tls_key)) = (self.nonce, self.tls_key) else {
            return Err(Failure::usage("a saved document is judged with --nonce and --tls-key"));
        };
        Ok(Some(from_file(path, nonce, tls_key)?))
    }
}

fn from_file(path: &Path, nonce: Nonce, tls_key: Sha256Digest) -> Result<Obtained, Failure> {
    let bytes = files::read(path, MAX_DOCUMENT_BYTES)?;
    Ok(Obtained { target: path.display().to_string(), bytes, nonce, tls_key, kept: None, live: None })
}

fn from_bundle(path: &Path) -> Result<Obtained, Failure> {
    let bundle = AttestationBundle::from_json(&files::read(path, MAX_BUNDLE_JSON_BYTES)?);
    let bundle = bundle.map_err(|error| Failure::other(format!("{}: {error}", path.display())))?;
    let Presented { document, nonce, tls_key } = bundle.presented();
    Ok(Obtained {
        target: bundle.target().to_owned(),
        bytes: document.to_vec(),
        nonce,
        tls_key,
        kept: Some((bundle.taken(), bundle.endorsements().clone())),
        live: None,
    })
}

/// Asks a server for its document.
pub(crate) fn fetch(target: &Target) -> Result<Obtained, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::other(format!("cannot start: {e}")))?;
    let nonce = Nonce::random().map_err(Failure::other)?;
    let exchange = async {
        let mut connection = connect_unverified_for_attestation(target, &Limits::default()).await?;
        let bytes = connection.fetch_document(&nonce).await?;
        Ok((bytes, connection))
    };
    let (bytes, connection) = runtime.block_on(exchange).map_err(|e: Error| Failure::other(e))?;
    let tls_key = connection.tls_key();
    let live = Some((runtime, connection));
    Ok(Obtained { target: target.to_string(), bytes: bytes.to_vec(), nonce, tls_key, kept: None, live })
}

impl Obtained {
    /// The document, for judging it.
    pub(crate) fn presented(&self) -> Presented<'_> {
        Presented { document: &self.bytes, nonce: self.nonce, tls_key: self.tls_key }
    }

    /// One acceptance is enough. Of several refusals the nearest is given, with the fewest rules failed.
    pub(crate) fn judge(
        &self,
        endorsements: &Endorsements,
        trust: &Trust,
    ) -> Result<Box<AttestedServer>, Box<Refusal>> {
        let judged = judge(&self.presented(), endorsements, &trust.relying(), trust.at);
        judged.map_err(|refusal| {
            refusal.expect("there is at least one policy, so there was an acceptance or a refusal")
        })
    }

    /// Whether the evidence in the certificate of the connection is accepted too, as one more check; none where there is none. It adds
    /// nothing to the document, which is fresh: who relies on the certificate elsewhere should know that it is in order.
    pub(crate) fn certificate(
        &self,
        server: &AttestedServer,
        endorsements: &Endorsements,
        trust: &Trust,
    ) -> Option<Checks> {
        const WANTED: &str = "evidence in the certificate that is accepted and names the same keys";
        let certificate = self.live.as_ref()?.1.certificate();
        let mut observed = None;
        for policy in &trust.policies {
            let judged = verify_certificate(certificate, endorsements, &trust.anchors, policy, trust.at)?;
            let found = match judged {
                Ok(other) if other.keys() == server.keys() => WANTED.to_owned(),
                Ok(_) => "evidence of other keys".to_owned(),
                Err(refusal) => refusal.to_string(),
            };
            if observed.as_deref() != Some(WANTED) {
                observed = Some(found);
            }
        }
        let observed = observed?;
        let mut checks = Checks::new();
        checks.record((Stage::Binding, "certificate_evidence"), observed == WANTED, WANTED, observed);
        Some(checks)
    }

    /// Whether the connection that the document came over ends in the attested guest itself, as one more check; none for a
    /// document from a file.
    pub(crate) fn authenticate(self, server: &AttestedServer) -> Result<Option<Checks>, Failure> {
        let Some((runtime, connection)) = self.live else { return Ok(None) };
        const WANTED: &str = "an authenticator of this connection by the attested key";
        let observed = match runtime.block_on(connection.authenticate(server)) {
            Ok(_) => WANTED.to_owned(),
            Err(Error::Authenticator(error)) => error.to_string(),
            Err(error @ Error::Status { .. }) => error.to_string(),
            Err(error) => return Err(Failure::other(error)),
        };
        let mut checks = Checks::new();
        checks.record((Stage::Binding, "authenticator"), observed == WANTED, WANTED, observed);
        Ok(Some(checks))
    }
}

//! How a connection becomes an attested one.

use crate::client::{Attested, Connection, Error, Unattested};
use crate::document::{Presented, Refusal};
use crate::{AttestedServer, verify_document};
use anchorhold_rats::{Endorsements, Nonce, Timestamp};
use anchorhold_verifier::{AppraisalPolicy, TrustAnchors};

/// Why a connection did not become an attested one.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// There was no document to judge.
    #[error(transparent)]
    Client(#[from] Error),
    /// There was one, and it was refused.
    #[error("server refused: {0}")]
    Refused(#[from] Box<Refusal>),
}

impl Connection<Unattested> {
    /// Fetches the document for `nonce`, judges it for this connection's key, asks for an authenticator of this
    /// connection, and opens it for requests.
    ///
    /// Takes `endorsements` in advance. To fetch what the evidence in the document asks for, fetch the document, read it,
    /// and judge it with [`verify_document`].
    ///
    /// # Errors
    /// [`AttestError`].
    pub async fn attest(
        mut self,
        nonce: Nonce,
        endorsements: &Endorsements,
        anchors: &TrustAnchors,
        policy: &AppraisalPolicy,
        at: Timestamp,
    ) -> Result<(Connection<Attested>, AttestedServer), AttestError> {
        let bytes = self.fetch_document(&nonce).await?;
        let presented = Presented { document: &bytes, nonce, tls_key: self.tls_key() };
        let server = verify_document(&presented, endorsements, anchors, policy, at)?;
        let connection = self.authenticate(&server).await?;
        Ok((connection, server))
    }
}

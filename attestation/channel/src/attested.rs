//! The value that stands for having judged an attestation document.

use crate::document::DocumentKeys;
use anchorhold_rats::Timestamp;

/// A server whose document passed every check.
#[derive(Debug)]
pub struct AttestedServer {
    keys: DocumentKeys,
    expires: Timestamp,
}

impl AttestedServer {
    /// The guest's public keys, among them the TLS key of the connection.
    #[must_use]
    pub const fn keys(&self) -> &DocumentKeys {
        &self.keys
    }

    /// The earliest end of the evidence's certificates.
    #[must_use]
    pub const fn expires(&self) -> Timestamp {
        self.expires
    }
}

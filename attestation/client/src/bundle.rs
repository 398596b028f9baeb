//! An attestation document as a file: everything that is needed to judge it again, years later and offline.

use anchorhold_channel::document::{MAX_DOCUMENT_BYTES, Presented};
use anchorhold_rats::{Endorsements, EvidenceError, MAX_BUNDLE_JSON_BYTES, Nonce, Sha256Digest, Timestamp};
use serde::{Deserialize, Serialize};

/// The value of `format`. Keys are only ever added under one format.
pub const ATTESTATION_BUNDLE_FORMAT: &str = "urn:anchorhold:attestation-bundle:v1";
/// The longest name of a server, in bytes.
const MAX_TARGET_BYTES: usize = 512;

/// Why a bundle is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Not the JSON of a bundle; line and column of where reading stopped.
    #[error("not the expected JSON (line {line}, column {column})")]
    Malformed {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// The format is another one.
    #[error("format is not {ATTESTATION_BUNDLE_FORMAT}")]
    Format,
    /// A length is over its limit.
    #[error("{observed} {what}, the limit is {limit}")]
    Limit {
        /// Which length.
        what: &'static str,
        /// What came.
        observed: usize,
        /// The most that is allowed.
        limit: usize,
    },
    /// The server's name holds a control character.
    #[error("control character in the server's name")]
    Name,
    /// The endorsements are over a limit of their own.
    #[error(transparent)]
    Endorsements(#[from] EvidenceError),
}

/// A document with how it came and what vendors said then. Untrusted: it proves what its document proves, when that is judged again.
///
/// That the connection itself ended in the guest (the rule `authenticator`) cannot be shown again: the secret that both ends of a
/// connection share ends with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttestationBundle {
    format: String,
    target: String,
    taken: Timestamp,
    nonce: Nonce,
    tls_key: Sha256Digest,
    document: String,
    endorsements: Endorsements,
}

impl AttestationBundle {
    /// The bundle of a document that came from `target` at `taken`, asked for with `presented.nonce` on a connection to
    /// `presented.tls_key`.
    ///
    /// # Errors
    /// [`BundleError`] when a reader would refuse it.
    pub fn new(
        target: &str,
        taken: Timestamp,
        presented: &Presented<'_>,
        endorsements: Endorsements,
    ) -> Result<Self, BundleError> {
        let document = std::str::from_utf8(presented.document);
        let document = document.map_err(|_| BundleError::Malformed { line: 1, column: 1 })?;
        let bundle = Self {
            format: ATTESTATION_BUNDLE_FORMAT.to_owned(),
            target: target.to_owned(),
            taken,
            nonce: presented.nonce,
            tls_key: presented.tls_key,
            document: document.to_owned(),
            endorsements,
        };
        bundle.check_limits().map(|()| bundle)
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// [`BundleError::Limit`].
    pub fn to_json(&self) -> Result<Vec<u8>, BundleError> {
        let json = serde_json::to_vec(self).map_err(|e| malformed(&e))?;
        limit(json.len(), MAX_BUNDLE_JSON_BYTES, "bundle bytes").map(|()| json)
    }

    /// Reads a bundle strictly: no unknown or repeated key, every length within its limit. The document is not read here.
    ///
    /// # Errors
    /// [`BundleError`]; none quotes the input.
    pub fn from_json(json: &[u8]) -> Result<Self, BundleError> {
        limit(json.len(), MAX_BUNDLE_JSON_BYTES, "bundle bytes")?;
        let bundle: Self = serde_json::from_slice(json).map_err(|e| malformed(&e))?;
        if bundle.format != ATTESTATION_BUNDLE_FORMAT {
            return Err(BundleError::Format);
        }
        bundle.check_limits().map(|()| bundle)
    }

    fn check_limits(&self) -> Result<(), BundleError> {
        limit(self.target.len(), MAX_TARGET_BYTES, "bytes of the server's name")?;
        limit(self.document.len(), MAX_DOCUMENT_BYTES, "document bytes")?;
        if self.target.chars().any(char::is_control) {
            return Err(BundleError::Name);
        }
        Ok(self.endorsements.check_limits()?)
    }

    /// The server, as whoever wrote the file named it.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// When the document came, by the clock of whoever wrote the file. A hint, not a proof.
    #[must_use]
    pub const fn taken(&self) -> Timestamp {
        self.taken
    }

    /// The document, for judging it.
    #[must_use]
    pub const fn presented(&self) -> Presented<'_> {
        Presented { document: self.document.as_bytes(), nonce: self.nonce, tls_key: self.tls_key }
    }

    /// What vendors said about the parts in its evidence.
    #[must_use]
    pub const fn endorsements(&self) -> &Endorsements {
        &self.endorsements
    }
}

fn malformed(error: &serde_json::Error) -> BundleError {
    BundleError::Malformed { line: error.line(), column: error.column() }
}

fn limit(observed: usize, limit: usize, what: &'static str) -> Result<(), BundleError> {
    if observed > limit { Err(BundleError::Limit { what, observed, limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn bundle() -> AttestationBundle {
        let presented =
            Presented { document: b"{}", nonce: Nonce::new([1; 32]), tls_key: Sha256Digest::new([2; 32]) };
        let taken = "2026-06-01T00:00:00Z".parse().unwrap();
        AttestationBundle::new("https://models.example:443", taken, &presented, Endorsements::default())
            .unwrap()
    }

    fn read(change: impl FnOnce(&mut Value)) -> Result<AttestationBundle, BundleError> {
        let mut json: Value = serde_json::from_slice(&bundle().to_json().unwrap()).unwrap();
        change(&mut json);
        AttestationBundle::from_json(json.to_string().as_bytes())
    }

    #[test]
    fn the_published_bundle_is_read() {
        let published = include_bytes!("../../../tests/vectors/client/bundle.json");
        let bundle = AttestationBundle::from_json(published).unwrap();
        let document = include_bytes!("../../../tests/vectors/simulated/document.json");
        assert_eq!(bundle.presented().document, document);
        assert_eq!(bundle.to_json().unwrap(), published);
    }

    #[test]
    fn reads_what_it_writes() {
        assert_eq!(read(|_| {}), Ok(bundle()));
        assert_eq!(bundle().presented().document, b"{}");
    }

    #[test]
    fn refuses_other_formats_unknown_keys_missing_keys_and_lengths_over_their_limits() {
        assert_eq!(read(|json| json["format"] = json!("v2")), Err(BundleError::Format));
        for change in
            [|json: &mut Value| json["more"] = json!(1), |json: &mut Value| json["nonce"] = json!("00")]
        {
            assert!(matches!(read(change), Err(BundleError::Malformed { .. })));
        }
        for key in ["format", "target", "taken", "nonce", "tls_key", "document", "endorsements"] {
            let without = read(|json| drop(json.as_object_mut().unwrap().remove(key)));
            assert!(matches!(without, Err(BundleError::Malformed { .. })), "{key}");
        }
        let long = "x".repeat(MAX_DOCUMENT_BYTES + 1);
        assert!(matches!(read(|json| json["document"] = json!(long)), Err(BundleError::Limit { .. })));
        let name = "x".repeat(MAX_TARGET_BYTES + 1);
        assert!(matches!(read(|json| json["target"] = json!(name)), Err(BundleError::Limit { .. })));
        assert_eq!(read(|json| json["target"] = json!("a\nb")), Err(BundleError::Name));
        let huge = vec![b' '; MAX_BUNDLE_JSON_BYTES + 1];
        assert!(matches!(AttestationBundle::from_json(&huge), Err(BundleError::Limit { .. })));
    }
}

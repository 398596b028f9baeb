//! What vendors publish, taken out of its envelope.

use anchorhold_rats::Der;
use serde::{Deserialize, Serialize};

/// Something that a vendor signed. Nothing of it has been verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Endorsement {
    /// A certificate of AMD.
    Certificate {
        /// The certificate.
        der: Der,
    },
    /// AMD's intermediate and root.
    Certificates {
        /// Issuers, the root last.
        ders: Vec<Der>,
    },
    /// A revocation list.
    RevocationList {
        /// The list.
        der: Der,
        /// PEM certificates of its signer, leaf first; empty where the service sends none.
        issuer_chain: String,
    },
    /// A JSON text that Intel signed.
    Statement {
        /// The text, exactly as signed.
        text: String,
        /// ECDSA P-256, r and s, 64 bytes.
        signature: Der,
        /// PEM certificates of its signer, leaf first.
        issuer_chain: String,
    },
    /// A reference integrity manifest of NVIDIA.
    Manifest {
        /// The XML document.
        xml: Der,
    },
    /// An OCSP response.
    Ocsp {
        /// The response.
        der: Der,
    },
}

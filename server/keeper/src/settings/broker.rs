//! Who releases keys.

use anchorhold_audit_log::VerifierKey;
use anchorhold_audit_log::cosignature::{Quorum, WitnessKey};
use anchorhold_key_release::PinnedBroker;
use anchorhold_rats::{Ed25519PublicKey, Kem};
use anyhow::{Context as _, anyhow};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Who releases weights keys, and over which protocol.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "protocol", rename_all = "lowercase")]
pub(crate) enum Broker {
    /// Anchorhold's key broker.
    Anchorhold(KeyBroker),
    /// A KBS of Confidential Containers, such as Trustee's.
    Kbs(Kbs),
}

/// The key broker, known by its keys.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyBroker {
    /// `https://host:port`.
    pub(crate) url: String,
    /// PEM file with the one certificate whose key the broker must hold.
    pub(crate) certificate: PathBuf,
    /// The Ed25519 key that signs its answers, hex.
    pub(crate) signing_key: Ed25519PublicKey,
    /// The verifier key of its log.
    pub(crate) log_key: String,
    /// Who must have seen its log with a release in it before the key is used.
    pub(crate) witnesses: Witnesses,
    /// To which kind of key weights keys are wrapped: `x-wing` or `x25519`.
    pub(crate) kem: String,
}

/// A KBS, known by its TLS key and by the keys that sign its tokens.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kbs {
    /// `https://host:port`.
    pub(crate) url: String,
    /// PEM file with the one certificate whose key the KBS must hold.
    pub(crate) certificate: PathBuf,
    /// File with the JSON web key set of whoever signs tokens.
    pub(crate) token_keys: PathBuf,
}

/// Witnesses of the broker's log.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Witnesses {
    /// How many of them.
    pub(crate) needed: usize,
    /// Their verifier keys.
    pub(crate) keys: Vec<String>,
}

impl KeyBroker {
    /// The broker as releases are held to it.
    pub(crate) fn pinned(&self) -> anyhow::Result<PinnedBroker> {
        let log_key = VerifierKey::parse(&self.log_key).map_err(|e| anyhow!("broker.log_key: {e}"))?;
        let keys = self.witnesses.keys.iter().map(|key| WitnessKey::parse(key)).collect::<Result<_, _>>();
        let keys = keys.map_err(|e| anyhow!("broker.witnesses.keys: {e}"))?;
        let witnesses = Quorum::new(keys, self.witnesses.needed).context("broker.witnesses")?;
        Ok(PinnedBroker { signing_key: self.signing_key, log_key, witnesses })
    }
}

impl Broker {
    /// Where it is.
    pub(crate) fn url(&self) -> &str {
        match self {
            Self::Anchorhold(KeyBroker { url, .. }) | Self::Kbs(Kbs { url, .. }) => url,
        }
    }

    /// The file with its certificate.
    pub(crate) fn certificate(&self) -> &Path {
        match self {
            Self::Anchorhold(KeyBroker { certificate, .. }) | Self::Kbs(Kbs { certificate, .. }) => {
                certificate
            }
        }
    }

    /// The kind of the boot's release key. A KBS encrypts to a key of each exchange instead, so there it is never used.
    pub(crate) fn kem(&self) -> anyhow::Result<Kem> {
        match self {
            Self::Anchorhold(broker) => Kem::named(&broker.kem).context("broker.kem is not x-wing or x25519"),
            Self::Kbs(_) => Ok(Kem::XWing),
        }
    }

    pub(super) fn files(&mut self) -> Vec<&mut PathBuf> {
        match self {
            Self::Anchorhold(broker) => vec![&mut broker.certificate],
            Self::Kbs(kbs) => vec![&mut kbs.certificate, &mut kbs.token_keys],
        }
    }

    pub(super) fn check(&self) -> anyhow::Result<()> {
        self.kem()?;
        match self {
            Self::Anchorhold(broker) => broker.pinned().map(drop),
            Self::Kbs(_) => Ok(()),
        }
    }
}

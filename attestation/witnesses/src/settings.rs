//! Which witnesses there are, as settings files say it.

use crate::error::SettingsError;
use anchorhold_audit_log::cosignature::WitnessKey;
use anchorhold_channel::client::{Client, Limits, Pinned, Target};
use anchorhold_channel::tls;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// The most witnesses of one log.
pub const MAX_WITNESSES: usize = 16;
/// For one exchange with a witness.
const TIMEOUT: Duration = Duration::from_secs(2);
const MAX_ANSWER_BYTES: usize = 16 * 1024;

/// Which witnesses there are and how many of them must have cosigned.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How many, at least one.
    pub needed: usize,
    /// All of them, at most [`MAX_WITNESSES`].
    pub witness: Vec<WitnessSettings>,
}

/// One witness.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessSettings {
    /// The verifier key, as its `init` or its operator prints it.
    pub key: String,
    /// `https://host[:port]`.
    pub url: String,
    /// The certificate that it must hold, PEM.
    pub certificate: PathBuf,
}

impl Settings {
    pub(crate) fn clients(&self) -> Result<Vec<(WitnessKey, Client<Pinned>)>, SettingsError> {
        if self.witness.len() > MAX_WITNESSES {
            return Err(SettingsError::TooMany);
        }
        if self.needed == 0 {
            return Err(SettingsError::NoneNeeded);
        }
        self.witness.iter().map(WitnessSettings::client).collect()
    }
}

impl WitnessSettings {
    fn client(&self) -> Result<(WitnessKey, Client<Pinned>), SettingsError> {
        let key = WitnessKey::parse(&self.key).map_err(SettingsError::Key)?;
        let wrong = |reason: String| SettingsError::Certificate { path: self.certificate.clone(), reason };
        let pem = std::fs::read(&self.certificate).map_err(|e| wrong(e.to_string()))?;
        let certificates = tls::certificates_from_pem(&pem).map_err(|e| wrong(e.to_string()))?;
        let [certificate] = certificates.as_slice() else {
            return Err(wrong("wanted one certificate".to_owned()));
        };
        let target: Target = self.url.parse().map_err(|_| SettingsError::Url(self.url.clone()))?;
        let limits = Limits {
            connect_timeout: TIMEOUT,
            request_timeout: TIMEOUT,
            max_body_bytes: MAX_ANSWER_BYTES,
            ..Limits::default()
        };
        let client =
            Client::pinned_certificate(target, certificate, limits).map_err(|e| wrong(e.to_string()))?;
        Ok((key, client))
    }
}

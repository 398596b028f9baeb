//! The gateway's settings: what the operator wrote, then what it means.

use crate::keys::{Keyring, TenantKey};
use crate::padding::{Padding, WrittenPadding};
use anchorhold_api::MAX_BODY_BYTES;
use anchorhold_rats::Sha256Digest;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Settings that were checked. Made only by [`Config::parse`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The names in the self-signed certificate: DNS names and IP addresses.
    pub names: Vec<String>,
    /// Where to write the certificate, PEM, for clients that pin it.
    pub certificate: PathBuf,
    /// The models that must answer before the gateway says it is ready.
    pub models: Vec<String>,
    /// Who may call.
    pub keyring: Keyring,
    /// How much.
    pub limits: Limits,
    /// How streams are padded.
    pub(crate) padding: Padding,
}

/// How much the gateway takes.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Limits {
    /// Requests running at once; one more is answered 503.
    pub max_in_flight: usize,
    /// Requests running at once for one tenant; one more is answered 429.
    pub max_in_flight_per_tenant: usize,
    /// The longest request body, in bytes.
    pub body_bytes: usize,
    /// How long running requests may go on once the gateway drains.
    pub drain: Duration,
    /// The longest wait for the next word of a worker.
    pub answer: Duration,
    /// The longest time for a request at its worker, waiting included.
    pub request: Duration,
}

/// Why settings are refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not TOML, a key that is not known, or a value of the wrong type.
    #[error("{0}")]
    Toml(#[from] toml::de::Error),
    /// A value that cannot be.
    #[error("{key}: {reason}")]
    Value {
        /// Which key of the file.
        key: &'static str,
        /// What was expected.
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    listen: SocketAddr,
    names: Vec<String>,
    certificate: PathBuf,
    #[serde(default)]
    models: Vec<String>,
    keys: Vec<WrittenKey>,
    #[serde(default)]
    limits: WrittenLimits,
    #[serde(default)]
    padding: WrittenPadding,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenKey {
    tenant: String,
    sha256: String,
    /// The tenant's share of a model's work when others want it too; 1 if it is not written.
    #[serde(default = "one")]
    share: u32,
}

const fn one() -> u32 {
    1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WrittenLimits {
    max_in_flight: usize,
    max_in_flight_per_tenant: usize,
    body_bytes: usize,
    drain_seconds: u64,
    answer_seconds: u64,
    request_seconds: u64,
}

impl Default for WrittenLimits {
    fn default() -> Self {
        Self {
            max_in_flight: 64,
            max_in_flight_per_tenant: 32,
            body_bytes: MAX_BODY_BYTES,
            drain_seconds: 30,
            answer_seconds: 120,
            request_seconds: 600,
        }
    }
}

/// The largest share of a tenant.
const MAX_SHARE: u32 = 1000;

fn wrong(key: &'static str, reason: impl Into<String>) -> ConfigError {
    ConfigError::Value { key, reason: reason.into() }
}

impl Config {
    /// Reads the TOML file.
    ///
    /// # Errors
    /// [`ConfigError`] with the key that is wrong.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let written: Written = toml::from_str(text)?;
        if written.names.is_empty() {
            return Err(wrong("names", "expected at least one name, got none"));
        }
        let keys = written.keys.iter().map(WrittenKey::check).collect::<Result<Vec<_>, _>>()?;
        let limits = written.limits.check()?;
        let keyring =
            Keyring::new(keys, limits.max_in_flight_per_tenant).map_err(|reason| wrong("keys", reason))?;
        Ok(Self {
            listen: written.listen,
            names: written.names,
            certificate: written.certificate,
            models: written.models,
            keyring,
            limits,
            padding: written.padding.check()?,
        })
    }
}

impl WrittenKey {
    fn check(&self) -> Result<TenantKey, ConfigError> {
        let named = (1..=64).contains(&self.tenant.len())
            && self.tenant.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if !named {
            return Err(wrong("keys.tenant", "expected 1 to 64 characters of a-z, 0-9 and -"));
        }
        let digest: Sha256Digest = self
            .sha256
            .parse()
            .map_err(|_| wrong("keys.sha256", "expected the SHA-256 of a key, 64 lower-case hex digits"))?;
        if !(1..=MAX_SHARE).contains(&self.share) {
            return Err(wrong("keys.share", format!("expected 1 to {MAX_SHARE}, got {}", self.share)));
        }
        Ok(TenantKey { tenant: self.tenant.clone(), digest, share: self.share })
    }
}

impl WrittenLimits {
    fn check(&self) -> Result<Limits, ConfigError> {
        let within = |key: &'static str, value: usize, most: usize| {
            let reason = || wrong(key, format!("expected 1 to {most}, got {value}"));
            if (1..=most).contains(&value) { Ok(value) } else { Err(reason()) }
        };
        let seconds = |key: &'static str, value: u64, most: u64| {
            let reason = || wrong(key, format!("expected 1 to {most}, got {value}"));
            if (1..=most).contains(&value) { Ok(Duration::from_secs(value)) } else { Err(reason()) }
        };
        Ok(Limits {
            max_in_flight: within("limits.max_in_flight", self.max_in_flight, 512)?,
            max_in_flight_per_tenant: within(
                "limits.max_in_flight_per_tenant",
                self.max_in_flight_per_tenant,
                512,
            )?,
            body_bytes: within("limits.body_bytes", self.body_bytes, MAX_BODY_BYTES)?,
            drain: seconds("limits.drain_seconds", self.drain_seconds, 600)?,
            answer: seconds("limits.answer_seconds", self.answer_seconds, 3600)?,
            request: seconds("limits.request_seconds", self.request_seconds, 86_400)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        listen = "127.0.0.1:8443"
        names = ["localhost"]
        certificate = "/run/gateway.pem"
        models = ["minilm"]
        [[keys]]
        tenant = "acme"
        sha256 = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
        [limits]
        drain_seconds = 5
    "#;

    fn check_refused(from: &str, to: &str, wanted: &str) {
        assert!(GOOD.contains(from), "{from}");
        let error = Config::parse(&GOOD.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }

    #[test]
    fn reads_a_file_and_fills_in_the_rest() {
        let config = Config::parse(GOOD).unwrap();
        assert_eq!((config.limits.drain, config.limits.body_bytes), (Duration::from_secs(5), MAX_BODY_BYTES));
        assert_eq!((config.names, config.models), (vec!["localhost".to_owned()], vec!["minilm".to_owned()]));
    }

    #[test]
    fn refuses_unknown_keys_and_values_that_cannot_be() {
        check_refused("drain_seconds = 5", "drain_second = 5", "drain_second");
        check_refused("models", "model", "unknown field");
        check_refused(
            "drain_seconds = 5",
            "drain_seconds = 0",
            "limits.drain_seconds: expected 1 to 600, got 0",
        );
        check_refused("drain_seconds = 5", "body_bytes = 4194305", "limits.body_bytes");
        check_refused("drain_seconds = 5", "request_seconds = 86401", "limits.request_seconds");
        check_refused("drain_seconds = 5", "max_in_flight = 0", "limits.max_in_flight");
        check_refused("\"acme\"", "\"Acme\"", "keys.tenant");
        check_refused("\"acme\"", "\"\"", "keys.tenant");
        check_refused("2c26b", "2C26B", "keys.sha256");
        check_refused("2c26b", "c26b", "keys.sha256");
        check_refused("[limits]", "share = 0\n[limits]", "keys.share: expected 1 to 1000, got 0");
        check_refused("[limits]", "share = 1001\n[limits]", "keys.share");
        let two = "share = 2\n[[keys]]\ntenant = \"acme\"\nsha256 = \"3c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae\"\n[limits]";
        check_refused("[limits]", two, "different shares");
        assert!(
            Config::parse(&GOOD.replace("[limits]", &two.replace("\n[limits]", "\nshare = 2\n[limits]")))
                .is_ok()
        );
        check_refused("[\"localhost\"]", "[]", "names");
        check_refused("127.0.0.1:8443", "localhost", "socket address");
        let twice = "[[keys]]\ntenant = \"b\"\nsha256 = \"2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae\"\n[limits]";
        check_refused("[limits]", twice, "twice");
        let none =
            Config::parse("listen=\"127.0.0.1:1\"\nnames=[\"a\"]\ncertificate=\"c\"\nkeys=[]").unwrap_err();
        assert!(none.to_string().contains("keys:"), "{none}");
    }
}

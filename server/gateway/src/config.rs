//! The gateway's settings: what the operator wrote ([`Written`]), then what it means ([`Config`]).

mod access;
mod layers;
mod limits;
mod ways;

pub use layers::{ENVIRONMENT, Overrides, shown};
pub use limits::Limits;
pub use ways::Clients;
pub(crate) use ways::NamedClient;

use crate::keys::TenantTerms;
use crate::oidc::Issuer;
use crate::padding::{Padding, WrittenPadding};
use anchorhold_api_keys::Key;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Settings that were checked. Made only by [`Written::check`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The names in the self-signed certificate: DNS names and IP addresses.
    pub names: Vec<String>,
    /// Where to write the certificate, PEM, for clients that pin it.
    pub certificate: PathBuf,
    /// Whether the attestation document stands in the certificate too.
    pub certificate_evidence: bool,
    /// The models that must answer before the gateway says it is ready.
    pub models: Vec<String>,
    /// How much.
    pub limits: Limits,
    /// How streams are padded.
    pub(crate) padding: Padding,
    /// Whether each request leaves a span in the log.
    pub(crate) spans: bool,
    /// Whose certificates are asked for, if anybody's.
    pub clients: Option<Clients>,
    keys_file: Option<PathBuf>,
    pub(crate) tenants: Vec<TenantTerms>,
    pub(crate) keys: Vec<Key>,
    pub(crate) issuers: Vec<Issuer>,
    pub(crate) named_clients: Vec<NamedClient>,
}

/// The texts of the files that settings name, by their paths as they are written there.
pub type Files = BTreeMap<PathBuf, String>;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not TOML, a key that is not known, or a value of the wrong type.
    #[error("{0}{hint}", hint = hint(.0))]
    Toml(#[from] toml::de::Error),
    /// A value that cannot be.
    #[error("{key}: {reason}")]
    Value {
        /// Which key of the file.
        key: &'static str,
        /// What was expected.
        reason: String,
    },
    /// A variable or a flag that sets nothing.
    #[error("{from}: {reason}")]
    Override {
        /// As it was written.
        from: String,
        /// What was expected.
        reason: &'static str,
    },
    /// A key that has another name now.
    #[error("{old} has another name now: {new}")]
    Renamed {
        /// The name that was written.
        old: &'static str,
        /// What to write instead.
        new: &'static str,
    },
}

/// Everything that is wrong with settings: one or more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(Vec<ConfigError>);

impl Faults {
    /// Each of them.
    #[must_use]
    pub fn all(&self) -> &[ConfigError] {
        &self.0
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&texts.join("\n"))
    }
}

impl std::error::Error for Faults {}

impl From<ConfigError> for Faults {
    fn from(fault: ConfigError) -> Self {
        Self(vec![fault])
    }
}

/// Which key was meant, where one is near.
fn hint(error: &toml::de::Error) -> String {
    layers::meant(error.message()).map(|name| format!("hint: the nearest name is {name}")).unwrap_or_default()
}

fn wrong(key: &'static str, reason: impl fmt::Display) -> ConfigError {
    ConfigError::Value { key, reason: reason.to_string() }
}

/// What the operator wrote, in the form of settings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    listen: SocketAddr,
    names: Vec<String>,
    certificate: PathBuf,
    #[serde(default)]
    certificate_evidence: bool,
    #[serde(default)]
    models: Vec<String>,
    #[serde(default)]
    keys_file: Option<PathBuf>,
    #[serde(default, rename = "tenant")]
    tenants: Vec<access::WrittenTenant>,
    #[serde(default, rename = "key")]
    own_keys: Vec<Key>,
    #[serde(default, rename = "oidc")]
    issuers: Vec<ways::WrittenIssuer>,
    #[serde(default)]
    clients: Option<ways::WrittenClients>,
    #[serde(default, rename = "client")]
    named_clients: Vec<ways::WrittenClient>,
    /// What the tables were called once.
    #[serde(default)]
    keys: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    limits: limits::WrittenLimits,
    #[serde(default)]
    padding: WrittenPadding,
    #[serde(default)]
    log: WrittenLog,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WrittenLog {
    spans: bool,
}

impl Written {
    /// Reads the TOML file.
    ///
    /// # Errors
    /// [`ConfigError::Toml`] and [`ConfigError::Renamed`].
    pub fn parse(text: &str) -> Result<Self, Faults> {
        let written: Self = toml::from_str(text).map_err(ConfigError::from)?;
        if written.keys.is_some() {
            let new = "a [[tenant]] with name and share, and [[key]] with tenant and sha256";
            return Err(ConfigError::Renamed { old: "[[keys]]", new }.into());
        }
        Ok(written)
    }

    /// The files that [`check`](Self::check) wants to see: more `[[key]]` tables, keys of issuers, authorities for clients.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let keys = self.keys_file.as_deref();
        let issuers = self.issuers.iter().filter_map(|issuer| issuer.jwks_file.as_deref());
        let clients = self.clients.as_ref().map(|clients| clients.ca_file.as_path());
        keys.into_iter().chain(issuers).chain(clients)
    }

    /// Checks everything, with what stands in [`files`](Self::files).
    ///
    /// # Errors
    /// All that is wrong.
    pub fn check(self, files: &Files) -> Result<Config, Faults> {
        let mut faults = Vec::new();
        if self.names.is_empty() {
            faults.push(wrong("names", "expected at least one name, got none"));
        }
        let limits = self.limits.check(&mut faults);
        let tenants = access::tenants(self.tenants, limits.max_in_flight_per_tenant, &mut faults);
        let keys = match &self.keys_file {
            Some(file) if !files.contains_key(file) => {
                faults.push(wrong("keys_file", "the file is not there"));
                Vec::new()
            }
            file => {
                let text = file.as_ref().and_then(|file| files.get(file)).map(String::as_str);
                access::keys(self.own_keys, text, &tenants, &mut faults)
            }
        };
        let issuers = ways::issuers(self.issuers, files, &tenants, &mut faults);
        let written = (self.clients.as_ref(), self.named_clients);
        let (clients, named_clients) = ways::clients(written, files, &tenants, &mut faults);
        let padding = self.padding.check().unwrap_or_else(|fault| {
            faults.push(fault);
            Padding::default()
        });
        if !faults.is_empty() {
            return Err(Faults(faults));
        }
        let Self { listen, names, certificate, certificate_evidence, models, keys_file, log, .. } = self;
        Ok(Config {
            listen,
            names,
            certificate,
            certificate_evidence,
            models,
            limits,
            padding,
            spans: log.spans,
            clients,
            keys_file,
            tenants,
            keys,
            issuers,
            named_clients,
        })
    }
}

impl Config {
    /// Reads settings that name no other file.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn parse(text: &str) -> Result<Self, Faults> {
        Written::parse(text)?.check(&Files::new())
    }

    /// What `next` changes that a gateway cannot change while it serves, by the names of the settings.
    pub(crate) fn fixed_changes(&self, next: &Self) -> Vec<&'static str> {
        let (one, other) = (&self.limits, &next.limits);
        [
            ("listen", self.listen != next.listen),
            ("names", self.names != next.names),
            ("certificate", self.certificate != next.certificate),
            ("certificate_evidence", self.certificate_evidence != next.certificate_evidence),
            ("models", self.models != next.models),
            ("keys_file", self.keys_file != next.keys_file),
            ("clients", self.clients != next.clients),
            ("limits.drain_seconds", one.drain != other.drain),
            ("limits.answer_seconds", one.answer != other.answer),
            ("limits.request_seconds", one.request != other.request),
        ]
        .into_iter()
        .filter_map(|(name, changed)| changed.then_some(name))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anchorhold_api::MAX_BODY_BYTES;
    use std::time::Duration;

    const GOOD: &str = r#"
        listen = "127.0.0.1:8443"
        names = ["localhost"]
        certificate = "/run/gateway.pem"
        models = ["minilm"]
        [[tenant]]
        name = "acme"
        requests_per_minute = 60
        [[key]]
        tenant = "acme"
        sha256 = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
        [limits]
        drain_seconds = 5
    "#;

    fn check_refused(from: &str, to: &str, wanted: &str) {
        assert!(GOOD.contains(from), "{from}");
        let error = Config::parse(&GOOD.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains(wanted), "{to}: {error}");
    }

    #[test]
    fn reads_a_file_and_fills_in_the_rest() {
        let config = Config::parse(GOOD).unwrap();
        assert_eq!((config.limits.drain, config.limits.body_bytes), (Duration::from_secs(5), MAX_BODY_BYTES));
        assert_eq!((config.names, config.models), (vec!["localhost".to_owned()], vec!["minilm".to_owned()]));
        let tenant = &config.tenants[0];
        assert_eq!((tenant.share, tenant.quotas.concurrency), (1, config.limits.max_in_flight_per_tenant));
        assert_eq!((tenant.quotas.requests_per_minute, tenant.quotas.tokens_per_minute), (Some(60), None));
        assert_eq!(tenant.scopes, anchorhold_api_keys::Scopes::of_callers());
    }

    #[test]
    fn refuses_unknown_keys_and_values_that_cannot_be() {
        check_refused("drain_seconds = 5", "drain_second = 5", "hint: the nearest name is drain_seconds");
        check_refused("models", "model", "unknown field");
        let wanted = "limits.drain_seconds: expected 1 to 600, got 0";
        check_refused("drain_seconds = 5", "drain_seconds = 0", wanted);
        check_refused("drain_seconds = 5", "body_bytes = 4194305", "limits.body_bytes");
        check_refused("drain_seconds = 5", "request_seconds = 86401", "limits.request_seconds");
        check_refused("drain_seconds = 5", "max_in_flight = 0", "limits.max_in_flight");
        check_refused("[\"localhost\"]", "[]", "names");
        check_refused("127.0.0.1:8443", "localhost", "socket address");
        check_refused("[[key]]", "[[keys]]", "[[keys]] has another name now: a [[tenant]] with name");
    }

    #[test]
    fn refuses_tenants_and_keys_that_cannot_be() {
        check_refused("name = \"acme\"", "name = \"Acme\"", "name of a tenant");
        check_refused("name = \"acme\"", "name = \"bolt\"", "key.tenant: there is no [[tenant]] acme");
        check_refused("2c26b", "2C26B", "lower-case hex");
        for (more, wanted) in [
            ("share = 0", "tenant.share: expected 1 to 1000, got 0"),
            ("share = 1001", "tenant.share"),
            ("requests_per_minute = 0", "tenant.requests_per_minute: expected at least 1"),
            ("tokens_per_minute = 0", "tenant.tokens_per_minute: expected at least 1"),
            ("tokens_per_minute = 5000000000", "tokens_per_minute"),
            ("concurrency = 0", "tenant.concurrency: expected 1 to 512, got 0"),
            ("models = []", "tenant.models: expected at least one"),
            ("scopes = []", "at least one scope"),
            ("scopes = [\"root\"]", "not a scope"),
            ("quota = 1", "unknown field `quota`"),
        ] {
            check_refused("requests_per_minute = 60", more, wanted);
        }
        check_refused("[[key]]", "[[tenant]]\nname = \"acme\"\n[[key]]", "tenant.name: acme stands twice");
        let wide = "scopes = [\"embed\", \"metrics\"]\n[limits]";
        check_refused("[limits]", wide, "key.scopes: acme may not use metrics");
        let tenants = "listen=\"127.0.0.1:1\"\nnames=[\"a\"]\ncertificate=\"c\"\n";
        let none = Config::parse(tenants).unwrap_err().to_string();
        assert!(none.contains("tenant: there is none"), "{none}");
        // A tenant may be without keys: they may come with the next reading, or another way in.
        Config::parse(&format!("{tenants}[[tenant]]\nname = \"a\"\n")).unwrap();
    }

    #[test]
    fn keys_of_both_files_are_one_set() {
        let more = "[[key]]\ntenant = \"acme\"\nsha256 = \"3c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae\"\n";
        let read = |keys: &str| {
            let text = format!("keys_file = \"keys.toml\"\n{GOOD}");
            let written = Written::parse(&text).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(written.files().collect::<Vec<_>>(), [Path::new("keys.toml")]);
            written.check(&Files::from([("keys.toml".into(), keys.to_owned())]))
        };
        assert_eq!(read(more).unwrap().keys.len(), 2);
        let twice = GOOD.split_once("[[key]]").unwrap().1.split_once("[limits]").unwrap().0;
        for (keys, wanted) in [
            (format!("[[key]]{twice}"), "the digest appears twice"),
            (more.replace("acme", "bolt"), "there is no [[tenant]] bolt"),
            ("[[tenant]]\nname = \"b\"".to_owned(), "keys_file: TOML"),
        ] {
            let error = read(&keys).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn every_fault_is_named() {
        let bad = GOOD
            .replace("drain_seconds = 5", "drain_seconds = 0\nbody_bytes = 0")
            .replace("\"acme\"\n        req", "\"bolt\"\n        req");
        let faults = Config::parse(&bad).unwrap_err();
        assert_eq!(faults.all().len(), 3, "{faults}");
    }

    #[test]
    fn what_cannot_change_while_it_serves_is_named() {
        let of = |from: &str, to: &str| {
            let next = Config::parse(&GOOD.replace(from, to)).unwrap();
            Config::parse(GOOD).unwrap().fixed_changes(&next)
        };
        assert_eq!(of("8443", "8444"), ["listen"]);
        assert_eq!(
            of("drain_seconds = 5", "answer_seconds = 5"),
            ["limits.drain_seconds", "limits.answer_seconds"]
        );
        assert_eq!(of("drain_seconds = 5", "drain_seconds = 5\nbody_bytes = 5"), [""; 0]);
        assert_eq!(of("requests_per_minute = 60", "share = 7"), [""; 0]);
    }
}

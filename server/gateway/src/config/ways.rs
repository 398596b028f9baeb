//! `[[oidc]]`, `[clients]` and `[[client]]`: other ways in than a key.

use super::{ConfigError, Files, wrong};
use crate::keys::TenantTerms;
use crate::oidc::Issuer;
use anchorhold_api_keys::{Scopes, TenantName};
use anchorhold_channel::peer::{ClientAuthorities, ClientCertificates};
use anchorhold_evaluation::ear::Jwks;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The most issuers. A token is held against one of them.
const MAX_ISSUERS: usize = 8;
/// The most clients with certificates, and values of a claim.
const MAX_NAMES: usize = 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenIssuer {
    issuer: String,
    audience: String,
    #[serde(default)]
    jwks: Option<String>,
    #[serde(default)]
    pub(super) jwks_file: Option<PathBuf>,
    claim: String,
    tenants: BTreeMap<String, TenantName>,
    #[serde(default)]
    scopes: Option<Scopes>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenClients {
    pub(super) ca_file: PathBuf,
    #[serde(default)]
    required: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenClient {
    name: String,
    tenant: TenantName,
    #[serde(default)]
    scopes: Option<Scopes>,
}

/// A client that is known by a name in its certificate.
#[derive(Debug, Clone)]
pub(crate) struct NamedClient {
    pub(crate) name: String,
    pub(crate) tenant: TenantName,
    pub(crate) scopes: Option<Scopes>,
}

/// Whose certificates are asked for. Two of them are equal when a listener would do the same with both.
#[derive(Debug, Clone)]
pub struct Clients {
    authorities: ClientAuthorities,
    pem: String,
    is_required: bool,
}

impl PartialEq for Clients {
    fn eq(&self, other: &Self) -> bool {
        (&self.pem, self.is_required) == (&other.pem, other.is_required)
    }
}

impl Clients {
    /// For the listener.
    #[must_use]
    pub fn authorities(&self) -> ClientAuthorities {
        self.authorities.clone()
    }
}

/// That a tenant is there and may do this; what is wrong goes to `faults`.
fn check_tenant(
    key: &'static str,
    (tenant, scopes): (&TenantName, Option<Scopes>),
    tenants: &[TenantTerms],
    faults: &mut Vec<ConfigError>,
) {
    match tenants.iter().find(|known| known.name == *tenant) {
        None => faults.push(wrong(key, format!("there is no [[tenant]] {tenant}"))),
        Some(known) if scopes.is_some_and(|scopes| !scopes.is_within(known.scopes)) => {
            faults.push(wrong(key, format!("{tenant} may not use all of these scopes")));
        }
        Some(_) => {}
    }
}

pub(super) fn issuers(
    written: Vec<WrittenIssuer>,
    files: &Files,
    tenants: &[TenantTerms],
    faults: &mut Vec<ConfigError>,
) -> Vec<Issuer> {
    if written.len() > MAX_ISSUERS {
        faults.push(wrong("oidc", format!("expected at most {MAX_ISSUERS}, got {}", written.len())));
    }
    let mut issuers: Vec<Issuer> = Vec::new();
    for written in written {
        if issuers.iter().any(|known| known.issuer == written.issuer) {
            faults.push(wrong("oidc.issuer", "stands twice"));
        }
        let names = [&written.issuer, &written.audience, &written.claim];
        if names.iter().any(|name| name.is_empty()) {
            faults.push(wrong("oidc", "issuer, audience and claim must not be empty"));
        }
        if written.tenants.is_empty() || written.tenants.len() > MAX_NAMES {
            faults.push(wrong("oidc.tenants", format!("expected 1 to {MAX_NAMES} values of the claim")));
        }
        for tenant in written.tenants.values() {
            check_tenant("oidc.tenants", (tenant, written.scopes), tenants, faults);
        }
        let text = match (&written.jwks, &written.jwks_file) {
            (Some(text), None) => Some(text.as_str()),
            (None, Some(file)) => files.get(file).map(String::as_str),
            _ => None,
        };
        let Some(text) = text else {
            faults
                .push(wrong("oidc", "expected the keys, either in jwks or in the file that jwks_file names"));
            continue;
        };
        match Jwks::from_json_with_rsa(text.as_bytes()) {
            Ok(keys) => {
                let WrittenIssuer { issuer, audience, claim, tenants, scopes, .. } = written;
                issuers.push(Issuer { issuer, audience, keys, claim, tenants, scopes });
            }
            Err(error) => faults.push(wrong("oidc.jwks", error)),
        }
    }
    issuers
}

pub(super) fn clients(
    (written, named): (Option<&WrittenClients>, Vec<WrittenClient>),
    files: &Files,
    tenants: &[TenantTerms],
    faults: &mut Vec<ConfigError>,
) -> (Option<Clients>, Vec<NamedClient>) {
    let clients = written.and_then(|written| {
        let certificates =
            if written.required { ClientCertificates::Required } else { ClientCertificates::Optional };
        let Some(pem) = files.get(&written.ca_file) else {
            faults.push(wrong("clients.ca_file", "the file is not there"));
            return None;
        };
        match ClientAuthorities::from_pem(pem.as_bytes(), certificates) {
            Ok(authorities) => Some(Clients { authorities, pem: pem.clone(), is_required: written.required }),
            Err(error) => {
                faults.push(wrong("clients.ca_file", error));
                None
            }
        }
    });
    if !named.is_empty() && written.is_none() {
        faults.push(wrong("client", "without [clients], nobody is asked for a certificate"));
    }
    if named.len() > MAX_NAMES {
        faults.push(wrong("client", format!("expected at most {MAX_NAMES}, got {}", named.len())));
    }
    for WrittenClient { tenant, scopes, .. } in &named {
        check_tenant("client.tenant", (tenant, *scopes), tenants, faults);
    }
    let named =
        named.into_iter().map(|WrittenClient { name, tenant, scopes }| NamedClient { name, tenant, scopes });
    (clients, named.collect())
}

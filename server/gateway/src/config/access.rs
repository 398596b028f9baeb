//! `[[tenant]]`, `[[key]]` and the file of keys: who may call.

use super::limits::{MAX_IN_FLIGHT, within};
use super::{ConfigError, wrong};
use crate::keys::TenantTerms;
use crate::quota::Quotas;
use anchorhold_api_keys::{Key, KeyFile, Scopes, TenantName};
use serde::Deserialize;

/// The largest share of a tenant.
const MAX_SHARE: u32 = 1000;
/// The most tenants; each may have a place in every worker's queue.
const MAX_TENANTS: usize = 1024;
/// The most models that a tenant's table names.
const MAX_MODELS: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenTenant {
    name: TenantName,
    #[serde(default = "one")]
    share: u32,
    #[serde(default)]
    scopes: Option<Scopes>,
    #[serde(default)]
    requests_per_minute: Option<u32>,
    #[serde(default)]
    tokens_per_minute: Option<u32>,
    #[serde(default)]
    concurrency: Option<usize>,
    #[serde(default)]
    models: Option<Vec<String>>,
}

const fn one() -> u32 {
    1
}

/// The tenants; what is wrong with them goes to `faults`.
pub(super) fn tenants(
    written: Vec<WrittenTenant>,
    in_flight: usize,
    faults: &mut Vec<ConfigError>,
) -> Vec<TenantTerms> {
    if written.is_empty() {
        faults.push(wrong("tenant", "there is none, so nobody could call"));
    }
    if written.len() > MAX_TENANTS {
        faults.push(wrong("tenant", format!("expected 1 to {MAX_TENANTS}, got {}", written.len())));
    }
    let mut names = std::collections::HashSet::new();
    for tenant in &written {
        if !names.insert(tenant.name.clone()) {
            faults.push(wrong("tenant.name", format!("{} stands twice", tenant.name)));
        }
    }
    written.into_iter().map(|tenant| tenant.check(in_flight, faults)).collect()
}

impl WrittenTenant {
    fn check(self, in_flight: usize, faults: &mut Vec<ConfigError>) -> TenantTerms {
        let Self { name, scopes, models, requests_per_minute, tokens_per_minute, .. } = self;
        let share = within("tenant.share", (self.share, MAX_SHARE), faults);
        let rates = [
            ("tenant.requests_per_minute", requests_per_minute),
            ("tenant.tokens_per_minute", tokens_per_minute),
        ];
        for (key, _) in rates.into_iter().filter(|(_, rate)| *rate == Some(0)) {
            faults.push(wrong(key, "expected at least 1; leave it away for no limit"));
        }
        let concurrency = self.concurrency.unwrap_or(in_flight);
        let concurrency = within("tenant.concurrency", (concurrency, MAX_IN_FLIGHT), faults);
        if models.as_ref().is_some_and(|models| models.is_empty() || models.len() > MAX_MODELS) {
            let reason =
                format!("expected at least one and at most {MAX_MODELS}; leave it away for all models");
            faults.push(wrong("tenant.models", reason));
        }
        let scopes = scopes.unwrap_or_else(Scopes::of_callers);
        let quotas = Quotas { requests_per_minute, tokens_per_minute, concurrency };
        TenantTerms { name, share, scopes, quotas, models }
    }
}

/// The keys of both files; what is wrong with them goes to `faults`.
pub(super) fn keys(
    own: Vec<Key>,
    more: Option<&str>,
    tenants: &[TenantTerms],
    faults: &mut Vec<ConfigError>,
) -> Vec<Key> {
    let more = more.map_or_else(|| Ok(KeyFile::default()), KeyFile::parse);
    let more = more.map_err(|error| faults.push(wrong("keys_file", error))).unwrap_or_default();
    let all = KeyFile::of([own, more.keys().to_vec()].concat());
    let all = all.map_err(|error| faults.push(wrong("key", error))).unwrap_or_default();
    for key in all.keys() {
        let Some(tenant) = tenants.iter().find(|tenant| tenant.name == key.tenant) else {
            faults.push(wrong("key.tenant", format!("there is no [[tenant]] {}", key.tenant)));
            continue;
        };
        let beyond = key.scopes.filter(|scopes| !scopes.is_within(tenant.scopes));
        if let Some(scopes) = beyond {
            let words: Vec<_> = scopes
                .iter()
                .filter(|scope| !tenant.scopes.contains(*scope))
                .map(|scope| scope.word())
                .collect();
            faults.push(wrong("key.scopes", format!("{} may not use {}", tenant.name, words.join(", "))));
        }
    }
    all.keys().to_vec()
}

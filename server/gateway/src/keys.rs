//! Who may call: tenants and the digests of their keys. The keys themselves are nowhere.

use crate::words::random;
use anchorhold_ipc::{CacheDomain, Tenancy};
use anchorhold_rats::Sha256Digest;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use std::sync::Arc;
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};
use tokio::sync::Semaphore;

/// The most keys; each call is compared with all of them.
pub const MAX_KEYS: usize = 1024;
/// The longest key that is looked at, in bytes.
pub const MAX_KEY_BYTES: usize = 512;

/// One line of the settings.
pub(crate) struct TenantKey {
    pub(crate) tenant: String,
    pub(crate) digest: Sha256Digest,
    /// The tenant's share of the work; the same on each of its lines.
    pub(crate) share: u32,
}

/// Someone with at least one key.
#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) name: String,
    /// What workers know of it: a domain that is drawn anew when the gateway starts, and its share.
    pub(crate) tenancy: Tenancy,
    /// As many permits as requests may run at once.
    pub(crate) in_flight: Arc<Semaphore>,
}

/// All keys.
#[derive(Debug)]
pub struct Keyring {
    tenants: Vec<Arc<Tenant>>,
    /// Digest of a key, and whose it is.
    keys: Vec<(Sha256Digest, u32)>,
}

impl Keyring {
    pub(crate) fn new(written: Vec<TenantKey>, in_flight: usize) -> Result<Self, String> {
        if written.is_empty() || written.len() > MAX_KEYS {
            return Err(format!("expected 1 to {MAX_KEYS} keys, got {}", written.len()));
        }
        let mut ring = Self { tenants: Vec::new(), keys: Vec::new() };
        for TenantKey { tenant, digest, share } in written {
            if ring.keys.iter().any(|(known, _)| *known == digest) {
                return Err("a digest appears twice".to_owned());
            }
            let known = ring.tenants.iter().position(|known| known.name == tenant);
            let place = match known {
                Some(place) => place,
                None => {
                    let domain = CacheDomain(random().ok_or("the system gives no randomness")?);
                    let (tenancy, in_flight) =
                        (Tenancy { domain, share }, Arc::new(Semaphore::new(in_flight)));
                    ring.tenants.push(Arc::new(Tenant { name: tenant, tenancy, in_flight }));
                    ring.tenants.len() - 1
                }
            };
            if ring.tenants.get(place).is_none_or(|tenant| tenant.tenancy.share != share) {
                return Err("keys of one tenant give it different shares".to_owned());
            }
            ring.keys.push((digest, u32::try_from(place).map_err(|_| "too many tenants")?));
        }
        Ok(ring)
    }

    /// Whose key this request carries: exactly one `authorization: Bearer KEY`, the scheme in any case.
    ///
    /// The time depends on the number of keys and the length of the one given, not on which one matches or how far.
    pub(crate) fn find(&self, headers: &HeaderMap) -> Option<&Arc<Tenant>> {
        let mut given = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (given.next(), given.next()) else { return None };
        let (scheme, key) = value.as_bytes().split_at_checked(7)?;
        if !scheme.eq_ignore_ascii_case(b"bearer ") || key.is_empty() || key.len() > MAX_KEY_BYTES {
            return None;
        }
        let digest = Sha256Digest::of(key);
        let mut owner = 0_u32;
        let mut found = Choice::from(0);
        for (known, place) in &self.keys {
            let same = known.as_bytes().as_slice().ct_eq(digest.as_bytes().as_slice());
            owner.conditional_assign(place, same);
            found |= same;
        }
        let owner = usize::try_from(owner).ok()?;
        if bool::from(found) { self.tenants.get(owner) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring() -> Keyring {
        let key = |tenant: &str, key: &[u8]| TenantKey {
            tenant: tenant.to_owned(),
            digest: Sha256Digest::of(key),
            share: 1,
        };
        Keyring::new(vec![key("a", b"key-a"), key("b", b"key-b"), key("a", b"key-a2")], 1).unwrap()
    }

    fn owner(values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        ring().find(&headers).map(|tenant| tenant.name.clone())
    }

    #[test]
    fn finds_the_tenant_of_each_key() {
        for (value, tenant) in [("Bearer key-a", "a"), ("bearer key-b", "b"), ("BEARER key-a2", "a")] {
            assert_eq!(owner(&[value]).as_deref(), Some(tenant));
        }
    }

    #[test]
    fn tenants_have_domains_of_their_own() {
        let domain = |ring: &Keyring, at: usize| ring.tenants[at].tenancy.domain;
        let (one, other) = (ring(), ring());
        assert_eq!(one.tenants.len(), 2);
        assert_ne!(domain(&one, 0), domain(&one, 1));
        assert_ne!(domain(&one, 0), domain(&other, 0), "drawn anew at each start");
    }

    #[test]
    fn refuses_all_but_one_known_bearer_key() {
        let long = format!("Bearer {}", "k".repeat(MAX_KEY_BYTES + 1));
        for value in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer key-",
            "Bearer key-aa",
            "Bearer KEY-A",
            "Bearer  key-a",
            "key-a",
            "Basic key-a",
            "Bearerkey-a",
            "Bearer key-a ,",
            &long,
        ] {
            assert_eq!(owner(&[value]), None, "{value}");
        }
        assert_eq!(owner(&[]), None);
        assert_eq!(owner(&["Bearer key-a", "Bearer key-a"]), None);
    }
}

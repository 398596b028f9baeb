//! Who may call: tenants and the digests of their keys. The keys themselves are nowhere.

use crate::config::NamedClient;
use crate::oidc::{self, Issuer, MAX_TOKEN_BYTES};
use crate::quota::{Quota, Quotas};
use crate::words::random;
use anchorhold_api_keys::{Key, Label, Scopes, TenantName};
use anchorhold_channel::peer::PeerCertificate;
use anchorhold_ipc::{CacheDomain, CallerAuth, Reason, Tenancy};
use anchorhold_rats::{Sha256Digest, Timestamp};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use std::sync::Arc;
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

/// The longest key that is looked at, in bytes.
pub const MAX_KEY_BYTES: usize = 512;

/// What the settings say of a tenant.
#[derive(Debug, Clone)]
pub(crate) struct TenantTerms {
    pub(crate) name: TenantName,
    /// Its part of a model's work when others want it too.
    pub(crate) share: u32,
    pub(crate) scopes: Scopes,
    pub(crate) quotas: Quotas,
    /// The models that it may ask and see; `None` is all of them.
    pub(crate) models: Option<Vec<String>>,
}

/// Someone with at least one way in.
#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) name: TenantName,
    /// What workers know of it: a domain that is drawn anew when the gateway starts, and its share.
    pub(crate) tenancy: Tenancy,
    scopes: Scopes,
    models: Option<Vec<String>>,
    /// What it uses; the same when settings are read again.
    pub(crate) quota: Arc<Quota>,
}

impl Tenant {
    /// Whether it may ask this model, and learn that it is there.
    pub(crate) fn may_ask(&self, model: &str) -> bool {
        self.models.as_ref().is_none_or(|models| models.iter().any(|own| own == model))
    }
}

/// How long before its end a key is told of.
const SOON_SECONDS: i64 = 7 * 24 * 3600;

/// How many of these keys are good at `at` and will not be in a week.
pub(crate) fn expiring(keys: &[Key], at: Timestamp) -> usize {
    let soon = at.plus_seconds(SOON_SECONDS);
    let ends = |key: &&Key| key.expires.is_some_and(|expires| expires > at && expires <= soon);
    keys.iter().filter(ends).count()
}

/// A way in that a caller showed.
#[derive(Debug, Clone)]
pub(crate) struct Granted {
    pub(crate) tenant: Arc<Tenant>,
    /// What it may be used for.
    pub(crate) scopes: Scopes,
    pub(crate) auth: CallerAuth,
    /// The key that was shown, if it was one.
    pub(crate) key: Option<ShownKey>,
}

/// A key by its public names.
#[derive(Debug, Clone)]
pub(crate) struct ShownKey {
    /// The first six bytes of its digest, which its id is in hex.
    pub(crate) id: [u8; 6],
    pub(crate) label: Option<Label>,
}

impl ShownKey {
    fn of(key: &Key) -> Option<Self> {
        Some(Self { id: *key.sha256.as_bytes().first_chunk()?, label: key.label.clone() })
    }
}

/// Why a caller is not let in. Callers are not told which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoEntry {
    /// No key, more than one, or none that is known.
    Unknown,
    /// A known key, or a token, before its time.
    NotYet,
    /// A known key, or a token, after its time.
    Expired,
    /// A token that is not believed, or whose holder is nobody here.
    Token,
}

impl NoEntry {
    /// The word for the logs.
    pub(crate) const fn told(self) -> Reason {
        match self {
            Self::Unknown => Reason::KeyUnknown,
            Self::NotYet => Reason::NotYetValid,
            Self::Expired => Reason::Expired,
            Self::Token => Reason::TokenRefused,
        }
    }
}

/// All tenants, and the ways in: keys, tokens of issuers, certificates of clients.
#[derive(Debug)]
pub(crate) struct Keyring {
    tenants: Vec<Arc<Tenant>>,
    keys: Vec<OwnedKey>,
    issuers: Vec<Issuer>,
    clients: Vec<NamedClient>,
}

#[derive(Debug)]
struct OwnedKey {
    key: Key,
    tenant: Arc<Tenant>,
}

/// The system gives no randomness for a tenant's cache domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoRandomness;

impl Keyring {
    /// Tenants go on with the domain and the use that they have in `before`. A key of nobody opens nothing.
    pub(crate) fn new(
        terms: &[TenantTerms],
        keys: &[Key],
        before: Option<&Self>,
    ) -> Result<Self, NoRandomness> {
        let known = |name: &TenantName| before?.tenants.iter().find(|tenant| tenant.name == *name);
        let tenants = terms
            .iter()
            .map(|terms| {
                let (domain, quota) = match known(&terms.name) {
                    Some(tenant) => {
                        tenant.quota.change(terms.quotas);
                        (tenant.tenancy.domain, Arc::clone(&tenant.quota))
                    }
                    None => {
                        let domain = CacheDomain(random().ok_or(NoRandomness)?);
                        (domain, Arc::new(Quota::new(terms.quotas)))
                    }
                };
                Ok(Arc::new(Tenant {
                    name: terms.name.clone(),
                    tenancy: Tenancy { domain, share: terms.share },
                    scopes: terms.scopes,
                    models: terms.models.clone(),
                    quota,
                }))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let owner = |key: &Key| tenants.iter().find(|tenant| tenant.name == key.tenant).cloned();
        let keys =
            keys.iter().filter_map(|key| Some(OwnedKey { key: key.clone(), tenant: owner(key)? })).collect();
        Ok(Self { tenants, keys, issuers: Vec::new(), clients: Vec::new() })
    }

    /// With these ways in beside keys.
    pub(crate) fn with(self, issuers: &[Issuer], clients: &[NamedClient]) -> Self {
        Self { issuers: issuers.to_vec(), clients: clients.to_vec(), ..self }
    }

    /// What this request's credential opens: exactly one `authorization: Bearer CREDENTIAL`, the scheme in any case, or else the
    /// certificate that its connection showed. Who sends a credential is judged by that alone.
    ///
    /// # Errors
    /// [`NoEntry`].
    pub(crate) fn find(
        &self,
        headers: &HeaderMap,
        certificate: Option<&PeerCertificate>,
        now: Timestamp,
    ) -> Result<Granted, NoEntry> {
        if let (Some(certificate), false) = (certificate, headers.contains_key(AUTHORIZATION)) {
            let known = self.clients.iter().find(|client| certificate.is_named(&client.name));
            let NamedClient { tenant, scopes, .. } = known.ok_or(NoEntry::Unknown)?;
            return self.granted(tenant, *scopes, CallerAuth::Certificate);
        }
        let credential = bearer(headers).ok_or(NoEntry::Unknown)?;
        match self.key(credential, now) {
            Err(NoEntry::Unknown) if !self.issuers.is_empty() && oidc::is_token(credential) => {
                let (tenant, scopes) = oidc::judge(&self.issuers, credential, now)?;
                self.granted(tenant, scopes, CallerAuth::Token)
            }
            found => found,
        }
    }

    fn granted(
        &self,
        tenant: &TenantName,
        scopes: Option<Scopes>,
        auth: CallerAuth,
    ) -> Result<Granted, NoEntry> {
        let tenant = self.tenants.iter().find(|known| known.name == *tenant).ok_or(NoEntry::Unknown)?;
        let scopes = scopes.map_or(tenant.scopes, |own| own.and(tenant.scopes));
        Ok(Granted { tenant: Arc::clone(tenant), scopes, auth, key: None })
    }

    /// What a key opens.
    ///
    /// The time depends on the number of keys and the length of the one given, not on which one matches or how far.
    fn key(&self, key: &[u8], now: Timestamp) -> Result<Granted, NoEntry> {
        if key.len() > MAX_KEY_BYTES {
            return Err(NoEntry::Unknown);
        }
        let digest = Sha256Digest::of(key);
        let mut owner = 0_u32;
        let mut found = Choice::from(0);
        for (place, own) in (0_u32..).zip(&self.keys) {
            let same = own.key.sha256.as_bytes().as_slice().ct_eq(digest.as_bytes().as_slice());
            owner.conditional_assign(&place, same);
            found |= same;
        }
        let owner = usize::try_from(owner).ok().filter(|_| found.into());
        let OwnedKey { key, tenant } = owner.and_then(|at| self.keys.get(at)).ok_or(NoEntry::Unknown)?;
        if key.not_before.is_some_and(|not_before| now < not_before) {
            return Err(NoEntry::NotYet);
        }
        if key.expires.is_some_and(|expires| now >= expires) {
            return Err(NoEntry::Expired);
        }
        let scopes = key.scopes.map_or(tenant.scopes, |own| own.and(tenant.scopes));
        Ok(Granted { tenant: Arc::clone(tenant), scopes, auth: CallerAuth::Key, key: ShownKey::of(key) })
    }
}

/// The one bearer credential of a request.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (given.next(), given.next()) else { return None };
    let (scheme, key) = value.as_bytes().split_at_checked(7)?;
    let is_key = scheme.eq_ignore_ascii_case(b"bearer ") && (1..=MAX_TOKEN_BYTES).contains(&key.len());
    is_key.then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anchorhold_api_keys::Scope;

    fn terms(name: &str) -> TenantTerms {
        TenantTerms {
            name: name.parse().unwrap(),
            share: 1,
            scopes: Scopes::of_callers(),
            quotas: Quotas { requests_per_minute: Some(2), tokens_per_minute: None, concurrency: 1 },
            models: None,
        }
    }

    fn key(tenant: &str, key: &str) -> Key {
        Key {
            tenant: tenant.parse().unwrap(),
            sha256: Sha256Digest::of(key.as_bytes()),
            label: None,
            not_before: None,
            expires: None,
            scopes: None,
        }
    }

    fn ring() -> Keyring {
        let keys = [key("a", "key-a"), key("b", "key-b"), key("a", "key-a2"), key("gone", "key-gone")];
        Keyring::new(&[terms("a"), terms("b")], &keys, None).unwrap()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(seconds)
    }

    fn find(ring: &Keyring, values: &[&str], now: i64) -> Result<Granted, NoEntry> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        ring.find(&headers, None, at(now))
    }

    fn owner(values: &[&str]) -> Option<String> {
        find(&ring(), values, 0).ok().map(|granted| granted.tenant.name.to_string())
    }

    #[test]
    fn finds_the_tenant_of_each_key() {
        for (value, tenant) in [("Bearer key-a", "a"), ("bearer key-b", "b"), ("BEARER key-a2", "a")] {
            assert_eq!(owner(&[value]).as_deref(), Some(tenant));
        }
    }

    #[test]
    fn tenants_have_domains_of_their_own_and_keep_them_when_settings_are_read_again() {
        let domain = |ring: &Keyring, at: usize| ring.tenants[at].tenancy.domain;
        let (one, other) = (ring(), ring());
        assert_ne!(domain(&one, 0), domain(&one, 1));
        assert_ne!(domain(&one, 0), domain(&other, 0), "drawn anew at each start");
        let turn = one.tenants[0].quota.enter(1).unwrap();
        let again = Keyring::new(&[terms("b"), terms("a")], &[key("a", "new")], Some(&one)).unwrap();
        assert_eq!((domain(&again, 1), domain(&again, 0)), (domain(&one, 0), domain(&one, 1)));
        assert!(again.tenants[1].quota.enter(1).is_err(), "what runs still counts");
        drop(turn);
        assert!(again.tenants[1].quota.enter(1).is_ok());
        assert_eq!(find(&again, &["Bearer key-a"], 0).unwrap_err(), NoEntry::Unknown);
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
            "Bearer key-gone",
            &long,
            "Bearer a.b.c",
        ] {
            assert_eq!(owner(&[value]), None, "{value}");
        }
        assert_eq!(owner(&[]), None);
        assert_eq!(owner(&["Bearer key-a", "Bearer key-a"]), None);
    }

    #[test]
    fn a_key_has_its_time() {
        let timed = Key { not_before: Some(at(10)), expires: Some(at(20)), ..key("a", "timed") };
        let ring = Keyring::new(&[terms("a")], &[timed], None).unwrap();
        let find = |now| find(&ring, &["Bearer timed"], now).map(|_| ());
        assert_eq!(
            [find(9), find(10), find(19), find(20)],
            [Err(NoEntry::NotYet), Ok(()), Ok(()), Err(NoEntry::Expired)]
        );
    }

    #[test]
    fn a_key_opens_no_more_than_its_tenant_may() {
        let narrow: Scopes = [Scope::Embed, Scope::Metrics].into_iter().collect();
        let keys = [Key { scopes: Some(narrow), ..key("a", "narrow") }, key("a", "whole")];
        let ring = Keyring::new(&[terms("a")], &keys, None).unwrap();
        let scopes = |key: &str| find(&ring, &[key], 0).unwrap().scopes;
        assert_eq!(scopes("Bearer narrow").to_string(), "embed");
        assert_eq!(scopes("Bearer whole"), Scopes::of_callers());
    }

    #[test]
    fn a_tenant_asks_the_models_that_are_named() {
        let named = TenantTerms { models: Some(vec!["chat".to_owned()]), ..terms("a") };
        let ring = Keyring::new(&[named, terms("b")], &[], None).unwrap();
        let may = |at: usize, model| ring.tenants[at].may_ask(model);
        assert_eq!([may(0, "chat"), may(0, "other"), may(1, "other")], [true, false, true]);
    }
}

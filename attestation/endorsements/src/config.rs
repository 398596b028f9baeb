//! Where vendors are asked, and how patiently.

use crate::item::Update;
use anchorhold_verifier::snp::Product;
use http::Uri;
use http::header::HeaderValue;
use http::uri::Scheme;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

/// Text that is no base URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BaseUrlError {
    /// Not `https://host[:port][/path]`.
    #[error("not a URL of the form https://host[:port][/path]")]
    Form,
    /// Plain HTTP to another machine.
    #[error("plain http is only for this machine, unless it is named insecure")]
    PlainHttp,
}

/// Where a service is: scheme, host, port and a path before its own. A mirror, a PCCS or a proxy in front of the vendor
/// has another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl {
    text: String,
    host: String,
}

impl BaseUrl {
    /// An `https` URL, or an `http` URL of this machine, without user, query and fragment.
    ///
    /// # Errors
    /// [`BaseUrlError`].
    pub fn new(text: &str) -> Result<Self, BaseUrlError> {
        let (base, scheme) = Self::read(text)?;
        let local = base.host == "localhost"
            || base
                .host
                .trim_matches(['[', ']'])
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback());
        if scheme == Scheme::HTTPS || local { Ok(base) } else { Err(BaseUrlError::PlainHttp) }
    }

    /// The same, but with plain `http` to any host. Endorsements are signed, so nobody on the way can forge one; but they
    /// can see which chips are asked about, send old ones, and read a bearer token.
    ///
    /// # Errors
    /// [`BaseUrlError::Form`].
    pub fn insecure_plain_http(text: &str) -> Result<Self, BaseUrlError> {
        Self::read(text).map(|(base, _)| base)
    }

    fn read(text: &str) -> Result<(Self, Scheme), BaseUrlError> {
        let uri: Uri = text.parse().map_err(|_| BaseUrlError::Form)?;
        let (Some(scheme), Some(authority)) = (uri.scheme().cloned(), uri.authority()) else {
            return Err(BaseUrlError::Form);
        };
        let known = scheme == Scheme::HTTPS || scheme == Scheme::HTTP;
        let host = authority.host().to_ascii_lowercase();
        // A port that is no number in range leaves the authority with a colon but without a port.
        let port_broken = authority.port_u16().is_none() && authority.as_str() != authority.host();
        let extra = uri.query().is_some() || text.contains(['#', '@']);
        if !known || host.is_empty() || port_broken || extra {
            return Err(BaseUrlError::Form);
        }
        Ok((Self { text: text.trim_end_matches('/').to_owned(), host }, scheme))
    }

    /// The host, for messages.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The URL of `path` (with its query) below this one.
    pub(crate) fn join(&self, path: &str) -> Option<Uri> {
        format!("{}{path}", self.text).parse().ok()
    }
}

/// A token that is sent as `authorization: Bearer`; prints as its type name.
#[derive(Clone)]
pub struct BearerToken(HeaderValue);

impl BearerToken {
    /// A token of visible ASCII; `None` for anything else.
    #[must_use]
    pub fn new(token: &str) -> Option<Self> {
        let plain = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok().filter(|_| plain)?;
        value.set_sensitive(true);
        Some(Self(value))
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken")
    }
}

/// One service.
#[derive(Debug, Clone)]
pub struct Source {
    /// Where it is.
    pub base: BaseUrl,
    /// What it wants to see of its callers; vendors ask for none as a rule.
    pub bearer: Option<BearerToken>,
}

impl From<BaseUrl> for Source {
    fn from(base: BaseUrl) -> Self {
        Self { base, bearer: None }
    }
}

/// Where the revocation list of Intel's root is.
#[derive(Debug, Clone)]
pub enum RootCrl {
    /// At this service as `/IntelSGXRootCA.der`, as Intel publishes it.
    Certificates(Source),
    /// At [`Config::pcs`], which is a PCCS, as `/sgx/certification/v4/rootcacrl`.
    Pccs,
}

/// Whether AMD's intermediates are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intermediates {
    /// No: the verifier has those of all products.
    BuiltIn,
    /// Yes: for roots that are not the vendor's, or for an intermediate that is newer than the verifier.
    Fetched,
}

/// What may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The cache, and the network for what it lacks or holds too long.
    CacheFirst,
    /// The network alone; the cache is filled with what it says. For use after evidence was refused over what the cache
    /// said.
    Refresh,
    /// The cache alone.
    Offline,
}

/// How often and when a request is sent again.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// Attempts in all, the first one included.
    pub attempts: u32,
    /// The wait after the first attempt; it doubles with each.
    pub first_wait: Duration,
    /// The longest wait. A service that asks for a longer one is not asked again.
    pub longest_wait: Duration,
}

/// Times and numbers that bound one call. A time of over a day counts as a day.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For one attempt: connection, request and whole answer.
    pub request_timeout: Duration,
    /// For all attempts at all items of one call.
    pub total_timeout: Duration,
    /// How often a request is sent again.
    pub retry: Retry,
    /// The most requests that are under way at once.
    pub parallel: NonZeroUsize,
}

/// How long something is kept before it is asked for again, in seconds. Never beyond the end that the vendor states; and
/// where the vendor cannot be reached, up to that end.
#[derive(Debug, Clone, Copy)]
pub struct Ages {
    /// Intermediates of AMD. (A VCEK is kept as long as it is valid: another TCB has another one.)
    pub certificates: i64,
    /// Revocation lists.
    pub revocation_lists: i64,
    /// TCB info and identity of the quoting enclave.
    pub statements: i64,
    /// Reference manifests.
    pub manifests: i64,
    /// OCSP responses.
    pub ocsp: i64,
    /// That a service has no such thing; kept in memory only.
    pub absent: i64,
}

/// All settings of a store.
#[derive(Debug, Clone)]
pub struct Config {
    /// AMD's key distribution service or a mirror.
    pub kds: Source,
    /// Intel's provisioning certification service or a PCCS.
    pub pcs: Source,
    /// Where the revocation list of Intel's root is.
    pub root_crl: RootCrl,
    /// NVIDIA's RIM service or a mirror.
    pub rim: Source,
    /// NVIDIA's OCSP responder; asked at the path of the base URL itself.
    pub ocsp: Source,
    /// Which TCB evaluation of Intel is asked for.
    pub update: Update,
    /// The product of SNP reports of version 2, which do not state it. Without it, Milan is tried before Genoa; no
    /// other product makes such reports.
    pub assumed_product: Option<Product>,
    /// Whether AMD's intermediates are asked for.
    pub intermediates: Intermediates,
    /// What may answer.
    pub mode: Mode,
    /// Times and numbers.
    pub limits: Limits,
    /// How long things are kept.
    pub ages: Ages,
}

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

impl Default for Limits {
    /// 10 s for an attempt, 60 s for all, 4 attempts with waits from 0.5 s to 10 s, 4 requests at once.
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(10),
            total_timeout: Duration::from_secs(60),
            retry: Retry {
                attempts: 4,
                first_wait: Duration::from_millis(500),
                longest_wait: Duration::from_secs(10),
            },
            parallel: const { NonZeroUsize::new(4).unwrap() },
        }
    }
}

impl Default for Ages {
    /// Certificates 30 days; revocation lists and statements a day, though vendors sign them for a month or a year, so that
    /// a revocation is known within a day; manifests a week; OCSP half a day; absence a minute.
    fn default() -> Self {
        Self {
            certificates: 30 * DAY,
            revocation_lists: DAY,
            statements: DAY,
            manifests: 7 * DAY,
            ocsp: DAY / 2,
            absent: 60,
        }
    }
}

impl Config {
    /// The vendors' own services, with the default limits.
    #[must_use]
    pub fn production() -> Self {
        let at =
            |host: &str| Source::from(BaseUrl { text: format!("https://{host}"), host: host.to_owned() });
        Self {
            kds: at("kdsintf.amd.com"),
            pcs: at("api.trustedservices.intel.com"),
            root_crl: RootCrl::Certificates(at("certificates.trustedservices.intel.com")),
            rim: at("rim.attestation.nvidia.com"),
            ocsp: at("ocsp.ndis.nvidia.com"),
            update: Update::default(),
            assumed_product: None,
            intermediates: Intermediates::BuiltIn,
            mode: Mode::CacheFirst,
            limits: Limits::default(),
            ages: Ages::default(),
        }
    }

    /// The same, with a PCCS in place of Intel's services.
    #[must_use]
    pub fn with_pccs(self, pccs: Source) -> Self {
        Self { pcs: pccs, root_crl: RootCrl::Pccs, ..self }
    }

    /// The same, with each mirror that is named in place of the vendor's service.
    #[must_use]
    pub fn with_mirrors(self, mirrors: Mirrors) -> Self {
        let Mirrors { pccs, kds, rim, ocsp } = mirrors;
        let or = |mirror: Option<BaseUrl>, own: Source| mirror.map_or(own, Source::from);
        let config =
            Self { kds: or(kds, self.kds), rim: or(rim, self.rim), ocsp: or(ocsp, self.ocsp), ..self };
        match pccs {
            Some(pccs) => config.with_pccs(pccs.into()),
            None => config,
        }
    }
}

/// Mirrors of the vendors' services, as an operator names them.
#[derive(Debug, Clone, Default)]
pub struct Mirrors {
    /// A PCCS, for all that Intel says.
    pub pccs: Option<BaseUrl>,
    /// For AMD's key distribution service.
    pub kds: Option<BaseUrl>,
    /// For NVIDIA's RIM service.
    pub rim: Option<BaseUrl>,
    /// For NVIDIA's OCSP responder.
    pub ocsp: Option<BaseUrl>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_takes_the_place_of_its_own_service_and_no_other() {
        let named = BaseUrl::new("https://mirror.example").unwrap();
        let mirrored = |mirrors| {
            let config = Config::production().with_mirrors(mirrors);
            let sources = [&config.kds, &config.pcs, &config.rim, &config.ocsp];
            let replaced = sources.map(|source| format!("{source:?}").contains("mirror.example"));
            (replaced, matches!(config.root_crl, RootCrl::Pccs))
        };
        let none = Mirrors::default();
        let [t, f] = [true, false];
        assert_eq!(mirrored(none.clone()), ([f, f, f, f], f));
        assert_eq!(mirrored(Mirrors { kds: Some(named.clone()), ..none.clone() }), ([t, f, f, f], f));
        assert_eq!(mirrored(Mirrors { pccs: Some(named.clone()), ..none.clone() }), ([f, t, f, f], t));
        assert_eq!(mirrored(Mirrors { rim: Some(named.clone()), ..none.clone() }), ([f, f, t, f], f));
        assert_eq!(mirrored(Mirrors { ocsp: Some(named), ..none }), ([f, f, f, t], f));
    }

    #[test]
    fn plain_http_is_for_this_machine_unless_it_is_named_insecure() {
        for local in [
            "http://127.0.0.1:8080",
            "http://[::1]:8080/x",
            "http://localhost",
            "https://mirror.example/kds/",
        ] {
            assert!(BaseUrl::new(local).is_ok(), "{local}");
        }
        for remote in [
            "http://mirror.example",
            "http://10.0.0.1",
            "http://127.0.0.1.example",
            "http://localhost.example",
        ] {
            assert_eq!(BaseUrl::new(remote), Err(BaseUrlError::PlainHttp), "{remote}");
            assert!(BaseUrl::insecure_plain_http(remote).is_ok(), "{remote}");
        }
    }

    #[test]
    fn refuses_what_is_no_base_url() {
        for bad in [
            "",
            "mirror.example",
            "ftp://mirror.example",
            "https://user:secret@mirror.example",
            "https://mirror.example?key=secret",
            "https://mirror.example#x",
            "https://mirror.example:99999",
            "https://",
            "/path",
        ] {
            assert_eq!(BaseUrl::new(bad), Err(BaseUrlError::Form), "{bad}");
            assert_eq!(BaseUrl::insecure_plain_http(bad), Err(BaseUrlError::Form), "{bad}");
        }
    }

    #[test]
    fn joins_paths_below_the_base() {
        let base = BaseUrl::new("https://Mirror.example:8443/kds/").unwrap();
        assert_eq!(base.host(), "mirror.example");
        assert_eq!(base.join("/v1?a=b").unwrap().path_and_query().unwrap(), "/kds/v1?a=b");
        assert_eq!(BaseUrl::new("https://ocsp.example/").unwrap().join("").unwrap().path(), "/");
    }

    #[test]
    fn a_token_does_not_print() {
        let source = Source { bearer: BearerToken::new("hidden"), ..Config::production().rim };
        assert!(!format!("{source:?} {:?}", source.bearer.as_ref().unwrap().header()).contains("hidden"));
        assert!(BearerToken::new("two words").is_none());
        assert!(BearerToken::new("").is_none());
    }
}

//! The request for an item.

use crate::config::{Config, RootCrl, Source};
use crate::item::Item;
use crate::ocsp;
use crate::transport::Request;
use bytes::Bytes;
use http::{HeaderValue, Method, header};

const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("anchorhold/", env!("CARGO_PKG_VERSION")));

/// The service that is asked for `item`.
pub(crate) const fn source<'a>(config: &'a Config, item: &Item) -> &'a Source {
    match (item, &config.root_crl) {
        (Item::Vcek { .. } | Item::AmdChain { .. } | Item::AmdCrl { .. }, _) => &config.kds,
        (Item::IntelRootCrl, RootCrl::Certificates(source)) => source,
        (Item::TcbInfo { .. } | Item::QeIdentity { .. } | Item::PckCrl { .. } | Item::IntelRootCrl, _) => {
            &config.pcs
        }
        (Item::Rim(_), _) => &config.rim,
        (Item::Ocsp(_), _) => &config.ocsp,
    }
}

/// What to send; `None` where base URL and path make no URL.
pub(crate) fn request(config: &Config, item: &Item) -> Option<Request> {
    let source = source(config, item);
    let path = match (item, &config.root_crl) {
        (Item::IntelRootCrl, RootCrl::Certificates(_)) => "/IntelSGXRootCA.der".to_owned(),
        _ => item.path(),
    };
    let mut headers = vec![(header::USER_AGENT, USER_AGENT)];
    if let Some(bearer) = &source.bearer {
        headers.push((header::AUTHORIZATION, bearer.header()));
    }
    let (method, body) = if let Item::Ocsp(id) = item {
        headers.push((header::CONTENT_TYPE, HeaderValue::from_static("application/ocsp-request")));
        headers.push((header::ACCEPT, HeaderValue::from_static("application/ocsp-response")));
        (Method::POST, Bytes::from(ocsp::encode_request(id)))
    } else {
        (Method::GET, Bytes::new())
    };
    Some(Request { method, url: source.base.join(&path)?, headers, body, max_bytes: item.max_bytes() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{BaseUrl, BearerToken};
    use crate::item::{CertId, RimId, Update};

    #[test]
    fn each_vendor_is_asked_at_its_own_service() {
        let config = Config::production();
        let url = |config: &Config, item| request(config, &item).unwrap().url.to_string();
        assert_eq!(
            url(&config, Item::QeIdentity { update: Update::Standard }),
            "https://api.trustedservices.intel.com/tdx/certification/v4/qe/identity?update=standard"
        );
        assert_eq!(
            url(&config, Item::IntelRootCrl),
            "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
        );
        assert_eq!(
            url(&config, Item::Rim(RimId::new("NV_A").unwrap())),
            "https://rim.attestation.nvidia.com/v1/rim/NV_A"
        );
        let pccs = config.with_pccs(BaseUrl::new("https://pccs.example:8081").unwrap().into());
        assert_eq!(
            url(&pccs, Item::IntelRootCrl),
            "https://pccs.example:8081/sgx/certification/v4/rootcacrl"
        );
    }

    #[test]
    fn ocsp_is_asked_with_a_body_and_a_token_goes_only_to_its_service() {
        let mut config = Config::production();
        config.ocsp.bearer = BearerToken::new("secret");
        let id = CertId { issuer_name_hash: [1; 48], issuer_key_hash: [2; 48], serial: vec![3] };
        let asked = request(&config, &Item::Ocsp(Box::new(id.clone()))).unwrap();
        assert_eq!(asked.method, Method::POST);
        assert_eq!(asked.url, "https://ocsp.ndis.nvidia.com/");
        assert_eq!(asked.body, ocsp::encode_request(&id));
        assert!(
            asked
                .headers
                .iter()
                .any(|(name, value)| name == header::AUTHORIZATION && value == "Bearer secret")
        );
        let other = request(&config, &Item::IntelRootCrl).unwrap();
        assert!(other.headers.iter().all(|(name, _)| name != header::AUTHORIZATION));
    }
}

//! What the head of a request must be, and which header fields go on.

use super::Refused;
use http::header::{self, HeaderMap, HeaderName};
use http::uri::PathAndQuery;
use http::{Method, Request, StatusCode};
use std::net::IpAddr;

/// Which names a request may have in `host`: those of the loopback interface, and those that are named here. A web page that has
/// its own name point to this machine is refused by them.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    names: Vec<String>,
    any_address: bool,
}

impl Hosts {
    /// `localhost` and the addresses of the loopback interface.
    #[must_use]
    pub fn loopback() -> Self {
        Self::default()
    }

    /// Any IP address besides, which no page can have as its name, and these names.
    #[must_use]
    pub fn anywhere(names: &[String]) -> Self {
        Self { names: names.iter().map(|name| name.to_ascii_lowercase()).collect(), any_address: true }
    }

    /// Whether `authority`, as in `host`, is one of them, with any port.
    #[must_use]
    pub fn allow(&self, authority: &str) -> bool {
        let Ok(authority) = authority.parse::<http::uri::Authority>() else { return false };
        if authority.as_str().contains('@') {
            return false;
        }
        let host = authority.host().to_ascii_lowercase();
        let plain = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
        match plain.parse::<IpAddr>() {
            Ok(address) => self.any_address || address.is_loopback(),
            Err(_) => plain == "localhost" || self.names.iter().any(|name| name == plain),
        }
    }
}

/// Fields of one connection (RFC 9110, section 7.6.1), whichever way they go.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
/// Fields of a request that do not go on: `host` is replaced, the length is that of what was read, what the client expected it
/// has, and who else it passed through is nobody's business.
pub(super) const FROM_CLIENT: &[&str] =
    &["host", "content-length", "expect", "forwarded", "x-forwarded-for", "origin", "referer", "cookie"];
/// Fields of a response that do not go on: other places to go to, and what would open the endpoint to web pages.
pub(super) const FROM_UPSTREAM: &[&str] = &[
    "alt-svc",
    "strict-transport-security",
    "set-cookie",
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-expose-headers",
    "access-control-allow-private-network",
];

/// The fields that go on: all but those of the connection, those that `connection` names, and `more`.
pub(super) fn end_to_end(mut headers: HeaderMap, more: &[&str]) -> HeaderMap {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    for name in more {
        headers.remove(*name);
    }
    headers
}

/// The path and query to go on with.
pub(super) fn check<B>(request: &Request<B>, hosts: &Hosts) -> Result<PathAndQuery, Refused> {
    let (method, uri, headers) = (request.method(), request.uri(), request.headers());
    if [Method::CONNECT, Method::TRACE].contains(method) {
        let text = "this endpoint passes on requests for paths and opens no tunnels";
        return Err(Refused::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", text));
    }
    let path = uri.path_and_query().filter(|path| path.as_str().starts_with('/'));
    let (None, None, Some(path)) = (uri.scheme(), uri.authority(), path) else {
        let text = "wanted a path; this endpoint is no proxy for other hosts";
        return Err(Refused::new(StatusCode::BAD_REQUEST, "absolute_form_refused", text));
    };
    let mut names = headers.get_all(header::HOST).iter();
    let host = names.next().and_then(|host| host.to_str().ok());
    if names.next().is_some() || !host.is_some_and(|host| hosts.allow(host)) {
        let text = "the host header names neither this machine's loopback nor a name that was allowed";
        return Err(Refused::new(StatusCode::MISDIRECTED_REQUEST, "host_refused", text));
    }
    let foreign = |origin: &http::HeaderValue| {
        let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        !origin.is_some_and(|(_, authority)| hosts.allow(authority))
    };
    if headers.get_all(header::ORIGIN).iter().any(foreign) {
        let text = "requests of web pages are refused";
        return Err(Refused::new(StatusCode::FORBIDDEN, "origin_refused", text));
    }
    Ok(path.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(request: http::request::Builder) -> Option<&'static str> {
        check(&request.body(()).unwrap(), &Hosts::loopback()).err().map(|refused| refused.code)
    }

    fn get(uri: &str) -> http::request::Builder {
        Request::get(uri)
    }

    #[test]
    fn takes_paths_for_names_of_the_loopback_interface() {
        for host in ["localhost", "localhost:8787", "LOCALHOST", "127.0.0.1:8787", "127.9.9.9", "[::1]:8787"]
        {
            assert_eq!(refused(get("/v1/models?a=b").header("host", host)), None, "{host}");
        }
        let local = get("/").header("host", "localhost").header("origin", "http://localhost:3000");
        assert_eq!(refused(local), None);
    }

    #[test]
    fn refuses_other_hosts_so_that_no_page_reaches_it_by_a_name_of_its_own() {
        let others = [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "[::2]",
            "",
            "localhost@evil.example",
            "local host",
        ];
        for host in others {
            assert_eq!(refused(get("/").header("host", host)), Some("host_refused"), "{host}");
        }
        assert_eq!(refused(get("/")), Some("host_refused"));
        let twice = get("/").header("host", "localhost").header("host", "localhost");
        assert_eq!(refused(twice), Some("host_refused"));
        for origin in ["https://evil.example", "null", "http://localhost.evil.example"] {
            let page = get("/").header("host", "localhost").header("origin", origin);
            assert_eq!(refused(page), Some("origin_refused"), "{origin}");
        }
    }

    #[test]
    fn refuses_absolute_forms_tunnels_and_traces() {
        let host = |builder: http::request::Builder| builder.header("host", "localhost");
        assert_eq!(refused(host(get("http://localhost/v1"))), Some("absolute_form_refused"));
        assert_eq!(refused(host(get("https://models.example/"))), Some("absolute_form_refused"));
        assert_eq!(refused(host(Request::options("*"))), Some("absolute_form_refused"));
        assert_eq!(refused(host(Request::connect("models.example:443"))), Some("method_not_allowed"));
        assert_eq!(refused(host(Request::builder().method("TRACE").uri("/"))), Some("method_not_allowed"));
    }

    #[test]
    fn anywhere_takes_addresses_and_the_names_that_are_said() {
        let hosts = Hosts::anywhere(&["Proxy".to_owned()]);
        for host in ["10.0.0.1:8787", "proxy:8787", "localhost", "[fd00::1]"] {
            assert!(hosts.allow(host), "{host}");
        }
        assert!(!hosts.allow("evil.example"));
    }

    #[test]
    fn fields_of_the_connection_stay_behind_and_all_others_go_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Private"),
            ("x-private", "1"),
            ("keep-alive", "1"),
            ("proxy-authorization", "1"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("host", "localhost"),
            ("expect", "100-continue"),
            ("authorization", "Bearer key"),
            ("content-type", "application/json"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        let left = end_to_end(headers, FROM_CLIENT);
        let names: Vec<_> = left.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["authorization", "content-type"]);
    }
}

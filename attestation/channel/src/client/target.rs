//! Where a server is, as a person writes it.

use super::Error;
use rustls::pki_types::ServerName;
use std::fmt;
use std::str::FromStr;

const DEFAULT_PORT: u16 = 443;

/// `https://host[:port]` and nothing more: no path, no user, no other scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    host: String,
    port: u16,
}

impl Target {
    /// The host without brackets, for the resolver.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Host and port, as in the `host` header.
    #[must_use]
    pub fn authority(&self) -> String {
        let Self { host, port } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    pub(super) fn server_name(&self) -> Result<ServerName<'static>, Error> {
        ServerName::try_from(self.host.clone()).map_err(|_| Error::Target)
    }
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let uri: http::Uri = text.parse().map_err(|_| Error::Target)?;
        let authority = uri.authority().ok_or(Error::Target)?;
        let plain = uri.scheme_str() == Some("https")
            && uri.path() == "/"
            && uri.query().is_none()
            && !authority.as_str().contains('@');
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        // A port that is no number in range leaves the authority with a colon but without a port.
        let port_missing = authority.port_u16().is_none() && authority.as_str() != authority.host();
        if !plain || port_missing {
            return Err(Error::Target);
        }
        let target = Self { host, port: authority.port_u16().unwrap_or(DEFAULT_PORT) };
        target.server_name().map(|_| target)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_hosts_addresses_and_ports() {
        for (text, authority) in [
            ("https://models.example", "models.example:443"),
            ("https://models.example/", "models.example:443"),
            ("https://127.0.0.1:8443", "127.0.0.1:8443"),
            ("https://[::1]:8443", "[::1]:8443"),
        ] {
            assert_eq!(text.parse::<Target>().unwrap().authority(), authority, "{text}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "models.example",
            "http://models.example",
            "https://models.example/v1",
            "https://models.example/?a=b",
            "https://user@models.example",
            "https://models.example:99999",
            "https://models.example:",
            "https://",
            "",
        ] {
            assert!(matches!(text.parse::<Target>(), Err(Error::Target)), "{text}");
        }
    }
}

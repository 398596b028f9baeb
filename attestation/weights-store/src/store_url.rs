//! Where a package lies: `s3://bucket/prefix`, `https://host[:port]/path`, `http://…` or `file:///path`.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::Error;

/// The longest address, in bytes.
pub const MAX_URL_LEN: usize = 1024;

/// The kind of store and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A folder of this machine.
    File(PathBuf),
    /// A web server.
    Http {
        /// Whether the server is spoken to without TLS.
        plain: bool,
        /// Host and, if it is not the usual one, port.
        authority: String,
    },
    /// A bucket.
    S3 {
        /// Its name.
        bucket: String,
    },
}

/// The address of a package. Its path has neither empty nor relative parts, and nothing that would need an escape: the same
/// text means the same object in every store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreUrl {
    place: Place,
    /// Without slashes at its ends; empty for the root.
    prefix: String,
    text: String,
}

impl StoreUrl {
    /// The store.
    #[must_use]
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// The part of the path that every file of the package shares, without slashes at its ends.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for StoreUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_URL_LEN {
            return Err(Error::Address("longer than 1024 bytes"));
        }
        let (scheme, rest) = text.split_once("://").ok_or(Error::Address("no scheme such as s3://"))?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = path.strip_suffix('/').unwrap_or(path);
        if !prefix.is_empty() && !prefix.split('/').all(is_part) {
            return Err(Error::Address(
                "path is not of letters, digits, '.', '_', '-' in parts other than '.' and '..'",
            ));
        }
        let place = match scheme {
            "file" if !authority.is_empty() || prefix.is_empty() => {
                return Err(Error::Address("file:// needs an absolute path"));
            }
            "file" => Place::File(Path::new("/").join(prefix)),
            "https" | "http" => {
                if !is_authority(authority) {
                    return Err(Error::Address("host is not a name or address with an optional port"));
                }
                Place::Http { plain: scheme == "http", authority: authority.to_owned() }
            }
            "s3" => {
                check_bucket(authority)?;
                Place::S3 { bucket: authority.to_owned() }
            }
            _ => return Err(Error::Address("scheme is not s3, https, http or file")),
        };
        Ok(Self { place, prefix: prefix.to_owned(), text: text.to_owned() })
    }
}

fn is_part(part: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !matches!(part, "" | "." | "..") && part.bytes().all(plain)
}

/// A DNS name, an IPv4 address or an IPv6 address in brackets, and a port. No user and no password: they would be logged.
fn is_authority(authority: &str) -> bool {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if address.parse::<Ipv6Addr>().is_ok() => (None, port),
            _ => return false,
        },
        None => {
            let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            (Some(host), port)
        }
    };
    let is_host = |host: &str| host.len() <= 253 && host.split('.').all(is_label);
    host.is_none_or(is_host) && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

fn is_label(label: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(plain)
}

fn is_port(port: &str) -> bool {
    !port.starts_with('0') && port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

/// The rules for general purpose buckets, Amazon S3 user guide, "General purpose bucket naming rules".
fn check_bucket(bucket: &str) -> Result<(), Error> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    let edge = |byte: Option<&u8>| byte.is_some_and(|byte| *byte != b'-' && *byte != b'.');
    let bytes = bucket.as_bytes();
    let good = (3..=63).contains(&bytes.len())
        && bytes.iter().all(|byte| plain(*byte))
        && edge(bytes.first())
        && edge(bytes.last())
        && !bucket.contains("..");
    if good {
        Ok(())
    } else {
        Err(Error::Address("bucket is not of 3 to 63 small letters, digits, '-', '.'"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> StoreUrl {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn reads_each_kind() {
        let s3 = read("s3://acme-models/chat-70b/v7/");
        assert_eq!(s3.place(), &Place::S3 { bucket: "acme-models".into() });
        assert_eq!(s3.prefix(), "chat-70b/v7");
        assert_eq!(s3.to_string(), "s3://acme-models/chat-70b/v7/");
        let https = read("https://models.example:8443/a/b");
        let authority = "models.example:8443".to_owned();
        assert_eq!(https.place(), &Place::Http { plain: false, authority });
        assert_eq!(read("http://127.0.0.1:1").prefix(), "");
        assert_eq!(read("file:///srv/a").place(), &Place::File("/srv/a".into()));
        for good in ["https://[::1]/x", "https://[::1]:9/x", "https://h/", "s3://abc"] {
            read(good);
        }
    }

    #[test]
    fn refuses_what_would_mean_different_things_in_different_places() {
        let long = format!("s3://abc/{}", "a".repeat(MAX_URL_LEN));
        for bad in [
            "",
            "s3:",
            "/srv/a",
            "ftp://h/a",
            "S3://abc",
            "s3://ab",
            "s3://Abc",
            "s3://-abc",
            "s3://abc-",
            "s3://a..b",
            "s3://abc//a",
            "s3://abc/a//b",
            "s3://abc/../b",
            "s3://abc/./b",
            "s3://abc/a%2fb",
            "s3://abc/a b",
            "s3://abc/é",
            "s3://abc/a\0b",
            "s3://abc/a?b=c",
            "s3://abc/a#b",
            "https://",
            "https://u:p@h/a",
            "https://h:/a",
            "https://h:0/a",
            "https://h:01/a",
            "https://h:70000/a",
            "https://h:+1/a",
            "https://-h/a",
            "https://h..i/a",
            "https://[::1/a",
            "https://[::1]x/a",
            "https://[::1]:/a",
            "https://[h]/a",
            "https://h\n/a",
            "file://host/a",
            "file://",
            "file:///a/../b",
            &long,
        ] {
            let refused = bad.parse::<StoreUrl>();
            assert!(matches!(refused, Err(Error::Address(_))), "{bad:?}: {refused:?}");
        }
    }
}

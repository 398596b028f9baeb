//! Names of resources that a key broker releases: `repository/type/tag`, in one form only.

use std::fmt;
use std::str::FromStr;

/// The longest segment, in bytes.
const MAX_SEGMENT_BYTES: usize = 128;
/// The scheme and the empty authority of a resource URI; the key broker is a setting and not part of a name.
const URI: &str = "kbs:///";

/// The name of a resource: repository, type and tag, joined by `/`.
///
/// Each segment has 1 to 128 ASCII letters, digits, `-`, `_` and `.`, and does not begin with `.`, as in Trustee
/// (`kbs/src/plugins/implementations/resource/backend.rs`). There is no escape, so two texts are two names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourcePath(String);

/// Text that is not the name of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParsePathError;

impl fmt::Display for ParsePathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "not a resource such as \"repository/type/tag\", of letters, digits, \"-\", \"_\" and \".\"",
        )
    }
}

impl std::error::Error for ParsePathError {}

fn is_segment(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=MAX_SEGMENT_BYTES).contains(&text.len()) && !text.starts_with('.') && text.bytes().all(plain)
}

impl ResourcePath {
    /// Reads the URI by which guests name a resource, `kbs:///repository/type/tag`.
    ///
    /// # Errors
    /// [`ParsePathError`] for another scheme, for an authority, a query or a fragment, and for a name that is none.
    pub fn from_uri(text: &str) -> Result<Self, ParsePathError> {
        text.strip_prefix(URI).ok_or(ParsePathError)?.parse()
    }

    /// The URI by which guests name it.
    #[must_use]
    pub fn to_uri(&self) -> String {
        format!("{URI}{}", self.0)
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ResourcePath {
    type Err = ParsePathError;

    fn from_str(text: &str) -> Result<Self, ParsePathError> {
        let segments: Vec<&str> = text.splitn(4, '/').collect();
        let good = segments.len() == 3 && segments.iter().all(|segment| is_segment(segment));
        good.then(|| Self(text.to_owned())).ok_or(ParsePathError)
    }
}

impl fmt::Display for ResourcePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_and_uris() {
        let path: ResourcePath = "prod/image-key_1/v1.2".parse().unwrap();
        assert_eq!(path.to_uri(), "kbs:///prod/image-key_1/v1.2");
        assert_eq!(ResourcePath::from_uri(&path.to_uri()), Ok(path));
        assert!(format!("{0}/{0}/{0}", "a".repeat(128)).parse::<ResourcePath>().is_ok());
    }

    #[test]
    fn case_10_refuses_every_other_form_of_a_name() {
        for text in [
            "",
            "a",
            "a/b",
            "a/b/",
            "/a/b/c",
            "a//c",
            "a/b/c/",
            "a/b/c/d",
            "a/./c",
            "a/../c",
            "a/.b/c",
            "a/b/..",
            "a/b/%63",
            "a/b%2Fc",
            "a/b/c?x",
            "a/b/c#x",
            "a/b/c d",
            "a\\b/c",
            "a/b/\u{e9}",
            "a/b/c\0",
            "a/b/c\n",
            "ａ/b/c",
        ] {
            assert_eq!(text.parse::<ResourcePath>(), Err(ParsePathError), "{text:?}");
        }
        assert!(format!("a/b/{}", "c".repeat(129)).parse::<ResourcePath>().is_err());
        for uri in [
            "a/b/c",
            "kbs://a/b/c",
            "kbs://host/a/b/c",
            "KBS:///a/b/c",
            "kbs+x:///a/b/c",
            "kbs:////a/b/c",
            "kbs:///a/b/c?d",
        ] {
            assert_eq!(ResourcePath::from_uri(uri), Err(ParsePathError), "{uri}");
        }
    }
}

//! The file of keys.

use crate::entry::{Key, KeyError};
use anchorhold_rats::Sha256Digest;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// The longest file, in bytes.
pub const MAX_FILE_BYTES: usize = 1024 * 1024;
/// The most keys, of all tenants together: a request is compared with all of them.
pub const MAX_KEYS: usize = 1024;

const HEAD: &str = "# Digests of API keys, written by `anchorhold key`. The keys themselves are nowhere.\n";

/// Keys in the order in which they stand. Made by [`parse`](Self::parse) and [`of`](Self::of), so no digest is in it twice, and each
/// key can be used at some time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct KeyFile {
    #[serde(rename = "key")]
    keys: Vec<Key>,
}

/// What the file says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default, rename = "key")]
    keys: Vec<Key>,
}

/// Why a file, or a change to it, is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// Over [`MAX_FILE_BYTES`].
    #[error("{bytes} bytes of keys, the limit is {MAX_FILE_BYTES}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Not TOML, a key of a table that is not known, or a value of another form.
    #[error("{0}")]
    Toml(#[from] toml::de::Error),
    /// More than [`MAX_KEYS`].
    #[error("{keys} keys, the limit is {MAX_KEYS}")]
    TooMany {
        /// How many.
        keys: usize,
    },
    /// A key that cannot be among them.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No key is named so.
    #[error("no key has this id or digest")]
    Unknown,
    /// More than one key is named so.
    #[error("{keys} keys have ids that begin so; give more digits")]
    Ambiguous {
        /// How many.
        keys: usize,
    },
}

impl KeyFile {
    /// Reads `[[key]]` tables.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn parse(text: &str) -> Result<Self, FileError> {
        if text.len() > MAX_FILE_BYTES {
            return Err(FileError::TooLong { bytes: text.len() });
        }
        let Written { keys } = toml::from_str(text)?;
        Self::of(keys)
    }

    /// Keys out of another file.
    ///
    /// # Errors
    /// [`FileError::TooMany`] and [`FileError::Key`].
    pub fn of(keys: Vec<Key>) -> Result<Self, FileError> {
        if keys.len() > MAX_KEYS {
            return Err(FileError::TooMany { keys: keys.len() });
        }
        let mut seen = HashSet::<Sha256Digest>::new();
        for key in &keys {
            key.check()?;
            if !seen.insert(key.sha256) {
                return Err(KeyError::Twice(key.id()).into());
            }
        }
        Ok(Self { keys })
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// With one more at the end.
    ///
    /// # Errors
    /// As for [`of`](Self::of).
    pub fn with(mut self, key: Key) -> Result<Self, FileError> {
        self.keys.push(key);
        Self::of(self.keys)
    }

    /// Without the key whose digest, in hex, begins with `id`, and that key.
    ///
    /// # Errors
    /// [`FileError::Unknown`] and [`FileError::Ambiguous`].
    pub fn without(mut self, id: &str) -> Result<(Self, Key), FileError> {
        let named = |key: &Key| !id.is_empty() && key.sha256.to_string().starts_with(id);
        let places: Vec<usize> =
            (0..).zip(&self.keys).filter(|(_, key)| named(key)).map(|(at, _)| at).collect();
        match places.as_slice() {
            [] => Err(FileError::Unknown),
            [at] => {
                let key = self.keys.remove(*at);
                Ok((self, key))
            }
            more => Err(FileError::Ambiguous { keys: more.len() }),
        }
    }

    /// The text of the file.
    #[must_use]
    pub fn to_toml(&self) -> String {
        // Tables of plain texts always have a form.
        let tables = toml::to_string(self).unwrap_or_default();
        let tables = if self.keys.is_empty() { String::new() } else { tables };
        format!("{HEAD}\n{tables}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Scope, Secret};

    fn key(text: &str) -> Key {
        Key {
            tenant: "acme".parse().unwrap(),
            sha256: Sha256Digest::of(text.as_bytes()),
            label: None,
            not_before: None,
            expires: None,
            scopes: None,
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let whole = Key {
            label: Some("ci \"east\"".parse().unwrap()),
            not_before: Some("2026-01-01T00:00:00Z".parse().unwrap()),
            expires: Some("2027-01-01T00:00:00Z".parse().unwrap()),
            scopes: Some([Scope::Embed, Scope::Generate].into_iter().collect()),
            ..key("a")
        };
        let file = KeyFile::default().with(whole).unwrap().with(key("b")).unwrap();
        assert_eq!(KeyFile::parse(&file.to_toml()).unwrap(), file);
        assert_eq!(KeyFile::parse(&KeyFile::default().to_toml()).unwrap(), KeyFile::default());
        let secret = Secret::generate().unwrap();
        let file = file.with(Key { sha256: secret.digest(), ..key("") }).unwrap();
        assert!(!file.to_toml().contains(secret.expose()));
    }

    #[test]
    fn a_key_goes_by_its_id() {
        let file = KeyFile::of(vec![key("a"), key("b")]).unwrap();
        let (left, gone) = file.clone().without(&key("a").id()).unwrap();
        assert_eq!((left.keys(), gone), (&[key("b")][..], key("a")));
        assert_eq!(file.clone().without(""), Err(FileError::Unknown));
        assert_eq!(file.clone().without("zz"), Err(FileError::Unknown));
        let many = KeyFile::of((0..64).map(|at| key(&at.to_string())).collect()).unwrap();
        let digit = (0..16)
            .map(|d| format!("{d:x}"))
            .find(|d| many.keys().iter().filter(|key| key.id().starts_with(d.as_str())).count() > 1);
        assert!(matches!(many.without(&digit.unwrap()), Err(FileError::Ambiguous { .. })));
    }

    #[test]
    fn refuses_what_is_no_file_of_keys() {
        let good = KeyFile::of(vec![key("a")]).unwrap().to_toml();
        for (from, to, wanted) in [
            ("tenant = \"acme\"", "tenant = \"Acme\"", "name of a tenant"),
            ("tenant = \"acme\"", "", "missing field `tenant`"),
            ("tenant = \"acme\"", "tenant = \"acme\"\nkey = \"x\"", "unknown field `key`"),
            ("sha256 = \"", "sha256 = \"0", "lower-case hex"),
            ("tenant = \"acme\"", "tenant = \"acme\"\nscopes = []", "at least one scope"),
            ("tenant = \"acme\"", "tenant = \"acme\"\nscopes = [\"all\"]", "not a scope"),
            ("tenant = \"acme\"", "tenant = \"acme\"\nlabel = \"a\\nb\"", "not a label"),
            ("tenant = \"acme\"", "tenant = \"acme\"\nexpires = \"2026-13-01\"", "not a time"),
            (
                "tenant = \"acme\"",
                "tenant = \"acme\"\nnot_before = \"2026-02-01T00:00:00Z\"\nexpires = \"2026-02-01T00:00:00Z\"",
                "not after not_before",
            ),
            ("[[key]]", "[[keys]]", "unknown field `keys`"),
        ] {
            assert!(good.contains(from), "{good}");
            let error = KeyFile::parse(&good.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(wanted), "{to}: {error}");
        }
        let twice = KeyFile::of(vec![key("a"), key("a")]).unwrap_err();
        assert!(twice.to_string().ends_with("the digest appears twice"));
        let many = (0..=MAX_KEYS).map(|at| key(&at.to_string())).collect();
        assert_eq!(KeyFile::of(many), Err(FileError::TooMany { keys: MAX_KEYS + 1 }));
        let long = " ".repeat(MAX_FILE_BYTES + 1);
        assert_eq!(KeyFile::parse(&long), Err(FileError::TooLong { bytes: MAX_FILE_BYTES + 1 }));
    }
}

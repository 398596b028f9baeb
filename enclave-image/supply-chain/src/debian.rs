//! The Debian packages of an image: `image.lock`, and how Debian orders versions.

use crate::{Component, Error, Kind, MAX_COMPONENTS, limited};
use serde::Deserialize;
use std::cmp::Ordering;

/// The longest `image.lock`, in bytes.
pub const MAX_LOCK_BYTES: usize = 1 << 20;

#[derive(Deserialize)]
struct Lock {
    #[serde(rename = "package")]
    packages: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    path: String,
    sha256: String,
}

/// The packages of an `image.lock`.
///
/// # Errors
/// [`Error`] when the text is too long or malformed.
pub fn components(lock: &str) -> Result<Vec<Component>, Error> {
    let lock: Lock = toml::from_str(limited("bytes of image.lock", lock, MAX_LOCK_BYTES)?)
        .map_err(|error| Error::malformed("image.lock", error.message()))?;
    if lock.packages.len() > MAX_COMPONENTS {
        return Err(Error::TooLong {
            what: "packages",
            limit: MAX_COMPONENTS,
            observed: lock.packages.len(),
        });
    }
    let component = |Locked { name, version, path, sha256 }| {
        let source = source(&path).ok_or_else(|| Error::malformed("image.lock", &path))?;
        let source = source.to_owned();
        let (licence, depends) = (String::new(), Vec::new());
        Ok(Component { kind: Kind::Debian, name, version, source, sha256, licence, depends })
    };
    let mut out = lock.packages.into_iter().map(component).collect::<Result<Vec<_>, Error>>()?;
    out.sort();
    Ok(out)
}

/// The source package, which is the folder in a mirror's pool. The signed kernel is built from a source of its own, and advisories
/// name the kernel's.
fn source(path: &str) -> Option<&str> {
    let folder = path.rsplit('/').nth(1).filter(|folder| !folder.is_empty())?;
    Some(if folder.starts_with("linux-signed-") { "linux" } else { folder })
}

/// How Debian orders two versions (Debian Policy, section 5.6.12).
#[must_use]
pub fn compare(one: &str, other: &str) -> Ordering {
    let ((epoch, one), (other_epoch, other)) = (split_epoch(one), split_epoch(other));
    let ((upstream, revision), (other_upstream, other_revision)) =
        (split_revision(one), split_revision(other));
    number(epoch, other_epoch)
        .then_with(|| part(upstream, other_upstream))
        .then_with(|| part(revision, other_revision))
}

fn split_epoch(version: &str) -> (&str, &str) {
    version.split_once(':').unwrap_or(("0", version))
}

fn split_revision(version: &str) -> (&str, &str) {
    version.rsplit_once('-').unwrap_or((version, "0"))
}

/// Digits as numbers of any length.
fn number(one: &str, other: &str) -> Ordering {
    let (one, other) = (one.trim_start_matches('0'), other.trim_start_matches('0'));
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

/// By turns what has no digits, in which `~` comes before the end, the end before letters, and letters before all else; and digits.
fn part(mut one: &str, mut other: &str) -> Ordering {
    loop {
        let (text, rest) = split_at(one, |c| c.is_ascii_digit());
        let (other_text, other_rest) = split_at(other, |c| c.is_ascii_digit());
        let (digits, next) = split_at(rest, |c| !c.is_ascii_digit());
        let (other_digits, other_next) = split_at(other_rest, |c| !c.is_ascii_digit());
        let order = weights(text).cmp(weights(other_text)).then_with(|| number(digits, other_digits));
        if order != Ordering::Equal || next.is_empty() && other_next.is_empty() {
            return order;
        }
        (one, other) = (next, other_next);
    }
}

fn split_at(text: &str, ends: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at_checked(text.find(ends).unwrap_or(text.len())).unwrap_or((text, ""))
}

/// The order of characters, with the end as one.
fn weights(text: &str) -> impl Iterator<Item = u32> {
    let weight = |c: char| match c {
        '~' => 0,
        c if c.is_ascii_alphabetic() => u32::from(c),
        c => u32::from(c) + 256,
    };
    text.chars().map(weight).chain([1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_in_debians_order() {
        let ascending = [
            "0",
            "1.0~~",
            "1.0~~a",
            "1.0~",
            "1.0",
            "1.0-0.1",
            "1.0-1",
            "1.0-1+deb13u1",
            "1.0-1+deb13u2",
            "1.0-1+deb13u10",
            "1.0a",
            "1.0+dfsg-1",
            "1.0.1",
            "1.9",
            "1.10",
            "6.12.117-1",
            "6.12.118-1",
            "1:0.1",
        ];
        for (at, one) in ascending.iter().enumerate() {
            for (other_at, other) in ascending.iter().enumerate() {
                assert_eq!(compare(one, other), at.cmp(&other_at), "{one} {other}");
            }
        }
        assert_eq!(compare("0:1.00-0", "1.0"), Ordering::Equal);
    }

    #[test]
    fn a_package_is_named_by_its_source() {
        let lock = |path: &str| {
            format!(
                "epoch = 1\n[[package]]\nname = \"a\"\nversion = \"1\"\narchive = \"debian\"\npath = \"{path}\"\nsha256 = \"ab\"\n"
            )
        };
        let source = |path: &str| components(&lock(path)).unwrap()[0].source.clone();
        assert_eq!(source("pool/main/g/gcc-14/libgcc-s1_14.2.0-19_amd64.deb"), "gcc-14");
        assert_eq!(source("pool/updates/main/l/linux-signed-amd64/linux-image.deb"), "linux");
        assert!(components(&lock("linux-image.deb")).is_err());
        assert!(matches!(components(&" ".repeat(MAX_LOCK_BYTES + 1)), Err(Error::TooLong { .. })));
        assert!(components("[[package]]\nname = 1\n").is_err());
    }
}

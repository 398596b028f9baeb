//! A part of an image.

use std::fmt;

/// From where a part comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A crate.
    Cargo,
    /// A Debian package.
    Debian,
}

/// A part of an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Component {
    /// From where it comes.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The Debian source package that it was built from, by which advisories name it; empty for crates.
    pub source: String,
    /// SHA-256 of the file that it comes in, in hex; empty for crates of this repository.
    pub sha256: String,
    /// Its licence as an SPDX expression; empty where it is not said.
    pub licence: String,
    /// References of the parts that it is built from.
    pub depends: Vec<String>,
}

impl Component {
    /// The package URL (<https://github.com/package-url/purl-spec>), by which other parts refer to it.
    #[must_use]
    pub fn purl(&self) -> String {
        let (name, version) = (Encoded(&self.name), Encoded(&self.version));
        match self.kind {
            Kind::Cargo => format!("pkg:cargo/{name}@{version}"),
            Kind::Debian => format!("pkg:deb/debian/{name}@{version}"),
        }
    }
}

/// Text with all but unreserved characters as `%` and two digits.
struct Encoded<'a>(&'a str);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                write!(f, "{}", char::from(byte))?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}

//! The RustSec advisory database: one Markdown file for each advisory, which begins with TOML
//! (<https://github.com/RustSec/advisory-db>, `README.md`).

use super::{Finding, Weight};
use crate::{Component, Error, Kind, limited};
use semver::{Version, VersionReq};
use serde::Deserialize;

/// The longest advisory, in bytes.
pub const MAX_ADVISORY_BYTES: usize = 256 << 10;
const WHAT: &str = "RustSec advisory";

/// An advisory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advisory {
    id: String,
    package: String,
    weight: Weight,
    is_withdrawn: bool,
    patched: Vec<VersionReq>,
    unaffected: Vec<VersionReq>,
    title: String,
}

#[derive(Deserialize)]
struct Front {
    advisory: About,
    #[serde(default)]
    versions: Versions,
}

#[derive(Deserialize)]
struct About {
    id: String,
    package: String,
    informational: Option<toml::Value>,
    withdrawn: Option<toml::Value>,
}

#[derive(Deserialize, Default)]
struct Versions {
    #[serde(default)]
    patched: Vec<VersionReq>,
    #[serde(default)]
    unaffected: Vec<VersionReq>,
}

impl Advisory {
    /// Reads a file of the database.
    ///
    /// # Errors
    /// [`Error`] when it is too long or malformed.
    pub fn parse(markdown: &str) -> Result<Self, Error> {
        let text = limited("bytes of a RustSec advisory", markdown, MAX_ADVISORY_BYTES)?;
        let rest = text
            .trim_start()
            .strip_prefix("```toml")
            .ok_or_else(|| Error::malformed(WHAT, "no TOML at its start"))?;
        let (front, body) =
            rest.split_once("\n```").ok_or_else(|| Error::malformed(WHAT, "its TOML has no end"))?;
        let front: Front = toml::from_str(front).map_err(|error| Error::malformed(WHAT, error.message()))?;
        let title = body.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or_default();
        Ok(Self {
            id: front.advisory.id,
            package: front.advisory.package,
            weight: if front.advisory.informational.is_some() { Weight::Remark } else { Weight::Vulnerable },
            is_withdrawn: front.advisory.withdrawn.is_some(),
            patched: front.versions.patched,
            unaffected: front.versions.unaffected,
            title: title.trim().to_owned(),
        })
    }

    /// The parts that the advisory is about. A version that is no version counts as affected: nothing is left out for its form.
    #[must_use]
    pub fn findings(&self, components: &[Component]) -> Vec<Finding> {
        let about = |component: &&Component| {
            component.kind == Kind::Cargo
                && component.name == self.package
                && self.affects(&component.version)
        };
        let finding = |component: &Component| Finding {
            fixed: self.patched.iter().map(ToString::to_string).collect(),
            ..Finding::of(component, self.weight, &self.id, &self.title)
        };
        components.iter().filter(about).map(finding).collect()
    }

    fn affects(&self, version: &str) -> bool {
        let Ok(version) = Version::parse(version) else { return !self.is_withdrawn };
        let is_good = self.patched.iter().chain(&self.unaffected).any(|range| range.matches(&version));
        !self.is_withdrawn && !is_good
    }
}

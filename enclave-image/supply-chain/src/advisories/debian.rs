//! Debian's security tracker: one JSON object of source packages, each an object of CVEs
//! (<https://security-tracker.debian.org/tracker/data/json>).

use super::{Finding, Weight};
use crate::debian::compare;
use crate::{Component, Error, Kind, limited};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The longest database, in bytes; Debian's own is some 70 MB.
pub const MAX_TRACKER_BYTES: usize = 512 << 20;
/// The most CVEs of one source package.
pub const MAX_CVES: usize = 50_000;
const WHAT: &str = "Debian security tracker";

#[derive(Deserialize)]
struct Cve {
    #[serde(default)]
    description: String,
    #[serde(default)]
    releases: BTreeMap<String, Status>,
}

#[derive(Deserialize)]
struct Status {
    status: String,
    #[serde(default)]
    fixed_version: Option<String>,
    #[serde(default)]
    urgency: String,
}

/// The CVEs of the source packages that an image has. What the database says of others is skipped as it is read.
#[derive(Default)]
pub struct Tracker(BTreeMap<String, BTreeMap<String, Cve>>);

impl Tracker {
    /// Reads the database as far as it is about the sources of `components`.
    ///
    /// # Errors
    /// [`Error`] when it is too long or malformed.
    pub fn parse(json: &str, components: &[Component]) -> Result<Self, Error> {
        let sources = components.iter().filter(|component| component.kind == Kind::Debian);
        let sources: BTreeSet<&str> = sources.map(|component| component.source.as_str()).collect();
        let mut reader =
            serde_json::Deserializer::from_str(limited("bytes of the tracker", json, MAX_TRACKER_BYTES)?);
        let read = Sources(&sources).deserialize(&mut reader).and_then(|read| reader.end().map(|()| read));
        read.map(Self).map_err(|error| Error::malformed(WHAT, &error.to_string()))
    }

    /// What the tracker says of `components` in Debian's `release`, such as `trixie`.
    #[must_use]
    pub fn findings(&self, components: &[Component], release: &str) -> Vec<Finding> {
        let mut out = Vec::new();
        for component in components.iter().filter(|component| component.kind == Kind::Debian) {
            for (id, cve) in self.0.get(&component.source).into_iter().flatten() {
                out.extend(
                    cve.releases
                        .get(release)
                        .and_then(|status| finding(component, (id.as_str(), cve), status)),
                );
            }
        }
        out.sort();
        out
    }
}

/// `None` where the version of the image has the fix, or never had the weakness.
fn finding(component: &Component, (id, cve): (&str, &Cve), status: &Status) -> Option<Finding> {
    let fixed = status.fixed_version.as_deref();
    let has_fix = fixed.is_some_and(|fixed| compare(&component.version, fixed) != Ordering::Less);
    if status.status == "resolved" && has_fix {
        return None;
    }
    let weight = if matches!(status.urgency.as_str(), "unimportant" | "end-of-life") {
        Weight::Remark
    } else {
        Weight::Vulnerable
    };
    // "0" stands for a release that was never affected; `has_fix` holds for it.
    let fixed = fixed.filter(|_| status.status == "resolved").map(str::to_owned).into_iter().collect();
    Some(Finding { fixed, ..Finding::of(component, weight, id, &cve.description) })
}

/// Keeps the sources in this set.
struct Sources<'a>(&'a BTreeSet<&'a str>);

impl<'de> DeserializeSeed<'de> for Sources<'_> {
    type Value = BTreeMap<String, BTreeMap<String, Cve>>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Sources<'_> {
    type Value = BTreeMap<String, BTreeMap<String, Cve>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of source packages")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut out = BTreeMap::new();
        while let Some(source) = map.next_key::<String>()? {
            if !self.0.contains(source.as_str()) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let cves: BTreeMap<String, Cve> = map.next_value()?;
            if cves.len() > MAX_CVES {
                return Err(A::Error::custom("too many CVEs of one source"));
            }
            out.insert(source, cves);
        }
        Ok(out)
    }
}

//! How long which entries are kept: the data of `policies/retention/retention.json`, checked.

use anchorhold_audit_log::{Code, EventType, MAX_PROFILES};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The largest file of profiles, in bytes.
pub const MAX_RETENTION_BYTES: usize = 64 * 1024;
const FORMAT: &str = "anchorhold-retention-v1";
/// A hundred years.
const MAX_MONTHS: u32 = 1200;
/// A month counts as its longest, so that nothing goes a day too early.
const MONTH_NS: i64 = 31 * 24 * 3600 * 1_000_000_000;

/// Why a file of profiles, or a choice among them, was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RetentionError {
    /// Over [`MAX_RETENTION_BYTES`].
    #[error("retention profiles are over {MAX_RETENTION_BYTES} bytes")]
    TooLong,
    /// Not the JSON of such a file.
    #[error("not the JSON of {FORMAT}")]
    Malformed,
    /// A profile breaks a rule of the format.
    #[error("profile {profile}: {rule}")]
    Profile {
        /// Its name, if it has one.
        profile: String,
        /// The rule.
        rule: &'static str,
    },
    /// There is no profile of this name.
    #[error("there is no retention profile {name}")]
    Unknown {
        /// The name.
        name: String,
    },
    /// None was chosen, or more than an entry can name.
    #[error("wanted 1 to {MAX_PROFILES} retention profiles")]
    Count,
}

/// A checked file of profiles.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    format: String,
    /// The version of the data.
    pub version: u32,
    /// The profiles.
    pub profiles: Vec<Profile>,
}

/// How long entries are kept for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Its name.
    pub id: Code,
    /// Its title.
    pub title: String,
    /// At least so many months; none goes before.
    pub months: u32,
    /// So many of the latest months are to be at hand, not on a medium that has to be fetched. A statement for people: an archive is at hand.
    pub online_months: u32,
    /// Kinds of entries that are kept longer.
    pub minimum: BTreeMap<String, u32>,
    /// Why.
    pub reason: String,
}

impl Profile {
    fn broken_rule(&self) -> Option<&'static str> {
        let known = |name: &String| EventType::ALL.iter().any(|kind| kind.name() == name);
        let in_range = |months: u32| (1..=MAX_MONTHS).contains(&months);
        if !in_range(self.months) || !self.minimum.values().all(|months| in_range(*months)) {
            return Some("months must be 1 to 1200");
        }
        if self.online_months > self.months {
            return Some("online_months is more than months");
        }
        if !self.minimum.keys().all(known) {
            return Some("minimum names a kind of entry that does not exist");
        }
        if self.minimum.values().any(|months| *months < self.months) {
            return Some("minimum is less than months");
        }
        self.reason.trim().is_empty().then_some("reason is empty")
    }

    fn months_of(&self, kind: EventType) -> u32 {
        self.minimum.get(kind.name()).copied().unwrap_or(self.months)
    }
}

impl Retention {
    /// The file that comes with the program.
    pub const BUILT_IN: &str = include_str!("../../../policies/retention/retention.json");

    /// Reads a file of profiles.
    ///
    /// # Errors
    /// [`RetentionError`].
    pub fn from_json(text: &str) -> Result<Self, RetentionError> {
        if text.len() > MAX_RETENTION_BYTES {
            return Err(RetentionError::TooLong);
        }
        let retention: Self = serde_json::from_str(text).map_err(|_| RetentionError::Malformed)?;
        if retention.format != FORMAT || retention.profiles.is_empty() {
            return Err(RetentionError::Malformed);
        }
        for (at, profile) in retention.profiles.iter().enumerate() {
            let again = retention.profiles.iter().take(at).any(|other| other.id == profile.id);
            let rule = again.then_some("the name stands twice").or_else(|| profile.broken_rule());
            if let Some(rule) = rule {
                return Err(RetentionError::Profile { profile: profile.id.to_string(), rule });
            }
        }
        Ok(retention)
    }

    /// Those that come with the program.
    ///
    /// # Errors
    /// Never for a build whose tests passed.
    pub fn built_in() -> Result<Self, RetentionError> {
        Self::from_json(Self::BUILT_IN)
    }

    /// The profiles of these names together.
    ///
    /// # Errors
    /// [`RetentionError::Unknown`] or [`RetentionError::Count`].
    pub fn select(&self, names: &[String]) -> Result<Selection, RetentionError> {
        if names.is_empty() || names.len() > MAX_PROFILES {
            return Err(RetentionError::Count);
        }
        let mut profiles: Vec<Profile> = Vec::new();
        for name in names {
            let found = self.profiles.iter().find(|profile| profile.id.as_str() == name);
            let found = found.ok_or_else(|| RetentionError::Unknown { name: name.clone() })?;
            if !profiles.contains(found) {
                profiles.push(found.clone());
            }
        }
        profiles.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(Selection { profiles })
    }
}

/// Profiles that hold together: each entry is kept for the longest time that one of them asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    profiles: Vec<Profile>,
}

impl Selection {
    /// The names, in their order.
    pub fn names(&self) -> impl Iterator<Item = &Code> {
        self.profiles.iter().map(|profile| &profile.id)
    }

    /// The profiles.
    #[must_use]
    pub fn profiles(&self) -> &[Profile] {
        &self.profiles
    }

    /// For how many months an entry of this kind is kept.
    #[must_use]
    pub fn months(&self, kind: EventType) -> u32 {
        self.profiles.iter().map(|profile| profile.months_of(kind)).max().unwrap_or(MAX_MONTHS)
    }

    /// When an entry of this kind that is from `told_ns` may go, in nanoseconds since 1970.
    #[must_use]
    pub fn ends_ns(&self, kind: EventType, told_ns: i64) -> i64 {
        told_ns.saturating_add(i64::from(self.months(kind)).saturating_mul(MONTH_NS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_longest_of_the_selected_profiles_wins_for_each_kind() {
        let retention = Retention::built_in().unwrap();
        let months = |chosen: &[&str], kind| retention.select(&names(chosen)).unwrap().months(kind);
        assert_eq!(months(&["default"], EventType::InferComplete), 13);
        assert_eq!(months(&["default"], EventType::BreakGlass), 24);
        assert_eq!(months(&["pci", "aiact"], EventType::InferComplete), 12);
        assert_eq!(months(&["aiact", "hipaa", "default"], EventType::InferComplete), 72);
        assert_eq!(months(&["aiact"], EventType::BreakGlass), 6);
        let chosen = retention.select(&names(&["pci", "aiact", "pci"])).unwrap();
        assert_eq!(chosen.names().map(Code::as_str).collect::<Vec<_>>(), ["aiact", "pci"]);
        assert_eq!(chosen.ends_ns(EventType::LogOpen, 7), 7 + 12 * MONTH_NS);
        assert_eq!(retention.select(&[]), Err(RetentionError::Count));
        let unknown = RetentionError::Unknown { name: "gdpr".to_owned() };
        assert_eq!(retention.select(&names(&["gdpr"])), Err(unknown));
    }

    #[test]
    fn refuses_files_that_break_a_rule() {
        let good = Retention::BUILT_IN;
        for (from, to, rule) in [
            ("\"months\": 13", "\"months\": 0", "months must be 1 to 1200"),
            ("\"months\": 13", "\"months\": 1201", "months must be 1 to 1200"),
            ("\"breakglass\": 24", "\"breakglass\": 12", "minimum is less than months"),
            ("\"breakglass\"", "\"breakglas\"", "minimum names a kind of entry that does not exist"),
            ("\"online_months\": 3", "\"online_months\": 14", "online_months is more than months"),
            ("\"id\": \"pci\"", "\"id\": \"default\"", "the name stands twice"),
        ] {
            let changed = good.replacen(from, to, 1);
            assert_ne!(changed, good, "{from}");
            let refused = Retention::from_json(&changed).unwrap_err();
            assert_eq!(refused, RetentionError::Profile { profile: "default".to_owned(), rule }, "{to}");
        }
        for (from, to) in
            [("-v1", "-v2"), ("\"reason\"", "\"why\""), ("\"id\": \"pci\"", "\"id\": \"P C I\"")]
        {
            let changed = good.replacen(from, to, 1);
            assert_eq!(Retention::from_json(&changed), Err(RetentionError::Malformed), "{to}");
        }
        assert_eq!(Retention::from_json(&" ".repeat(MAX_RETENTION_BYTES + 1)), Err(RetentionError::TooLong));
    }
}

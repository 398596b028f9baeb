//! Which entries bear on which control: the data of `policies/controls/controls.json`, checked.

use anchorhold_audit_log::EventType;
use serde::Deserialize;
use std::fmt;

/// The largest file of controls, in bytes.
pub const MAX_CONTROLS_BYTES: usize = 256 * 1024;
const FORMAT: &str = "anchorhold-controls-v1";

/// A checked file of controls.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Controls {
    format: String,
    /// The version of the data.
    pub version: u32,
    /// The frameworks, in the order of the report.
    pub frameworks: Vec<Framework>,
}

/// One framework.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Framework {
    /// A short name.
    pub id: String,
    /// Its title.
    pub title: String,
    /// The text whose numbers are used.
    pub source: String,
    /// Its controls.
    pub controls: Vec<Control>,
}

/// One control.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// Its number in the framework.
    pub id: String,
    /// What it asks, in short.
    pub asks: String,
    /// What the entries show of it.
    pub shown: String,
    /// The kinds of entries that bear on it.
    pub entries: Vec<String>,
}

/// Why a file of controls was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlsError {
    /// Over [`MAX_CONTROLS_BYTES`].
    TooLong,
    /// Not the JSON of such a file.
    Malformed,
    /// A control names a kind of entry that does not exist, or none.
    Entries {
        /// The framework and control.
        control: String,
    },
}

impl fmt::Display for ControlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "controls are over {MAX_CONTROLS_BYTES} bytes"),
            Self::Malformed => write!(f, "not the JSON of {FORMAT}"),
            Self::Entries { control } => {
                write!(f, "control {control} names no kind of entry, or one that does not exist")
            }
        }
    }
}

impl std::error::Error for ControlsError {}

impl Controls {
    /// The file that comes with the program.
    pub const BUILT_IN: &str = include_str!("../../../policies/controls/controls.json");

    /// Reads a file of controls.
    ///
    /// # Errors
    /// [`ControlsError`].
    pub fn from_json(text: &str) -> Result<Self, ControlsError> {
        if text.len() > MAX_CONTROLS_BYTES {
            return Err(ControlsError::TooLong);
        }
        let controls: Self = serde_json::from_str(text).map_err(|_| ControlsError::Malformed)?;
        if controls.format != FORMAT {
            return Err(ControlsError::Malformed);
        }
        for framework in &controls.frameworks {
            for control in &framework.controls {
                let known = |name: &String| EventType::ALL.iter().any(|kind| kind.name() == name);
                if control.entries.is_empty() || !control.entries.iter().all(known) {
                    return Err(ControlsError::Entries {
                        control: format!("{} {}", framework.id, control.id),
                    });
                }
            }
        }
        Ok(controls)
    }

    /// Those that come with the program.
    ///
    /// # Errors
    /// Never for a build whose tests passed.
    pub fn built_in() -> Result<Self, ControlsError> {
        Self::from_json(Self::BUILT_IN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_framework_is_there_and_every_kind_bears_on_something() {
        let controls = Controls::built_in().unwrap();
        let ids: Vec<&str> = controls.frameworks.iter().map(|framework| framework.id.as_str()).collect();
        assert_eq!(ids, ["soc2", "hipaa", "gdpr", "euaiact", "pcidss", "iso42001", "nist"]);
        let named: BTreeSet<&str> = controls
            .frameworks
            .iter()
            .flat_map(|framework| &framework.controls)
            .flat_map(|control| &control.entries)
            .map(String::as_str)
            .collect();
        let idle: Vec<&str> =
            EventType::ALL.iter().map(|kind| kind.name()).filter(|name| !named.contains(name)).collect();
        assert!(idle.is_empty(), "{idle:?}");
    }

    #[test]
    fn refuses_unknown_kinds_fields_and_formats() {
        let with = |entries: &str| {
            format!(
                r#"{{"format":"anchorhold-controls-v1","version":1,"frameworks":[{{"id":"x","title":"X","source":"s",
                "controls":[{{"id":"1","asks":"a","shown":"b","entries":{entries}}}]}}]}}"#
            )
        };
        assert!(Controls::from_json(&with(r#"["log.open"]"#)).is_ok());
        for wrong in ["[]", r#"["log.opened"]"#] {
            let error = Controls::from_json(&with(wrong)).unwrap_err();
            assert_eq!(error, ControlsError::Entries { control: "x 1".to_owned() });
        }
        for wrong in [
            "",
            "{}",
            &Controls::BUILT_IN.replacen("-v1", "-v2", 1),
            &Controls::BUILT_IN.replacen("\"asks\"", "\"ask\"", 1),
        ] {
            assert_eq!(Controls::from_json(wrong).unwrap_err(), ControlsError::Malformed);
        }
        assert_eq!(
            Controls::from_json(&" ".repeat(MAX_CONTROLS_BYTES + 1)).unwrap_err(),
            ControlsError::TooLong
        );
        let mut longest = with(r#"["log.open"]"#);
        longest.push_str(&" ".repeat(256 * 1024 - longest.len()));
        assert!(Controls::from_json(&longest).is_ok(), "white space to the limit");
    }

    #[test]
    fn a_refusal_names_the_control() {
        let entries = ControlsError::Entries { control: "x 1".to_owned() };
        assert!(entries.to_string().contains("control x 1"));
        assert!(ControlsError::TooLong.to_string().contains("262144 bytes"));
        assert!(ControlsError::Malformed.to_string().contains(FORMAT));
    }
}

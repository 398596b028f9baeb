//! `anchorhold policy explain`.

use super::about;
use crate::exit::{Exit, Failure};
use crate::output::{self, Format, plain};
use anchorhold_appraisal_policy::{AppraisalProfile, FileKind, MachineList, Rule};
use serde::Serialize;
use std::fmt::Write as _;
use std::path::Path;

#[derive(Serialize)]
struct Explained {
    rule: String,
    value: String,
    meaning: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    weaker: Option<&'static str>,
}

pub(super) fn run(path: &Path, toml: bool, format: Format) -> Result<Exit, Failure> {
    let text = super::read_text(path)?;
    let rules = match FileKind::of(&text).map_err(|e| about(path, e))? {
        FileKind::Profile => {
            let profile = AppraisalProfile::from_toml(&text).map_err(|e| about(path, e))?;
            if toml {
                output::text(&profile.to_toml())?;
                return Ok(Exit::Ok);
            }
            profile.rules()
        }
        FileKind::MachineList if toml => {
            return Err(about(path, "a machine list spells everything out already"));
        }
        FileKind::MachineList => MachineList::from_toml(&text).map_err(|e| about(path, e))?.rules(),
        FileKind::ReleasePolicy => {
            let failure = about(path, "neither an appraisal profile nor a machine list");
            return Err(failure.hint("`anchorhold policy check` sums up a release policy"));
        }
    };
    if format.json {
        let explained: Vec<_> = rules.iter().map(explained).collect();
        output::json(&explained)?;
    } else {
        output::text(&table(&rules))?;
    }
    Ok(Exit::Ok)
}

fn explained(rule: &Rule) -> Explained {
    Explained {
        rule: rule.path().to_owned(),
        value: rule.value(),
        meaning: rule.meaning(),
        weaker: rule.weaker(),
    }
}

/// One rule a paragraph: path and value, what it asks, and why it deserves a second look.
fn table(rules: &[Rule]) -> String {
    let mut out = String::new();
    for rule in rules {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{} = {}", plain(rule.path()), plain(&rule.value()));
        let _ = writeln!(out, "    {}", rule.meaning());
        if let Some(why) = rule.weaker() {
            let _ = writeln!(out, "    LOOK: {why}");
        }
    }
    out
}

//! `anchorhold policy diff`.

use super::about;
use crate::exit::{Exit, Failure};
use crate::output::{self, Format, plain};
use anchorhold_appraisal_policy::Change;
use anchorhold_key_release::{ChangedGrant, ChangedRule, PolicyDiff, ReleasePolicy, diff};
use anchorhold_rats::Sha256Digest;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::Path;

#[derive(Serialize)]
struct Differences {
    old: Sha256Digest,
    new: Sha256Digest,
    change: String,
    widens: bool,
    rules: Vec<Rule>,
    grants: Vec<Grant>,
}

#[derive(Serialize)]
struct Grant {
    table: &'static str,
    name: String,
    change: String,
    rules: Vec<Rule>,
}

#[derive(Serialize)]
struct Rule {
    path: String,
    change: String,
    old: Option<String>,
    new: Option<String>,
}

pub(super) fn run(old: &Path, new: &Path, format: Format) -> Result<Exit, Failure> {
    let read = |path: &Path| {
        let text = super::read_any(path)?;
        ReleasePolicy::from_toml(&text).map_err(|e| about(path, e))
    };
    let (old, new) = (read(old)?, read(new)?);
    let found = diff(&old, &new);
    let exit = if found.widens() { Exit::Widened } else { Exit::Ok };
    if format.json {
        output::json(&Differences {
            old: old.digest(),
            new: new.digest(),
            change: found.change().to_string(),
            widens: found.widens(),
            rules: found.rules.iter().map(rule).collect(),
            grants: found.grants.iter().map(grant).collect(),
        })?;
    } else {
        output::text(&text(&found, [old.version(), new.version()]))?;
    }
    Ok(exit)
}

fn rule(changed: &ChangedRule) -> Rule {
    let ChangedRule { path, change, old, new } = changed.clone();
    Rule { path, change: change.to_string(), old, new }
}

fn grant(changed: &ChangedGrant) -> Grant {
    Grant {
        table: changed.table,
        name: changed.name.clone(),
        change: changed.change.to_string(),
        rules: changed.rules.iter().map(rule).collect(),
    }
}

fn text(found: &PolicyDiff, [old, new]: [u64; 2]) -> String {
    let mut out = String::new();
    // That a version rises allows nothing and refuses nothing, so it is no change like the others.
    if old != new {
        let _ = writeln!(out, "version {old}, then {new}");
    }
    let others = found.rules.iter().filter(|rule| rule.path != "version");
    rules(&mut out, "", others);
    for ChangedGrant { table, name, change, rules: of_grant } in &found.grants {
        let what = match (of_grant.is_empty(), change) {
            (true, Change::Wider) => "new",
            (true, _) => "gone",
            (false, _) => "changed",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{:9} {table} \"{}\", which is {what}", change.to_string(), plain(name));
        rules(&mut out, "  ", of_grant.iter());
    }
    let verdict = match found.change() {
        Change::Same => "the new policy allows what the old one did",
        Change::Narrower => "the new policy allows nothing that the old one did not",
        Change::Wider => "the new policy allows more than the old one",
        Change::Shifted => {
            "the new policy allows something that the old one did not, and refuses something that it allowed"
        }
    };
    let _ = writeln!(out, "{verdict}");
    out
}

fn rules<'a>(out: &mut String, indent: &str, rules: impl Iterator<Item = &'a ChangedRule>) {
    for ChangedRule { path, change, old, new } in rules {
        let value = |value: &Option<String>| value.as_deref().map_or_else(|| "not there".to_owned(), plain);
        let _ = writeln!(out, "{indent}{:9} {}", change.to_string(), plain(path));
        let _ = writeln!(out, "{indent}          old {}", value(old));
        let _ = writeln!(out, "{indent}          new {}", value(new));
    }
}

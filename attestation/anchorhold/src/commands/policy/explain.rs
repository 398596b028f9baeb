//! `anchorhold policy explain`.

mod evidence;

use super::about;
use crate::exit::{Exit, Failure};
use crate::output::{self, Format, plain};
use anchorhold_appraisal_policy::{AppraisalProfile, FileKind, MachineList, ReferenceValues, Rule};
use anchorhold_key_release::{ReleasePolicy, SignerSet};
pub(crate) use evidence::EvidenceArgs;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// A file, and how to explain it.
#[derive(clap::Args)]
pub(crate) struct ExplainArgs {
    /// The file, TOML or signed
    file: PathBuf,
    /// Print a profile with every rule spelled out, as TOML
    #[arg(long, conflicts_with = "json")]
    toml: bool,
    #[command(flatten)]
    evidence: EvidenceArgs,
    #[command(flatten)]
    format: Format,
}

#[derive(Serialize)]
struct Explained {
    rule: String,
    value: String,
    meaning: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    weaker: Option<&'static str>,
}

pub(super) fn run(args: &ExplainArgs) -> Result<Exit, Failure> {
    let path = args.file.as_path();
    let text = super::read_any(path)?;
    let kind = FileKind::of(&text).map_err(|e| about(path, e))?;
    if args.evidence.is_given() {
        if kind != FileKind::ReleasePolicy {
            let failure = about(path, "not a release policy");
            return Err(failure.hint("`anchorhold evidence explain --profile` judges evidence by a profile"));
        }
        let policy = ReleasePolicy::from_toml(&text).map_err(|e| about(path, e))?;
        return evidence::run(&policy, &args.evidence, args.format);
    }
    let rules = match kind {
        FileKind::Profile => {
            let profile = AppraisalProfile::from_toml(&text).map_err(|e| about(path, e))?;
            if args.toml {
                output::text(&profile.to_toml())?;
                return Ok(Exit::Ok);
            }
            profile.rules()
        }
        _ if args.toml => return Err(about(path, "only a profile has rules that it does not spell out")),
        FileKind::MachineList => MachineList::from_toml(&text).map_err(|e| about(path, e))?.rules(),
        FileKind::ReferenceValues => ReferenceValues::from_toml(&text).map_err(|e| about(path, e))?.rules(),
        FileKind::ReleasePolicy => release(path, &text)?,
        FileKind::SignerSet => signers(&SignerSet::from_toml(&text).map_err(|e| about(path, e))?),
    };
    if args.format.json {
        let explained: Vec<_> = rules.iter().map(explained).collect();
        output::json(&explained)?;
    } else {
        output::text(&table(&rules))?;
    }
    Ok(Exit::Ok)
}

/// The rules for all grants, then those of each grant under its name.
fn release(path: &Path, text: &str) -> Result<Vec<Rule>, Failure> {
    let policy = ReleasePolicy::from_toml(text).map_err(|e| about(path, e))?;
    let mut rules = policy.rules();
    let below = |name: &str, of_grant: Vec<Rule>| -> Vec<Rule> {
        let path = |rule: &Rule| format!("{name}: {}", rule.path());
        of_grant
            .into_iter()
            .map(|rule| {
                let path = path(&rule);
                rule.at(path)
            })
            .collect()
    };
    for grant in policy.grants() {
        rules.extend(below(grant.name(), grant.rules()));
    }
    for grant in policy.resources() {
        rules.extend(below(&format!("resource {}", grant.name()), grant.rules()));
    }
    Ok(rules)
}

fn signers(set: &SignerSet) -> Vec<Rule> {
    let threshold = i64::try_from(set.threshold()).unwrap_or(i64::MAX);
    let mut rules = vec![
        Rule::says("signers", set.id(), "the set's name"),
        Rule::says("threshold", threshold, "how many of the signers must sign")
            .weaker_if(threshold == 1, "one stolen key is enough to put any policy in force"),
    ];
    let signer = |signer: &anchorhold_key_release::PolicySigner| {
        Rule::says(format!("signer {}", signer.name), signer.key.to_string(), "may sign")
    };
    rules.extend(set.signers().iter().map(signer));
    rules
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

//! `anchorhold policy check`.

use super::about;
use crate::exit::{Exit, Failure};
use crate::output::{self, Format, line};
use crate::trust;
use anchorhold_appraisal_policy::{AppraisalProfile, FileKind, Header, ListKind, MachineList, Rule};
use anchorhold_key_release::ReleasePolicy;
use anchorhold_rats::{Sha256Digest, Timestamp};
use serde::Serialize;
use std::path::Path;

#[derive(Serialize)]
struct CheckedRelease<'a> {
    policy: &'a str,
    version: u64,
    expires: Timestamp,
    digest: Sha256Digest,
    grants: Vec<CheckedGrant<'a>>,
}

#[derive(Serialize)]
struct CheckedGrant<'a> {
    name: &'a str,
    model: &'a str,
    measurements: usize,
}

/// A profile or a machine list.
#[derive(Serialize)]
pub(super) struct CheckedFile<'a> {
    pub(super) kind: &'static str,
    id: &'a str,
    version: u64,
    issued: Timestamp,
    expires: Timestamp,
    digest: Sha256Digest,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    families: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    machines: Option<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    weaker: Vec<Weaker>,
}

/// A rule that deserves a second look.
#[derive(Serialize)]
struct Weaker {
    rule: String,
    value: String,
    why: &'static str,
}

pub(super) fn run(path: &Path, format: Format) -> Result<Exit, Failure> {
    let text = super::read_text(path)?;
    match FileKind::of(&text).map_err(|e| about(path, e))? {
        FileKind::ReleasePolicy => release(path, &text, format),
        FileKind::Profile => {
            let profile = AppraisalProfile::from_toml(&text).map_err(|e| about(path, e))?;
            in_force(path, profile.header())?;
            print(&of_profile(&profile), format)
        }
        FileKind::MachineList => {
            let list = MachineList::from_toml(&text).map_err(|e| about(path, e))?;
            in_force(path, list.header())?;
            print(&of_list(&list), format)
        }
    }
}

fn in_force(path: &Path, header: &Header) -> Result<(), Failure> {
    let hint = "a verifier refuses to use a file that is not in force";
    header.require_at(trust::now()?).map_err(|e| about(path, e).hint(hint))
}

pub(super) fn of_profile(profile: &AppraisalProfile) -> CheckedFile<'_> {
    let families = [
        ("snp", profile.snp().is_some()),
        ("tdx", profile.tdx().is_some()),
        ("event_log", profile.event_log().is_some()),
        ("gpu", profile.gpu().is_some()),
        ("paravisor", profile.paravisor().is_some()),
    ];
    CheckedFile {
        families: families.into_iter().filter_map(|(name, named)| named.then_some(name)).collect(),
        weaker: weaker(&profile.rules()),
        ..of_header("appraisal profile", profile.header(), profile.digest())
    }
}

pub(super) fn of_list(list: &MachineList) -> CheckedFile<'_> {
    let kind = match list.kind() {
        ListKind::Allow => "list of allowed machines",
        ListKind::Revoke => "list of revoked machines",
    };
    CheckedFile { machines: Some(list.machines().len()), ..of_header(kind, list.header(), list.digest()) }
}

fn of_header<'a>(kind: &'static str, header: &'a Header, digest: Sha256Digest) -> CheckedFile<'a> {
    CheckedFile {
        kind,
        id: &header.id,
        version: header.version,
        issued: header.issued,
        expires: header.expires,
        digest,
        families: Vec::new(),
        machines: None,
        weaker: Vec::new(),
    }
}

fn weaker(rules: &[Rule]) -> Vec<Weaker> {
    let one = |rule: &Rule| {
        let why = rule.weaker()?;
        Some(Weaker { rule: rule.path().to_owned(), value: rule.value(), why })
    };
    rules.iter().filter_map(one).collect()
}

pub(super) fn summary(file: &CheckedFile<'_>) -> String {
    let mut out = String::new();
    line(&mut out, "kind", file.kind);
    line(&mut out, "id", &format!("{} version {}", file.id, file.version));
    line(&mut out, "issued", &file.issued.to_string());
    line(&mut out, "expires", &file.expires.to_string());
    line(&mut out, "digest", &file.digest.to_string());
    if !file.families.is_empty() {
        line(&mut out, "families", &file.families.join(", "));
    }
    if let Some(machines) = file.machines {
        line(&mut out, "machines", &machines.to_string());
    }
    for Weaker { rule, why, .. } in &file.weaker {
        line(&mut out, "look at", &format!("{rule}: {why}"));
    }
    out
}

fn print(file: &CheckedFile<'_>, format: Format) -> Result<Exit, Failure> {
    if format.json {
        output::json(file)?
    } else {
        output::text(&summary(file))?
    }
    Ok(Exit::Ok)
}

fn release(path: &Path, text: &str, format: Format) -> Result<Exit, Failure> {
    let policy = ReleasePolicy::from_toml(text).map_err(|e| about(path, e))?;
    if trust::now()? >= policy.expires() {
        let failure = about(path, format!("expired at {}", policy.expires()));
        return Err(failure.hint("a broker refuses every request under an expired policy"));
    }
    let grants = policy.grants().iter().map(|grant| CheckedGrant {
        name: grant.name(),
        model: grant.model_id().as_str(),
        measurements: grant.measurements().len(),
    });
    let checked = CheckedRelease {
        policy: policy.id(),
        version: policy.version(),
        expires: policy.expires(),
        digest: policy.digest(),
        grants: grants.collect(),
    };
    if format.json {
        output::json(&checked)?;
        return Ok(Exit::Ok);
    }
    let mut out = String::new();
    line(&mut out, "policy", &format!("{} version {}", checked.policy, checked.version));
    line(&mut out, "expires", &checked.expires.to_string());
    line(&mut out, "digest", &checked.digest.to_string());
    for CheckedGrant { name, model, measurements } in &checked.grants {
        line(&mut out, "grant", &format!("{name}: {model}, {measurements} measurement(s)"));
    }
    output::text(&out)?;
    Ok(Exit::Ok)
}

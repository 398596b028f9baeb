//! `anchorhold policy check`.

use super::about;
use crate::exit::{Exit, Failure};
use crate::output::{self, Format, line};
use crate::trust;
use anchorhold_appraisal_policy::{
    AppraisalProfile, FileKind, Header, ListKind, MachineList, ReferenceValues, Rule,
};
use anchorhold_key_release::{Lint, ReleasePolicy, ResourceGrant, SignerSet, lint};
use anchorhold_rats::{ResourcePath, Sha256Digest, Timestamp};
use serde::Serialize;
use std::path::Path;

#[derive(Serialize)]
struct CheckedRelease<'a> {
    policy: &'a str,
    version: u64,
    expires: Timestamp,
    digest: Sha256Digest,
    grants: Vec<CheckedGrant<'a>>,
    resources: Vec<CheckedResource<'a>>,
    lints: Vec<CheckedLint>,
}

#[derive(Serialize)]
struct CheckedGrant<'a> {
    name: &'a str,
    model: &'a str,
    measurements: usize,
}

#[derive(Serialize)]
struct CheckedResource<'a> {
    name: &'a str,
    paths: Vec<&'a str>,
    measurements: usize,
}

/// Something that deserves a second look.
#[derive(Serialize)]
struct CheckedLint {
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<String>,
    text: String,
}

/// A file of any kind, in short.
#[derive(Serialize)]
pub(super) struct CheckedFile {
    kind: &'static str,
    id: String,
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<Timestamp>,
    digest: Sha256Digest,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    families: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    machines: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    threshold: Option<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    signer_names: Vec<String>,
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

pub(super) fn run(path: &Path, strict: bool, at: Option<Timestamp>, format: Format) -> Result<Exit, Failure> {
    let text = super::read_any(path)?;
    let at = at.map_or_else(trust::now, Ok)?;
    match FileKind::of(&text).map_err(|e| about(path, e))? {
        FileKind::ReleasePolicy => release(path, &text, (strict, at), format),
        FileKind::Profile => {
            let profile = AppraisalProfile::from_toml(&text).map_err(|e| about(path, e))?;
            in_force(path, profile.header(), at)?;
            print(&of_profile(&profile), format)
        }
        FileKind::MachineList => {
            let list = MachineList::from_toml(&text).map_err(|e| about(path, e))?;
            in_force(path, list.header(), at)?;
            print(&of_list(&list), format)
        }
        FileKind::ReferenceValues => {
            let values = ReferenceValues::from_toml(&text).map_err(|e| about(path, e))?;
            in_force(path, &values.header, at)?;
            print(&of_references(&values, text.as_bytes()), format)
        }
        FileKind::SignerSet => {
            print(&of_signers(&SignerSet::from_toml(&text).map_err(|e| about(path, e))?), format)
        }
    }
}

fn in_force(path: &Path, header: &Header, at: Timestamp) -> Result<(), Failure> {
    let hint = "a verifier refuses to use a file that is not in force";
    header.require_at(at).map_err(|e| about(path, e).hint(hint))
}

/// Refuses a policy that a broker would refuse.
pub(super) fn unexpired(path: &Path, policy: &ReleasePolicy, at: Timestamp) -> Result<(), Failure> {
    if at < policy.expires() {
        return Ok(());
    }
    let failure = about(path, format!("expired at {}", policy.expires()));
    Err(failure.hint("a broker refuses every request under an expired policy"))
}

fn bare(kind: &'static str, id: &str, version: u64, digest: Sha256Digest) -> CheckedFile {
    CheckedFile {
        kind,
        id: id.to_owned(),
        version,
        issued: None,
        expires: None,
        digest,
        families: Vec::new(),
        machines: None,
        threshold: None,
        signer_names: Vec::new(),
        weaker: Vec::new(),
    }
}

fn of_header(kind: &'static str, header: &Header, digest: Sha256Digest) -> CheckedFile {
    let (issued, expires) = (Some(header.issued), Some(header.expires));
    CheckedFile { issued, expires, ..bare(kind, &header.id, header.version, digest) }
}

pub(super) fn of_profile(profile: &AppraisalProfile) -> CheckedFile {
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

pub(super) fn of_list(list: &MachineList) -> CheckedFile {
    let kind = match list.kind() {
        ListKind::Allow => "list of allowed machines",
        ListKind::Revoke => "list of revoked machines",
    };
    CheckedFile { machines: Some(list.machines().len()), ..of_header(kind, list.header(), list.digest()) }
}

/// `file` is what the values were read from.
pub(super) fn of_references(values: &ReferenceValues, file: &[u8]) -> CheckedFile {
    let families =
        [("snp", !values.snp.is_empty()), ("tdx", !values.tdx.is_empty()), ("tpm", values.tpm.is_some())];
    CheckedFile {
        families: families.into_iter().filter_map(|(name, named)| named.then_some(name)).collect(),
        ..of_header("reference values", &values.header, Sha256Digest::of(file))
    }
}

pub(super) fn of_release(policy: &ReleasePolicy) -> CheckedFile {
    let file = bare("release policy", policy.id(), policy.version(), policy.digest());
    CheckedFile { expires: Some(policy.expires()), ..file }
}

pub(super) fn of_signers(set: &SignerSet) -> CheckedFile {
    CheckedFile {
        threshold: Some(set.threshold()),
        signer_names: set.signers().iter().map(|signer| signer.name.clone()).collect(),
        ..bare("signer set", set.id(), set.version(), set.digest())
    }
}

fn weaker(rules: &[Rule]) -> Vec<Weaker> {
    let one = |rule: &Rule| {
        let why = rule.weaker()?;
        Some(Weaker { rule: rule.path().to_owned(), value: rule.value(), why })
    };
    rules.iter().filter_map(one).collect()
}

pub(super) fn summary(file: &CheckedFile) -> String {
    let mut out = String::new();
    line(&mut out, "kind", file.kind);
    line(&mut out, "id", &format!("{} version {}", file.id, file.version));
    for (label, time) in [("issued", file.issued), ("expires", file.expires)] {
        if let Some(time) = time {
            line(&mut out, label, &time.to_string());
        }
    }
    line(&mut out, "digest", &file.digest.to_string());
    if !file.families.is_empty() {
        line(&mut out, "families", &file.families.join(", "));
    }
    if let Some(machines) = file.machines {
        line(&mut out, "machines", &machines.to_string());
    }
    if let Some(threshold) = file.threshold {
        let names = file.signer_names.join(", ");
        line(&mut out, "signers", &format!("{threshold} of {}: {names}", file.signer_names.len()));
    }
    for Weaker { rule, why, .. } in &file.weaker {
        line(&mut out, "look at", &format!("{rule}: {why}"));
    }
    out
}

fn print(file: &CheckedFile, format: Format) -> Result<Exit, Failure> {
    if format.json {
        output::json(file)?
    } else {
        output::text(&summary(file))?
    }
    Ok(Exit::Ok)
}

fn release(
    path: &Path,
    text: &str,
    (strict, at): (bool, Timestamp),
    format: Format,
) -> Result<Exit, Failure> {
    let policy = ReleasePolicy::from_toml(text).map_err(|e| about(path, e))?;
    unexpired(path, &policy, at)?;
    let lints = lint(&policy, at);
    let is_serious = lints.iter().any(Lint::is_serious);
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
        resources: policy.resources().iter().map(checked_resource).collect(),
        lints: lints
            .into_iter()
            .map(|Lint { code, grant, text }| CheckedLint { code, grant, text })
            .collect(),
    };
    if format.json {
        output::json(&checked)?;
    } else {
        output::text(&release_text(&checked))?;
    }
    Ok(if strict && is_serious { Exit::NotAcceptable } else { Exit::Ok })
}

fn checked_resource(grant: &ResourceGrant) -> CheckedResource<'_> {
    CheckedResource {
        name: grant.name(),
        paths: grant.paths().iter().map(ResourcePath::as_str).collect(),
        measurements: grant.measurements().len(),
    }
}

fn release_text(checked: &CheckedRelease<'_>) -> String {
    let mut out = String::new();
    line(&mut out, "policy", &format!("{} version {}", checked.policy, checked.version));
    line(&mut out, "expires", &checked.expires.to_string());
    line(&mut out, "digest", &checked.digest.to_string());
    for CheckedGrant { name, model, measurements } in &checked.grants {
        line(&mut out, "grant", &format!("{name}: {model}, {measurements} measurement(s)"));
    }
    for CheckedResource { name, paths, measurements } in &checked.resources {
        line(&mut out, "resource", &format!("{name}: {}, {measurements} measurement(s)", paths.join(", ")));
    }
    for CheckedLint { code, grant, text } in &checked.lints {
        let grant = grant.as_ref().map_or_else(String::new, |grant| format!("{grant}: "));
        let label = if *code == "look_at" { "look at" } else { "WARNING" };
        line(&mut out, label, &format!("{grant}{text}"));
    }
    out
}

//! Runs every rule of `policies/cases/release/rules`: as the rule says, a machine at its limit passes and one beyond it is refused with
//! the rule's code; and the decision's record, replayed, says the same.

use crate::exchange::{Exchange, ask, judge, pseudonyms, terms};
use crate::machine::Machine;
use anchorhold_audit_log::claims::Claims;
use anchorhold_key_release::{Grant, Machines, Recorded, Refusal, ReleasePolicy, WeightsKeyTerms, replay};
use anchorhold_rats::Timestamp;
use anchorhold_verifier::{TeeClaims, codes};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::Path;
use toml::{Table, Value};

const POLICIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// In `policies/release`.
    policy: String,
    at: Timestamp,
    /// The model that is asked for, its version, and the byte of its manifest digest.
    model: String,
    version: u64,
    manifest: u8,
    /// What of the policy is set in every case, by path below the first grant, or below the file after a slash.
    #[serde(default)]
    set: Table,
    /// A machine that this policy takes.
    machine: Table,
    rule: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// What else of the policy is set.
    #[serde(default)]
    set: Table,
    /// What of the machine differs where it passes; none where nothing does.
    passes: Option<Table>,
    /// The same where it is refused.
    refused: Option<Table>,
    /// The code of the refusal.
    code: Option<String>,
    /// Every rule that fails, where it is more than the one with the code.
    also: Option<BTreeSet<String>>,
    /// The status of the answer. Default: 403.
    status: Option<u16>,
    /// The place of the device that is refused.
    device: Option<usize>,
    /// What is no machine's claim is not in the record.
    #[serde(default)]
    not_recorded: bool,
}

/// `over` on top of `base`, table by table.
fn merged(base: &Table, over: &Table) -> Table {
    let mut out = base.clone();
    for (key, value) in over {
        match (out.get_mut(key), value) {
            (Some(Value::Table(below)), Value::Table(over)) => *below = merged(below, over),
            _ => drop(out.insert(key.clone(), value.clone())),
        }
    }
    out
}

/// The policy with each key of `set`, which are paths such as `snp.vmpls` below the first grant, or `/revoked.chips` below the
/// file; `"-"` takes a key away.
fn policy(text: &str, set: &Table) -> ReleasePolicy {
    let mut file: Table = text.parse().unwrap();
    for (path, value) in set {
        let (mut table, path) = match path.strip_prefix('/') {
            Some(path) => (&mut file, path),
            None => (file["grant"][0].as_table_mut().unwrap(), path.as_str()),
        };
        let mut parts: Vec<&str> = path.split('.').collect();
        let last = parts.pop().unwrap();
        for part in parts {
            table = table.entry(part).or_insert_with(|| Value::Table(Table::new())).as_table_mut().unwrap();
        }
        if value.as_str() == Some("-") {
            table.remove(last).unwrap();
        } else {
            table.insert(last.to_owned(), value.clone());
        }
    }
    ReleasePolicy::from_toml(&toml::to_string(&file).unwrap())
        .unwrap_or_else(|error| panic!("{set:?}: {error}"))
}

/// The codes that failed in the grant.
fn failed(refusal: &Refusal) -> BTreeSet<String> {
    let nearest = refusal.trace().nearest().map_or(refusal.checks(), |grant| grant.checks());
    nearest.failed().map(|check| check.code.to_string()).collect()
}

/// What the record of a decision says when it is replayed: the grant, or every code that failed.
fn replayed(
    policy: &ReleasePolicy,
    claims: &Claims,
    at: Timestamp,
    model: &WeightsKeyTerms,
) -> Result<String, BTreeSet<String>> {
    // As it comes out of a log.
    let json = serde_json::to_vec(claims).unwrap();
    let claims: Claims = serde_json::from_slice(&json).unwrap();
    let recorded = Recorded { claims: &claims, at, released: Some(model) };
    let replayed = replay(policy, &recorded, Machines::Compared(&pseudonyms())).unwrap();
    let nearest = replayed.trace.nearest().unwrap();
    let failed = nearest.checks().failed().map(|check| check.code.to_string()).collect();
    replayed.grant.ok_or(failed)
}

/// Whether a rule that is not known to name machines does.
fn names_machines(grant: &Grant) -> bool {
    let result = grant.attestation();
    let claims = result.claims();
    let mut names: Vec<String> = claims.gpus.iter().map(|gpu| gpu.pdi().to_string()).collect();
    match &claims.tee {
        TeeClaims::Snp(snp) => names.extend(snp.chip_id().map(|chip| chip.to_string())),
        TeeClaims::Tdx(tdx) => names.push(tdx.pck().platform_id.to_string()),
    }
    let told = grant.checks().all().iter().filter(|check| !codes::names_machine(&check.code));
    let told: Vec<_> = told.flat_map(|check| [&check.wanted, &check.observed]).collect();
    names.iter().any(|name| told.iter().any(|text| text.contains(name)))
}

struct Judged<'a> {
    file: &'a File,
    rule: &'a Rule,
    policy: ReleasePolicy,
    model: WeightsKeyTerms,
}

impl Judged<'_> {
    fn exchange(&self, over: &Table) -> Exchange {
        let table = merged(&self.file.machine, over);
        let machine: Machine = Value::Table(table).try_into().unwrap();
        ask(&machine, &self.file.model, self.file.at, |_| {})
    }

    fn passes(&self, over: &Table) -> Option<String> {
        let exchange = self.exchange(over);
        match judge(&self.policy, &exchange, std::slice::from_ref(&self.model)) {
            Err(refusal) => Some(format!("passes: refused by {:?}", failed(&refusal))),
            Ok(grant) if names_machines(&grant) => Some("passes: a rule names a machine".to_owned()),
            Ok(grant) => {
                let again = replayed(&self.policy, grant.claims().unwrap(), self.file.at, &self.model);
                (again.as_deref() != Ok(grant.name())).then(|| format!("passes: replayed as {again:?}"))
            }
        }
    }

    fn refused(&self, over: &Table) -> Option<String> {
        let exchange = self.exchange(over);
        let refusal = match judge(&self.policy, &exchange, std::slice::from_ref(&self.model)) {
            Ok(_) => return Some("refused: passes".to_owned()),
            Err(refusal) => refusal,
        };
        let code = self.rule.code.clone().unwrap();
        let status = self.rule.status.unwrap_or(403);
        let codes = self.rule.also.clone().unwrap_or_else(|| BTreeSet::from([code.clone()]));
        let wanted = (code, status, self.rule.device, codes);
        let denied = refusal.denied();
        let observed = (denied.code().to_owned(), denied.status(), refusal.device(), failed(&refusal));
        if observed != wanted {
            return Some(format!("refused: wanted {wanted:?}, observed {observed:?}"));
        }
        match refusal.claims() {
            None if self.rule.not_recorded => None,
            None => Some("refused: no record".to_owned()),
            Some(_) if self.rule.not_recorded => Some("refused: a record".to_owned()),
            Some(claims) => {
                let again = replayed(&self.policy, claims, self.file.at, &self.model);
                (again != Err(wanted.3)).then(|| format!("refused: replayed as {again:?}"))
            }
        }
    }
}

fn run(name: &str) {
    let path = Path::new(POLICIES).join("cases/release/rules").join(name);
    let file: File =
        toml::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap_or_else(|e| panic!("{e}"));
    let text = std::fs::read_to_string(Path::new(POLICIES).join("release").join(&file.policy)).unwrap();
    let mut wrong = Vec::new();
    for rule in &file.rule {
        let model = terms(&file.model, file.version, file.manifest, "k1");
        let judged =
            Judged { file: &file, rule, policy: policy(&text, &merged(&file.set, &rule.set)), model };
        let problems = [
            rule.passes.as_ref().and_then(|over| judged.passes(over)),
            rule.refused.as_ref().and_then(|over| judged.refused(over)),
        ];
        let what = format!("{:?} {:?}", rule.set, rule.refused);
        wrong.extend(problems.into_iter().flatten().map(|problem| format!("{what}\n    {problem}")));
        assert!(rule.passes.is_some() || rule.refused.is_some());
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), file.rule.len(), wrong.join("\n"));
}

#[test]
fn case_06_every_rule_of_snp_passes_at_its_limit_and_refuses_beyond() {
    run("snp.toml");
}

#[test]
fn case_06_every_rule_of_tdx_passes_at_its_limit_and_refuses_beyond() {
    run("tdx.toml");
}

#[test]
fn case_07_every_rule_of_gpus_passes_at_its_limit_and_refuses_beyond() {
    run("gpu.toml");
}

#[test]
fn case_07_every_rule_of_a_board_passes_at_its_limit_and_refuses_beyond() {
    run("board.toml");
}

#[test]
fn case_05_every_rule_of_a_paravisor_passes_at_its_limit_and_refuses_beyond() {
    run("paravisor.toml");
}

//! A TPM of the guest's own: the table `[tpm]` of profiles, and `[grant.tpm]` of release policies.

use crate::paravisor::{read_pcrs, values_of_pcrs};
use crate::words::list;
use crate::{PolicyError, Reader, Rule};
use anchorhold_rats::Sha256Digest;
use anchorhold_verifier::tpm::{KeyName, Policy};
use toml::Value;

const ROOTS: &str = "a list of root certificates, each as the SHA-256 digest of its DER in hex";
const KEYS: &str = "a list of names of keys, each the SHA-256 digest of a public area in hex";

/// Reads the table `[tpm]` of a profile.
///
/// `pcrs` is mandatory, and may be empty, which refuses everything; so is `keys`, unless `roots` says whose certificates are accepted.
/// What is left out has the value of [`Policy::strict`].
pub(crate) fn read(mut table: Reader) -> Result<Policy, PolicyError> {
    let roots = match table.has("roots") {
        true => table.list("roots", ROOTS, str::parse::<Sha256Digest>)?,
        false => Vec::new(),
    };
    let keys = match table.has("keys") || roots.is_empty() {
        true => table.list("keys", KEYS, str::parse::<KeyName>)?,
        false => Vec::new(),
    };
    let mut policy = Policy { roots, ..Policy::strict(keys, read_pcrs(table.table("pcrs")?)?) };
    policy.require_event_log = table.or("require_event_log", policy.require_event_log, Reader::truth)?;
    table.finish()?;
    Ok(policy)
}

/// Reads the table `[grant.tpm]` of a release policy, in which every rule must be spelled out and at least one key and one PCR
/// named.
pub(crate) fn read_grant(table: Reader) -> Result<Policy, PolicyError> {
    // One of the two says whose quotes are accepted; the other one left out accepts nothing more.
    table.require(&[if table.has("roots") { "roots" } else { "keys" }, "pcrs", "require_event_log"])?;
    let no_pcrs = PolicyError::Empty { path: table.path_of("pcrs") };
    let policy = read(table)?;
    if policy.pcrs.is_empty() { Err(no_pcrs) } else { Ok(policy) }
}

pub(crate) fn rules(policy: &Policy) -> Vec<Rule> {
    // The one of the two that names nothing is left out, as it may be in the file.
    let keys = Rule::accepts(
        "tpm.keys",
        list(&policy.keys, KeyName::to_string),
        "the keys whose quotes are accepted",
    );
    let roots = Rule::accepts(
        "tpm.roots",
        list(&policy.roots, Sha256Digest::to_string),
        "the roots below which every certified key of a TPM may quote",
    );
    let mut rules = Vec::new();
    if !policy.keys.is_empty() || policy.roots.is_empty() {
        rules.push(keys.weaker_if(policy.keys.is_empty(), "no key is named, so every guest is refused"));
    }
    if !policy.roots.is_empty() {
        rules.push(roots);
    }
    rules.extend([
        Rule::registers(
            "tpm.pcrs",
            Value::Table(values_of_pcrs(&policy.pcrs)),
            "the values of the TPM's PCRs that are accepted",
        )
        .weaker_if(policy.pcrs.is_empty(), "no PCR is named, so every guest is refused"),
        Rule::demands(
            "tpm.require_event_log",
            policy.require_event_log,
            "an event log adds up to each of these PCRs",
        ),
    ]);
    rules
}

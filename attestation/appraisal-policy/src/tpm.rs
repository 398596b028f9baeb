//! A TPM of the guest's own: the table `[tpm]` of profiles, and `[grant.tpm]` of release policies.

use crate::paravisor::{read_pcrs, values_of_pcrs};
use crate::words::list;
use crate::{PolicyError, Reader, Rule};
use anchorhold_verifier::tpm::{KeyName, Policy};
use toml::Value;

const KEYS: &str = "a list of names of keys, each the SHA-256 digest of a public area in hex";

/// Reads the table `[tpm]` of a profile.
///
/// `keys` and `pcrs` are mandatory; `pcrs` may be empty, which refuses everything. What is left out has the value of
/// [`Policy::strict`].
pub(crate) fn read(mut table: Reader) -> Result<Policy, PolicyError> {
    let keys = table.list("keys", KEYS, str::parse::<KeyName>)?;
    let mut policy = Policy::strict(keys, read_pcrs(table.table("pcrs")?)?);
    policy.require_event_log = table.or("require_event_log", policy.require_event_log, Reader::truth)?;
    table.finish()?;
    Ok(policy)
}

/// Reads the table `[grant.tpm]` of a release policy, in which every rule must be spelled out and at least one key and one PCR
/// named.
pub(crate) fn read_grant(table: Reader) -> Result<Policy, PolicyError> {
    table.require(&["keys", "pcrs", "require_event_log"])?;
    let no_pcrs = PolicyError::Empty { path: table.path_of("pcrs") };
    let policy = read(table)?;
    if policy.pcrs.is_empty() { Err(no_pcrs) } else { Ok(policy) }
}

pub(crate) fn rules(policy: &Policy) -> Vec<Rule> {
    vec![
        Rule::accepts(
            "tpm.keys",
            list(&policy.keys, KeyName::to_string),
            "the keys whose quotes are accepted",
        )
        .weaker_if(policy.keys.is_empty(), "no key is named, so every guest is refused"),
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
    ]
}

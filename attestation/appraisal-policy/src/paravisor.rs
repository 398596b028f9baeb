//! Azure's paravisor and its virtual TPM: the table `[paravisor]` of profiles, and `[grant.paravisor]` of release policies.

use crate::words::{list, or_any};
use crate::{PolicyError, Reader, Rule, hex};
use anchorhold_verifier::azure::{Policy, VmId};
use std::collections::BTreeMap;
use toml::{Table, Value};

const VALUES: &str = "a list of SHA-256 values as \"sha256:…\"";
const VM_IDS: &str = "\"any\" or a list of machine ids";
const PCRS: std::ops::Range<u8> = 0..24;

/// Reads the table `[paravisor]` of a profile.
///
/// `pcrs` is mandatory and may be empty, which refuses everything. What is left out has the value of [`Policy::strict`].
pub(crate) fn read(mut table: Reader) -> Result<Policy, PolicyError> {
    let mut policy = Policy::strict(read_pcrs(table.table("pcrs")?)?);
    policy.require_secure_boot =
        table.or("require_secure_boot", policy.require_secure_boot, Reader::truth)?;
    policy.require_no_console = table.or("require_no_console", policy.require_no_console, Reader::truth)?;
    policy.vm_ids =
        table.or("vm_ids", None, |table, key| table.list_or(key, "any", VM_IDS, str::parse::<VmId>))?;
    table.finish()?;
    Ok(policy)
}

/// Reads the table `[grant.paravisor]` of a release policy, in which every rule must be spelled out and at least one PCR
/// named.
pub(crate) fn read_grant(table: Reader) -> Result<Policy, PolicyError> {
    table.require(&["pcrs", "require_secure_boot", "require_no_console", "vm_ids"])?;
    let empty = PolicyError::Empty { path: table.path_of("pcrs") };
    let policy = read(table)?;
    if policy.pcrs.is_empty() { Err(empty) } else { Ok(policy) }
}

pub(crate) fn read_pcrs(mut table: Reader) -> Result<BTreeMap<u8, Vec<[u8; 32]>>, PolicyError> {
    let mut pcrs = BTreeMap::new();
    for pcr in PCRS {
        let key = pcr.to_string();
        if table.has(&key) {
            let value = |text: &str| hex::decode(text.strip_prefix("sha256:").unwrap_or_default());
            pcrs.insert(pcr, table.list(&key, VALUES, value)?);
        }
    }
    table.finish()?;
    Ok(pcrs)
}

/// The table that [`read_pcrs`] reads.
pub(crate) fn values_of_pcrs(pcrs: &BTreeMap<u8, Vec<[u8; 32]>>) -> Table {
    let values = |values: &Vec<[u8; 32]>| list(values, |value| format!("sha256:{}", hex::encode(value)));
    pcrs.iter().map(|(pcr, all)| (pcr.to_string(), values(all))).collect()
}

pub(crate) fn rules(policy: &Policy) -> Vec<Rule> {
    vec![
        Rule::registers(
            "paravisor.pcrs",
            Value::Table(values_of_pcrs(&policy.pcrs)),
            "the values of the virtual TPM's PCRs that are accepted",
        )
        .weaker_if(policy.pcrs.is_empty(), "no PCR is named, so every guest is refused"),
        Rule::demands(
            "paravisor.require_secure_boot",
            policy.require_secure_boot,
            "the paravisor says: Secure Boot is on",
        )
        .weaker_if(!policy.require_secure_boot, "a boot loader that nobody signed may run"),
        Rule::demands(
            "paravisor.require_no_console",
            policy.require_no_console,
            "the paravisor says: no console is attached",
        ),
        Rule::accepts(
            "paravisor.vm_ids",
            or_any(policy.vm_ids.as_ref(), |ids| list(ids, VmId::to_string)),
            "the machines that are accepted, by the id that Azure gave them",
        ),
    ]
}

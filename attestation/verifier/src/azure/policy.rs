//! Whether an authentic quote of a virtual TPM is acceptable.

use super::{AuthenticVtpm, Stated, VmId, codes};
use crate::Refusal;
use crate::show::hex;
use crate::tpm::judge_pcrs;
use anchorhold_rats::Checks;
use std::collections::BTreeMap;

/// What a relying party accepts. Start from [`strict`](Self::strict) and change what differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The accepted values of each PCR (SHA-256 bank) that counts. None at all refuses everything.
    pub pcrs: BTreeMap<u8, Vec<[u8; 32]>>,
    /// The paravisor must say that Secure Boot is on. Default: yes.
    pub require_secure_boot: bool,
    /// The paravisor must say that no console is attached. Default: no.
    pub require_no_console: bool,
    /// The only machines that are accepted. Default: any.
    pub vm_ids: Option<Vec<VmId>>,
}

impl Policy {
    /// The policy for these PCR values, with all other rules at their defaults.
    #[must_use]
    pub const fn strict(pcrs: BTreeMap<u8, Vec<[u8; 32]>>) -> Self {
        Self { pcrs, require_secure_boot: true, require_no_console: false, vm_ids: None }
    }
}

/// Judges an authentic quote against `policy` and the nonce that the relying party expects.
///
/// Establishes that every rule of the policy holds and that the quote was made for `nonce`. Presumes that the nonce is fresh
/// and commits to what the relying party wants bound, and that the TEE's report is appraised too, for
/// [`AuthenticVtpm::report_data`].
///
/// # Errors
/// [`Refusal`] with every rule that failed, not only the first.
pub fn appraise(vtpm: &AuthenticVtpm, policy: &Policy, nonce: &[u8]) -> Result<Checks, Refusal> {
    let mut checks = Checks::new();
    judge_policy(&vtpm.stated(), policy, nonce, &mut checks);
    if checks.none_failed() { Ok(checks) } else { Err(Refusal::new(checks)) }
}

/// Records every rule of the policy.
pub(crate) fn judge_policy(vtpm: &Stated<'_>, policy: &Policy, nonce: &[u8], checks: &mut Checks) {
    judge_pcrs(vtpm.pcrs, &policy.pcrs, &codes::QUOTE, checks);
    judge_claims(vtpm, policy, checks);
    checks.record(codes::NONCE, vtpm.nonce == nonce, hex(nonce), hex(vtpm.nonce));
}

fn judge_claims(vtpm: &Stated<'_>, policy: &Policy, checks: &mut Checks) {
    let vm = vtpm.vm;
    for (code, asked, wanted, observed) in [
        (codes::SECURE_BOOT, policy.require_secure_boot, true, vm.secure_boot),
        (codes::CONSOLE, policy.require_no_console, false, vm.console_enabled),
    ] {
        let name = |set: bool| if set { "on" } else { "off" };
        let text = observed.map_or("not stated", name);
        if asked {
            checks.record(code, observed == Some(wanted), name(wanted), text);
        } else {
            checks.skip(code, "not asked", text);
        }
    }
    let text = vm.vm_id.as_ref().map_or_else(|| "not stated".to_string(), ToString::to_string);
    match &policy.vm_ids {
        Some(ids) => {
            let accepted = vm.vm_id.as_ref().is_some_and(|id| ids.contains(id));
            checks.record(codes::VM_ID, accepted, format!("one of {} machines", ids.len()), text);
        }
        None => checks.skip(codes::VM_ID, "not asked", text),
    }
}

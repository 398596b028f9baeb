//! Whether an authentic quote of a TPM is acceptable.

use super::{AuthenticQuote, KeyName, Stated, codes, judge_pcrs};
use crate::Refusal;
use crate::show::{hex, join};
use anchorhold_rats::{Checks, Sha256Digest};
use std::collections::BTreeMap;

/// What a relying party accepts. Start from [`strict`](Self::strict) and change what differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The keys that may quote. Neither a key nor a root refuses everything.
    pub keys: Vec<KeyName>,
    /// Root certificates, by their SHA-256 digests: every key that is certified below one as a TPM's attestation key may quote. Default:
    /// none.
    pub roots: Vec<Sha256Digest>,
    /// The accepted values of each PCR (SHA-256 bank) that counts. None at all refuses everything.
    pub pcrs: BTreeMap<u8, Vec<[u8; 32]>>,
    /// An event log must be there and add up to each of these PCRs. Default: yes. The values say what was measured; the log lets
    /// people see which measurement differs when they do not fit.
    pub require_event_log: bool,
}

impl Policy {
    /// The policy for these keys and PCR values, with all other rules at their defaults.
    #[must_use]
    pub const fn strict(keys: Vec<KeyName>, pcrs: BTreeMap<u8, Vec<[u8; 32]>>) -> Self {
        Self { keys, roots: Vec::new(), pcrs, require_event_log: true }
    }
}

/// Judges an authentic quote against `policy` and the nonce that the relying party expects.
///
/// Establishes that every rule of the policy holds and that the quote was made for `nonce`. Presumes that the nonce is fresh
/// and commits to what the relying party wants bound, and that the TPMs of the named keys measure what happens.
///
/// # Errors
/// [`Refusal`] with every rule that failed, not only the first.
pub fn appraise(quote: &AuthenticQuote, policy: &Policy, nonce: &[u8]) -> Result<Checks, Refusal> {
    let mut checks = Checks::new();
    judge_policy(&quote.stated(), policy, nonce, &mut checks);
    if checks.none_failed() { Ok(checks) } else { Err(Refusal::new(checks)) }
}

/// Records every rule of the policy.
pub(crate) fn judge_policy(quote: &Stated<'_>, policy: &Policy, nonce: &[u8], checks: &mut Checks) {
    let count = policy.keys.len().saturating_add(policy.roots.len());
    checks.record(codes::KEYS_EMPTY, count > 0, "at least one key or root in the policy", count.to_string());
    let certified = quote.root.is_some_and(|root| policy.roots.contains(&root));
    let accepted = policy.keys.contains(&quote.key) || certified;
    let below = |root: Sha256Digest| format!("below {root}");
    let wanted = policy.keys.iter().map(KeyName::to_string).chain(policy.roots.iter().copied().map(below));
    let wanted: Vec<_> = wanted.collect();
    let observed =
        quote.root.map_or_else(|| quote.key.to_string(), |root| format!("{} {}", quote.key, below(root)));
    checks.record(codes::KEY, accepted, join(&wanted), observed);
    judge_pcrs(quote.pcrs, &policy.pcrs, &codes::QUOTE, checks);
    judge_log(quote, policy, checks);
    checks.record(codes::NONCE, quote.nonce == nonce, hex(nonce), hex(quote.nonce));
}

fn judge_log(quote: &Stated<'_>, policy: &Policy, checks: &mut Checks) {
    let observed = if quote.log.is_some() { "one" } else { "none" };
    if !policy.require_event_log {
        checks.skip(codes::LOG_MISSING, "not asked", observed);
        return;
    }
    checks.record(codes::LOG_MISSING, quote.log.is_some(), "an event log", observed);
    let Some(log) = quote.log else { return };
    for pcr in policy.pcrs.keys() {
        // A PCR that is not quoted is another rule's.
        let Some(quoted) = quote.pcrs.get(pcr) else { continue };
        let replayed = log.pcrs().get(pcr).copied().unwrap_or_default();
        checks.record(
            codes::LOG_REPLAY,
            replayed == *quoted,
            format!("PCR {pcr} {}", hex(quoted)),
            format!("PCR {pcr} {}", hex(&replayed)),
        );
    }
}

//! Revocation lists against a chain (AMD 57230, section 3.4; RFC 5280, section 6.3.3).

use super::chain::Chain;
use super::codes;
use crate::x509::{Certificate, RevocationList};
use anchorhold_rats::{Checks, Der, Timestamp};

/// The most lists that are read: the root's and the intermediate's, each once more while it is renewed.
const MAX_LISTS: usize = 4;

/// What was found in lists that are all good.
pub(crate) struct Revocation {
    /// Whether one of them is the root's, which can revoke the intermediate.
    pub(crate) root_judged: bool,
    /// When the first of them ends; the end of the chain where there is none.
    pub(crate) expires: Timestamp,
}

/// Judges every list against `chain`; `None` when a rule failed.
///
/// Establishes that each list is issued and signed by the pinned root or by the leaf's issuer, that it is the current
/// one at `at`, and that none of them names the intermediate or the leaf. Presumes that the chain holds.
pub(crate) fn judge(
    lists: &[Der],
    chain: &Chain<'_>,
    at: Timestamp,
    checks: &mut Checks,
) -> Option<Revocation> {
    let mut found = Revocation { root_judged: false, expires: chain.expires };
    if lists.is_empty() {
        return Some(found);
    }
    let count = lists.len();
    if !checks.record(codes::CRL_COUNT, count <= MAX_LISTS, format!("at most {MAX_LISTS}"), count.to_string())
    {
        return None;
    }
    let mut sound = true;
    for list in lists {
        match judge_list(&list.0, chain, at, checks) {
            Some((issuer, next_update)) => {
                found.root_judged |= issuer == Issuer::Root;
                found.expires = found.expires.min(next_update);
            }
            None => sound = false,
        }
    }
    sound.then_some(found)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Issuer {
    Root,
    Intermediate,
}

fn judge_list(
    bytes: &[u8],
    chain: &Chain<'_>,
    at: Timestamp,
    checks: &mut Checks,
) -> Option<(Issuer, Timestamp)> {
    let parsed = RevocationList::parse(bytes);
    let observed = parsed.as_ref().err().map_or_else(|| "one".to_string(), ToString::to_string);
    checks.record(codes::CRL_MALFORMED, parsed.is_ok(), "a strict X.509 revocation list", observed);
    let list = parsed.ok()?;
    let (certificate, issuer) = find_issuer(&list, chain, checks)?;
    let mut sound = record_signature(&list, certificate, checks);
    let window = format!("{} to {}", list.this_update, list.next_update);
    sound &= checks.record(codes::CRL_FRESHNESS, list.is_fresh_at(at), format!("current at {at}"), window);
    sound &= record_serials(&list, chain, issuer, checks);
    sound.then_some((issuer, list.next_update))
}

fn find_issuer<'a>(
    list: &RevocationList<'_>,
    chain: &'a Chain<'_>,
    checks: &mut Checks,
) -> Option<(&'a Certificate<'a>, Issuer)> {
    let issuer = match list.issuer {
        name if name == chain.ark.subject => Some((&chain.ark, Issuer::Root)),
        name if name == chain.intermediate.subject => Some((&chain.intermediate, Issuer::Intermediate)),
        _ => None,
    };
    let observed = match issuer {
        Some((_, Issuer::Root)) => "the pinned ARK",
        Some((_, Issuer::Intermediate)) => "the leaf's issuer",
        None => "another",
    };
    checks.record(
        codes::CRL_ISSUER,
        issuer.is_some(),
        "the pinned ARK or the leaf's issuer as issuer",
        observed,
    );
    issuer
}

fn record_signature(list: &RevocationList<'_>, issuer: &Certificate<'_>, checks: &mut Checks) -> bool {
    let may_sign = issuer.authority.signs_crls;
    let signed = may_sign && list.verify_signature(&issuer.public_key);
    let observed = match (signed, may_sign) {
        (true, _) => "valid",
        (false, true) => "not valid",
        (false, false) => "an issuer that may not sign revocation lists",
    };
    checks.record(codes::CRL_SIGNATURE, signed, "a valid signature of its issuer", observed)
}

/// Serial numbers belong to an issuer, so the root's list speaks of the intermediate and the intermediate's of the
/// leaf. A root's list that names the leaf's serial number is held against the leaf too: every VCEK has
/// the number 0, which a root has no other reason to name.
fn record_serials(list: &RevocationList<'_>, chain: &Chain<'_>, issuer: Issuer, checks: &mut Checks) -> bool {
    let mut sound = true;
    for (which, serial, applies) in [
        ("the intermediate", chain.intermediate.serial, issuer == Issuer::Root),
        ("the leaf", chain.leaf_serial, true),
    ] {
        if applies {
            let listed = list.revoked.contains(&serial);
            let observed = if listed { "listed" } else { "not listed" };
            sound &= checks.record(codes::CRL_REVOKED, !listed, format!("{which} not listed"), observed);
        }
    }
    sound
}

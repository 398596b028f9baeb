//! A remembered chain spares two signatures and nothing else.

use crate::support::*;
use anchorhold_attester::software::revocation::RevocationTemplate;
use anchorhold_attester::software::{Authority, certificate::name};
use anchorhold_rats::{Checks, Der, Evidence, Timestamp};
use anchorhold_verifier::snp::{AuthenticReport, ChainCache, Input, authenticate_with_cache};
use anchorhold_verifier::{Authentic, Refusal, TrustAnchors};

fn cached(
    evidence: &Evidence,
    anchors: &TrustAnchors,
    at: Timestamp,
    cache: &ChainCache,
) -> Result<Authentic<AuthenticReport>, Refusal> {
    let input = Input { report: &evidence.report, certificates: &evidence.certificates, crls: &[] };
    authenticate_with_cache(&input, anchors, at, cache)
}

/// How the signatures of the chain were judged.
fn remembered(checks: &Checks) -> usize {
    checks.all().iter().filter(|check| check.observed == "valid, as verified before").count()
}

/// Two reports of one chip, and a cache that saw the first.
fn warm() -> (Evidence, ChainCache) {
    let guest = launch(config());
    let cache = ChainCache::new(8);
    let first = cached(&guest.attest(&REPORT_DATA).unwrap(), &simulated(), now(), &cache).unwrap();
    assert_eq!((remembered(first.checks()), cache.len()), (0, 1));
    (guest.attest(&REPORT_DATA).unwrap(), cache)
}

#[test]
fn the_second_report_of_a_chip_comes_to_the_same_verdict() {
    let (second, cache) = warm();
    let from_cache = cached(&second, &simulated(), now(), &cache).unwrap();
    let whole = authenticate(&second, &simulated(), now()).unwrap();
    assert_eq!(remembered(from_cache.checks()), 2);
    assert_eq!(from_cache.expires(), whole.expires());
    assert_eq!(from_cache.checks().all().len(), whole.checks().all().len());
    for (ours, theirs) in from_cache.checks().all().iter().zip(whole.checks().all()) {
        assert_eq!((&ours.code, ours.outcome, &ours.wanted), (&theirs.code, theirs.outcome, &theirs.wanted));
    }
}

#[test]
fn case_05_a_remembered_chain_is_still_judged_by_time_and_anchors() {
    let (second, cache) = warm();
    let code =
        |anchors: &TrustAnchors, at| cached(&second, anchors, at, &cache).unwrap_err().code().to_string();
    let late = now().plus_seconds(config().certificate_seconds + 1);
    assert_eq!(code(&simulated(), late), "snp_certificate_validity");
    assert_eq!(code(&TrustAnchors::production(), now()), "snp_no_trust_anchor");
    assert_eq!(cache.len(), 1);
}

#[test]
fn case_06_a_remembered_chain_is_still_judged_by_revocation_lists() {
    let (second, cache) = warm();
    let list = RevocationTemplate {
        issuer: name(Authority::Ark.common_name()),
        this_update: now(),
        next_update: now(),
        revoked: vec![vec![2]],
    };
    let crls = [Der(list.sign(&Authority::Ark.key().unwrap()).unwrap())];
    let input = Input { report: &second.report, certificates: &second.certificates, crls: &crls };
    let refusal = authenticate_with_cache(&input, &simulated(), now(), &cache).unwrap_err();
    assert_eq!(refusal.code(), "snp_certificate_revoked");
}

#[test]
fn case_05_a_changed_report_below_a_remembered_chain_is_refused() {
    let (mut second, cache) = warm();
    second.report[0x90] ^= 1;
    assert_eq!(cached(&second, &simulated(), now(), &cache).unwrap_err().code(), "snp_report_signature");
}

#[test]
fn case_47_no_changed_bit_of_a_certificate_is_taken_for_a_remembered_chain() {
    let (second, cache) = warm();
    for certificate in [0, 1] {
        for index in 0..second.certificates[certificate].0.len() {
            let mut changed = second.clone();
            changed.certificates[certificate].0[index] ^= 1 << (index % 8);
            assert!(
                cached(&changed, &simulated(), now(), &cache).is_err(),
                "certificate {certificate} byte {index:#x}"
            );
        }
    }
    assert_eq!(cache.len(), 1, "no refused chain is remembered");
}

#[test]
fn case_05_refused_signatures_are_not_remembered() {
    let cache = ChainCache::new(8);
    let guest = launch(config());
    let mut forged = guest.attest(&REPORT_DATA).unwrap();
    forged.certificates[0] = Der(guest.template().sign(&Authority::Asvk.key().unwrap()).unwrap());
    for _ in 0..2 {
        assert_eq!(cached(&forged, &simulated(), now(), &cache).unwrap_err().code(), "snp_leaf_signature");
    }
    assert!(cache.is_empty());
}

//! Remembered signatures of chain and collateral spare their verification and nothing else.

use crate::made::*;
use anchorhold_attester::software::tdx::{CollateralTemplate, TdConfig, TdxAuthority, TdxGuest};
use anchorhold_rats::{Checks, Der, TdxCollateral, Timestamp};
use anchorhold_verifier::tdx::{AuthenticQuote, ChainCache, Input, authenticate_with_cache};
use anchorhold_verifier::{Authentic, Refusal, TrustAnchors};

fn cached(
    made: &Made,
    anchors: &TrustAnchors,
    at: Timestamp,
    cache: &ChainCache,
) -> Result<Authentic<AuthenticQuote>, Refusal> {
    let input = Input { quote: &made.quote, collateral: made.collateral.as_ref() };
    authenticate_with_cache(&input, anchors, at, cache)
}

/// The codes of the signatures that were known from before.
fn remembered(checks: &Checks) -> Vec<&str> {
    let known = checks.all().iter().filter(|check| check.observed == "it is, as verified before");
    known.map(|check| check.code.as_ref()).collect()
}

fn guest() -> TdxGuest {
    TdxGuest::launch(TdConfig::new(MRTD), now()).unwrap()
}

/// Two quotes of one platform, and a cache that saw the first.
fn warm() -> (TdxGuest, Made, ChainCache) {
    let guest = guest();
    let cache = ChainCache::new(8);
    let made = Made::by(&guest);
    let first = cached(&made, &simulated(), now(), &cache).unwrap();
    assert_eq!((remembered(first.checks()), cache.len()), (vec![], 2));
    let second = Made { quote: guest.quote(&REPORT_DATA).unwrap(), collateral: made.collateral };
    (guest, second, cache)
}

#[test]
fn the_second_quote_of_a_platform_comes_to_the_same_verdict() {
    let (_, second, cache) = warm();
    let from_cache = cached(&second, &simulated(), now(), &cache).unwrap();
    let whole = second.authentic();
    assert_eq!(
        remembered(from_cache.checks()),
        [
            "tdx_ca_signature",
            "tdx_leaf_signature",
            "tdx_crl_signature",
            "tdx_crl_signature",
            "tdx_signer_signature",
            "tdx_tcb_info_signature",
            "tdx_qe_identity_signature"
        ]
    );
    assert_eq!(from_cache.expires(), whole.expires());
    assert_eq!(from_cache.checks().all().len(), whole.checks().all().len());
    for (ours, theirs) in from_cache.checks().all().iter().zip(whole.checks().all()) {
        assert_eq!((&ours.code, ours.outcome, &ours.wanted), (&theirs.code, theirs.outcome, &theirs.wanted));
    }
    assert_eq!(cache.len(), 2);
}

#[test]
fn case_05_remembered_signatures_are_still_judged_by_time_and_anchors() {
    let (_, second, cache) = warm();
    let code =
        |anchors: &TrustAnchors, at| cached(&second, anchors, at, &cache).unwrap_err().code().to_string();
    assert_eq!(code(&simulated(), now().plus_seconds(60 * 86_400)), "tdx_crl_freshness");
    assert_eq!(code(&simulated(), now().plus_seconds(8 * 365 * 86_400)), "tdx_certificate_validity");
    assert_eq!(code(&TrustAnchors::production(), now()), "tdx_no_trust_anchor");
    assert_eq!(cache.len(), 2);
}

#[test]
fn case_06_a_remembered_chain_is_still_judged_by_newer_collateral() {
    let (guest, mut second, cache) = warm();
    let mut template = CollateralTemplate::for_platform(&guest.config().platform, now());
    template.pck_crl.revoked.push(guest.template().serial.clone());
    second.collateral = Some(template.sign().unwrap());
    let refusal = cached(&second, &simulated(), now(), &cache).unwrap_err();
    assert_eq!(refusal.code(), "tdx_certificate_revoked");
    assert_eq!(remembered(refusal.checks()), ["tdx_ca_signature", "tdx_leaf_signature"]);
    assert_eq!(cache.len(), 2, "what was refused is not remembered");
}

#[test]
fn case_05_a_changed_quote_below_a_remembered_chain_is_refused() {
    let (_, mut second, cache) = warm();
    second.quote[100] ^= 1;
    assert_eq!(cached(&second, &simulated(), now(), &cache).unwrap_err().code(), "tdx_quote_signature");
}

#[test]
fn case_05_the_collateral_of_another_ca_is_not_taken_for_remembered() {
    let (_, mut second, cache) = warm();
    // The root signs the list of PCK certificates, which is the PCK CA's to sign.
    let template = CollateralTemplate::for_platform(&guest().config().platform, now());
    let list = template.pck_crl.sign_ecdsa(&TdxAuthority::Root.key().unwrap(), &[]).unwrap();
    second.collateral.as_mut().unwrap().pck_crl = Der(list);
    for _ in 0..2 {
        assert_eq!(cached(&second, &simulated(), now(), &cache).unwrap_err().code(), "tdx_crl_signature");
    }
}

#[test]
fn case_47_no_changed_bit_of_signed_collateral_is_taken_for_remembered() {
    let (_, second, cache) = warm();
    let parts: [fn(&mut TdxCollateral) -> &mut Vec<u8>; 4] = [
        |collateral| &mut collateral.root_ca_crl.0,
        |collateral| &mut collateral.pck_crl.0,
        |collateral| &mut collateral.tcb_info_signature.0,
        |collateral| &mut collateral.qe_identity_signature.0,
    ];
    for (which, part) in parts.into_iter().enumerate() {
        let mut good = second.collateral.clone().unwrap();
        for index in 0..part(&mut good).len() {
            let mut changed = second.clone();
            part(changed.collateral.as_mut().unwrap())[index] ^= 1 << (index % 8);
            assert!(cached(&changed, &simulated(), now(), &cache).is_err(), "part {which} byte {index:#x}");
        }
    }
    let texts: [fn(&mut TdxCollateral) -> &mut String; 4] = [
        |collateral| &mut collateral.tcb_info,
        |collateral| &mut collateral.qe_identity,
        |collateral| &mut collateral.tcb_info_issuer_chain,
        |collateral| &mut collateral.qe_identity_issuer_chain,
    ];
    for (which, text) in texts.into_iter().enumerate() {
        let mut changed = second.clone();
        text(changed.collateral.as_mut().unwrap()).insert(0, ' ');
        let judged = cached(&changed, &simulated(), now(), &cache);
        // White space before PEM changes nothing that is signed, so such a chain is good, and verified anew.
        let known = judged.map(|authentic| remembered(authentic.checks()).len());
        assert!(known.is_err() || known.is_ok_and(|known| known == 2), "text {which}");
    }
}

//! Revocation lists: AMD's own at their stated times, and simulated ones for what AMD never published.

use crate::support::*;
use anchorhold_attester::software::Authority;
use anchorhold_attester::software::certificate::name;
use anchorhold_attester::software::revocation::RevocationTemplate;
use anchorhold_rats::{Der, Evidence, Stage, Timestamp};
use anchorhold_verifier::snp::AuthenticReport;
use anchorhold_verifier::x509::RevocationList;
use anchorhold_verifier::{Authentic, Refusal, TrustAnchors};

fn with_crl(
    evidence: &Evidence,
    anchors: &TrustAnchors,
    crl: &[u8],
    at: Timestamp,
) -> Result<Authentic<AuthenticReport>, Refusal> {
    authenticate_with(evidence, &[Der(crl.to_vec())], anchors, at)
}

fn template(revoked: &[&[u8]]) -> RevocationTemplate {
    RevocationTemplate {
        issuer: name(Authority::Ark.common_name()),
        this_update: now().plus_seconds(-10),
        next_update: now().plus_seconds(10),
        revoked: revoked.iter().map(|serial| serial.to_vec()).collect(),
    }
}

fn signed(template: &RevocationTemplate) -> Vec<u8> {
    template.sign(&Authority::Ark.key().unwrap()).unwrap()
}

fn code(crl: &[u8]) -> String {
    match with_crl(&evidence(), &simulated(), crl, now()) {
        Ok(_) => String::new(),
        Err(refusal) => {
            assert_eq!(refusal.stage(), Stage::Collateral);
            refusal.code().to_string()
        }
    }
}

#[test]
fn amds_lists_are_fresh_and_stale_at_their_stated_times() {
    let Some(folder) = samples() else { return };
    let crl = |product: &str| std::fs::read(folder.join(format!("snp/crl/{product}.crl"))).unwrap();
    let sample = |id: &str| read_samples().into_iter().find(|sample| sample.id == id).unwrap().evidence;
    let (milan, genoa) = (sample("snp/milan-v2-azure"), sample("snp/genoa-v5-oak"));
    let anchors = TrustAnchors::production();
    let (fresh, later, last) =
        (at("2025-10-01T00:00:00Z"), at("2025-12-01T00:00:00Z"), at("2026-06-01T00:00:00Z"));
    let genoa_list = crl("genoa");
    let genoa_list = RevocationList::parse(&genoa_list).unwrap();
    assert_eq!(genoa_list.revoked, [&[2, 0, 1][..]], "the ASK before today's");
    assert!(RevocationList::parse(&crl("milan")).unwrap().revoked.is_empty());

    let authentic = with_crl(&milan, &anchors, &crl("milan"), fresh).unwrap();
    assert_eq!(authentic.expires(), at("2026-05-12T00:00:00Z"));
    assert!(with_crl(&genoa, &anchors, &crl("genoa"), fresh).is_ok());
    assert!(with_crl(&milan, &anchors, &crl("milan"), later).is_ok());
    for (evidence, product, at) in
        [(&genoa, "genoa", later), (&genoa, "genoa", last), (&milan, "milan", last)]
    {
        let refusal = with_crl(evidence, &anchors, &crl(product), at).unwrap_err();
        assert_eq!((refusal.stage(), refusal.code()), (Stage::Collateral, "snp_crl_freshness"));
    }
    let refusal = with_crl(&milan, &anchors, &crl("genoa"), fresh).unwrap_err();
    assert_eq!(refusal.code(), "snp_crl_signature");
}

#[test]
fn case_06_refuses_a_revoked_intermediate() {
    assert_eq!(code(&signed(&template(&[]))), "");
    assert_eq!(code(&signed(&template(&[&[1], &[3], &[2, 0]]))), "");
    assert_eq!(code(&signed(&template(&[&[1], &[2]]))), "snp_certificate_revoked");
}

#[test]
fn case_48_refuses_stale_and_future_lists() {
    let mut stale = template(&[]);
    stale.next_update = now().plus_seconds(-1);
    assert_eq!(code(&signed(&stale)), "snp_crl_freshness");
    let mut future = template(&[]);
    future.this_update = now().plus_seconds(1);
    assert_eq!(code(&signed(&future)), "snp_crl_freshness");
}

#[test]
fn case_48_refuses_lists_that_the_root_did_not_sign() {
    assert_eq!(code(&template(&[]).sign(&Authority::Ask.key().unwrap()).unwrap()), "snp_crl_signature");
    let mut other = template(&[]);
    other.issuer = name("ARK-SIMULATED (another)");
    assert_eq!(code(&signed(&other)), "snp_crl_signature");
}

#[test]
fn case_09_refuses_lists_that_are_not_strict_der() {
    let mut list = signed(&template(&[&[9]]));
    for cut in 0..list.len() {
        assert_eq!(code(&list[..cut]), "snp_crl_malformed", "{cut}");
    }
    list.push(0);
    assert_eq!(code(&list), "snp_crl_malformed");
    let many: Vec<&[u8]> = vec![&[9]; 4097];
    assert_eq!(code(&signed(&template(&many))), "snp_crl_malformed");
}

#[test]
fn case_48_refuses_a_missing_list_when_the_policy_asks_for_one() {
    let policy = policy_with(|policy| policy.require_crl = true);
    assert_eq!(failed(judge(&evidence(), &policy)), ["snp_crl_missing"]);
    let judged = with_crl(&evidence(), &simulated(), &signed(&template(&[])), now()).unwrap();
    assert_eq!(judged.expires(), now().plus_seconds(10));
    assert!(appraise(judged, &policy, &REPORT_DATA).is_ok());
}

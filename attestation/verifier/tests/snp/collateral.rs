//! Revocation lists: AMD's own at their stated times, and simulated ones for what AMD never published.

use crate::support::*;
use anchorhold_attester::software::Authority;
use anchorhold_attester::software::certificate::name;
use anchorhold_attester::software::revocation::RevocationTemplate;
use anchorhold_rats::{Der, Endorsements, Evidence, Stage, Timestamp};
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
    assert_eq!(refusal.code(), "snp_crl_issuer");
    let both = [Der(crl("milan")), Der(crl("genoa"))];
    let refusal = authenticate_with(&milan, &both, &anchors, fresh).unwrap_err();
    assert_eq!(refusal.code(), "snp_crl_issuer", "one good list does not excuse a stranger's");
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
}

#[test]
fn case_48_refuses_lists_of_strangers() {
    let mut other = template(&[]);
    other.issuer = name("ARK-SIMULATED (another)");
    assert_eq!(code(&signed(&other)), "snp_crl_issuer");
    other.issuer = name(Authority::Asvk.common_name());
    assert_eq!(code(&other.sign(&Authority::Asvk.key().unwrap()).unwrap()), "snp_crl_issuer");
}

/// Evidence below an ASK with these bits of key usage (bit 2 signs certificates, bit 1 signs lists).
fn below_ask_with_usage(usage: u8) -> Evidence {
    ask_with(|ask| ask.extensions[1].value = vec![3, 2, 1, usage])
}

const SIGNS_BOTH: u8 = 0x06;
const SIGNS_CERTIFICATES: u8 = 0x04;

fn of_ask(revoked: &[&[u8]]) -> RevocationTemplate {
    RevocationTemplate { issuer: name(Authority::Ask.common_name()), ..template(revoked) }
}

fn failed_with(evidence: &Evidence, lists: &[Vec<u8>]) -> Vec<String> {
    let lists: Vec<_> = lists.iter().cloned().map(Der).collect();
    failed(authenticate_with(evidence, &lists, &simulated(), now()))
}

#[test]
fn case_06_refuses_a_leaf_that_its_issuer_revoked() {
    let ask = Authority::Ask.key().unwrap();
    let signed = |revoked: &[&[u8]]| of_ask(revoked).sign(&ask).unwrap();
    let evidence = below_ask_with_usage(SIGNS_BOTH);
    assert_eq!(failed_with(&evidence, &[signed(&[])]), [""; 0]);
    // The intermediate's own number means another certificate in a list of its own.
    assert_eq!(failed_with(&evidence, &[signed(&[&[1], &[2]])]), [""; 0]);
    assert_eq!(failed_with(&evidence, &[signed(&[&[1], &[]])]), ["snp_certificate_revoked"]);
    let mut numbered = guest_leaf_with(launch(config()), |leaf| leaf.serial = vec![1, 2, 3]);
    numbered.certificates[1] = evidence.certificates[1].clone();
    assert_eq!(failed_with(&numbered, &[signed(&[&[]])]), [""; 0]);
    assert_eq!(failed_with(&numbered, &[signed(&[&[1, 2, 3]])]), ["snp_certificate_revoked"]);
}

#[test]
fn case_06_a_list_of_the_root_that_names_the_leaf_refuses_it() {
    assert_eq!(code(&signed(&template(&[&[]]))), "snp_certificate_revoked");
    let numbered = guest_leaf_with(launch(config()), |leaf| leaf.serial = vec![9]);
    assert_eq!(failed_with(&numbered, &[signed(&template(&[&[9]]))]), ["snp_certificate_revoked"]);
    assert_eq!(failed_with(&numbered, &[signed(&template(&[&[]]))]), [""; 0]);
}

#[test]
fn case_48_refuses_lists_of_an_issuer_that_may_not_sign_lists() {
    let list = of_ask(&[]).sign(&Authority::Ask.key().unwrap()).unwrap();
    let evidence = below_ask_with_usage(SIGNS_CERTIFICATES);
    assert_eq!(failed_with(&evidence, std::slice::from_ref(&list)), ["snp_crl_signature"]);
    // Signed by another key than its issuer's.
    let forged = of_ask(&[]).sign(&Authority::Ark.key().unwrap()).unwrap();
    assert_eq!(failed_with(&below_ask_with_usage(SIGNS_BOTH), &[forged]), ["snp_crl_signature"]);
}

#[test]
fn case_48_every_list_is_judged() {
    let evidence = below_ask_with_usage(SIGNS_BOTH);
    let ask = Authority::Ask.key().unwrap();
    let (of_ark, of_ask) = (|revoked: &[&[u8]]| signed(&template(revoked)), of_ask(&[]).sign(&ask).unwrap());
    assert_eq!(failed_with(&evidence, &[of_ark(&[]), of_ask.clone()]), [""; 0]);
    for lists in [
        [of_ark(&[&[2]]), of_ask.clone()],
        [of_ask, of_ark(&[&[2]])],
        [of_ark(&[]), of_ark(&[&[2]])],
        [of_ark(&[&[2]]), of_ark(&[])],
    ] {
        assert_eq!(failed_with(&evidence, &lists), ["snp_certificate_revoked"]);
    }
}

#[test]
fn case_09_refuses_more_lists_than_a_chain_can_have() {
    let list = signed(&template(&[]));
    assert_eq!(failed_with(&evidence(), &vec![list.clone(); 4]), [""; 0]);
    assert_eq!(failed_with(&evidence(), &vec![list; 5]), ["snp_crl_count"]);
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
    // The list of the leaf's issuer cannot stand for the root's, which alone can revoke that issuer.
    let below = below_ask_with_usage(SIGNS_BOTH);
    let list = of_ask(&[]).sign(&Authority::Ask.key().unwrap()).unwrap();
    let judged = with_crl(&below, &simulated(), &list, now()).unwrap();
    assert_eq!(failed(appraise(judged, &policy, &REPORT_DATA)), ["snp_crl_missing"]);
}

#[test]
fn the_earliest_end_among_the_lists_is_reported() {
    let mut short = template(&[]);
    short.next_update = now().plus_seconds(3);
    let lists = [signed(&template(&[])), signed(&short)].map(Der);
    let judged = authenticate_with(&evidence(), &lists, &simulated(), now()).unwrap();
    assert_eq!(judged.expires(), now().plus_seconds(3));
}

#[test]
fn lists_in_the_endorsements_reach_the_family() {
    let endorsements = |revoked: &[&[u8]]| Endorsements {
        snp_crls: vec![Der(signed(&template(revoked)))],
        ..Endorsements::default()
    };
    let whole = |endorsements| {
        failed(anchorhold_verifier::authenticate(&evidence(), &endorsements, &simulated(), now()))
    };
    assert_eq!(whole(endorsements(&[])), [""; 0]);
    assert_eq!(whole(endorsements(&[&[2]])), ["snp_certificate_revoked"]);
}

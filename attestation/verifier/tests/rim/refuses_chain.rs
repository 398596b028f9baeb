//! Chains that do not end in the pinned root, or of which one certificate may not do what it does.

use crate::certificates::{SIGNS_CERTIFICATES, SIGNS_DATA, Template};
use crate::support::*;
use anchorhold_attester::software::Curve;
use anchorhold_verifier::TrustAnchors;
use anchorhold_verifier::dangerous::{SimulatedRoots, simulated_anchors};
use anchorhold_verifier::nvidia::rim::authenticate;

/// The refusal of a good manifest below a chain with a changed certificate.
fn with(number: usize, edit: impl Fn(&mut Template)) -> Vec<String> {
    let chain = Chain::with(|of, template| {
        if of == number {
            edit(template);
        }
    });
    refusal(&sign(&body(), &chain), &chain)
}

/// The refusal of a good manifest below a good chain of which other certificates are presented.
fn presented(edit: impl Fn(&mut Vec<Vec<u8>>)) -> Vec<String> {
    let mut chain = Chain::new();
    let anchors = chain.anchors();
    edit(&mut chain.certificates);
    failed(authenticate(sign(&body(), &chain).as_bytes(), &anchors, now()))
}

#[test]
fn accepts_a_chain_without_its_root() {
    assert!(presented(|certificates| certificates.truncate(3)).is_empty());
}

#[test]
fn refuses_without_a_root_for_manifests() {
    let chain = Chain::new();
    let anchors =
        simulated_anchors(&SimulatedRoots { nvidia_device: Some(chain.root()), ..SimulatedRoots::default() })
            .unwrap();
    let refused = authenticate(sign(&body(), &chain).as_bytes(), &anchors, now());
    assert_eq!(failed(refused), ["rim_no_trust_anchor"]);
}

#[test]
fn case_10_refuses_a_made_up_chain_under_the_vendors_root() {
    let chain = Chain::new();
    let refused = authenticate(sign(&body(), &chain).as_bytes(), &TrustAnchors::production(), now());
    assert_eq!(
        failed(refused),
        ["rim_certificate_root", "rim_certificate_issuer", "rim_certificate_signature",]
    );
}

#[test]
fn refuses_too_few_or_too_many_certificates() {
    assert_eq!(presented(Vec::clear), ["rim_certificate_count"]);
    assert_eq!(presented(|all| drop(all.drain(..3))), ["rim_certificate_count"]);
    assert_eq!(presented(|all| all.insert(1, all[1].clone())), ["rim_certificate_count"]);
}

#[test]
fn refuses_a_certificate_that_is_none() {
    assert_eq!(presented(|all| all[1] = b"none".to_vec()), ["rim_certificate_malformed"]);
    assert_eq!(presented(|all| all[0].push(0)), ["rim_certificate_malformed"]);
}

#[test]
fn refuses_another_root_of_the_same_name() {
    let other = Chain::new();
    let own = Chain::new();
    let refused = authenticate(sign(&body(), &own).as_bytes(), &other.anchors(), now());
    assert_eq!(failed(refused), ["rim_certificate_root", "rim_certificate_signature"]);
}

#[test]
fn refuses_certificates_out_of_order_or_with_a_gap() {
    assert!(presented(|all| all.swap(1, 2)).contains(&"rim_certificate_issuer".to_string()));
    assert!(presented(|all| all.swap(0, 1)).contains(&"rim_certificate_issuer".to_string()));
    assert!(presented(|all| drop(all.remove(1))).contains(&"rim_certificate_issuer".to_string()));
}

#[test]
fn refuses_an_issuer_of_another_name() {
    for number in 0..3 {
        assert_eq!(with(number, |template| template.issuer = "other".into()), ["rim_certificate_issuer"]);
    }
}

#[test]
fn refuses_a_certificate_that_its_issuer_did_not_sign() {
    for number in 0..3 {
        let codes = presented(|all| *all[number].last_mut().unwrap() ^= 1);
        assert_eq!(codes, ["rim_certificate_signature"], "{number}");
        let other = Chain::new();
        let codes = presented(|all| all[number] = other.certificates[number].clone());
        assert!(codes.contains(&"rim_certificate_signature".to_string()), "{number}");
    }
}

#[test]
fn refuses_an_issuer_that_may_not_issue() {
    for number in 1..3 {
        assert_eq!(with(number, |template| template.is_ca = false), ["rim_certificate_authority"]);
        assert_eq!(with(number, |template| template.usage = Some(SIGNS_DATA)), ["rim_certificate_authority"]);
        assert_eq!(with(number, |template| template.usage = None), ["rim_certificate_authority"]);
    }
}

#[test]
fn refuses_a_chain_that_is_longer_than_an_issuer_allows() {
    assert_eq!(with(2, |template| template.path_length = Some(0)), ["rim_certificate_authority"]);
    assert_eq!(with(3, |template| template.path_length = Some(1)), ["rim_certificate_authority"]);
    assert!(with(2, |template| template.path_length = Some(1)).is_empty());
    assert!(with(3, |template| template.path_length = Some(2)).is_empty());
}

#[test]
fn refuses_a_signer_that_may_not_sign() {
    assert_eq!(with(0, |template| template.usage = None), ["rim_signer"]);
    assert_eq!(with(0, |template| template.usage = Some(0x40)), ["rim_signer"]);
    assert_eq!(with(0, |template| template.usage = Some(SIGNS_DATA | SIGNS_CERTIFICATES)), ["rim_signer"]);
    assert_eq!(with(0, |template| template.is_ca = true), ["rim_signer"]);
    let on_p256 = Chain::on([Curve::P256, Curve::P384, Curve::P384, Curve::P384], |_, _| {});
    assert_eq!(refusal(&sign(&body(), &on_p256), &on_p256), ["rim_signer"]);
}

#[test]
fn refuses_an_issuer_on_another_curve() {
    let on_p256 = Chain::on([Curve::P384, Curve::P256, Curve::P384, Curve::P384], |_, _| {});
    assert_eq!(refusal(&sign(&body(), &on_p256), &on_p256), ["rim_certificate_signature"]);
}

#[test]
fn refuses_certificates_outside_their_validity() {
    for number in 0..4 {
        let early = at("2026-07-25T00:00:01Z");
        let late = at("2026-07-24T23:59:59Z");
        assert_eq!(with(number, |template| template.not_before = early), ["rim_certificate_validity"]);
        assert_eq!(with(number, |template| template.not_after = late), ["rim_certificate_validity"]);
        assert!(with(number, |template| template.not_before = now()).is_empty());
        assert!(with(number, |template| template.not_after = now()).is_empty());
    }
}

#[test]
fn expires_with_the_first_certificate() {
    for number in 0..4 {
        let end = at("2027-01-02T03:04:05Z");
        let chain = Chain::with(|of, template| {
            if of == number {
                template.not_after = end;
            }
        });
        assert_eq!(judge(&sign(&body(), &chain), &chain).unwrap().expires(), end);
    }
}

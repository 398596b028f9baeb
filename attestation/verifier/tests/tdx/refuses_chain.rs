//! One test for each rule about the PCK chain.

use crate::made::*;
use crate::support::codes_of;
use anchorhold_attester::software::certificate::{Extension, Template};
use anchorhold_attester::software::revocation::RevocationTemplate;
use anchorhold_attester::software::tdx::{
    CollateralTemplate, SgxExtension, TdxAuthority, intel_name, simulated_intel_root_der,
};
use anchorhold_attester::software::{Curve, SigningKey, simulated_ark_der};
use anchorhold_rats::Stage;
use anchorhold_verifier::dangerous::{self, SimulatedRoots};
use anchorhold_verifier::tdx::{PlatformId, SgxType};
use anchorhold_verifier::{Refusal, TrustAnchors};

fn stage(made: &Made) -> Stage {
    made.authenticate_under(&simulated(), now()).unwrap_err().stage()
}

#[test]
fn case_05_refuses_simulated_quotes_under_intels_root_and_without_a_root() {
    let made = made(|_| {});
    let refused = |anchors: &TrustAnchors| {
        let refusal: Refusal = made.authenticate_under(anchors, now()).unwrap_err();
        (refusal.stage(), codes_of(&refusal))
    };
    let wanted = (Stage::Chain, vec!["tdx_no_trust_anchor".to_string()]);
    assert_eq!(refused(&TrustAnchors::production()), wanted);
    let amd_only = dangerous::simulated_anchors(&SimulatedRoots::amd(simulated_ark_der())).unwrap();
    assert_eq!(refused(&amd_only), wanted);
}

#[test]
fn case_05_refuses_another_root_of_the_same_name() {
    let key = new_key();
    let forged = Template {
        serial: vec![1],
        issuer: intel_name(TdxAuthority::Root.common_name()),
        subject: intel_name(TdxAuthority::Root.common_name()),
        public_key_info: key.key_info(),
        extensions: vec![Extension::key_usage(0x06), Extension::authority(Some(1))],
        ..ca_template()
    };
    let made = with_chain(|chain| {
        chain[1] = ca_template().sign_ecdsa(&key).unwrap();
        chain[2] = forged.sign_ecdsa(&key).unwrap();
    });
    assert_eq!(made.refused(), ["tdx_no_trust_anchor"]);
}

/// Evidence whose PCK CA was certified with a changed template, by this key.
fn with_ca(key: &SigningKey, edit: impl FnOnce(&mut Template)) -> Made {
    with_chain(|chain| {
        let mut template = ca_template();
        edit(&mut template);
        chain[1] = template.sign_ecdsa(key).unwrap();
    })
}

fn root_key() -> SigningKey {
    TdxAuthority::Root.key().unwrap()
}

#[test]
fn case_05_refuses_a_ca_that_the_pinned_root_did_not_issue() {
    assert_eq!(with_ca(&root_key(), |_| {}).refused(), [""; 0]);
    assert_eq!(with_ca(&new_key(), |_| {}).refused(), ["tdx_ca_signature"]);
    let named = with_ca(&root_key(), |ca| ca.issuer = intel_name("Intel SGX Root CA"));
    assert_eq!(named.refused(), ["tdx_ca_signature"]);
    assert_eq!(stage(&named), Stage::Chain);
}

#[test]
fn refuses_a_ca_of_another_name() {
    let mut guest = guest();
    let subject = intel_name("Intel SGX TCB Signing");
    let leaf = Template { issuer: subject.clone(), ..guest.template().clone() };
    guest.certify(leaf).unwrap();
    let mut chain = guest.pck_chain().to_vec();
    chain[1] = by_root(&Template { subject, ..ca_template() });
    guest.set_pck_chain(chain);
    assert_eq!(Made::by(&guest).refused(), ["tdx_ca_name"]);
}

#[test]
fn refuses_a_ca_without_the_right_to_sign() {
    for (usage, authority) in [
        (0x04, Extension::authority(Some(0))),
        (0x02, Extension::authority(Some(0))),
        (0x06, Extension::authority(Some(1))),
        (0x06, Extension::authority(None)),
        (0x06, Extension::end_entity()),
    ] {
        let made = with_ca(&root_key(), |ca| ca.extensions = vec![Extension::key_usage(usage), authority]);
        assert_eq!(made.refused(), ["tdx_ca_authority"], "{usage:#x}");
    }
    let without_usage = with_ca(&root_key(), |ca| ca.extensions = vec![Extension::authority(Some(0))]);
    assert_eq!(without_usage.refused(), ["tdx_ca_authority"]);
}

#[test]
fn case_05_refuses_a_leaf_that_the_ca_did_not_issue() {
    let mut guest = guest();
    let mut chain = guest.pck_chain().to_vec();
    chain[0] = guest.template().sign_ecdsa(&new_key()).unwrap();
    guest.set_pck_chain(chain);
    assert_eq!(Made::by(&guest).refused(), ["tdx_leaf_signature"]);
    let renamed = with_leaf(|leaf| leaf.issuer = intel_name("Intel SGX PCK Processor CA"));
    assert_eq!(renamed.refused(), ["tdx_leaf_signature"]);
}

#[test]
fn refuses_a_leaf_of_another_name() {
    let made = with_leaf(|leaf| leaf.subject = intel_name("Intel SGX TCB Signing"));
    assert_eq!(made.refused(), ["tdx_leaf_name"]);
}

#[test]
fn refuses_a_leaf_that_is_a_ca_or_signs_no_data() {
    let changes: [fn(&mut Template); 5] = [
        |leaf| leaf.extensions[3] = Extension::key_usage(0x82),
        |leaf| leaf.extensions[3] = Extension::key_usage(0x40),
        |leaf| leaf.extensions[3] = Extension::key_usage(0x84),
        |leaf| leaf.extensions[4] = Extension::authority(Some(0)),
        |leaf| drop(leaf.extensions.remove(3)),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        assert_eq!(with_leaf(change).refused(), ["tdx_leaf_authority"], "{index}");
    }
    let p384 = SigningKey::generate(Curve::P384).unwrap();
    let made = with_leaf(|leaf| leaf.public_key_info = p384.key_info());
    assert_eq!(made.refused(), ["tdx_leaf_authority"]);
}

#[test]
fn refuses_a_leaf_whose_sgx_extension_is_incomplete_or_has_more() {
    let parts = SgxExtension::of(&Default::default()).0;
    assert_eq!(parts.len(), 7);
    let with_parts = |parts: Vec<(Vec<u8>, Vec<u8>)>| {
        with_leaf(|leaf| leaf.extensions[5] = SgxExtension(parts).extension()).refused()
    };
    assert_eq!(with_parts(parts.clone()), [""; 0]);
    for index in 0..5 {
        let mut fewer = parts.clone();
        fewer.remove(index);
        assert_eq!(with_parts(fewer), ["tdx_leaf_extension"], "without {index}");
    }
    for index in 0..7 {
        let mut longer = parts.clone();
        let value = &mut longer[index].1;
        value.push(0);
        value[1] += 1;
        assert_eq!(with_parts(longer), ["tdx_leaf_extension"], "longer {index}");
    }
    let mut swapped = parts.clone();
    swapped.swap(2, 3);
    assert_eq!(with_parts(swapped), ["tdx_leaf_extension"]);
    let mut twice = parts.clone();
    twice.push(parts[6].clone());
    assert_eq!(with_parts(twice), ["tdx_leaf_extension"]);
    let mut unknown = parts.clone();
    unknown.push((vec![8], vec![0x05, 0x00]));
    assert_eq!(with_parts(unknown), ["tdx_leaf_extension"]);
    let mut kind = parts;
    kind[4].1 = vec![0x0a, 1, 3];
    assert_eq!(with_parts(kind), ["tdx_leaf_extension"]);
    let without = with_leaf(|leaf| drop(leaf.extensions.pop()));
    assert_eq!(without.refused(), ["tdx_leaf_extension"]);
}

#[test]
fn a_certificate_below_the_processor_ca_states_no_flags() {
    let made = made(|config| {
        config.platform.platform_instance_id = None;
        config.platform.flags = None;
        config.platform.sgx_type = 2;
    });
    let authentic = made.authentic();
    let pck = authentic.claims().pck();
    assert_eq!((pck.dynamic_platform, pck.cached_keys, pck.smt_enabled), (None, None, None));
    assert_eq!(pck.sgx_type, SgxType::ScalableWithIntegrity);
    assert_eq!(pck.platform_id, PlatformId(*b"SIMULATED PPID.."));
    let standard = crate::made::made(|config| config.platform.sgx_type = 0).authentic();
    assert_eq!(standard.claims().pck().sgx_type, SgxType::Standard);
}

#[test]
fn refuses_certificates_outside_their_validity() {
    let made = made(|_| {});
    let template = guest().template().clone();
    let early = template.not_before.plus_seconds(-1);
    assert!(made.refused_at(early).iter().all(|code| code == "tdx_certificate_validity"));
    assert!(!made.refused_at(early).is_empty());
    let ended = with_leaf(|leaf| leaf.not_after = now().plus_seconds(-1));
    assert_eq!(ended.refused(), ["tdx_certificate_validity"]);
    let ends_now = with_leaf(|leaf| leaf.not_after = now());
    assert_eq!(ends_now.refused(), [""; 0]);
    assert_eq!(ends_now.authentic().expires(), now());
    let ended = with_ca(&root_key(), |ca| ca.not_after = now().plus_seconds(-1));
    assert_eq!(ended.refused(), ["tdx_certificate_validity"]);
    let ends_now = with_ca(&root_key(), |ca| ca.not_after = now());
    assert_eq!(ends_now.authentic().expires(), now());
}

#[test]
fn the_root_is_compared_by_all_its_bytes() {
    let root = simulated_intel_root_der();
    for at in (0..root.len()).step_by(29) {
        let made = with_chain(|chain| chain[2][at] ^= 1);
        assert_eq!(made.refused(), ["tdx_no_trust_anchor"], "{at}");
    }
}

/// Evidence of a whole hierarchy below a new root with these changes, judged under it.
fn below_own_root(edit: impl FnOnce(&mut Template)) -> Vec<String> {
    let key = new_key();
    let name = intel_name("SIMULATED other root");
    let mut root = Template {
        serial: vec![1],
        issuer: name.clone(),
        subject: name.clone(),
        public_key_info: key.key_info(),
        extensions: vec![Extension::key_usage(0x06), Extension::authority(None)],
        ..ca_template()
    };
    edit(&mut root);
    let signed = |template: Template| Template { issuer: name.clone(), ..template }.sign_ecdsa(&key).unwrap();
    let (root, ca, signer) =
        (root.sign_ecdsa(&key).unwrap(), signed(ca_template()), signed(signer_template()));
    let mut made = with_chain(|chain| chain.splice(1.., [ca.clone(), root.clone()]).for_each(drop));
    let collateral = made.collateral.as_mut().unwrap();
    collateral.pck_crl_issuer_chain = pem(&[&ca, &root]);
    collateral.tcb_info_issuer_chain = pem(&[&signer, &root]);
    collateral.qe_identity_issuer_chain = pem(&[&signer, &root]);
    let list = CollateralTemplate::for_platform(&Default::default(), now()).root_crl;
    collateral.root_ca_crl.0 = RevocationTemplate { issuer: name, ..list }.sign_ecdsa(&key, &[]).unwrap();
    let roots = SimulatedRoots { intel: Some(&root), ..SimulatedRoots::default() };
    match made.authenticate_under(&dangerous::simulated_anchors(&roots).unwrap(), now()) {
        Ok(_) => Vec::new(),
        Err(refusal) => codes_of(&refusal),
    }
}

#[test]
fn a_named_root_must_be_valid_and_allowed_to_sign_revocation_lists() {
    assert_eq!(below_own_root(|_| {}), [""; 0]);
    let ended = below_own_root(|root| root.not_after = now().plus_seconds(-1));
    assert_eq!(ended, ["tdx_certificate_validity"]);
    let without_lists = below_own_root(|root| root.extensions[0] = Extension::key_usage(0x04));
    assert_eq!(without_lists, ["tdx_crl_signature"]);
}

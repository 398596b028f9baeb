//! One test for each rule about Intel's collateral.

use crate::made::*;
use crate::support::at;
use anchorhold_attester::software::certificate::{Extension, Template};
use anchorhold_attester::software::revocation::RevocationTemplate;
use anchorhold_attester::software::tdx::{
    CollateralTemplate, TdxAuthority, intel_name, sign_collateral_text, simulated_intel_root_der,
};
use anchorhold_attester::software::{Curve, SigningKey};
use anchorhold_rats::{Der, TdxCollateral};

#[test]
fn refuses_a_quote_without_collateral() {
    let made = Made { collateral: None, ..made(|_| {}) };
    assert_eq!(made.refused(), ["tdx_collateral_missing"]);
}

/// Evidence whose TCB signer was certified with a changed template, by this key.
fn with_signer(key: &SigningKey, edit: impl Fn(&mut Template)) -> [Made; 2] {
    let mut template = signer_template();
    edit(&mut template);
    let chain = pem(&[&template.sign_ecdsa(key).unwrap(), simulated_intel_root_der()]);
    [
        with_signed_collateral(|collateral| collateral.tcb_info_issuer_chain.clone_from(&chain)),
        with_signed_collateral(|collateral| collateral.qe_identity_issuer_chain.clone_from(&chain)),
    ]
}

fn root_key() -> SigningKey {
    TdxAuthority::Root.key().unwrap()
}

#[test]
fn refuses_collateral_of_a_signer_that_the_root_did_not_issue() {
    for made in with_signer(&root_key(), |_| {}) {
        assert_eq!(made.refused(), [""; 0]);
    }
    for made in with_signer(&new_key(), |_| {}) {
        assert_eq!(made.refused(), ["tdx_signer_signature"]);
    }
    for made in with_signer(&root_key(), |signer| signer.issuer = intel_name("Intel SGX Root CA")) {
        assert_eq!(made.refused(), ["tdx_signer_signature"]);
    }
}

#[test]
fn refuses_a_signer_of_another_name_or_kind_or_time() {
    for made in with_signer(&root_key(), |signer| signer.subject = intel_name("Intel SGX PCK Certificate")) {
        assert_eq!(made.refused(), ["tdx_signer_name"]);
    }
    for made in with_signer(&root_key(), |signer| signer.extensions[1] = Extension::authority(Some(0))) {
        assert_eq!(made.refused(), ["tdx_signer_authority"]);
    }
    for made in with_signer(&root_key(), |signer| signer.extensions[0] = Extension::key_usage(0x40)) {
        assert_eq!(made.refused(), ["tdx_signer_authority"]);
    }
    let p384 = SigningKey::generate(Curve::P384).unwrap();
    for made in with_signer(&root_key(), |signer| signer.public_key_info = p384.key_info()) {
        assert_eq!(made.refused(), ["tdx_signer_authority"]);
    }
    for made in with_signer(&root_key(), |signer| signer.not_after = now().plus_seconds(-1)) {
        assert_eq!(made.refused(), ["tdx_signer_validity"]);
    }
    for made in with_signer(&root_key(), |signer| signer.not_after = now()) {
        assert_eq!(made.authentic().expires(), now());
    }
}

#[test]
fn refuses_issuer_chains_that_end_elsewhere() {
    let other_root = |text: &mut String| {
        let leaf_end = text.find("-----END CERTIFICATE-----").unwrap() + 26;
        text.truncate(leaf_end);
        text.push_str(&pem(&[TdxAuthority::TcbSigner.certificate_der()]));
    };
    let chains: [fn(&mut TdxCollateral) -> &mut String; 3] = [
        |collateral| &mut collateral.tcb_info_issuer_chain,
        |collateral| &mut collateral.qe_identity_issuer_chain,
        |collateral| &mut collateral.pck_crl_issuer_chain,
    ];
    for (index, chain) in chains.into_iter().enumerate() {
        let made = with_signed_collateral(|collateral| other_root(chain(collateral)));
        assert_eq!(made.refused(), ["tdx_no_trust_anchor"], "{index}");
        let made = with_signed_collateral(|collateral| chain(collateral).push_str("more"));
        assert_eq!(made.refused(), ["tdx_certificate_malformed"], "{index}");
        let made = with_signed_collateral(|collateral| chain(collateral).clear());
        assert_eq!(made.refused(), ["tdx_certificate_count"], "{index}");
    }
}

#[test]
fn refuses_the_issuer_chain_of_another_revocation_list() {
    let made = with_signed_collateral(|collateral| {
        collateral.pck_crl_issuer_chain = TdxAuthority::TcbSigner.chain_pem();
    });
    assert_eq!(made.refused(), ["tdx_crl_issuer"]);
    let other = by_root(&Template { public_key_info: new_key().key_info(), ..ca_template() });
    let chain = pem(&[&other, simulated_intel_root_der()]);
    let made = with_signed_collateral(|collateral| collateral.pck_crl_issuer_chain = chain);
    assert_eq!(made.refused(), ["tdx_crl_issuer"]);
}

fn lists() -> [fn(&mut TdxCollateral) -> &mut Der; 2] {
    [|collateral| &mut collateral.pck_crl, |collateral| &mut collateral.root_ca_crl]
}

fn templates() -> [fn(&mut CollateralTemplate) -> &mut RevocationTemplate; 2] {
    [|template| &mut template.pck_crl, |template| &mut template.root_crl]
}

#[test]
fn refuses_malformed_revocation_lists() {
    for list in lists() {
        assert_eq!(with_signed_collateral(|c| list(c).0.push(0)).refused(), ["tdx_crl_malformed"]);
        assert_eq!(with_signed_collateral(|c| list(c).0.clear()).refused(), ["tdx_crl_malformed"]);
    }
}

#[test]
fn refuses_revocation_lists_with_critical_extensions_that_are_not_known() {
    let authorities = [TdxAuthority::PckCa, TdxAuthority::Root];
    for ((list, template), authority) in lists().into_iter().zip(templates()).zip(authorities) {
        let refused = |extension: Extension| {
            with_signed_collateral(|collateral| {
                let mut source = CollateralTemplate::for_platform(&Default::default(), now());
                let key = authority.key().unwrap();
                list(collateral).0 = template(&mut source).sign_ecdsa(&key, &[extension]).unwrap();
            })
            .refused()
        };
        // Issuing distribution point, which would make the list one of a part of the certificates; and the number of a list.
        for (arc, critical, code) in [
            (0x1c, true, Some("tdx_crl_malformed")),
            (0x1c, false, None),
            (0x14, true, None),
            (0x23, true, None),
        ] {
            let observed = refused(Extension::standard(arc, critical, vec![0x30, 0]));
            assert_eq!(observed, Vec::from_iter(code), "{arc:#x} {critical}");
        }
    }
}

#[test]
fn refuses_revocation_lists_that_their_ca_did_not_sign() {
    for (list, template) in lists().into_iter().zip(templates()) {
        let made = with_signed_collateral(|collateral| {
            let mut source = CollateralTemplate::for_platform(&Default::default(), now());
            list(collateral).0 = template(&mut source).sign_ecdsa(&new_key(), &[]).unwrap();
        });
        assert_eq!(made.refused(), ["tdx_crl_signature"]);
        let made =
            with_collateral(|source| template(source).issuer = intel_name("Intel SGX PCK Processor CA"));
        assert_eq!(made.refused(), ["tdx_crl_signature"]);
    }
    let swapped = with_signed_collateral(|collateral| {
        std::mem::swap(&mut collateral.pck_crl, &mut collateral.root_ca_crl);
    });
    assert_eq!(swapped.refused(), ["tdx_crl_signature", "tdx_crl_signature"]);
}

#[test]
fn refuses_revocation_lists_that_are_not_current() {
    for template in templates() {
        let late = with_collateral(|source| template(source).next_update = now().plus_seconds(-1));
        assert_eq!(late.refused(), ["tdx_crl_freshness"]);
        let early = with_collateral(|source| template(source).this_update = now().plus_seconds(1));
        assert_eq!(early.refused(), ["tdx_crl_freshness"]);
        let last = with_collateral(|source| template(source).next_update = now());
        assert_eq!(last.authentic().expires(), now());
    }
}

/// The serial number of a certificate, as its DER holds it near the start.
fn serial(der: &[u8]) -> Vec<u8> {
    anchorhold_verifier::x509::Certificate::parse(der).unwrap().serial.to_vec()
}

#[test]
fn case_06_refuses_revoked_certificates() {
    let guest = guest();
    let leaf = guest.template().serial.clone();
    let revoked = |edit: &dyn Fn(&mut CollateralTemplate)| guest_with_collateral(&guest, edit).refused();
    let others = vec![vec![1], vec![0x7f; 20]];
    assert_eq!(
        revoked(&|source| source.pck_crl.revoked = [others.clone(), vec![leaf.clone()]].concat()),
        ["tdx_certificate_revoked"]
    );
    for authority in [TdxAuthority::Root, TdxAuthority::PckCa, TdxAuthority::TcbSigner] {
        let listed = vec![serial(authority.certificate_der())];
        assert_eq!(
            revoked(&|source| source.root_crl.revoked.clone_from(&listed)),
            ["tdx_certificate_revoked"],
            "{authority:?}"
        );
    }
    let elsewhere = [leaf, serial(TdxAuthority::PckCa.certificate_der())];
    assert_eq!(revoked(&|source| source.root_crl.revoked = vec![elsewhere[0].clone()]), [""; 0]);
    assert_eq!(revoked(&|source| source.pck_crl.revoked = vec![elsewhere[1].clone()]), [""; 0]);
}

#[test]
fn refuses_texts_that_were_changed_after_signing() {
    let made = with_signed_collateral(|collateral| collateral.tcb_info.push(' '));
    assert_eq!(made.refused(), ["tdx_tcb_info_signature"]);
    let made = with_signed_collateral(|collateral| collateral.qe_identity.insert(1, ' '));
    assert_eq!(made.refused(), ["tdx_qe_identity_signature"]);
    for cut in [0, 63] {
        let made = with_signed_collateral(|collateral| collateral.tcb_info_signature.0.truncate(cut));
        assert_eq!(made.refused(), ["tdx_tcb_info_signature"]);
    }
    let made = with_signed_collateral(|collateral| collateral.qe_identity_signature.0.push(0));
    assert_eq!(made.refused(), ["tdx_qe_identity_signature"]);
}

/// Collateral with another text in the place of the TCB info, signed.
fn tcb_info_text(edit: impl FnOnce(String) -> String) -> Vec<String> {
    with_signed_collateral(|collateral| {
        collateral.tcb_info = edit(collateral.tcb_info.clone());
        collateral.tcb_info_signature = sign_collateral_text(&collateral.tcb_info).unwrap();
    })
    .refused()
}

fn qe_identity_text(edit: impl FnOnce(String) -> String) -> Vec<String> {
    with_signed_collateral(|collateral| {
        collateral.qe_identity = edit(collateral.qe_identity.clone());
        collateral.qe_identity_signature = sign_collateral_text(&collateral.qe_identity).unwrap();
    })
    .refused()
}

/// Changes one place of a text, which must be there.
fn replaced(from: &'static str, to: &'static str) -> impl Fn(String) -> String {
    move |text| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    }
}

#[test]
fn case_09_refuses_signed_texts_of_another_shape() {
    for (from, to) in [
        ("\"UpToDate\"", "\"Perfect\""),
        ("\"UpToDate\"", "\"TDRelaunchAdvised\""),
        ("\"pcesvn\":11", "\"pcesvn\":11,\"pcesvn\":11"),
        ("\"pcesvn\":11", "\"pcesvn\":65536"),
        ("\"pcesvn\":11", "\"pcesvn\":-1"),
        ("{\"svn\":7,", "{\"svn\":256,"),
        ("\"fmspc\":\"00", "\"fmspc\":\""),
        ("\"tdxModule\":", "\"tdxmodule\":"),
        ("\"tcbLevels\":[{\"tcb\":{\"sgx", "\"levels\":[{\"tcb\":{\"sgx"),
        ("\"version\":3", "\"version\":3,\"version\":3"),
        ("\"version\":3", "\"version\":\"3\""),
        ("\"issueDate\":\"2026", "\"issueDate\":\"+026"),
    ] {
        assert_eq!(tcb_info_text(replaced(from, to)), ["tdx_tcb_info_malformed"], "{from} {to}");
    }
    assert_eq!(tcb_info_text(|_| String::new()), ["tdx_tcb_info_malformed"]);
    assert_eq!(tcb_info_text(|text| text + "{}"), ["tdx_tcb_info_malformed"]);
    for (from, to) in [
        ("\"UpToDate\"", "\"\""),
        ("\"isvprodid\":2", "\"isvprodid\":2,\"isvprodid\":2"),
        ("\"isvprodid\":2", "\"isvprodid\":65536"),
        ("\"mrsigner\":\"", "\"mrsigner\":\"00"),
        ("\"miscselectMask\":\"FF", "\"miscselectMask\":\"F"),
    ] {
        assert_eq!(qe_identity_text(replaced(from, to)), ["tdx_qe_identity_malformed"], "{from} {to}");
    }
    assert_eq!(qe_identity_text(|_| "[]".to_string()), ["tdx_qe_identity_malformed"]);
    // A key that Intel may add is no reason to refuse.
    assert_eq!(tcb_info_text(replaced("\"version\":3", "\"version\":3,\"new\":[{}]")), [""; 0]);
}

#[test]
fn case_09_refuses_lists_over_their_limits() {
    let refused = with_collateral(|source| {
        let level = source.tcb_info.tcb_levels[0].clone();
        source.tcb_info.tcb_levels = vec![level; 65];
    });
    assert_eq!(refused.refused(), ["tdx_tcb_info_malformed"]);
    let refused = with_collateral(|source| {
        let level = source.qe_identity.tcb_levels[0].clone();
        source.qe_identity.tcb_levels = vec![level; 33];
    });
    assert_eq!(refused.refused(), ["tdx_qe_identity_malformed"]);
}

#[test]
fn refuses_signed_texts_of_another_kind() {
    for (from, to) in [
        ("\"id\":\"TDX\"", "\"id\":\"SGX\""),
        ("\"version\":3", "\"version\":2"),
        ("\"version\":3", "\"version\":4"),
        ("\"tcbType\":0", "\"tcbType\":1"),
    ] {
        assert_eq!(tcb_info_text(replaced(from, to)), ["tdx_tcb_info_kind"], "{from} {to}");
    }
    for (from, to) in
        [("TD_QE", "QE"), ("\"version\":2", "\"version\":1"), ("\"version\":2", "\"version\":3")]
    {
        assert_eq!(qe_identity_text(replaced(from, to)), ["tdx_qe_identity_kind"], "{from} {to}");
    }
    let swapped = with_signed_collateral(|collateral| {
        std::mem::swap(&mut collateral.tcb_info, &mut collateral.qe_identity);
        std::mem::swap(&mut collateral.tcb_info_signature, &mut collateral.qe_identity_signature);
    });
    assert_eq!(swapped.refused(), ["tdx_tcb_info_kind", "tdx_qe_identity_kind"]);
}

#[test]
fn refuses_signed_texts_that_are_not_current() {
    let moments = [
        (at("2026-07-25T00:00:01Z"), at("2026-08-01T00:00:00Z"), false),
        (at("2026-07-01T00:00:00Z"), now(), false),
        (now(), at("2026-07-25T00:00:01Z"), true),
    ];
    for (from, to, current) in moments {
        let tcb_info = with_collateral(|source| {
            (source.tcb_info.issue_date, source.tcb_info.next_update) = (from.to_string(), to.to_string());
        });
        let qe_identity = with_collateral(|source| {
            (source.qe_identity.issue_date, source.qe_identity.next_update) =
                (from.to_string(), to.to_string());
        });
        if current {
            assert_eq!((tcb_info.authentic().expires(), qe_identity.authentic().expires()), (to, to));
        } else {
            assert_eq!(tcb_info.refused(), ["tdx_tcb_info_dates"], "{from} {to}");
            assert_eq!(qe_identity.refused(), ["tdx_qe_identity_dates"], "{from} {to}");
        }
    }
}

#[test]
fn refuses_collateral_of_another_platform() {
    let made = with_collateral(|source| source.tcb_info.fmspc = "00514d000001".to_string());
    assert_eq!(made.refused(), ["tdx_fmspc"]);
    let made = with_collateral(|source| source.tcb_info.pce_id = "0001".to_string());
    assert_eq!(made.refused(), ["tdx_pce_id"]);
}

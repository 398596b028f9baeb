//! Refusals of the stage chain. Every certificate here is signed with the key that should sign it, unless the
//! test says otherwise.

use crate::support::*;
use anchorhold_attester::software::certificate::{Extension, name, pss_sha384, rsa_key_info};
use anchorhold_attester::software::{Authority, LaunchConfig, Product, Signer, simulated_ark_der};
use anchorhold_rats::Der;
use anchorhold_verifier::TrustAnchors;
use anchorhold_verifier::x509::{Certificate, PublicKey};

#[test]
fn accepts_the_controls() {
    authentic(&leaf_with(|_| {}));
    authentic(&ask_with(|_| {}));
    authentic(&guest_leaf_with(turin(), |_| {}));
}

#[test]
fn serial_numbers_of_zero_and_above_are_read() {
    let serial = |serial: Vec<u8>| leaf_with(move |leaf| leaf.serial = serial);
    assert_eq!(Certificate::parse(&serial(vec![]).certificates[0].0).unwrap().serial, [0]);
    assert_eq!(Certificate::parse(&serial(vec![0x80]).certificates[0].0).unwrap().serial, [0, 0x80]);
    authentic(&serial(vec![]));
    authentic(&serial(vec![1, 2, 3]));
}

#[test]
fn case_05_refuses_evidence_without_a_leaf_or_an_intermediate() {
    let mut bare = evidence();
    bare.certificates.clear();
    assert_eq!(refusal(&bare), "snp_leaf_missing");
    let mut leaf_only = evidence();
    leaf_only.certificates.truncate(1);
    assert_eq!(refusal(&leaf_only), "snp_intermediate_missing");
}

#[test]
fn case_05_a_root_in_the_evidence_is_never_trusted_and_must_be_the_pinned_one() {
    let root = || Der(simulated_ark_der().to_vec());
    let mut whole = evidence();
    whole.certificates.push(root());
    authentic(&whole);
    assert!(authenticate(&whole, &TrustAnchors::production(), now()).is_err());
    let mut root_for_intermediate = evidence();
    root_for_intermediate.certificates[1] = root();
    assert_eq!(refusal(&root_for_intermediate), "snp_intermediate_missing");
    for other in [b"not a certificate".to_vec(), Authority::Asvk.certificate_der().to_vec()] {
        whole.certificates[2] = Der(other);
        assert_eq!(refusal(&whole), "snp_presented_root");
    }
}

#[test]
fn case_09_refuses_a_fourth_certificate() {
    let mut many = evidence();
    many.certificates.extend([Der(vec![]), Der(vec![])]);
    assert_eq!(refusal(&many), "snp_certificate_count");
}

#[test]
fn case_09_refuses_certificates_that_are_not_strict_der() {
    for index in [0, 1] {
        let mut trailing = evidence();
        trailing.certificates[index].0.push(0);
        assert_eq!(refusal(&trailing), "snp_certificate_malformed");
        let mut empty = evidence();
        empty.certificates[index].0.clear();
        assert_eq!(refusal(&empty), "snp_certificate_malformed");
    }
    let twice = leaf_with(|leaf| leaf.extensions.push(leaf.extensions[0].clone()));
    assert_eq!(refusal(&twice), "snp_certificate_malformed");
    let unknown = |critical| {
        leaf_with(move |leaf| {
            leaf.extensions.push(Extension { id: vec![0x55, 0x1d, 0x36], critical, value: vec![5, 0] })
        })
    };
    assert_eq!(refusal(&unknown(true)), "snp_certificate_malformed");
    authentic(&unknown(false));
    let crowded =
        leaf_with(|leaf| leaf.extensions.extend((20..60).map(|arc| Extension::amd_byte(&[arc], 0))));
    assert_eq!(refusal(&crowded), "snp_certificate_malformed");
}

#[test]
fn case_05_refuses_an_intermediate_of_another_root() {
    assert_eq!(refusal(&ask_with(|ask| ask.issuer = name("ARK-SIMULATED (another)"))), "snp_no_trust_anchor");
}

#[test]
fn case_05_refuses_an_intermediate_that_the_root_did_not_sign() {
    let mut forged = evidence();
    forged.certificates[1] = Der(ask_template().sign(&Authority::Asvk.key().unwrap()).unwrap());
    assert_eq!(refusal(&forged), "snp_intermediate_signature");
}

#[test]
fn case_05_refuses_other_signature_parameters() {
    // The signatures themselves are RSASSA-PSS with SHA-384 and salt 48; only what the certificates claim differs.
    for salt in [0, 20, 32, 47, 49, 64] {
        assert_eq!(
            refusal(&ask_with(|ask| ask.algorithm = pss_sha384(salt))),
            "snp_intermediate_signature",
            "{salt}"
        );
        assert_eq!(
            refusal(&leaf_with(|leaf| leaf.algorithm = pss_sha384(salt))),
            "snp_leaf_signature",
            "{salt}"
        );
    }
    // sha384WithRSAEncryption, and PSS with SHA-256 in place of SHA-384.
    let pkcs1 = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c\x05\x00".to_vec();
    assert_eq!(refusal(&leaf_with(|leaf| leaf.algorithm = pkcs1)), "snp_leaf_signature");
    let mut sha256 = pss_sha384(48);
    let digest_arc = sha256.windows(3).position(|window| window == [0x04, 0x02, 0x02]).unwrap() + 2;
    sha256[digest_arc] = 1;
    assert_eq!(refusal(&leaf_with(|leaf| leaf.algorithm = sha256)), "snp_leaf_signature");
}

#[test]
fn case_05_refuses_an_intermediate_that_may_not_issue() {
    let constraints = |value: &[u8]| {
        let value = value.to_vec();
        ask_with(move |ask| ask.extensions[0].value = value)
    };
    assert_eq!(refusal(&ask_with(|ask| ask.extensions.clear())), "snp_intermediate_authority");
    assert_eq!(refusal(&ask_with(|ask| drop(ask.extensions.remove(0)))), "snp_intermediate_authority");
    assert_eq!(refusal(&ask_with(|ask| drop(ask.extensions.remove(1)))), "snp_intermediate_authority");
    assert_eq!(refusal(&constraints(b"\x30\x00")), "snp_intermediate_authority");
    assert_eq!(refusal(&constraints(b"\x30\x03\x01\x01\xff")), "snp_intermediate_authority");
    assert_eq!(refusal(&constraints(b"\x30\x06\x01\x01\xff\x02\x01\x01")), "snp_intermediate_authority");
    // Key usage cRLSign without keyCertSign.
    let crl_only = ask_with(|ask| ask.extensions[1].value = b"\x03\x02\x01\x02".to_vec());
    assert_eq!(refusal(&crl_only), "snp_intermediate_authority");
}

#[test]
fn case_05_refuses_a_vcek_below_the_asvk_and_a_vlek_below_the_ask() {
    for (signer, wrong, subject) in
        [(Signer::Vcek, Authority::Asvk, "SEV-VCEK"), (Signer::Vlek, Authority::Ask, "SEV-VLEK")]
    {
        let guest = launch(LaunchConfig { signer, ..config() });
        let mut template = guest.template().clone();
        template.issuer = name(wrong.common_name());
        template.subject = name(subject);
        let mut evidence = guest.attest(&REPORT_DATA).unwrap();
        evidence.certificates =
            vec![Der(template.sign(&wrong.key().unwrap()).unwrap()), Der(wrong.certificate_der().to_vec())];
        assert_eq!(refusal(&evidence), "snp_intermediate_kind", "{signer:?}");
    }
}

#[test]
fn case_05_refuses_an_intermediate_without_a_name() {
    let unnamed = ask_with(|ask| ask.subject = b"\x30\x00".to_vec());
    assert_eq!(refusal(&unnamed), "snp_intermediate_kind");
}

/// Evidence whose ASK has this name, with everything else in order.
fn below_ask_named(common_name: &str, product: Product) -> anchorhold_rats::Evidence {
    let guest = launch(LaunchConfig::for_product(MEASUREMENT, product));
    let mut evidence = guest_leaf_with(guest, |leaf| leaf.issuer = name(common_name));
    evidence.certificates[1] = ask_with(|ask| ask.subject = name(common_name)).certificates[1].clone();
    evidence
}

#[test]
fn case_06_refuses_an_intermediate_that_names_another_product() {
    for (common_name, product, others) in [
        ("SEV-Milan", Product::Milan, [Product::Genoa, Product::Turin]),
        ("SEV-Genoa", Product::Genoa, [Product::Milan, Product::Turin]),
        ("SEV-Turin", Product::Turin, [Product::Milan, Product::Genoa]),
    ] {
        authentic(&below_ask_named(common_name, product));
        for other in others {
            let found = failed(authenticate(&below_ask_named(common_name, other), &simulated(), now()));
            assert_eq!(found, ["snp_intermediate_product"], "{common_name} {other:?}");
        }
    }
    // A simulated root stands for all products, so its intermediates may leave the product out; AMD's may not.
    let unnamed = authenticate(&evidence(), &TrustAnchors::production(), now()).unwrap_err();
    assert!(unnamed.checks().failed().any(|check| check.code == "snp_intermediate_product"));
}

#[test]
fn case_06_refuses_an_intermediate_that_points_to_another_revocation_list() {
    authentic(&ask_with_crl_at("https://kdsintf.amd.com/vcek/v1/Genoa/crl"));
    for other in [
        "https://kdsintf.amd.com/vcek/v1/Milan/crl",
        "https://kdsintf.amd.com/vlek/v1/Genoa/crl",
        "http://kdsintf.amd.com/vcek/v1/Genoa/crl",
        "https://kdsintf.amd.com/vcek/v1/Genoa/crl2",
        "",
    ] {
        let found = failed(authenticate(&ask_with_crl_at(other), &simulated(), now()));
        assert_eq!(found, ["snp_intermediate_crl_link"], "{other}");
    }
    for malformed in [vec![], vec![0x30, 0], vec![5, 0]] {
        let extension = Extension { id: vec![0x55, 0x1d, 0x1f], critical: false, value: malformed };
        let evidence = ask_with(|ask| ask.extensions.push(extension));
        assert_eq!(refusal(&evidence), "snp_intermediate_crl_link");
    }
    let without = authenticate(&evidence(), &TrustAnchors::production(), now()).unwrap_err();
    assert!(without.checks().failed().any(|check| check.code == "snp_intermediate_crl_link"));
}

#[test]
fn case_05_refuses_a_signing_key_that_is_not_the_leaf() {
    // The report says VLEK; leaf and intermediate are VCEK and ASK.
    assert_eq!(refusal(&report_with(|fields| fields.flags = 1 << 2)), "snp_intermediate_kind");
    // The leaf below the right intermediate has the name or the extensions of the other kind.
    assert_eq!(refusal(&leaf_with(|leaf| leaf.subject = name("SEV-VLEK"))), "snp_leaf_kind");
    assert_eq!(refusal(&leaf_with(|leaf| leaf.subject = name("SEV-VCEK2"))), "snp_leaf_kind");
    assert_eq!(refusal(&leaf_with(|leaf| drop(leaf.extensions.pop()))), "snp_leaf_kind");
    let vlek = launch(LaunchConfig { signer: Signer::Vlek, ..config() });
    let with_hwid = guest_leaf_with(vlek, |leaf| leaf.extensions.push(Extension::amd(&[4], vec![5; 64])));
    assert_eq!(refusal(&with_hwid), "snp_leaf_kind");
    let vlek = launch(LaunchConfig { signer: Signer::Vlek, ..config() });
    let without_provider = guest_leaf_with(vlek, |leaf| drop(leaf.extensions.pop()));
    assert_eq!(refusal(&without_provider), "snp_leaf_kind");
    let with_provider = leaf_with(|leaf| leaf.extensions.push(Extension::amd_text(&[5], "CN=a.invalid")));
    assert_eq!(refusal(&with_provider), "snp_leaf_kind");
}

#[test]
fn case_05_refuses_a_leaf_of_another_issuer() {
    assert_eq!(refusal(&leaf_with(|leaf| leaf.issuer = name("SEV-SIMULATED (another)"))), "snp_leaf_issuer");
}

#[test]
fn case_05_refuses_a_leaf_that_the_intermediate_did_not_sign() {
    let guest = launch(config());
    let mut forged = guest.attest(&REPORT_DATA).unwrap();
    forged.certificates[0] = Der(guest.template().sign(&Authority::Asvk.key().unwrap()).unwrap());
    assert_eq!(refusal(&forged), "snp_leaf_signature");
}

#[test]
fn case_05_refuses_a_leaf_with_another_key_or_as_a_ca() {
    let rsa = rsa_key_info(&Authority::Ask.key().unwrap());
    assert_eq!(refusal(&leaf_with(|leaf| leaf.public_key_info = rsa)), "snp_leaf_key");
    // The same point, said to be on secp256k1 (1.3.132.0.10).
    let other_curve = leaf_with(|leaf| {
        let curve =
            leaf.public_key_info.windows(5).position(|window| window == b"\x2b\x81\x04\x00\x22").unwrap();
        leaf.public_key_info[curve + 4] = 0x0a;
    });
    assert_eq!(Certificate::parse(&other_curve.certificates[0].0).unwrap().public_key, PublicKey::Other);
    assert_eq!(refusal(&other_curve), "snp_leaf_key");
    let ca = leaf_with(|leaf| leaf.extensions.extend(Extension::intermediate()));
    assert_eq!(refusal(&ca), "snp_leaf_key");
}

#[test]
fn case_06_refuses_leaves_whose_extensions_are_not_complete() {
    // Index: 0 structVersion, 1 productName, 2 to 9 the TCB of which 4 to 7 are reserved components.
    for index in [0, 1, 2, 3, 8, 9] {
        let evidence = leaf_with(|leaf| drop(leaf.extensions.remove(index)));
        assert_eq!(refusal(&evidence), "snp_leaf_extensions", "{index}");
    }
    for index in 4..8 {
        authentic(&leaf_with(|leaf| drop(leaf.extensions.remove(index))));
    }
    let without_fmc = guest_leaf_with(turin(), |leaf| drop(leaf.extensions.remove(2)));
    assert_eq!(refusal(&without_fmc), "snp_leaf_extensions");
}

#[test]
fn case_06_refuses_leaves_whose_extensions_are_out_of_range() {
    let replaced = |index: usize, extension: Extension| {
        refusal(&leaf_with(move |leaf| leaf.extensions[index] = extension))
    };
    assert_eq!(replaced(0, Extension::amd_byte(&[1], 1)), "snp_leaf_extensions");
    assert_eq!(replaced(0, Extension::amd_byte(&[1], 2)), "snp_leaf_extensions");
    for version in [0, 2] {
        let turin = guest_leaf_with(turin(), |leaf| leaf.extensions[0] = Extension::amd_byte(&[1], version));
        assert_eq!(refusal(&turin), "snp_leaf_extensions", "{version}");
    }
    for provider in ["", "with space", "with\u{7f}control", &"x".repeat(129)] {
        let vlek = launch(LaunchConfig { signer: Signer::Vlek, ..config() });
        let text = Extension::amd_text(&[5], provider);
        let vlek = guest_leaf_with(vlek, |leaf| *leaf.extensions.last_mut().unwrap() = text);
        assert_eq!(refusal(&vlek), "snp_leaf_extensions", "{provider:?}");
    }
    for product in ["Rome", "Genoa ", "Genoa-", "Turin-XX", ""] {
        assert_eq!(replaced(1, Extension::amd_text(&[2], product)), "snp_leaf_extensions", "{product}");
    }
    assert_eq!(replaced(2, Extension::amd(&[3, 1], vec![2, 2, 1, 0])), "snp_leaf_extensions");
    assert_eq!(replaced(2, Extension::amd(&[3, 1], vec![2, 1, 10, 0])), "snp_leaf_extensions");
    assert_eq!(replaced(2, Extension::amd(&[3, 1], vec![4, 1, 10])), "snp_leaf_extensions");
    for length in [0, 8, 63, 65] {
        assert_eq!(replaced(10, Extension::amd(&[4], vec![4; length])), "snp_leaf_extensions", "{length}");
    }
    let with_fmc = leaf_with(|leaf| leaf.extensions.push(Extension::amd_byte(&[3, 9], 0)));
    assert_eq!(refusal(&with_fmc), "snp_leaf_extensions");
}

#[test]
fn hwid_is_read_bare_and_as_an_octet_string() {
    for (product, length) in [(Product::Genoa, 64_u8), (Product::Turin, 8)] {
        let guest = launch(LaunchConfig::for_product(MEASUREMENT, product));
        authentic(&guest_leaf_with(guest, |leaf| {
            let hwid = leaf.extensions.last_mut().unwrap();
            hwid.value = [vec![4, length], hwid.value.clone()].concat();
        }));
    }
}

#[test]
fn case_06_refuses_a_certificate_of_another_product() {
    // A Genoa chip with a certificate that says Milan: the TCB bytes read the same, the CPUID does not.
    let milan = leaf_with(|leaf| leaf.extensions[1] = Extension::amd_text(&[2], "Milan-B0"));
    assert_eq!(refusal(&milan), "snp_product_cpuid");
    // In version 2, where the report names no product, only the anchor and the certificate do.
    let mut guest = launch(config());
    let mut template = guest.template().clone();
    template.extensions[1] = Extension::amd_text(&[2], "Milan-B0");
    guest.certify(template).unwrap();
    let v2 = guest_report_with(&guest, |fields| fields.version = 2);
    assert_eq!(authentic(&v2).claims().product(), anchorhold_verifier::snp::Product::Milan);
}

#[test]
fn case_05_refuses_certificates_outside_their_validity() {
    let whole = evidence();
    let leaf = launch(config()).template().clone();
    for moment in [leaf.not_before, leaf.not_after] {
        assert!(authenticate(&whole, &simulated(), moment).is_ok());
    }
    for moment in [leaf.not_before.plus_seconds(-1), leaf.not_after.plus_seconds(1)] {
        assert_eq!(refusal_at(&whole, moment), "snp_certificate_validity");
    }
    assert_eq!(refusal(&ask_with(|ask| ask.not_after = now().plus_seconds(-1))), "snp_certificate_validity");
    assert_eq!(refusal(&ask_with(|ask| ask.not_before = now().plus_seconds(1))), "snp_certificate_validity");
    // Leaf and intermediate outlive the root, which ends with 2049.
    let late = at("2050-01-01T00:00:00Z");
    let mut outlived = ask_with(|ask| ask.not_after = at("2060-01-01T00:00:00Z"));
    outlived.certificates[0] = leaf_with(|leaf| leaf.not_after = late).certificates[0].clone();
    assert_eq!(refusal_at(&outlived, late), "snp_certificate_validity");
}

#[test]
fn the_earliest_end_of_validity_is_reported() {
    let end = now().plus_seconds(10);
    assert_eq!(authentic(&ask_with(|ask| ask.not_after = end)).expires(), end);
    assert_eq!(authentic(&leaf_with(|leaf| leaf.not_after = end)).expires(), end);
}

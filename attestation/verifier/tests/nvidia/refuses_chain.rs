//! Refusals of the stages chain and identity. Each chain passes unchanged except for one value, and is signed after the
//! change.

use crate::forge::*;
use crate::support::*;
use anchorhold_rats::{Der, GpuEvidence};
use anchorhold_verifier::{TrustAnchors, dangerous};
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};

fn refusal(device: &Device) -> Vec<String> {
    failed(judge(&[device.evidence()], &anchors(), now()))
}

/// The codes with which a GPU with this change in one of its certificates is refused.
fn with(place: usize, edit: impl FnOnce(&mut Template)) -> Vec<String> {
    let mut device = Device::gpu(7);
    edit(&mut device.chain[place]);
    refusal(&device)
}

fn certificates_with(edit: impl FnOnce(&mut Vec<Der>)) -> Vec<String> {
    let mut evidence = Device::gpu(7).evidence();
    edit(&mut evidence.certificates);
    failed(judge(&[evidence], &anchors(), now()))
}

#[test]
fn refuses_any_other_number_of_certificates() {
    for place in 0..5 {
        assert_eq!(certificates_with(|all| drop(all.remove(place))), ["nvidia_chain_length"], "{place}");
    }
    assert_eq!(certificates_with(|all| all.push(all[4].clone())), ["nvidia_chain_length"]);
    assert_eq!(certificates_with(Vec::clear), ["nvidia_chain_length"]);
}

#[test]
fn refuses_certificates_that_are_none() {
    for place in 0..4 {
        assert_eq!(certificates_with(|all| all[place].0.push(0)), ["nvidia_certificate_malformed"]);
        assert_eq!(certificates_with(|all| all[place].0.truncate(100)), ["nvidia_certificate_malformed"]);
    }
}

#[test]
fn case_06_refuses_every_root_but_the_pinned_one() {
    let evidence = Device::gpu(7).evidence();
    let codes = |anchors: &TrustAnchors| failed(judge(std::slice::from_ref(&evidence), anchors, now()));
    assert_eq!(codes(&TrustAnchors::production()), ["nvidia_no_trust_anchor"]);
    let none = dangerous::simulated_anchors(&dangerous::SimulatedRoots::default()).unwrap();
    assert_eq!(codes(&none), ["nvidia_no_trust_anchor"]);
    // A root of the same name and key is not the pinned one.
    let root = name(None, "Simulated NVIDIA Device Identity CA");
    let again = Template::new(root.clone(), &AUTHORITY.root, root, ca()).sign(&AUTHORITY.root);
    assert_eq!(refusal(&Device { root: again, ..Device::gpu(7) }), ["nvidia_no_trust_anchor"]);
    if let Some(real) = device("blackwell-575") {
        assert_eq!(failed(judge(&[real], &anchors(), now())), ["nvidia_no_trust_anchor"]);
    }
}

#[test]
fn refuses_certificates_in_another_order() {
    let codes = certificates_with(|all| all.swap(1, 2));
    assert!(codes.contains(&"nvidia_certificate_issuer".to_owned()), "{codes:?}");
    assert!(codes.contains(&"nvidia_certificate_role".to_owned()), "{codes:?}");
}

#[test]
fn refuses_an_issuer_that_is_not_the_next_certificate() {
    for place in 0..4 {
        let codes = with(place, |template| template.issuer = name(None, "NVIDIA GH100 Other"));
        assert_eq!(codes, ["nvidia_certificate_issuer"], "{place}");
    }
}

#[test]
fn refuses_a_key_identifier_of_another_key() {
    let identifier = |byte: u8| sequence(&[&tlv(0x80, &[byte; 20])]);
    for place in 0..4 {
        let mut device = Device::gpu(7);
        device.chain[place].set(AUTHORITY_KEY, identifier(1));
        assert_eq!(refusal(&device), ["nvidia_key_identifier"], "{place}");
        if let Some(issuer) = device.chain.get_mut(place + 1) {
            issuer.set(SUBJECT_KEY, tlv(4, &[1; 20]));
            assert_eq!(refusal(&device), [""; 0]);
            device.chain[place].set(AUTHORITY_KEY, identifier(2));
            assert_eq!(refusal(&device), ["nvidia_key_identifier"], "{place}");
            device.chain[place].set(AUTHORITY_KEY, vec![0x30, 0x80]);
            assert_eq!(refusal(&device), ["nvidia_key_identifier"], "{place}");
        }
    }
}

#[test]
fn refuses_certificates_that_the_issuer_did_not_sign() {
    for place in 0..4 {
        let device = Device::gpu(7);
        let forged = device.chain[place].sign(&new_key());
        assert_eq!(certificates_of(&device, place, forged), ["nvidia_certificate_signature"], "{place}");
    }
}

fn certificates_of(device: &Device, place: usize, certificate: Vec<u8>) -> Vec<String> {
    let mut evidence = device.evidence();
    evidence.certificates[place] = Der(certificate);
    failed(judge(&[evidence], &anchors(), now()))
}

#[test]
fn refuses_an_attestation_key_that_is_a_ca_or_may_not_sign_data() {
    let code = ["nvidia_certificate_authority"];
    assert_eq!(with(0, |leaf| leaf.without(KEY_USAGE)), code);
    assert_eq!(with(0, |leaf| leaf.set(KEY_USAGE, vec![3, 2, 6, 0x40])), code);
    assert_eq!(with(0, |leaf| leaf.set(KEY_USAGE, vec![3, 2, 2, 0x84])), code);
    assert_eq!(with(0, |leaf| leaf.set(BASIC_CONSTRAINTS, sequence(&[&[1, 1, 0xff]]))), code);
}

#[test]
fn refuses_issuers_that_are_no_cas_or_allow_fewer_below_them() {
    let path = |length: usize| sequence(&[&[1, 1, 0xff], &[2, 1, u8::try_from(length).unwrap()]]);
    for place in 1..4 {
        let code = ["nvidia_certificate_authority"];
        assert_eq!(with(place, |ca| ca.without(BASIC_CONSTRAINTS)), code);
        assert_eq!(with(place, |ca| ca.set(BASIC_CONSTRAINTS, sequence(&[]))), code);
        assert_eq!(with(place, |ca| ca.without(KEY_USAGE)), code);
        assert_eq!(with(place, |ca| ca.set(KEY_USAGE, vec![3, 2, 7, 0x80])), code);
        assert_eq!(with(place, |ca| ca.set(BASIC_CONSTRAINTS, path(place - 1))), [""; 0]);
        if place > 1 {
            assert_eq!(with(place, |ca| ca.set(BASIC_CONSTRAINTS, path(place - 2))), code);
        }
    }
}

#[test]
fn refuses_keys_on_other_curves() {
    let random = ring::rand::SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &random).unwrap();
    let algorithm = b"\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
    let info = sequence(&[algorithm, &tlv(3, &[&[0], key.public_key().as_ref()].concat())]);
    assert_eq!(with(0, |leaf| leaf.key_info = info), ["nvidia_certificate_key"]);
}

#[test]
fn refuses_certificates_outside_their_validity() {
    for place in 0..4 {
        let codes = with(place, |template| template.validity.1 = now().plus_seconds(-1));
        assert_eq!(codes, ["nvidia_certificate_validity"], "{place}");
        let codes = with(place, |template| template.validity.0 = now().plus_seconds(1));
        assert_eq!(codes, ["nvidia_certificate_validity"], "{place}");
    }
    let mut device = Device::gpu(7);
    device.chain[2].validity.1 = now();
    let result = judge(&[device.evidence()], &anchors(), now()).unwrap();
    assert_eq!(result.expires(), now());
}

/// Gives one certificate of the device another subject, and the one below it that issuer.
fn renamed(mut device: Device, place: usize, subject: Vec<u8>) -> Vec<String> {
    if let Some(below) = place.checked_sub(1) {
        device.chain[below].issuer = subject.clone();
    }
    device.chain[place].subject = subject;
    refusal(&device)
}

#[test]
fn refuses_names_that_do_not_say_the_role_and_one_chip() {
    let serial = Some("410000000000000007");
    for (place, subject) in [
        (0, name(None, "GB100 A01 GSP FMC LF")),
        (0, name(None, "GH100 A01 GSP BROM")),
        (1, name(serial, "GH100 A01 GSP FMC LF")),
        (1, name(serial, "GB100 A01 GSP BROM")),
        (2, name(None, "NVIDIA GB100 Provisioner ICA 1")),
        (2, name(None, "NVIDIA GH100 Identity")),
        (3, name(None, "NVIDIA GH100 Provisioner ICA 1")),
        (3, name(None, "GH100 Identity")),
    ] {
        assert_eq!(renamed(Device::gpu(7), place, subject), ["nvidia_certificate_role"]);
    }
}

/// A device of another chip, with all its names.
fn of_chip(chip: &str, serial: &str) -> Vec<String> {
    let mut device = Device::gpu(7);
    let brom = name(Some(serial), &format!("{chip} A01 GSP BROM"));
    let provisioner = name(None, &format!("NVIDIA {chip} Provisioner ICA 1"));
    device.chain[0].subject = name(None, &format!("{chip} A01 GSP FMC LF"));
    device.chain[0].issuer = brom.clone();
    device.chain[1].subject = brom;
    device.chain[1].issuer = provisioner.clone();
    device.chain[2].subject = provisioner;
    refusal(&device)
}

#[test]
fn refuses_architectures_that_are_not_known() {
    assert_eq!(of_chip("GH100", "410000000000000007"), [""; 0]);
    assert_eq!(of_chip("GB202", "410000000000000007"), [""; 0]);
    for chip in ["GR100", "GH200", "LS_20", "GB9"] {
        assert_eq!(of_chip(chip, "410000000000000007"), ["nvidia_architecture_unknown"], "{chip}");
    }
}

#[test]
fn refuses_serial_numbers_that_name_no_device_of_its_kind() {
    for serial in [
        "500000000000000007",
        "41000000000000007",
        "4100000000000000077",
        "41000000000000000g",
        "41000000000000000a",
        "41+000000000000007",
        "",
    ] {
        assert_eq!(of_chip("GH100", serial), ["nvidia_device_identity"], "{serial}");
    }
}

#[test]
fn refuses_certificates_without_one_well_formed_firmware_identity() {
    let code = ["nvidia_fwid_certified"];
    let brom = Device::gpu(7).chain[1].key_info.clone();
    let composite = |version: u8, key: &[u8], fwid: &[u8]| sequence(&[&[2, 1, version], key, fwid]);
    let good = fwid_der(&fwid());
    let sha256 = sequence(&[b"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01", &tlv(4, &fwid())]);
    assert_eq!(with(0, |leaf| leaf.set(COMPOSITE, composite(1, &brom, &good))), [""; 0]);
    for value in [
        composite(2, &brom, &good),
        composite(1, &key_info(&new_key()), &good),
        composite(1, &brom, &sha256),
        composite(1, &brom, &fwid_der(&[0xf1; 32])),
        composite(1, &brom, &fwid_der(&[0; 48])),
        composite(1, &brom, &[good.clone(), good.clone()].concat()),
        composite(1, &brom, &sequence(&[])),
        [composite(1, &brom, &good), vec![0]].concat(),
        fwid().to_vec(),
    ] {
        assert_eq!(with(0, |leaf| leaf.set(COMPOSITE, value)), code);
    }
    assert_eq!(with(0, |leaf| leaf.without(COMPOSITE)), code);
    let both = sequence(&[&tlv(0xa6, &good)]);
    assert_eq!(with(0, |leaf| leaf.set(TCB_INFO, both)), code);
}

#[test]
fn reads_the_first_firmware_identity_of_the_other_form() {
    let (good, zero) = (fwid_der(&fwid()), fwid_der(&[0; 48]));
    let tcb_info = |parts: &[&[u8]]| {
        with(0, |leaf| {
            leaf.without(COMPOSITE);
            leaf.set(TCB_INFO, sequence(parts));
        })
    };
    let (vendor, model) = (tlv(0x80, b"NVIDIA"), tlv(0x81, b"GB100"));
    let list = |parts: &[&[u8]]| tlv(0xa6, &parts.concat());
    assert_eq!(tcb_info(&[&vendor, &model, &list(&[&good, &zero])]), [""; 0]);
    let code = ["nvidia_fwid_certified"];
    assert_eq!(tcb_info(&[&vendor, &list(&[&zero, &good])]), code);
    assert_eq!(tcb_info(&[&vendor, &list(&[])]), code);
    assert_eq!(tcb_info(&[&vendor, &model]), code);
    assert_eq!(tcb_info(&[&model, &vendor, &list(&[&good])]), code);
    assert_eq!(tcb_info(&[&list(&[&good]), &list(&[&good])]), code);
    assert_eq!(tcb_info(&[&list(&[&good]), &tlv(0x8f, &[0])]), code);
    assert_eq!(tcb_info(&[&list(&[good.as_slice(); 9])]), code);
    assert_eq!(tcb_info(&[&list(&[&fwid_der(&[0xf2; 48])])]), ["nvidia_fwid"]);
}

#[test]
fn refuses_the_chain_of_another_real_device() {
    let (Some(one), Some(other)) = (device("hopper-570"), device("hopper-545-full")) else { return };
    let mixed = GpuEvidence { report: one.report, certificates: other.certificates };
    let codes = failed(judge(&[mixed], &TrustAnchors::production(), now()));
    assert_eq!(codes, ["nvidia_report_signature"]);
}

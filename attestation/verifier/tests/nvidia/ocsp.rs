//! OCSP: each response passes unchanged except for one value, and is signed after the change.

use crate::forge::*;
use crate::forge_ocsp::*;
use crate::support::*;
use anchorhold_rats::Der;
use anchorhold_verifier::nvidia::{Input, Standing, authenticate};
use ring::digest;
use ring::signature::EcdsaKeyPair;

/// The codes with which a device with these responses is refused.
fn refusal(device: &Device, ocsp: &[Der]) -> Vec<String> {
    failed(authenticate(&Input { devices: &[device.evidence()], rims: &[], ocsp }, &anchors(), now()))
}

/// The codes with which a device with a changed answer about its provisioner is refused.
fn with(edit: impl FnOnce(&mut Answer<'_>)) -> Vec<String> {
    let device = Device::gpu(1);
    let [_, about, _] = intermediates(&device);
    let mut answer = Answer::good(about);
    edit(&mut answer);
    refusal(&device, &[answer.sign()])
}

fn standings(device: &Device, ocsp: &[Der]) -> Vec<Option<Standing>> {
    let result =
        authenticate(&Input { devices: &[device.evidence()], rims: &[], ocsp }, &anchors(), now()).unwrap();
    result.claims()[0].answers().iter().map(|answer| answer.standing).collect()
}

#[test]
fn accepts_good_answers_and_says_of_whom_there_are_none() {
    let device = Device::gpu(1);
    let good = Some(Standing { on_hold: false, age_seconds: 3600 });
    assert_eq!(standings(&device, &answers(&device)), [good; 3]);
    assert_eq!(standings(&device, &answers(&device)[1..]), [None, good, good]);
    assert_eq!(standings(&device, &[]), [None; 3]);
    // Answers about another device say nothing of this one; the two share all but the BROM.
    assert_eq!(standings(&device, &answers(&Device::gpu(2))), [None, good, good]);
}

#[test]
fn the_end_of_an_answer_ends_the_result() {
    let device = Device::gpu(1);
    let ocsp = answers(&device);
    let input = Input { devices: &[device.evidence()], rims: &[], ocsp: &ocsp };
    let result = authenticate(&input, &anchors(), now()).unwrap();
    assert_eq!(result.expires(), now().plus_seconds(3600));
}

#[test]
fn takes_each_hash_and_both_kinds_of_responder_names() {
    assert_eq!(with(|answer| answer.hash = (&digest::SHA1_FOR_LEGACY_USE_ONLY, SHA1)), [""; 0]);
    assert_eq!(with(|answer| answer.hash = (&digest::SHA256, SHA256)), [""; 0]);
    assert_eq!(with(|answer| answer.responder = Some(by_key(&AUTHORITY.identity))), [""; 0]);
}

#[test]
fn refuses_responses_that_are_no_strict_der_of_a_successful_answer() {
    let device = Device::gpu(1);
    let [about, ..] = intermediates(&device);
    let whole = Answer::good(about).sign();
    let code = ["nvidia_ocsp_malformed"];
    let mut long = whole.clone();
    long.0.push(0);
    assert_eq!(refusal(&device, &[long]), code);
    for length in [0, 1, whole.0.len() / 2, whole.0.len() - 1] {
        assert_eq!(refusal(&device, &[Der(whole.0[..length].to_vec())]), code);
    }
    for status in [1, 2, 3, 5, 6] {
        assert_eq!(refusal(&device, &[wrap(&[], status)]), code);
        assert_eq!(refusal(&device, &[Der(sequence(&[&[0x0a, 1, status]]))]), code);
    }
    let mut other = whole.0.clone();
    let place = other.windows(9).position(|w| w == b"\x2b\x06\x01\x05\x05\x07\x30\x01\x01").unwrap();
    other[place + 8] = 9;
    assert_eq!(refusal(&device, &[Der(other)]), code);
}

#[test]
fn refuses_answers_with_unknown_parts() {
    let code = ["nvidia_ocsp_malformed"];
    let critical = |flag: &[u8]| {
        let extension = sequence(&[&tlv(6, &[0x2b, 1]), flag, &tlv(4, &[])]);
        tlv(0xa1, &sequence(&[&extension]))
    };
    assert_eq!(with(|answer| answer.extensions = critical(&[])), [""; 0]);
    assert_eq!(with(|answer| answer.extensions = critical(&[1, 1, 0xff])), code);
    assert_eq!(with(|answer| answer.extensions = tlv(0xa2, &[])), code);
    assert_eq!(with(|answer| answer.status = vec![0x83, 0]), code);
    assert_eq!(with(|answer| answer.status = vec![0x80, 1, 0]), code);
    assert_eq!(with(|answer| answer.responder = Some(tlv(0xa3, &[]))), code);
    assert_eq!(
        with(|answer| answer.hash = (&digest::SHA384, b"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03")),
        code
    );
    let device = Device::gpu(1);
    let answer = Answer::good(intermediates(&device)[1]);
    assert_eq!(refusal(&device, &[answer.sign_bytes(&answer.signed(17))]), code);
}

#[test]
fn refuses_more_answers_about_one_certificate_than_are_judged() {
    let device = Device::gpu(1);
    let answer = Answer::good(intermediates(&device)[1]);
    assert_eq!(refusal(&device, &[answer.sign_bytes(&answer.signed(4))]), [""; 0]);
    assert_eq!(refusal(&device, &[answer.sign_bytes(&answer.signed(5))]), ["nvidia_ocsp_count"]);
}

#[test]
fn refuses_answers_by_others_than_the_issuer() {
    let stranger = new_key();
    let code = ["nvidia_ocsp_responder"];
    assert_eq!(with(|answer| answer.responder = Some(by_name(&name(None, "another")))), code);
    assert_eq!(with(|answer| answer.responder = Some(by_key(&stranger))), code);
    // The root is above the issuer, and still not it.
    assert_eq!(with(|answer| answer.responder = Some(by_key(&AUTHORITY.root))), code);
}

#[test]
fn refuses_answers_that_the_responder_did_not_sign() {
    let device = Device::gpu(1);
    let stranger = new_key();
    let [_, about, _] = intermediates(&device);
    let forged = Answer { signer: Some(&stranger), ..Answer::good(about) }.sign();
    assert_eq!(refusal(&device, &[forged]), ["nvidia_ocsp_signature"]);
}

const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
const OCSP_SIGNING: &[u8] = b"\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x09";
const SERVER_AUTH: &[u8] = b"\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01";

/// The codes for an answer by a delegate with this change in its certificate, signed by the provisioner's issuer or another.
fn delegated(signer: &EcdsaKeyPair, edit: impl FnOnce(&mut Template)) -> Vec<String> {
    let device = Device::gpu(1);
    let key = new_key();
    let [_, about, _] = intermediates(&device);
    let subject = name(None, "OCSP responder");
    let purpose = (EXTENDED_KEY_USAGE.to_vec(), true, sequence(&[OCSP_SIGNING]));
    let mut template =
        Template::new(subject.clone(), &key, about.issuer.subject.clone(), vec![signs_data(), purpose]);
    edit(&mut template);
    let answer = Answer {
        responder: Some(by_name(&template.subject)),
        signer: Some(&key),
        certificates: vec![template.sign(signer)],
        ..Answer::good(about)
    };
    refusal(&device, &[answer.sign()])
}

#[test]
fn takes_answers_by_delegates_of_the_issuer_only() {
    let issuer = &AUTHORITY.identity;
    assert_eq!(delegated(issuer, |_| {}), [""; 0]);
    let both = sequence(&[SERVER_AUTH, OCSP_SIGNING]);
    assert_eq!(delegated(issuer, |delegate| delegate.set(EXTENDED_KEY_USAGE, both)), [""; 0]);
    let code = ["nvidia_ocsp_responder"];
    assert_eq!(delegated(&AUTHORITY.root, |_| {}), code);
    assert_eq!(delegated(&new_key(), |_| {}), code);
    let root = AUTHORITY.root_template.subject.clone();
    assert_eq!(delegated(issuer, |delegate| delegate.issuer = root), code);
    assert_eq!(delegated(issuer, |delegate| delegate.without(EXTENDED_KEY_USAGE)), code);
    let server = sequence(&[SERVER_AUTH]);
    assert_eq!(delegated(issuer, |delegate| delegate.set(EXTENDED_KEY_USAGE, server)), code);
    assert_eq!(delegated(issuer, |delegate| delegate.set(EXTENDED_KEY_USAGE, vec![0x30, 1, 6])), code);
    assert_eq!(delegated(issuer, |delegate| delegate.without(KEY_USAGE)), code);
    assert_eq!(
        delegated(issuer, |delegate| delegate.set(BASIC_CONSTRAINTS, sequence(&[&[1, 1, 0xff]]))),
        code
    );
    assert_eq!(delegated(issuer, |delegate| delegate.validity.1 = now().plus_seconds(-1)), code);
    assert_eq!(delegated(issuer, |delegate| delegate.validity.0 = now().plus_seconds(1)), code);
}

#[test]
fn a_certificate_cannot_answer_for_itself() {
    let device = Device::gpu(1);
    let [about, ..] = intermediates(&device);
    // The provisioner asks its own key, which issues BROM certificates and nothing else.
    let [_, provisioner, _] = intermediates(&device);
    let answer = Answer {
        responder: Some(by_name(&about.issuer.subject)),
        signer: Some(&AUTHORITY.provisioner),
        certificates: vec![provisioner.certificate.sign(&AUTHORITY.identity)],
        ..Answer::good(provisioner)
    };
    assert_eq!(refusal(&device, &[answer.sign()]), ["nvidia_ocsp_responder"]);
}

#[test]
fn refuses_answers_that_are_not_current() {
    let code = ["nvidia_ocsp_freshness"];
    assert_eq!(with(|answer| answer.next_update = Some(now().plus_seconds(-1))), code);
    assert_eq!(with(|answer| answer.next_update = Some(now())), [""; 0]);
    assert_eq!(with(|answer| answer.this_update = now().plus_seconds(1)), code);
    assert_eq!(with(|answer| answer.produced = now().plus_seconds(1)), code);
    assert_eq!(with(|answer| answer.next_update = None), [""; 0]);
    let stale = |answer: &mut Answer<'_>| {
        answer.next_update = None;
        answer.this_update = now().plus_seconds(-24 * 3600 - 1);
    };
    assert_eq!(with(stale), code);
}

#[test]
fn refuses_certificates_that_are_revoked_or_not_known() {
    assert_eq!(with(|answer| answer.status = unknown()), ["nvidia_ocsp_unknown"]);
    for reason in [None, Some(0), Some(1), Some(4), Some(5), Some(8), Some(9)] {
        assert_eq!(with(|answer| answer.status = revoked(reason)), ["nvidia_ocsp_revoked"], "{reason:?}");
    }
}

#[test]
fn a_hold_is_no_revocation_yet_and_the_worst_answer_counts() {
    let device = Device::gpu(1);
    let [_, about, _] = intermediates(&device);
    let hold = Answer { status: revoked(Some(6)), ..Answer::good(about) }.sign();
    let good = Answer { this_update: now().plus_seconds(-10), ..Answer::good(about) }.sign();
    let held = Some(Standing { on_hold: true, age_seconds: 3600 });
    assert_eq!(standings(&device, &[good.clone(), hold.clone()]), [None, held, None]);
    assert_eq!(standings(&device, &[hold, good.clone()]), [None, held, None]);
    let gone = Answer { status: revoked(Some(1)), ..Answer::good(about) }.sign();
    assert_eq!(refusal(&device, &[gone.clone(), good.clone()]), ["nvidia_ocsp_revoked"]);
    assert_eq!(refusal(&device, &[good, gone]), ["nvidia_ocsp_revoked"]);
}

#[test]
fn case_47_no_changed_byte_of_an_answer_is_taken() {
    let device = Device::gpu(1);
    let [about, ..] = intermediates(&device);
    let whole = Answer { hash: (&digest::SHA256, SHA256), ..Answer::good(about) }.sign();
    let (devices, anchors) = ([device.evidence()], anchors());
    for place in 0..whole.0.len() {
        let mut changed = whole.clone();
        changed.0[place] ^= 0x10;
        let ocsp = [changed];
        let result = authenticate(&Input { devices: &devices, rims: &[], ocsp: &ocsp }, &anchors, now());
        let said = result.is_ok_and(|result| result.claims()[0].answers()[0].standing.is_some());
        assert!(!said, "byte {place}");
    }
}

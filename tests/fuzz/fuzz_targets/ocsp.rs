//! OCSP responses with any fields, signed, and any changes after signing: a device whose certificate has no good and fresh
//! answer about itself is refused.
#![no_main]

use anchorhold_attester::software::SigningKey;
use anchorhold_attester::software::gpu::{CertificateStatus, OcspHash, OcspTemplate};
use anchorhold_fuzz::edit::Script;
use anchorhold_fuzz::{accepted, assert_named, made, now};
use anchorhold_rats::{Der, GpuEvidence};
use anchorhold_verifier::dangerous::allow_simulated;
use anchorhold_verifier::nvidia::{Architecture, BoardSize, Input, Mode, Policy, appraise, authenticate};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

struct Good {
    evidence: GpuEvidence,
    answers: Vec<(OcspTemplate, SigningKey)>,
    responses: Vec<Der>,
}

static GOOD: LazyLock<Good> = LazyLock::new(|| {
    let device = made::gpu();
    let answers = device.ocsp_templates(now()).expect("answers").into_iter();
    let answers: Vec<_> = answers.map(|(answer, key)| answer.delegate(&key).expect("a responder")).collect();
    let responses = answers.iter().map(|(answer, key)| Der(answer.sign(key).expect("a response"))).collect();
    let good = Good { evidence: device.evidence(&made::NONCE).expect("evidence"), answers, responses };
    assert!(is_accepted(&good.evidence, &good.responses), "good evidence");
    good
});

fn is_accepted(evidence: &GpuEvidence, ocsp: &[Der]) -> bool {
    let input = Input { devices: std::slice::from_ref(evidence), rims: &[], ocsp };
    let Some(authentic) = accepted(authenticate(&input, &made::ANCHORS, now())) else { return false };
    let board = BoardSize { gpus: 1, switches: 0 };
    let mut policy = Policy::strict(Mode::SinglePassthrough, board, vec![Architecture::Hopper]);
    policy.require_rims = false;
    let result = accepted(appraise(authentic, &allow_simulated(policy), Some(&made::NONCE)));
    result.inspect(|result| assert_named(result.checks())).is_some()
}

/// Changes one field, and gives whether the answer is still one that may be relied on.
fn change(answer: &mut OcspTemplate, script: &mut Script<'_>) -> bool {
    let Some(entry) = answer.entries.first_mut() else { return false };
    let same = match script.byte() % 8 {
        0 => {
            entry.status = match script.byte() % 3 {
                0 => CertificateStatus::Unknown,
                1 => CertificateStatus::Revoked { at: now(), reason: None },
                _ => CertificateStatus::Revoked {
                    at: now().plus_seconds(-86_400),
                    reason: Some(script.byte()),
                },
            };
            false
        }
        1 => {
            let before = entry.serial.clone();
            script.edit(&mut entry.serial);
            // Leading zeros are no part of a number.
            before
                .iter()
                .skip_while(|byte| **byte == 0)
                .eq(entry.serial.iter().skip_while(|byte| **byte == 0))
        }
        2 => {
            let before = entry.issuer.clone();
            script.edit(&mut entry.issuer);
            before == entry.issuer
        }
        3 => {
            let before = entry.issuer_key.clone();
            script.edit(&mut entry.issuer_key);
            before == entry.issuer_key
        }
        4 => {
            let seconds = i64::from(i32::from_le_bytes([script.byte(), script.byte(), script.byte(), 0]));
            entry.this_update = now().plus_seconds(seconds - (1 << 23));
            entry.next_update = (script.byte() & 1 == 0).then(|| entry.this_update.plus_seconds(1 << 24));
            // A day is the default limit of their age.
            (-86_400..=0).contains(&(seconds - (1 << 23)))
        }
        5 => {
            answer.response_status = script.byte();
            answer.response_status == 0
        }
        6 => {
            entry.hash = if script.byte() & 1 == 0 { OcspHash::Sha1 } else { OcspHash::Sha256 };
            answer.nonce = Some(script.take(40).to_vec());
            true
        }
        _ => {
            let mut other = entry.clone();
            script.edit(&mut other.serial);
            answer.entries.insert(script.below(2), other);
            true
        }
    };
    same
}

fuzz_target!(|input: &[u8]| {
    let mut script = Script(input);
    let (kind, at) = (script.byte(), script.below(GOOD.answers.len()));
    let mut responses = GOOD.responses.clone();
    let may_pass = if kind & 1 == 0 {
        script.edit(&mut responses[at].0);
        true
    } else {
        let (mut answer, key) = (GOOD.answers[at].0.clone(), &GOOD.answers[at].1);
        let may_pass = change(&mut answer, &mut script);
        responses[at] = Der(answer.sign(key).expect("a signature"));
        may_pass
    };
    assert!(!is_accepted(&GOOD.evidence, &responses) || may_pass, "a bad answer counts as a good one");
});

//! A device with its chain and the manifests of its firmware, changed without or with a new signature of the report: what
//! nobody signed is not believed, and a signed report says what its bytes say.
#![no_main]

use anchorhold_attester::software::gpu::GpuDevice;
use anchorhold_fuzz::edit::Script;
use anchorhold_fuzz::{accepted, assert_named, made, now};
use anchorhold_rats::{Der, GpuEvidence};
use anchorhold_verifier::dangerous::allow_simulated;
use anchorhold_verifier::nvidia::{
    Architecture, BoardSize, Input, Mode, OcspRules, Policy, appraise, authenticate,
};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

struct Good {
    device: GpuDevice,
    signed: Vec<u8>,
    evidence: GpuEvidence,
    rims: Vec<Der>,
    claims: String,
}

static GOOD: LazyLock<Good> = LazyLock::new(|| {
    let device = made::gpu();
    let signed = device.fields(&made::NONCE).expect("fields").encode();
    let evidence = device.sign(&signed).expect("a signature");
    let input = Input { devices: std::slice::from_ref(&evidence), rims: &[], ocsp: &[] };
    let claims =
        format!("{:?}", authenticate(&input, &made::ANCHORS, now()).expect("good evidence").claims());
    let rims = made::rims(&made::rim_signer());
    let input = Input { rims: &rims, ..input };
    let authentic = authenticate(&input, &made::ANCHORS, now()).expect("good evidence");
    appraise(authentic, &policy(true), Some(&made::NONCE)).expect("acceptable evidence");
    Good { device, signed, evidence, rims, claims }
});

fn policy(require_rims: bool) -> Policy {
    let board = BoardSize { gpus: 1, switches: 0 };
    let mut policy = Policy::strict(Mode::SinglePassthrough, board, vec![Architecture::Hopper]);
    policy.ocsp = OcspRules { require: false, ..policy.ocsp };
    policy.require_rims = require_rims;
    allow_simulated(policy)
}

/// Judges, and gives whether the claims are those of the good evidence, if there are any.
fn judge(device: GpuEvidence, rims: &[Der]) -> Option<bool> {
    let nonce = device.report.get(4..36).map(<[u8]>::to_vec);
    let input = Input { devices: &[device], rims, ocsp: &[] };
    let authentic = accepted(authenticate(&input, &made::ANCHORS, now()))?;
    assert_named(authentic.checks());
    let same = format!("{:?}", authentic.claims()) == GOOD.claims;
    let observed = authentic.claims()[0].report().nonce;
    assert_eq!(nonce.as_deref(), Some(&observed.as_bytes()[..]), "another nonce than was signed");
    let policy = policy(!rims.is_empty());
    if let Some(result) = accepted(appraise(authentic, &policy, Some(&made::NONCE))) {
        assert!(observed == made::NONCE, "a report for another nonce");
        assert_named(result.checks());
    }
    Some(same)
}

fuzz_target!(|input: &[u8]| {
    let mut script = Script(input);
    let mut evidence = GOOD.evidence.clone();
    match script.byte() % 8 {
        0 => script.edit(&mut evidence.report),
        1 => {
            let at = script.below(evidence.certificates.len());
            script.edit(&mut evidence.certificates[at].0);
        }
        2 => {
            let (from, to) =
                (script.below(evidence.certificates.len()), script.below(evidence.certificates.len()));
            evidence.certificates.swap(from, to);
            if script.byte() & 1 == 1 {
                evidence.certificates.truncate(script.below(6));
            }
        }
        kind => {
            let signed = script.edited(&GOOD.signed);
            let rims: &[Der] = if kind == 7 { &GOOD.rims } else { &[] };
            judge(GOOD.device.sign(&signed).expect("a signature"), rims);
            return;
        }
    }
    assert_ne!(judge(evidence, &[]), Some(false), "an unsigned change counts");
});

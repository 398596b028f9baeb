//! A paravisor's HCL report, claims and TPM quote, changed without or with new signatures: what nobody signed is not
//! believed, and the nonce is the quote's.
#![no_main]

use anchorhold_attester::software::SoftwareParavisor;
use anchorhold_fuzz::edit::{Script, raw_or_edited};
use anchorhold_fuzz::{accepted, assert_named, made};
use anchorhold_rats::{Paravisor, Tee};
use anchorhold_verifier::azure::{
    Attest, AuthenticVtpm, HclReport, Input, MAX_NONCE_BYTES, Policy, appraise, authenticate,
};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

const NONCE: [u8; 32] = [9; 32];

struct Good {
    vtpm: SoftwareParavisor,
    report: Vec<u8>,
    sent: Paravisor,
    claims: AuthenticVtpm,
}

/// An SNP report with this paravisor's report data; who signed it is another family's rule.
fn report_for(vtpm: &SoftwareParavisor) -> Vec<u8> {
    let mut report = vec![0x5a; 1184];
    report.splice(0x50..0x90, vtpm.report_data().as_bytes().iter().copied());
    report
}

static GOOD: LazyLock<Good> = LazyLock::new(|| {
    let vtpm = made::paravisor();
    let report = report_for(&vtpm);
    let sent = vtpm.attest(Tee::Snp, &report, &NONCE).expect("evidence");
    let claims = judge(&sent, &report).expect("good evidence");
    appraise(&claims, &policy(), &NONCE).expect("acceptable evidence");
    Good { vtpm, report, sent, claims }
});

fn policy() -> Policy {
    Policy::strict((0..24).map(|pcr| (pcr, vec![[0; 32]])).collect())
}

fn judge(sent: &Paravisor, report: &[u8]) -> Option<AuthenticVtpm> {
    let vtpm = accepted(authenticate(&Input::new(sent, Tee::Snp, report)))?;
    if let Some(checks) = accepted(appraise(&vtpm, &policy(), &NONCE)) {
        assert_eq!(vtpm.nonce(), NONCE);
        assert_named(&checks);
    }
    Some(vtpm)
}

fuzz_target!(|input: &[u8]| {
    let mut script = Script(input);
    let mut sent = GOOD.sent.clone();
    match script.byte() % 8 {
        0 => {
            let bytes = raw_or_edited(script.0, &sent.hcl_report);
            let _ = accepted(HclReport::parse(&bytes));
            return;
        }
        1 => {
            if let Some(attest) = accepted(Attest::parse(&raw_or_edited(script.0, &sent.quote))) {
                assert!(attest.nonce.len() <= MAX_NONCE_BYTES);
            }
            return;
        }
        2 => script.edit(&mut sent.hcl_report),
        3 => script.edit(&mut sent.quote),
        4 => script.edit(&mut sent.signature),
        5 => {
            let at = script.below(sent.pcrs.len());
            script.edit(&mut sent.pcrs[at].0);
        }
        6 => {
            script.edit(&mut sent.quote);
            let Ok(signature) = GOOD.vtpm.sign(&sent.quote) else { return };
            sent.signature = signature;
            judge(&sent, &GOOD.report);
            return;
        }
        _ => {
            let mut vtpm = made::paravisor();
            vtpm.claims = script.edited_text(&GOOD.vtpm.claims);
            // What a virtual TPM keeps of an HCL report has room for so much.
            if vtpm.claims.len() > 1300 {
                return;
            }
            let report = report_for(&vtpm);
            sent.hcl_report = vtpm.hcl_report(Tee::Snp, &report);
            judge(&sent, &report);
            return;
        }
    }
    if let Some(claims) = judge(&sent, &GOOD.report) {
        assert!(claims == GOOD.claims, "an unsigned change counts");
    }
});

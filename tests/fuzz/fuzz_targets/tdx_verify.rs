//! Quote and collateral, changed without or with new signatures: what nobody signed is not believed, and a signed quote
//! says what its bytes say.
#![no_main]

use anchorhold_attester::software::tdx::{CollateralTemplate, TdxGuest, sign_collateral_text};
use anchorhold_fuzz::edit::Script;
use anchorhold_fuzz::{accepted, assert_named, made, now};
use anchorhold_rats::TdxCollateral;
use anchorhold_verifier::dangerous::allow_simulated;
use anchorhold_verifier::tdx::{Input, Policy, appraise, authenticate};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

struct Good {
    guest: TdxGuest,
    signed: Vec<u8>,
    quote: Vec<u8>,
    collateral: TdxCollateral,
    template: CollateralTemplate,
    claims: String,
}

static GOOD: LazyLock<Good> = LazyLock::new(|| {
    let guest = made::tdx_guest();
    let quote = guest.quote(&made::REPORT_DATA).expect("a quote");
    let collateral = guest.collateral(now()).expect("collateral");
    let template = CollateralTemplate::for_platform(&guest.config().platform, now());
    let input = Input { quote: &quote, collateral: Some(&collateral) };
    let authentic = authenticate(&input, &made::ANCHORS, now()).expect("good evidence");
    let claims = format!("{:?}", authentic.claims());
    appraise(authentic, &policy(), &made::REPORT_DATA).expect("acceptable evidence");
    let signed = guest.fields(&made::REPORT_DATA).encode();
    Good { guest, signed, quote, collateral, template, claims }
});

fn policy() -> Policy {
    allow_simulated(Policy::strict(vec![made::MEASUREMENT]))
}

/// Judges, and gives whether the claims are those of the good evidence, if there are any.
fn judge(quote: &[u8], collateral: Option<&TdxCollateral>) -> Option<bool> {
    let input = Input { quote, collateral };
    let authentic = accepted(authenticate(&input, &made::ANCHORS, now()))?;
    let same = format!("{:?}", authentic.claims()) == GOOD.claims;
    assert_named(authentic.checks());
    let body = authentic.claims().body();
    let at = if authentic.claims().quote().version == 4 { 48 } else { 54 } + 520;
    assert_eq!(
        quote.get(at..at + 64),
        Some(&body.report_data.as_bytes()[..]),
        "other report data than was signed"
    );
    let wanted = body.mrtd == made::MEASUREMENT && body.report_data == made::REPORT_DATA;
    let debug = body.td_attributes.debug();
    if let Some(result) = accepted(appraise(authentic, &policy(), &made::REPORT_DATA)) {
        assert!(wanted && !debug, "another TD than the policy names");
        assert_named(result.checks());
    }
    Some(same)
}

fuzz_target!(|input: &[u8]| {
    let mut script = Script(input);
    let mut collateral = GOOD.collateral.clone();
    match script.byte() % 12 {
        0 => {
            let quote = script.edited(&GOOD.quote);
            assert_ne!(
                judge(&quote, Some(&collateral)),
                Some(false),
                "an unsigned change of the quote counts"
            );
            return;
        }
        1 | 2 => {
            let signed = script.edited(&GOOD.signed);
            let quote = GOOD.guest.sign(&signed).expect("a signature");
            judge(&quote, Some(&collateral));
            return;
        }
        3 => {
            let text = script.edited_text(&GOOD.template.tcb_info.text().expect("TCB info"));
            collateral.tcb_info_signature = sign_collateral_text(&text).expect("a signature");
            collateral.tcb_info = text;
            judge(&GOOD.quote, Some(&collateral));
            return;
        }
        4 => {
            let text = script.edited_text(&GOOD.template.qe_identity.text().expect("QE identity"));
            collateral.qe_identity_signature = sign_collateral_text(&text).expect("a signature");
            collateral.qe_identity = text;
            judge(&GOOD.quote, Some(&collateral));
            return;
        }
        5 => collateral.tcb_info = script.edited_text(&collateral.tcb_info),
        6 => collateral.qe_identity = script.edited_text(&collateral.qe_identity),
        7 => collateral.tcb_info_issuer_chain = script.edited_text(&collateral.tcb_info_issuer_chain),
        8 => collateral.pck_crl_issuer_chain = script.edited_text(&collateral.pck_crl_issuer_chain),
        9 => script.edit(&mut collateral.pck_crl.0),
        10 => script.edit(&mut collateral.root_ca_crl.0),
        _ => script.edit(&mut collateral.tcb_info_signature.0),
    }
    assert_ne!(judge(&GOOD.quote, Some(&collateral)), Some(false), "an unsigned change of collateral counts");
});

//! Report, certificates and revocation lists, changed without or with new signatures: what nobody signed is not believed,
//! and a signed report says what its bytes say.
#![no_main]

use anchorhold_attester::software::certificate::Template;
use anchorhold_attester::software::revocation::RevocationTemplate;
use anchorhold_attester::software::{Authority, SoftwareGuest};
use anchorhold_fuzz::edit::Script;
use anchorhold_fuzz::{accepted, assert_named, made, now};
use anchorhold_rats::{Der, Evidence};
use anchorhold_verifier::dangerous::allow_simulated;
use anchorhold_verifier::snp::{
    GenoaTcb, Input, MilanTcb, MinimumTcb, Policy, TurinTcb, appraise, authenticate,
};
use libfuzzer_sys::fuzz_target;
use ring::signature::RsaKeyPair;
use std::sync::LazyLock;

struct Good {
    guest: SoftwareGuest,
    signed: Vec<u8>,
    evidence: Evidence,
    list: RevocationTemplate,
    crl: Der,
    ask: RsaKeyPair,
    claims: String,
}

static GOOD: LazyLock<Good> = LazyLock::new(|| {
    let guest = made::snp_guest();
    let signed = guest.report_fields(&made::REPORT_DATA).encode();
    let evidence = guest.sign(&signed).expect("a signature");
    let ark = Authority::Ark;
    let list = RevocationTemplate {
        issuer: anchorhold_attester::software::certificate::name(ark.common_name()),
        this_update: now().plus_seconds(-1000),
        next_update: now().plus_seconds(1000),
        revoked: vec![vec![5]],
    };
    let crl = Der(list.sign(&ark.key().expect("a key")).expect("a signature"));
    let input =
        Input { report: &evidence.report, certificates: &evidence.certificates, crls: &[crl.clone()] };
    let authentic = authenticate(&input, &made::ANCHORS, now()).unwrap_or_else(|refusal| panic!("{refusal}"));
    let claims = format!("{:?}", authentic.claims());
    if let Err(refusal) = appraise(authentic, &POLICY, &made::REPORT_DATA) {
        panic!("acceptable evidence: {refusal}");
    }
    Good { guest, signed, evidence, list, crl, ask: Authority::Ask.key().expect("a key"), claims }
});

static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    let minimum = MinimumTcb {
        milan: Some(MilanTcb { bootloader: 0, tee: 0, snp: 0, microcode: 0 }),
        genoa: Some(GenoaTcb { bootloader: 0, tee: 0, snp: 0, microcode: 0 }),
        turin: Some(TurinTcb { fmc: 0, bootloader: 0, tee: 0, snp: 0, microcode: 0 }),
    };
    allow_simulated(Policy::strict(vec![made::MEASUREMENT], minimum))
});

/// Judges, and gives whether the claims are those of the good evidence, if there are any.
fn judge(evidence: &Evidence, crls: &[Der]) -> Option<bool> {
    let input = Input { report: &evidence.report, certificates: &evidence.certificates, crls };
    let authentic = accepted(authenticate(&input, &made::ANCHORS, now()))?;
    assert_named(authentic.checks());
    let same = format!("{:?}", authentic.claims()) == GOOD.claims;
    let report = authentic.claims().report().clone();
    let at = |from: usize, length: usize| evidence.report.get(from..from + length);
    assert_eq!(at(0x50, 64), Some(&report.report_data.as_bytes()[..]), "other report data than was signed");
    assert_eq!(at(0x90, 48), Some(&report.measurement.as_bytes()[..]), "another measurement than was signed");
    if let Some(result) = accepted(appraise(authentic, &POLICY, &made::REPORT_DATA)) {
        assert!(report.measurement == made::MEASUREMENT && report.report_data == made::REPORT_DATA);
        assert!(
            report.vmpl == 0 && !report.policy.debug_allowed() && !report.policy.migration_agent_allowed()
        );
        assert_named(result.checks());
    }
    Some(same)
}

/// The certificate of the guest's key with other fields, as a careless AMD would sign it.
fn certified(script: &mut Script<'_>) -> Der {
    let mut template: Template = GOOD.guest.template().clone();
    match script.byte() % 4 {
        0 => script.edit(&mut template.subject),
        1 => script.edit(&mut template.public_key_info),
        2 => {
            let at = script.below(template.extensions.len());
            script.edit(&mut template.extensions[at].value);
        }
        _ => {
            let at = script.below(template.extensions.len());
            script.edit(&mut template.extensions[at].id);
        }
    }
    Der(template.sign(&GOOD.ask).expect("a signature"))
}

fuzz_target!(|input: &[u8]| {
    let mut script = Script(input);
    let (mut evidence, mut crl) = (GOOD.evidence.clone(), GOOD.crl.clone());
    match script.byte() % 8 {
        0 => script.edit(&mut evidence.report),
        1 => script.edit(&mut evidence.certificates[0].0),
        2 => script.edit(&mut evidence.certificates[1].0),
        3 => script.edit(&mut crl.0),
        4 => {
            evidence.certificates[0] = certified(&mut script);
            judge(&evidence, &[]);
            return;
        }
        5 => {
            let mut list = GOOD.list.clone();
            list.revoked = (0..script.below(4)).map(|_| script.take(21).to_vec()).collect();
            list.next_update = now().plus_seconds(i64::from(script.byte()) - 128);
            // The last moment of a list is its own, as of a certificate (RFC 5280, section 4.1.2.5).
            let fresh = list.next_update >= now();
            crl = Der(list.sign(&Authority::Ark.key().expect("a key")).expect("a signature"));
            assert!(judge(&evidence, &[crl]).is_none() || fresh, "a list that has ended counts");
            return;
        }
        _ => {
            let signed = script.edited(&GOOD.signed);
            judge(&GOOD.guest.sign(&signed).expect("a signature"), &[]);
            return;
        }
    }
    assert_ne!(judge(&evidence, &[crl]), Some(false), "an unsigned change counts");
});

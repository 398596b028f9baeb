//! Evidence as a file, with all families and endorsements: what is read is written and read back as the same, and judging
//! it gives an answer with reasons.
#![no_main]

use anchorhold_attester::software::tdx::{Boot, EventLog};
use anchorhold_fuzz::edit::{Script, raw_or_edited};
use anchorhold_fuzz::{accepted, assert_reasoned, made, now};
use anchorhold_rats::{Endorsements, Evidence, EvidenceBundle, Expected, Paravisor, Tee};
use anchorhold_verifier::{AppraisalPolicy, TrustAnchors, appraise, authenticate};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static PRODUCTION: LazyLock<TrustAnchors> = LazyLock::new(TrustAnchors::production);

/// A TD with its event log and a GPU, and an SNP guest below a paravisor.
static GOOD: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    let guest = made::tdx_guest();
    let mut td = guest.attest(&made::REPORT_DATA).expect("evidence");
    td.event_log = Some(anchorhold_rats::Der(EventLog::boot(&Boot::default()).encode()));
    td.gpus = vec![made::gpu().evidence(&made::NONCE).expect("evidence")];
    let collateral = guest.collateral(now()).expect("collateral");
    let with_td = EvidenceBundle::new(td, Endorsements { tdx: Some(collateral), ..Endorsements::default() });
    let vtpm = made::paravisor();
    let mut snp = made::snp_guest().attest(&vtpm.report_data()).expect("evidence");
    snp.paravisor = Some(vtpm.attest(Tee::Snp, &snp.report, &[9; 32]).expect("evidence"));
    let with_snp = EvidenceBundle::new(snp, Endorsements::default());
    [with_td, with_snp].map(|bundle| {
        let result = authenticate(&bundle.evidence, &bundle.endorsements, &made::ANCHORS, now());
        assert!(result.is_ok(), "good evidence: {}", result.expect_err("refused"));
        serde_json::to_vec(&bundle).expect("JSON")
    })
});

fn judge(evidence: &Evidence, endorsements: &Endorsements) {
    assert!(
        authenticate(evidence, endorsements, &PRODUCTION, now()).inspect_err(assert_reasoned).is_err(),
        "no vendor signed this"
    );
    let Some(authentic) = accepted(authenticate(evidence, endorsements, &made::ANCHORS, now())) else {
        return;
    };
    assert!(authentic.simulated());
    let expected = Expected { gpu_nonce: Some(made::NONCE), ..made::REPORT_DATA.into() };
    let result = accepted(appraise(authentic, &AppraisalPolicy::default(), &expected));
    assert!(result.is_none(), "a policy that names no family accepts something");
}

fuzz_target!(|input: &[u8]| {
    let mut script = Script(input);
    let kind = script.byte();
    let good = &GOOD[usize::from(kind & 1)];
    if kind & 6 == 0 {
        let bytes = raw_or_edited(script.0, good);
        let _ = Evidence::from_json(&bytes);
        let Ok(bundle) = EvidenceBundle::from_json(&bytes) else { return };
        let written = serde_json::to_vec(&bundle).expect("JSON");
        assert_eq!(EvidenceBundle::from_json(&written).as_ref(), Ok(&bundle));
        judge(&bundle.evidence, &bundle.endorsements);
        return;
    }
    let mut bundle = EvidenceBundle::from_json(good).expect("a good bundle");
    change(&mut bundle, &mut script);
    judge(&bundle.evidence, &bundle.endorsements);
});

/// Changes the parts that the families share, and which parts there are.
fn change(bundle: &mut EvidenceBundle, script: &mut Script<'_>) {
    let EvidenceBundle { evidence, endorsements, .. } = bundle;
    match script.byte() % 10 {
        0 => evidence.tee = if evidence.tee == Tee::Snp { Tee::Tdx } else { Tee::Snp },
        1 => evidence.event_log = Some(anchorhold_rats::Der(script.0.to_vec())),
        2 => {
            evidence.gpus =
                vec![evidence.gpus.first().cloned(); script.below(20)].into_iter().flatten().collect()
        }
        3 => endorsements.tdx = None,
        4 => endorsements.ocsp.push(anchorhold_rats::Der(script.0.to_vec())),
        5 => endorsements.rims.push(anchorhold_rats::Der(script.0.to_vec())),
        6 => endorsements.snp_crls.push(anchorhold_rats::Der(script.0.to_vec())),
        7 => {
            let part = || script.0.to_vec();
            evidence.paravisor =
                Some(Paravisor { hcl_report: part(), quote: part(), signature: part(), pcrs: Vec::new() });
        }
        8 => evidence.certificates.reverse(),
        _ => script.edit(&mut evidence.report),
    }
}

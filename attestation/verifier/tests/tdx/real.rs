//! Real samples with the verdicts that their manifest states, under Intel's root.

use crate::support::*;
use anchorhold_rats::{Outcome, Stage, Timestamp};
use anchorhold_verifier::tdx::{AuthenticQuote, Policy, TcbStatus};
use anchorhold_verifier::{Accepted, Refusal, dangerous};

/// How many TDX samples with a quote the manifest has.
const SAMPLES: usize = 10;

fn first(found: &Result<Accepted<AuthenticQuote>, Refusal>) -> Option<(Stage, &str)> {
    found.as_ref().err().map(|refusal| (refusal.stage(), refusal.code()))
}

fn allow_services(sample: &Sample) -> impl Fn(&mut Policy) {
    let services = vec![sample.parsed().body.td15.unwrap().mr_service_td];
    move |policy| policy.allowed_service_tds.clone_from(&services)
}

fn allow_debug(policy: &mut Policy) {
    *policy = dangerous::allow_debug(policy.clone());
}

/// One stated verdict. `out_of_date` accepts that status too.
fn check_verdict(sample: &Sample, at: Timestamp, verdict: &str) {
    let out_of_date = |policy: &mut Policy| policy.accepted_statuses.push(TcbStatus::OutOfDate);
    let found = sample.verify(at, |_| {});
    let refused_as = first(&found);
    let context = format!("{} at {at}, {verdict}: {refused_as:?}", sample.id);
    match verdict {
        "accept UpToDate" => {
            let accepted = found.unwrap_or_else(|refusal| panic!("{context}: {refusal}"));
            assert_eq!(accepted.claims().tcb().status, TcbStatus::UpToDate, "{context}");
            assert!(!accepted.simulated() && accepted.expires() > at, "{context}");
        }
        "reject: collateral" => assert_eq!(refused_as.map(|r| r.0), Some(Stage::Collateral), "{context}"),
        "reject: policy" => {
            let codes = codes_of(&found.unwrap_err());
            let wanted: &[&str] = match sample.id.as_str() {
                "tdx/v4-debug" => &["tdx_debug", "tdx_tcb_status"],
                "azure/tdx-vtpm" => &["tdx_sept_ve_disable", "tdx_tcb_status"],
                other => panic!("{other}"),
            };
            assert_eq!(codes, wanted, "{context}");
        }
        "OutOfDate when debug is allowed" => {
            assert_eq!(codes_of(&sample.verify(at, allow_debug).unwrap_err()), ["tdx_tcb_status"]);
            let accepted = sample.verify(at, |policy| {
                allow_debug(policy);
                out_of_date(policy);
            });
            let advisories = &accepted.unwrap().claims().tcb().advisories.clone();
            assert_eq!(advisories.len(), 11, "{context}");
            assert_eq!(advisories.first().unwrap(), "INTEL-SA-00837");
            assert_eq!(advisories.last().unwrap(), "INTEL-SA-01111");
        }
        "reject: policy; UpToDate when service TDs are allowed" => {
            let sample = Sample {
                collateral: read_collateral("tdx/v5-alibaba/collateral-2025.json"),
                ..sample.clone()
            };
            assert_eq!(codes_of(&sample.verify(at, |_| {}).unwrap_err()), ["tdx_service_td"], "{context}");
            let accepted = sample.verify(at, allow_services(&sample)).unwrap();
            assert_eq!(accepted.claims().tcb().status, TcbStatus::UpToDate);
        }
        "reject: policy; OutOfDate when service TDs are allowed" => {
            let codes = codes_of(&found.unwrap_err());
            assert_eq!(codes, ["tdx_service_td", "tdx_tcb_status"], "{context}");
            let allow = allow_services(sample);
            assert_eq!(codes_of(&sample.verify(at, &allow).unwrap_err()), ["tdx_tcb_status"], "{context}");
            let accepted = sample.verify(at, |policy| {
                allow(policy);
                out_of_date(policy);
            });
            assert_eq!(accepted.unwrap().claims().tcb().status, TcbStatus::OutOfDate);
        }
        "OutOfDate: reject by default" => {
            assert_eq!(codes_of(&found.unwrap_err()), ["tdx_tcb_status"], "{context}");
            assert!(sample.verify(at, out_of_date).is_ok(), "{context}");
        }
        "reject: untrusted root" => {
            assert_eq!(refused_as, Some((Stage::Chain, "tdx_no_trust_anchor")), "{context}");
        }
        "signature-only accept; reject under a strict no-trailing-bytes policy unless they are zero" => {
            // The stated time is five days before the PCK certificate begins, so the chain is refused at it.
            assert_eq!(refused_as, Some((Stage::Chain, "tdx_certificate_validity")), "{context}");
            let refusal = sample.verify(crate::support::at("2024-10-01T00:00:00Z"), |_| {}).unwrap_err();
            assert_eq!(codes_of(&refusal), ["tdx_collateral_missing"], "{context}");
            let passed = |code: &str| {
                let check = refusal.checks().all().iter().find(|check| check.code == code);
                check.is_some_and(|check| check.outcome == Outcome::Passed)
            };
            assert!(passed("tdx_quote_signature") && passed("tdx_leaf_signature"), "{context}");
            assert_eq!(sample.parsed().padding, 70);
        }
        other => panic!("{}: unknown verdict {other}", sample.id),
    }
}

#[test]
fn every_real_sample_has_its_stated_verdict_at_its_stated_time() {
    let samples = read_samples();
    let mut judged = 0;
    for sample in samples.iter().chain(&azure()) {
        for (at, verdict) in &sample.expected {
            check_verdict(sample, *at, verdict);
            judged += 1;
        }
    }
    assert!(samples.is_empty() || (samples.len() == SAMPLES && judged == 18), "{judged} verdicts");
}

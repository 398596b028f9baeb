//! Real samples with the verdicts that their manifest states, under Intel's root.

use crate::made::Made;
use crate::support::*;
use anchorhold_rats::{Outcome, Sha256Digest, Stage, Timestamp};
use anchorhold_verifier::tdx::{AuthenticQuote, Policy, TcbStatus, appraise};
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

fn out_of_date(policy: &mut Policy) {
    policy.accepted_statuses.push(TcbStatus::OutOfDate);
}

/// One stated verdict at its stated time.
fn check_verdict(sample: &Sample, at: Timestamp, verdict: &str) {
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
        "reject: untrusted root" => {
            assert_eq!(refused_as, Some((Stage::Chain, "tdx_no_trust_anchor")), "{context}");
        }
        "OutOfDate: reject by default" => {
            assert_eq!(codes_of(&found.unwrap_err()), ["tdx_tcb_status"], "{context}");
            assert!(sample.verify(at, out_of_date).is_ok(), "{context}");
        }
        "reject: policy" => {
            let wanted: &[&str] = match sample.id.as_str() {
                "tdx/v4-debug" => &["tdx_debug", "tdx_tcb_status"],
                "azure/tdx-vtpm" => &["tdx_sept_ve_disable", "tdx_tcb_status"],
                other => panic!("{other}"),
            };
            assert_eq!(codes_of(&found.unwrap_err()), wanted, "{context}");
        }
        "OutOfDate when debug is allowed" => check_debug(sample, at),
        "reject: policy; UpToDate when service TDs are allowed" => {
            let collateral = read_collateral("tdx/v5-alibaba/collateral-2025.json");
            check_service_tds(&Sample { collateral, ..sample.clone() }, at, TcbStatus::UpToDate);
        }
        "reject: policy; OutOfDate when service TDs are allowed" => {
            check_service_tds(sample, at, TcbStatus::OutOfDate);
        }
        "signature-only accept; reject under a strict no-trailing-bytes policy unless they are zero" => {
            // The stated time is five days before the PCK certificate begins, so the chain is refused at it.
            assert_eq!(refused_as, Some((Stage::Chain, "tdx_certificate_validity")), "{context}");
            check_signatures(sample, crate::support::at("2024-10-01T00:00:00Z"));
        }
        other => panic!("{}: unknown verdict {other}", sample.id),
    }
}

fn check_debug(sample: &Sample, at: Timestamp) {
    assert_eq!(codes_of(&sample.verify(at, allow_debug).unwrap_err()), ["tdx_tcb_status"]);
    let accepted = sample.verify(at, |policy| {
        allow_debug(policy);
        out_of_date(policy);
    });
    let accepted = accepted.unwrap();
    let advisories = &accepted.claims().tcb().advisories;
    assert_eq!(advisories.len(), 11);
    assert_eq!(advisories.first().unwrap(), "INTEL-SA-00837");
    assert_eq!(advisories.last().unwrap(), "INTEL-SA-01111");
}

/// Refused for its service TDs, and with them named for its status where that is not up to date.
fn check_service_tds(sample: &Sample, at: Timestamp, status: TcbStatus) {
    let current = status == TcbStatus::UpToDate;
    let (both, one): (&[&str], &[&str]) = if current {
        (&["tdx_service_td"], &[])
    } else {
        (&["tdx_service_td", "tdx_tcb_status"], &["tdx_tcb_status"])
    };
    assert_eq!(codes_of(&sample.verify(at, |_| {}).unwrap_err()), both);
    let allow = allow_services(sample);
    let found = sample.verify(at, &allow);
    assert_eq!(found.err().map_or_else(Vec::new, |refusal| codes_of(&refusal)), one);
    let accepted = sample.verify(at, |policy| {
        allow(policy);
        out_of_date(policy);
    });
    assert_eq!(accepted.unwrap().claims().tcb().status, status);
}

/// Every signature holds; only collateral is missing.
fn check_signatures(sample: &Sample, at: Timestamp) {
    let refusal = sample.verify(at, |_| {}).unwrap_err();
    assert_eq!(codes_of(&refusal), ["tdx_collateral_missing"]);
    for code in ["tdx_quote_signature", "tdx_qe_report_signature", "tdx_leaf_signature"] {
        let check = refusal.checks().all().iter().find(|check| check.code == code).unwrap();
        assert_eq!(check.outcome, Outcome::Passed, "{code}");
    }
    assert_eq!(sample.parsed().padding, 70);
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

#[test]
fn every_real_sample_reads_as_the_fields_that_its_manifest_states() {
    for sample in read_samples() {
        let (quote, fields) = (sample.parsed(), &sample.fields);
        let body = &quote.body;
        assert_eq!(quote.version, fields["quote_version"]);
        assert_eq!(quote.kind.length(), fields["body_size"]);
        assert_eq!(quote.padding, fields["trailing_bytes"]);
        for (name, observed) in [
            ("tee_tcb_svn", hex(&body.tee_tcb_svn)),
            ("mrseam", hex(&body.mr_seam)),
            ("td_attributes", hex(&body.td_attributes.0.to_le_bytes())),
            ("xfam", hex(&body.xfam.0.to_le_bytes())),
            ("mrtd", body.mrtd.to_string()),
            ("mr_config_id", hex(&body.mr_config_id)),
            ("rtmr0", hex(&body.rtmrs[0])),
            ("rtmr1", hex(&body.rtmrs[1])),
            ("rtmr2", hex(&body.rtmrs[2])),
            ("rtmr3", hex(&body.rtmrs[3])),
            ("report_data", body.report_data.to_string()),
        ] {
            assert_eq!(fields[name], observed, "{} {name}", sample.id);
        }
        if let Some(td15) = &body.td15 {
            assert_eq!(fields["tee_tcb_svn_2"], hex(&td15.tee_tcb_svn2));
            assert_eq!(fields["mr_service_td"], hex(&td15.mr_service_td));
        }
        let Ok(authentic) = sample.authenticate(sample.expected[0].0) else { continue };
        let pck = authentic.claims().pck();
        for (name, observed) in [
            ("fmspc", hex(&pck.fmspc)),
            ("pceid", hex(&pck.pce_id)),
            ("ppid", pck.platform_id.to_string()),
            ("pck_cpusvn", hex(&pck.cpu_svn)),
        ] {
            assert_eq!(fields[name], observed, "{} {name}", sample.id);
        }
        assert_eq!(fields["pck_pcesvn"], pck.pce_svn);
    }
}

#[test]
fn the_samples_are_the_files_that_the_manifest_names() {
    let Some(folder) = samples() else { return };
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    let mut files = 0;
    for sample in manifest["samples"].as_array().unwrap().iter().filter(|sample| sample["platform"] == "tdx")
    {
        for (path, facts) in sample["files"].as_object().unwrap() {
            let digest = Sha256Digest::of(&std::fs::read(folder.join(path)).unwrap());
            assert_eq!(digest.to_string(), facts["sha256"].as_str().unwrap(), "{path}");
            files += 1;
        }
    }
    assert!(files > 2 * SAMPLES, "{files} files");
}

#[test]
fn case_03_refuses_every_real_sample_for_fresh_report_data_and_another_mrtd() {
    for sample in read_samples() {
        let Ok(authentic) = sample.authenticate(sample.expected[0].0) else { continue };
        let policy = Policy::strict(vec![OTHER_MRTD]);
        let failed = codes_of(&appraise(authentic, &policy, &OTHER_REPORT_DATA).unwrap_err());
        for code in ["tdx_report_data", "tdx_mrtd"] {
            assert!(failed.contains(&code.to_string()), "{}: {failed:?}", sample.id);
        }
    }
}

#[test]
fn case_05_refuses_every_real_sample_under_the_simulated_root() {
    for sample in read_samples() {
        let made = Made { quote: sample.quote, collateral: sample.collateral };
        assert_eq!(made.refused_at(sample.expected[0].0), ["tdx_no_trust_anchor"], "{}", sample.id);
    }
}

#[test]
fn case_05_refuses_intels_pre_production_root_even_with_collateral() {
    let (Some(preprod), Some(other)) = (sample("tdx/v4-preprod-root"), sample("tdx/v4-gcp")) else { return };
    assert_eq!(preprod.with_collateral_of(&other).refused(), ["tdx_no_trust_anchor"]);
}

#[test]
fn case_06_the_evaluation_floor_refuses_older_collateral_of_the_same_quote() {
    let Some(newer) = sample("tdx/v5-alibaba") else { return };
    let older =
        Sample { collateral: read_collateral("tdx/v5-alibaba/collateral-2025.json"), ..newer.clone() };
    let allow = allow_services(&newer);
    let floor = |policy: &mut Policy| {
        allow(policy);
        policy.accepted_statuses.push(TcbStatus::OutOfDate);
        policy.min_tcb_evaluation_number = 18;
    };
    let (then, now) = (newer.expected[0].0, newer.expected[1].0);
    assert_eq!(codes_of(&older.verify(then, floor).unwrap_err()), ["tdx_evaluation_number"]);
    assert!(newer.verify(now, floor).is_ok());
}

#[test]
fn a_changed_byte_of_a_real_quote_is_refused_where_it_stands() {
    let Some(sample) = sample("tdx/v4-gcp") else { return };
    for (at, code) in [
        (0, "tdx_quote_version"),
        (12, "tdx_qe_vendor"),
        (48 + 136, "tdx_quote_signature"),
        (48 + 584 + 4, "tdx_quote_signature"),
        (7999, "tdx_trailing_bytes"),
    ] {
        assert_eq!(sample.with_quote(|quote| quote[at] ^= 0x40).refused(), [code], "{at}");
    }
}

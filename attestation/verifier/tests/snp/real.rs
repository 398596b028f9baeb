//! Real samples with the verdicts that their manifest states, under AMD's roots.

use crate::support::*;
use anchorhold_rats::{Der, Evidence, ReportData, Sha256Digest, Stage, Timestamp};
use anchorhold_verifier::snp::{AuthenticReport, Policy, RawTcb, Report, SigningKey, Tcb};
use anchorhold_verifier::{Accepted, Refusal, TrustAnchors, dangerous};

/// How many SNP samples with a report the manifest has.
const SAMPLES: usize = 11;

fn verify(
    evidence: &Evidence,
    at: Timestamp,
    edit: impl FnOnce(Policy) -> Policy,
) -> Result<Accepted<AuthenticReport>, Refusal> {
    let authentic = authenticate(evidence, &TrustAnchors::production(), at)?;
    let policy = edit(permissive(authentic.claims().report()));
    let report_data = authentic.claims().report().report_data;
    appraise(authentic, &policy, &report_data)
}

fn unchanged(policy: Policy) -> Policy {
    policy
}

fn with_vmpl_1(mut policy: Policy) -> Policy {
    policy.allowed_vmpls = vec![1];
    policy
}

#[test]
fn every_real_sample_has_its_stated_verdict_at_its_stated_time() {
    let samples = read_samples();
    let mut judged = 0;
    for sample in &samples {
        for (at, verdict) in &sample.expected {
            let found = verify(&sample.evidence, *at, unchanged);
            let refused_as =
                found.as_ref().err().map(|refusal| (refusal.stage(), refusal.code().to_string()));
            let refused_as = refused_as.as_ref().map(|(stage, code)| (*stage, code.as_str()));
            let context = format!("{} at {at}: {refused_as:?}", sample.id);
            match verdict.as_str() {
                "accept" => assert!(found.is_ok_and(|result| !result.simulated()), "{context}"),
                "accept with VMPL 1 allowed, else reject: policy" => {
                    assert_eq!(refused_as, Some((Stage::Policy, "snp_vmpl")), "{context}");
                    assert!(verify(&sample.evidence, *at, with_vmpl_1).is_ok(), "{context}");
                }
                "reject: policy" => {
                    assert_eq!(refused_as, Some((Stage::Policy, "snp_debug_allowed")), "{context}");
                    assert!(verify(&sample.evidence, *at, dangerous::allow_debug).is_ok(), "{context}");
                }
                "reject: certificate validity" => {
                    assert_eq!(refused_as, Some((Stage::Chain, "snp_certificate_validity")), "{context}");
                }
                "parse only; full verification must end in reject: missing VEK" => {
                    assert!(Report::parse(&sample.evidence.report).is_ok(), "{context}");
                    assert_eq!(refused_as, Some((Stage::Chain, "snp_leaf_missing")), "{context}");
                }
                other => panic!("{}: unknown verdict {other}", sample.id),
            }
            judged += 1;
        }
    }
    assert!(samples.is_empty() || (samples.len() == SAMPLES && judged == SAMPLES + 1), "{judged} verdicts");
}

#[test]
fn every_real_sample_reads_as_the_fields_that_its_manifest_states() {
    for sample in read_samples() {
        let report = Report::parse(&sample.evidence.report).unwrap();
        let fields = &sample.fields;
        let number = |name: &str| {
            u64::from_str_radix(fields[name].as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
        };
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(report.version, fields["report_version"]);
        assert_eq!(report.guest_svn, fields["guest_svn"]);
        assert_eq!(report.policy.0, number("policy"));
        assert_eq!(report.vmpl, fields["vmpl"]);
        assert_eq!(report.platform_info.0, number("platform_info"));
        assert_eq!(u64::from(report.author_key_enabled), fields["author_key_en"]);
        assert_eq!(u64::from(report.chip_key_masked), fields["mask_chip_key"]);
        let SigningKey::Signed(signer) = report.signing_key else { panic!("unsigned") };
        assert_eq!(format!("{signer:?}").to_uppercase(), fields["signing_key"].as_str().unwrap());
        assert_eq!(report.report_data.to_string(), fields["report_data"]);
        assert_eq!(report.measurement.to_string(), fields["measurement"]);
        assert_eq!(hex(&report.host_data), fields["host_data"].as_str().unwrap());
        assert_eq!(hex(&report.id_key_digest), fields["id_key_digest"].as_str().unwrap());
        assert_eq!(hex(&report.author_key_digest), fields["author_key_digest"].as_str().unwrap());
        assert_eq!(report.chip_id.to_string(), fields["chip_id"].as_str().unwrap());
        assert_eq!(report.current_version.to_string(), fields["current_version"].as_str().unwrap());
        assert_eq!(report.committed_version.to_string(), fields["committed_version"].as_str().unwrap());
        let product = if sample.id.contains("turin") {
            anchorhold_verifier::snp::Product::Turin
        } else {
            anchorhold_verifier::snp::Product::Genoa
        };
        let tcb = |raw: RawTcb| {
            Tcb::decode(product, raw)
                .unwrap()
                .components()
                .into_iter()
                .map(|(n, v)| (n.to_string(), v.into()))
                .collect()
        };
        for (name, raw) in [
            ("current_tcb", report.current_tcb),
            ("reported_tcb", report.reported_tcb),
            ("committed_tcb", report.committed_tcb),
            ("launch_tcb", report.launch_tcb),
        ] {
            assert_eq!(serde_json::Value::Object(tcb(raw)), fields[name], "{} {name}", sample.id);
        }
        if let Some(vectors) = report.mitigations {
            assert_eq!(vectors.launch, number("launch_mit_vector"));
            assert_eq!(vectors.current, number("current_mit_vector"));
        }
        if let Some(cpuid) = report.cpuid {
            let text = |value: u8| format!("{value:#x}");
            assert_eq!(text(cpuid.family), fields["cpuid"]["family"].as_str().unwrap());
            assert_eq!(text(cpuid.model), fields["cpuid"]["model"].as_str().unwrap());
        }
    }
}

#[test]
fn the_samples_are_the_files_that_the_manifest_names() {
    let Some(folder) = samples() else { return };
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    let mut files = 0;
    for sample in manifest["samples"].as_array().unwrap().iter().filter(|sample| sample["platform"] == "snp")
    {
        for (path, facts) in sample["files"].as_object().unwrap() {
            let digest = Sha256Digest::of(&std::fs::read(folder.join(path)).unwrap());
            assert_eq!(digest.to_string(), facts["sha256"].as_str().unwrap(), "{path}");
            files += 1;
        }
    }
    assert!(files > 2 * SAMPLES, "{files} files");
}

fn sample(id: &str) -> Option<Sample> {
    read_samples().into_iter().find(|sample| sample.id == id)
}

#[test]
fn case_05_refuses_real_vceks_that_amd_did_not_sign() {
    let (Some(folder), Some(sample)) = (samples(), sample("snp/milan-v2-azure")) else { return };
    for name in ["vcek-invalid-legacy.der", "vcek-invalid-new.der"] {
        let mut evidence = sample.evidence.clone();
        evidence.certificates = vec![Der(std::fs::read(folder.join(&sample.id).join(name)).unwrap())];
        let refusal = verify(&evidence, now(), unchanged).unwrap_err();
        assert_eq!((refusal.stage(), refusal.code()), (Stage::Chain, "snp_leaf_signature"), "{name}");
    }
}

#[test]
fn case_05_refuses_a_real_vcek_of_another_chip() {
    let (Some(mine), Some(other)) = (sample("snp/milan-v5-gcp"), sample("snp/milan-v3-dstack")) else {
        return;
    };
    let mut evidence = mine.evidence;
    evidence.certificates = other.evidence.certificates;
    let refusal = verify(&evidence, now(), unchanged).unwrap_err();
    assert_eq!((refusal.stage(), refusal.code()), (Stage::Signature, "snp_report_signature"));
}

#[test]
fn case_05_refuses_a_real_vlek_below_the_ask_and_a_real_vcek_below_the_asvk() {
    let (Some(folder), Some(vlek), Some(vcek)) =
        (samples(), sample("snp/milan-v3-vlek-aws"), sample("snp/milan-v2-azure"))
    else {
        return;
    };
    let at = at("2025-06-01T00:00:00Z");
    for (sample, right, wrong) in
        [(vlek, "milan-asvk.der", "milan-ask.der"), (vcek, "milan-ask.der", "milan-asvk.der")]
    {
        let mut evidence = sample.evidence;
        let ca = |name| Der(std::fs::read(folder.join("snp/ca").join(name)).unwrap());
        evidence.certificates.push(ca(wrong));
        let refusal = verify(&evidence, at, with_vmpl_1).unwrap_err();
        assert_eq!(
            (refusal.stage(), refusal.code()),
            (Stage::Chain, "snp_intermediate_kind"),
            "{}",
            sample.id
        );
        evidence.certificates[1] = ca(right);
        let edit = |mut policy: Policy| {
            policy.allowed_vmpls = vec![0, 1];
            policy
        };
        assert!(verify(&evidence, at, edit).is_ok(), "{}", sample.id);
    }
}

#[test]
fn case_06_refuses_a_real_milan_unless_the_policy_names_milan() {
    let Some(sample) = sample("snp/milan-v5-gcp") else { return };
    let without_milan = |mut policy: Policy| {
        policy.min_tcb.milan = None;
        policy
    };
    let refusal = verify(&sample.evidence, now(), without_milan).unwrap_err();
    assert_eq!((refusal.stage(), refusal.code()), (Stage::Policy, "snp_product_denied"));
}

#[test]
fn case_03_refuses_every_real_sample_for_fresh_report_data() {
    let fresh = ReportData::new([0x5a; 64]);
    for sample in read_samples() {
        let Ok(authentic) = authenticate(&sample.evidence, &TrustAnchors::production(), sample.expected[0].0)
        else {
            assert_eq!(sample.id, "snp/milan-v4-gcp");
            continue;
        };
        let policy = permissive(authentic.claims().report());
        let refusal = appraise(authentic, &policy, &fresh).unwrap_err();
        let failed: Vec<_> = refusal.checks().failed().map(|check| check.code.to_string()).collect();
        assert!(failed.contains(&"snp_report_data".to_string()), "{}: {failed:?}", sample.id);
    }
}

#[test]
fn case_05_refuses_every_real_sample_under_the_simulated_root() {
    for sample in read_samples() {
        let refusal = authenticate(&sample.evidence, &simulated(), sample.expected[0].0).unwrap_err();
        assert_eq!(refusal.stage(), Stage::Chain, "{}", sample.id);
    }
}

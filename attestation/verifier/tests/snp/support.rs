//! One way to make evidence, one to judge it, and the folder of real samples.

use crate::stops::assert_stops;
use anchorhold_attester::software::certificate::{Extension, Template, name, pss_sha384, rsa_key_info};
use anchorhold_attester::software::report::ReportFields;
use anchorhold_attester::software::{Authority, LaunchConfig, Product, SoftwareGuest, simulated_ark_der};
use anchorhold_rats::{Der, Endorsements, Evidence, Measurement, ReportData, Timestamp};
use anchorhold_verifier::dangerous::SimulatedRoots;
pub(crate) use anchorhold_verifier::snp::appraise;
use anchorhold_verifier::snp::{
    self, AuthenticReport, GenoaTcb, Input, MilanTcb, MinimumTcb, Policy, Report, Signer, TurinTcb,
};
use anchorhold_verifier::{Accepted, Authentic, Refusal, TrustAnchors, dangerous};
use std::path::PathBuf;

pub(crate) const MEASUREMENT: Measurement = Measurement::new([7; 48]);
pub(crate) const REPORT_DATA: ReportData = ReportData::new([9; 64]);

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn now() -> Timestamp {
    at("2026-07-25T00:00:00Z")
}

pub(crate) fn simulated() -> TrustAnchors {
    dangerous::simulated_anchors(&SimulatedRoots::amd(simulated_ark_der())).unwrap()
}

pub(crate) fn config() -> LaunchConfig {
    LaunchConfig::new(MEASUREMENT)
}

pub(crate) fn launch(config: LaunchConfig) -> SoftwareGuest {
    SoftwareGuest::launch(config, now()).unwrap()
}

pub(crate) fn turin() -> SoftwareGuest {
    launch(LaunchConfig::for_product(MEASUREMENT, Product::Turin))
}

/// Evidence of a default guest whose report fields were changed before signing.
pub(crate) fn report_with(edit: impl FnOnce(&mut ReportFields)) -> Evidence {
    guest_report_with(&launch(config()), edit)
}

pub(crate) fn guest_report_with(guest: &SoftwareGuest, edit: impl FnOnce(&mut ReportFields)) -> Evidence {
    let mut fields = guest.report_fields(&REPORT_DATA);
    edit(&mut fields);
    guest.sign(&fields.encode()).unwrap()
}

/// Evidence of a default guest whose signed bytes were changed before signing.
pub(crate) fn bytes_with(edit: impl FnOnce(&mut Vec<u8>)) -> Evidence {
    let guest = launch(config());
    let mut bytes = guest.report_fields(&REPORT_DATA).encode();
    edit(&mut bytes);
    guest.sign(&bytes).unwrap()
}

/// Evidence of a default guest whose VCEK was certified with a changed template.
pub(crate) fn leaf_with(edit: impl FnOnce(&mut Template)) -> Evidence {
    guest_leaf_with(launch(config()), edit)
}

pub(crate) fn guest_leaf_with(mut guest: SoftwareGuest, edit: impl FnOnce(&mut Template)) -> Evidence {
    let mut template = guest.template().clone();
    edit(&mut template);
    guest.certify(template).unwrap();
    guest.attest(&REPORT_DATA).unwrap()
}

/// What a good ASK under the simulated root says.
pub(crate) fn ask_template() -> Template {
    Template {
        serial: vec![2],
        algorithm: pss_sha384(48),
        issuer: name(Authority::Ark.common_name()),
        subject: name(Authority::Ask.common_name()),
        not_before: at("2020-01-01T00:00:00Z"),
        not_after: at("2049-12-31T23:59:59Z"),
        public_key_info: rsa_key_info(&Authority::Ask.key().unwrap()),
        extensions: Extension::intermediate(),
    }
}

/// Evidence of a default guest with a changed ASK, signed by the simulated root.
pub(crate) fn ask_with(edit: impl FnOnce(&mut Template)) -> Evidence {
    let mut template = ask_template();
    edit(&mut template);
    let mut evidence = evidence();
    evidence.certificates[1] = Der(template.sign(&Authority::Ark.key().unwrap()).unwrap());
    evidence
}

/// Evidence of a default guest whose ASK says that its issuer's revocation list is at `address`, of at most 100 bytes.
pub(crate) fn ask_with_crl_at(address: &str) -> Evidence {
    let value =
        [0x30, 0x30, 0xa0, 0xa0, 0x86].iter().rev().fold(address.as_bytes().to_vec(), |inner, tag| {
            [vec![*tag, u8::try_from(inner.len()).unwrap()], inner].concat()
        });
    ask_with(|ask| ask.extensions.push(Extension { id: vec![0x55, 0x1d, 0x1f], critical: false, value }))
}

pub(crate) fn evidence() -> Evidence {
    launch(config()).attest(&REPORT_DATA).unwrap()
}

/// What the family says of this evidence, without revocation lists.
pub(crate) fn authenticate(
    evidence: &Evidence,
    anchors: &TrustAnchors,
    at: Timestamp,
) -> Result<Authentic<AuthenticReport>, Refusal> {
    authenticate_with(evidence, &[], anchors, at)
}

/// The same with revocation lists.
pub(crate) fn authenticate_with(
    evidence: &Evidence,
    crls: &[Der],
    anchors: &TrustAnchors,
    at: Timestamp,
) -> Result<Authentic<AuthenticReport>, Refusal> {
    let input = Input { report: &evidence.report, certificates: &evidence.certificates, crls };
    snp::authenticate(&input, anchors, at)
}

pub(crate) fn authentic(evidence: &Evidence) -> Authentic<AuthenticReport> {
    authenticate(evidence, &simulated(), now()).unwrap_or_else(|refusal| panic!("{refusal}"))
}

/// The code with which authentication of whole evidence under the simulated root refuses this evidence.
pub(crate) fn refusal(evidence: &Evidence) -> String {
    refusal_at(evidence, now())
}

pub(crate) fn refusal_at(evidence: &Evidence, at: Timestamp) -> String {
    match anchorhold_verifier::authenticate(evidence, &Endorsements::default(), &simulated(), at) {
        Ok(_) => panic!("accepted"),
        Err(refusal) => {
            assert_stops(&refusal, GATES);
            refusal.code().to_string()
        }
    }
}

/// The first rules of chain, revocation lists, the report's signature, and what the chip is.
const GATES: &[&str] =
    &["snp_certificate_count", "snp_crl_count", "snp_report_signature", "snp_product_cpuid"];

/// The TCB versions that the software guest reports, as minima.
pub(crate) fn minimum() -> MinimumTcb {
    MinimumTcb {
        milan: Some(MilanTcb { bootloader: 4, tee: 0, snp: 27, microcode: 222 }),
        genoa: Some(GenoaTcb { bootloader: 10, tee: 0, snp: 25, microcode: 84 }),
        turin: Some(TurinTcb { fmc: 0, bootloader: 1, tee: 0, snp: 2, microcode: 71 }),
    }
}

pub(crate) fn policy() -> Policy {
    dangerous::allow_simulated(Policy::strict(vec![MEASUREMENT], minimum()))
}

pub(crate) fn policy_with(edit: impl FnOnce(&mut Policy)) -> Policy {
    let mut policy = policy();
    edit(&mut policy);
    policy
}

/// What the family's policy says of evidence under the simulated root. The same policy as part of a whole one must
/// come to the same rules with the same outcomes.
pub(crate) fn judge(evidence: &Evidence, policy: &Policy) -> Result<Accepted<AuthenticReport>, Refusal> {
    let verdict = appraise(authentic(evidence), policy, &REPORT_DATA);
    let none = Endorsements::default();
    let whole = anchorhold_verifier::authenticate(evidence, &none, &simulated(), now()).unwrap();
    let whole = anchorhold_verifier::appraise(whole, &policy.clone().into(), &REPORT_DATA.into());
    match (&verdict, &whole) {
        (Ok(part), Ok(whole)) => assert_eq!(part.checks(), whole.checks()),
        (Err(part), Err(whole)) => assert_eq!(part.checks(), whole.checks()),
        _ => panic!("the family and the whole disagree"),
    }
    verdict
}

/// The codes of all rules that failed, in order.
pub(crate) fn failed<T>(result: Result<T, Refusal>) -> Vec<String> {
    match result {
        Ok(_) => Vec::new(),
        Err(refusal) => {
            assert_stops(&refusal, GATES);
            refusal.checks().failed().map(|check| check.code.to_string()).collect()
        }
    }
}

/// A policy that asks for nothing beside what is always judged.
pub(crate) fn permissive(report: &Report) -> Policy {
    let floor = MinimumTcb {
        milan: Some(MilanTcb { bootloader: 0, tee: 0, snp: 0, microcode: 0 }),
        genoa: Some(GenoaTcb { bootloader: 0, tee: 0, snp: 0, microcode: 0 }),
        turin: Some(TurinTcb { fmc: 0, bootloader: 0, tee: 0, snp: 0, microcode: 0 }),
    };
    let mut policy = Policy::strict(vec![report.measurement], floor);
    policy.require_alias_check = false;
    policy.allowed_signers = vec![Signer::Vcek, Signer::Vlek];
    policy.guest_policy.cxl_allowed = anchorhold_verifier::snp::Flag::Either;
    policy
}

pub(crate) fn of_files(report: Vec<u8>, certificates: Vec<Vec<u8>>) -> Evidence {
    let certificates = certificates.into_iter().map(Der).collect();
    Evidence::snp(report, certificates)
}

/// The folder of real samples, or `None` where a developer does not have it. CI must have it.
pub(crate) fn samples() -> Option<PathBuf> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/evidence"));
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing", folder.display());
    eprintln!("skipped: no real samples at {}", folder.display());
    None
}

pub(crate) struct Sample {
    pub(crate) id: String,
    pub(crate) expected: Vec<(Timestamp, String)>,
    pub(crate) fields: serde_json::Value,
    pub(crate) evidence: Evidence,
}

/// Every SNP sample with a report, as its manifest describes it.
pub(crate) fn read_samples() -> Vec<Sample> {
    let Some(folder) = samples() else { return Vec::new() };
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    let read = |path: String| std::fs::read(folder.join(path)).ok();
    manifest["samples"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|sample| sample["platform"] == "snp" && sample["fields"].is_object())
        .map(|sample| {
            let id = sample["id"].as_str().unwrap().to_string();
            let leaf = read(format!("{id}/vcek.der")).or_else(|| read(format!("{id}/vlek.der")));
            let expected = sample["expected"].as_array().unwrap().iter();
            Sample {
                expected: expected
                    .map(|e| (at(e["at"].as_str().unwrap()), e["verdict"].as_str().unwrap().to_string()))
                    .collect(),
                fields: sample["fields"].clone(),
                evidence: of_files(read(format!("{id}/report.bin")).unwrap(), leaf.into_iter().collect()),
                id,
            }
        })
        .collect()
}

//! Evidence of several families together: what is bound to what, and what a policy must name.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    missing_docs,
    reason = "tests stop at a surprise"
)]

use anchorhold_attester::software::gpu::{
    Chip, GpuConfig, GpuDevice, simulated_nvidia_device_root_der, simulated_nvidia_rim_root_der,
};
use anchorhold_attester::software::tdx::{
    Boot, EventLog, Registers, TdConfig, TdxGuest, simulated_intel_root_der,
};
use anchorhold_attester::software::{LaunchConfig, SoftwareGuest, SoftwareParavisor, simulated_ark_der};
use anchorhold_rats::{
    Ed25519PublicKey, Endorsements, Evidence, Expected, KeyBinding, Measurement, Nonce, Purpose, ReportData,
    Sha256Digest, Tee, Timestamp,
};
use anchorhold_verifier::dangerous::{self, SimulatedRoots};
use anchorhold_verifier::nvidia::{Architecture, BoardSize, Mode};
use anchorhold_verifier::snp::{GenoaTcb, MinimumTcb};
use anchorhold_verifier::{
    AppraisalPolicy, AttestationResult, Refusal, TrustAnchors, appraise, authenticate, azure, event_log,
    nvidia, snp, tdx,
};

const MEASUREMENT: Measurement = Measurement::new([7; 48]);

fn at() -> Timestamp {
    "2026-07-25T00:00:00Z".parse().unwrap()
}

fn anchors() -> TrustAnchors {
    dangerous::simulated_anchors(&SimulatedRoots {
        amd: Some(simulated_ark_der()),
        intel: Some(simulated_intel_root_der()),
        nvidia_device: Some(simulated_nvidia_device_root_der()),
        nvidia_rim: Some(simulated_nvidia_rim_root_der()),
        foreign: false,
    })
    .unwrap()
}

fn snp_policy() -> snp::Policy {
    let genoa = Some(GenoaTcb { bootloader: 10, tee: 0, snp: 25, microcode: 84 });
    snp::Policy::strict(vec![MEASUREMENT], MinimumTcb { genoa, ..MinimumTcb::default() })
}

/// Devices whose manifests and OCSP responses are not asked for: those are the NVIDIA family's own tests.
fn gpu_policy() -> nvidia::Policy {
    let board = BoardSize { gpus: 1, switches: 0 };
    let mut policy = nvidia::Policy::strict(Mode::SinglePassthrough, board, vec![Architecture::Hopper]);
    (policy.require_rims, policy.ocsp.require) = (false, false);
    policy
}

fn binding() -> KeyBinding {
    KeyBinding {
        purpose: Purpose::Serving,
        nonce: Nonce::new([1; 32]),
        tls_key: Sha256Digest::new([2; 32]),
        release_key: Sha256Digest::new([3; 32]),
        audit_key: Ed25519PublicKey::new([4; 32]),
        context: Sha256Digest::new([5; 32]),
        gpu_evidence: Sha256Digest::of(&[]),
    }
}

fn snp_evidence(report_data: &ReportData) -> Evidence {
    SoftwareGuest::launch(LaunchConfig::new(MEASUREMENT), at()).unwrap().attest(report_data).unwrap()
}

fn device() -> GpuDevice {
    GpuDevice::make(GpuConfig::new(Chip::Gh100, [0x41; 8])).unwrap()
}

/// A guest with one GPU as the protocol makes it: the device signs the guest's nonce, the TEE the device's evidence.
fn with_gpu(device: &GpuDevice, gpu_nonce: &Nonce) -> (Evidence, KeyBinding) {
    let mut evidence = snp_evidence(&ReportData::new([0; 64]));
    evidence.gpus = vec![device.evidence(gpu_nonce).unwrap()];
    let binding = KeyBinding { gpu_evidence: evidence.gpu_digest(), ..binding() };
    let gpus = std::mem::take(&mut evidence.gpus);
    evidence = Evidence { gpus, ..snp_evidence(&binding.report_data()) };
    (evidence, binding)
}

fn judge(
    evidence: &Evidence,
    endorsements: &Endorsements,
    policy: AppraisalPolicy,
    expected: &Expected,
) -> Result<AttestationResult, Refusal> {
    let policy = dangerous::allow_simulated(policy);
    authenticate(evidence, endorsements, &anchors(), at())
        .and_then(|authentic| appraise(authentic, &policy, expected))
}

/// The codes of all rules that failed.
fn failed(judged: Result<AttestationResult, Refusal>) -> Vec<String> {
    judged.err().map_or_else(Vec::new, |refusal| {
        refusal.checks().failed().map(|check| check.code.to_string()).collect()
    })
}

fn none() -> Endorsements {
    Endorsements::default()
}

#[test]
fn an_empty_policy_accepts_no_family() {
    let expected = binding().expected();
    let snp = snp_evidence(&expected.report_data);
    assert_eq!(failed(judge(&snp, &none(), AppraisalPolicy::default(), &expected)), ["family_denied"]);
    assert_eq!(
        failed(judge(&snp, &none(), tdx::Policy::strict(vec![MEASUREMENT]).into(), &expected)),
        ["family_denied"]
    );
    let guest = TdxGuest::launch(TdConfig::new(MEASUREMENT), at()).unwrap();
    let tdx = guest.attest(&expected.report_data).unwrap();
    let endorsements = Endorsements { tdx: Some(guest.collateral(at()).unwrap()), ..none() };
    assert_eq!(failed(judge(&tdx, &endorsements, snp_policy().into(), &expected)), ["family_denied"]);
}

#[test]
fn a_tdx_guest_is_accepted_with_its_collateral_and_its_event_log() {
    let boot = Boot { kernel: b"kernel".to_vec(), command_line: "quiet".into(), initrd: b"initrd".to_vec() };
    let registers = Registers::Log(EventLog::boot(&boot));
    let guest = TdxGuest::launch(TdConfig { registers, ..TdConfig::new(MEASUREMENT) }, at()).unwrap();
    let expected = binding().expected();
    let evidence = guest.attest(&expected.report_data).unwrap();
    let collateral = guest.collateral(at()).unwrap();
    let endorsements = Endorsements { tdx: Some(collateral), ..none() };
    let policy = || AppraisalPolicy {
        event_log: Some(event_log::Policy::strict()),
        ..tdx::Policy::strict(vec![MEASUREMENT]).into()
    };
    let accepted = judge(&evidence, &endorsements, policy(), &expected).unwrap();
    assert_eq!((accepted.measurement(), accepted.simulated()), (MEASUREMENT, true));
    // Collateral lives for weeks, certificates for years: the earliest end counts.
    assert!(accepted.expires() < at().plus_seconds(60 * 86_400), "{}", accepted.expires());

    // A log that nobody compared says nothing, so nobody gets it.
    assert!(accepted.claims().event_log.is_some());
    let unasked = judge(&evidence, &endorsements, tdx::Policy::strict(vec![MEASUREMENT]).into(), &expected);
    assert!(unasked.unwrap().claims().event_log.is_none());

    let mut without = evidence.clone();
    without.event_log = None;
    assert_eq!(failed(judge(&without, &endorsements, policy(), &expected)), ["eventlog_missing"]);
    let mut other = evidence.clone();
    let changed = Boot { command_line: "debug".into(), ..boot };
    other.event_log = Some(anchorhold_rats::Der(EventLog::boot(&changed).encode()));
    let codes = failed(judge(&other, &endorsements, policy(), &expected));
    assert!(!codes.is_empty() && codes.iter().all(|code| code == "eventlog_replay"), "{codes:?}");
    assert_eq!(failed(judge(&evidence, &none(), policy(), &expected)), ["tdx_collateral_missing"]);
}

#[test]
fn a_guest_with_a_gpu_is_accepted_when_both_name_each_other() {
    let (evidence, binding) = with_gpu(&device(), &binding().gpu_nonce());
    let policy = AppraisalPolicy { gpu: Some(gpu_policy()), ..snp_policy().into() };
    let accepted = judge(&evidence, &none(), policy, &binding.expected()).unwrap();
    assert_eq!(accepted.claims().gpus.len(), 1);
}

#[test]
fn case_03_refuses_gpu_evidence_of_another_guest() {
    let (device, policy) = (device(), || AppraisalPolicy { gpu: Some(gpu_policy()), ..snp_policy().into() });
    // Made for another guest's keys: the TEE vouches for it, the device does not know this guest.
    let other = KeyBinding { tls_key: Sha256Digest::new([9; 32]), ..binding() };
    let (evidence, binding) = with_gpu(&device, &other.gpu_nonce());
    assert_eq!(failed(judge(&evidence, &none(), policy(), &binding.expected())), ["nvidia_nonce"]);
    // Exchanged after the TEE signed: the relying party computes the binding from what it received.
    let (mut evidence, binding) = with_gpu(&device, &self::binding().gpu_nonce());
    evidence.gpus = vec![device.evidence(&self::binding().gpu_nonce()).unwrap()];
    let binding = KeyBinding { gpu_evidence: evidence.gpu_digest(), ..binding };
    assert_eq!(failed(judge(&evidence, &none(), policy(), &binding.expected())), ["snp_report_data"]);
    // No nonce is expected, so nothing says that the device's report is fresh.
    let expected = Expected { gpu_nonce: None, ..with_gpu(&device, &Nonce::new([0; 32])).1.expected() };
    let (evidence, _) = with_gpu(&device, &Nonce::new([0; 32]));
    let codes = failed(judge(&evidence, &none(), policy(), &expected));
    assert!(codes.contains(&"nvidia_nonce".to_owned()), "{codes:?}");
}

#[test]
fn devices_are_there_if_and_only_if_the_policy_names_them() {
    let (evidence, binding) = with_gpu(&device(), &binding().gpu_nonce());
    let expected = binding.expected();
    assert_eq!(failed(judge(&evidence, &none(), snp_policy().into(), &expected)), ["family_denied"]);
    let expected = self::binding().expected();
    let evidence = snp_evidence(&expected.report_data);
    let policy = AppraisalPolicy { gpu: Some(gpu_policy()), ..snp_policy().into() };
    assert_eq!(failed(judge(&evidence, &none(), policy, &expected)), ["family_missing"]);
}

/// A guest below a paravisor: the nonce is in the TPM's quote.
fn below_paravisor(nonce: &ReportData) -> Evidence {
    let paravisor = SoftwareParavisor::new().unwrap();
    let mut evidence = snp_evidence(&paravisor.report_data());
    evidence.paravisor = Some(paravisor.attest(Tee::Snp, &evidence.report, nonce.as_bytes()).unwrap());
    evidence
}

#[test]
fn below_a_paravisor_the_nonce_is_the_tpms_and_the_policy_names_the_paravisor() {
    let expected = binding().expected();
    let evidence = below_paravisor(&expected.report_data);
    let pcrs = (0..24).map(|pcr| (pcr, vec![[0; 32]])).collect();
    let policy = || AppraisalPolicy { paravisor: Some(azure::Policy::strict(pcrs)), ..snp_policy().into() };
    let policy = policy();
    let accepted = judge(&evidence, &none(), policy.clone(), &expected).unwrap();
    assert_eq!(accepted.claims().paravisor.as_ref().unwrap().pcrs().len(), 24);

    let old = below_paravisor(&ReportData::new([8; 64]));
    assert_eq!(failed(judge(&old, &none(), policy.clone(), &expected)), ["azure_nonce"]);
    assert_eq!(failed(judge(&evidence, &none(), snp_policy().into(), &expected)), ["family_denied"]);
    let direct = snp_evidence(&expected.report_data);
    assert_eq!(failed(judge(&direct, &none(), policy, &expected)), ["family_missing"]);
}

#[test]
fn case_05_no_family_accepts_a_simulated_root_unless_it_was_named() {
    let (evidence, binding) = with_gpu(&device(), &binding().gpu_nonce());
    let expected = binding.expected();
    let policy = AppraisalPolicy { gpu: Some(gpu_policy()), ..snp_policy().into() };
    let refused = authenticate(&evidence, &none(), &anchors(), at())
        .and_then(|authentic| appraise(authentic, &policy, &expected));
    assert_eq!(failed(refused), ["nvidia_simulated", "snp_simulated"]);
    let refused = authenticate(&evidence, &none(), &TrustAnchors::production(), at()).unwrap_err();
    let codes: Vec<_> = refused.checks().failed().map(|check| check.code.to_string()).collect();
    assert!(codes.contains(&"snp_no_trust_anchor".to_owned()), "{codes:?}");
    assert!(codes.contains(&"nvidia_no_trust_anchor".to_owned()), "{codes:?}");
}

#[test]
fn below_foreign_roots_names_may_say_nothing_and_still_not_something_else() {
    use anchorhold_attester::software::certificate::{Template, name};
    use anchorhold_attester::software::tdx::intel_name;
    let foreign = |foreign| {
        let roots = SimulatedRoots {
            amd: Some(simulated_ark_der()),
            intel: Some(simulated_intel_root_der()),
            foreign,
            ..SimulatedRoots::default()
        };
        dangerous::simulated_anchors(&roots).unwrap()
    };
    let codes = |anchors: &TrustAnchors, evidence: &Evidence, endorsements: &Endorsements| {
        authenticate(evidence, endorsements, anchors, at())
            .map_or_else(|refusal| refusal.code().to_owned(), |_| String::new())
    };
    let snp = |subject: Vec<u8>| {
        let mut guest = SoftwareGuest::launch(LaunchConfig::new(MEASUREMENT), at()).unwrap();
        let template = Template { subject, ..guest.template().clone() };
        guest.certify(template).unwrap();
        guest.attest(&ReportData::new([9; 64])).unwrap()
    };
    let tdx = |subject: Vec<u8>| {
        let mut guest = TdxGuest::launch(TdConfig::new(MEASUREMENT), at()).unwrap();
        let template = Template { subject, ..guest.template().clone() };
        guest.certify(template).unwrap();
        let endorsements = Endorsements { tdx: Some(guest.collateral(at()).unwrap()), ..none() };
        (guest.attest(&ReportData::new([9; 64])).unwrap(), endorsements)
    };
    let own = snp(name("A test's own chip key"));
    assert_eq!(codes(&foreign(false), &own, &none()), "snp_leaf_kind");
    assert_eq!(codes(&foreign(true), &own, &none()), "");
    assert_eq!(codes(&foreign(true), &snp(name("SEV-VLEK")), &none()), "snp_leaf_kind");
    let (own, endorsements) = tdx(intel_name("A test's own PCK"));
    assert_eq!(codes(&foreign(false), &own, &endorsements), "tdx_leaf_name");
    assert_eq!(codes(&foreign(true), &own, &endorsements), "");
    let (other, endorsements) = tdx(intel_name("Intel SGX TCB Signing"));
    assert_eq!(codes(&foreign(true), &other, &endorsements), "tdx_leaf_name");
}

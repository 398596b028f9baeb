//! Refusals of the policy. Each board passes the unchanged policy except for one value.

use crate::forge::*;
use crate::forge_ocsp::*;
use crate::forge_rim::Rim;
use crate::support::*;
use anchorhold_rats::{Der, GpuEvidence, Nonce, Outcome, Stage};
use anchorhold_verifier::nvidia::{
    Architecture, AuthenticDevice, BoardSize, Input, Mode, Pdi, Policy, appraise, authenticate,
};
use anchorhold_verifier::{Accepted, Refusal, dangerous};

/// One GPU, its manifests and good answers about all certificates.
struct Board {
    devices: Vec<GpuEvidence>,
    rims: Vec<Der>,
    ocsp: Vec<Der>,
}

fn board(device: &Device) -> Board {
    let mut ocsp = answers(device);
    ocsp.push(about_rim_signer(good()));
    Board { devices: vec![device.evidence()], rims: vec![Rim::driver().sign(), Rim::vbios().sign()], ocsp }
}

fn policy() -> Policy {
    let architectures = vec![Architecture::Hopper];
    dangerous::allow_simulated(Policy::strict(
        Mode::SinglePassthrough,
        BoardSize { gpus: 1, switches: 0 },
        architectures,
    ))
}

fn with(edit: impl FnOnce(&mut Policy)) -> Policy {
    let mut policy = policy();
    edit(&mut policy);
    policy
}

type Judged = Result<Accepted<Vec<AuthenticDevice>>, Refusal>;

fn judged(board: &Board, policy: &Policy, nonce: Option<&Nonce>) -> Judged {
    let input = Input { devices: &board.devices, rims: &board.rims, ocsp: &board.ocsp };
    let evidence = authenticate(&input, &anchors(), now()).unwrap_or_else(|refusal| panic!("{refusal}"));
    appraise(evidence, policy, nonce)
}

/// The codes with which the board is refused.
fn refusal(board: &Board, policy: &Policy) -> Vec<String> {
    failed(judged(board, policy, Some(&NONCE)))
}

fn control() -> Board {
    board(&Device::gpu(1))
}

#[test]
fn accepts_the_control_and_says_what_it_saw() {
    let result = judged(&control(), &policy(), Some(&NONCE)).unwrap();
    assert!(result.simulated());
    assert!(result.checks().none_failed());
    let device = &result.claims()[0];
    assert_eq!(
        (device.pdi(), device.missing_rims().len(), device.answers().len()),
        (Pdi([0, 0, 0, 0, 0, 0, 0, 1]), 0, 5)
    );
    let measured = result
        .checks()
        .all()
        .iter()
        .filter(|check| check.code == "rim_measurement" && check.outcome == Outcome::Passed);
    assert_eq!(measured.count(), 20);
    assert_eq!(result.expires(), now().plus_seconds(3600));
}

#[test]
fn refuses_simulated_roots_unless_told() {
    let strict = Policy::strict(
        Mode::SinglePassthrough,
        BoardSize { gpus: 1, switches: 0 },
        vec![Architecture::Hopper],
    );
    assert_eq!(refusal(&control(), &strict), ["nvidia_simulated"]);
}

#[test]
fn case_07_refuses_a_stale_nonce_and_devices_that_nobody_expects() {
    let refused = judged(&control(), &policy(), Some(&Nonce::new([1; 32]))).unwrap_err();
    assert_eq!((refused.stage(), refused.code()), (Stage::Binding, "nvidia_nonce"));
    assert_eq!(failed(judged(&control(), &policy(), None)), ["nvidia_nonce"]);
}

#[test]
fn case_07_refuses_other_counts() {
    let count = |gpus, switches| with(|policy| policy.board = BoardSize { gpus, switches });
    assert_eq!(refusal(&control(), &count(2, 0)), ["nvidia_gpu_count"]);
    assert_eq!(refusal(&control(), &count(0, 0)), ["nvidia_gpu_count"]);
    assert_eq!(refusal(&control(), &count(1, 1)), ["nvidia_switch_count"]);
    let empty = Board { devices: vec![], rims: vec![], ocsp: vec![] };
    assert_eq!(refusal(&empty, &policy()), ["nvidia_gpu_count"]);
    assert_eq!(failed(judged(&empty, &count(0, 0), None)), [""; 0]);
}

#[test]
fn refuses_architectures_that_the_policy_does_not_name() {
    let other = with(|policy| policy.allowed_architectures = vec![Architecture::Blackwell]);
    assert_eq!(refusal(&control(), &other), ["nvidia_architecture_denied"]);
    let none = with(|policy| policy.allowed_architectures.clear());
    assert_eq!(refusal(&control(), &none), ["nvidia_architecture_denied"]);
}

#[test]
fn case_07_refuses_another_mode_than_the_expected_one() {
    for (flag, codes) in [(0, &[][..]), (1, &["nvidia_mode"]), (2, &["nvidia_mode"])] {
        assert_eq!(refusal(&board(&Device::gpu(1).set(36, &[flag, 0])), &policy()), codes);
    }
    let multi = with(|policy| policy.mode = Mode::MultiPassthrough);
    assert_eq!(refusal(&board(&Device::gpu(1).set(36, &[1, 0])), &multi), [""; 0]);
    assert_eq!(refusal(&control(), &multi), ["nvidia_mode"]);
}

#[test]
fn refuses_reports_without_a_mode_unless_the_policy_allows_them() {
    let silent = board(&Device::gpu(1).without(36));
    assert_eq!(refusal(&silent, &policy()), ["nvidia_mode"]);
    let lenient = with(|policy| policy.allow_missing_feature_flag = true);
    assert_eq!(refusal(&silent, &lenient), [""; 0]);
    assert_eq!(refusal(&board(&Device::gpu(1).without(36).without(21)), &lenient), [""; 0]);
    assert_eq!(
        refusal(&board(&Device::gpu(1).without(36).set(21, &[0xaa])), &lenient),
        ["nvidia_protected_pcie"]
    );
    assert_eq!(refusal(&board(&Device::gpu(1).set(36, &[2, 0])), &lenient), ["nvidia_mode"]);
}

#[test]
fn refuses_protected_pcie_that_is_not_as_the_mode_says() {
    assert_eq!(refusal(&board(&Device::gpu(1).set(21, &[0xaa])), &policy()), ["nvidia_protected_pcie"]);
    assert_eq!(refusal(&board(&Device::gpu(1).without(21)), &policy()), [""; 0]);
    let protected = with(|policy| {
        policy.mode = Mode::ProtectedPcie;
        policy.allow_missing_feature_flag = true;
    });
    for (device, code) in [
        (Device::gpu(1).set(36, &[2, 0]), Some("nvidia_protected_pcie")),
        (Device::gpu(1).set(36, &[2, 0]).without(21), Some("nvidia_protected_pcie")),
        (Device::gpu(1).without(36).without(21), Some("nvidia_protected_pcie")),
        (Device::gpu(1).without(36).set(21, &[0xaa]), None),
    ] {
        assert_eq!(refusal(&board(&device), &protected), code.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn refuses_reports_that_do_not_state_their_firmware_unless_allowed() {
    let silent = board(&Device::gpu(1).without(20));
    assert_eq!(refusal(&silent, &policy()), ["nvidia_fwid_missing"]);
    assert_eq!(refusal(&silent, &with(|policy| policy.allow_missing_fwid = true)), [""; 0]);
}

#[test]
fn refuses_versions_below_the_minimum_or_not_named() {
    let driver = |text: &str| text.parse().unwrap();
    for (minimum, codes) in
        [("590.12", &[][..]), ("590.11.99", &[]), ("590.12.01", &["nvidia_driver_minimum"])]
    {
        let policy = with(|policy| policy.min_driver_version = Some(driver(minimum)));
        assert_eq!(refusal(&control(), &policy), codes, "{minimum}");
    }
    let vbios = |text: &str| text.parse().unwrap();
    for (minimum, codes) in [("96.00.A5.00.01", &[][..]), ("96.00.A5.00.02", &["nvidia_vbios_minimum"])] {
        let policy = with(|policy| policy.min_vbios_version = Some(vbios(minimum)));
        assert_eq!(refusal(&control(), &policy), codes, "{minimum}");
    }
    let named = |drivers: &[&str]| {
        with(|policy| policy.allowed_drivers = Some(drivers.iter().map(|text| driver(text)).collect()))
    };
    assert_eq!(refusal(&control(), &named(&["580.95", "590.12"])), [""; 0]);
    assert_eq!(refusal(&control(), &named(&["580.95"])), ["nvidia_driver_not_allowed"]);
    assert_eq!(refusal(&control(), &named(&[])), ["nvidia_driver_not_allowed"]);
}

#[test]
fn refuses_devices_that_are_denied_or_not_allowed() {
    let (this, other) = (Pdi(1_u64.to_be_bytes()), Pdi(2_u64.to_be_bytes()));
    assert_eq!(
        refusal(&control(), &with(|policy| policy.denied_devices = vec![other, this])),
        ["nvidia_device_denied"]
    );
    assert_eq!(refusal(&control(), &with(|policy| policy.denied_devices = vec![other])), [""; 0]);
    assert_eq!(
        refusal(&control(), &with(|policy| policy.allowed_devices = Some(vec![other, this]))),
        [""; 0]
    );
    let not_this = with(|policy| policy.allowed_devices = Some(vec![other]));
    assert_eq!(refusal(&control(), &not_this), ["nvidia_device_not_allowed"]);
}

#[test]
fn refuses_missing_manifests_unless_told() {
    for rims in [vec![], vec![Rim::driver().sign()], vec![Rim::vbios().sign()]] {
        let board = Board { rims, ..control() };
        assert_eq!(refusal(&board, &policy()), ["nvidia_rim_missing"]);
        assert_eq!(refusal(&board, &with(|policy| policy.require_rims = false)), [""; 0]);
    }
}

#[test]
fn refuses_missing_answers_unless_told() {
    let whole = control();
    for place in 0..whole.ocsp.len() {
        let mut board = control();
        board.ocsp.remove(place);
        assert_eq!(refusal(&board, &policy()), ["nvidia_ocsp_missing"], "{place}");
        assert_eq!(refusal(&board, &with(|policy| policy.ocsp.require = false)), [""; 0]);
    }
}

#[test]
fn refuses_answers_older_than_the_policy_allows() {
    assert_eq!(refusal(&control(), &with(|policy| policy.ocsp.max_age_seconds = 3600)), [""; 0]);
    let codes = refusal(&control(), &with(|policy| policy.ocsp.max_age_seconds = 3599));
    assert_eq!(codes, ["nvidia_ocsp_age"; 5]);
    let strict = with(|policy| policy.ocsp.max_age_seconds = 3599);
    let refused = judged(&control(), &strict, Some(&NONCE)).unwrap_err();
    for (check, subject) in
        refused.checks().failed().zip(["the device's", "the device's", "the device's", "its manifests'"])
    {
        assert!(check.wanted.contains(&format!("an answer about {subject} ")), "{}", check.wanted);
    }
}

#[test]
fn a_hold_of_a_device_and_of_a_manifest_are_allowed_apart() {
    let device = Device::gpu(1);
    let [brom, ..] = intermediates(&device);
    let mut held = board(&device);
    held.ocsp[0] = Answer { status: revoked(Some(6)), ..Answer::good(brom) }.sign();
    let mut held_rim = board(&device);
    held_rim.ocsp[3] = about_rim_signer(revoked(Some(6)));
    let allow = with(|policy| policy.ocsp.allow_hold = true);
    let allow_rim = with(|policy| policy.ocsp.allow_hold_rim = true);
    assert_eq!(refusal(&held, &policy()), ["nvidia_ocsp_hold"]);
    assert_eq!(refusal(&held, &allow_rim), ["nvidia_ocsp_hold"]);
    assert_eq!(refusal(&held, &allow), [""; 0]);
    // Both manifests have one signer.
    assert_eq!(refusal(&held_rim, &policy()), ["nvidia_ocsp_hold"; 2]);
    assert_eq!(refusal(&held_rim, &allow), ["nvidia_ocsp_hold"; 2]);
    assert_eq!(refusal(&held_rim, &allow_rim), [""; 0]);
}

#[test]
fn reports_every_rule_that_failed() {
    let policy = with(|policy| {
        policy.mode = Mode::MultiPassthrough;
        policy.board.gpus = 8;
        policy.denied_devices = vec![Pdi(1_u64.to_be_bytes())];
    });
    assert_eq!(
        failed(judged(&control(), &policy, None)),
        ["nvidia_gpu_count", "nvidia_nonce", "nvidia_device_denied", "nvidia_mode"]
    );
}

//! The whole path over the simulator's devices: a second writer of every format that is read here.

use crate::forge::{NONCE, now};
use crate::support::*;
use anchorhold_attester::software::gpu::{
    Board, Chip, Edition, GpuConfig, GpuDevice, RimSigner, RimTemplate, simulated_nvidia_device_root_der,
    simulated_nvidia_rim_root_der,
};
use anchorhold_rats::{Der, GpuEvidence};
use anchorhold_verifier::nvidia::{
    Architecture, AuthenticDevice, BoardSize, Input, Mode, Policy, appraise, authenticate,
};
use anchorhold_verifier::{Accepted, Refusal, TrustAnchors, dangerous};

fn anchors() -> TrustAnchors {
    let roots = dangerous::SimulatedRoots {
        nvidia_device: Some(simulated_nvidia_device_root_der()),
        nvidia_rim: Some(simulated_nvidia_rim_root_der()),
        ..Default::default()
    };
    dangerous::simulated_anchors(&roots).unwrap()
}

fn judged(
    devices: &[GpuEvidence],
    (rims, ocsp): (&[Der], &[Der]),
    policy: Policy,
) -> Result<Accepted<Vec<AuthenticDevice>>, Refusal> {
    let evidence = authenticate(&Input { devices, rims, ocsp }, &anchors(), now())?;
    appraise(evidence, &dangerous::allow_simulated(policy), Some(&NONCE))
}

fn whole_board() -> Policy {
    let architectures = vec![Architecture::Hopper, Architecture::Ls10];
    Policy::strict(Mode::ProtectedPcie, BoardSize { gpus: 8, switches: 4 }, architectures)
}

#[test]
fn accepts_a_board_with_every_rule_in_force() {
    let board = Board::make().unwrap();
    let (devices, (rims, mut ocsp)) = (board.evidence(&NONCE).unwrap(), board.rims(now()).unwrap());
    ocsp.extend(board.ocsp(now()).unwrap());
    let result = judged(&devices, (&rims, &ocsp), whole_board());
    let result = result.unwrap_or_else(|refusal| panic!("{refusal}"));
    assert_eq!(result.claims().len(), 12);
    let skipped: Vec<_> = result
        .checks()
        .all()
        .iter()
        .filter(|check| check.outcome == anchorhold_rats::Outcome::Skipped)
        .map(|check| check.code.as_ref())
        .filter(|code| code.contains("ocsp") || code.contains("rim_") || code.contains("topology"))
        .collect();
    // The decoder of each GPU is off, so its measurement says nothing.
    assert_eq!(skipped, ["rim_measurement"; 8]);
}

#[test]
fn case_07_refuses_a_board_with_a_device_of_another_board() {
    let (board, other) = (Board::make().unwrap(), Board::make().unwrap());
    let mut devices = board.evidence(&NONCE).unwrap();
    devices[4] = other.gpus[4].evidence(&NONCE).unwrap();
    let mut policy = whole_board();
    policy.require_rims = false;
    policy.ocsp.require = false;
    let codes = failed(judged(&devices, (&[], &[]), policy));
    let (gpu, switches) = ("nvidia_topology_switches", ["nvidia_topology_gpus"; 4]);
    assert_eq!(codes, [&[gpu][..], &switches].concat());
}

#[test]
fn accepts_single_devices_of_each_chip_with_their_manifests() {
    for (chip, architecture, editions) in [
        (Chip::Gh100, Architecture::Hopper, &[Edition::Driver, Edition::Vbios][..]),
        (Chip::Gb100, Architecture::Blackwell, &[Edition::Driver, Edition::Vbios]),
        (Chip::Ls10, Architecture::Ls10, &[Edition::SwitchBios]),
    ] {
        let device = GpuDevice::make(GpuConfig::new(chip, [7; 8])).unwrap();
        let signer = RimSigner::make(chip, now()).unwrap();
        let rim = |edition: &Edition| {
            Der(signer.sign(&RimTemplate::of(device.config(), *edition).document()).unwrap())
        };
        let rims: Vec<_> = editions.iter().map(rim).collect();
        let ocsp = [device.ocsp(now()).unwrap(), signer.ocsp(now()).unwrap()].concat();
        let board = if chip == Chip::Ls10 {
            BoardSize { gpus: 0, switches: 1 }
        } else {
            BoardSize { gpus: 1, switches: 0 }
        };
        let policy = Policy::strict(Mode::SinglePassthrough, board, vec![architecture]);
        let devices = [device.evidence(&NONCE).unwrap()];
        let result = judged(&devices, (&rims, &ocsp), policy);
        let result = result.unwrap_or_else(|refusal| panic!("{chip:?}: {refusal}"));
        assert_eq!(result.claims()[0].pdi().0, [7; 8]);
    }
}

#[test]
fn case_06_refuses_simulated_devices_under_the_vendors_root() {
    let device = GpuDevice::make(GpuConfig::new(Chip::Gh100, [7; 8])).unwrap();
    let codes = failed(judge(&[device.evidence(&NONCE).unwrap()], &TrustAnchors::production(), now()));
    assert_eq!(codes, ["nvidia_no_trust_anchor"]);
}

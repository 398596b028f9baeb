//! The links of a board against its certified devices.

use crate::forge::*;
use crate::support::*;
use anchorhold_rats::{GpuEvidence, Nonce};
use anchorhold_verifier::nvidia::{Architecture, BoardSize, Mode, Policy, appraise};
use anchorhold_verifier::{TrustAnchors, dangerous};

fn policy(gpus: usize, switches: usize) -> Policy {
    let architectures = vec![Architecture::Hopper, Architecture::Ls10];
    let mut policy = Policy::strict(Mode::ProtectedPcie, BoardSize { gpus, switches }, architectures);
    policy.require_rims = false;
    policy.ocsp.require = false;
    dangerous::allow_simulated(policy)
}

fn codes(devices: &[Device], policy: &Policy) -> Vec<String> {
    let devices: Vec<_> = devices.iter().map(Device::evidence).collect();
    let evidence = judge(&devices, &anchors(), now()).unwrap_or_else(|refusal| panic!("{refusal}"));
    failed(appraise(evidence, policy, Some(&NONCE)))
}

const GPUS: [u64; 8] = [0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0xfe00_0000_0000_0018];
const SWITCHES: [u64; 4] = [0x21, 0x22, 0x23, 0x0800_edd9_1ab3_3e20];

fn whole() -> Vec<Device> {
    let gpus = GPUS.iter().map(|gpu| Device::gpu(*gpu).linked(&SWITCHES));
    gpus.chain(SWITCHES.iter().map(|switch| Device::switch(*switch, &GPUS))).collect()
}

#[test]
fn accepts_a_whole_board() {
    assert_eq!(codes(&whole(), &policy(8, 4)), [""; 0]);
}

#[test]
fn case_07_refuses_a_board_without_one_of_its_devices() {
    let mut devices = whole();
    devices.remove(3);
    assert_eq!(codes(&devices, &policy(7, 4)), ["nvidia_topology_gpus"; 4]);
    let mut devices = whole();
    devices.pop();
    assert_eq!(codes(&devices, &policy(8, 3)), ["nvidia_topology_switches"; 8]);
}

#[test]
fn case_07_refuses_a_device_of_another_board() {
    let mut devices = whole();
    devices[0] = Device::gpu(0x99).linked(&SWITCHES);
    assert_eq!(codes(&devices, &policy(8, 4)), ["nvidia_topology_gpus"; 4]);
    let mut devices = whole();
    devices[11] = Device::switch(0x98, &GPUS);
    assert_eq!(codes(&devices, &policy(8, 4)), ["nvidia_topology_switches"; 8]);
}

#[test]
fn refuses_one_device_that_states_other_links() {
    let mut devices = whole();
    devices[2] = Device::gpu(GPUS[2]).linked(&SWITCHES[..3]);
    assert_eq!(codes(&devices, &policy(8, 4)), ["nvidia_topology_switches"]);
    devices[2] = Device::gpu(GPUS[2]).linked(&[SWITCHES.as_slice(), &[0x97]].concat());
    assert_eq!(codes(&devices, &policy(8, 4)), ["nvidia_topology_switches"]);
    devices[2] = Device::gpu(GPUS[2]).linked(&SWITCHES).without(22);
    assert_eq!(codes(&devices, &policy(8, 4)), ["nvidia_topology_switches"]);
    let mut devices = whole();
    devices[9] = Device::switch(SWITCHES[1], &GPUS[..7]);
    assert_eq!(codes(&devices, &policy(8, 4)), ["nvidia_topology_gpus"]);
}

#[test]
fn refuses_switches_in_the_byte_order_of_their_certificates() {
    let mut devices = whole();
    let links: Vec<u8> = SWITCHES.iter().cycle().take(18).flat_map(|pdi| pdi.to_be_bytes()).collect();
    devices[0] = Device::gpu(GPUS[0]).linked(&SWITCHES).set(22, &links);
    assert_eq!(codes(&devices, &policy(8, 4)), ["nvidia_topology_switches"]);
}

#[test]
fn no_links_at_all_do_not_stand_for_all_links() {
    let lone = [Device::gpu(1).linked(&[0])];
    assert_eq!(codes(&lone, &policy(1, 0)), ["nvidia_topology_switches"]);
    let lone = [Device::switch(9, &[])];
    assert_eq!(codes(&lone, &policy(0, 1)), ["nvidia_topology_gpus"]);
}

#[test]
fn refuses_a_switch_bios_below_the_minimum() {
    let mut policy = policy(8, 4);
    policy.min_switch_bios_version = Some("96.10.55.00.01".parse().unwrap());
    assert_eq!(codes(&whole(), &policy), [""; 0]);
    policy.min_switch_bios_version = Some("96.10.56.00.00".parse().unwrap());
    assert_eq!(codes(&whole(), &policy), ["nvidia_switch_bios_minimum"; 4]);
}

#[test]
fn links_count_where_the_policy_asks_for_them() {
    let mut policy = policy(1, 0);
    assert!(policy.require_topology);
    policy.require_topology = false;
    assert_eq!(codes(&[Device::gpu(1).linked(&SWITCHES)], &policy), [""; 0]);
    let single = Policy::strict(Mode::SinglePassthrough, BoardSize { gpus: 1, switches: 0 }, vec![]);
    assert!(!single.require_topology);
}

#[test]
fn refuses_a_real_board_whose_switches_did_not_come() {
    let Some(devices) = board("multi_gpu_hopper.json") else { return };
    let at = at("2026-03-01T00:00:00Z");
    let judged = |devices: &[GpuEvidence], policy: &Policy| {
        let evidence = judge(devices, &TrustAnchors::production(), at).unwrap();
        let nonce: Nonce =
            "e97b23a1718095a0e9e35edca810768c70a6a5a389b705e753b197912bc11576".parse().unwrap();
        failed(appraise(evidence, policy, Some(&nonce)))
    };
    assert_eq!(judged(&devices, &policy(4, 0)), ["nvidia_topology_switches"; 4]);
    let mut parts = policy(4, 0);
    parts.require_topology = false;
    assert_eq!(judged(&devices, &parts), [""; 0]);
    let fresh =
        failed(appraise(judge(&devices, &TrustAnchors::production(), at).unwrap(), &parts, Some(&NONCE)));
    assert_eq!(fresh, ["nvidia_nonce"; 4]);
}

#[test]
fn a_link_to_nothing_is_no_link() {
    let gpus = [0x11, 0x12];
    let switches = [0x21, 0x22];
    // Both kinds of device have places for more links than there are, and leave them zero.
    let gpu = |gpu: u64| Device::gpu(gpu).linked(&[0x21, 0x22, 0, 0]);
    let switch = |switch: u64| Device::switch(switch, &[0x11, 0, 0x12, 0, 0, 0, 0, 0]);
    let devices: Vec<Device> = gpus.into_iter().map(gpu).chain(switches.into_iter().map(switch)).collect();
    assert_eq!(codes(&devices, &policy(2, 2)), [""; 0]);
}

//! Boards in NVIDIA's JSON.

use super::manifest::Manifests;
use super::policy::profile;
use super::{NONCE, at, pem};
use crate::writer::{Case, Suite};
use anchorhold_attester::software::gpu::{
    Board, Chip, Edition, GpuConfig, GpuDevice, GpuHierarchy, RimTemplate, SwitchLinks,
    simulated_nvidia_device_root_der, simulated_nvidia_rim_root_der,
};
use anchorhold_rats::{GpuEvidence, Nonce};
use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::sync::Arc;

const FIRST: [u8; 8] = [0x5a, 1, 1, 1, 1, 1, 1, 1];
const SECOND: [u8; 8] = [0x5a, 2, 2, 2, 2, 2, 2, 2];
const SWITCH: [u8; 8] = [0x5a, 3, 3, 3, 3, 3, 3, 3];
const ON: u8 = 0xaa;
const PROTECTED_PCIE: u16 = 2;

/// The profile of a board with protected PCIe, with these changes.
fn rules(changes: &[(&str, &str)]) -> String {
    let board = [
        ("mode", "\"protected-pcie\""),
        ("gpus", "2"),
        ("switches", "1"),
        ("architectures", "[\"hopper\", \"ls10\"]"),
        ("require_topology", "true"),
    ];
    profile(&[&board, changes].concat())
}

pub(super) fn write(suite: &mut Suite) -> anyhow::Result<()> {
    let board = Board::make()?.evidence(&NONCE)?;
    let whole = profile_of_hgx();
    let hgx = case_of(&board, &NONCE)?.file("profile", whole);
    suite.add("nvidia-board-good-hgx", hgx, "a whole board: eight GPUs and four switches")?;
    let bad = Case::new("nvidia").file("evidence", "[{}]").file("root", simulated_nvidia_device_root_der());
    suite.add("nvidia-board-json", bad.refused("parse", "vectors_board"), "not NVIDIA's JSON")?;
    small(suite)
}

fn profile_of_hgx() -> String {
    rules(&[("gpus", "8"), ("switches", "4")])
}

/// Two GPUs and the switch between them.
fn small(suite: &mut Suite) -> anyhow::Result<()> {
    let (of_gpus, of_switches) =
        (Arc::new(GpuHierarchy::make(Chip::Gh100)?), Arc::new(GpuHierarchy::make(Chip::Ls10)?));
    let gpu = |pdi, link| GpuDevice::make_below(&of_gpus, gpu(pdi, link));
    let (first, second) = (gpu(FIRST, SWITCH)?, gpu(SECOND, SWITCH)?);
    let switch = GpuDevice::make_below(&of_switches, switch())?;
    let [one, two, between] = [first.evidence(&NONCE)?, second.evidence(&NONCE)?, switch.evidence(&NONCE)?];

    let board = case_of(&[one.clone(), two.clone(), between.clone()], &NONCE)?;
    let judged = |changes: &[(&str, &str)]| board.clone().file("profile", rules(changes));
    suite.add("nvidia-board-good", judged(&[]), "two GPUs and the switch between them")?;
    let case = judged(&[("min_switch_bios_version", "\"96.10.55.00.02\"")]);
    suite.add(
        "nvidia-board-switch-bios",
        case.refused("tcb", "nvidia_switch_bios_minimum"),
        "a switch BIOS below the minimum",
    )?;
    let case = judged(&[("switches", "4")]).refused("policy", "nvidia_switch_count");
    suite.add("nvidia-board-switch-count", case, "three switches are missing")?;
    let case = judged(&[("mode", "\"multi\"")]).refused("policy", "nvidia_mode");
    suite.add("nvidia-board-mode", case, "the links are not encrypted, as another mode would have them")?;
    manifests(suite, &first, &switch, &board)?;

    let fewer = case_of(&[one.clone(), between.clone()], &NONCE)?.file("profile", rules(&[("gpus", "1")]));
    suite.add(
        "nvidia-board-gpu-missing",
        fewer.refused("binding", "nvidia_topology_gpus"),
        "the switch is linked to a GPU that is not in the evidence",
    )?;
    let stray = gpu(SECOND, [9; 8])?.evidence(&NONCE)?;
    let case = case_of(&[one.clone(), stray, between.clone()], &NONCE)?.file("profile", rules(&[]));
    suite.add(
        "nvidia-board-switch-missing",
        case.refused("binding", "nvidia_topology_switches"),
        "a GPU is linked to a switch that is not in the evidence",
    )?;
    let case = case_of(&[one.clone(), one.clone(), between.clone()], &NONCE)?.file("profile", rules(&[]));
    suite.add(
        "nvidia-board-gpu-twice",
        case.refused("identity", "nvidia_duplicate_device"),
        "one GPU stands for two",
    )?;
    let late = second.evidence(&Nonce::new([0x4f; 32]))?;
    let case = case_of(&[one, late, between], &NONCE)?.file("profile", rules(&[]));
    suite.add("nvidia-board-nonce", case.refused("binding", "nvidia_nonce"), "one GPU answers another nonce")
}

/// The board with manifests for all of its firmware.
fn manifests(suite: &mut Suite, gpu: &GpuDevice, switch: &GpuDevice, board: &Case) -> anyhow::Result<()> {
    let made = Manifests::make(gpu.config(), at()?)?;
    let bios = RimTemplate::of(switch.config(), Edition::SwitchBios);
    let case = board
        .clone()
        .file("rim-1", made.driver.clone())
        .file("rim-2", made.vbios.clone())
        .file("rim-3", made.sign(&bios)?)
        .file("rimroot", simulated_nvidia_rim_root_der())
        .file("profile", rules(&[("require_rims", "true")]));
    suite.add("nvidia-board-good-rims", case.clone(), "manifests for driver, VBIOS and switch BIOS")?;
    let fewer = case.clone().without("rim-3").refused("rim", "nvidia_rim_missing");
    suite.add("nvidia-board-rim-missing", fewer, "no manifest for the switch")?;
    let mut other = bios;
    let value = other.resources.get_mut(30).and_then(|resource| resource.hashes.first_mut());
    *value.context("no value to change")? = "7".repeat(96);
    let case = case.file("rim-3", made.sign(&other)?).refused("rim", "rim_measurement");
    suite.add("nvidia-board-switch-measurement", case, "the switch measured something else")
}

fn gpu(pdi: [u8; 8], mut link: [u8; 8]) -> GpuConfig {
    link.reverse();
    let mut config = GpuConfig::new(Chip::Gh100, pdi);
    config.protected_pcie = Some(ON);
    config.feature = Some(PROTECTED_PCIE);
    config.links = Some([link; 18]);
    config
}

fn switch() -> GpuConfig {
    let mut gpus = [[0; 8]; 8];
    gpus.iter_mut().zip([FIRST, SECOND]).for_each(|(place, pdi)| *place = pdi);
    let mut ports = [0xff; 64];
    ports.iter_mut().take(36).zip((0..2).cycle()).for_each(|(port, gpu)| *port = gpu);
    let mut config = GpuConfig::new(Chip::Ls10, SWITCH);
    config.switch = Some(SwitchLinks { gpus, ports, position: 0 });
    config
}

/// The devices as NVIDIA's tools write them.
fn case_of(devices: &[GpuEvidence], nonce: &Nonce) -> anyhow::Result<Case> {
    let list: Vec<_> = devices
        .iter()
        .map(|device| {
            let chain: Vec<_> = device.certificates.iter().map(|der| der.0.clone()).collect();
            json!({
                "arch": "HOPPER",
                "certificate": STANDARD.encode(pem(&chain)),
                "evidence": STANDARD.encode(&device.report),
                "nonce": nonce.to_string(),
            })
        })
        .collect();
    Ok(Case::new("nvidia")
        .file("evidence", serde_json::to_vec(&list)?)
        .file("root", simulated_nvidia_device_root_der()))
}

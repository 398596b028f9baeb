//! A key broker for trials without a TEE: it accepts the software attester's roots and no others. Whoever has the
//! source can forge that evidence, so the keys that it releases are not protected.

use anchorhold_attester::software::gpu::{simulated_nvidia_device_root_der, simulated_nvidia_rim_root_der};
use anchorhold_attester::software::simulated_ark_der;
use anchorhold_attester::software::tdx::simulated_intel_root_der;
use anchorhold_verifier::dangerous::{self, SimulatedRoots};
use std::io::Write as _;
use std::process::ExitCode;

const NAME: &str = "anchorhold-key-broker-simulated";
const BANNER: &str = "\
**********************************************************************
*  SIMULATED: this broker trusts the software attester's roots.      *
*  Anybody can forge its evidence. It protects nothing.              *
**********************************************************************";

fn main() -> ExitCode {
    let mut stderr = std::io::stderr();
    let _ = writeln!(stderr, "{BANNER}");
    let roots = SimulatedRoots {
        intel: Some(simulated_intel_root_der()),
        nvidia_device: Some(simulated_nvidia_device_root_der()),
        nvidia_rim: Some(simulated_nvidia_rim_root_der()),
        ..SimulatedRoots::amd(simulated_ark_der())
    };
    match dangerous::simulated_anchors(&roots) {
        Ok(anchors) => anchorhold_key_broker::command::run(NAME, anchors),
        Err(error) => {
            let _ = writeln!(stderr, "{NAME}: error: {error}");
            ExitCode::FAILURE
        }
    }
}

//! A key broker for trials without SEV-SNP: it accepts the software attester's root and no other. Whoever has the
//! source can forge that evidence, so the keys that it releases are not protected.

use anchorhold_verifier::dangerous::{self, SimulatedRoots};
use std::io::Write as _;
use std::process::ExitCode;

const NAME: &str = "anchorhold-key-broker-simulated";
const BANNER: &str = "\
**********************************************************************
*  SIMULATED: this broker trusts the software attester's root.       *
*  Anybody can forge its evidence. It protects nothing.              *
**********************************************************************";

fn main() -> ExitCode {
    let mut stderr = std::io::stderr();
    let _ = writeln!(stderr, "{BANNER}");
    match dangerous::simulated_anchors(&SimulatedRoots::amd(
        anchorhold_attester::software::simulated_ark_der(),
    )) {
        Ok(anchors) => anchorhold_key_broker::command::run(NAME, anchors),
        Err(error) => {
            let _ = writeln!(stderr, "{NAME}: error: {error}");
            ExitCode::FAILURE
        }
    }
}

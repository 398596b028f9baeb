//! `anchorhold-gpu-attester`: has this machine's GPUs report for the keeper's nonces. See the crate.

use anchorhold_gpu_attester::{Program, live};

fn main() -> std::process::ExitCode {
    live(Program::Attester)
}

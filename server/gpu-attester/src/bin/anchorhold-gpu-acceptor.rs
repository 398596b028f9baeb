//! `anchorhold-gpu-acceptor`: lets GPUs in confidential mode take work, and ends. See the crate.

use anchorhold_gpu_attester::{Program, live};

fn main() -> std::process::ExitCode {
    live(Program::Acceptor)
}

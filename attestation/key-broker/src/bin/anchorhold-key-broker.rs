//! The key broker. Evidence must end in AMD's roots; there is no setting for it.

use anchorhold_verifier::TrustAnchors;
use std::process::ExitCode;

fn main() -> ExitCode {
    anchorhold_key_broker::command::run("anchorhold-key-broker", TrustAnchors::production())
}

//! A policy is loosened only through `dangerous`.

use anchorhold_verifier::AppraisalPolicy;

pub fn loosen(policy: &mut AppraisalPolicy) {
    policy.relaxations.simulated = true;
}

fn main() {}

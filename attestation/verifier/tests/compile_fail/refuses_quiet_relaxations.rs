//! A policy is loosened only through `dangerous`.

use anchorhold_verifier::snp::Policy;
use anchorhold_verifier::{Relax, Relaxations};

pub fn loosen(policy: &mut Policy) {
    policy.relaxations.simulated = true;
}

pub fn loosen_by_hand(policy: &mut Policy) {
    policy.relax(|relaxations: &mut Relaxations| relaxations.simulated = true);
}

fn main() {}

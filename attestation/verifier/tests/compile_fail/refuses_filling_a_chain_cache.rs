//! A chain that was not verified cannot be remembered.

use anchorhold_rats::Sha256Digest;
use anchorhold_verifier::snp::ChainCache;

pub fn fill(cache: &ChainCache) {
    cache.keep(Sha256Digest::new([0; 32]));
}

fn main() {}

//! Release policies. What is accepted has at least one grant, and each has rules for a platform and names images, levels and
//! signers.
#![no_main]

use anchorhold_key_release::ReleasePolicy;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(policy) = ReleasePolicy::from_toml(text) else { return };
    assert!(!policy.grants().is_empty() || !policy.resources().is_empty());
    for grant in policy.grants() {
        let mut platforms = policy.appraisals(grant).peekable();
        assert!(platforms.peek().is_some() && !grant.measurements().is_empty());
        for snp in platforms.filter_map(|platform| platform.snp.as_ref()) {
            assert!(!snp.measurements.is_empty());
            assert!(!snp.allowed_vmpls.is_empty() && !snp.allowed_signers.is_empty());
            let floors = snp.min_tcb;
            assert!(floors.milan.is_some() || floors.genoa.is_some() || floors.turin.is_some());
        }
    }
    for grant in policy.resources() {
        assert!(!grant.measurements().is_empty() && !grant.paths().is_empty());
    }
});

//! Release policies. What is accepted names at least one grant, and each names images and machines.
#![no_main]

use anchorhold_key_release::ReleasePolicy;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(policy) = ReleasePolicy::from_toml(text) {
        assert!(!policy.grants().is_empty());
        for grant in policy.grants() {
            let appraisal = grant.appraisal().snp.as_ref().expect("a grant has rules for SEV-SNP");
            assert!(!appraisal.measurements.is_empty());
            assert!(!appraisal.allowed_vmpls.is_empty() && !appraisal.allowed_signers.is_empty());
            let floors = appraisal.min_tcb;
            assert!(floors.milan.is_some() || floors.genoa.is_some() || floors.turin.is_some());
        }
    }
});

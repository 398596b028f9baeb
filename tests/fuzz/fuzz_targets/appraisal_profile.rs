//! Appraisal profiles and machine lists: a profile that is read is written out and read back as the same policies.
#![no_main]

use anchorhold_appraisal_policy::{AppraisalProfile, FileKind, MachineList};
use anchorhold_fuzz::edit::Script;
use anchorhold_fuzz::now;
use anchorhold_verifier::AppraisalPolicy;
use libfuzzer_sys::fuzz_target;

const PROFILES: [&str; 4] = [
    include_str!("../../../policies/appraisal/snp-bare-metal.toml"),
    include_str!("../../../policies/appraisal/tdx-bare-metal.toml"),
    include_str!("../../../policies/appraisal/gpu-hgx-ppcie.toml"),
    include_str!("../../../policies/appraisal/snp-azure.toml"),
];

const MACHINES: &str = concat!(
    "format = 1\nid = \"machines\"\nversion = 3\nissued = \"2026-07-01T00:00:00Z\"\n",
    "expires = \"2026-09-01T00:00:00Z\"\ndescription = \"ours\"\nkind = \"allow\"\n\n[[machine]]\n",
    "tdx_platform = \"000102030405060708090a0b0c0d0e0f\"\nreason = \"ours\"\nsince = \"2026-07-01T00:00:00Z\"\n"
);

fuzz_target!(|input: &[u8]| {
    let mut script = Script(input);
    let kind = script.byte();
    let good = match kind % 6 {
        0 => "",
        1 => MACHINES,
        other => PROFILES[usize::from(other - 2)],
    };
    let text = script.edited_text(good);
    let _ = FileKind::of(&text);
    if let Ok(list) = MachineList::from_toml(&text) {
        let mut policy = AppraisalPolicy::default();
        let _ = list.apply(&mut policy, now());
        assert_eq!(policy, AppraisalPolicy::default(), "a list of machines accepts a family");
        assert!(!list.rules().is_empty());
    }
    if let Ok(profile) = AppraisalProfile::from_toml(&text) {
        let written = profile.to_toml();
        let again =
            AppraisalProfile::from_toml(&written).unwrap_or_else(|error| panic!("{error}\n{written}"));
        assert_eq!(again.appraisal(), profile.appraisal(), "{written}");
        assert_eq!(again.rules(), profile.rules());
    }
});

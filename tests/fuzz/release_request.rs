//! The body of `POST /v1/release`, through reading, verification and decision. Nothing that a fuzzer writes is
//! signed by AMD, so no request may be granted.
#![no_main]

use anchorhold_key_release::{Given, PseudonymKey, ReleasePolicy, ReleaseRequest, WeightsKeyImport, decide};
use anchorhold_rats::{Secret, Timestamp};
use anchorhold_verifier::TrustAnchors;
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static POLICY: LazyLock<ReleasePolicy> = LazyLock::new(|| {
    ReleasePolicy::from_toml(include_str!("../../policies/release/two-teams.toml"))
        .expect("the example is accepted")
});
static ANCHORS: LazyLock<TrustAnchors> = LazyLock::new(TrustAnchors::production);
static PSEUDONYMS: LazyLock<PseudonymKey> = LazyLock::new(|| PseudonymKey::new(&Secret::take(&mut [1; 32])));

fuzz_target!(|json: &[u8]| {
    if let Ok(request) = ReleaseRequest::from_json(json) {
        let given = Given {
            anchors: &ANCHORS,
            endorsements: request.endorsements(),
            models: &[],
            pseudonyms: &PSEUDONYMS,
            at: Timestamp::from_unix_seconds(1_780_000_000),
        };
        let refusal = decide(&POLICY, &request, &given).expect_err("nobody signed this");
        assert!(!refusal.platform_accepted());
    }
    if let Ok(import) = WeightsKeyImport::from_json(json) {
        assert_eq!(WeightsKeyImport::from_json(&import.to_json()), Ok(import));
    }
});

//! The bodies of `POST /v1/release` and `POST /v1/lease/end`, through reading, verification and decision. Nothing that a fuzzer
//! writes is signed by AMD or by a guest's log, so no request may be granted and no lease ended.
#![no_main]

use anchorhold_audit_log::{PublicKey, VerifierKey};
use anchorhold_key_release::{
    Given, LeaseEnd, PseudonymKey, ReleasePolicy, ReleaseRequest, WeightsKeyImport, decide,
};
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
            models: &|| &[],
            pseudonyms: &PSEUDONYMS,
            at: Timestamp::from_unix_seconds(1_780_000_000),
        };
        let refusal = decide(&POLICY, &request, &given).expect_err("nobody signed this");
        assert!(!refusal.platform_accepted());
    }
    if let Ok(end) = LeaseEnd::from_json(json)
        && let Ok(key) = VerifierKey::new(end.log_origin(), PublicKey::new([3; 32]))
    {
        end.verify(&key).expect_err("nobody signed this");
    }
    if let Ok(import) = WeightsKeyImport::from_json(json) {
        assert_eq!(WeightsKeyImport::from_json(&import.to_json()), Ok(import));
    }
});

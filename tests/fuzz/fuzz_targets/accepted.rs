//! What a relying party accepts, as Python and browsers hand it over: any text is refused or read, and what was read gives rules to judge
//! by or says why not. Simulated roots count only where the text names some.
#![no_main]

use anchorhold_rats::Timestamp;
use anchorhold_relying_party::Accepted;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(accepted) = Accepted::from_json(text) else { return };
    let Ok(trust) = accepted.trust(Timestamp::from_unix_seconds(1_780_000_000)) else { return };
    assert_eq!(trust.anchors.are_simulated(), accepted.dangerous_simulated_roots.is_some());
    assert!(
        !accepted.measurements.is_empty() || accepted.profile.is_some(),
        "something is accepted that nobody named"
    );
});

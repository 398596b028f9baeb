//! What `anchorhold top` reads from a server that it only pins: any text is refused or read, and every question about what was read has
//! an answer or none.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "the program asks it more")]
mod top {
    #[path = "../../../../attestation/anchorhold/src/commands/top/samples.rs"]
    mod samples;

    pub(crate) fn ask(text: &str) {
        let Ok(samples) = samples::Samples::parse(text) else { return };
        let name = text.split(['{', ' ', '\n']).next().unwrap_or_default();
        let by = samples.by(name, "model");
        if let Some(sum) = samples.sum(name, None) {
            assert!(by.is_empty() || sum.is_nan() || by.len() <= text.lines().count());
        }
        let family = name.strip_suffix("_bucket").unwrap_or(name);
        for quantile in [0.0, 0.5, 0.99, 1.0] {
            if let Some(value) = samples.quantile(family, ("model", "m"), quantile) {
                assert!(!value.is_infinite(), "{value}");
            }
        }
    }
}

fuzz_target!(|input: &[u8]| {
    if let Ok(text) = std::str::from_utf8(input) {
        top::ask(text);
    }
});

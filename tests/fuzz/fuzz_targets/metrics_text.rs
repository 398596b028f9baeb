//! What `anchorhold top` reads from a server that it only pins: any text is refused or read, and every question about what was read has
//! an answer or none.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../attestation/anchorhold/src/commands/top/samples.rs"]
#[allow(dead_code, reason = "the program asks it more")]
mod samples;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(samples) = samples::Samples::parse(text) else { return };
    let name = text.split(['{', ' ', '\n']).next().unwrap_or_default();
    assert!(samples.by(name, "model").len() <= text.lines().count());
    let _ = samples.sum(name, Some(("model", "m")));
    let family = name.strip_suffix("_bucket").unwrap_or(name);
    for quantile in [0.0, 0.5, 0.99, 1.0] {
        let _ = samples.quantile(family, ("model", "m"), quantile);
    }
});

//! The `config.json` of every family: refused, or within the limits of what is computed.
#![no_main]

use anchorhold_model::fuzzing::model_config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _refused = model_config(bytes);
});

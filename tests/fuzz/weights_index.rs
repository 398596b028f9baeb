//! `model.safetensors.index.json`.
#![no_main]

use anchorhold_sealed_weights::WeightsIndex;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(index) = WeightsIndex::parse(data) {
        assert_eq!(WeightsIndex::parse(data), Ok(index));
    }
});

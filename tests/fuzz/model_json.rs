//! The JSON files and texts of a model. What is accepted is JSON for another reader too.
#![no_main]

use anchorhold_sealed_weights::{Role, fuzzing};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: (u8, &[u8])| {
    let (role, bytes) = data;
    let role = Role::NAMED[usize::from(role) % Role::NAMED.len()];
    if fuzzing::model_file(role, bytes).is_ok() && role != Role::ChatTemplate {
        assert!(serde_json::from_slice::<serde_json::Value>(bytes).is_ok());
    }
});

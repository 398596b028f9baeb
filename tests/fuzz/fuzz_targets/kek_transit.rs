//! Answers of a transit engine, of every kind and with every status.
#![no_main]

use anchorhold_key_broker::kek::transit::{
    ApiPath, ciphertext, key_state, lease, plaintext, refusal, renewed,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(sealed) = ciphertext(bytes) {
        assert!(sealed.version > 0 && sealed.bytes.starts_with(b"vault:v") && sealed.bytes.len() <= 4096);
    }
    if let Ok(plain) = plaintext(bytes) {
        assert!(plain.len() < bytes.len());
    }
    if let Ok(version) = key_state(bytes).and_then(|state| state.version()) {
        assert!(version > 0);
    }
    for lease in [lease(bytes), renewed(bytes)].into_iter().flatten() {
        assert!(lease.renew_after().is_none_or(|wait| wait.as_secs() <= 86_400));
    }
    for status in [301, 400, 403, 404, 429, 500, 503] {
        let _ = refusal(status, bytes, 1);
    }
    let _ = std::str::from_utf8(bytes).map(str::parse::<ApiPath>);
});

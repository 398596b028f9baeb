//! What lies beside an encrypted log for its readers, which a host can write, and a reader's own key: any bytes are refused, or are read and
//! write themselves again; what was read opens or says why not.
#![no_main]

use anchorhold_log_key::{KeyCopies, ReaderKey};
use anchorhold_rats::{Kem, Secret};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(copies) = KeyCopies::from_json(input) {
        assert_eq!(copies.to_json(), input);
        let reader = ReaderKey::from_seed(Kem::X25519, Secret::take(&mut [7; 32]));
        // Whoever encrypts to a known key may have made a copy of it.
        let _ = copies.open(&reader);
    }
    if let Ok(text) = std::str::from_utf8(input)
        && let Ok(key) = ReaderKey::from_text(text)
    {
        assert_eq!(*key.to_text(), text);
    }
});

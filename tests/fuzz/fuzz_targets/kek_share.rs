//! Shares of a key-encryption key: what is read is written the same, and shares never give another key.
#![no_main]

use anchorhold_key_broker::kek::share::{Scheme, Share, combine, split};
use anchorhold_rats::Secret;
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static SHARES: LazyLock<Vec<Share>> = LazyLock::new(|| {
    let scheme = Scheme::new(2, 4).unwrap();
    split(&"file-1".parse().unwrap(), &Secret::take(&mut [7; 32]), scheme).unwrap()
});

fuzz_target!(|text: &str| {
    let _ = text.parse::<Scheme>().map(|scheme| assert!(scheme.threshold() >= 2 && scheme.total() <= 32));
    let Ok(share) = Share::from_text(text) else { return };
    assert_eq!(share.to_text().as_str(), text);
    let _ = combine(std::slice::from_ref(&share));
    if let Ok((_, key)) = combine(&[share, SHARES[0].clone()]) {
        assert_eq!(key, Secret::take(&mut [7; 32]));
    }
});

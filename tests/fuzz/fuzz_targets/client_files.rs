//! What a client keeps: any bytes are refused as a bundle and as a history, or are read, and a bundle that was read writes itself
//! again. The keys of receipts and the names of hosts are read strictly.
#![no_main]

use anchorhold_client::proxy::Hosts;
use anchorhold_client::receipts::receipt_key;
use anchorhold_client::{AttestationBundle, History};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(bundle) = AttestationBundle::from_json(input) {
        let written = bundle.to_json().expect("what was read is within its limits");
        assert_eq!(AttestationBundle::from_json(&written), Ok(bundle));
    }
    if let Ok(summary) = History::check(input) {
        let lines = input.split_inclusive(|byte| *byte == b'\n').count() as u64;
        assert!(summary.entries < lines.max(1), "the first line is no entry");
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Some(key) = receipt_key(text) {
        let hex: String = key.expose().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, text);
    }
    if Hosts::loopback().allow(text) {
        let host = text.to_ascii_lowercase();
        let names = ["localhost", "127.", "[::1]", "[::ffff:", "[0"];
        assert!(names.iter().any(|name| host.starts_with(name)), "{host}");
        assert!(!host.contains('@'));
    }
});

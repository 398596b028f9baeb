//! Files of API keys and credentials: any bytes are refused as a file of keys, or are read and written again; no text but a key of
//! our form has that form.
#![no_main]

use anchorhold_api_keys::{KeyFile, Label, MAX_KEYS, Scope, TenantName, has_form};
use anchorhold_rats::Sha256Digest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(file) = KeyFile::parse(text) {
        assert!(file.keys().len() <= MAX_KEYS);
        let written = file.to_toml();
        assert_eq!(KeyFile::parse(&written).as_ref(), Ok(&file));
        let mut digests: Vec<_> = file.keys().iter().map(|key| key.sha256.to_string()).collect();
        digests.sort();
        digests.dedup();
        assert_eq!(digests.len(), file.keys().len(), "a digest twice");
    }
    if has_form(text) {
        assert_eq!(text.len(), 52);
        assert!(text.starts_with("ah-") && !text.contains(char::is_whitespace));
    }
    if let Ok(name) = text.parse::<TenantName>() {
        assert_eq!(name.to_string(), text);
    }
    if let Ok(label) = text.parse::<Label>() {
        assert_eq!(label.to_string(), text);
    }
    let _ = text.parse::<Scope>();
    let _ = text.parse::<Sha256Digest>();
});

//! `kek.toml` and what the command line asks of a running broker about its key-encryption keys.
#![no_main]

use anchorhold_key_broker::kek::settings::Settings;
use anchorhold_key_broker::kek_admin::KekRequest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(settings) = Settings::from_toml(text) {
        assert!(settings.kek(settings.primary()).is_some());
        assert!(settings.keks().len() <= 16);
    }
    let _ = serde_json::from_str::<KekRequest>(text);
});

//! Key configurations: what is read is written to something that is read as the same keys.
#![no_main]

use anchorhold_body_encryption::{
    MAX_KEY_CONFIGS, read_key_config, read_key_configs, write_key_config, write_key_configs,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(key) = read_key_config(bytes) {
        assert_eq!(read_key_config(&write_key_config(&key)), Ok(key));
    }
    if let Ok(keys) = read_key_configs(bytes) {
        assert!(!keys.is_empty() && keys.len() <= MAX_KEY_CONFIGS);
        let again = write_key_configs(&keys.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!(read_key_configs(&again), Ok(keys));
    }
});

//! What an archive reads beside entries: its description and the retention profiles. No input panics, a description has one spelling, and no
//! profile lets an entry go before its time.
#![no_main]

use anchorhold_audit_archive::{Description, Retention};
use anchorhold_audit_log::EventType;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(description) = Description::from_bytes(bytes) {
        assert_eq!(description.to_bytes(), bytes);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(retention) = Retention::from_json(text) else { return };
    for profile in &retention.profiles {
        let chosen = retention.select(&[profile.id.to_string()]).expect("a profile of the file");
        for kind in EventType::ALL {
            assert!(chosen.months(*kind) >= profile.months && chosen.ends_ns(*kind, 0) > 0);
        }
    }
});

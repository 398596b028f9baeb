//! Any bytes as a device's report, and any text as the evidence of NVIDIA's tools, are read without a panic.
#![no_main]

use anchorhold_fuzz::edit::raw_or_edited;
use anchorhold_fuzz::{accepted, made};
use anchorhold_verifier::nvidia::{MAX_DEVICES, Report, read_serialized};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static GOOD: LazyLock<(Vec<u8>, String)> = LazyLock::new(|| {
    let evidence = made::gpu().evidence(&made::NONCE).expect("evidence");
    let pem: String = evidence.certificates.iter().map(|der| made::pem(&der.0)).collect();
    let (report, pem) = (STANDARD.encode(&evidence.report), STANDARD.encode(pem));
    let nonce = "05".repeat(32);
    let json =
        format!(r#"[{{"arch":"HOPPER","certificate":"{pem}","evidence":"{report}","nonce":"{nonce}"}}]"#);
    assert!(read_serialized(json.as_bytes()).is_ok(), "good evidence");
    (evidence.report, json)
});

fuzz_target!(|input: &[u8]| {
    let Some((kind, rest)) = input.split_first() else { return };
    if *kind == 1 {
        if let Ok(devices) = read_serialized(&raw_or_edited(rest, GOOD.1.as_bytes())) {
            assert!(devices.len() <= MAX_DEVICES);
        }
        return;
    }
    let bytes = raw_or_edited(rest, &GOOD.0);
    if let Some(report) = accepted(Report::parse(&bytes)) {
        assert_eq!(bytes.get(4..36), Some(&report.nonce.as_bytes()[..]));
    }
});

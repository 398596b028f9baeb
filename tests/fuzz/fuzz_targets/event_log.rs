//! Event logs, binary and of dstack: read without a panic, and only the digests of the good log give its registers.
#![no_main]

use anchorhold_attester::device::RuntimeLog;
use anchorhold_attester::software::tdx::{Boot, EventLog, replay};
use anchorhold_fuzz::edit::raw_or_edited;
use anchorhold_fuzz::{accepted, assert_named};
use anchorhold_rats::{RuntimeEvent, Sha256Digest};
use anchorhold_verifier::event_log::{MAX_EVENTS, MAX_LOG_BYTES, Policy, Replayed, appraise, dstack, read};
use libfuzzer_sys::fuzz_target;
use ring::digest::{SHA384, digest};
use std::path::Path;
use std::sync::LazyLock;

static GOOD: LazyLock<(Vec<u8>, Replayed, [[u8; 48]; 4])> = LazyLock::new(|| {
    let log = EventLog::boot(&Boot::default());
    let bytes = log.encode();
    let replayed = read(&bytes).expect("a good log");
    appraise(Some(&replayed), &replay(&log.events), &Policy::strict()).expect("an acceptable log");
    (bytes, replayed, replay(&log.events))
});

/// One event of the running guest.
static RUNTIME: LazyLock<RuntimeLog> = LazyLock::new(|| {
    let mut log = RuntimeLog::default();
    log.push(RuntimeEvent::model("acme/chat", 1, &Sha256Digest::new([7; 32])));
    log
});

/// A boot event, and a runtime event whose digest is right.
static DSTACK: LazyLock<String> = LazyLock::new(|| {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let runtime = hex(digest(&SHA384, &dstack::runtime_data("rootfs-hash", &[0, 0xff])).as_ref());
    let json = format!(
        concat!(
            r#"[{{"imr":0,"event_type":2147483659,"digest":"{}","event":"","event_payload":"095464785461626c65"}},"#,
            r#"{{"imr":3,"event_type":134217729,"digest":"{}","event":"rootfs-hash","event_payload":"00ff"}}]"#
        ),
        hex(&[7; 48]),
        runtime
    );
    assert!(dstack::read(json.as_bytes()).is_ok(), "a good log");
    json
});

fuzz_target!(|input: &[u8]| {
    let (good, replayed, registers) = &*GOOD;
    let Some((kind, rest)) = input.split_first() else { return };
    if *kind == 1 {
        if let Some(log) = accepted(dstack::read(&raw_or_edited(rest, DSTACK.as_bytes()))) {
            assert!(log.events().len() <= MAX_EVENTS);
        }
        return;
    }
    let firmware = raw_or_edited(rest, good);
    let longer = RUNTIME.behind(firmware.clone(), Path::new("CCEL"));
    let Some(log) = accepted(read(&firmware)) else { return };
    // A guest finds the end of every log that verifiers read, and what it adds there they read too.
    if firmware.len() < MAX_LOG_BYTES / 2 && log.events().len() < MAX_EVENTS / 2 {
        let longer = read(&longer.expect("an end")).expect("a log with one event more");
        assert_eq!(longer.events().len(), log.events().len() + 1);
    }
    assert!(log.events().len() <= MAX_EVENTS);
    let digests = |log: &Replayed| {
        log.events().iter().map(|event| (event.register(), *event.digest())).collect::<Vec<_>>()
    };
    let policy = Policy { require_secure_boot: *kind & 2 != 0, ..Policy::strict() };
    if let Some(checks) = accepted(appraise(Some(&log), registers, &policy)) {
        assert_eq!(digests(&log), digests(replayed), "another history gives the same registers");
        assert_named(&checks);
    }
});

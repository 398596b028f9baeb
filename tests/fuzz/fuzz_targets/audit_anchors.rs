//! The checkpoints that a log keeps along its way, in a file that a host can write and in bundles: no input panics, a file has one spelling, and
//! nothing that is not the log's is an anchor of it.
#![no_main]

use anchorhold_audit_log::anchors::{MAX_ANCHOR_BYTES, MAX_ANCHORS, from_file, to_file};
use anchorhold_audit_log::cosignature::WitnessKey;
use anchorhold_audit_log::{
    BootId, Check, Event, EventType, Expectations, ExportOptions, Log, Origin, Outcome, PublicKey, Signer,
    Stamp, Status, export, verify,
};
use libfuzzer_sys::fuzz_target;
use std::path::PathBuf;
use std::sync::LazyLock;

/// A log that anybody may add a file of anchors to.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("audit-anchors-{}", std::process::id()));
    let signer =
        Signer::from_seed(Origin::new("fuzz/1").expect("a name of a log"), &[1; 32]).expect("a seed");
    let at = Stamp { wall_ns: 1_780_000_000_000_000_000, mono_ns: 1 };
    let mut log = Log::create(&folder, signer, BootId::new([1; 16]), at).expect("a log can be made");
    log.append(&[Event::new(EventType::BootReady, Outcome::Success, at)]).expect("an entry can be written");
    log.close(at).expect("a log can be closed");
    folder
});

fuzz_target!(|input: &[u8]| {
    if let Some(notes) = from_file(input) {
        assert!(notes.len() <= MAX_ANCHORS && notes.iter().all(|note| note.len() <= MAX_ANCHOR_BYTES));
        assert_eq!(to_file(&notes).as_deref(), Some(input));
    }
    let folder = FOLDER.as_path();
    std::fs::write(folder.join("anchors"), input).expect("a file can be written");
    let mut bundle = Vec::new();
    if export(folder, &mut bundle, &ExportOptions::default()).is_err() {
        return;
    }
    let witness = WitnessKey::new("w.example", PublicKey::new([0x2b; 32])).expect("a name");
    let expectations = Expectations { clocks: vec![witness], ..Expectations::default() };
    let report = verify(bundle.as_slice(), &expectations).expect("reading a slice does not fail");
    // The log's key is known to the fuzzer's input only as a signature over its one checkpoint, and the witness's to nobody.
    assert_eq!(report.verdict(Check::Brackets).map(|verdict| verdict.status), Some(Status::NotApplicable));
});

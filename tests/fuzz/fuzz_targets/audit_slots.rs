//! The file with a log's two latest checkpoints, which a host can write: any bytes are refused, or say what the log's key signed.
#![no_main]

use anchorhold_audit_log::{BootId, Checkpoint, Log, LogReader, Origin, ReadError, Signer, Stamp};
use libfuzzer_sys::fuzz_target;
use std::path::PathBuf;
use std::sync::LazyLock;

const SLOTS: &str = "checkpoint.slots";

fn signer() -> Signer {
    Signer::from_seed(Origin::new("fuzz/1").expect("a name of a log"), &[1; 32]).expect("a seed")
}

/// A log of one entry.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("audit-slots-{}", std::process::id()));
    let at = Stamp { wall_ns: 0, mono_ns: 0 };
    drop(Log::create(&folder, signer(), BootId::new([2; 16]), at).expect("a log can be begun"));
    folder
});

fuzz_target!(|input: &[u8]| {
    let folder = FOLDER.as_path();
    std::fs::write(folder.join(SLOTS), input).expect("a file can be written");
    match LogReader::open(folder) {
        Ok(log) => match log.checkpoint() {
            Some(checkpoint) => {
                let signed = Checkpoint::verify(log.checkpoint_note(), signer().key());
                assert_eq!(signed.as_ref(), Ok(checkpoint));
                assert_eq!(checkpoint.head, log.head(), "no other checkpoint of this log was signed");
            }
            None => assert!(log.checkpoint_note().is_empty()),
        },
        Err(error) => {
            let is_refused =
                matches!(error, ReadError::Slots | ReadError::Checkpoint(_) | ReadError::Io { .. });
            assert!(is_refused, "{error}");
        }
    }
});

//! A segment of a log, which a host can write: any bytes are refused, or read as entries of one log in their order; with a key nothing
//! that was not encrypted under it is read.
#![no_main]

use anchorhold_audit_log::{Entry, LogPlace, LogReader, Origin, ReadError, ReadingKey, Signer};
use libfuzzer_sys::fuzz_target;
use std::path::PathBuf;
use std::sync::LazyLock;

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("audit-segment-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("entries")).expect("a folder can be made");
    let origin = Origin::new("fuzz/1").expect("a name of a log");
    let signer = Signer::from_seed(origin, &[1; 32]).expect("a seed");
    std::fs::write(folder.join("key.vkey"), format!("{}\n", signer.key())).expect("a file can be written");
    folder
});

fuzz_target!(|input: &[u8]| {
    let folder = FOLDER.as_path();
    std::fs::write(folder.join("entries/00000000.seg"), input).expect("a file can be written");
    match LogReader::open(folder) {
        Ok(log) => {
            let read = log.for_each_leaf::<ReadError>(log.head().size, |index, leaf| {
                assert_eq!(Entry::from_bytes(leaf).expect("it was read before").seq, index);
                Ok(())
            });
            assert!(read.is_ok() && log.checkpoint().is_none());
            assert!(log.torn_tail().is_none_or(|torn| torn.offset + torn.bytes == input.len() as u64));
        }
        Err(error) => assert!(!matches!(error, ReadError::Key | ReadError::Checkpoint(_)), "{error}"),
    }
    let key = ReadingKey::new(&[7; 32]);
    assert!(LogReader::open(LogPlace::encrypted(folder, &key)).is_err(), "nobody has the key");
});

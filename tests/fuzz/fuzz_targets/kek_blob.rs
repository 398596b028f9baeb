//! Wrapped secrets of a key broker's store: what is read is written the same, and opens only as it was made.
#![no_main]

use anchorhold_key_broker::kek::{Blob, KekError, Keyring, LocalKey, Member, Place};
use anchorhold_rats::Secret;
use libfuzzer_sys::fuzz_target;
use std::sync::{Arc, LazyLock};

const PLACE: Place<'static> = Place { kind: "weights key", name: b"fuzz" };

static RING: LazyLock<Keyring> = LazyLock::new(|| {
    let key = LocalKey::new(&Secret::take(&mut [7; 32]));
    Keyring::new(Member::local("file-1".parse().unwrap(), Arc::new(key)))
});

fuzz_target!(|bytes: &[u8]| {
    if let Ok(blob) = Blob::parse(bytes) {
        assert_eq!(blob.to_bytes(), bytes);
    }
    // Nobody can make one without the key.
    assert!(RING.unwrap(PLACE, bytes).is_err());
    // Changes of a good one, which the input lists as positions and values.
    let mut wrapped = RING.wrap(PLACE, &[9; 32]).unwrap();
    let good = wrapped.clone();
    for change in bytes.chunks_exact(2) {
        let at = usize::from(change[0]) % wrapped.len();
        wrapped[at] ^= change[1];
    }
    match RING.unwrap(PLACE, &wrapped) {
        Ok(plain) => assert!(wrapped == good && plain.as_slice() == [9; 32]),
        Err(
            KekError::Backend { .. } | KekError::Blob(_) | KekError::Unknown { .. } | KekError::Open { .. },
        ) => {}
        Err(other) => panic!("{other:?}"),
    }
});

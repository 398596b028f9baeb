//! Notes about verified segments: any bytes are the note of one object or none, and never claim a segment that it has not.
#![no_main]

use anchorhold_weights_store::SegmentMap;
use libfuzzer_sys::fuzz_target;
use ring::digest::{SHA256, digest};

const ROOT: [u8; 32] = [7; 32];

fuzz_target!(|input: &[u8]| {
    let Some((count, rest)) = input.split_first() else { return };
    let count = u64::from(*count) + 1;
    let empty = SegmentMap::new(ROOT, count);
    // As it is, as the bits of a good note, and as a whole note with the right sum.
    let good = empty.to_bytes();
    let bits = usize::try_from(count.div_ceil(8)).expect("small");
    let head = &good[..good.len() - 32 - bits];
    let with_sum = |body: &[u8]| [body, digest(&SHA256, body).as_ref()].concat();
    for note in [rest.to_vec(), with_sum(&[head, rest].concat()), with_sum(rest)] {
        let Ok(map) = SegmentMap::parse(&note, &empty) else { continue };
        assert_eq!(map.to_bytes(), note, "one note has one spelling");
        assert_eq!(map.count(), count);
        let verified = (0..u64::MAX).take(4096).filter(|index| map.has(*index)).count() as u64;
        assert_eq!(map.verified(), verified);
        assert!(verified <= count && map.is_full() == (verified == count));
    }
});

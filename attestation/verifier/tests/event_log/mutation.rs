//! No changed byte of a record that counts, and no cut, replays to the same registers; nothing panics.

use crate::support::*;
use anchorhold_verifier::event_log::{Policy, appraise, dstack, read};
use proptest::prelude::*;

#[test]
fn case_47_no_changed_bit_proves_other_data_or_another_history() {
    let whole = log(&boot());
    let good = replayed(&whole);
    for index in 0..whole.len() {
        for bit in 0..8 {
            let mut changed = whole.clone();
            changed[index] ^= 1 << bit;
            let Ok(replayed) = read(&changed) else { continue };
            if appraise(Some(&replayed), good.rtmrs(), &Policy::strict()).is_err() {
                continue;
            }
            // What is left: the unsigned type, data that is then unproved, and the errata of the header.
            for (event, other) in good.events().iter().zip(replayed.events()) {
                assert_eq!((event.register(), event.digest()), (other.register(), other.digest()));
                let unproved =
                    matches!(other.data(), anchorhold_verifier::event_log::EventData::Unproved { .. });
                assert!(unproved || event.data() == other.data(), "byte {index} bit {bit}");
            }
        }
    }
}

#[test]
fn case_47_no_cut_of_a_log_replays_to_its_registers() {
    let whole = log(&boot());
    let good = replayed(&whole);
    for length in 0..whole.len() {
        if let Ok(cut) = read(&whole[..length]) {
            assert!(appraise(Some(&cut), good.rtmrs(), &Policy::strict()).is_err(), "{length}");
        }
    }
}

proptest! {
    #[test]
    fn case_47_random_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(read(&bytes).is_err());
        prop_assert!(dstack::read(&bytes).is_err());
        let _ = read(&[header(), bytes].concat());
    }

    #[test]
    fn case_47_a_log_with_spliced_bytes_is_read_without_a_panic(
        at in 0_usize..700,
        splice in proptest::collection::vec(any::<u8>(), 1..40),
    ) {
        let whole = log(&boot());
        let good = replayed(&whole);
        let mut changed = whole.clone();
        let end = (at + splice.len()).min(whole.len());
        changed.splice(at.min(end)..end, splice);
        if let Ok(replayed) = read(&changed) {
            let digests = |events: &[anchorhold_verifier::event_log::Event]| {
                events.iter().map(|event| (event.register(), *event.digest())).collect::<Vec<_>>()
            };
            let same = digests(replayed.events()) == digests(good.events());
            prop_assert_eq!(replayed.rtmrs() == good.rtmrs(), same);
        }
    }
}

//! Decrypted cards, held against a manifest that lists the objects which the card names.
#![no_main]

use anchorhold_sealed_weights::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(card) = fuzzing::card(data) else { return };
    let weights = card.files().iter().filter(|file| file.role().as_str() == "weights");
    for (file, table) in weights.zip(card.index().files()) {
        let end = table.tensors().last().map_or(0, |tensor| tensor.end);
        assert!(table.data_start() + end <= file.len());
    }
    for (position, tensor) in card.index().tensors().enumerate() {
        assert_eq!(card.index().position(&tensor.name), Some(position));
    }
});

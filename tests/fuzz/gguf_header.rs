//! GGUF headers: as they are, and behind a genuine beginning, whatever length their file claims to have.
#![no_main]

use anchorhold_sealed_weights::{Gguf, GgufValue, MAX_GGUF_ARRAY_LEN, MAX_GGUF_TEXT_LEN};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: (u64, u8, u8, &[u8])| {
    let (claimed, tensors, keys, rest) = data;
    let counts = [u64::from(tensors), u64::from(keys)].map(u64::to_le_bytes).concat();
    let begun = [b"GGUF\x03\0\0\0", &counts[..], rest].concat();
    for head in [rest, &begun] {
        for file_len in [head.len() as u64, claimed] {
            check(head, file_len);
        }
    }
});

fn check(head: &[u8], file_len: u64) {
    let Ok(gguf) = Gguf::parse(head, file_len) else { return };
    let mut at = 0;
    for tensor in gguf.table().tensors() {
        assert!(tensor.begin >= at && tensor.end >= tensor.begin);
        let elements: u64 = tensor.shape.iter().product();
        assert_eq!(elements, tensor.elements());
        at = tensor.end;
    }
    assert!(gguf.table().data_start() + at <= file_len);
    for (key, value) in gguf.metadata() {
        assert!(gguf.get(key).is_some());
        match value {
            GgufValue::Text(text) => assert!(text.len() <= MAX_GGUF_TEXT_LEN),
            GgufValue::Array { count, bytes, .. } => {
                assert!(*count <= MAX_GGUF_ARRAY_LEN && bytes.len() <= head.len());
            }
            _ => {}
        }
    }
}

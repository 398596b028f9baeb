//! Safetensors headers, whatever length their file claims to have.
#![no_main]

use anchorhold_sealed_weights::parse_safetensors;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: (u64, &[u8])| {
    let (claimed, json) = data;
    let mut head = (json.len() as u64).to_le_bytes().to_vec();
    head.extend_from_slice(json);
    for file_len in [head.len() as u64 + claimed % 4096, claimed] {
        let Ok(table) = parse_safetensors(&head, file_len) else { continue };
        let mut at = 0;
        for tensor in table.tensors() {
            assert_eq!(tensor.begin, at);
            let elements: u64 = tensor.shape.iter().product();
            assert_eq!(elements, tensor.elements());
            at = tensor.end;
        }
        assert_eq!(table.data_start() + at, file_len);
    }
});

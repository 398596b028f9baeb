//! Certificates as hosts and vendors hand them out, SNP's table and PEM text: what is read lies inside the bytes, and is
//! within its limit.
#![no_main]

use anchorhold_fuzz::edit::raw_or_edited;
use anchorhold_fuzz::made;
use anchorhold_rats::CertificateTable;
use anchorhold_verifier::pem;
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

const LIMIT: usize = 4;

/// A table with a VCEK and an ASK of three bytes each, and two certificates as PEM.
static GOOD: LazyLock<(Vec<u8>, String)> = LazyLock::new(|| {
    let entry =
        |guid: &[u8; 16], offset: u32| [&guid[..], &offset.to_le_bytes(), &3_u32.to_le_bytes()].concat();
    let table = [
        entry(b"\x63\xda\x75\x8d\xe6\x64\x45\x64\xad\xc5\xf4\xb9\x3b\xe8\xac\xcd", 72),
        entry(b"\x4a\xb7\xb3\x79\xbb\xac\x4f\xe4\xa0\x2f\x05\xae\xf3\x27\xc7\x82", 75),
        vec![0; 24],
        vec![1, 2, 3, 4, 5, 6],
    ]
    .concat();
    assert_eq!(CertificateTable::parse(&table).expect("a good table").ask, Some(&[4, 5, 6][..]));
    let pem = [made::pem(&[1, 2, 3]), made::pem(&[4; 40])].concat();
    assert_eq!(pem::read(&pem, LIMIT).expect("good PEM").len(), 2);
    (table, pem)
});

fuzz_target!(|input: &[u8]| {
    let Some((kind, rest)) = input.split_first() else { return };
    if *kind == 1 {
        let bytes = raw_or_edited(rest, GOOD.1.as_bytes());
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(certificates) = pem::read(&text, LIMIT) {
            assert!(certificates.len() <= LIMIT);
            let again: String = certificates.iter().map(|der| made::pem(der)).collect();
            assert_eq!(pem::read(&again, LIMIT), Ok(certificates));
        }
        return;
    }
    let bytes = raw_or_edited(rest, &GOOD.0);
    if let Ok(table) = CertificateTable::parse(&bytes) {
        let read: usize = table.certificates().iter().map(|der| der.0.len()).sum();
        assert!(read < bytes.len() && table.certificates().len() <= 2);
    }
});

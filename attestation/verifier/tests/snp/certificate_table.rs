//! The table of certificates that a host gives with a report: one test for each refusal, and `sev` 8.0.0 as the writer.

use crate::support::*;
use anchorhold_rats::{CertificateTable, Evidence, TableError};
use proptest::prelude::*;
use sev::firmware::host::{CertTableEntry, CertType};
use sev::parser::ByteParser as _;

const ENTRY: usize = 24;
const VCEK: &str = "63da758de6644564adc5f4b93be8accd";
const VLEK: &str = "a8074bc2a25a483eaae639c045a0b8a1";
const ASK: &str = "4ab7b379bbac4fe4a02f05aef327c782";
/// A GUID that no certificate has.
const OTHER: &str = "fbb6ed74e73e44ab88934252792d737a";

fn entry(guid: &str, offset: usize, length: usize) -> Vec<u8> {
    let mut out: Vec<u8> =
        (0..16).map(|index| u8::from_str_radix(&guid[2 * index..2 * index + 2], 16).unwrap()).collect();
    out.extend(u32::try_from(offset).unwrap().to_le_bytes());
    out.extend(u32::try_from(length).unwrap().to_le_bytes());
    out
}

/// A table of these entries and 100 bytes of contents.
fn table(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut out = entries.concat();
    out.extend([0; ENTRY]);
    out.extend([7; 100]);
    out
}

fn refused(bytes: &[u8]) -> TableError {
    CertificateTable::parse(bytes).unwrap_err()
}

#[test]
fn reads_what_the_sev_crate_writes() {
    let other = CertType::from_bytes(&entry(OTHER, 0, 0)[..16]).unwrap();
    let kinds = [CertType::ARK, CertType::ASK, other, CertType::VCEK, CertType::CRL];
    let entries: Vec<_> = kinds
        .into_iter()
        .zip(1..)
        .map(|(kind, byte)| CertTableEntry::new(kind, vec![byte; usize::from(byte) * 100]))
        .collect();
    let mut bytes = CertTableEntry::cert_table_to_vec_bytes(&entries).unwrap();
    bytes.resize(bytes.len().next_multiple_of(4096), 0);
    let table = CertificateTable::parse(&bytes).unwrap();
    assert_eq!(table.ark, Some(&[1; 100][..]));
    assert_eq!(table.ask, Some(&[2; 200][..]));
    assert_eq!(table.vcek, Some(&[4; 400][..]));
    assert_eq!(table.crl, Some(&[5; 500][..]));
    assert_eq!(table.vlek, None);
    let vlek = CertTableEntry::new(CertType::VLEK, vec![6; 6]);
    let bytes = CertTableEntry::cert_table_to_vec_bytes(&[vlek]).unwrap();
    assert_eq!(CertificateTable::parse(&bytes).unwrap().vlek, Some(&[6; 6][..]));
}

#[test]
fn evidence_from_a_table_is_authentic() {
    let whole = evidence();
    let [leaf, ask] = &whole.certificates[..] else { panic!("two certificates") };
    let entries = [
        CertTableEntry::new(CertType::ASK, ask.0.clone()),
        CertTableEntry::new(CertType::ARK, b"a root that nobody looks at".to_vec()),
        CertTableEntry::new(CertType::VCEK, leaf.0.clone()),
    ];
    let bytes = CertTableEntry::cert_table_to_vec_bytes(&entries).unwrap();
    let certificates = CertificateTable::parse(&bytes).unwrap().certificates();
    assert_eq!(certificates, whole.certificates);
    authentic(&Evidence::snp(whole.report, certificates));
}

#[test]
fn a_table_without_a_leaf_gives_no_certificates() {
    let empty = CertificateTable::parse(&[0; ENTRY]).unwrap();
    assert_eq!((empty, empty.certificates()), (CertificateTable::default(), vec![]));
    let bytes = table(&[entry(ASK, 2 * ENTRY, 5)]);
    assert_eq!(CertificateTable::parse(&bytes).unwrap().certificates(), []);
}

#[test]
fn case_09_refuses_tables_without_an_end() {
    let whole = table(&[entry(VCEK, 2 * ENTRY, 5)]);
    for length in 0..2 * ENTRY {
        assert_eq!(refused(&whole[..length]), TableError::Unterminated, "{length}");
    }
    assert!(CertificateTable::parse(&whole).is_ok());
}

#[test]
fn case_09_refuses_tables_over_the_limits() {
    let mut bytes = table(&[]);
    bytes.resize(128 * 1024, 0);
    assert!(CertificateTable::parse(&bytes).is_ok());
    bytes.push(0);
    assert_eq!(refused(&bytes), TableError::TooLong { observed_bytes: 128 * 1024 + 1 });
    let many = |count: usize| {
        let entries: Vec<_> =
            (0..count).map(|index| entry(&format!("{index:032x}").replace('0', "f"), 0, 0)).collect();
        refused(&table(&entries))
    };
    assert_eq!(many(17), TableError::Entries);
    assert!(!matches!(many(16), TableError::Entries));
}

#[test]
fn case_09_refuses_contents_outside_the_table() {
    let length = table(&[vec![0xff; ENTRY]]).len();
    for (offset, size) in [
        (0, 10),
        (2 * ENTRY - 1, 10),
        (length, 1),
        (length - 1, 2),
        (length + 1, 1),
        (u32::MAX as usize, u32::MAX as usize),
    ] {
        let bytes = table(&[entry(OTHER, offset, size)]);
        assert_eq!(refused(&bytes), TableError::Bounds { entry: 0 }, "{offset} {size}");
    }
    assert!(CertificateTable::parse(&table(&[entry(VCEK, length - 1, 1)])).is_ok());
}

#[test]
fn case_09_refuses_empty_shared_and_repeated_entries() {
    let at = 3 * ENTRY;
    assert_eq!(refused(&table(&[entry(VCEK, at, 0)])), TableError::Empty { entry: 0 });
    for (offset, length) in [(at, 10), (at + 9, 1), (at + 5, 50), (at, 1)] {
        let bytes = table(&[entry(VCEK, at, 10), entry(ASK, offset, length)]);
        assert_eq!(refused(&bytes), TableError::Overlap { entry: 1 }, "{offset} {length}");
    }
    assert!(CertificateTable::parse(&table(&[entry(VCEK, at, 10), entry(ASK, at + 10, 10)])).is_ok());
    assert!(CertificateTable::parse(&table(&[entry(VCEK, at + 10, 10), entry(ASK, at, 10)])).is_ok());
    for guid in [VCEK, OTHER] {
        let bytes = table(&[entry(guid, at, 10), entry(guid, at + 10, 10)]);
        assert_eq!(refused(&bytes), TableError::Duplicate { entry: 1 });
    }
}

#[test]
fn case_05_refuses_a_table_with_both_kinds_of_leaf() {
    let bytes = table(&[entry(VCEK, 3 * ENTRY, 10), entry(VLEK, 3 * ENTRY + 10, 10)]);
    assert_eq!(refused(&bytes), TableError::TwoLeaves);
}

#[test]
fn guids_with_their_first_parts_reversed_are_unknown() {
    let microsoft = "8d75da6364e66445adc5f4b93be8accd";
    let bytes = table(&[entry(microsoft, 2 * ENTRY, 10)]);
    assert_eq!(CertificateTable::parse(&bytes).unwrap(), CertificateTable::default());
}

proptest! {
    #[test]
    fn case_47_random_tables_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = CertificateTable::parse(&bytes);
    }

    #[test]
    fn case_47_what_is_read_lies_in_the_table(
        offset in 0_usize..300,
        length in 0_usize..300,
        second in 0_usize..300,
    ) {
        let bytes = table(&[entry(VCEK, offset, length), entry(ASK, second, 5)]);
        if let Ok(table) = CertificateTable::parse(&bytes) {
            prop_assert_eq!(table.vcek, bytes.get(offset..offset + length));
            prop_assert_eq!(table.ask, bytes.get(second..second + 5));
        }
    }
}

//! MRTD and the first events of RTMR0.

use crate::support::{Vector, changed};
use anchorhold_measure::Error;
use anchorhold_measure::tdx::{
    AcpiDigests, MAX_MEMORY_BYTES, PageOrder, extended, memory_list_digest, mrtd, rtmr0, variables_digest,
};
use anchorhold_rats::hex;

/// Where `make.py` puts the TDX metadata, and the sections in it.
const METADATA: usize = 0x400;
const SECTIONS: usize = METADATA + 16;
const SECTION_BYTES: usize = 32;

#[test]
fn equals_what_dstack_mr_computes() {
    let vector = Vector::read();
    let said = &vector.said["tdx"];
    let of = |order| mrtd(&vector.firmware, order).unwrap().to_string();
    assert_eq!(of(PageOrder::PageByPage), said["page_by_page"]);
    assert_eq!(of(PageOrder::SectionBySection), said["section_by_section"]);
    assert_ne!(said["page_by_page"], said["section_by_section"]);
    let lists = said["memory_lists"].as_array().unwrap();
    assert_eq!(lists.len(), 9);
    for list in lists {
        let digest = memory_list_digest(&vector.firmware, list["memory_bytes"].as_u64().unwrap()).unwrap();
        assert_eq!(hex(&digest), list["digest"], "{list}");
    }
}

#[test]
fn case_44_every_measured_byte_of_the_firmware_changes_mrtd() {
    let vector = Vector::read();
    let good = mrtd(&vector.firmware, PageOrder::PageByPage).unwrap();
    for offset in [0, 0xff, 0x7ff, 0x1000, 0x1fff] {
        let other = vector.changed(offset, &[vector.firmware[offset] ^ 1]);
        assert_ne!(mrtd(&other, PageOrder::PageByPage).unwrap(), good, "{offset:#x}");
    }
    let variables = variables_digest(&vector.firmware).unwrap();
    assert_ne!(variables_digest(&vector.changed(0x17f, &[0])).unwrap(), variables);
    assert_eq!(variables_digest(&vector.changed(0x180, &[0])).unwrap(), variables);
}

#[test]
fn refuses_metadata_that_no_hypervisor_obeys() {
    let vector = Vector::read();
    let of = |offset, bytes: &[u8]| mrtd(&vector.changed(offset, bytes), PageOrder::PageByPage).unwrap_err();
    let field = |refused: Error| match refused {
        Error::Field { field, .. } => field,
        other => panic!("{other}"),
    };
    assert_eq!(of(METADATA, b"TDVE"), Error::Missing { what: "TDX metadata of the firmware" });
    assert_eq!(field(of(METADATA + 8, &[2])), "version of the TDX metadata");
    assert!(matches!(of(METADATA + 12, &[65]), Error::TooLong { limit: 64, observed: 65, .. }));
    let content = "length of the content of a TDX metadata section";
    assert_eq!(field(of(SECTIONS, &[1])), content);
    assert_eq!(field(of(SECTIONS, &[0xff; 4])), content);
    assert_eq!(field(of(SECTIONS + 4, &[0xff; 4])), content);
    let length = "length of a TDX metadata section";
    assert_eq!(field(of(SECTIONS + 16, &0u64.to_le_bytes())), length);
    assert_eq!(field(of(SECTIONS + 16, &0x1001u64.to_le_bytes())), length);
    let address = "address of a TDX metadata section";
    assert_eq!(field(of(SECTIONS + 8, &[1])), address);
    assert_eq!(field(of(SECTIONS + 8, &(1u64 << 52).to_le_bytes())), address);
    assert_eq!(field(of(SECTIONS + 8, &0xffff_ffff_ffff_f000u64.to_le_bytes())), address);
    assert_eq!(field(of(SECTIONS + 28, &[4])), "attributes of a TDX metadata section");
    assert_eq!(
        field(of(SECTIONS + 2 * SECTION_BYTES + 16, &(1u64 << 40).to_le_bytes())),
        "bytes of the TDX metadata sections that are measured"
    );
    // However much memory the guest accepts itself, nothing is recorded of it.
    let much = vector.changed(SECTIONS + 4 * SECTION_BYTES + 16, &(1u64 << 40).to_le_bytes());
    assert!(mrtd(&much, PageOrder::PageByPage).is_ok());
}

#[test]
fn refuses_memory_that_no_guest_has() {
    let vector = Vector::read();
    for memory in [0, 1, 4095, MAX_MEMORY_BYTES + 4096, !4095] {
        let refused = memory_list_digest(&vector.firmware, memory).unwrap_err();
        assert!(matches!(refused, Error::Field { field: "memory of the guest in bytes", .. }), "{memory}");
    }
    assert!(memory_list_digest(&vector.firmware, MAX_MEMORY_BYTES).is_ok());
    let refused = memory_list_digest(&vector.firmware, 8 << 20).unwrap_err();
    assert!(matches!(refused, Error::Field { field: "address of a TDX metadata section", .. }));
}

#[test]
fn refuses_metadata_with_two_lists_of_memory_or_two_volumes_of_variables() {
    let vector = Vector::read();
    let kind = |section: usize| SECTIONS + section * SECTION_BYTES + 24;
    let missing = |refused| matches!(refused, Error::Missing { .. });
    let repeated = |refused| matches!(refused, Error::Repeated { .. });
    let list = |firmware: Vec<u8>| memory_list_digest(&firmware, 1 << 30).unwrap_err();
    assert!(missing(list(vector.changed(kind(3), &[3]))));
    assert!(repeated(list(vector.changed(kind(2), &[2]))));
    let variables = |firmware: Vec<u8>| variables_digest(&firmware).unwrap_err();
    assert!(missing(variables(vector.changed(kind(1), &[0]))));
    assert!(repeated(variables(vector.changed(kind(0), &[1]))));
}

#[test]
fn a_register_is_extended_by_one_event_after_another() {
    // SHA-384 of 96 zeroes, as a register shows after one event of zeroes.
    let once = extended([&[0; 48]]);
    assert_eq!(once, extended([&[0; 48]]));
    assert_eq!(*extended([]).as_bytes(), [0; 48]);
    let digest = ring::digest::digest(&ring::digest::SHA384, &[0; 96]);
    assert_eq!(once.as_bytes(), digest.as_ref());
    assert_ne!(extended([&[0; 48], &[1; 48]]), extended([&[1; 48], &[0; 48]]));
}

#[test]
fn case_44_memory_firmware_and_each_table_change_rtmr0() {
    let vector = Vector::read();
    let acpi = AcpiDigests::of(b"loader", b"rsdp", b"tables");
    let of = |firmware: &[u8], memory, acpi: &AcpiDigests| rtmr0(firmware, memory, acpi).unwrap();
    let good = of(&vector.firmware, 4 << 30, &acpi);
    assert_ne!(of(&vector.firmware, 5 << 30, &acpi), good);
    assert_ne!(of(&vector.changed(0x17f, &[0]), 4 << 30, &acpi), good);
    for (loader, rsdp, tables) in
        [("loade", "rsdp", "tables"), ("loader", "rsd", "tables"), ("loader", "rsdp", "table")]
    {
        let other = AcpiDigests::of(loader.as_bytes(), rsdp.as_bytes(), tables.as_bytes());
        assert_ne!(of(&vector.firmware, 4 << 30, &other), good);
    }
    assert!(rtmr0(&vector.firmware, 1, &acpi).is_err());
}

#[test]
fn refuses_firmware_with_keys_of_which_rtmr0_is_not_computed() {
    let vector = Vector::read();
    let field = |at: usize| {
        let bytes = vector.firmware[SECTIONS + SECTION_BYTES + at..][..4].try_into().unwrap();
        u32::from_le_bytes(bytes) as usize
    };
    let (volume, len) = (field(0), field(4));
    assert!(len >= 104, "no room for headers in {len} bytes");
    // The volume's signature and the length of its header; then the store's header, and the first variable.
    let of = |first: [u8; 2]| {
        let signed = vector.changed(volume + 40, b"_FVH");
        let with_len = changed(&signed, volume + 48, &72_u16.to_le_bytes());
        rtmr0(&changed(&with_len, volume + 72 + 28, &first), 4 << 30, &AcpiDigests::of(b"l", b"r", b"t"))
    };
    assert!(of([0xff, 0xff]).is_ok());
    assert_eq!(
        of([0xaa, 0x55]),
        Err(Error::Unpredictable { what: "keys or other variables in the firmware file" })
    );
}

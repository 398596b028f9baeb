//! What a boot measures, and which images are none.

use crate::support::{Vector, changed};
use anchorhold_measure::boot::{Boot, Event, events};
use anchorhold_measure::{DirectBoot, Error, UnifiedKernel, tdx, tpm};
use anchorhold_rats::hex;

/// Offsets in `unified.efi` as `make.py` writes it: the file header, the optional header, and the section table.
const FILE_HEADER: usize = 64 + 4;
const OPTIONAL: usize = FILE_HEADER + 20;
const SECTIONS: usize = OPTIONAL + 112 + 16 * 8;
/// The sections in order.
const SBAT: usize = SECTIONS + 40;
const COMMAND_LINE: usize = SECTIONS + 3 * 40;
const UNAME: usize = SECTIONS + 4 * 40;
const LINUX: usize = SECTIONS + 5 * 40;

fn unified(file: &[u8]) -> Result<Vec<Event>, Error> {
    events(&Boot::Unified(&UnifiedKernel::parse(file)?))
}

fn number(number: u32) -> [u8; 4] {
    number.to_le_bytes()
}

#[test]
fn equals_what_dstack_mr_and_systemd_measure_compute() {
    let vector = Vector::read();
    let events = unified(&vector.unified).unwrap();
    let applications: Vec<_> =
        events.iter().filter(|event| ["unified kernel image", "kernel"].contains(&event.what)).collect();
    assert_eq!(hex(&applications[0].digests.sha384), vector.said["authenticode"]["unified_efi"]);
    assert_eq!(hex(&applications[1].digests.sha384), vector.said["authenticode"]["kernel_efi"]);
    assert_eq!(hex(&tpm::pcr_sha256(&events, 11)), vector.said["pcr11"]["sha256"]);
    assert_eq!(hex(&tpm::pcr_sha384(&events, 11)), vector.said["pcr11"]["sha384"]);
}

#[test]
fn events_come_in_the_order_in_which_firmware_and_kernel_log_them() {
    let vector = Vector::read();
    let uki = UnifiedKernel::parse(&vector.unified).unwrap();
    let direct = DirectBoot { kernel: &vector.kernel, ..vector.boot() };
    let of_pcr = |boot: &Boot<'_>, pcr| -> Vec<&'static str> {
        let all = events(boot).unwrap();
        all.iter().filter(|event| event.pcr == pcr).map(|event| event.what).collect()
    };
    let action = "Calling EFI Application from Boot Option";
    let image = "unified kernel image";
    assert_eq!(of_pcr(&Boot::Direct(direct), 4), ["kernel", action, "separator"]);
    assert_eq!(of_pcr(&Boot::Unified(&uki), 4), [image, action, "separator", "kernel"]);
    assert_eq!(of_pcr(&Boot::UnifiedOnDisk(&uki), 4), [action, "separator", image, "kernel"]);
    for boot in [Boot::Direct(direct), Boot::Unified(&uki), Boot::UnifiedOnDisk(&uki)] {
        assert_eq!(of_pcr(&boot, 9), ["command line", "initrd"]);
        assert_eq!(of_pcr(&boot, 2), ["separator"]);
        assert_eq!(of_pcr(&boot, 7), Vec::<&str>::new());
    }
    let sections = [".linux", ".osrel", ".cmdline", ".initrd", ".uname", ".sbat"];
    let twice: Vec<_> = sections.into_iter().flat_map(|name| [name, name]).collect();
    assert_eq!(of_pcr(&Boot::Unified(&uki), 11), twice);
}

#[test]
fn the_sections_of_an_image_are_read_without_their_padding() {
    let vector = Vector::read();
    let uki = UnifiedKernel::parse(&vector.unified).unwrap();
    assert_eq!(uki.kernel(), vector.kernel);
    assert_eq!(uki.initrd(), vector.boot().initrd);
    assert_eq!(uki.command_line(), vector.boot().command_line);
}

#[test]
fn case_44_every_byte_that_counts_changes_a_register_and_checksum_and_certificates_do_not() {
    let vector = Vector::read();
    let registers = |file: &[u8]| {
        let events = unified(file).unwrap();
        (tdx::rtmrs(&events), tpm::PREDICTED.map(|pcr| tpm::pcr_sha256(&events, pcr)))
    };
    let good = registers(&vector.unified);
    let place = |text: &[u8]| vector.unified.windows(text.len()).position(|bytes| bytes == text).unwrap();
    for text in [&b"stub"[..], b"sbat,1", b"anchorhold", b"ttyS0", b"6.12", b"kernel code", b"an initial"] {
        let at = place(text);
        let other = registers(&changed(&vector.unified, at, &[vector.unified[at] ^ 1]));
        assert_ne!(other.0.rtmr1, good.0.rtmr1, "{at}");
        assert_ne!(other.1[2], good.1[2], "{at}");
    }
    // Padding is measured with the file, and not as a section.
    let padding = registers(&changed(&vector.unified, place(b"6.12") + 100, &[1]));
    assert_ne!(padding.0.rtmr1, good.0.rtmr1);
    assert_eq!(padding.0.rtmr2, good.0.rtmr2);
    assert_eq!(registers(&changed(&vector.unified, OPTIONAL + 64, &[9; 4])), good);
    // A signature at the end changes nothing.
    let mut signed = changed(&vector.unified, OPTIONAL + 112 + 4 * 8, &number(6144));
    signed[OPTIONAL + 112 + 4 * 8 + 4..][..4].copy_from_slice(&number(64));
    signed.extend([7; 64]);
    assert_eq!(registers(&signed), good);
    // Anything else at the end does.
    let longer = [&vector.unified[..], &[0]].concat();
    assert_ne!(registers(&longer).0.rtmr1, good.0.rtmr1);
}

#[test]
fn refuses_files_that_are_no_image() {
    let vector = Vector::read();
    let of = |file: &[u8]| unified(file).unwrap_err();
    assert_eq!(of(&[]), Error::Truncated { what: "PE image" });
    assert_eq!(of(b"#!/bin/sh"), Error::Missing { what: "PE image" });
    assert_eq!(of(&vector.unified[..200]), Error::Truncated { what: "PE image" });
    let with = |offset, bytes: &[u8]| of(&changed(&vector.unified, offset, bytes));
    assert_eq!(with(60, &[0xff; 4]), Error::Truncated { what: "PE image" });
    assert_eq!(with(64, b"NE"), Error::Missing { what: "PE image" });
    assert!(matches!(with(FILE_HEADER + 2, &[97, 0]), Error::TooLong { limit: 96, observed: 97, .. }));
    assert!(matches!(with(OPTIONAL, &[0x0b, 1]), Error::Field { field: "magic of a PE image", .. }));
    for headers in [0, 0x100, 0x7fff_ffff] {
        let refused = with(OPTIONAL + 60, &number(headers));
        assert!(matches!(refused, Error::Field { field: "size of the headers of a PE image", .. }));
    }
    // A short optional header has no directories.
    assert_eq!(with(FILE_HEADER + 16, &[60, 0]), Error::Truncated { what: "PE image" });
    // Sections behind the end, and certificates that take more than is left.
    for (offset, value) in [(20, 0x7fff_ffff), (16, 0x7fff_ffff), (20, 6144)] {
        assert_eq!(with(LINUX + offset, &number(value)), Error::Truncated { what: "PE image" });
    }
    let certificates = OPTIONAL + 112 + 4 * 8 + 4;
    for bytes in [1, 6145, u32::MAX] {
        assert_eq!(with(certificates, &number(bytes)), Error::Truncated { what: "PE image" });
    }
    // The same section twice takes more than the file has.
    let table = vector.unified[LINUX + 16..LINUX + 24].to_vec();
    assert_eq!(with(SECTIONS + 16, &table), Error::Truncated { what: "PE image" });
}

#[test]
fn refuses_unified_images_that_leave_something_open() {
    let vector = Vector::read();
    let with = |offset, bytes: &[u8]| unified(&changed(&vector.unified, offset, bytes)).unwrap_err();
    assert_eq!(with(LINUX, b".linuy\0\0"), Error::Missing { what: ".linux" });
    assert_eq!(with(COMMAND_LINE, b".cmdlinf"), Error::Missing { what: ".cmdline" });
    assert_eq!(with(UNAME, b".osrel\0\0"), Error::Repeated { what: ".osrel" });
    for name in [".ucode", ".dtb", ".pcrsig", ".pcrpkey", ".profile", ".dtbauto", ".hwids", ".efifw"] {
        let refused = with(SBAT, format!("{name:\0<8}").as_bytes());
        assert!(matches!(refused, Error::Unpredictable { what } if what.contains(name)), "{name}: {refused}");
    }
    // More in memory than in the file.
    assert!(matches!(with(SBAT + 8, &number(513)), Error::Truncated { .. }));
    // A kernel that is no image.
    let at = vector.unified.windows(2).rposition(|bytes| bytes == b"MZ").unwrap();
    assert_eq!(with(at, b"ZM"), Error::Missing { what: "PE image" });
}

#[test]
fn refuses_command_lines_that_the_stub_would_change() {
    let vector = Vector::read();
    let at = vector.unified.windows(7).position(|bytes| bytes == b"console").unwrap();
    let with =
        |offset: usize, byte: u8| unified(&changed(&vector.unified, at + offset, &[byte])).unwrap_err();
    for (offset, byte) in [(0, b' '), (24, b' '), (3, 0), (3, b'\n'), (3, 0x7f), (3, 0xc3)] {
        let refused = with(offset, byte);
        assert!(matches!(refused, Error::Field { field: "byte of the command line", .. }), "{refused}");
    }
    assert!(unified(&changed(&vector.unified, at + 3, b" ")).is_ok());
    // 2048 bytes of it, which reach into the sections behind.
    let long = changed(&vector.unified, COMMAND_LINE + 8, &number(2048));
    let long = changed(&long, COMMAND_LINE + 16, &number(2048));
    assert!(matches!(unified(&long).unwrap_err(), Error::TooLong { what: "bytes of command line", .. }));
}

#[test]
fn a_direct_boot_measures_what_firmware_adds_to_the_command_line() {
    let vector = Vector::read();
    let direct = DirectBoot { kernel: &vector.kernel, ..vector.boot() };
    let digest = |boot: DirectBoot<'_>| {
        let all = events(&Boot::Direct(boot)).unwrap();
        all.iter().find(|event| event.what == "command line").unwrap().digests.sha256
    };
    let without = DirectBoot { initrd: b"", ..direct };
    let named = DirectBoot { command_line: "console=ttyS0 roothash=00 initrd=initrd", ..without };
    assert_eq!(digest(direct), digest(named));
    assert_ne!(digest(direct), digest(without));
    let zero = DirectBoot { command_line: "a\0b", ..direct };
    assert_eq!(events(&Boot::Direct(zero)).unwrap_err(), Error::CommandLineZero);
    assert!(events(&Boot::Direct(vector.boot())).is_err());
}

//! Launch digests.

use crate::support::Vector;
use anchorhold_measure::snp::{Hypervisor, Launch, MAX_VCPUS, SNP_ACTIVE, VcpuType, launch_digest};
use anchorhold_measure::{DirectBoot, Error, MAX_COMMAND_LINE_BYTES, MAX_FIRMWARE_BYTES};
use anchorhold_rats::Measurement;

/// Where `make.py` puts the SEV metadata, and the sections in it.
const METADATA: usize = 0x200;
const SECTIONS: usize = METADATA + 16;

fn launch(vector: &Vector) -> Launch<'_> {
    Launch {
        firmware: &vector.firmware,
        direct_boot: Some(vector.boot()),
        vcpus: 2,
        vcpu_type: VcpuType::of(25, 17, 0),
        features: SNP_ACTIVE,
        hypervisor: Hypervisor::Qemu,
    }
}

#[test]
fn equals_what_sev_snp_measure_computes() {
    let vector = Vector::read();
    let launches = vector.said["snp"]["launches"].as_array().unwrap();
    assert_eq!(launches.len(), 10);
    for said in launches {
        let launch = Launch {
            direct_boot: said["direct_boot"].as_bool().unwrap().then(|| vector.boot()),
            vcpus: said["vcpus"].as_u64().unwrap().try_into().unwrap(),
            vcpu_type: said["vcpu_type"].as_str().unwrap().parse().unwrap(),
            features: said["features"].as_u64().unwrap(),
            hypervisor: match said["hypervisor"].as_str().unwrap() {
                "qemu" => Hypervisor::Qemu,
                _ => Hypervisor::Ec2,
            },
            ..launch(&vector)
        };
        let digest = launch_digest(&launch).unwrap();
        assert_eq!(digest.to_string(), said["digest"], "{said}");
    }
}

#[test]
fn case_44_every_input_changes_the_digest() {
    let vector = Vector::read();
    let good = launch(&vector);
    let boot = vector.boot();
    let with = |boot| Launch { direct_boot: Some(boot), ..good };
    let later = vector.changed(0x600, &[vector.firmware[0x600] ^ 1]);
    let reset = vector.firmware.windows(4).position(|bytes| bytes == [0x04, 0xb0, 0x80, 0]).unwrap();
    let moved = vector.changed(reset, &[0x08]);
    let launches = [
        good,
        with(DirectBoot { kernel: b"a kernel\r", ..boot }),
        with(DirectBoot { kernel: b"", ..boot }),
        with(DirectBoot { initrd: b"an initial file system", ..boot }),
        with(DirectBoot { initrd: b"", ..boot }),
        with(DirectBoot { command_line: "console=ttyS0 roothash=01", ..boot }),
        with(DirectBoot { command_line: "", ..boot }),
        Launch { direct_boot: None, ..good },
        Launch { firmware: &later, ..good },
        Launch { firmware: &moved, ..good },
        Launch { vcpus: 1, ..good },
        Launch { vcpus: 3, ..good },
        Launch { vcpu_type: VcpuType::of(25, 17, 1), ..good },
        Launch { features: SNP_ACTIVE | 0x20, ..good },
        Launch { hypervisor: Hypervisor::Ec2, ..good },
    ];
    let digests: Vec<Measurement> = launches.iter().map(|launch| launch_digest(launch).unwrap()).collect();
    for (at, digest) in digests.iter().enumerate() {
        assert!(!digests[..at].contains(digest), "launch {at} has the digest of one before");
    }
}

#[test]
fn refuses_processors_and_features_that_no_launch_has() {
    let vector = Vector::read();
    for vcpus in [0, MAX_VCPUS + 1] {
        let refused = launch_digest(&Launch { vcpus, ..launch(&vector) }).unwrap_err();
        assert!(matches!(refused, Error::Field { field: "number of virtual processors", .. }), "{refused}");
    }
    let refused = launch_digest(&Launch { features: 0x20, ..launch(&vector) }).unwrap_err();
    assert!(matches!(refused, Error::Field { field: "SEV_FEATURES", observed: 0x20, .. }), "{refused}");
}

#[test]
fn refuses_command_lines_that_the_kernel_does_not_obey_whole() {
    let vector = Vector::read();
    let of = |command_line| {
        let boot = DirectBoot { command_line, ..vector.boot() };
        launch_digest(&Launch { direct_boot: Some(boot), ..launch(&vector) })
    };
    let long = "a".repeat(MAX_COMMAND_LINE_BYTES + 1);
    assert!(of(&long[1..]).is_ok());
    let refused = of(&long).unwrap_err();
    assert_eq!(
        refused,
        Error::TooLong {
            what: "bytes of command line",
            limit: MAX_COMMAND_LINE_BYTES,
            observed: MAX_COMMAND_LINE_BYTES + 1
        }
    );
    assert_eq!(of("roothash=00\0 init=/bin/sh").unwrap_err(), Error::CommandLineZero);
}

#[test]
fn refuses_firmware_that_is_none() {
    let vector = Vector::read();
    let of = |firmware: &[u8]| launch_digest(&Launch { firmware, ..launch(&vector) }).unwrap_err();
    assert!(matches!(of(&[]), Error::Field { field: "length of the firmware", .. }));
    assert!(matches!(of(&vector.firmware[1..]), Error::Field { field: "length of the firmware", .. }));
    assert!(matches!(of(&vec![0; MAX_FIRMWARE_BYTES + 1]), Error::TooLong { .. }));
    assert_eq!(of(&[0; 4096]), Error::Missing { what: "firmware's table of GUIDs" });
    // The last of two pages has the table, and its metadata lies in the page that is gone.
    assert!(matches!(of(&vector.firmware[4096..]), Error::Truncated { .. }));
}

#[test]
fn refuses_tables_whose_lengths_point_outside() {
    let vector = Vector::read();
    let of = |firmware: &[u8]| launch_digest(&Launch { firmware, ..launch(&vector) }).unwrap_err();
    let size_at = vector.firmware.len() - 32 - 18;
    // The table as a whole: shorter than its own entry, longer than the file.
    for size in [0u16, 17, 0xffff] {
        let refused = of(&vector.changed(size_at, &size.to_le_bytes()));
        assert!(matches!(refused, Error::Truncated { .. }), "{size}: {refused}");
    }
    // Its last entry.
    for size in [0u16, 17, 0xffff] {
        let refused = of(&vector.changed(size_at - 18, &size.to_le_bytes()));
        assert!(matches!(refused, Error::Truncated { .. }), "{size}: {refused}");
    }
    // A table of nothing.
    let refused = of(&vector.changed(size_at, &18u16.to_le_bytes()));
    assert_eq!(refused, Error::Missing { what: "SEV metadata of the firmware" });
}

#[test]
fn refuses_metadata_that_no_hypervisor_obeys() {
    let vector = Vector::read();
    let of = |offset, bytes: &[u8]| {
        let firmware = vector.changed(offset, bytes);
        launch_digest(&Launch { firmware: &firmware, ..launch(&vector) }).unwrap_err()
    };
    let number = |number: u32| number.to_le_bytes();
    assert_eq!(of(METADATA, b"ASEW"), Error::Missing { what: "SEV metadata of the firmware" });
    let refused = of(METADATA + 8, &number(2));
    assert!(matches!(refused, Error::Field { field: "version of the SEV metadata", observed: 2, .. }));
    assert!(matches!(of(METADATA + 12, &number(65)), Error::TooLong { limit: 64, observed: 65, .. }));
    assert!(matches!(of(METADATA + 12, &number(u32::MAX)), Error::TooLong { .. }));
    let refused = of(SECTIONS + 8, &number(7));
    assert!(matches!(refused, Error::Field { field: "kind of an SEV metadata section", observed: 7, .. }));
    let refused = of(SECTIONS, &number(0x80_0001));
    assert!(matches!(refused, Error::Field { field: "address of an SEV metadata section", .. }));
    // The first section is memory, the second secrets, of which there is one page.
    for (offset, bytes) in [(SECTIONS, 0), (SECTIONS, 0x1001), (SECTIONS + 12, 0x2000)] {
        let refused = of(offset + 4, &number(bytes));
        assert!(matches!(refused, Error::Field { field: "length of an SEV metadata section", .. }));
    }
    let refused = of(SECTIONS + 4, &number(0xffff_f000));
    assert!(matches!(refused, Error::TooLong { what: "bytes of SEV metadata sections", .. }), "{refused}");
}

#[test]
fn case_44_refuses_firmware_that_would_not_measure_the_kernel() {
    let vector = Vector::read();
    let of = |firmware: &[u8]| launch_digest(&Launch { firmware, ..launch(&vector) });
    let hashes = SECTIONS + 4 * 12;
    let what = "page for kernel hashes in the firmware's metadata";
    // The page for hashes becomes memory, memory becomes a second page for hashes.
    let none = vector.changed(hashes + 8, &[1]);
    assert_eq!(of(&none).unwrap_err(), Error::Missing { what });
    let direct = Launch { firmware: &none, direct_boot: None, ..launch(&vector) };
    assert!(launch_digest(&direct).is_ok());
    let mut two = vector.changed(SECTIONS + 8, &[0x10]);
    two[SECTIONS + 4..SECTIONS + 8].copy_from_slice(&0x1000u32.to_le_bytes());
    assert_eq!(of(&two).unwrap_err(), Error::Repeated { what });
    // The table before its page, and so near to its end that it does not fit.
    let table = vector.firmware.windows(4).position(|bytes| bytes == [0, 4, 0x81, 0]).unwrap();
    for address in [0x80_f400u32, 0x81_0f51, 0x81_1000] {
        let refused = of(&vector.changed(table, &address.to_le_bytes())).unwrap_err();
        assert!(
            matches!(refused, Error::Field { field: "address of the SEV hash table", .. }),
            "{address:x}"
        );
    }
    assert!(of(&vector.changed(table, &0x81_0f50u32.to_le_bytes())).is_ok());
}

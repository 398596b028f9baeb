//! Firmware files, changed: whatever measures at all measures every byte.
#![no_main]

use anchorhold_fuzz::edit::raw_or_edited;
use anchorhold_measure::snp::{Hypervisor, Launch, SNP_ACTIVE, VcpuType, launch_digest};
use anchorhold_measure::tdx::{PageOrder, memory_list_digest, mrtd, variables_digest};
use anchorhold_measure::{DirectBoot, Error};
use anchorhold_rats::Measurement;
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

const FIRMWARE: &[u8] = include_bytes!("../../vectors/measure/firmware.fd");

fn launched(firmware: &[u8]) -> Result<Measurement, Error> {
    launch_digest(&Launch {
        firmware,
        direct_boot: Some(DirectBoot { kernel: b"kernel", initrd: b"initrd", command_line: "quiet" }),
        vcpus: 2,
        vcpu_type: VcpuType::of(25, 17, 0),
        features: SNP_ACTIVE,
        hypervisor: Hypervisor::Qemu,
    })
}

static GOOD: LazyLock<(Measurement, Measurement)> = LazyLock::new(|| {
    let mrtd = mrtd(FIRMWARE, PageOrder::PageByPage).expect("MRTD");
    (launched(FIRMWARE).expect("launch digest"), mrtd)
});

fuzz_target!(|input: &[u8]| {
    let firmware = raw_or_edited(input, FIRMWARE);
    let is_good = firmware == FIRMWARE;
    if let Ok(digest) = launched(&firmware) {
        assert_eq!(digest == GOOD.0, is_good, "a launch digest of two firmwares");
    }
    // A section that covers the whole file is all that makes MRTD cover it.
    let of = |order| mrtd(&firmware, order);
    assert_eq!(of(PageOrder::PageByPage).is_ok(), of(PageOrder::SectionBySection).is_ok());
    if is_good {
        assert_eq!(of(PageOrder::PageByPage), Ok(GOOD.1));
    }
    let _ = memory_list_digest(&firmware, 4 << 30);
    let _ = variables_digest(&firmware);
});

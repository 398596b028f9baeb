//! Launch digests of SEV-SNP against the `sev` crate, over the small firmware of `tests/vectors/measure`, and over a real one where
//! `ANCHORHOLD_SNP_FIRMWARE` names it. Launches on EC2 are not among them: the crate lets processors start with 0 in RDX there and
//! sev-snp-measure with 0x600, and no report of such a guest was at hand to say who is right.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at a surprise")]

use anchorhold_measure::DirectBoot;
use anchorhold_measure::snp::{Hypervisor, Launch, launch_digest};
use sev::measurement::snp::{SnpMeasurementArgs, snp_calc_launch_digest};
use sev::measurement::vcpu_types::CpuType;
use sev::measurement::vmsa::{GuestFeatures, VMMType};
use sev::parser::ByteParser as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

const KERNEL: &[u8] = b"a kernel";
const INITRD: &[u8] = b"an initial file system";
const COMMAND_LINE: &str = "console=ttyS0 roothash=00";
const MODELS: [&str; 8] = [
    "EPYC",
    "EPYC-v4",
    "EPYC-Rome-v2",
    "EPYC-Milan",
    "EPYC-Milan-v2",
    "EPYC-Genoa",
    "EPYC-Turin",
    "EPYC-Turin-v2",
];

/// A folder of this test's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("anchorhold-launch-digest-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_sev_crate_computes_the_same_launch_digests() {
    let folder = Folder::new();
    let (kernel, initrd) = (folder.write("kernel", KERNEL), folder.write("initrd", INITRD));
    let small = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors/measure/firmware.fd");
    let real = std::env::var_os("ANCHORHOLD_SNP_FIRMWARE").map(PathBuf::from);
    let mut compared = 0;
    for firmware in std::iter::once(small).chain(real) {
        let bytes = std::fs::read(&firmware).unwrap();
        for model in MODELS {
            for (vcpus, features, is_direct) in
                [(1, 0x1, true), (2, 0x1, false), (3, 0x21, true), (64, 0x1, true)]
            {
                let boot = DirectBoot { kernel: KERNEL, initrd: INITRD, command_line: COMMAND_LINE };
                let ours = launch_digest(&Launch {
                    firmware: &bytes,
                    direct_boot: is_direct.then_some(boot),
                    vcpus,
                    vcpu_type: model.parse().unwrap(),
                    features,
                    hypervisor: Hypervisor::Qemu,
                });
                let theirs = snp_calc_launch_digest(SnpMeasurementArgs {
                    vcpus,
                    vcpu_type: CpuType::try_from(model).unwrap(),
                    ovmf_file: firmware.clone(),
                    guest_features: GuestFeatures::from_bytes(&u64::to_le_bytes(features)).unwrap(),
                    kernel_file: is_direct.then(|| kernel.clone()),
                    initrd_file: is_direct.then(|| initrd.clone()),
                    append: is_direct.then_some(COMMAND_LINE),
                    ovmf_hash_str: None,
                    vmm_type: Some(VMMType::QEMU),
                });
                let theirs = theirs.unwrap_or_else(|error| panic!("{model}, {vcpus}: {error}"));
                assert_eq!(ours.unwrap().to_string(), theirs.get_hex_ld(), "{model}, {vcpus}, {features:#x}");
                compared += 1;
            }
        }
    }
    assert!(compared >= MODELS.len() * 4);
    // For the script that adds up comparisons.
    let _ = writeln!(std::io::stdout(), "compared {compared} launch digests");
}

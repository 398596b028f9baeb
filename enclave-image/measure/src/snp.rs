//! The launch digest of SEV-SNP: MEASUREMENT of a report.
//!
//! Specification: SEV Secure Nested Paging Firmware ABI (AMD 56860), section 8.17.2: every page that enters the guest before
//! it starts extends the digest by a `PAGE_INFO` structure, which holds the digest so far, the page's own and its address.
//! Which pages enter, and in which order, is the hypervisor's: the firmware file, then what the firmware's metadata lists
//! (edk2's `OvmfPkg/ResetVector/X64/OvmfSevMetadata.asm`), then one page of registers for each virtual processor.
//!
//! Not in the digest: memory size, ACPI tables, devices, and what firmware reads from the hypervisor at run time, but for
//! kernel, initrd and command line where the firmware checks them against the table of hashes (edk2's `AmdSev` platform does).

mod hashes;
mod metadata;
mod page;
mod vcpu;
mod vmsa;

pub use vcpu::{UnknownVcpuType, VcpuType};

use crate::firmware::Firmware;
use crate::{DirectBoot, Error};
use anchorhold_rats::Measurement;
use metadata::{Kind, Section};
use page::LaunchDigest;

/// The most virtual processors of a launch, as QEMU's q35 machine has them.
pub const MAX_VCPUS: u32 = 4096;
/// SEV_FEATURES with SNP alone, what KVM sets where no other feature is asked for.
pub const SNP_ACTIVE: u64 = 1;

/// Which hypervisor starts the guest: they differ in the first registers of a processor and the order of pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hypervisor {
    /// QEMU with KVM.
    Qemu,
    /// Amazon EC2, as sev-snp-measure describes it: processors start with 0x600 in RDX. The `sev` crate says 0, and no report of such a
    /// guest has confirmed either: hold a digest against a report of your own guest before you rely on it.
    Ec2,
}

/// All that the digest depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launch<'a> {
    /// The firmware file, whole.
    pub firmware: &'a [u8],
    /// What the hypervisor's table of hashes covers (QEMU: `kernel-hashes=on`); `None` where it makes no such table.
    pub direct_boot: Option<DirectBoot<'a>>,
    /// The number of virtual processors, from 1 to [`MAX_VCPUS`].
    pub vcpus: u32,
    /// Their model.
    pub vcpu_type: VcpuType,
    /// SEV_FEATURES of the processors (APM volume 2, table B-4, offset 0x3B0). Bit 0, SNP, must be set; a host whose KVM
    /// swaps debug registers sets bit 5 too.
    pub features: u64,
    /// Who starts it.
    pub hypervisor: Hypervisor,
}

/// The launch digest.
///
/// Establishes what an SNP report's MEASUREMENT is when `launch.hypervisor` starts a guest of exactly these inputs. Presumes
/// that the guest starts without an IGVM file and without a service module, which would add pages.
///
/// # Errors
/// [`Error`] when the firmware is not one that SNP can start, when it has no place for the hashes of a direct boot, or when
/// a number is out of its range.
pub fn launch_digest(launch: &Launch<'_>) -> Result<Measurement, Error> {
    require_numbers(launch)?;
    let firmware = Firmware::parse(launch.firmware)?;
    let sections = metadata::sections(&firmware)?;
    let hashes = hashes_page(launch, &firmware, &sections)?;

    let mut digest = LaunchDigest::new();
    digest.normal_pages(firmware.address(), firmware.file());
    for section in &sections {
        extend(&mut digest, section, hashes.as_ref(), launch.hypervisor);
    }
    if launch.hypervisor == Hypervisor::Ec2 {
        for section in sections.iter().filter(|section| section.kind == Kind::Cpuid) {
            digest.cpuid_page(section.address);
        }
    }
    let boot = vmsa::page(vmsa::RESET_VECTOR, launch);
    digest.vmsa_page(&boot);
    if launch.vcpus > 1 {
        let other = vmsa::page(metadata::reset_address(&firmware)?, launch);
        for _ in 1..launch.vcpus {
            digest.vmsa_page(&other);
        }
    }
    Ok(digest.finish())
}

fn require_numbers(launch: &Launch<'_>) -> Result<(), Error> {
    if !(1..=MAX_VCPUS).contains(&launch.vcpus) {
        return Err(Error::Field {
            field: "number of virtual processors",
            wanted: "1 to 4096",
            observed: launch.vcpus.into(),
        });
    }
    if launch.features & SNP_ACTIVE == 0 {
        return Err(Error::Field {
            field: "SEV_FEATURES",
            wanted: "bit 0 (SNP) set",
            observed: launch.features,
        });
    }
    launch.direct_boot.map_or(Ok(()), |boot| boot.require_command_line())
}

/// The page with the hashes of a direct boot.
///
/// # Errors
/// [`Error`] when the firmware has no place for it: it would be measured nowhere.
fn hashes_page(
    launch: &Launch<'_>,
    firmware: &Firmware<'_>,
    sections: &[Section],
) -> Result<Option<[u8; page::BYTES]>, Error> {
    let Some(boot) = &launch.direct_boot else { return Ok(None) };
    let mut places = sections.iter().filter(|section| section.kind == Kind::KernelHashes);
    let what = "page for kernel hashes in the firmware's metadata";
    let place = places.next().ok_or(Error::Missing { what })?;
    if places.next().is_some() {
        return Err(Error::Repeated { what });
    }
    let address = metadata::hash_table_address(firmware)?;
    hashes::page(boot, place, address).map(Some)
}

fn extend(
    digest: &mut LaunchDigest,
    section: &Section,
    hashes: Option<&[u8; page::BYTES]>,
    hypervisor: Hypervisor,
) {
    match (section.kind, hashes) {
        (Kind::Memory | Kind::ServiceModuleArea, _) | (Kind::KernelHashes, None) => {
            digest.zero_pages(section.address, section.bytes);
        }
        (Kind::Secrets, _) => digest.secrets_page(section.address),
        (Kind::Cpuid, _) => {
            if hypervisor == Hypervisor::Qemu {
                digest.cpuid_page(section.address);
            }
        }
        (Kind::KernelHashes, Some(page)) => digest.normal_pages(section.address, page),
    }
}

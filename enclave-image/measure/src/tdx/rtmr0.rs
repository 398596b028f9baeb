//! RTMR0: what edk2's firmware for TDX measures of itself and of the machine before it starts anything.
//!
//! Of a firmware file without Secure Boot keys all of it follows from that file and the memory size, but the tables of ACPI, which the
//! hypervisor makes for the devices that the machine has. QEMU hands them over as three files (`etc/table-loader`, `etc/acpi/rsdp`,
//! `etc/acpi/tables`), and firmware measures each whole. Order and contents: edk2's `OvmfPkg` and `MdeModulePkg`
//! (`SecTdxHelper.c`, `DxeTpm2MeasureBootLib`, `QemuFwCfgAcpi.c`), as the log of a boot on hardware shows them, which the test
//! below holds them against.

use super::hob::variables;
use super::{extended, memory_list_digest, variables_digest};
use crate::Error;
use crate::digest::sha384;
use anchorhold_rats::Measurement;

/// EFI_GLOBAL_VARIABLE, 8be4df61-93ca-11d2-aa0d-00e098032b8c.
const GLOBAL: [u8; 16] =
    [0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c];
/// EFI_IMAGE_SECURITY_DATABASE, d719b2cb-3d3a-4596-a3bc-dad00e67656f.
const SECURITY: [u8; 16] =
    [0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45, 0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f];
/// The variables of Secure Boot, in the order in which they are measured. Firmware without keys has none of them, so each is empty.
const SECURE_BOOT: [([u8; 16], &str); 5] =
    [(GLOBAL, "SecureBoot"), (GLOBAL, "PK"), (GLOBAL, "KEK"), (SECURITY, "db"), (SECURITY, "dbx")];
const SEPARATOR: [u8; 4] = [0; 4];
/// BootOrder: the first option alone, 0000.
const BOOT_ORDER: [u8; 2] = [0; 2];
/// EFI_LOAD_OPTION: active and not for start-up, and a device path of 44 bytes.
const BOOT_OPTION: [u8; 6] = [0x09, 0x01, 0x00, 0x00, 0x2c, 0x00];
const BOOT_OPTION_NAME: &str = "UiApp\0";
/// Firmware volume 7cb8bdc9-f8eb-4f34-aaea-3ee4af6516a1, file 462caa21-7614-4503-836e-8ab6f4662331 (edk2's `UiApp`), end.
const BOOT_OPTION_PATH: [u8; 44] = [
    0x04, 0x07, 0x14, 0x00, 0xc9, 0xbd, 0xb8, 0x7c, 0xeb, 0xf8, 0x34, 0x4f, 0xaa, 0xea, 0x3e, 0xe4, 0xaf,
    0x65, 0x16, 0xa1, 0x04, 0x06, 0x14, 0x00, 0x21, 0xaa, 0x2c, 0x46, 0x14, 0x76, 0x03, 0x45, 0x83, 0x6e,
    0x8a, 0xb6, 0xf4, 0x66, 0x23, 0x31, 0x7f, 0xff, 0x04, 0x00,
];

/// SHA-384 of each of the files with tables of ACPI that QEMU hands over. A machine with other processors, devices or memory has
/// others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcpiDigests {
    /// `etc/table-loader`.
    pub loader: [u8; 48],
    /// `etc/acpi/rsdp`.
    pub rsdp: [u8; 48],
    /// `etc/acpi/tables`.
    pub tables: [u8; 48],
}

impl AcpiDigests {
    /// Of these files, whole.
    #[must_use]
    pub fn of(loader: &[u8], rsdp: &[u8], tables: &[u8]) -> Self {
        Self { loader: sha384(&[loader]), rsdp: sha384(&[rsdp]), tables: sha384(&[tables]) }
    }
}

/// RTMR0 of a guest with `memory_bytes` that QEMU starts directly with this firmware, which has no Secure Boot keys, and these tables.
///
/// Establishes what edk2 up to its release of May 2025 measures; later releases may offer other boot options, and firmware with
/// keys has other variables: name the digests of all their events instead ([`extended`]).
///
/// # Errors
/// As [`memory_list_digest`] and [`variables_digest`]; and when the firmware file holds variables, such as keys.
pub fn rtmr0(firmware: &[u8], memory_bytes: u64, acpi: &AcpiDigests) -> Result<Measurement, Error> {
    if holds_variables(variables(firmware)?) {
        return Err(Error::Unpredictable { what: "keys or other variables in the firmware file" });
    }
    let mut events = vec![memory_list_digest(firmware, memory_bytes)?, variables_digest(firmware)?];
    events.extend(SECURE_BOOT.iter().map(|(vendor, name)| empty_variable(vendor, name)));
    events.extend([sha384(&[&SEPARATOR]), acpi.loader, acpi.rsdp, acpi.tables]);
    events.extend(boot_options());
    Ok(extended(&events))
}

/// Whether the first place for a variable is taken: behind the headers of the volume (PI specification, EFI_FIRMWARE_VOLUME_HEADER) and of
/// the store in it (edk2's `VariableFormat.h`) stands a variable's StartId.
fn holds_variables(volume: &[u8]) -> bool {
    const SIGNATURE_AT: usize = 40;
    const HEADER_BYTES_AT: usize = 48;
    const STORE_HEADER_BYTES: usize = 28;
    const START_ID: [u8; 2] = 0x55aa_u16.to_le_bytes();
    let header = volume.get(HEADER_BYTES_AT..).and_then(|rest| rest.first_chunk());
    let first = header.map(|bytes| usize::from(u16::from_le_bytes(*bytes)) + STORE_HEADER_BYTES);
    volume.get(SIGNATURE_AT..).is_some_and(|rest| rest.starts_with(b"_FVH"))
        && first.and_then(|at| volume.get(at..)).is_some_and(|rest| rest.starts_with(&START_ID))
}

/// UEFI_VARIABLE_DATA of a variable without a value.
fn empty_variable(vendor: &[u8; 16], name: &str) -> [u8; 48] {
    let characters = (name.encode_utf16().count() as u64).to_le_bytes();
    sha384(&[vendor, &characters, &[0; 8], &utf16(name)])
}

/// BootOrder and Boot0000, of which the values alone are measured.
fn boot_options() -> [[u8; 48]; 2] {
    [sha384(&[&BOOT_ORDER]), sha384(&[&BOOT_OPTION, &utf16(BOOT_OPTION_NAME), &BOOT_OPTION_PATH])]
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use anchorhold_rats::hex;

    /// From the event log of a TD on hardware (dstack, QEMU 9.2.1, 16 processors, 64 GiB), whose quote confirms it: the events that no
    /// table and no file but the firmware determine.
    const LOGGED: [&str; 8] = [
        "9dc3a1f80bcec915391dcda5ffbb15e7419f77eab462bbf72b42166fb70d50325e37b36f93537a863769bcf9bedae6fb",
        "6f2e3cbc14f9def86980f5f66fd85e99d63e69a73014ed8a5633ce56eca5b64b692108c56110e22acadcef58c3250f1b",
        "d607c0efb41c0d757d69bca0615c3a9ac0b1db06c557d992e906c6b7dee40e0e031640c7bfd7bcd35844ef9edeadc6f9",
        "08a74f8963b337acb6c93682f934496373679dd26af1089cb4eaf0c30cf260a12e814856385ab8843e56a9acea19e127",
        "18cc6e01f0c6ea99aa23f8a280423e94ad81d96d0aeb5180504fc0f7a40cb3619dd39bd6a95ec1680a86ed6ab0f9828d",
        "394341b7182cd227c5c6b07ef8000cdfd86136c4292b8e576573ad7ed9ae41019f5818b4b971c9effc60e1ad9f1289f0",
        "1dd6f7b457ad880d840d41c961283bab688e94e4b59359ea45686581e90feccea3c624b1226113f824f315eb60ae0a7c",
        "23ada07f5261f12f34a0bd8e46760962d6b4d576a416f1fea1c64bc656b1d28eacf7047ae6e967c58fd2a98bfa74c298",
    ];

    #[test]
    fn events_are_those_that_hardware_logged() {
        let mut events: Vec<[u8; 48]> =
            SECURE_BOOT.iter().map(|(vendor, name)| empty_variable(vendor, name)).collect();
        events.push(sha384(&[&SEPARATOR]));
        events.extend(boot_options());
        assert_eq!(events.iter().map(|event| hex(event)).collect::<Vec<_>>(), LOGGED);
    }
}

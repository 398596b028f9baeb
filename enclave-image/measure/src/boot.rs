//! What firmware, stub and kernel measure of a boot, in the order in which they do.
//!
//! Specifications: TCG PC Client Platform Firmware Profile 1.06 for PCRs 0 to 7, systemd's `TPM2_PCR_MEASUREMENTS.md` for 11,
//! and Linux's `drivers/firmware/efi/libstub` for 9. TDX firmware measures the same, with one register for several PCRs
//! (edk2's `SecurityPkg/Tcg/TdTcg2Dxe`, `MapPcrToMrIndex`).

use crate::digest::Digests;
use crate::pe::Image;
use crate::{DirectBoot, Error, UnifiedKernel};

/// What firmware boots, and from where.
#[derive(Debug, Clone, Copy)]
pub enum Boot<'a> {
    /// QEMU's `-kernel`, `-initrd` and `-append` with a kernel that has an EFI stub.
    Direct(DirectBoot<'a>),
    /// QEMU's `-kernel` with a unified kernel image, and no `-initrd` and `-append`.
    Unified(&'a UnifiedKernel<'a>),
    /// A unified kernel image on a disk, as `EFI/BOOT/BOOTX64.EFI`.
    UnifiedOnDisk(&'a UnifiedKernel<'a>),
}

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The PCR of a TPM that it extends.
    pub pcr: u32,
    /// What is measured.
    pub what: &'static str,
    /// The digest with which it is extended.
    pub digests: Digests,
}

impl Event {
    fn of(pcr: u32, what: &'static str, parts: &[&[u8]]) -> Self {
        Self { pcr, what, digests: Digests::of(parts) }
    }
}

const APPLICATION_PCR: u32 = 4;
const ACTION_PCR: u32 = 5;
const KERNEL_PCR: u32 = 9;
const STUB_PCR: u32 = 11;
pub(crate) const SEPARATOR: &str = "separator";
const READY_TO_BOOT: &str = "Calling EFI Application from Boot Option";
const EXIT: [&str; 2] = ["Exit Boot Services Invocation", "Exit Boot Services Returned with Success"];
/// The PCRs with a separator between firmware and what it boots. PCR 7 has one too, before any of these.
const SEPARATED: std::ops::RangeInclusive<u32> = 0..=6;

/// The measurements of `boot` that do not depend on firmware, machine or its settings: all but those of PCRs 0, 1 and 7, of
/// which only the separators are among them.
///
/// Establishes what a machine's log holds when firmware boots exactly these files at its first attempt, without Secure Boot
/// keys for their signatures. Presumes a disk without a GUID partition table, whose header would go to PCR 5, and that the
/// hypervisor gives the stub no credentials, which go to PCR 12.
///
/// # Errors
/// [`Error`] when the kernel is no PE image, or the command line is not one that kernel and firmware read alike.
pub fn events(boot: &Boot<'_>) -> Result<Vec<Event>, Error> {
    let mut events = Vec::new();
    match boot {
        Boot::Direct(direct) => {
            direct.require_command_line()?;
            events.push(application("kernel", &Image::parse(direct.kernel)?)?);
            ready_to_boot(&mut events);
            // edk2 names the initrd on the command line, where there is one.
            let named = if direct.initrd.is_empty() { "" } else { " initrd=initrd" };
            kernel(&mut events, &format!("{}{named}", direct.command_line), direct.initrd);
        }
        Boot::Unified(unified) => {
            events.push(application("unified kernel image", &unified.image)?);
            ready_to_boot(&mut events);
            stub(&mut events, unified)?;
        }
        Boot::UnifiedOnDisk(unified) => {
            ready_to_boot(&mut events);
            events.push(application("unified kernel image", &unified.image)?);
            stub(&mut events, unified)?;
        }
    }
    events.extend(EXIT.map(|action| Event::of(ACTION_PCR, action, &[action.as_bytes()])));
    Ok(events)
}

fn application(what: &'static str, image: &Image<'_>) -> Result<Event, Error> {
    Ok(Event { pcr: APPLICATION_PCR, what, digests: image.authenticode()? })
}

fn ready_to_boot(events: &mut Vec<Event>) {
    events.push(Event::of(APPLICATION_PCR, READY_TO_BOOT, &[READY_TO_BOOT.as_bytes()]));
    events.extend(SEPARATED.map(|pcr| Event::of(pcr, SEPARATOR, &[&[0; 4]])));
}

/// The stub measures name and content of each section, then firmware the kernel that it starts.
fn stub(events: &mut Vec<Event>, unified: &UnifiedKernel<'_>) -> Result<(), Error> {
    for (name, content) in unified.measured() {
        events.push(Event::of(STUB_PCR, name, &[name.as_bytes(), b"\0"]));
        events.push(Event::of(STUB_PCR, name, &[content]));
    }
    events.push(application("kernel", &Image::parse(unified.kernel())?)?);
    kernel(events, unified.command_line(), &unified.whole_initrd());
    Ok(())
}

/// What the kernel's own EFI stub measures: the command line in UTF-16 with its final zero, and the initrd.
fn kernel(events: &mut Vec<Event>, command_line: &str, initrd: &[u8]) {
    let command_line: Vec<u8> = command_line.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    events.push(Event::of(KERNEL_PCR, "command line", &[&command_line]));
    if !initrd.is_empty() {
        events.push(Event::of(KERNEL_PCR, "initrd", &[initrd]));
    }
}

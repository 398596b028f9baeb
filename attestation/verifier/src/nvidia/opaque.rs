//! The opaque data of a report: typed fields, in which drivers and firmware say what they are.

use super::codes;
use super::device::DeviceChecks;
use super::{DriverVersion, Kind, Mode, Pdi, VbiosVersion};
use anchorhold_rats::Code;
use std::collections::BTreeMap;

/// The most fields that are read from one report; real ones have up to 18.
pub const MAX_FIELDS: usize = 64;
/// The length of a firmware identity, SHA-384.
pub const FWID_LEN: usize = 48;
/// The links of a GPU to switches, one for each of its ports.
pub const GPU_LINKS: usize = 18;
/// The GPUs that one switch can name.
pub const SWITCH_GPUS: usize = 8;
/// The ports of a switch in its map.
pub const SWITCH_PORTS: usize = 64;
const MAX_TEXT_BYTES: usize = 64;
const MAX_VERSION: u16 = 1;
const ENABLED: u8 = 0xaa;
const DISABLED: u8 = 0x55;

const DRIVER_VERSION: u16 = 3;
const GPU_INFO: u16 = 4;
const VBIOS_VERSION: u16 = 6;
const NVDEC0_STATUS: u16 = 11;
const MEASUREMENT_COUNTERS: u16 = 12;
const CPR_INFO: u16 = 13;
const BOARD_ID: u16 = 14;
const CHIP_SKU: u16 = 15;
const CHIP_SKU_MODIFICATION: u16 = 16;
const PROJECT: u16 = 17;
const PROJECT_SKU: u16 = 18;
const PROJECT_SKU_MODIFICATION: u16 = 19;
const FWID: u16 = 20;
const PROTECTED_PCIE_STATUS: u16 = 21;
/// Of a GPU the switches at its links, of a switch its own identity.
const PDI: u16 = 22;
const DISABLED_PORTS: u16 = 23;
const POSITION: u16 = 24;
const LOCK_STATUS: u16 = 25;
const SWITCH_GPU_PDIS: u16 = 26;
const SYSTEM_ENABLE_STATUS: u16 = 33;
const VERSION: u16 = 34;
const CHIP: u16 = 35;
const FEATURE_FLAG: u16 = 36;

/// What a device says of itself, read but not authenticated: holding one proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpaqueFields {
    /// Of a GPU.
    Gpu(Box<GpuFields>),
    /// Of a switch.
    Switch(Box<SwitchFields>),
}

/// What a GPU says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuFields {
    /// The driver that asked for the report.
    pub driver_version: DriverVersion,
    /// The VBIOS.
    pub vbios_version: VbiosVersion,
    /// The video decoder whose measurement (SPDM index 36) is only fixed while it is on.
    pub nvdec0_enabled: bool,
    /// The chip's stock-keeping unit, a part of the name of the VBIOS manifest.
    pub chip_sku: String,
    /// The board's project, a part of that name.
    pub project: String,
    /// The project's stock-keeping unit, a part of that name.
    pub project_sku: String,
    /// The identity of the firmware; drivers from 560 on state it.
    pub fwid: Option<[u8; FWID_LEN]>,
    /// Whether protected PCIe is on; drivers from 560 on state it for Hopper.
    pub protected_pcie: Option<bool>,
    /// The switch at each link, its bytes in the other order than in its certificate. Zero where there is none.
    pub switches: Option<[Pdi; GPU_LINKS]>,
    /// The system enable status of Blackwell; its bits have no public meaning.
    pub system_enable_status: Option<[u8; 2]>,
    /// The version of the opaque data.
    pub version: Option<u16>,
    /// The chip, a part of the name of a Blackwell driver's manifest.
    pub chip: Option<String>,
    /// The confidential mode; drivers from 580 on state it.
    pub mode: Option<Mode>,
    /// How many fields have a type without a meaning here.
    pub unknown: usize,
}

/// What a switch says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchFields {
    /// The BIOS.
    pub bios_version: VbiosVersion,
    /// Its own identity.
    pub pdi: Pdi,
    /// The GPUs at its links. Zero where there is none; one GPU may stand there twice.
    pub gpus: [Pdi; SWITCH_GPUS],
    /// For each port, the place in `gpus` of the GPU behind it; 0xff where there is none.
    pub ports: [u8; SWITCH_PORTS],
    /// The identity of the firmware; LS10 does not state it.
    pub fwid: Option<[u8; FWID_LEN]>,
    /// The ports that are off, as bits.
    pub disabled_ports: Option<u16>,
    /// The switch's place on the board.
    pub position: Option<u16>,
    /// The lock status as stated; its values have no public meaning.
    pub lock_status: Option<u16>,
    /// How many fields have a type without a meaning here.
    pub unknown: usize,
}

impl OpaqueFields {
    /// Reads the opaque data of a device and records every rule about its shape; `None` when one failed. `offset` is its
    /// place in the report.
    pub(super) fn read(
        kind: Kind,
        bytes: &[u8],
        offset: usize,
        checks: &mut DeviceChecks<'_>,
    ) -> Option<Self> {
        let list = split(bytes, offset, checks)?;
        let mut fields = Fields { list, whole: (offset, bytes.len()), sound: true, checks };
        let read = match kind {
            Kind::Gpu => fields.gpu().map(|gpu| Self::Gpu(Box::new(gpu))),
            Kind::Switch => fields.switch().map(|switch| Self::Switch(Box::new(switch))),
        };
        if fields.sound {
            fields.checks.record(
                codes::OPAQUE_FIELD,
                true,
                "known fields of their length and range",
                "all are",
            );
        }
        read.filter(|_| fields.sound)
    }

    /// What a GPU says of itself.
    #[must_use]
    pub fn gpu(&self) -> Option<&GpuFields> {
        match self {
            Self::Gpu(gpu) => Some(gpu),
            Self::Switch(_) => None,
        }
    }

    /// What a switch says of itself.
    #[must_use]
    pub fn switch(&self) -> Option<&SwitchFields> {
        match self {
            Self::Gpu(_) => None,
            Self::Switch(switch) => Some(switch),
        }
    }

    /// The identity of the firmware, when it is stated.
    #[must_use]
    pub fn fwid(&self) -> Option<&[u8; FWID_LEN]> {
        match self {
            Self::Gpu(gpu) => gpu.fwid.as_ref(),
            Self::Switch(switch) => switch.fwid.as_ref(),
        }
    }
}

/// The values by their type, each with its place in the report.
type List<'a> = BTreeMap<u16, (usize, &'a [u8])>;

fn split<'a>(bytes: &'a [u8], offset: usize, checks: &mut DeviceChecks<'_>) -> Option<List<'a>> {
    let mut list = List::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let at = offset + bytes.len() - rest.len();
        let Some((kind, value, after)) = split_first(rest).filter(|_| list.len() < MAX_FIELDS) else {
            let code = codes::OPAQUE_FORMAT.at("gpu report", at, rest.len());
            let wanted = format!("at most {MAX_FIELDS} fields that fill the opaque data");
            checks.record(code, false, wanted, format!("{} bytes are none", rest.len()));
            return None;
        };
        if list.insert(kind, (at + 4, value)).is_some() {
            let code = codes::OPAQUE_DUPLICATE.at("gpu report", at, 4 + value.len());
            checks.record(code, false, "each field once", format!("field {kind} again"));
            return None;
        }
        rest = after;
    }
    let code = codes::OPAQUE_FORMAT.at("gpu report", offset, bytes.len());
    checks.record(code, true, "fields that fill the opaque data", format!("{} fields", list.len()));
    Some(list)
}

fn split_first(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let [kind_low, kind_high, low, high, rest @ ..] = bytes else { return None };
    let (value, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes([*low, *high])))?;
    Some((u16::from_le_bytes([*kind_low, *kind_high]), value, rest))
}

/// Takes known fields out of the list.
struct Fields<'a, 'c, 'd> {
    list: List<'a>,
    whole: (usize, usize),
    sound: bool,
    checks: &'c mut DeviceChecks<'d>,
}

impl Fields<'_, '_, '_> {
    fn gpu(&mut self) -> Option<GpuFields> {
        self.version()?;
        let version = self.optional(VERSION, u16_le);
        let driver_version = self.required(DRIVER_VERSION, |value| text(value)?.parse().ok());
        let vbios_version = self.required(VBIOS_VERSION, gpu_vbios);
        let nvdec0_enabled = self.required(NVDEC0_STATUS, status);
        let chip_sku = self.required(CHIP_SKU, name);
        let project = self.required(PROJECT, name);
        let project_sku = self.required(PROJECT_SKU, name);
        let fwid = self.optional(FWID, |value| value.try_into().ok());
        let protected_pcie = self.optional(PROTECTED_PCIE_STATUS, status);
        let switches = self.optional(PDI, pdis);
        let system_enable_status = self.optional(SYSTEM_ENABLE_STATUS, |value| value.try_into().ok());
        let chip = self.optional(CHIP, name);
        let mode = self.optional(FEATURE_FLAG, feature_flag);
        for (kind, length) in [(GPU_INFO, 8), (CPR_INFO, 4), (BOARD_ID, 4)] {
            self.optional(kind, |value| (value.len() == length).then_some(()));
        }
        self.optional(MEASUREMENT_COUNTERS, |value| (value.len() % 4 == 0).then_some(()));
        self.optional(CHIP_SKU_MODIFICATION, text);
        self.optional(PROJECT_SKU_MODIFICATION, text);
        Some(GpuFields {
            driver_version: driver_version?,
            vbios_version: vbios_version?,
            nvdec0_enabled: nvdec0_enabled?,
            chip_sku: chip_sku?,
            project: project?,
            project_sku: project_sku?,
            fwid,
            protected_pcie,
            switches,
            system_enable_status,
            version,
            chip,
            mode,
            unknown: self.list.len(),
        })
    }

    fn switch(&mut self) -> Option<SwitchFields> {
        self.version()?;
        self.optional(VERSION, u16_le);
        let bios_version = self.required(VBIOS_VERSION, |value| text(value)?.parse().ok());
        let pdi = self.required(PDI, |value| value.try_into().ok().map(Pdi));
        let links = self.required(SWITCH_GPU_PDIS, |value| {
            let (gpus, ports) = value.split_at_checked(8 * SWITCH_GPUS)?;
            Some((pdis(gpus)?, ports.try_into().ok()?))
        });
        let fwid = self.optional(FWID, |value| value.try_into().ok());
        let disabled_ports = self.optional(DISABLED_PORTS, u16_le);
        let position = self.optional(POSITION, u16_le);
        let lock_status = self.optional(LOCK_STATUS, u16_le);
        self.optional(MEASUREMENT_COUNTERS, |value| (value.len() % 4 == 0).then_some(()));
        let (gpus, ports) = links?;
        Some(SwitchFields {
            bios_version: bios_version?,
            pdi: pdi?,
            gpus,
            ports,
            fwid,
            disabled_ports,
            position,
            lock_status,
            unknown: self.list.len(),
        })
    }

    /// Refuses opaque data of a version that is not known, before anything else in it has a meaning.
    fn version(&mut self) -> Option<()> {
        let Some((at, value)) = self.list.get(&VERSION).copied() else { return Some(()) };
        let known = u16_le(value).is_some_and(|version| version <= MAX_VERSION);
        let code = codes::OPAQUE_VERSION.at("gpu report", at, value.len());
        let observed = format!("{value:02x?}");
        let observed = if value.len() == 2 { observed } else { format!("{} bytes", value.len()) };
        self.checks.record(code, known, "opaque data of version 0 or 1", observed).then_some(())
    }

    fn required<T>(&mut self, kind: u16, read: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
        if !self.list.contains_key(&kind) {
            let code = codes::OPAQUE_MISSING.at("gpu report", self.whole.0, self.whole.1);
            self.fail(code, format!("field {kind}"), "none".to_owned());
        }
        self.optional(kind, read)
    }

    fn optional<T>(&mut self, kind: u16, read: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
        let (at, value) = self.list.remove(&kind)?;
        let read = read(value);
        if read.is_none() {
            let code = codes::OPAQUE_FIELD.at("gpu report", at, value.len());
            let observed = format!("another value, of {} bytes", value.len());
            self.fail(code, format!("field {kind} of its length and range"), observed);
        }
        read
    }

    fn fail(&mut self, code: Code, wanted: String, observed: String) {
        self.checks.record(code, false, wanted, observed);
        self.sound = false;
    }
}

/// Printable ASCII, then nothing but NUL.
fn text(value: &[u8]) -> Option<String> {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    let (text, padding) = value.split_at_checked(end)?;
    let sound = value.len() <= MAX_TEXT_BYTES
        && text.iter().all(u8::is_ascii_graphic)
        && padding.iter().all(|byte| *byte == 0);
    sound.then(|| text.iter().copied().map(char::from).collect())
}

/// Text of letters and digits, as the parts of the names of manifests are.
fn name(value: &[u8]) -> Option<String> {
    text(value).filter(|text| !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric()))
}

fn u16_le(value: &[u8]) -> Option<u16> {
    value.try_into().ok().map(u16::from_le_bytes)
}

fn status(value: &[u8]) -> Option<bool> {
    match value {
        [ENABLED] => Some(true),
        [DISABLED] => Some(false),
        _ => None,
    }
}

fn feature_flag(value: &[u8]) -> Option<Mode> {
    match u16_le(value)? {
        0 => Some(Mode::SinglePassthrough),
        1 => Some(Mode::MultiPassthrough),
        2 => Some(Mode::ProtectedPcie),
        _ => None,
    }
}

/// Two little-endian words: the first four numbers of the version, and the fifth.
fn gpu_vbios(value: &[u8]) -> Option<VbiosVersion> {
    match *value {
        [d, c, b, a, e, 0, 0, 0] => Some(VbiosVersion([a, b, c, d, e])),
        _ => None,
    }
}

fn pdis<const N: usize>(value: &[u8]) -> Option<[Pdi; N]> {
    let (list, rest) = value.as_chunks::<8>();
    let list: Vec<Pdi> = list.iter().copied().map(Pdi).collect();
    list.try_into().ok().filter(|_| rest.is_empty())
}

//! What a simulated device is and states.

use ring::digest::{SHA384, digest};

/// The chip to pretend to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chip {
    /// Hopper.
    Gh100,
    /// Blackwell.
    Gb100,
    /// The NVSwitch beside Hopper.
    Ls10,
}

impl Chip {
    /// As manifests write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gh100 => "GH100",
            Self::Gb100 => "GB100",
            Self::Ls10 => "LS10",
        }
    }

    /// As certificates write it.
    #[must_use]
    pub const fn certificate_name(self) -> &'static str {
        match self {
            Self::Gh100 => "GH100",
            Self::Gb100 => "GB100",
            Self::Ls10 => "LS_10",
        }
    }

    /// The engine that signs, as certificates write it.
    pub(super) const fn engine(self) -> &'static str {
        match self {
            Self::Gh100 | Self::Gb100 => "GSP",
            Self::Ls10 => "FSP",
        }
    }

    /// The chip of the identity CA: LS10 stands below that of GH100.
    pub(super) const fn identity_name(self) -> &'static str {
        match self {
            Self::Gh100 | Self::Ls10 => "GH100",
            Self::Gb100 => "GB100",
        }
    }

    /// What stands before the PDI in the BROM's serial number.
    pub(super) const fn serial_prefix(self) -> &'static str {
        match self {
            Self::Gh100 | Self::Gb100 => "41",
            Self::Ls10 => "50",
        }
    }

    /// How many blocks a report has.
    #[must_use]
    pub const fn blocks(self) -> u8 {
        match self {
            Self::Gh100 | Self::Gb100 => 64,
            Self::Ls10 => 31,
        }
    }

    /// The measurement with this index of a manifest, from 0, in simulated firmware of this version: the SHA-384 digest of a text.
    #[must_use]
    pub fn measurement(self, index: u8) -> [u8; 48] {
        let text = format!("anchorhold simulated {} measurement {index}", self.name());
        let mut out = [0; 48];
        out.copy_from_slice(digest(&SHA384, text.as_bytes()).as_ref());
        out
    }
}

/// What a switch says of its links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchLinks {
    /// The PDIs of the GPUs.
    pub gpus: [[u8; 8]; 8],
    /// For each port the place of its GPU in `gpus`, 0xff where there is none.
    pub ports: [u8; 64],
    /// The switch's place on the board.
    pub position: u16,
}

/// What a simulated device states. Start from [`new`](Self::new) and change what differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuConfig {
    /// The chip.
    pub chip: Chip,
    /// The device's identity, certified in its BROM certificate.
    pub pdi: [u8; 8],
    /// The driver; a switch states none.
    pub driver_version: String,
    /// The five parts of the version of VBIOS or switch BIOS.
    pub vbios_version: [u8; 5],
    /// The board's project.
    pub project: String,
    /// The project's SKU.
    pub project_sku: String,
    /// The chip's SKU.
    pub chip_sku: String,
    /// The firmware's identity in the certificate of the attestation key.
    pub certified_fwid: [u8; 48],
    /// The firmware's identity in the report. Default: the certified one; none for a switch.
    pub fwid: Option<[u8; 48]>,
    /// Status of NVDEC0: 0x55 off, 0xaa on. Default: off.
    pub nvdec0: u8,
    /// Status of protected PCIe, the same. Default: off; none for Blackwell.
    pub protected_pcie: Option<u8>,
    /// Feature flag: 0 one GPU, 1 several, 2 protected PCIe. Default: 0.
    pub feature: Option<u16>,
    /// Of a GPU, the identity of the switch at each of its 18 links, in the order of bytes that reports have.
    pub links: Option<[[u8; 8]; 18]>,
    /// Of a switch.
    pub switch: Option<SwitchLinks>,
    /// The blocks of the report from index 1.
    pub measurements: Vec<[u8; 48]>,
}

impl GpuConfig {
    /// A device of this kind with this identity, whose measurements are those of [`Chip::measurement`].
    #[must_use]
    pub fn new(chip: Chip, pdi: [u8; 8]) -> Self {
        let is_switch = chip == Chip::Ls10;
        let certified_fwid = chip.measurement(u8::MAX);
        let mut gpus = [[0; 8]; 8];
        gpus.iter_mut().zip(1..).for_each(|(gpu, number)| *gpu = [number; 8]);
        Self {
            chip,
            pdi,
            driver_version: "590.12".to_owned(),
            vbios_version: match chip {
                Chip::Gh100 => [0x96, 0x00, 0xa5, 0x00, 0x01],
                Chip::Gb100 => [0x97, 0x00, 0x88, 0x00, 0x0f],
                Chip::Ls10 => [0x96, 0x10, 0x55, 0x00, 0x01],
            },
            project: if is_switch { "5612" } else { "G520" }.to_owned(),
            project_sku: if is_switch { "0002" } else { "0200" }.to_owned(),
            chip_sku: if is_switch { "890" } else { "885" }.to_owned(),
            certified_fwid,
            fwid: (!is_switch).then_some(certified_fwid),
            nvdec0: 0x55,
            protected_pcie: (chip == Chip::Gh100).then_some(0x55),
            feature: (!is_switch).then_some(0),
            links: None,
            switch: is_switch.then_some(SwitchLinks { gpus, ports: [0xff; 64], position: 0 }),
            measurements: (0..chip.blocks()).map(|index| chip.measurement(index)).collect(),
        }
    }

    /// The version of VBIOS or switch BIOS as text.
    #[must_use]
    pub fn vbios_text(&self) -> String {
        self.vbios_version.map(|part| format!("{part:02X}")).join(".")
    }
}

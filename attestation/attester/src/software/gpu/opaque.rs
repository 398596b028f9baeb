//! The opaque data of a report: fields with a type, a length and a value.

use super::{Chip, GpuConfig};

/// One field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpaqueField {
    /// Its type.
    pub kind: u16,
    /// Its value.
    pub value: Vec<u8>,
}

impl OpaqueField {
    /// A field.
    #[must_use]
    pub fn new(kind: u16, value: &[u8]) -> Self {
        Self { kind, value: value.to_vec() }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let [low, high, ..] = self.value.len().to_le_bytes();
        [&self.kind.to_le_bytes()[..], &[low, high], &self.value].concat()
    }
}

/// The opaque data of a device, in the order of its kind.
pub(super) fn fields(config: &GpuConfig) -> Vec<OpaqueField> {
    match config.chip {
        Chip::Gh100 | Chip::Gb100 => gpu(config),
        Chip::Ls10 => switch(config),
    }
}

/// Text as NUL-padded bytes.
fn text(text: &str, length: usize) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(length.max(bytes.len() + 1), 0);
    bytes
}

fn gpu(config: &GpuConfig) -> Vec<OpaqueField> {
    let [a, b, c, d, e] = config.vbios_version;
    let (gpu_info, cpr_info) =
        if config.chip == Chip::Gh100 { ([0x80, 1], [0, 0xc0, 1, 0]) } else { ([0xa0, 1], [0, 0, 4, 0]) };
    let mut fields = vec![
        OpaqueField::new(6, &[d, c, b, a, e, 0, 0, 0]),
        OpaqueField::new(14, &[0x37, 4, 0, 0]),
        OpaqueField::new(15, &text(&config.chip_sku, 9)),
        OpaqueField::new(16, &text("0", 5)),
        OpaqueField::new(17, &text(&config.project, 5)),
        OpaqueField::new(18, &text(&config.project_sku, 5)),
        OpaqueField::new(19, &text("", 2)),
        OpaqueField::new(3, &text(&config.driver_version, 0)),
        OpaqueField::new(4, &[gpu_info[0], gpu_info[1], 0, 0, 0, 0, 0, 0]),
        OpaqueField::new(12, &counters(config)),
        OpaqueField::new(13, &cpr_info),
        OpaqueField::new(11, &[config.nvdec0]),
    ];
    let mut add =
        |kind, value: Option<Vec<u8>>| fields.extend(value.map(|value| OpaqueField { kind, value }));
    let blackwell = config.chip == Chip::Gb100;
    add(20, config.fwid.map(Vec::from));
    add(21, config.protected_pcie.map(|status| vec![status]));
    add(22, config.links.map(|links| links.as_flattened().to_vec()));
    add(33, blackwell.then(|| vec![7, 7]));
    add(34, Some(vec![1, 0]));
    add(35, blackwell.then(|| text(config.chip.name(), 0)));
    add(36, config.feature.map(|feature| feature.to_le_bytes().to_vec()));
    fields
}

fn switch(config: &GpuConfig) -> Vec<OpaqueField> {
    let mut fields = vec![
        OpaqueField::new(6, config.vbios_text().as_bytes()),
        OpaqueField::new(22, &config.pdi),
        OpaqueField::new(12, &counters(config)),
    ];
    if let Some(links) = &config.switch {
        fields.push(OpaqueField::new(26, &[links.gpus.as_flattened(), &links.ports].concat()));
        fields.push(OpaqueField::new(23, &[0, 0]));
        fields.push(OpaqueField::new(24, &links.position.to_le_bytes()));
        fields.push(OpaqueField::new(25, &[1, 0]));
    }
    fields.extend(config.fwid.map(|fwid| OpaqueField::new(20, &fwid)));
    fields
}

/// How often each measurement was extended; the simulated ones once.
fn counters(config: &GpuConfig) -> Vec<u8> {
    let count = if config.chip == Chip::Ls10 { 26 } else { 64 };
    [1, 0, 0, 0].repeat(count)
}

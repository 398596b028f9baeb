//! The values of devices that have a meaning of their own.

use super::codes;
use anchorhold_rats::{Checks, Code};
use std::fmt;

/// The identity of a device (PDI): 8 bytes, as in its certificate.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pdi(pub [u8; 8]);

impl Pdi {
    /// The same identity with its bytes in the other order, which is how a GPU names switches.
    #[must_use]
    pub const fn reversed(self) -> Self {
        let [a, b, c, d, e, f, g, h] = self.0;
        Self([h, g, f, e, d, c, b, a])
    }
}

impl fmt::Display for Pdi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Pdi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pdi({self})")
    }
}

/// The kinds of devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A GPU.
    Gpu,
    /// An NVSwitch.
    Switch,
}

/// The architectures of devices that are known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// GPUs of the line GH100.
    Hopper,
    /// GPUs of the lines GB1xx and GB2xx.
    Blackwell,
    /// The NVSwitch LS10.
    Ls10,
}

impl Architecture {
    /// The architecture of the chip that a BROM certificate names.
    #[must_use]
    pub fn of_chip(name: &str) -> Option<Self> {
        match name.as_bytes() {
            b"GH100" => Some(Self::Hopper),
            b"LS_10" => Some(Self::Ls10),
            [b'G', b'B', b'1' | b'2', b'0'..=b'9', b'0'..=b'9'] => Some(Self::Blackwell),
            _ => None,
        }
    }

    /// Whether it is one of GPUs or of switches.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Hopper | Self::Blackwell => Kind::Gpu,
            Self::Ls10 => Kind::Switch,
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hopper => "Hopper",
            Self::Blackwell => "Blackwell",
            Self::Ls10 => "LS10",
        })
    }
}

/// Text that is not a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseVersionError;

impl fmt::Display for ParseVersionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a version such as 570.124.03 (driver) or 96.00.5E.00.01 (VBIOS)")
    }
}

impl std::error::Error for ParseVersionError {}

/// The version of a driver: one to four decimal numbers of at most four digits, with dots. Equal only as text, since
/// reference manifests name it so.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DriverVersion {
    text: String,
    parts: [u16; 4],
}

impl DriverVersion {
    /// Whether it is this version or a later one; numbers that are left out count as 0.
    #[must_use]
    pub fn is_at_least(&self, minimum: &Self) -> bool {
        self.parts >= minimum.parts
    }
}

impl std::str::FromStr for DriverVersion {
    type Err = ParseVersionError;

    fn from_str(text: &str) -> Result<Self, ParseVersionError> {
        let mut parts = [0; 4];
        let mut slots = parts.iter_mut();
        for digits in text.split('.') {
            let slot = slots.next().ok_or(ParseVersionError)?;
            if !(1..=4).contains(&digits.len()) || !digits.bytes().all(|c| c.is_ascii_digit()) {
                return Err(ParseVersionError);
            }
            *slot = digits.parse().map_err(|_| ParseVersionError)?;
        }
        Ok(Self { text: text.to_owned(), parts })
    }
}

impl fmt::Display for DriverVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The version of a VBIOS or of a switch's BIOS: five bytes, ordered from left to right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VbiosVersion(pub [u8; 5]);

impl VbiosVersion {
    /// Without dots, as in the names of reference manifests.
    #[must_use]
    pub fn undotted(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02X}")).collect()
    }
}

impl std::str::FromStr for VbiosVersion {
    type Err = ParseVersionError;

    fn from_str(text: &str) -> Result<Self, ParseVersionError> {
        let mut version = [0; 5];
        let mut slots = version.iter_mut();
        for pair in text.split('.') {
            let upper_hex = pair.bytes().all(|c| matches!(c, b'0'..=b'9' | b'A'..=b'F'));
            let slot = slots.next().filter(|_| pair.len() == 2 && upper_hex).ok_or(ParseVersionError)?;
            *slot = u8::from_str_radix(pair, 16).map_err(|_| ParseVersionError)?;
        }
        if slots.next().is_some() { Err(ParseVersionError) } else { Ok(Self(version)) }
    }
}

impl fmt::Display for VbiosVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e] = self.0;
        write!(f, "{a:02X}.{b:02X}.{c:02X}.{d:02X}.{e:02X}")
    }
}

/// The confidential modes of GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// One GPU for one guest, with encrypted transfers.
    SinglePassthrough,
    /// Several GPUs for one guest, with encrypted transfers.
    MultiPassthrough,
    /// A whole board for one guest, whose links are inside the trust boundary.
    ProtectedPcie,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SinglePassthrough => "single GPU passthrough",
            Self::MultiPassthrough => "multi GPU passthrough",
            Self::ProtectedPcie => "protected PCIe",
        })
    }
}

/// The checks of one device: what was wanted begins with the device's place in the evidence.
pub(super) struct DeviceChecks<'a> {
    pub(super) index: usize,
    pub(super) checks: &'a mut Checks,
}

impl DeviceChecks<'_> {
    /// As [`Checks::record`].
    pub(super) fn record(
        &mut self,
        code: Code,
        passed: bool,
        wanted: impl fmt::Display,
        observed: impl Into<String>,
    ) -> bool {
        let wanted = format!("device {}: {wanted}", self.index);
        self.checks.record(code, passed, wanted, observed);
        self.checks.last_is_of_device(self.index);
        passed
    }

    /// As [`Checks::skip`].
    pub(super) fn skip(&mut self, code: Code, wanted: impl fmt::Display, why: impl Into<String>) {
        self.checks.skip(code, format!("device {}: {wanted}", self.index), why);
        self.checks.last_is_of_device(self.index);
    }

    /// Records that the report is cut at `offset`.
    pub(super) fn cut(&mut self, offset: usize) {
        self.record(
            codes::REPORT_LENGTH.at("gpu report", offset, 0),
            false,
            "a whole report",
            "it ends early",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn driver_versions_are_ordered_by_their_numbers() {
        let version = |text: &str| text.parse::<DriverVersion>().unwrap();
        assert!(version("570.124.03").is_at_least(&version("570.86.15")));
        assert!(!version("535.86.09").is_at_least(&version("535.104")));
        assert!(version("590.12").is_at_least(&version("590.12.0")));
        assert_ne!(version("590.12"), version("590.12.0"));
        for bad in ["", "590.", ".1", "590.12a", "1.2.3.4.5", "99999", "590.-1", "590 .1"] {
            assert!(bad.parse::<DriverVersion>().is_err(), "{bad}");
        }
    }

    #[test]
    fn vbios_versions_have_one_form() {
        let version: VbiosVersion = "96.00.5E.00.01".parse().unwrap();
        assert_eq!(
            (version.to_string().as_str(), version.undotted().as_str()),
            ("96.00.5E.00.01", "96005E0001")
        );
        assert!(version < "96.00.A5.00.01".parse().unwrap());
        for bad in
            ["", "96.00.5E.00", "96.00.5E.00.01.02", "96.00.5e.00.01", "96.0.5E.00.01", "96.00.5E.00.+1"]
        {
            assert!(bad.parse::<VbiosVersion>().is_err(), "{bad}");
        }
    }

    #[test]
    fn chips_that_are_not_known_have_no_architecture() {
        assert_eq!(Architecture::of_chip("GH100"), Some(Architecture::Hopper));
        assert_eq!(Architecture::of_chip("GB100"), Some(Architecture::Blackwell));
        assert_eq!(Architecture::of_chip("LS_10").map(Architecture::kind), Some(Kind::Switch));
        for unknown in ["", "GH200", "GB300", "GB1000", "GR100", "LS_11", "gh100"] {
            assert_eq!(Architecture::of_chip(unknown), None, "{unknown}");
        }
    }
}

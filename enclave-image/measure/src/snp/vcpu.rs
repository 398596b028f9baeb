//! Models of virtual processors, of which the digest holds the CPUID signature.

use std::fmt;
use std::str::FromStr;

/// A model of virtual processor: the signature that CPUID function 1 gives in EAX (AMD 25481), which processors start with
/// in RDX.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VcpuType(u32);

/// A name that QEMU's list of EPYC models does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownVcpuType;

impl fmt::Display for UnknownVcpuType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a model of QEMU's such as EPYC-v4, EPYC-Milan, EPYC-Genoa or EPYC-Turin")
    }
}

impl std::error::Error for UnknownVcpuType {}

/// QEMU's models (`target/i386/cpu.c`, `builtin_x86_defs`): the name without its version, family, model and stepping, and the
/// greatest version. Versions differ in features and not in the signature.
const MODELS: &[(&str, [u32; 3], u32)] = &[
    ("EPYC", [23, 1, 2], 5),
    ("EPYC-Rome", [23, 49, 0], 5),
    ("EPYC-Milan", [25, 1, 1], 3),
    ("EPYC-Genoa", [25, 17, 0], 2),
    ("EPYC-Turin", [26, 0, 0], 2),
];
/// Version 2 of EPYC has this name too.
const EPYC_IBPB: &str = "EPYC-IBPB";

impl VcpuType {
    /// The model of a family, model and stepping, as `/proc/cpuinfo` and QEMU write them.
    #[must_use]
    pub const fn of(family: u8, model: u8, stepping: u8) -> Self {
        let (low, high) = if family > 15 { (15, family - 15) } else { (family, 0) };
        Self(
            (high as u32) << 20
                | (model as u32 >> 4) << 16
                | (low as u32) << 8
                | (model as u32 & 15) << 4
                | (stepping as u32 & 15),
        )
    }

    /// The signature.
    #[must_use]
    pub const fn signature(self) -> u32 {
        self.0
    }
}

impl FromStr for VcpuType {
    type Err = UnknownVcpuType;

    /// A name as QEMU's `-cpu` takes it.
    fn from_str(name: &str) -> Result<Self, UnknownVcpuType> {
        let name = if name == EPYC_IBPB { "EPYC" } else { name };
        let found = MODELS.iter().find(|(model, _, versions)| {
            let Some(rest) = name.strip_prefix(model) else { return false };
            rest.is_empty() || (1..=*versions).any(|version| rest == format!("-v{version}"))
        });
        let (_, [family, model, stepping], _) = found.ok_or(UnknownVcpuType)?;
        let byte = |number: u32| u8::try_from(number).map_err(|_| UnknownVcpuType);
        Ok(Self::of(byte(*family)?, byte(*model)?, byte(*stepping)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_signatures_of_their_processors() {
        for (name, signature) in [
            ("EPYC", 0x0080_0f12),
            ("EPYC-v4", 0x0080_0f12),
            ("EPYC-IBPB", 0x0080_0f12),
            ("EPYC-Rome-v2", 0x0083_0f10),
            ("EPYC-Milan", 0x00a0_0f11),
            ("EPYC-Genoa-v2", 0x00a1_0f10),
            ("EPYC-Turin", 0x00b0_0f00),
        ] {
            assert_eq!(name.parse().map(VcpuType::signature), Ok(signature), "{name}");
        }
        assert_eq!(VcpuType::of(6, 0x9e, 9).signature(), 0x0009_06e9);
        for name in ["", "epyc", "EPYC-", "EPYC-v0", "EPYC-v9", "EPYC-v04", "EPYC-Genoa-v", "host"] {
            assert_eq!(name.parse::<VcpuType>(), Err(UnknownVcpuType), "{name}");
        }
    }
}

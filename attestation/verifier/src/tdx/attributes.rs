//! The attribute words of a TD.

use std::fmt;

/// TDATTRIBUTES (Intel TDX Module ABI Specification 348551, "TD_ATTRIBUTES"; TDX Module Base Architecture, A.3.4).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TdAttributes(pub u64);

impl TdAttributes {
    /// Every bit with a meaning known here.
    const KNOWN: u64 = 1
        | 0b111 << 4
        | 1 << 16
        | 1 << 17
        | 1 << 27
        | 1 << 28
        | 1 << 29
        | 1 << 30
        | 1 << 31
        | 1 << 62
        | 1 << 63;

    const fn bit(self, index: u32) -> bool {
        self.0 >> index & 1 == 1
    }

    /// DEBUG, bit 0: the host can read and change the TD.
    #[must_use]
    pub const fn debug(self) -> bool {
        self.bit(0)
    }

    /// Bits 4 to 6: the host can profile the TD.
    #[must_use]
    pub const fn profiling(self) -> bool {
        self.0 >> 4 & 0b111 != 0
    }

    /// ICSSD, bit 16: defence against single-stepping by counting instructions.
    #[must_use]
    pub const fn step_defence(self) -> bool {
        self.bit(16)
    }

    /// SERVTD_EXT, bit 17: extended binding of service TDs.
    #[must_use]
    pub const fn service_td_extended(self) -> bool {
        self.bit(17)
    }

    /// LASS, bit 27: linear address space separation may be used.
    #[must_use]
    pub const fn lass(self) -> bool {
        self.bit(27)
    }

    /// SEPT_VE_DISABLE, bit 28: no #VE on pending pages.
    #[must_use]
    pub const fn sept_ve_disabled(self) -> bool {
        self.bit(28)
    }

    /// MIGRATABLE, bit 29: a migration TD can export the TD.
    #[must_use]
    pub const fn migratable(self) -> bool {
        self.bit(29)
    }

    /// PKS, bit 30: supervisor protection keys may be used.
    #[must_use]
    pub const fn pks(self) -> bool {
        self.bit(30)
    }

    /// KL, bit 31: Key Locker may be used.
    #[must_use]
    pub const fn key_locker(self) -> bool {
        self.bit(31)
    }

    /// TPA, bit 62: the TD is a TDX Connect provisioning agent.
    #[must_use]
    pub const fn provisioning_agent(self) -> bool {
        self.bit(62)
    }

    /// PERFMON, bit 63: performance monitoring may be used.
    #[must_use]
    pub const fn perfmon(self) -> bool {
        self.bit(63)
    }

    /// The bits that are reserved or unknown here.
    #[must_use]
    pub const fn reserved(self) -> u64 {
        self.0 & !Self::KNOWN
    }
}

impl fmt::Debug for TdAttributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TdAttributes({:#x})", self.0)
    }
}

/// XFAM: the extended processor features that the TD may use, as bits of XCR0 and IA32_XSS.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Xfam(pub u64);

impl Xfam {
    /// Bits that are always one: x87 and SSE.
    pub const FIXED_1: u64 = 0x3;
    /// Bits that may be one: x87, SSE, AVX, AVX-512, PT, PKRU, CET, UINTR, LBR and AMX.
    pub const KNOWN: u64 = 0x6_dbe7;

    /// Whether the fixed bits are as the TDX module sets them and no unknown bit is set.
    #[must_use]
    pub const fn is_well_formed(self) -> bool {
        self.0 & Self::FIXED_1 == Self::FIXED_1 && self.0 & !Self::KNOWN == 0
    }
}

impl fmt::Debug for Xfam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Xfam({:#x})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_is_either_named_or_reserved() {
        let named = [0, 4, 5, 6, 16, 17, 27, 28, 29, 30, 31, 62, 63];
        for bit in 0..64 {
            let attributes = TdAttributes(1 << bit);
            assert_eq!(attributes.reserved() == 0, named.contains(&bit), "bit {bit}");
            let readings = [
                attributes.debug(),
                attributes.profiling(),
                attributes.step_defence(),
                attributes.service_td_extended(),
                attributes.lass(),
                attributes.sept_ve_disabled(),
                attributes.migratable(),
                attributes.pks(),
                attributes.key_locker(),
                attributes.provisioning_agent(),
                attributes.perfmon(),
            ];
            let set = readings.into_iter().filter(|set| *set).count();
            assert_eq!(set, usize::from(named.contains(&bit)), "bit {bit}");
        }
    }

    #[test]
    fn xfam_keeps_its_fixed_bits() {
        assert!(Xfam(0x642e7).is_well_formed());
        assert!(Xfam(0x3).is_well_formed());
        for bit in 0..64 {
            assert_eq!(Xfam(0x3 | 1 << bit).is_well_formed(), Xfam::KNOWN >> bit & 1 == 1, "bit {bit}");
        }
        assert!(!Xfam(0x1).is_well_formed());
        assert!(!Xfam(0x2).is_well_formed());
    }
}

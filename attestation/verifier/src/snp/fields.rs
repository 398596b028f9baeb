//! The values of a report that have a meaning of their own.

use std::fmt;

/// The identity of a chip. Turin uses the first 8 bytes; the rest is zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChipId(pub [u8; 64]);

impl ChipId {
    /// Whether the host masked it, or the signer is a VLEK.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.0 == [0; 64]
    }
}

impl fmt::Display for ChipId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ChipId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChipId({self})")
    }
}

/// The kinds of keys that sign reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signer {
    /// A key of one chip, certified by the ASK.
    Vcek,
    /// A key of one cloud provider, loaded into its chips and certified by the ASVK.
    Vlek,
}

/// SIGNING_KEY of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigningKey {
    /// The report is signed.
    Signed(Signer),
    /// The report is not signed: the host masked the chip's key.
    None,
}

/// POLICY of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestPolicy(pub u64);

/// PLATFORM_INFO. Bits without a name here are ignored: both real Turin samples set bit 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlatformInfo(pub u64);

macro_rules! bits {
    ($type:ident: $($(#[$doc:meta])* $name:ident = $bit:literal),+) => {
        impl $type {
            $($(#[$doc])* #[must_use] pub const fn $name(self) -> bool { self.0 >> $bit & 1 == 1 })+
        }
    };
}

bits!(GuestPolicy:
    /// SMT is allowed.
    smt_allowed = 16,
    /// A migration agent is allowed.
    migration_agent_allowed = 18,
    /// Debugging by the host is allowed.
    debug_allowed = 19,
    /// Only one socket may run the guest.
    single_socket = 20,
    /// CXL memory may be attached.
    cxl_allowed = 21,
    /// Memory must be encrypted with AES-256-XTS.
    aes_256_xts = 22,
    /// RAPL must be off.
    rapl_disabled = 23,
    /// Ciphertext hiding for DRAM must be on.
    ciphertext_hiding = 24,
    /// Page swapping by the host is disabled.
    page_swap_disabled = 25
);

bits!(PlatformInfo:
    /// SMT is on.
    smt_enabled = 0,
    /// TSME is on.
    tsme_enabled = 1,
    /// ECC memory is in use.
    ecc_enabled = 2,
    /// RAPL is off.
    rapl_disabled = 3,
    /// Ciphertext hiding for DRAM is on.
    ciphertext_hiding_enabled = 4,
    /// The check for memory aliases has finished since the last reset (against BadRAM).
    alias_check_complete = 5,
    /// SEV-TIO (trusted devices) is on.
    tio_enabled = 7
);

impl GuestPolicy {
    /// The lowest firmware ABI that may run the guest, as (major, minor).
    #[must_use]
    pub const fn abi_version(self) -> (u8, u8) {
        let bytes = self.0.to_le_bytes();
        (bytes[1], bytes[0])
    }

    pub(super) const fn is_well_formed(self) -> bool {
        self.0 >> 17 & 1 == 1 && self.0 >> 26 == 0
    }
}

/// A version of the SNP firmware; ordered by its parts from left to right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FirmwareVersion {
    /// API major.
    pub major: u8,
    /// API minor.
    pub minor: u8,
    /// Build.
    pub build: u8,
}

impl fmt::Display for FirmwareVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.build)
    }
}

/// Which verified mitigations are active; reports from version 5 on. Each bit is one mitigation, so two vectors compare as
/// sets and never as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MitigationVectors {
    /// When the guest was launched.
    pub launch: u64,
    /// Now.
    pub current: u64,
}

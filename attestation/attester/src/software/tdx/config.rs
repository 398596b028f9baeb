//! How a simulated TD is launched: what a host and its firmware would decide.

use super::{EventLog, PlatformConfig, Td15Ex};
use anchorhold_rats::Measurement;
use ring::digest::{SHA384, digest};

/// The quote version and body to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuoteVersion {
    /// Version 4, TD 1.0.
    V4,
    /// Version 5, TD 1.0.
    V5Td10,
    /// Version 5, TD 1.5.
    V5Td15,
    /// Version 5, TD 1.5 extended.
    V5Td15Ex,
}

/// Where RTMR0 to RTMR3 come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registers {
    /// These values, and no event log in the evidence.
    Values([[u8; 48]; 4]),
    /// What this log replays to; it goes into the evidence.
    Log(EventLog),
}

/// What the simulated TD reports. Start from [`new`](Self::new) and change what differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdConfig {
    /// MRTD.
    pub mr_td: Measurement,
    /// The RTMRs. Default: of [`EventLog::boot`] with the default [`Boot`](super::Boot).
    pub registers: Registers,
    /// The quote version. Default: 5 with TD 1.5.
    pub version: QuoteVersion,
    /// TDATTRIBUTES. Default: only SEPT_VE_DISABLE.
    pub attributes: u64,
    /// XFAM. Default: 0x602e7, as real servers report.
    pub xfam: u64,
    /// TEE_TCB_SVN. Default: module 1 with ISVSVN 5, late microcode 7.
    pub tee_tcb_svn: [u8; 16],
    /// TEE_TCB_SVN2, of TD 1.5. Default: as [`tee_tcb_svn`](Self::tee_tcb_svn).
    pub tee_tcb_svn2: [u8; 16],
    /// MRSEAM. Default: the SHA-384 digest of a text that says that it is simulated.
    pub mr_seam: [u8; 48],
    /// MRSIGNERSEAM. Default: zero, which is Intel.
    pub mr_signer_seam: [u8; 48],
    /// SEAMATTRIBUTES. Default: zero.
    pub seam_attributes: u64,
    /// MRCONFIGID. Default: zero.
    pub mr_config_id: [u8; 48],
    /// MROWNER. Default: zero.
    pub mr_owner: [u8; 48],
    /// MROWNERCONFIG. Default: zero.
    pub mr_owner_config: [u8; 48],
    /// MRSERVICETD, of TD 1.5. Default: zero.
    pub mr_service_td: [u8; 48],
    /// What TD 1.5 extended adds. Default: zero, but for the TD's identity and the platform's first values.
    pub td15_ex: Td15Ex,
    /// The platform below.
    pub platform: PlatformConfig,
    /// How long the PCK certificate lasts from the time of launch, in seconds. Default: 7 years.
    pub certificate_seconds: i64,
}

impl TdConfig {
    /// A TD 1.5 with this MRTD on an up-to-date platform.
    #[must_use]
    pub fn new(mr_td: Measurement) -> Self {
        let platform = PlatformConfig::default();
        let tee_tcb_svn = [5, 1, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut initial_fmspc = [0; 12];
        initial_fmspc.split_at_mut(platform.fmspc.len()).0.copy_from_slice(&platform.fmspc);
        let mut mr_seam = [0; 48];
        mr_seam.copy_from_slice(digest(&SHA384, b"anchorhold simulated TDX module").as_ref());
        Self {
            mr_td,
            registers: Registers::Log(EventLog::boot(&super::Boot::default())),
            version: QuoteVersion::V5Td15,
            attributes: 1 << 28,
            xfam: 0x602e7,
            tee_tcb_svn,
            tee_tcb_svn2: tee_tcb_svn,
            mr_seam,
            mr_signer_seam: [0; 48],
            seam_attributes: 0,
            mr_config_id: [0; 48],
            mr_owner: [0; 48],
            mr_owner_config: [0; 48],
            mr_service_td: [0; 48],
            td15_ex: Td15Ex {
                vm_id: 0,
                td_id: *b"SIMULATED TD IDENTITY...........",
                device_info: [0; 48],
                initial_service_td: ([0; 48], 0),
                initial_cpu_svn: platform.components,
                initial_tee_tcb_svn: tee_tcb_svn,
                initial_fmspc,
                current_service_td: ([0; 48], 0),
            },
            platform,
            certificate_seconds: 7 * 365 * 86_400,
        }
    }
}

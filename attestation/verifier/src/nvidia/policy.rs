//! What a relying party accepts.

use super::{Architecture, DriverVersion, Mode, Pdi, VbiosVersion};
use crate::relaxation::{Relax, Relaxations, sealed};

/// How many devices the evidence has, exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoardSize {
    /// GPUs.
    pub gpus: usize,
    /// Switches.
    pub switches: usize,
}

/// What is asked of revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OcspRules {
    /// Every intermediate of a device and every certificate of a manifest's signer must have an answer. Default: yes.
    pub require: bool,
    /// The age above which an answer is refused, whatever its responder says. Default: a day.
    pub max_age_seconds: i64,
    /// Devices on hold are accepted, as NVIDIA does for boards in its own hands. Default: no.
    pub allow_hold: bool,
    /// Manifests whose signer is on hold are accepted. Default: no.
    pub allow_hold_rim: bool,
}

impl Default for OcspRules {
    fn default() -> Self {
        Self { require: true, max_age_seconds: 24 * 60 * 60, allow_hold: false, allow_hold_rim: false }
    }
}

/// What a relying party accepts. Start from [`strict`](Self::strict) and change what differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The confidential mode that every GPU must be in.
    pub mode: Mode,
    /// How many devices there must be.
    pub board: BoardSize,
    /// The architectures that are accepted. An empty list refuses every device.
    pub allowed_architectures: Vec<Architecture>,
    /// The lowest driver version. Default: not asked.
    pub min_driver_version: Option<DriverVersion>,
    /// The only driver versions that are accepted, compared as text. Default: not asked.
    pub allowed_drivers: Option<Vec<DriverVersion>>,
    /// The lowest VBIOS version of GPUs. Default: not asked.
    pub min_vbios_version: Option<VbiosVersion>,
    /// The lowest BIOS version of switches. Default: not asked.
    pub min_switch_bios_version: Option<VbiosVersion>,
    /// Devices that are refused.
    pub denied_devices: Vec<Pdi>,
    /// The only devices that are accepted. Default: any.
    pub allowed_devices: Option<Vec<Pdi>>,
    /// The measurements must have been compared with NVIDIA's manifests for driver and VBIOS. Default: yes.
    pub require_rims: bool,
    /// Revocation.
    pub ocsp: OcspRules,
    /// Reports of GPUs that do not state their firmware are accepted; drivers before 560 send such. A switch LS10
    /// never states it. Default: no.
    pub allow_missing_fwid: bool,
    /// Reports that do not state the confidential mode are accepted; drivers before 580 send such. The state of
    /// protected PCIe is judged nevertheless. Default: no.
    pub allow_missing_feature_flag: bool,
    /// The links between GPUs and switches, as the devices state them, must be those among the certified devices of the
    /// evidence, all of them and no other. Default: yes in the mode [`Mode::ProtectedPcie`].
    pub require_topology: bool,
    pub(crate) relaxations: Relaxations,
}

impl Policy {
    /// The policy for a board of this size and mode with devices of these architectures, with all other rules at
    /// their defaults.
    #[must_use]
    pub fn strict(mode: Mode, board: BoardSize, allowed_architectures: Vec<Architecture>) -> Self {
        Self {
            mode,
            board,
            allowed_architectures,
            min_driver_version: None,
            allowed_drivers: None,
            min_vbios_version: None,
            min_switch_bios_version: None,
            denied_devices: Vec::new(),
            allowed_devices: None,
            require_rims: true,
            ocsp: OcspRules::default(),
            allow_missing_fwid: false,
            allow_missing_feature_flag: false,
            require_topology: mode == Mode::ProtectedPcie,
            relaxations: Relaxations::default(),
        }
    }
}

impl sealed::Sealed for Policy {}
impl Relax for Policy {
    fn relax(&mut self, change: fn(&mut Relaxations)) {
        change(&mut self.relaxations);
    }
}

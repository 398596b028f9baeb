//! What a relying party accepts.

use super::{PlatformId, TcbStatus, Xfam};
use crate::relaxation::{Relax, Relaxations, sealed};
pub use crate::snp::Flag;
use anchorhold_rats::Measurement;

/// How long a TCB that is not up to date is still accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grace {
    /// The statuses that it applies to. Revoked is refused whatever stands here.
    pub statuses: Vec<TcbStatus>,
    /// How many seconds after [`Tcb::superseded`](super::Tcb::superseded).
    ///
    /// That moment is measured for each part (platform, TDX module, quoting enclave) that is not up to date: the
    /// earliest TCB date, among the levels of the part's own list in the collateral, that is later than the TCB date of
    /// the level which the part meets. Of several parts the earliest moment counts. The evidence is accepted while the
    /// time of its authentication is before that moment plus these seconds. A part that is not up to date though its
    /// list has no later TCB date gets no grace: nothing newer would mend it.
    pub seconds: u32,
}

/// What is asked of TDATTRIBUTES. Debugging, profiling and migration are not here: they are refused, see
/// [`crate::dangerous`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttributeRules {
    /// SEPT_VE_DISABLE must be set, so that the host cannot cause exceptions on private pages. TDs below a paravisor lack
    /// it, since the paravisor handles them. Default: yes.
    pub require_sept_ve_disable: bool,
    /// PERFMON may be set; counters can tell the host something of what the TD does. Default: no.
    pub allow_perfmon: bool,
    /// Supervisor protection keys. Default: either.
    pub pks: Flag,
    /// Key Locker. Default: either.
    pub key_locker: Flag,
    /// Linear address space separation. Default: either.
    pub lass: Flag,
    /// Defence against single-stepping. Default: either.
    pub step_defence: Flag,
    /// TDX Connect provisioning agent. Default: clear.
    pub provisioning_agent: Flag,
}

/// What is asked of the flags in the PCK certificate. A certificate that does not state a flag breaks any rule about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlatformRules {
    /// Packages can be added to the platform. Default: either.
    pub dynamic_platform: Flag,
    /// Intel keeps the platform's root keys. Default: either.
    pub cached_keys: Flag,
    /// Simultaneous multithreading. Default: either.
    pub smt: Flag,
}

/// What a relying party accepts. Start from [`strict`](Self::strict) and change what differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The MRTDs that are accepted. An empty list refuses everything.
    pub mrtds: Vec<Measurement>,
    /// RTMR0 to RTMR3. Default: not asked.
    pub rtmrs: [Option<[u8; 48]>; 4],
    /// The accepted measurements of the TDX module. Default: not asked, since its signer, attributes and TCB level are
    /// always judged.
    pub mr_seams: Option<Vec<[u8; 48]>>,
    /// MRCONFIGID. Default: not asked.
    pub mr_config_id: Option<[u8; 48]>,
    /// MROWNER. Default: not asked.
    pub mr_owner: Option<[u8; 48]>,
    /// MROWNERCONFIG. Default: not asked.
    pub mr_owner_config: Option<[u8; 48]>,
    /// TDATTRIBUTES.
    pub attributes: AttributeRules,
    /// XFAM as a whole; its fixed bits are always judged. Default: not asked.
    pub xfam: Option<Xfam>,
    /// The digests of service TDs that may be bound, at launch, creation or now. Zero, which is none, is always accepted.
    /// Default: none.
    pub allowed_service_tds: Vec<[u8; 48]>,
    /// The digests of device information that are accepted. Zero, which is no device, always is. Default: none.
    pub allowed_device_infos: Vec<[u8; 48]>,
    /// The VM indices that are accepted in extended reports. Default: 0, the TD itself.
    pub allowed_vm_indices: Vec<u8>,
    /// The TCB statuses that are accepted. Revoked is refused whatever stands here. Default: up to date.
    pub accepted_statuses: Vec<TcbStatus>,
    /// How long other statuses are accepted. Default: not at all.
    pub grace: Option<Grace>,
    /// Other statuses than up to date and revoked are accepted when the collateral names advisories for them and each of
    /// them is in this list. Default: not at all.
    pub accepted_advisories: Option<Vec<String>>,
    /// The lowest TCB evaluation data number of TCB info and QE identity. Default: 0.
    pub min_tcb_evaluation_number: u32,
    /// The flags of the platform.
    pub platform: PlatformRules,
    /// Platforms that are refused.
    pub denied_platforms: Vec<PlatformId>,
    /// The only platforms that are accepted. Default: any.
    pub allowed_platforms: Option<Vec<PlatformId>>,
    /// Zero bytes may follow the quote, as the kernel's interface returns it. Default: yes.
    pub allow_zero_padding: bool,
    pub(crate) relaxations: Relaxations,
}

impl Policy {
    /// The policy for TDs with one of these MRTDs on a platform that is up to date, with all other rules at their
    /// defaults.
    #[must_use]
    pub fn strict(mrtds: Vec<Measurement>) -> Self {
        Self {
            mrtds,
            rtmrs: [None; 4],
            mr_seams: None,
            mr_config_id: None,
            mr_owner: None,
            mr_owner_config: None,
            attributes: AttributeRules {
                require_sept_ve_disable: true,
                allow_perfmon: false,
                pks: Flag::Either,
                key_locker: Flag::Either,
                lass: Flag::Either,
                step_defence: Flag::Either,
                provisioning_agent: Flag::Clear,
            },
            xfam: None,
            allowed_service_tds: Vec::new(),
            allowed_device_infos: Vec::new(),
            allowed_vm_indices: vec![0],
            accepted_statuses: vec![TcbStatus::UpToDate],
            grace: None,
            accepted_advisories: None,
            min_tcb_evaluation_number: 0,
            platform: PlatformRules::default(),
            denied_platforms: Vec::new(),
            allowed_platforms: None,
            allow_zero_padding: true,
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

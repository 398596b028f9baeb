//! What a relying party accepts.

use super::{ChipId, FirmwareVersion, GenoaTcb, MilanTcb, MitigationVectors, Signer, TurinTcb};
use crate::relaxation::{Relax, Relaxations, sealed};
use anchorhold_rats::Measurement;

/// What is asked of one bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flag {
    /// Nothing.
    #[default]
    Either,
    /// It must be set.
    Set,
    /// It must be clear.
    Clear,
}

/// The lowest TCB for each product. A product without one is not accepted; that is how Milan is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MinimumTcb {
    /// For Milan. Its root seed can be recovered by software (arXiv 2605.12990), so name it only knowingly.
    pub milan: Option<MilanTcb>,
    /// For Genoa, Bergamo and Siena.
    pub genoa: Option<GenoaTcb>,
    /// For Turin.
    pub turin: Option<TurinTcb>,
}

/// What is asked of the guest policy (POLICY), which the firmware enforces. Debugging and migration are not here:
/// they are refused, see [`crate::dangerous`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GuestPolicyRules {
    /// SMT allowed.
    pub smt_allowed: Flag,
    /// Restricted to a single socket.
    pub single_socket: Flag,
    /// CXL memory allowed.
    pub cxl_allowed: Flag,
    /// AES-256-XTS demanded.
    pub aes_256_xts: Flag,
    /// RAPL disabled.
    pub rapl_disabled: Flag,
    /// Ciphertext hiding demanded.
    pub ciphertext_hiding: Flag,
    /// Page swapping disabled.
    pub page_swap_disabled: Flag,
    /// The lowest firmware ABI that the guest may have asked for, as (major, minor).
    pub min_abi_version: (u8, u8),
}

/// What is asked of the platform's state (PLATFORM_INFO).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlatformRules {
    /// SMT on.
    pub smt_enabled: Flag,
    /// TSME on.
    pub tsme_enabled: Flag,
    /// ECC memory.
    pub ecc_enabled: Flag,
    /// RAPL off.
    pub rapl_disabled: Flag,
    /// Ciphertext hiding on.
    pub ciphertext_hiding_enabled: Flag,
    /// SEV-TIO on.
    pub tio_enabled: Flag,
}

/// What a relying party accepts. Start from [`strict`](Self::strict) and change what differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The launch digests that are accepted. An empty list refuses everything.
    pub measurements: Vec<Measurement>,
    /// The lowest REPORTED_TCB, per product; a product without one is refused.
    pub min_tcb: MinimumTcb,
    /// The lowest COMMITTED_TCB; when given, a product without one is refused. Default: not asked.
    pub min_committed_tcb: Option<MinimumTcb>,
    /// The lowest LAUNCH_TCB; when given, a product without one is refused. Default: not asked.
    pub min_launch_tcb: Option<MinimumTcb>,
    /// The firmware in use must be the committed one, which cannot be rolled back. Default: not asked.
    pub require_committed_firmware: bool,
    /// The lowest firmware version, current and committed. Default: not asked.
    pub min_firmware_version: Option<FirmwareVersion>,
    /// Mitigations that must have been active at launch and must be active now. A report before version 5 has none.
    /// Default: none.
    pub required_mitigations: MitigationVectors,
    /// The VMPLs that are accepted. Default: 0.
    pub allowed_vmpls: Vec<u32>,
    /// The kinds of signing keys that are accepted. Default: VCEK, which names one chip.
    pub allowed_signers: Vec<Signer>,
    /// The cloud providers (CSP_ID) whose VLEKs are accepted. It asks nothing of a VCEK. Default: any.
    pub allowed_providers: Option<Vec<String>>,
    /// The lowest GUEST_SVN. Default: 0.
    pub min_guest_svn: u32,
    /// The guest policy. Default: no CXL memory, nothing else.
    pub guest_policy: GuestPolicyRules,
    /// The check for memory aliases must be complete (against BadRAM, CVE-2024-21944). Default: yes.
    pub require_alias_check: bool,
    /// The platform's state. Default: nothing.
    pub platform: PlatformRules,
    /// A revocation list of the ARK must have been judged. Default: no.
    pub require_crl: bool,
    /// HOST_DATA. Default: not asked.
    pub host_data: Option<[u8; 32]>,
    /// FAMILY_ID. Default: not asked.
    pub family_id: Option<[u8; 16]>,
    /// IMAGE_ID. Default: not asked.
    pub image_id: Option<[u8; 16]>,
    /// The digests of accepted ID keys. Default: not asked.
    pub id_keys: Option<Vec<[u8; 48]>>,
    /// The guest's ID key must be signed by an author key. Default: no.
    pub require_author_key: bool,
    /// The digests of accepted author keys. Default: not asked.
    pub author_keys: Option<Vec<[u8; 48]>>,
    /// Chips that are refused. When not empty, evidence that hides its chip is refused too.
    pub denied_chips: Vec<ChipId>,
    /// The only chips that are accepted. Default: any.
    pub allowed_chips: Option<Vec<ChipId>>,
    pub(crate) relaxations: Relaxations,
}

impl Policy {
    /// The policy for guests with one of these launch digests on a product and TCB at or above these, with all
    /// other rules at their defaults.
    #[must_use]
    pub fn strict(measurements: Vec<Measurement>, min_tcb: MinimumTcb) -> Self {
        Self {
            measurements,
            min_tcb,
            min_committed_tcb: None,
            min_launch_tcb: None,
            require_committed_firmware: false,
            min_firmware_version: None,
            required_mitigations: MitigationVectors::default(),
            allowed_vmpls: vec![0],
            allowed_signers: vec![Signer::Vcek],
            allowed_providers: None,
            min_guest_svn: 0,
            guest_policy: GuestPolicyRules { cxl_allowed: Flag::Clear, ..GuestPolicyRules::default() },
            require_alias_check: true,
            platform: PlatformRules::default(),
            require_crl: false,
            host_data: None,
            family_id: None,
            image_id: None,
            id_keys: None,
            require_author_key: false,
            author_keys: None,
            denied_chips: Vec::new(),
            allowed_chips: None,
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

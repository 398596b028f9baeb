//! How a software guest is launched: what a host and its firmware would decide.

use anchorhold_rats::Measurement;

/// The report version to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportVersion {
    /// Without CPUID values and mitigation vectors.
    V2,
    /// Without mitigation vectors.
    V3,
    /// As version 3.
    V4,
    /// With mitigation vectors.
    V5,
}

/// The product line to pretend to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// Third generation.
    Milan,
    /// Fourth generation.
    Genoa,
    /// Fifth generation.
    Turin,
}

/// Whether the guest policy allows the host to debug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Debug {
    /// It does not.
    Denied,
    /// It does.
    Allowed,
}

/// Whether the guest policy allows a migration agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MigrationAgent {
    /// It does not.
    Denied,
    /// It does.
    Allowed,
}

/// The key that signs reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signer {
    /// Of one chip, below the ASK.
    Vcek,
    /// Of a cloud provider, below the ASVK.
    Vlek,
}

/// A TCB version in the byte layout of its product.
pub type TcbBytes = [u8; 8];

/// What the software guest reports. Start from [`new`](Self::new) and change what differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchConfig {
    /// The launch digest.
    pub measurement: Measurement,
    /// The report version. Default: 5.
    pub report_version: ReportVersion,
    /// The product. Default: Genoa; set it through [`for_product`](Self::for_product), which sets the TCBs too.
    pub product: Product,
    /// Bit 19 of the guest policy. Default: denied.
    pub debug: Debug,
    /// Bit 18 of the guest policy. Default: denied.
    pub migration_agent: MigrationAgent,
    /// The guest policy without bits 18 and 19. Default: SMT allowed.
    pub guest_policy: u64,
    /// The VMPL of the request. Default: 0.
    pub vmpl: u32,
    /// GUEST_SVN. Default: 0.
    pub guest_svn: u32,
    /// HOST_DATA. Default: zero.
    pub host_data: [u8; 32],
    /// FAMILY_ID. Default: zero.
    pub family_id: [u8; 16],
    /// IMAGE_ID. Default: zero.
    pub image_id: [u8; 16],
    /// ID_KEY_DIGEST. Default: zero.
    pub id_key_digest: [u8; 48],
    /// AUTHOR_KEY_DIGEST; AUTHOR_KEY_EN is set when there is one. Default: none.
    pub author_key_digest: Option<[u8; 48]>,
    /// PLATFORM_INFO. Default: SMT on, ECC, alias check complete.
    pub platform_info: u64,
    /// CURRENT_TCB.
    pub current_tcb: TcbBytes,
    /// REPORTED_TCB, for which the VCEK is certified.
    pub reported_tcb: TcbBytes,
    /// COMMITTED_TCB.
    pub committed_tcb: TcbBytes,
    /// LAUNCH_TCB.
    pub launch_tcb: TcbBytes,
    /// Build, minor and major of the current and committed firmware. Default: 1.55.43.
    pub firmware_version: [u8; 3],
    /// Both mitigation vectors, of version 5. Default: 0xb.
    pub mitigations: u64,
    /// The key that signs. Default: VCEK.
    pub signer: Signer,
    /// The chip; of Turin the first 8 bytes. Default: random at each launch. Zero in reports signed by a VLEK.
    pub chip_id: Option<[u8; 64]>,
    /// How long the VCEK or VLEK lasts from the time of launch, in seconds. Default: 7 years.
    pub certificate_seconds: i64,
}

impl LaunchConfig {
    /// A Genoa guest with this launch digest.
    #[must_use]
    pub const fn new(measurement: Measurement) -> Self {
        Self::for_product(measurement, Product::Genoa)
    }

    /// A guest with this launch digest on this product, with TCB versions as real servers report them.
    #[must_use]
    pub const fn for_product(measurement: Measurement, product: Product) -> Self {
        let tcb = match product {
            Product::Milan => [4, 0, 0, 0, 0, 0, 27, 222],
            Product::Genoa => [10, 0, 0, 0, 0, 0, 25, 84],
            Product::Turin => [0, 1, 0, 2, 0, 0, 0, 71],
        };
        Self {
            measurement,
            report_version: ReportVersion::V5,
            product,
            debug: Debug::Denied,
            migration_agent: MigrationAgent::Denied,
            guest_policy: 0x3_0000,
            vmpl: 0,
            guest_svn: 0,
            host_data: [0; 32],
            family_id: [0; 16],
            image_id: [0; 16],
            id_key_digest: [0; 48],
            author_key_digest: None,
            platform_info: 0x25,
            current_tcb: tcb,
            reported_tcb: tcb,
            committed_tcb: tcb,
            launch_tcb: tcb,
            firmware_version: [43, 55, 1],
            mitigations: 0xb,
            signer: Signer::Vcek,
            chip_id: None,
            certificate_seconds: 7 * 365 * 86_400,
        }
    }

    /// POLICY.
    pub(super) fn policy_bits(&self) -> u64 {
        self.guest_policy
            | u64::from(self.migration_agent == MigrationAgent::Allowed) << 18
            | u64::from(self.debug == Debug::Allowed) << 19
    }

    /// Family, model and stepping.
    pub(super) const fn cpuid(&self) -> [u8; 3] {
        match self.product {
            Product::Milan => [0x19, 0x01, 1],
            Product::Genoa => [0x19, 0x11, 1],
            Product::Turin => [0x1a, 0x02, 1],
        }
    }

    /// productName of the certificate.
    pub(super) const fn product_name(&self) -> &'static str {
        match (self.product, self.signer) {
            (Product::Milan, Signer::Vcek) => "Milan-B0",
            (Product::Milan, Signer::Vlek) => "Milan",
            (Product::Genoa, _) => "Genoa",
            (Product::Turin, _) => "Turin",
        }
    }

    /// How many bytes of CHIP_ID and HWID this product uses.
    pub(super) const fn chip_id_bytes(&self) -> usize {
        match self.product {
            Product::Milan | Product::Genoa => 64,
            Product::Turin => 8,
        }
    }
}

//! The attestation report as bytes (AMD 56860, "ATTESTATION_REPORT structure"), versions 2 to 5.

/// How many bytes from the start are signed.
pub const SIGNED_LEN: usize = 0x2a0;

/// Every field of a report, with nothing derived and nothing checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportFields {
    /// VERSION; from 3 on with CPUID values, from 5 on with mitigation vectors.
    pub version: u32,
    /// GUEST_SVN.
    pub guest_svn: u32,
    /// POLICY.
    pub policy: u64,
    /// FAMILY_ID.
    pub family_id: [u8; 16],
    /// IMAGE_ID.
    pub image_id: [u8; 16],
    /// VMPL.
    pub vmpl: u32,
    /// CURRENT_TCB.
    pub current_tcb: [u8; 8],
    /// PLATFORM_INFO.
    pub platform_info: u64,
    /// Bit 0 AUTHOR_KEY_EN, bit 1 MASK_CHIP_KEY, bits 4:2 SIGNING_KEY.
    pub flags: u32,
    /// REPORT_DATA.
    pub report_data: [u8; 64],
    /// MEASUREMENT.
    pub measurement: [u8; 48],
    /// HOST_DATA.
    pub host_data: [u8; 32],
    /// ID_KEY_DIGEST.
    pub id_key_digest: [u8; 48],
    /// AUTHOR_KEY_DIGEST.
    pub author_key_digest: [u8; 48],
    /// REPORT_ID.
    pub report_id: [u8; 32],
    /// REPORT_ID_MA.
    pub report_id_ma: [u8; 32],
    /// REPORTED_TCB.
    pub reported_tcb: [u8; 8],
    /// Family, model, stepping; left out below version 3.
    pub cpuid: [u8; 3],
    /// CHIP_ID.
    pub chip_id: [u8; 64],
    /// COMMITTED_TCB.
    pub committed_tcb: [u8; 8],
    /// CURRENT build, minor, major.
    pub current_version: [u8; 3],
    /// COMMITTED build, minor, major.
    pub committed_version: [u8; 3],
    /// LAUNCH_TCB.
    pub launch_tcb: [u8; 8],
    /// LAUNCH_MIT_VECTOR; left out below version 5.
    pub launch_mitigations: u64,
    /// CURRENT_MIT_VECTOR; left out below version 5.
    pub current_mitigations: u64,
}

impl ReportFields {
    /// The signed part.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let cpuid = if self.version >= 3 { self.cpuid } else { [0; 3] };
        let mitigations =
            if self.version >= 5 { [self.launch_mitigations, self.current_mitigations] } else { [0; 2] };
        let [launch_mitigations, current_mitigations] = mitigations.map(u64::to_le_bytes);
        let parts: [&[u8]; 31] = [
            &self.version.to_le_bytes(),
            &self.guest_svn.to_le_bytes(),
            &self.policy.to_le_bytes(),
            &self.family_id,
            &self.image_id,
            &self.vmpl.to_le_bytes(),
            &1_u32.to_le_bytes(),
            &self.current_tcb,
            &self.platform_info.to_le_bytes(),
            &self.flags.to_le_bytes(),
            &[0; 4],
            &self.report_data,
            &self.measurement,
            &self.host_data,
            &self.id_key_digest,
            &self.author_key_digest,
            &self.report_id,
            &self.report_id_ma,
            &self.reported_tcb,
            &cpuid,
            &[0; 21],
            &self.chip_id,
            &self.committed_tcb,
            &self.current_version,
            &[0],
            &self.committed_version,
            &[0],
            &self.launch_tcb,
            &launch_mitigations,
            &current_mitigations,
            &[0; 152],
        ];
        parts.concat()
    }
}

/// A whole report: the signed part, R and S (48 bytes each, big-endian) as 72 bytes little-endian, and the
/// reserved tail.
#[must_use]
pub fn append_signature(signed: &[u8], signature: &[u8]) -> Vec<u8> {
    let mut report = signed.to_vec();
    for part in signature.chunks(48) {
        report.extend(part.iter().rev());
        report.extend([0; 24]);
    }
    report.extend([0; 368]);
    report
}

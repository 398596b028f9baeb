//! The report of the quoting enclave (Intel SGX SDM, "REPORT structure"), 384 bytes.

/// Every field of an enclave report, with nothing derived and nothing checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnclaveReport {
    /// CPUSVN.
    pub cpu_svn: [u8; 16],
    /// MISCSELECT.
    pub misc_select: [u8; 4],
    /// Reserved.
    pub reserved1: [u8; 28],
    /// ATTRIBUTES.
    pub attributes: [u8; 16],
    /// MRENCLAVE.
    pub mr_enclave: [u8; 32],
    /// Reserved.
    pub reserved2: [u8; 32],
    /// MRSIGNER.
    pub mr_signer: [u8; 32],
    /// Reserved.
    pub reserved3: [u8; 96],
    /// ISVPRODID.
    pub product_id: u16,
    /// ISVSVN.
    pub svn: u16,
    /// Reserved.
    pub reserved4: [u8; 60],
    /// REPORTDATA.
    pub report_data: [u8; 64],
}

impl EnclaveReport {
    /// The bytes that the PCK signs.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let parts: [&[u8]; 12] = [
            &self.cpu_svn,
            &self.misc_select,
            &self.reserved1,
            &self.attributes,
            &self.mr_enclave,
            &self.reserved2,
            &self.mr_signer,
            &self.reserved3,
            &self.product_id.to_le_bytes(),
            &self.svn.to_le_bytes(),
            &self.reserved4,
            &self.report_data,
        ];
        parts.concat()
    }
}

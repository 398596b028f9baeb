//! TDX quotes as bytes (Intel TDX DCAP quoting library API, appendix A.3 and A.4), versions 4 and 5.

/// QE vendor of Intel: 939a7233-f79c-4ca9-940a-0db3957f0607.
pub const INTEL_QE_VENDOR: [u8; 16] =
    [0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07];

/// The first 48 bytes of a quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuoteHeader {
    /// 4 or 5.
    pub version: u16,
    /// 2 for ECDSA P-256.
    pub attestation_key_type: u16,
    /// 0x81 for TDX.
    pub tee_type: u32,
    /// Reserved, or SVNs in some versions.
    pub reserved: [u8; 4],
    /// The vendor of the quoting enclave.
    pub qe_vendor: [u8; 16],
    /// What the quoting enclave put here.
    pub user_data: [u8; 20],
}

/// What a TD states. The last two parts say which of the three bodies it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdBody {
    /// TEE_TCB_SVN.
    pub tee_tcb_svn: [u8; 16],
    /// MRSEAM.
    pub mr_seam: [u8; 48],
    /// MRSIGNERSEAM.
    pub mr_signer_seam: [u8; 48],
    /// SEAMATTRIBUTES.
    pub seam_attributes: u64,
    /// TDATTRIBUTES.
    pub attributes: u64,
    /// XFAM.
    pub xfam: u64,
    /// MRTD.
    pub mr_td: [u8; 48],
    /// MRCONFIGID.
    pub mr_config_id: [u8; 48],
    /// MROWNER.
    pub mr_owner: [u8; 48],
    /// MROWNERCONFIG.
    pub mr_owner_config: [u8; 48],
    /// RTMR0 to RTMR3.
    pub rtmrs: [[u8; 48]; 4],
    /// REPORTDATA.
    pub report_data: [u8; 64],
    /// Of TD 1.5.
    pub td15: Option<Td15>,
    /// Of TD 1.5 extended.
    pub td15_ex: Option<Td15Ex>,
}

/// What TD 1.5 adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Td15 {
    /// TEE_TCB_SVN2.
    pub tee_tcb_svn2: [u8; 16],
    /// MRSERVICETD.
    pub mr_service_td: [u8; 48],
}

/// What TD 1.5 extended adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Td15Ex {
    /// The partition's VM.
    pub vm_id: u8,
    /// The TD's identity.
    pub td_id: [u8; 32],
    /// Hash of the devices' information.
    pub device_info: [u8; 48],
    /// Hash and attributes of the service TDs at the start.
    pub initial_service_td: ([u8; 48], u64),
    /// CPUSVN at the start.
    pub initial_cpu_svn: [u8; 16],
    /// TEE_TCB_SVN at the start.
    pub initial_tee_tcb_svn: [u8; 16],
    /// FMSPC at the start.
    pub initial_fmspc: [u8; 12],
    /// Hash and attributes of the service TDs now.
    pub current_service_td: ([u8; 48], u64),
}

/// The signed part of a quote, with nothing derived and nothing checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuoteFields {
    /// The header.
    pub header: QuoteHeader,
    /// The body type of version 5: 2, 3 and 4 for TD 1.0, 1.5 and 1.5 extended. Version 4 has none.
    pub body_type: Option<u16>,
    /// The body.
    pub body: TdBody,
}

impl QuoteHeader {
    fn encode(&self) -> Vec<u8> {
        let parts: [&[u8]; 6] = [
            &self.version.to_le_bytes(),
            &self.attestation_key_type.to_le_bytes(),
            &self.tee_type.to_le_bytes(),
            &self.reserved,
            &self.qe_vendor,
            &self.user_data,
        ];
        parts.concat()
    }
}

impl TdBody {
    fn encode(&self) -> Vec<u8> {
        let parts: [&[u8]; 12] = [
            &self.tee_tcb_svn,
            &self.mr_seam,
            &self.mr_signer_seam,
            &self.seam_attributes.to_le_bytes(),
            &self.attributes.to_le_bytes(),
            &self.xfam.to_le_bytes(),
            &self.mr_td,
            &self.mr_config_id,
            &self.mr_owner,
            &self.mr_owner_config,
            self.rtmrs.as_flattened(),
            &self.report_data,
        ];
        let mut out = parts.concat();
        if let Some(td15) = &self.td15 {
            out.extend(td15.tee_tcb_svn2);
            out.extend(td15.mr_service_td);
        }
        if let Some(extended) = &self.td15_ex {
            out.extend(extended.encode());
        }
        out
    }
}

impl Td15Ex {
    fn encode(&self) -> Vec<u8> {
        let (initial, initial_attributes) = &self.initial_service_td;
        let (current, current_attributes) = &self.current_service_td;
        let parts: [&[u8]; 10] = [
            &[self.vm_id],
            &self.td_id,
            &self.device_info,
            initial,
            &initial_attributes.to_le_bytes(),
            &self.initial_cpu_svn,
            &self.initial_tee_tcb_svn,
            &self.initial_fmspc,
            current,
            &current_attributes.to_le_bytes(),
        ];
        parts.concat()
    }
}

impl QuoteFields {
    /// The bytes that the attestation key signs.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.header.encode();
        let body = self.body.encode();
        if let Some(body_type) = self.body_type {
            out.extend(body_type.to_le_bytes());
            out.extend(length(&body));
        }
        out.extend(body);
        out
    }
}

/// What follows the signed part of a quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureData {
    /// The attestation key's signature over the signed part, r and s.
    pub signature: Vec<u8>,
    /// The attestation key, x and y.
    pub attestation_key: Vec<u8>,
    /// 6: what follows is the quoting enclave's report.
    pub certification_type: u16,
    /// The quoting enclave's report.
    pub qe_report: Vec<u8>,
    /// The PCK's signature over it, r and s.
    pub qe_report_signature: Vec<u8>,
    /// Bytes that the quoting enclave hashed with the attestation key.
    pub auth_data: Vec<u8>,
    /// 5: what follows is a chain of PEM certificates.
    pub pck_type: u16,
    /// The chain, leaf first, often ended by a zero byte.
    pub pck_data: Vec<u8>,
}

impl SignatureData {
    /// The bytes, without the length before them.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let certification: [&[u8]; 7] = [
            &self.qe_report,
            &self.qe_report_signature,
            // The field has two bytes.
            &[length(&self.auth_data)[0], length(&self.auth_data)[1]],
            &self.auth_data,
            &self.pck_type.to_le_bytes(),
            &length(&self.pck_data),
            &self.pck_data,
        ];
        let certification = certification.concat();
        let parts: [&[u8]; 5] = [
            &self.signature,
            &self.attestation_key,
            &self.certification_type.to_le_bytes(),
            &length(&certification),
            &certification,
        ];
        parts.concat()
    }
}

/// A whole quote: the signed part, the length of the signature data, and the signature data.
#[must_use]
pub fn assemble(signed: &[u8], data: &SignatureData) -> Vec<u8> {
    let data = data.encode();
    [signed, &length(&data), &data].concat()
}

/// The length in four bytes, little-endian; quotes are far below the 4 GiB where it would be cut.
fn length(bytes: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = bytes.len().to_le_bytes();
    [a, b, c, d]
}

//! What the TDX module reports of a TD, as the quote carries it.

use super::cursor::{Cursor, Truncated};
use super::{TdAttributes, Xfam};
use anchorhold_rats::{Measurement, ReportData};

/// The kinds of bodies that are read (`sgx_quote_5.h` of Intel's DCAP, `sgx_report2_body*_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    /// TD 1.0: version 4 quotes, and type 2.
    Td10,
    /// TD 1.5: type 3.
    Td15,
    /// TD 1.5 extended: type 4.
    Td15Extended,
}

impl BodyKind {
    /// The kind with this number in a version 5 quote.
    #[must_use]
    pub const fn from_type(body_type: u16) -> Option<Self> {
        match body_type {
            2 => Some(Self::Td10),
            3 => Some(Self::Td15),
            4 => Some(Self::Td15Extended),
            _ => None,
        }
    }

    /// The length in bytes.
    #[must_use]
    pub const fn length(self) -> usize {
        match self {
            Self::Td10 => 584,
            Self::Td15 => 648,
            Self::Td15Extended => 885,
        }
    }
}

/// Offsets in the body, in bytes, of the fields that a policy judges.
pub(super) mod offset {
    pub(crate) const MRSEAM: usize = 16;
    pub(crate) const MRSIGNERSEAM: usize = 64;
    pub(crate) const SEAM_ATTRIBUTES: usize = 112;
    pub(crate) const TD_ATTRIBUTES: usize = 120;
    pub(crate) const XFAM: usize = 128;
    pub(crate) const MRTD: usize = 136;
    pub(crate) const MR_CONFIG_ID: usize = 184;
    pub(crate) const MR_OWNER: usize = 232;
    pub(crate) const MR_OWNER_CONFIG: usize = 280;
    pub(crate) const RTMRS: [usize; 4] = [328, 376, 424, 472];
    pub(crate) const REPORT_DATA: usize = 520;
    pub(crate) const MR_SERVICE_TD: usize = 600;
    pub(crate) const VM_INDEX: usize = 648;
    pub(crate) const DEVICE_INFO: usize = 681;
    pub(crate) const INITIAL_SERVICE_TD: usize = 729;
    pub(crate) const CURRENT_SERVICE_TD: usize = 829;
}

/// The report of a TD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdBody {
    /// TEE_TCB_SVN: the TCB with which the TD was launched.
    pub tee_tcb_svn: [u8; 16],
    /// MRSEAM: the measurement of the TDX module.
    pub mr_seam: [u8; 48],
    /// MRSIGNERSEAM: the signer of the TDX module; zero is Intel.
    pub mr_signer_seam: [u8; 48],
    /// SEAMATTRIBUTES.
    pub seam_attributes: [u8; 8],
    /// TDATTRIBUTES.
    pub td_attributes: TdAttributes,
    /// XFAM.
    pub xfam: Xfam,
    /// MRTD: the initial contents of the TD.
    pub mrtd: Measurement,
    /// MRCONFIGID.
    pub mr_config_id: [u8; 48],
    /// MROWNER.
    pub mr_owner: [u8; 48],
    /// MROWNERCONFIG.
    pub mr_owner_config: [u8; 48],
    /// RTMR0 to RTMR3.
    pub rtmrs: [[u8; 48]; 4],
    /// REPORTDATA.
    pub report_data: ReportData,
    /// What TDX 1.5 adds.
    pub td15: Option<Td15>,
}

/// What TDX 1.5 adds to the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Td15 {
    /// TEE_TCB_SVN2: the TCB with which the TD runs now, after updates that preserve TDs.
    pub tee_tcb_svn2: [u8; 16],
    /// MRSERVICETD: the service TDs that were bound at launch.
    pub mr_service_td: [u8; 48],
    /// What the extended report adds.
    pub extended: Option<Td15Extended>,
}

/// What the extended report of TDX 1.5 adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Td15Extended {
    /// 0 for an unpartitioned TD or its own hypervisor, else the index of a VM inside the TD.
    pub vm_index: u8,
    /// A random name of the TD, new at each launch.
    pub td_id: [u8; 32],
    /// The digest of what is known of bound devices; zero without any.
    pub device_info: [u8; 48],
    /// The service TDs that were bound at creation.
    pub initial_service_td: [u8; 48],
    /// Attributes of that binding.
    pub initial_service_td_attributes: [u8; 8],
    /// CPUSVN at creation.
    pub initial_cpu_svn: [u8; 16],
    /// TEE_TCB_SVN at creation.
    pub initial_tee_tcb_svn: [u8; 16],
    /// The model of the platform of creation.
    pub initial_fmspc: [u8; 12],
    /// The service TDs that are bound now.
    pub current_service_td: [u8; 48],
    /// Attributes of that binding.
    pub current_service_td_attributes: [u8; 8],
}

impl TdBody {
    pub(super) fn read(kind: BodyKind, bytes: &mut Cursor<'_>) -> Result<Self, Truncated> {
        Ok(Self {
            tee_tcb_svn: bytes.take()?,
            mr_seam: bytes.take()?,
            mr_signer_seam: bytes.take()?,
            seam_attributes: bytes.take()?,
            td_attributes: TdAttributes(bytes.u64()?),
            xfam: Xfam(bytes.u64()?),
            mrtd: Measurement::new(bytes.take()?),
            mr_config_id: bytes.take()?,
            mr_owner: bytes.take()?,
            mr_owner_config: bytes.take()?,
            rtmrs: [bytes.take()?, bytes.take()?, bytes.take()?, bytes.take()?],
            report_data: ReportData::new(bytes.take()?),
            td15: match kind {
                BodyKind::Td10 => None,
                BodyKind::Td15 | BodyKind::Td15Extended => Some(Td15::read(kind, bytes)?),
            },
        })
    }
}

impl Td15 {
    fn read(kind: BodyKind, bytes: &mut Cursor<'_>) -> Result<Self, Truncated> {
        Ok(Self {
            tee_tcb_svn2: bytes.take()?,
            mr_service_td: bytes.take()?,
            extended: match kind {
                BodyKind::Td15Extended => Some(Td15Extended::read(bytes)?),
                BodyKind::Td10 | BodyKind::Td15 => None,
            },
        })
    }
}

impl Td15Extended {
    fn read(bytes: &mut Cursor<'_>) -> Result<Self, Truncated> {
        let [vm_index] = bytes.take()?;
        Ok(Self {
            vm_index,
            td_id: bytes.take()?,
            device_info: bytes.take()?,
            initial_service_td: bytes.take()?,
            initial_service_td_attributes: bytes.take()?,
            initial_cpu_svn: bytes.take()?,
            initial_tee_tcb_svn: bytes.take()?,
            initial_fmspc: bytes.take()?,
            current_service_td: bytes.take()?,
            current_service_td_attributes: bytes.take()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each field of a body that counts up must begin where the offsets say.
    #[test]
    fn fields_stand_at_their_offsets_and_fill_the_body() {
        let bytes: Vec<u8> = (0..885_u16).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let first = |at: usize| u8::try_from(at % 251).unwrap();
        for kind in [BodyKind::Td10, BodyKind::Td15, BodyKind::Td15Extended] {
            let mut cursor = Cursor::new(&bytes[..kind.length()]);
            let body = TdBody::read(kind, &mut cursor).unwrap();
            assert!(cursor.rest().is_empty());
            assert_eq!(TdBody::read(kind, &mut Cursor::new(&bytes[..kind.length() - 1])), Err(Truncated));
            assert_eq!(body.mr_seam[0], first(offset::MRSEAM));
            assert_eq!(body.mr_signer_seam[0], first(offset::MRSIGNERSEAM));
            assert_eq!(body.seam_attributes[0], first(offset::SEAM_ATTRIBUTES));
            assert_eq!(body.td_attributes.0.to_le_bytes()[0], first(offset::TD_ATTRIBUTES));
            assert_eq!(body.xfam.0.to_le_bytes()[0], first(offset::XFAM));
            assert_eq!(body.mrtd.as_bytes()[0], first(offset::MRTD));
            assert_eq!(body.mr_config_id[0], first(offset::MR_CONFIG_ID));
            assert_eq!(body.mr_owner[0], first(offset::MR_OWNER));
            assert_eq!(body.mr_owner_config[0], first(offset::MR_OWNER_CONFIG));
            assert_eq!(body.rtmrs.map(|rtmr| rtmr[0]), offset::RTMRS.map(first));
            assert_eq!(body.report_data.as_bytes()[0], first(offset::REPORT_DATA));
            assert_eq!(body.td15.is_some(), kind != BodyKind::Td10);
            let Some(td15) = body.td15 else { continue };
            assert_eq!(td15.tee_tcb_svn2[0], first(584));
            assert_eq!(td15.mr_service_td[0], first(offset::MR_SERVICE_TD));
            let Some(extended) = td15.extended else { continue };
            assert_eq!(extended.vm_index, first(offset::VM_INDEX));
            assert_eq!(extended.device_info[0], first(offset::DEVICE_INFO));
            assert_eq!(extended.initial_service_td[0], first(offset::INITIAL_SERVICE_TD));
            assert_eq!(extended.current_service_td[0], first(offset::CURRENT_SERVICE_TD));
        }
    }
}

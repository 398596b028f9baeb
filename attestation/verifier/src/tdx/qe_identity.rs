//! Intel's identity of the TD quoting enclave (PCS API version 4, "Get TD Quoting Enclave Identity").

use super::json::{Bounded, Hex};
use super::tcb_info::SvnLevel;
use anchorhold_rats::Timestamp;
use serde::Deserialize;

const MAX_LEVELS: usize = 32;

/// Who made the quoting enclave, and its TCB levels. Trusted only once its signature was verified.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct QeIdentity<'a> {
    pub(super) issue_date: Timestamp,
    pub(super) next_update: Timestamp,
    pub(super) tcb_evaluation_data_number: u32,
    pub(super) miscselect: Hex<4>,
    pub(super) miscselect_mask: Hex<4>,
    pub(super) attributes: Hex<16>,
    pub(super) attributes_mask: Hex<16>,
    pub(super) mrsigner: Hex<32>,
    pub(super) isvprodid: u16,
    #[serde(borrow)]
    pub(super) tcb_levels: Bounded<SvnLevel<'a, u16>, MAX_LEVELS>,
}

//! Intel's TCB info of one platform model (PCS API version 4, "Get TDX TCB Info").

use super::TcbStatus;
use super::json::{Bounded, Hex};
use anchorhold_rats::Timestamp;
use serde::Deserialize;

const MAX_LEVELS: usize = 64;
const MAX_MODULES: usize = 16;
const MAX_MODULE_LEVELS: usize = 32;
/// The most advisories that one level may name.
pub(super) const MAX_ADVISORIES: usize = 256;

/// What kind of document a signed JSON text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Kind<'a> {
    pub(super) id: &'a str,
    pub(super) version: u32,
    #[serde(default)]
    pub(super) tcb_type: u32,
}

/// The TCB levels of a platform model. Trusted only once its signature was verified.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TcbInfo<'a> {
    pub(super) issue_date: Timestamp,
    pub(super) next_update: Timestamp,
    pub(super) fmspc: Hex<6>,
    pub(super) pce_id: Hex<2>,
    pub(super) tcb_evaluation_data_number: u32,
    pub(super) tdx_module: Module,
    #[serde(borrow, default)]
    pub(super) tdx_module_identities: Bounded<ModuleIdentity<'a>, MAX_MODULES>,
    #[serde(borrow)]
    pub(super) tcb_levels: Bounded<PlatformLevel<'a>, MAX_LEVELS>,
}

/// Who made a TDX module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Module {
    pub(super) mrsigner: Hex<48>,
    pub(super) attributes: Hex<8>,
    pub(super) attributes_mask: Hex<8>,
}

/// One major version of the TDX module.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ModuleIdentity<'a> {
    pub(super) id: &'a str,
    pub(super) mrsigner: Hex<48>,
    pub(super) attributes: Hex<8>,
    pub(super) attributes_mask: Hex<8>,
    #[serde(borrow)]
    pub(super) tcb_levels: Bounded<SvnLevel<'a, u8>, MAX_MODULE_LEVELS>,
}

impl ModuleIdentity<'_> {
    pub(super) const fn module(&self) -> Module {
        Module { mrsigner: self.mrsigner, attributes: self.attributes, attributes_mask: self.attributes_mask }
    }
}

/// A level of the platform.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PlatformLevel<'a> {
    pub(super) tcb: PlatformTcb,
    pub(super) tcb_date: Timestamp,
    pub(super) tcb_status: TcbStatus,
    #[serde(borrow, rename = "advisoryIDs", default)]
    pub(super) advisories: Bounded<&'a str, MAX_ADVISORIES>,
}

/// What a platform must have to meet a level; ordered as Intel's library orders levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) struct PlatformTcb {
    #[serde(rename = "sgxtcbcomponents")]
    pub(super) sgx: [Component; 16],
    #[serde(rename = "pcesvn")]
    pub(super) pce_svn: u16,
    #[serde(rename = "tdxtcbcomponents")]
    pub(super) tdx: [Component; 16],
}

/// One security version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) struct Component {
    pub(super) svn: u8,
}

/// A level of a part with one security version: a TDX module or the quoting enclave.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "T: Deserialize<'de>"))]
pub(super) struct SvnLevel<'a, T> {
    pub(super) tcb: IsvSvn<T>,
    pub(super) tcb_date: Timestamp,
    pub(super) tcb_status: TcbStatus,
    #[serde(borrow, rename = "advisoryIDs", default)]
    pub(super) advisories: Bounded<&'a str, MAX_ADVISORIES>,
}

/// The security version of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) struct IsvSvn<T> {
    pub(super) isvsvn: T,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_component_lists_of_another_length_and_keys_that_come_twice() {
        let components = |count: usize| vec![r#"{"svn":1,"type":"x"}"#; count].join(",");
        let tcb = |sgx, tdx| {
            let text = format!(
                r#"{{"sgxtcbcomponents":[{}],"pcesvn":5,"tdxtcbcomponents":[{}]}}"#,
                components(sgx),
                components(tdx)
            );
            serde_json::from_str::<PlatformTcb>(&text)
        };
        assert_eq!(tcb(16, 16).unwrap().sgx, [Component { svn: 1 }; 16]);
        for (sgx, tdx) in [(15, 16), (17, 16), (16, 15), (16, 17), (16, 0)] {
            assert!(tcb(sgx, tdx).is_err(), "{sgx} {tdx}");
        }
        assert!(serde_json::from_str::<Component>(r#"{"svn":1,"svn":2}"#).is_err());
        assert!(serde_json::from_str::<Component>(r#"{"svn":256}"#).is_err());
        assert!(serde_json::from_str::<Kind<'_>>(r#"{"id":"TDX","version":3,"id":"TDX"}"#).is_err());
    }
}

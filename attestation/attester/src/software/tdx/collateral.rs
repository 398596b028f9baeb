//! Collateral in the format of Intel's provisioning certification service (PCS API version 4), signed by the
//! simulated TCB signer, PCK CA and root.

use super::{PlatformConfig, TdxAuthority, intel_name};
use crate::software::Error;
use crate::software::certificate::Extension;
use crate::software::revocation::RevocationTemplate;
use anchorhold_rats::{Der, TdxCollateral, Timestamp};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

/// Intel's collateral lasts this long.
const LIFE_SECONDS: i64 = 30 * 86_400;
/// Intel's root revocation list lasts this long.
const ROOT_LIFE_SECONDS: i64 = 365 * 86_400;
/// Collateral is issued this long before the time that was asked for, for verifiers whose clock is behind.
const BACKDATED_SECONDS: i64 = 3_600;
const EVALUATION_NUMBER: u32 = 18;

/// The `tcbInfo` object, version 3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TcbInfo {
    /// "TDX" or "SGX".
    pub id: String,
    /// 3.
    pub version: u32,
    /// When it was issued, RFC 3339.
    pub issue_date: String,
    /// When the next one is due, RFC 3339.
    pub next_update: String,
    /// FMSPC, hex.
    pub fmspc: String,
    /// PCEID, hex.
    pub pce_id: String,
    /// 0.
    pub tcb_type: u32,
    /// The number of the evaluation that the statuses stand for.
    pub tcb_evaluation_data_number: u32,
    /// The module of major version 0; SGX has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tdx_module: Option<TdxModule>,
    /// The modules by major version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tdx_module_identities: Vec<ModuleIdentity>,
    /// Levels of the platform, best first.
    pub tcb_levels: Vec<Level<ComponentTcb>>,
}

/// Whom a TDX module must be signed by, and with which attributes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TdxModule {
    /// MRSIGNERSEAM, hex.
    pub mrsigner: String,
    /// SEAMATTRIBUTES, hex.
    pub attributes: String,
    /// The bits of them that count, hex.
    pub attributes_mask: String,
}

/// A TDX module of one major version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleIdentity {
    /// Such as `TDX_01`.
    pub id: String,
    /// Its signer and attributes.
    #[serde(flatten)]
    pub module: TdxModule,
    /// Its levels, best first.
    #[serde(rename = "tcbLevels")]
    pub tcb_levels: Vec<Level<SvnTcb>>,
}

/// A level of a platform, module or enclave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Level<T> {
    /// The versions that reach it.
    pub tcb: T,
    /// The time for which the status stands.
    pub tcb_date: String,
    /// Such as `UpToDate`.
    pub tcb_status: String,
    /// Intel's advisories that concern it.
    #[serde(rename = "advisoryIDs", default, skip_serializing_if = "Vec::is_empty")]
    pub advisory_ids: Vec<String>,
}

/// The versions of a platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentTcb {
    /// The 16 SGX components.
    #[serde(rename = "sgxtcbcomponents")]
    pub sgx: Vec<Component>,
    /// PCESVN.
    #[serde(rename = "pcesvn")]
    pub pce_svn: u16,
    /// The 16 TDX components; SGX has none.
    #[serde(rename = "tdxtcbcomponents", default, skip_serializing_if = "Vec::is_empty")]
    pub tdx: Vec<Component>,
}

/// One component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// The least version.
    pub svn: u8,
    /// Who updates it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// What it is.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// The version of a module or enclave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SvnTcb {
    /// The least ISVSVN.
    pub isvsvn: u16,
}

/// The `enclaveIdentity` object of the quoting enclave, version 2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QeIdentity {
    /// "TD_QE".
    pub id: String,
    /// 2.
    pub version: u32,
    /// When it was issued, RFC 3339.
    pub issue_date: String,
    /// When the next one is due, RFC 3339.
    pub next_update: String,
    /// The number of the evaluation that the statuses stand for.
    pub tcb_evaluation_data_number: u32,
    /// MISCSELECT, hex.
    pub miscselect: String,
    /// The bits of it that count, hex.
    pub miscselect_mask: String,
    /// ATTRIBUTES, hex.
    pub attributes: String,
    /// The bits of them that count, hex.
    pub attributes_mask: String,
    /// MRSIGNER, hex.
    pub mrsigner: String,
    /// ISVPRODID.
    pub isvprodid: u16,
    /// Its levels, best first.
    pub tcb_levels: Vec<Level<SvnTcb>>,
}

/// MRSIGNER of the simulated quoting enclave.
pub(super) fn qe_signer() -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, b"anchorhold simulated quoting enclave signer").as_ref());
    out
}

fn hex(bytes: &[u8], upper: bool) -> String {
    bytes.iter().map(|byte| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") }).collect()
}

fn level<T>(tcb: T, date: &str, status: &str, advisories: &[&str]) -> Level<T> {
    Level {
        tcb,
        tcb_date: date.to_owned(),
        tcb_status: status.to_owned(),
        advisory_ids: advisories.iter().map(|id| (*id).to_owned()).collect(),
    }
}

fn components(svns: [u8; 16], known: &[(usize, &str, &str)]) -> Vec<Component> {
    svns.into_iter()
        .enumerate()
        .map(|(index, svn)| {
            let found = known.iter().find(|(at, ..)| *at == index);
            let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            Component {
                svn,
                category: found.and_then(|(_, category, _)| text(category)),
                kind: found.and_then(|(.., kind)| text(kind)),
            }
        })
        .collect()
}

impl TcbInfo {
    /// TCB info for which this platform is up to date, and one with older microcode is not.
    #[must_use]
    pub fn for_platform(platform: &PlatformConfig, issued: Timestamp) -> Self {
        let module = TdxModule {
            mrsigner: "0".repeat(96),
            attributes: "0".repeat(16),
            attributes_mask: "F".repeat(16),
        };
        let tcb = |components_svn: [u8; 16], microcode: u8| ComponentTcb {
            sgx: components(components_svn, SGX_COMPONENTS),
            pce_svn: platform.pce_svn,
            tdx: components([3, 0, microcode, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], TDX_COMPONENTS),
        };
        let mut older = platform.components;
        older.iter_mut().take(2).for_each(|svn| *svn = svn.saturating_sub(1));
        Self {
            id: "TDX".to_owned(),
            version: 3,
            issue_date: issued.to_string(),
            next_update: issued.plus_seconds(LIFE_SECONDS).to_string(),
            fmspc: hex(&platform.fmspc, false),
            pce_id: hex(&platform.pce_id, false),
            tcb_type: 0,
            tcb_evaluation_data_number: EVALUATION_NUMBER,
            tdx_module: Some(module.clone()),
            tdx_module_identities: vec![ModuleIdentity {
                id: "TDX_01".to_owned(),
                module,
                tcb_levels: vec![
                    level(SvnTcb { isvsvn: 4 }, "2024-03-13T00:00:00Z", "UpToDate", &[]),
                    level(SvnTcb { isvsvn: 2 }, "2023-08-09T00:00:00Z", "OutOfDate", &[]),
                ],
            }],
            tcb_levels: vec![
                level(tcb(platform.components, 7), "2024-03-13T00:00:00Z", "UpToDate", &[]),
                level(tcb(older, 6), "2023-08-09T00:00:00Z", "OutOfDate", &["INTEL-SA-00960"]),
            ],
        }
    }

    /// The exact text that is signed.
    ///
    /// # Errors
    /// [`Error::Encoding`] when it cannot be written, which no value causes.
    pub fn text(&self) -> Result<String, Error> {
        serde_json::to_string(self).map_err(|_| Error::Encoding("TCB info"))
    }
}

impl QeIdentity {
    /// The identity of the simulated quoting enclave, up to date.
    #[must_use]
    pub fn simulated(issued: Timestamp) -> Self {
        Self {
            id: "TD_QE".to_owned(),
            version: 2,
            issue_date: issued.to_string(),
            next_update: issued.plus_seconds(LIFE_SECONDS).to_string(),
            tcb_evaluation_data_number: EVALUATION_NUMBER,
            miscselect: "00000000".to_owned(),
            miscselect_mask: "FFFFFFFF".to_owned(),
            attributes: "11000000000000000000000000000000".to_owned(),
            attributes_mask: "FBFFFFFFFFFFFFFF0000000000000000".to_owned(),
            mrsigner: hex(&qe_signer(), true),
            isvprodid: 2,
            tcb_levels: vec![level(SvnTcb { isvsvn: 4 }, "2024-03-13T00:00:00Z", "UpToDate", &[])],
        }
    }

    /// The exact text that is signed.
    ///
    /// # Errors
    /// [`Error::Encoding`] when it cannot be written, which no value causes.
    pub fn text(&self) -> Result<String, Error> {
        serde_json::to_string(self).map_err(|_| Error::Encoding("QE identity"))
    }
}

const SGX_COMPONENTS: &[(usize, &str, &str)] = &[
    (0, "BIOS", "Early Microcode Update"),
    (1, "OS/VMM", "SGX Late Microcode Update"),
    (2, "OS/VMM", "TXT SINIT"),
    (3, "BIOS", ""),
    (4, "BIOS", ""),
    (5, "BIOS", ""),
    (7, "OS/VMM", "SEAMLDR ACM"),
];
const TDX_COMPONENTS: &[(usize, &str, &str)] =
    &[(0, "OS/VMM", "TDX Module"), (1, "OS/VMM", "TDX Module"), (2, "OS/VMM", "TDX Late Microcode Update")];

/// Everything in a collateral before it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollateralTemplate {
    /// TCB info of the platform.
    pub tcb_info: TcbInfo,
    /// Identity of the quoting enclave.
    pub qe_identity: QeIdentity,
    /// The PCK CA's revocation list.
    pub pck_crl: RevocationTemplate,
    /// The root's revocation list.
    pub root_crl: RevocationTemplate,
}

impl CollateralTemplate {
    /// Collateral by which this platform is up to date at the time `at`, with nothing revoked.
    #[must_use]
    pub fn for_platform(platform: &PlatformConfig, at: Timestamp) -> Self {
        let issued = at.plus_seconds(-BACKDATED_SECONDS);
        let list = |issuer: TdxAuthority, life| RevocationTemplate {
            issuer: intel_name(issuer.common_name()),
            this_update: issued,
            next_update: issued.plus_seconds(life),
            revoked: Vec::new(),
        };
        Self {
            tcb_info: TcbInfo::for_platform(platform, issued),
            qe_identity: QeIdentity::simulated(issued),
            pck_crl: list(TdxAuthority::PckCa, LIFE_SECONDS),
            root_crl: list(TdxAuthority::Root, ROOT_LIFE_SECONDS),
        }
    }

    /// The collateral, signed by the fixtures' keys.
    ///
    /// # Errors
    /// [`Error`] when ring does not sign or a fixture is damaged.
    pub fn sign(&self) -> Result<TdxCollateral, Error> {
        let (tcb_info, qe_identity) = (self.tcb_info.text()?, self.qe_identity.text()?);
        Ok(TdxCollateral {
            tcb_info_signature: sign_collateral_text(&tcb_info)?,
            tcb_info,
            tcb_info_issuer_chain: TdxAuthority::TcbSigner.chain_pem(),
            qe_identity_signature: sign_collateral_text(&qe_identity)?,
            qe_identity,
            qe_identity_issuer_chain: TdxAuthority::TcbSigner.chain_pem(),
            pck_crl: sign_list(&self.pck_crl, TdxAuthority::PckCa)?,
            pck_crl_issuer_chain: TdxAuthority::PckCa.chain_pem(),
            root_ca_crl: sign_list(&self.root_crl, TdxAuthority::Root)?,
        })
    }
}

/// The TCB signer's signature over a text, r and s.
///
/// # Errors
/// [`Error`] when ring does not sign or the fixture is damaged.
pub fn sign_collateral_text(text: &str) -> Result<Der, Error> {
    TdxAuthority::TcbSigner.key()?.sign_fixed(text.as_bytes(), "collateral").map(Der)
}

fn sign_list(list: &RevocationTemplate, issuer: TdxAuthority) -> Result<Der, Error> {
    let key = issuer.key()?;
    let extensions = [Extension::crl_number(&[1]), Extension::authority_key(&key.key_identifier())];
    list.sign_ecdsa(&key, &extensions).map(Der)
}

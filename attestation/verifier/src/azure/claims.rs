//! The runtime claims: what the paravisor states about itself.

use super::codes;
use anchorhold_rats::Checks;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use std::fmt;
use std::str::FromStr;

/// The key id of the virtual TPM's attestation key.
const ATTESTATION_KEY: &str = "HCLAkPub";
const EXPONENT: [u8; 3] = [1, 0, 1];
const MIN_MODULUS_BYTES: usize = 256;
const MAX_MODULUS_BYTES: usize = 512;

/// Text that is not a machine's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseVmIdError;

impl fmt::Display for ParseVmIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a GUID of 32 hex digits in groups of 8, 4, 4, 4 and 12")
    }
}

impl std::error::Error for ParseVmIdError {}

/// The id of a machine: a GUID, written in upper case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct VmId(String);

impl FromStr for VmId {
    type Err = ParseVmIdError;

    fn from_str(text: &str) -> Result<Self, ParseVmIdError> {
        let groups: Vec<&str> = text.split('-').collect();
        let is_hex = |group: &&str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
        let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
        if lengths != [8, 4, 4, 4, 12] || !groups.iter().all(is_hex) {
            return Err(ParseVmIdError);
        }
        Ok(Self(text.to_ascii_uppercase()))
    }
}

impl fmt::Display for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the paravisor says about the machine. `None` where it says nothing; releases differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmConfiguration {
    /// A serial console is attached.
    pub console_enabled: Option<bool>,
    /// Secure Boot is on.
    pub secure_boot: Option<bool>,
    /// The machine has a virtual TPM.
    pub tpm_enabled: Option<bool>,
    /// The TPM's state outlives the machine.
    pub tpm_persisted: Option<bool>,
    /// The id of the machine.
    pub vm_id: Option<VmId>,
}

/// The runtime claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// About the machine.
    pub vm: VmConfiguration,
    /// What the guest asked the paravisor to put into its claims: 64 bytes, mostly zero.
    pub user_data: Option<[u8; 64]>,
    /// The modulus of HCLAkPub, big-endian.
    pub(super) modulus: Vec<u8>,
}

#[derive(Deserialize)]
struct JsonClaims {
    keys: Vec<JsonKey>,
    #[serde(rename = "vm-configuration")]
    vm: JsonVm,
    #[serde(rename = "user-data")]
    user_data: Option<String>,
}

#[derive(Deserialize)]
struct JsonKey {
    kid: String,
    kty: String,
    e: Option<String>,
    n: Option<String>,
}

#[derive(Deserialize)]
struct JsonVm {
    #[serde(rename = "console-enabled")]
    console_enabled: Option<bool>,
    #[serde(rename = "secure-boot")]
    secure_boot: Option<bool>,
    #[serde(rename = "tpm-enabled")]
    tpm_enabled: Option<bool>,
    #[serde(rename = "tpm-persisted")]
    tpm_persisted: Option<bool>,
    #[serde(rename = "vmUniqueId")]
    vm_id: Option<String>,
}

impl Claims {
    /// The exponent of every HCLAkPub that is accepted, big-endian.
    pub(super) const EXPONENT: [u8; 3] = EXPONENT;

    /// Reads the claims and records the rules about them; `None` when one failed.
    pub(super) fn read(json: &[u8], checks: &mut Checks) -> Option<Self> {
        let wanted = "the documented JSON, no documented member twice";
        let parsed = serde_json::from_slice::<JsonClaims>(json)
            .map_err(|e| format!("other JSON at line {}, column {}", e.line(), e.column()))
            .and_then(|parsed| {
                let vm_id = parsed.vm.vm_id.as_deref().map(str::parse).transpose();
                let vm_id = vm_id.map_err(|error: ParseVmIdError| error.to_string())?;
                let user_data = parsed.user_data.as_deref().map(user_data).transpose()?;
                Ok((parsed, vm_id, user_data))
            });
        let observed = parsed.as_ref().map_or_else(Clone::clone, |_| "it is".into());
        checks.record(codes::CLAIMS_JSON, parsed.is_ok(), wanted, observed);
        let (parsed, vm_id, user_data) = parsed.ok()?;

        let modulus = modulus(&parsed.keys);
        let observed =
            modulus.as_ref().map_or_else(|what| (*what).to_string(), |n| format!("{} bytes", n.len()));
        let wanted = "one HCLAkPub: RSA of 2048 to 4096 bits, exponent 65537";
        checks.record(codes::CLAIMS_KEY, modulus.is_ok(), wanted, observed);
        let vm = VmConfiguration {
            console_enabled: parsed.vm.console_enabled,
            secure_boot: parsed.vm.secure_boot,
            tpm_enabled: parsed.vm.tpm_enabled,
            tpm_persisted: parsed.vm.tpm_persisted,
            vm_id,
        };
        Some(Self { vm, user_data, modulus: modulus.ok()? })
    }
}

/// 64 bytes in hex.
fn user_data(text: &str) -> Result<[u8; 64], String> {
    let lower = text.to_ascii_lowercase();
    let parsed: Result<anchorhold_rats::ReportData, _> = lower.parse();
    parsed.map(|data| *data.as_bytes()).map_err(|_| "user data that is not 64 bytes of hex".into())
}

fn modulus(keys: &[JsonKey]) -> Result<Vec<u8>, &'static str> {
    let mut named = keys.iter().filter(|key| key.kid == ATTESTATION_KEY);
    let key = named.next().ok_or("none")?;
    if named.next().is_some() {
        return Err("more than one");
    }
    let member = |text: &Option<String>| text.as_ref().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    match (key.kty.as_str(), member(&key.n), member(&key.e)) {
        ("RSA", Some(n), Some(e)) if e == EXPONENT => {
            let is_long = (MIN_MODULUS_BYTES..=MAX_MODULUS_BYTES).contains(&n.len());
            let is_full = n.first().is_some_and(|first| *first >= 0x80);
            if is_long && is_full { Ok(n) } else { Err("a modulus of another length") }
        }
        ("RSA", Some(_), Some(_)) => Err("another exponent"),
        ("RSA", ..) => Err("a key without modulus and exponent in base64url"),
        _ => Err("a key of another type"),
    }
}

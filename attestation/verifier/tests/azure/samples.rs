//! The folder of real samples, and trustee's evidence JSON as the parts that a verifier takes.

use crate::support::Sent;
use anchorhold_rats::{Der, Paravisor, Tee};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;
use std::path::PathBuf;

/// A file among the real samples, or `None` where a developer does not have them. CI must have them.
pub(crate) fn sample(name: &str) -> Option<Vec<u8>> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/evidence"));
    if folder.is_dir() {
        return Some(std::fs::read(folder.join(name)).unwrap());
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing", folder.display());
    eprintln!("skipped: no real samples at {}", folder.display());
    None
}

/// Trustee's evidence, version 1 or 2: HCL report, TD quote and VCEK in base64url, the TPM's parts in hex. The SNP report
/// is the one inside the HCL report. Gives the VCEK too.
pub(crate) fn trustee(name: &str) -> Option<(Sent, Option<Der>)> {
    let json: Value = serde_json::from_slice(&sample(name)?).unwrap();
    let base64 =
        |value: &Value| URL_SAFE_NO_PAD.decode(value.as_str().unwrap().trim_end_matches('=')).unwrap();
    let quote = &json["tpm_quote"];
    let hcl_report = base64(&json["hcl_report"]);
    let (tee, report) = match &json["td_quote"] {
        Value::Null => (Tee::Snp, hcl_report[32..1216].to_vec()),
        quote => (Tee::Tdx, base64(quote)),
    };
    let vcek = json.get("vcek").map(|vcek| Der(base64(vcek)));
    let pcrs = quote["pcrs"].as_array().unwrap().iter().map(|pcr| Der(hex(pcr))).collect();
    let (quote, signature) = (hex(&quote["message"]), hex(&quote["signature"]));
    Some((Sent { tee, report, paravisor: Paravisor { hcl_report, quote, signature, pcrs } }, vcek))
}

fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

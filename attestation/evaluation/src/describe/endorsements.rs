//! What vendors say: ids and dates.

use super::{Builder, Part};
use anchorhold_rats::{Endorsements, Sha256Digest, TdxCollateral};
use anchorhold_verifier::x509::RevocationList;
use anchorhold_verifier::xml::Document;
use serde_json::Value;

/// A part for each vendor that says something.
pub(super) fn parts(endorsements: &Endorsements) -> Vec<Part> {
    let Endorsements { snp_crls, tdx, rims, ocsp } = endorsements;
    let mut parts = Vec::new();
    if !snp_crls.is_empty() {
        let mut part = Builder::new("AMD's revocation lists");
        for (index, crl) in snp_crls.iter().enumerate() {
            revocation_list(&mut part, &format!("list {index}"), &crl.0);
        }
        parts.push(part.0);
    }
    parts.extend(tdx.as_ref().map(collateral));
    if !rims.is_empty() {
        let mut part = Builder::new("NVIDIA's reference manifests");
        for (index, rim) in rims.iter().enumerate() {
            manifest(&mut part, &format!("manifest {index}"), &rim.0);
        }
        parts.push(part.0);
    }
    if !ocsp.is_empty() {
        let mut part = Builder::new("NVIDIA's OCSP responses");
        for (index, response) in ocsp.iter().enumerate() {
            let digest = Sha256Digest::of(&response.0);
            part.field(&format!("response {index}"), format!("{} bytes, SHA-256 {digest}", response.0.len()));
        }
        parts.push(part.0);
    }
    parts
}

fn collateral(collateral: &TdxCollateral) -> Part {
    let mut part = Builder::new("Intel's collateral");
    let TdxCollateral { tcb_info, qe_identity, pck_crl, root_ca_crl, .. } = collateral;
    let statements: [(&str, &String, &[&str]); 2] = [
        ("TCB info", tcb_info, &["id", "fmspc", "issueDate", "nextUpdate", "tcbEvaluationDataNumber"]),
        ("QE identity", qe_identity, &["id", "issueDate", "nextUpdate", "tcbEvaluationDataNumber"]),
    ];
    for (name, text, keys) in statements {
        let Ok(read) = serde_json::from_str::<Value>(text) else {
            part.field(name, format!("not readable, {} bytes", text.len()));
            continue;
        };
        for key in keys {
            match read.get(key) {
                Some(Value::String(value)) => part.field(&format!("{name} {key}"), value),
                Some(value) => part.field(&format!("{name} {key}"), value),
                None => {}
            }
        }
    }
    revocation_list(&mut part, "PCK CRL", &pck_crl.0);
    revocation_list(&mut part, "root CRL", &root_ca_crl.0);
    part.0
}

fn revocation_list(part: &mut Builder, name: &str, der: &[u8]) {
    match RevocationList::parse(der) {
        Ok(list) => {
            let (from, to, count) = (list.this_update, list.next_update, list.revoked.len());
            part.field(name, format!("{from} to {to}, {count} revoked"));
        }
        Err(error) => part.field(name, format!("not readable: {error}")),
    }
}

/// The tag's id, and what the manifest says it is of.
fn manifest(part: &mut Builder, name: &str, xml: &[u8]) {
    let document = match Document::parse(xml) {
        Ok(document) => document,
        Err(error) => return part.field(name, format!("not readable: {error}")),
    };
    part.field(name, document.root().attribute("tagId").unwrap_or("no tagId"));
    for key in ["product", "edition", "colloquialVersion"] {
        let value = document.elements().find_map(|element| element.attribute(key));
        part.optional(&format!("{name} {key}"), value);
    }
}

//! Real samples, which are not part of the project. Where they are not there, CI fails and others skip.

use anchorhold_rats::{Der, TdxCollateral};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The folder of the samples.
pub(crate) fn folder() -> Option<PathBuf> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/evidence"));
    if folder.is_dir() {
        return Some(folder.to_owned());
    }
    assert!(std::env::var_os("CI").is_none(), "the evidence samples are missing");
    println!("skipped: the evidence samples are not here");
    None
}

pub(crate) fn read(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(name)).unwrap()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// The collateral beside a quote, in the shape of the samples.
pub(crate) fn collateral(folder: &Path, name: &str) -> TdxCollateral {
    let json: Value = serde_json::from_slice(&read(folder, name)).unwrap();
    let text = |key: &str| json[key].as_str().unwrap().to_owned();
    let bytes = |key: &str| Der(unhex(json[key].as_str().unwrap()));
    TdxCollateral {
        tcb_info: text("tcb_info"),
        tcb_info_signature: bytes("tcb_info_signature"),
        tcb_info_issuer_chain: text("tcb_info_issuer_chain"),
        qe_identity: text("qe_identity"),
        qe_identity_signature: bytes("qe_identity_signature"),
        qe_identity_issuer_chain: text("qe_identity_issuer_chain"),
        pck_crl: bytes("pck_crl"),
        pck_crl_issuer_chain: text("pck_crl_issuer_chain"),
        root_ca_crl: bytes("root_ca_crl"),
    }
}

/// The DER certificates of a PEM file.
pub(crate) fn chain(folder: &Path, name: &str) -> Vec<Der> {
    let text = String::from_utf8(read(folder, name)).unwrap();
    anchorhold_verifier::pem::read(&text, 8).unwrap().into_iter().map(Der).collect()
}

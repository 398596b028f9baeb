//! Real samples, which are not part of the project. Where they are not there, CI fails and others skip.

use anchorhold_rats::{Der, TdxCollateral};
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

/// The collateral beside a quote.
pub(crate) fn collateral(folder: &Path, name: &str) -> TdxCollateral {
    TdxCollateral::from_dcap_json(&read(folder, name)).unwrap()
}

/// The DER certificates of a PEM file.
pub(crate) fn chain(folder: &Path, name: &str) -> Vec<Der> {
    let text = String::from_utf8(read(folder, name)).unwrap();
    anchorhold_verifier::pem::read(&text, 8).unwrap().into_iter().map(Der).collect()
}

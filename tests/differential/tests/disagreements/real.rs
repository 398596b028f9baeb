//! The same on real samples, under the vendors' roots. Authentication only: the samples' policies differ.

use crate::peers::{self, Peer};
use crate::table::Disagreements;
use anchorhold_rats::{Der, TdxCollateral, Timestamp};
use anchorhold_verifier::snp::{self, Signer, SigningKey};
use anchorhold_verifier::tdx::{self, TcbStatus};
use anchorhold_verifier::{Refusal, TrustAnchors};
use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::verify::QuoteVerifier;
use std::path::{Path, PathBuf};

/// At each time for which the manifest states a verdict, and each certificate that is there.
pub(crate) const LEAST_COMPARED: usize = 20;

/// The folder of real samples, or `None` where a developer does not have it. CI must have it.
fn samples() -> Option<PathBuf> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/evidence"));
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing", folder.display());
    eprintln!("skipped: no real samples at {}", folder.display());
    None
}

pub(crate) fn compare() -> Option<Disagreements> {
    let folder = samples()?;
    let manifest = std::fs::read(folder.join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let mut found = Disagreements::default();
    for sample in manifest["samples"].as_array().unwrap() {
        let id = sample["id"].as_str().unwrap();
        let times = sample["expected"].as_array().unwrap().iter();
        let times: Vec<Timestamp> = times.map(|e| e["at"].as_str().unwrap().parse().unwrap()).collect();
        match sample["platform"].as_str().unwrap() {
            "snp" => compare_snp(&folder, id, &times, &mut found),
            "tdx" => compare_tdx(&folder, id, &times, &mut found),
            _ => {}
        }
    }
    Some(found)
}

/// `accept`, or the code of the first rule that failed.
fn verdict<T>(result: &Result<T, Refusal>) -> String {
    result.as_ref().map_or_else(|refusal| refusal.code().to_owned(), |_| "accept".to_owned())
}

fn compare_snp(folder: &Path, id: &str, times: &[Timestamp], found: &mut Disagreements) {
    let Ok(report) = std::fs::read(folder.join(id).join("report.bin")) else { return };
    let read = |path: PathBuf| std::fs::read(path).unwrap();
    let name = id.rsplit('/').next().unwrap();
    let product = name.split('-').next().unwrap();
    let signing_key = snp::Report::parse(&report).unwrap().signing_key;
    let intermediate = if signing_key == SigningKey::Signed(Signer::Vlek) { "asvk" } else { "ask" };
    let authority = |which: &str| read(folder.join(format!("snp/ca/{product}-{which}.der")));
    let (ask, ark) = (authority(intermediate), authority("ark"));
    for entry in std::fs::read_dir(folder.join(id)).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.extension().is_none_or(|extension| extension != "der") {
            continue;
        }
        let vek = read(path);
        let certificates = [Der(vek.clone()), Der(ask.clone())];
        let input = snp::Input { report: &report, certificates: &certificates, crls: &[] };
        for at in times {
            let ours = verdict(&snp::authenticate(&input, &TrustAnchors::production(), *at));
            let theirs = peers::sev(&report, &vek, &ask, &ark);
            found.compare(Peer::Sev, &ours, &theirs, &format!("{id}/{file} at {at}"));
        }
    }
}

fn compare_tdx(folder: &Path, id: &str, times: &[Timestamp], found: &mut Disagreements) {
    let read = |file: &str| std::fs::read(folder.join(id).join(file)).ok();
    let (Some(quote), Some(json)) = (read("quote.bin"), read("collateral.json")) else { return };
    let collateral = ours(serde_json::from_slice(&json).unwrap());
    let input = tdx::Input { quote: &quote, collateral: Some(&collateral) };
    for at in times {
        let result = tdx::authenticate(&input, &TrustAnchors::production(), *at);
        let ours = match &result {
            Ok(quote) if quote.claims().tcb().status != TcbStatus::UpToDate => "tdx_tcb_status".to_owned(),
            result => verdict(result),
        };
        let seconds = at.unix_seconds().try_into().unwrap();
        // Debugging and service TDs are for our policy, which is not asked here.
        let verifier = QuoteVerifier::new_prod().allow_debug(true).allow_service_td(true);
        let theirs = peers::dcap_qvl(&verifier, &quote, &json, seconds);
        found.compare(Peer::DcapQvl, &ours, &theirs, &format!("{id} at {at}"));
    }
}

fn ours(theirs: QuoteCollateralV3) -> TdxCollateral {
    TdxCollateral {
        tcb_info: theirs.tcb_info,
        tcb_info_signature: Der(theirs.tcb_info_signature),
        tcb_info_issuer_chain: theirs.tcb_info_issuer_chain,
        qe_identity: theirs.qe_identity,
        qe_identity_signature: Der(theirs.qe_identity_signature),
        qe_identity_issuer_chain: theirs.qe_identity_issuer_chain,
        pck_crl: Der(theirs.pck_crl),
        pck_crl_issuer_chain: theirs.pck_crl_issuer_chain,
        root_ca_crl: Der(theirs.root_ca_crl),
    }
}

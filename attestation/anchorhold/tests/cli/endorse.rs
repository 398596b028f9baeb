//! `evidence endorse` and `verify` with endorsements: from a service on this machine, from the cache, and from nowhere.

use crate::families::{REPORT_DATA, verify};
use crate::support::{Folder, MEASUREMENT, document_of, now, run, td};
use anchorhold_rats::{Endorsements, Nonce, Sha256Digest, TdxCollateral};
use axum::Router;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a PCCS answers.
fn answer(collateral: &TdxCollateral, uri: &Uri) -> Response {
    let statement = |key: &str, text: &str, signature: &[u8], header: &'static str, chain: &str| {
        let body = format!("{{\"{key}\":{text},\"signature\":\"{}\"}}", hex(signature));
        ([(header, percent(chain))], body).into_response()
    };
    let TdxCollateral { tcb_info, qe_identity, tcb_info_signature, qe_identity_signature, .. } = collateral;
    match uri.path() {
        "/tdx/certification/v4/tcb" => {
            let chain = &collateral.tcb_info_issuer_chain;
            statement("tcbInfo", tcb_info, &tcb_info_signature.0, "tcb-info-issuer-chain", chain)
        }
        "/tdx/certification/v4/qe/identity" => {
            let (header, chain) = ("sgx-enclave-identity-issuer-chain", &collateral.qe_identity_issuer_chain);
            statement("enclaveIdentity", qe_identity, &qe_identity_signature.0, header, chain)
        }
        "/sgx/certification/v4/pckcrl" => {
            let chain = percent(&collateral.pck_crl_issuer_chain);
            ([("sgx-pck-crl-issuer-chain", chain)], collateral.pck_crl.0.clone()).into_response()
        }
        "/sgx/certification/v4/rootcacrl" => collateral.root_ca_crl.0.clone().into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

/// A PCCS on a free port, as long as the runtime lives.
fn pccs(collateral: TdxCollateral) -> (Runtime, String) {
    let runtime = Runtime::new().unwrap();
    let collateral = Arc::new(collateral);
    let router = Router::new().fallback(move |uri: Uri| async move { answer(&collateral, &uri) });
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    runtime.spawn(async move { axum::serve(listener, router).await });
    (runtime, url)
}

#[test]
fn what_is_missing_is_fetched_once_and_judged_offline_then() {
    let folder = Folder::new();
    let (evidence, collateral) = td(&REPORT_DATA);
    let bare = folder.bundle("bare.json", evidence, Endorsements::default());
    let (runtime, url) = pccs(collateral);
    let (cache, bundle) = (folder.path("cache"), folder.path("bundle.json"));
    let endorse = |output: &str, more: &[&str]| {
        run(["evidence", "endorse", &bare, "-o", output, "--cache", &cache].iter().chain(more))
    };
    endorse(&bundle, &["--pccs", &url]).expect(0, "");
    verify(&folder, &bundle, &["--measurement", &MEASUREMENT.to_string()]).expect(0, "");
    drop(runtime);
    let again = folder.path("again.json");
    endorse(&again, &["--offline"]).expect(0, "");
    verify(&folder, &again, &["--measurement", &MEASUREMENT.to_string()]).expect(0, "");
    endorse(&again, &["--offline"]).expect(1, "cannot create");
}

#[test]
fn an_error_names_vendor_and_item_and_writes_nothing() {
    let folder = Folder::new();
    let (evidence, _) = td(&REPORT_DATA);
    let bare = folder.bundle("bare.json", evidence, Endorsements::default());
    let (cache, bundle) = (folder.path("cache"), folder.path("bundle.json"));
    let ran = run(["evidence", "endorse", &bare, "--output", &bundle, "--cache", &cache, "--offline"]);
    ran.expect(5, "not in the cache, and the network may not be used");
    ran.expect(5, "anchorhold: error: endorsements are missing: Intel ");
    ran.expect(5, "\nhint: without --offline what is missing is fetched\n");
    assert!(!std::path::Path::new(&bundle).exists());
    let args = ["evidence", "endorse", &bare, "-o", &bundle, "--pccs", "http://pccs.example"];
    run(args).expect(2, "plain http is only for this machine");
}

#[test]
fn a_td_that_serves_is_verified_with_endorsements_and_not_without() {
    let folder = Folder::new();
    let (nonce, tls_key) = (Nonce::new([1; 32]), Sha256Digest::new([2; 32]));
    let mut endorsements = None;
    let attest = |report_data: &_| {
        let (evidence, collateral) = td(report_data);
        endorsements = Some(collateral);
        evidence
    };
    let document = folder.write("document.json", document_of(attest, nonce, tls_key));
    let collateral = endorsements.unwrap();
    let (nonce, tls_key, measurement) = (nonce.to_string(), tls_key.to_string(), MEASUREMENT.to_string());
    let (roots, cache, at) = (folder.simulated_roots(), folder.path("cache"), now().to_string());
    let by = |more: &[&str]| {
        let given =
            ["verify", "--document", &document, "--nonce", &nonce, "--tls-key", &tls_key, "--at", &at];
        let trust = ["--measurement", &measurement, "--dangerous-simulated-root", &roots];
        run(given.iter().chain(&trust).chain(more))
    };
    let without = by(&["--cache", &cache, "--offline"]);
    without.expect(5, "anchorhold: warning: endorsement missing: Intel ");
    assert!(without.out.contains("FAILED   tdx_collateral_missing"), "{}", without.out);
    assert!(without.out.ends_with("verdict      ENDORSEMENTS UNAVAILABLE\n"), "{}", without.out);

    let (evidence, _) = td(&REPORT_DATA);
    let given = Endorsements { tdx: Some(collateral.clone()), ..Endorsements::default() };
    let bundle = folder.bundle("bundle.json", evidence, given);
    by(&["--endorsements", &bundle]).expect(0, "");
    by(&["--endorsements", &document]).expect(1, "document.json: ");

    let (runtime, url) = pccs(collateral);
    by(&["--cache", &cache, "--pccs", &url]).expect(0, "");
    drop(runtime);
    by(&["--cache", &cache, "--offline"]).expect(0, "");
}

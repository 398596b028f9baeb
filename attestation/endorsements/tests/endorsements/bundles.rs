//! From one machine to another without a network.

use crate::samples;
use crate::script::{Script, good};
use crate::simulated::{DAY, Snp, anchors, at, open_cache, serve_intel, store, tdx};
use anchorhold_endorsements::{Config, Endorsed, EndorsementStore, Intermediates, Item, Mode, rim_ids};
use anchorhold_rats::{Der, Evidence, EvidenceBundle, GpuEvidence, Timestamp};
use anchorhold_verifier::authenticate;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

/// Exports what an online store says, imports it into an empty one, and asks that one without a network.
async fn moved(
    config: &Config,
    script: &Script,
    evidence: &Evidence,
    at: Timestamp,
) -> (Endorsed, Endorsed, Vec<Item>) {
    let (_folder, online) = store(config.clone(), script.clone());
    let endorsed = online.endorse(evidence, at).await.unwrap();
    let json = serde_json::to_vec(&endorsed.clone().into_bundle(at).unwrap()).unwrap();
    let bundle = EvidenceBundle::from_json(&json).unwrap();
    assert_eq!(bundle.taken, Some(at));
    script.take_asked();
    let (_folder, offline) = store(Config { mode: Mode::Offline, ..config.clone() }, script.clone());
    let kept = offline.import(&bundle, at).await.unwrap();
    let again = offline.endorse(evidence, at).await.unwrap();
    assert_eq!(script.take_asked(), [""; 0]);
    (endorsed, again, kept)
}

#[tokio::test(start_paused = true)]
async fn what_is_imported_is_enough_to_verify_offline() {
    let (snp, script) = (Snp::new(), Script::default());
    snp.serve(&script);
    // The simulated root is not built in, and neither are its intermediates.
    let config = Config { intermediates: Intermediates::Fetched, ..Config::production() };
    let (endorsed, again, kept) = moved(&config, &script, &snp.evidence, at(0)).await;
    assert_eq!(again, endorsed);
    assert_eq!(kept.len(), 3);
    let judged = authenticate(&again.evidence, &again.endorsements, &anchors(), at(0));
    assert!(judged.is_ok(), "{}", judged.unwrap_err());
    let without = authenticate(&snp.evidence, &again.endorsements, &anchors(), at(0));
    assert!(without.is_err(), "the evidence alone lacks the VCEK");
}

#[tokio::test(start_paused = true)]
async fn the_collateral_of_intel_moves_whole_and_is_enough_to_verify() {
    let ((evidence, collateral), script) = (tdx(), Script::default());
    serve_intel(&script, &evidence, &collateral);
    let (endorsed, again, kept) = moved(&Config::production(), &script, &evidence, at(0)).await;
    assert_eq!(again, endorsed);
    assert_eq!(again.endorsements.tdx, Some(collateral));
    assert_eq!(kept.len(), 4);
    let judged = authenticate(&again.evidence, &again.endorsements, &anchors(), at(0));
    assert!(judged.is_ok(), "{}", judged.unwrap_err());
}

#[tokio::test(start_paused = true)]
async fn manifests_and_ocsp_responses_move_whole() {
    let Some(folder) = samples::folder() else { return };
    let (snp, script) = (Snp::new(), Script::default());
    snp.serve(&script);
    let mut evidence = snp.evidence.clone();
    for name in ["hopper-545-full", "switch-ls10"] {
        evidence.gpus.push(GpuEvidence {
            report: samples::read(&folder, &format!("nvidia/{name}/report.bin")),
            certificates: samples::chain(&folder, &format!("nvidia/{name}/chain.pem")),
        });
    }
    let files = ["hopper-545-full/driver-rim", "hopper-545-full/vbios-rim", "switch-ls10/bios-rim"];
    for (id, file) in rim_ids(&evidence).into_iter().zip(files) {
        let xml = samples::read(&folder, &format!("nvidia/{file}.xml"));
        let body = json!({ "id": id, "rim": STANDARD.encode(xml) });
        script.set(format!("/v1/rim/{id}"), [good(body.to_string().as_bytes())]);
    }
    // One of the manifests' signers ends in 2025, so the cache keeps its manifest only until then.
    let early = at(0).plus_seconds(-400 * DAY);
    let (_folder, online) = store(Config::production(), script.clone());
    let endorsed = online.endorse(&evidence, early).await.unwrap();
    assert_eq!(endorsed.endorsements.rims.len(), 3);
    let mut shuffled = endorsed.clone().into_bundle(early).unwrap();
    shuffled.endorsements.rims.reverse();
    shuffled.endorsements.ocsp.reverse();
    let (_folder, offline) = store(Config { mode: Mode::Offline, ..Config::production() }, script);
    offline.import(&shuffled, early).await.unwrap();
    assert_eq!(offline.endorse(&evidence, early).await.unwrap(), endorsed);
}

#[tokio::test(start_paused = true)]
async fn what_a_bundle_holds_of_something_else_is_left_out() {
    let ((evidence, collateral), script) = (tdx(), Script::default());
    serve_intel(&script, &evidence, &collateral);
    let (_folder, online) = store(Config::production(), script.clone());
    let mut bundle = online.endorse(&evidence, at(0)).await.unwrap().into_bundle(at(0)).unwrap();
    let tdx = bundle.endorsements.tdx.as_mut().unwrap();
    tdx.tcb_info = tdx.tcb_info.replace("\"fmspc\":\"", "\"fmspc\":\"F");
    tdx.root_ca_crl = Der(vec![1, 2, 3]);
    let (_folder, other) = store(Config::production(), script);
    let kept = other.import(&bundle, at(0)).await.unwrap();
    assert!(matches!(kept[..], [Item::QeIdentity { .. }, Item::PckCrl { .. }]), "{kept:?}");
}

#[tokio::test(start_paused = true)]
async fn an_import_does_not_replace_what_lasts_longer() {
    let (snp, script) = (Snp::new(), Script::default());
    snp.serve(&script);
    let (folder, online) = store(Config::production(), script.clone());
    let bundle = online.endorse(&snp.evidence, at(0)).await.unwrap().into_bundle(at(0)).unwrap();
    let newer = Snp::new();
    let mut later = bundle.clone();
    later.endorsements.snp_crls = vec![Der(newer.crl.clone())];
    let offline = Config { mode: Mode::Offline, ..Config::production() };
    let offline = EndorsementStore::new(offline, script, open_cache(folder.path()));
    offline.import(&later, at(5)).await.unwrap();
    let endorsed = offline.endorse(&snp.evidence, at(5)).await.unwrap();
    assert_eq!(endorsed.endorsements, bundle.endorsements, "both lists end at the same time");
}

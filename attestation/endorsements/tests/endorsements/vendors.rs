//! Real samples, served as the vendors serve them.

use crate::samples;
use crate::script::{Script, good, status};
use crate::service::{Service, reply};
use crate::simulated::{hex, intel_answers, pem, serve_intel, store};
use anchorhold_endorsements::{
    BaseUrl, Config, EndorsementStore, HttpsTransport, Intermediates, Item, RootCrl, Source, plan, rim_ids,
};
use anchorhold_rats::{Der, Endorsements, Evidence, GpuEvidence, Sha256Digest, Timestamp};
use anchorhold_verifier::{TrustAnchors, authenticate};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use std::path::Path;

fn day(year: i64, month: i64, day: i64) -> Timestamp {
    Timestamp::from_civil((year, month, day), (0, 0, 0)).unwrap()
}

/// Sample, product, and the query that AMD's service is asked with.
const SNP: &[(&str, &str, &str)] = &[
    ("milan-v2-debug", "Milan", "blSPL=02&teeSPL=00&snpSPL=05&ucodeSPL=68"),
    ("milan-v2-azure", "Milan", "blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115"),
    ("milan-v3-dstack", "Milan", "blSPL=04&teeSPL=00&snpSPL=23&ucodeSPL=213"),
    ("milan-v5-gcp", "Milan", "blSPL=04&teeSPL=00&snpSPL=27&ucodeSPL=222"),
    ("genoa-v3-aci", "Genoa", "blSPL=10&teeSPL=00&snpSPL=23&ucodeSPL=84"),
    ("genoa-v5-oak", "Genoa", "blSPL=10&teeSPL=00&snpSPL=25&ucodeSPL=84"),
    ("turin-v5-oak", "Turin", "fmcSPL=00&blSPL=01&teeSPL=00&snpSPL=02&ucodeSPL=71"),
];

#[tokio::test(start_paused = true)]
async fn a_vcek_is_fetched_under_the_name_that_the_report_gives_it() {
    let Some(folder) = samples::folder() else { return };
    for (name, product, query) in SNP {
        let report = samples::read(&folder, &format!("snp/{name}/report.bin"));
        let vcek = samples::read(&folder, &format!("snp/{name}/vcek.der"));
        let chip = &report[0x1a0..if *product == "Turin" { 0x1a8 } else { 0x1e0 }];
        let script = Script::default();
        script.set(format!("/vcek/v1/{product}/{}?{query}", hex(chip)), [good(&vcek)]);
        let (_folder, store) = store(Config::production(), script.clone());
        let at = day(2026, 7, 25);
        let gathered = store.gather(&Evidence::snp(report, vec![]), at).await.unwrap();
        assert_eq!(gathered.endorsed.evidence.certificates, [Der(vcek)], "{name}: {:?}", script.take_asked());
        // Only the revocation list is missing, since none was served.
        assert_eq!(gathered.missing.len(), 1, "{name}");
        assert!(script.take_asked().contains(&format!("/vcek/v1/{product}/crl")), "{name}");
        let judged = authenticate(
            &gathered.endorsed.evidence,
            &Endorsements::default(),
            &TrustAnchors::production(),
            at,
        );
        assert!(judged.is_ok(), "{name}: {}", judged.unwrap_err());
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_product_is_tried_in_order() {
    let Some(folder) = samples::folder() else { return };
    let report = samples::read(&folder, "snp/milan-v2-azure/report.bin");
    let vcek = samples::read(&folder, "snp/milan-v2-azure/vcek.der");
    let evidence = Evidence::snp(report, vec![]);
    let wanted = plan(&evidence, &[], &Config::production()).unwrap().remove(0);
    let script = Script::default();
    script.set(wanted.item.path(), [status(404)]);
    script.set(wanted.otherwise[0].path(), [good(&vcek)]);
    let (_folder, store) = store(Config::production(), script.clone());
    store.gather(&evidence, day(2026, 7, 25)).await.unwrap();
    let asked = [wanted.item.path(), wanted.otherwise[0].path(), "/vcek/v1/Genoa/crl".to_owned()];
    assert_eq!(script.take_in_order(), asked);
}

fn milan_with_list(folder: &Path) -> (Evidence, Script) {
    let report = samples::read(folder, "snp/milan-v3-oak-staging/report.bin");
    let evidence = Evidence::snp(report, vec![]);
    let script = Script::default();
    let vcek = plan(&evidence, &[], &Config::production()).unwrap().remove(0).item;
    script.set(vcek.path(), [good(&samples::read(folder, "snp/milan-v3-oak-staging/vcek.der"))]);
    script.set("/vcek/v1/Milan/crl", [good(&samples::read(folder, "snp/crl/milan.crl"))]);
    let issuers = ["snp/ca/milan-ask.der", "snp/ca/milan-ark.der"];
    let chain = issuers.map(|name| pem(&samples::read(folder, name))).concat();
    script.set("/vcek/v1/Milan/cert_chain", [good(chain.as_bytes())]);
    (evidence, script)
}

#[tokio::test(start_paused = true)]
async fn what_amd_says_satisfies_the_verifier() {
    let Some(folder) = samples::folder() else { return };
    let (evidence, script) = milan_with_list(&folder);
    for (intermediates, count) in [(Intermediates::BuiltIn, 1), (Intermediates::Fetched, 3)] {
        let config = Config { intermediates, ..Config::production() };
        let (_folder, store) = store(config, script.clone());
        let at = day(2026, 4, 1);
        let endorsed = store.endorse(&evidence, at).await.unwrap();
        assert_eq!(endorsed.evidence.certificates.len(), count);
        let judged =
            authenticate(&endorsed.evidence, &endorsed.endorsements, &TrustAnchors::production(), at);
        assert!(judged.is_ok(), "{}", judged.unwrap_err());
    }
}

const TDX: &[(&str, &str)] = &[
    ("tdx/v4-dstack-uptodate", "collateral.json"),
    ("tdx/v4-gcp", "collateral.json"),
    ("tdx/v4-gnr-trustee", "collateral.json"),
    ("tdx/v5-alibaba", "collateral.json"),
    ("tdx/v5-gcp-like", "collateral.json"),
];

#[tokio::test(start_paused = true)]
async fn what_intel_says_is_kept_byte_for_byte() {
    let Some(folder) = samples::folder() else { return };
    for (sample, file) in TDX {
        let evidence = Evidence::tdx(samples::read(&folder, &format!("{sample}/quote.bin")));
        let collateral = samples::collateral(&folder, &format!("{sample}/{file}"));
        let script = Script::default();
        serve_intel(&script, &evidence, &collateral);
        let (_folder, store) = store(Config::production(), script);
        let endorsed =
            store.endorse(&evidence, day(2025, 6, 25)).await.unwrap_or_else(|e| panic!("{sample}: {e}"));
        assert_eq!(endorsed.endorsements.tdx.unwrap(), collateral, "{sample}");
        assert_eq!(endorsed.evidence, evidence);
    }
}

#[tokio::test(start_paused = true)]
async fn what_intel_says_satisfies_the_verifier() {
    let Some(folder) = samples::folder() else { return };
    let evidence = Evidence::tdx(samples::read(&folder, "tdx/v4-dstack-uptodate/quote.bin"));
    let script = Script::default();
    serve_intel(&script, &evidence, &samples::collateral(&folder, "tdx/v4-dstack-uptodate/collateral.json"));
    let (_folder, store) = store(Config::production(), script);
    let at = day(2025, 6, 25);
    let endorsed = store.endorse(&evidence, at).await.unwrap();
    let judged = authenticate(&endorsed.evidence, &endorsed.endorsements, &TrustAnchors::production(), at);
    assert!(judged.is_ok(), "{}", judged.unwrap_err());
}

#[tokio::test]
async fn a_pccs_sends_lists_in_hex_over_a_socket() {
    let Some(folder) = samples::folder() else { return };
    let evidence = Evidence::tdx(samples::read(&folder, "tdx/v4-dstack-uptodate/quote.bin"));
    let collateral = samples::collateral(&folder, "tdx/v4-dstack-uptodate/collateral.json");
    let service = Service::start(None).await;
    let config = Config::production().with_pccs(BaseUrl::new(&service.url()).unwrap().into());
    let items: Vec<_> =
        plan(&evidence, &[], &config).unwrap().into_iter().map(|wanted| wanted.item).collect();
    for ((path, body, header), item) in intel_answers(&collateral, &items).into_iter().zip(&items) {
        let list = matches!(item, Item::PckCrl { .. } | Item::IntelRootCrl);
        let body = if list { hex(&body).into_bytes() } else { body };
        let headers: Vec<_> = header.iter().map(|(name, value)| (*name, value.as_str())).collect();
        service.set(path, [reply(200, &headers, &body)]);
    }
    let (_folder, store) = store(config, HttpsTransport::new().unwrap());
    let endorsed = store.endorse(&evidence, day(2025, 6, 25)).await.unwrap();
    assert_eq!(endorsed.endorsements.tdx.unwrap(), collateral);
    assert_eq!(service.seen().len(), 4);
}

/// Folder of a device's sample, the names that its manifests have, and the manifests where they are there.
const DEVICES: &[(&str, &[&str], &[&str])] = &[
    (
        "hopper-545-full",
        &["NV_GPU_DRIVER_GH100_545.00", "NV_GPU_VBIOS_1010_0200_882_96005E0001"],
        &["driver-rim.xml", "vbios-rim.xml"],
    ),
    ("switch-ls10", &["NV_SWITCH_BIOS_5612_0002_890_9610550001"], &["bios-rim.xml"]),
];

fn device(folder: &Path, name: &str) -> Evidence {
    let mut evidence = Evidence::snp(samples::read(folder, "snp/milan-v3-dstack/report.bin"), vec![]);
    evidence.gpus = vec![GpuEvidence {
        report: samples::read(folder, &format!("nvidia/{name}/report.bin")),
        certificates: samples::chain(folder, &format!("nvidia/{name}/chain.pem")),
    }];
    evidence
}

#[test]
fn devices_name_their_manifests() {
    let Some(folder) = samples::folder() else { return };
    for (name, ids, _) in DEVICES {
        assert_eq!(rim_ids(&device(&folder, name)), *ids, "{name}");
    }
    for (name, driver) in [("hopper-535", "GH100"), ("hopper-570", "GH100"), ("blackwell-575", "GB100")] {
        let ids = rim_ids(&device(&folder, name));
        assert_eq!(ids.len(), 2, "{name}: {ids:?}");
        assert!(ids[0].contains(driver) && ids[1].starts_with("NV_GPU_VBIOS_"), "{name}: {ids:?}");
    }
}

#[tokio::test]
async fn manifests_and_ocsp_responses_come_over_a_socket() {
    let Some(folder) = samples::folder() else { return };
    let service = Service::start(None).await;
    let at_service = || Source::from(BaseUrl::new(&service.url()).unwrap());
    let config = Config {
        kds: at_service(),
        pcs: at_service(),
        root_crl: RootCrl::Pccs,
        rim: at_service(),
        ocsp: at_service(),
        ..Config::production()
    };
    for (name, ids, files) in DEVICES {
        let evidence = device(&folder, name);
        let manifests: Vec<_> =
            files.iter().map(|file| samples::read(&folder, &format!("nvidia/{name}/{file}"))).collect();
        for (id, xml) in ids.iter().zip(&manifests) {
            let body = json!({ "id": id, "rim": STANDARD.encode(xml), "sha256": "", "last_updated": "x" });
            service.set(format!("/v1/rim/{id}"), [reply(200, &[], body.to_string().as_bytes())]);
        }
        let (_folder, store): (_, EndorsementStore<_>) =
            store(config.clone(), HttpsTransport::new().unwrap());
        let gathered = store.gather(&evidence, day(2026, 6, 15)).await.unwrap();
        assert_eq!(gathered.missing.len(), 2, "{name}: only what AMD was not set up to say");
        let endorsements = gathered.endorsed.endorsements;
        assert_eq!(
            endorsements.rims.iter().map(|rim| &rim.0).collect::<Vec<_>>(),
            manifests.iter().collect::<Vec<_>>()
        );
        // Of the device its three intermediates; of each manifest its signer, and two intermediates.
        let least = 3 + 3;
        assert!(
            (least..least + manifests.len()).contains(&endorsements.ocsp.len()),
            "{}",
            endorsements.ocsp.len()
        );
    }
    let posts: Vec<_> = service.seen().into_iter().filter(|seen| seen.line.starts_with("POST / ")).collect();
    assert!(posts.iter().all(|seen| seen.head.contains("content-type: application/ocsp-request")));
    // SHA-256 of what `openssl ocsp -sha384 -no_nonce -reqout` writes for the second certificate of hopper-545-full.
    let by_openssl = "a7426a53c5e876d93b32a44321b5415531be4bd830196e964126844977dcf467";
    assert!(posts.iter().any(|seen| Sha256Digest::of(&seen.body).to_string() == by_openssl));
}

//! Memory is bounded on any input up to the stated limits: hostile lengths, depths and counts through the one call that
//! reads everything. Work is held through what is allocated in total, since a timed test would measure the machine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    missing_docs,
    reason = "tests stop at a surprise"
)]

use anchorhold_attester::software::gpu::{
    Chip, GpuConfig, GpuDevice, simulated_nvidia_device_root_der, simulated_nvidia_rim_root_der,
};
use anchorhold_attester::software::tdx::{TdConfig, TdxGuest, simulated_intel_root_der};
use anchorhold_attester::software::{LaunchConfig, SoftwareGuest, SoftwareParavisor, simulated_ark_der};
use anchorhold_rats::{
    Der, Endorsements, Evidence, GpuEvidence, Measurement, Nonce, Paravisor, ReportData, TdxCollateral, Tee,
    Timestamp, TpmEvidence,
};
use anchorhold_verifier::dangerous::{SimulatedRoots, simulated_anchors};
use anchorhold_verifier::{TrustAnchors, authenticate};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The most that may be in use at one time, in bytes. All input together stays below 12 MiB.
const MAX_PEAK: usize = 64 << 20;
/// The most that may be allocated in total, in bytes.
const MAX_TOTAL: usize = 256 << 20;

struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static TOTAL: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "a global allocator cannot be written without; it only counts and passes on")]
// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let in_use = IN_USE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(in_use, Ordering::Relaxed);
        TOTAL.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises about `layout` are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: `pointer` came from `alloc` above with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// The counters are of the whole process, so one test counts at a time.
static LOCK: Mutex<()> = Mutex::new(());

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn at() -> Timestamp {
    "2026-07-25T00:00:00Z".parse().unwrap()
}

/// Sequences in sequences, each as long as the rest says.
fn nested(length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() + 4 <= length {
        let rest = u16::try_from((length - bytes.len() - 4).min(0xffff)).unwrap();
        bytes.extend([0x30, 0x82]);
        bytes.extend(rest.to_be_bytes());
    }
    bytes.resize(length, 0x30);
    bytes
}

fn collateral(text: &str, list: &[u8]) -> TdxCollateral {
    let (text, list) = (text.to_owned(), Der(list.to_vec()));
    TdxCollateral {
        tcb_info: text.clone(),
        tcb_info_signature: Der(vec![0xff; 64]),
        tcb_info_issuer_chain: text.clone(),
        qe_identity: text.clone(),
        qe_identity_signature: Der(vec![0xff; 64]),
        qe_identity_issuer_chain: text.clone(),
        pck_crl: list.clone(),
        pck_crl_issuer_chain: text,
        root_ca_crl: list,
    }
}

/// Reports that begin well and then lie about every length.
fn reports() -> Vec<(Tee, Vec<u8>)> {
    let mut found = Vec::new();
    for fill in [0x00, 0x41, 0xff] {
        found.push((Tee::Snp, vec![fill; 16 * 1024]));
        found.push((Tee::Snp, vec![fill; 1184]));
        for version in [4, 5] {
            let mut quote = vec![version, 0, 2, 0, 0x81, 0, 0, 0];
            quote.resize(16 * 1024, fill);
            found.push((Tee::Tdx, quote));
        }
    }
    found
}

fn event_logs() -> Vec<Vec<u8>> {
    let guest = anchorhold_attester::software::tdx::EventLog::new(vec![]);
    let header = guest.encode();
    let mut tiny = header.clone();
    // Register 1, an action, one SHA-384 digest, no data; as many as fit.
    let mut event = vec![1, 0, 0, 0, 7, 0, 0, 0x80, 1, 0, 0, 0, 0x0c, 0];
    event.extend([0; 48 + 4]);
    while tiny.len() + event.len() <= 256 * 1024 {
        tiny.extend(&event);
    }
    let mut lying = header;
    lying.extend([1, 0, 0, 0, 7, 0, 0, 0x80, 0xff, 0xff, 0xff, 0xff]);
    vec![tiny, lying, vec![0xff; 256 * 1024]]
}

fn manifests() -> Vec<Vec<u8>> {
    const LENGTH: usize = 256 * 1024;
    let names: String = (0..20_000).map(|index| format!(" a{index}=\"\"")).collect();
    let spaces: String = (0..10_000).map(|index| format!(" xmlns:a{index}=\"b\"")).collect();
    vec![
        "<a>".repeat(LENGTH / 3),
        "<a/>".repeat(LENGTH / 4),
        format!("<a{names}/>"),
        format!("<a{spaces}/>"),
        "&lt;".repeat(LENGTH / 4),
        format!("<a>{}</a>", "&#x41;".repeat(LENGTH / 6 - 2)),
    ]
    .into_iter()
    .map(|text| text.chars().take(LENGTH).collect::<String>().into_bytes())
    .collect()
}

fn endorsements(fill: &[u8], text: &str) -> Endorsements {
    Endorsements {
        snp_crls: vec![Der(nested(256 * 1024)); 8],
        tdx: Some(collateral(text, &nested(256 * 1024))),
        rims: manifests().into_iter().map(Der).collect(),
        ocsp: vec![Der(fill.to_vec()); 64],
    }
}

#[test]
fn case_09_hostile_lengths_depths_and_counts_stay_within_bounded_memory() {
    let _alone = LOCK.lock().unwrap();
    let anchors = TrustAnchors::production();
    let certificates = vec![Der(nested(8 * 1024)); 3];
    let mut claims = SoftwareParavisor::new().unwrap();
    claims.claims = "[".repeat(1200);
    let hcl = claims.hcl_report(Tee::Snp, &[0; 1184]);
    let paravisor = Paravisor {
        hcl_report: hcl,
        quote: vec![0xff; 8192],
        signature: vec![0xff; 8192],
        pcrs: vec![Der(vec![0; 64]); 24],
    };
    let mut reached = 0;
    for (tee, report) in reports() {
        for (log, text) in event_logs().into_iter().zip([
            "[".repeat(64 * 1024),
            "{\"a\":".repeat(13_000),
            "-----BEGIN CERTIFICATE-----\n".repeat(2_300),
        ]) {
            let mut device = vec![0x11, 0xe0, 1, 0xff];
            device.resize(16 * 1024, 0xff);
            let gpu = GpuEvidence { report: device, certificates: vec![Der(nested(8 * 1024)); 5] };
            let evidence = Evidence {
                tee,
                report: report.clone(),
                certificates: certificates.clone(),
                gpus: vec![gpu; 16],
                event_log: Some(Der(log.clone())),
                paravisor: Some(paravisor.clone()),
                tpm: None,
            };
            let endorsements = endorsements(&nested(16 * 1024), &text);
            measured(&evidence, &endorsements, &anchors);
            let tpm = TpmEvidence {
                key: vec![0xff; 1024],
                quote: vec![0xff; 1024],
                signature: vec![0xff; 1024],
                pcrs: vec![Der(vec![0xff; 64]); 24],
                event_log: Some(Der(log)),
                certificates: vec![Der(vec![0x30; 8 * 1024]); 8],
            };
            measured(&Evidence { paravisor: None, tpm: Some(tpm), ..evidence }, &endorsements, &anchors);
            reached += 1;
        }
    }
    assert_eq!(reached, 36);
}

/// Judges, and holds memory and total allocation to the bounds.
fn measured(evidence: &Evidence, endorsements: &Endorsements, anchors: &TrustAnchors) {
    evidence.check_limits().unwrap();
    endorsements.check_limits().unwrap();
    let before = IN_USE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    TOTAL.store(0, Ordering::Relaxed);
    let refusal = authenticate(evidence, endorsements, anchors, at()).expect_err("accepted");
    let (peak, total) = (PEAK.load(Ordering::Relaxed) - before, TOTAL.load(Ordering::Relaxed));
    assert!(peak < MAX_PEAK && total < MAX_TOTAL, "peak {peak}, total {total}: {}", refusal.code());
    assert!(!refusal.code().is_empty());
}

/// Good evidence, so that the endorsements beside it are read.
fn good() -> (Vec<Evidence>, TrustAnchors) {
    let measurement = Measurement::new([7; 48]);
    let report_data = ReportData::new([9; 64]);
    let mut snp =
        SoftwareGuest::launch(LaunchConfig::new(measurement), at()).unwrap().attest(&report_data).unwrap();
    let device = GpuDevice::make(GpuConfig::new(Chip::Gh100, [0x41; 8])).unwrap();
    snp.gpus = vec![device.evidence(&Nonce::new([1; 32])).unwrap()];
    let tdx = TdxGuest::launch(TdConfig::new(measurement), at()).unwrap().attest(&report_data).unwrap();
    let roots = SimulatedRoots {
        amd: Some(simulated_ark_der()),
        intel: Some(simulated_intel_root_der()),
        nvidia_device: Some(simulated_nvidia_device_root_der()),
        nvidia_rim: Some(simulated_nvidia_rim_root_der()),
        foreign: false,
    };
    (vec![snp, tdx], simulated_anchors(&roots).unwrap())
}

#[test]
fn case_09_hostile_endorsements_beside_good_evidence_stay_within_bounded_memory() {
    let _alone = LOCK.lock().unwrap();
    let (evidence, anchors) = good();
    for text in [
        "[".repeat(64 * 1024),
        "{\"a\":".repeat(13_000),
        format!("{{\"tcbLevels\":[{}{{}}]}}", "{},".repeat(20_000)),
    ] {
        for evidence in &evidence {
            measured(evidence, &endorsements(&nested(16 * 1024), &text), &anchors);
        }
    }
}

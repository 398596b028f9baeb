//! Time of one verification of a Genoa v5 report with its VCEK and ASK: cold and with remembered chains, beside its three
//! signature checks done directly, and beside the chain and report verification of `sev` 8.0.0.
//!
//! The first three are measured in turn in each round, so that a change of the machine's pace meets all of them; the last
//! by itself, since it leaves the caches full of its own. Prints medians and ratios; with `JSON=path` also writes
//! them there, as a list.

use anchorhold_attester::software::{LaunchConfig, SoftwareGuest, simulated_ark_der};
use anchorhold_rats::{Endorsements, Evidence, Expected, Measurement, ReportData, Timestamp};
use anchorhold_verifier::dangerous::SimulatedRoots;
use anchorhold_verifier::snp::{self, ChainCache, GenoaTcb, Input, MinimumTcb, Policy, Report, SIGNED_LEN};
use anchorhold_verifier::x509::{Certificate, PublicKey};
use anchorhold_verifier::{AppraisalPolicy, TrustAnchors, appraise, authenticate, dangerous};
use ring::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use sev::certs::snp::{Certificate as SevCertificate, Chain, Verifiable as _};
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser as _;
use std::error::Error;
use std::hint::black_box;
use std::io::Write as _;
use std::time::Instant;

const WARM_UP: usize = 20;
const ROUNDS: usize = 500;

struct Subject {
    evidence: Evidence,
    anchors: TrustAnchors,
    policy: Policy,
    report_data: ReportData,
    at: Timestamp,
}

fn subject() -> Result<Subject, Box<dyn Error>> {
    let at: Timestamp = "2026-07-25T00:00:00Z".parse()?;
    let (measurement, report_data) = (Measurement::new([7; 48]), ReportData::new([9; 64]));
    let evidence = SoftwareGuest::launch(LaunchConfig::new(measurement), at)?.attest(&report_data)?;
    let anchors = dangerous::simulated_anchors(&SimulatedRoots::amd(simulated_ark_der()))?;
    let minimum = GenoaTcb { bootloader: 10, tee: 0, snp: 25, microcode: 84 };
    let minimum = MinimumTcb { genoa: Some(minimum), ..MinimumTcb::default() };
    let policy = dangerous::allow_simulated(Policy::strict(vec![measurement], minimum));
    Ok(Subject { evidence, anchors, policy, report_data, at })
}

type Run<'a> = (&'static str, Box<dyn Fn() -> Result<(), Box<dyn Error>> + 'a>);

/// Authenticate and appraise, as a relying party calls it.
fn whole(subject: &Subject) -> Run<'_> {
    let policy = AppraisalPolicy::from(subject.policy.clone());
    let (none, expected) = (Endorsements::default(), Expected::from(subject.report_data));
    let run = move || {
        let authentic = authenticate(black_box(&subject.evidence), &none, &subject.anchors, subject.at)?;
        black_box(appraise(authentic, &policy, &expected)?);
        Ok(())
    };
    ("verify_snp", Box::new(run))
}

/// The same with a chain cache that knows the chain, so that of three signatures the report's is left.
fn warm<'a>(subject: &'a Subject, cache: &'a ChainCache) -> Run<'a> {
    let run = move || {
        let input = input(black_box(&subject.evidence));
        let authentic = snp::authenticate_with_cache(&input, &subject.anchors, subject.at, cache)?;
        black_box(snp::appraise(authentic, &subject.policy, &subject.report_data)?);
        Ok(())
    };
    ("verify_snp_warm", Box::new(run))
}

fn input(evidence: &Evidence) -> Input<'_> {
    Input { report: &evidence.report, certificates: &evidence.certificates, crls: &[] }
}

/// Only the three signatures, with the certificates and the report read beforehand.
fn signatures(subject: &Subject) -> Result<Run<'_>, Box<dyn Error>> {
    let [leaf, ask] = subject.evidence.certificates.as_slice() else { return Err("two certificates".into()) };
    let ark = Certificate::parse(simulated_ark_der())?;
    let (leaf, ask) = (Certificate::parse(&leaf.0)?, Certificate::parse(&ask.0)?);
    let report = Report::parse(&subject.evidence.report)?;
    let signed = subject.evidence.report.get(..SIGNED_LEN).ok_or("a whole report")?;
    let PublicKey::P384(point) = leaf.public_key else { return Err("a leaf on P-384".into()) };
    let leaf_key = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point);
    let run = move || {
        let chained = black_box(&ask).verify_signature(&ark.public_key)
            && black_box(&leaf).verify_signature(&ask.public_key);
        let signed = leaf_key.verify(black_box(signed), &report.signature).is_ok();
        if chained && signed { Ok(()) } else { Err("a signature".into()) }
    };
    Ok(("verify_snp_signatures", Box::new(run)))
}

/// What `sev` does: chain signatures from the self-signed ARK on, and the report's signature.
fn sev(subject: &Subject) -> Run<'_> {
    let run = move || {
        let [leaf, ask] = black_box(subject.evidence.certificates.as_slice()) else {
            return Err("two certificates".into());
        };
        let read = SevCertificate::from_der;
        let chain = Chain::from((read(&ask.0)?, read(simulated_ark_der())?, read(&leaf.0)?));
        let report = AttestationReport::from_bytes(&subject.evidence.report)?;
        (&chain, &report).verify()?;
        Ok(())
    };
    ("sev_8_verify", Box::new(run))
}

/// Medians in nanoseconds, in the order of `runs`.
fn measure(runs: &[Run<'_>]) -> Result<Vec<u128>, Box<dyn Error>> {
    let mut times_ns: Vec<Vec<u128>> = runs.iter().map(|_| Vec::with_capacity(ROUNDS)).collect();
    for round in 0..WARM_UP + ROUNDS {
        for ((_, run), times_ns) in runs.iter().zip(&mut times_ns) {
            let start = Instant::now();
            run()?;
            let elapsed_ns = start.elapsed().as_nanos();
            if round >= WARM_UP {
                times_ns.push(elapsed_ns);
            }
        }
    }
    times_ns
        .into_iter()
        .map(|mut times_ns| {
            times_ns.sort_unstable();
            times_ns.get(ROUNDS / 2).copied().ok_or_else(|| "no rounds".into())
        })
        .collect()
}

/// A number of thousandths as a decimal.
fn decimal(thousandths: u128) -> String {
    format!("{}.{:03}", thousandths / 1000, thousandths % 1000)
}

fn main() -> Result<(), Box<dyn Error>> {
    let subject = subject()?;
    let cache = ChainCache::new(16);
    let runs = [whole(&subject), warm(&subject, &cache), signatures(&subject)?];
    let mut medians_ns = measure(&runs)?;
    let peer = [sev(&subject)];
    medians_ns.extend(measure(&peer)?);
    let [cold, warm, signatures, sev] = medians_ns.as_slice() else { return Err("four medians".into()) };
    let ratio = |of: &u128, to: &u128| decimal(of * 1000 / to.max(&1));
    let mut out = std::io::stdout();
    for ((name, _), median_ns) in runs.iter().chain(&peer).zip(&medians_ns) {
        writeln!(out, "{name}: median {} us of {ROUNDS}", decimal(*median_ns))?;
    }
    writeln!(out, "verification to its three signatures: {}", ratio(cold, signatures))?;
    writeln!(out, "verification to sev 8.0.0 (chain and report signatures only): {}", ratio(cold, sev))?;
    writeln!(out, "verification with a remembered chain to one without: {}", ratio(warm, cold))?;
    if let Some(path) = std::env::var_os("JSON") {
        let item = |name: &str, median_ns: &u128, peer: &str, peer_ns: &u128| {
            let (value, ratio) = (decimal(*median_ns), ratio(median_ns, peer_ns));
            format!(r#"{{"name":"{name}","value":{value},"unit":"us","peer":"{peer}","ratio":{ratio}}}"#)
        };
        let items = [
            item("verify_snp_median", cold, "sev 8.0.0", sev),
            item("verify_snp_median_to_signatures", cold, "its three signatures", signatures),
            item("verify_snp_warm_median", warm, "a cold verification", cold),
        ];
        std::fs::write(path, format!("[{}]\n", items.join(",\n")))?;
    }
    Ok(())
}

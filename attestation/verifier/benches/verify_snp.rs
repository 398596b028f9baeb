//! Time of one verification of a Genoa v5 report with its VCEK and ASK: cold and with remembered chains, beside its three
//! signature checks done directly, and beside the chain and report verification of `sev` 8.0.0.
//!
//! The first three are measured in turn in each round, so that a change of the machine's pace meets all of them; the last
//! by itself, since it leaves the caches full of its own.

use anchorhold_attester::software::{LaunchConfig, SoftwareGuest, simulated_ark_der};
use anchorhold_rats::{Endorsements, Evidence, Expected, Measurement, ReportData, Timestamp};
use anchorhold_verifier::dangerous::SimulatedRoots;
use anchorhold_verifier::snp::{self, ChainCache, GenoaTcb, Input, MinimumTcb, Policy, Report, SIGNED_LEN};
use anchorhold_verifier::x509::{Certificate, PublicKey};
use anchorhold_verifier::{AppraisalPolicy, TrustAnchors, appraise, authenticate, dangerous};
use ring::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use rounds::{Comparison, Run, medians_ns, report};
use sev::certs::snp::{Certificate as SevCertificate, Chain, Verifiable as _};
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser as _;
use std::error::Error;
use std::hint::black_box;

mod rounds;

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

fn main() -> Result<(), Box<dyn Error>> {
    let subject = subject()?;
    let cache = ChainCache::new(16);
    let ours_ns = medians_ns(&[whole(&subject), warm(&subject, &cache), signatures(&subject)?], ROUNDS)?;
    let peer_ns = medians_ns(&[sev(&subject)], ROUNDS)?;
    let ([cold, warm, signatures], [sev]) = (ours_ns.as_slice(), peer_ns.as_slice()) else {
        return Err("four medians".into());
    };
    let compare = |name, median_ns: &u128, peer, peer_ns: &u128| Comparison {
        name,
        median_ns: *median_ns,
        peer,
        peer_ns: *peer_ns,
    };
    report(&[
        compare("verify_snp_median", cold, "sev 8.0.0", sev),
        compare("verify_snp_median_to_signatures", cold, "its three signatures", signatures),
        compare("verify_snp_warm_median", warm, "a cold verification", cold),
    ])
}

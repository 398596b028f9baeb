//! Time of one verification: authenticate and appraise a Genoa v5 report with its VCEK and ASK.
//!
//! Prints the median; with `JSON=path` also writes it there as JSON.

use anchorhold_attester::software::{LaunchConfig, SoftwareGuest, simulated_ark_der};
use anchorhold_rats::{Endorsements, Expected, Measurement, ReportData, Timestamp};
use anchorhold_verifier::dangerous::SimulatedRoots;
use anchorhold_verifier::snp::{GenoaTcb, MinimumTcb, Policy};
use anchorhold_verifier::{AppraisalPolicy, appraise, authenticate, dangerous};
use std::error::Error;
use std::hint::black_box;
use std::io::Write as _;
use std::time::Instant;

const WARM_UP: usize = 50;
const ITERATIONS: usize = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    let at: Timestamp = "2026-07-25T00:00:00Z".parse()?;
    let (measurement, report_data) = (Measurement::new([7; 48]), ReportData::new([9; 64]));
    let evidence = SoftwareGuest::launch(LaunchConfig::new(measurement), at)?.attest(&report_data)?;
    let anchors = dangerous::simulated_anchors(&SimulatedRoots::amd(simulated_ark_der()))?;
    let minimum = GenoaTcb { bootloader: 10, tee: 0, snp: 25, microcode: 84 };
    let minimum = MinimumTcb { genoa: Some(minimum), ..MinimumTcb::default() };
    let policy = dangerous::allow_simulated(Policy::strict(vec![measurement], minimum));
    let (policy, expected) = (AppraisalPolicy::from(policy), Expected::from(report_data));

    let mut times_ns = Vec::with_capacity(ITERATIONS);
    for round in 0..WARM_UP + ITERATIONS {
        let start = Instant::now();
        let authentic = authenticate(black_box(&evidence), &Endorsements::default(), &anchors, at)?;
        black_box(appraise(authentic, &policy, &expected)?);
        if round >= WARM_UP {
            times_ns.push(start.elapsed().as_nanos());
        }
    }
    times_ns.sort_unstable();
    let median_ns = times_ns.get(ITERATIONS / 2).copied().unwrap_or_default();
    let median_us = format!("{}.{}", median_ns / 1000, median_ns / 100 % 10);
    writeln!(
        std::io::stdout(),
        "verify_snp: median {median_us} us of {ITERATIONS} (authenticate and appraise)"
    )?;
    if let Some(path) = std::env::var_os("JSON") {
        let json = format!("{{\"name\":\"verify_snp_median\",\"value\":{median_us},\"unit\":\"us\"}}\n");
        std::fs::write(path, json)?;
    }
    Ok(())
}

//! Time of one verification: authenticate and appraise a version 5 quote with its collateral.
//!
//! Prints the median; with `JSON=path` also writes it there as JSON.

use anchorhold_attester::software::tdx::{TdConfig, TdxGuest, simulated_intel_root_der};
use anchorhold_rats::{Measurement, ReportData, Timestamp};
use anchorhold_verifier::dangerous::{self, SimulatedRoots};
use anchorhold_verifier::tdx::{Input, Policy, appraise, authenticate};
use std::error::Error;
use std::hint::black_box;
use std::io::Write as _;
use std::time::Instant;

const WARM_UP: usize = 50;
const ITERATIONS: usize = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    let at: Timestamp = "2026-07-25T00:00:00Z".parse()?;
    let (mrtd, report_data) = (Measurement::new([7; 48]), ReportData::new([9; 64]));
    let guest = TdxGuest::launch(TdConfig::new(mrtd), at)?;
    let (quote, collateral) = (guest.quote(&report_data)?, guest.collateral(at)?);
    let input = Input { quote: &quote, collateral: Some(&collateral) };
    let roots = SimulatedRoots { intel: Some(simulated_intel_root_der()), ..SimulatedRoots::default() };
    let anchors = dangerous::simulated_anchors(&roots)?;
    let policy = dangerous::allow_simulated(Policy::strict(vec![mrtd]));

    let mut times_ns = Vec::with_capacity(ITERATIONS);
    for round in 0..WARM_UP + ITERATIONS {
        let start = Instant::now();
        let authentic = authenticate(black_box(&input), &anchors, at)?;
        black_box(appraise(authentic, &policy, &report_data)?);
        if round >= WARM_UP {
            times_ns.push(start.elapsed().as_nanos());
        }
    }
    times_ns.sort_unstable();
    let median_ns = times_ns.get(ITERATIONS / 2).copied().unwrap_or_default();
    let median_us = format!("{}.{}", median_ns / 1000, median_ns / 100 % 10);
    writeln!(
        std::io::stdout(),
        "verify_tdx: median {median_us} us of {ITERATIONS} (authenticate and appraise)"
    )?;
    if let Some(path) = std::env::var_os("JSON") {
        let json = format!("{{\"name\":\"verify_tdx_median\",\"value\":{median_us},\"unit\":\"us\"}}\n");
        std::fs::write(path, json)?;
    }
    Ok(())
}

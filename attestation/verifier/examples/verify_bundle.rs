//! Judges an evidence bundle of one TEE, with nothing but this crate: `verify_bundle BUNDLE.json MEASUREMENT`.
//!
//! MEASUREMENT is SNP's MEASUREMENT or TDX's MRTD in hexadecimal. Prints every rule that was looked at and the verdict; the
//! exit status is 0 when the evidence is accepted. The report data is that of the bundle, so a relying party that wants
//! fresh evidence compares it with the one it asked for. GPUs and paravisors are refused: no policy for them is named here.

use anchorhold_rats::{EvidenceBundle, Expected, MAX_BUNDLE_JSON_BYTES, Measurement, Timestamp};
use anchorhold_verifier::snp::{self, GenoaTcb, MilanTcb, MinimumTcb, TurinTcb};
use anchorhold_verifier::{AppraisalPolicy, TrustAnchors, appraise, authenticate, tdx};
use std::error::Error;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// The first firmware of each product whose microcode loader checks signatures (AMD-SB-3019, AMD-SB-7033).
const MINIMUM: MinimumTcb = MinimumTcb {
    milan: Some(MilanTcb { bootloader: 4, tee: 0, snp: 24, microcode: 219 }),
    genoa: Some(GenoaTcb { bootloader: 10, tee: 0, snp: 23, microcode: 84 }),
    turin: Some(TurinTcb { fmc: 0, bootloader: 1, tee: 0, snp: 2, microcode: 71 }),
};

fn read(path: &str) -> Result<EvidenceBundle, Box<dyn Error>> {
    let mut json = Vec::new();
    let most = u64::try_from(MAX_BUNDLE_JSON_BYTES)? + 1;
    File::open(path)?.take(most).read_to_end(&mut json)?;
    Ok(EvidenceBundle::from_json(&json)?)
}

fn judge(path: &str, measurement: &str) -> Result<bool, Box<dyn Error>> {
    let (bundle, measurement): (_, Measurement) = (read(path)?, measurement.parse()?);
    let report_data = bundle.report_data.ok_or("the bundle names no report data")?;
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let at = Timestamp::from_unix_seconds(i64::try_from(seconds)?);
    let policy = AppraisalPolicy {
        snp: Some(snp::Policy::strict(vec![measurement], MINIMUM)),
        tdx: Some(tdx::Policy::strict(vec![measurement])),
        ..AppraisalPolicy::default()
    };
    let expected = Expected::from(report_data);
    let judged = authenticate(&bundle.evidence, &bundle.endorsements, &TrustAnchors::production(), at)
        .and_then(|authentic| appraise(authentic, &policy, &expected));
    let checks = match &judged {
        Ok(accepted) => accepted.checks(),
        Err(refusal) => refusal.checks(),
    };
    let mut out = std::io::stdout().lock();
    for check in checks.all() {
        let (wanted, observed) = (&check.wanted, &check.observed);
        writeln!(out, "{:?} {}: wanted {wanted}, observed {observed}", check.outcome, check.code)?;
    }
    match &judged {
        Ok(accepted) => writeln!(out, "accepted until {}", accepted.expires())?,
        Err(refusal) => writeln!(out, "refused: {refusal}")?,
    }
    Ok(judged.is_ok())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let judged = match arguments.as_slice() {
        [bundle, measurement] => judge(bundle, measurement),
        _ => Err("usage: verify_bundle BUNDLE.json MEASUREMENT".into()),
    };
    match judged {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // When standard error is closed there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "verify_bundle: {error}");
            ExitCode::from(2)
        }
    }
}

//! Cases of a virtual TPM below Azure's paravisor, in the JSON that Trustee's attester writes.

use super::{anchors, hex_bytes, of_refusal, profile, snp, tdx};
use crate::corpus::{Error, Files};
use crate::manifest::Case;
use anchorhold_rats::{Checks, Der, Endorsements, Evidence, Paravisor, Tee};
use anchorhold_verifier::azure::{self, Input, Policy};
use anchorhold_verifier::dangerous::SimulatedRoots;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

/// Where an HCL report holds the hardware's report.
const HARDWARE_REPORT: std::ops::Range<usize> = 32..1216;

pub(super) fn judge(case: &Case, files: &Files) -> Result<Checks, Error> {
    files.only(&["evidence", "ask", "ark", "root", "collateral", "profile"])?;
    let profile = profile::read(files)?;
    let Sent { tee, report, vcek, paravisor } = read(files.need("evidence")?)?;
    let roots =
        SimulatedRoots { amd: files.get("ark"), intel: files.get("root"), ..SimulatedRoots::default() };
    let anchors = match anchors(case.pin, &roots) {
        Ok(anchors) => anchors,
        Err(checks) => return Ok(checks),
    };
    let presented = ["ask", "ark"].into_iter().filter_map(|role| files.get(role));
    let certificates: Vec<Der> = vcek.into_iter().chain(presented.map(|der| Der(der.into()))).collect();
    if let Some(profile) = profile {
        let mut evidence = match tee {
            Tee::Snp => Evidence::snp(report, certificates),
            Tee::Tdx => Evidence::tdx(report),
        };
        evidence.paravisor = Some(paravisor);
        let collateral = files.get("collateral").map(tdx::read_collateral).transpose()?;
        let endorsements = Endorsements { tdx: collateral, ..Endorsements::default() };
        let policy = profile::policy(case, &profile)?;
        return profile::judge(case, &policy, &evidence, &endorsements, &anchors);
    }
    let vtpm = azure::authenticate(&Input::new(&paravisor, tee, &report));
    // What the TEE's report must be for is known only from the paravisor's claims; without them, whatever it says.
    let bound = vtpm.as_ref().ok().map(azure::AuthenticVtpm::report_data);
    let mut checks = match tee {
        Tee::Snp => {
            let input =
                anchorhold_verifier::snp::Input { report: &report, certificates: &certificates, crls: &[] };
            snp::judge_input(case, &input, &anchors, bound)?
        }
        Tee::Tdx => tdx::judge_quote(case, &report, files.get("collateral"), &anchors, bound)?,
    };
    match vtpm {
        Err(refusal) => checks.append(of_refusal(refusal)),
        Ok(vtpm) => {
            let nonce = match &case.policy.tpm_nonce {
                Some(text) => hex_bytes("tpm_nonce", text)?,
                None => vtpm.nonce().to_vec(),
            };
            let quoted = vtpm.pcrs().iter().map(|(pcr, value)| (*pcr, vec![*value])).collect();
            let policy = Policy { require_secure_boot: false, ..Policy::strict(quoted) };
            checks.append(match azure::appraise(&vtpm, &policy, &nonce) {
                Ok(checks) => checks,
                Err(refusal) => of_refusal(refusal),
            });
        }
    }
    Ok(checks)
}

/// What a guest below a paravisor sends.
struct Sent {
    tee: Tee,
    report: Vec<u8>,
    vcek: Option<Der>,
    paravisor: Paravisor,
}

#[derive(Deserialize)]
struct TrusteeEvidence {
    tpm_quote: TpmQuote,
    hcl_report: String,
    vcek: Option<String>,
    td_quote: Option<String>,
}

#[derive(Deserialize)]
struct TpmQuote {
    message: String,
    signature: String,
    pcrs: Vec<String>,
}

fn read(json: &[u8]) -> Result<Sent, Error> {
    let wrong = || Error::Form { what: "evidence", wanted: "the JSON of Trustee's vTPM attesters" };
    let read: TrusteeEvidence = serde_json::from_slice(json).map_err(|_| wrong())?;
    let base64 = |text: &str| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| wrong());
    let hcl_report = base64(&read.hcl_report)?;
    let (tee, report) = match &read.td_quote {
        Some(quote) => (Tee::Tdx, base64(quote)?),
        // An HCL report that is cut has no hardware report, which is for the verifier to find.
        None => (Tee::Snp, hcl_report.get(HARDWARE_REPORT).unwrap_or_default().to_vec()),
    };
    let hex = |text: &str| hex_bytes("evidence", text);
    Ok(Sent {
        tee,
        report,
        vcek: read.vcek.as_deref().map(base64).transpose()?.map(Der),
        paravisor: Paravisor {
            hcl_report,
            quote: hex(&read.tpm_quote.message)?,
            signature: hex(&read.tpm_quote.signature)?,
            pcrs: read.tpm_quote.pcrs.iter().map(|pcr| hex(pcr).map(Der)).collect::<Result<_, _>>()?,
        },
    })
}

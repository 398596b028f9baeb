//! Cases of a virtual TPM below Azure's paravisor, in the JSON that Trustee's attester writes.

use super::{anchors, hex_bytes, of_refusal, profile, snp, tdx};
use crate::corpus::{Error, Files};
use crate::manifest::Case;
use anchorhold_rats::{Checks, Der, Endorsements, Evidence, Paravisor, Tee};
use anchorhold_verifier::azure::{self, Input, Policy};
use anchorhold_verifier::dangerous::SimulatedRoots;

pub(super) fn judge(case: &Case, files: &Files) -> Result<Checks, Error> {
    files.only(&["evidence", "ask", "ark", "root", "collateral", "profile"])?;
    let profile = profile::read(files)?;
    let (tee, report, vcek, paravisor) = read(files.need("evidence")?)?;
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

/// TEE, its report, the VCEK where it is there, and what the paravisor adds.
type Sent = (Tee, Vec<u8>, Vec<Der>, Paravisor);

fn read(json: &[u8]) -> Result<Sent, Error> {
    let wrong = || Error::Form { what: "evidence", wanted: "the JSON of Trustee's vTPM attesters" };
    let Evidence { tee, report, certificates, paravisor, .. } =
        Evidence::from_trustee_azure_json(json).map_err(|_| wrong())?;
    Ok((tee, report, certificates, paravisor.ok_or_else(wrong)?))
}
